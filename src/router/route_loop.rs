//! The targets of a model, each as often as it is worth it, until one answers.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::attempt::{Attempt, FIRST_PAUSE, Failure, Next};
use super::conditions::Asked;
use super::error::{FailedAttempt, SendError};
use super::outgoing::Outgoing;
use super::reply::Upstream;
use super::route::Route;
use super::router::Router;
use super::sample::sample;
use crate::telemetry;

const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a target is asked that says that it is limited and not for how long: about a second and a half of pauses.
const MAX_UNTOLD_LIMITS: u32 = 4;

impl Outgoing<'_> {
    /// Sends `body` to where `model` lives, or to the default provider where the request names none. Targets that fail hand
    /// over to the next, after another try; the last one's answer stands, whatever it is.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send_by_model(
        &self,
        router: &Router,
        model: Option<&str>,
        body: &Bytes,
    ) -> Result<Upstream, SendError> {
        let routes = match model {
            Some(model) => router.route(model, &Asked::new(self.headers, self.tenant, body), sample())?,
            None => vec![router.direct_route(router.provider_for(None)?)?],
        };
        let begun = Instant::now();
        let mut failed = Vec::new();
        // What the caller gets if nobody does better, and the place of that attempt.
        let mut last: Option<(Result<Box<Upstream>, SendError>, usize)> = None;
        for (place, route) in routes.iter().enumerate() {
            let now = Instant::now();
            if !route.state.health.lock().is_open(now) {
                continue;
            }
            let has_next = routes[place + 1..].iter().any(|next| next.state.health.lock().is_open(now));
            match self.try_route(router, route, body, begun, has_next, &mut failed).await {
                Attempt::Answer(mut upstream) => {
                    upstream.failed_attempts = failed;
                    return Ok(*upstream);
                }
                Attempt::Failed(failure) => {
                    // What somebody answered says more than that another one couldn't be asked, and a success that isn't
                    // quite what was asked for says more than a refusal.
                    let is_success = matches!(&last, Some((Ok(before), _)) if before.status.is_success());
                    if last.is_none() || (failure.was_asked && !is_success) {
                        last = Some((failure.answer, failed.len().saturating_sub(1)));
                    }
                    if failure.next == Next::Nothing {
                        break;
                    }
                }
            }
            if place + 1 < routes.len() {
                tracing::info!(provider = route.target.provider.name, "trying the next target");
            }
        }
        match last {
            Some((Ok(mut upstream), place)) => {
                // That attempt is the answer, and not one that failed.
                failed.remove(place);
                upstream.failed_attempts = failed;
                Ok(*upstream)
            }
            Some((Err(error), place)) => {
                let named = failed.remove(place);
                failed.push(named);
                Err(error.with(failed))
            }
            None => {
                let now = Instant::now();
                let opens = routes.iter().filter_map(|route| route.state.health.lock().opens_at(now)).min();
                let is_limit = routes.iter().all(|route| !route.state.health.lock().is_broken());
                let wait = opens.map_or(FIRST_PAUSE, |at| at - now);
                Err(SendError::CircuitOpen { wait, is_limit, failed_attempts: failed })
            }
        }
    }

    /// One target, as often as it is worth it.
    async fn try_route(
        &self,
        router: &Router,
        route: &Route<'_>,
        body: &Bytes,
        begun: Instant,
        has_next: bool,
        failed: &mut Vec<FailedAttempt>,
    ) -> Attempt {
        let until = begun + router.retries.within;
        let mut pause = FIRST_PAUSE;
        let (mut attempts, mut limits) = (0, 0);
        let mut before: Option<Failure> = None;
        loop {
            let failure = match self.attempt(router, route, body, until).await {
                answer @ Attempt::Answer(_) => return answer,
                Attempt::Failed(failure) => failure,
            };
            if let Some(before) = before.filter(|_| !failure.was_asked) {
                return Attempt::Failed(before);
            }
            // A limit passes by waiting. Such attempts are bounded by the deadline where the provider says for how long.
            attempts += u32::from(!failure.is_limit);
            limits += u32::from(failure.is_limit && failure.wait.is_none());
            let provider = &route.target.provider;
            failed.push(FailedAttempt { provider: provider.name.clone(), what: failure.what.clone() });
            telemetry::retry(&provider.name);
            if failure.next != Next::Again || attempts >= router.retries.attempts || limits >= MAX_UNTOLD_LIMITS {
                return Attempt::Failed(failure);
            }
            // One that is limited isn't better in a moment; the next one may be free.
            let wait = failure.wait.unwrap_or(pause.mul_f64(1.0 - sample() / 2.0));
            if (failure.is_limit && has_next) || Instant::now() + wait > until {
                return Attempt::Failed(failure);
            }
            before = Some(failure);
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
