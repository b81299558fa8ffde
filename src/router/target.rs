//! One model of one provider, and what is known of it.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::adjust::Adjustments;
use super::concurrency::{Capacity, ConcurrencyLimit};
use super::conditions::Conditions;
use super::health::{Begun, Health, Outcome, Patience};
use super::order::Candidate;
use super::provider::Provider;

/// One model of one provider.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) provider: Arc<Provider>,
    /// The provider's name of it.
    pub(super) model: String,
    pub(super) weight: f64,
    pub(super) conditions: Conditions,
    pub(super) adjustments: Adjustments,
    /// None where each model that is asked for has its own.
    pub(super) state: Option<Arc<State>>,
}

/// What is known of a target; it outlives a change of the settings.
#[derive(Default)]
pub(super) struct State {
    pub(super) health: Mutex<Health>,
    pub(super) concurrency: ConcurrencyLimit,
}

/// A try that has begun. Where nothing is said of how it ended, nothing is learned from it.
pub(super) struct Try {
    state: Arc<State>,
    patience: Patience,
    at: Instant,
    begun: Begun,
    has_ended: bool,
}

impl Target {
    pub(super) fn is(&self, provider: &str, model: &str) -> bool {
        self.provider.name == provider && self.model == model
    }

    pub(super) fn candidate(&self, now: Instant) -> Candidate {
        let health = self.state.as_ref().map(|state| state.health.lock().clone()).unwrap_or_default();
        Candidate { weight: self.weight, latency: health.latency(), is_open: health.is_fit(now) }
    }
}

impl State {
    /// Of a target of which nothing is known.
    pub(super) fn new(capacity: Capacity) -> Arc<Self> {
        Arc::new(Self { concurrency: ConcurrencyLimit::new(capacity), ..Self::default() })
    }

    /// A try begins, if the target may be tried now.
    pub(super) fn begin(self: &Arc<Self>, patience: Patience) -> Option<Try> {
        let at = Instant::now();
        let begun = self.health.lock().begin(at)?;
        Some(Try { state: Arc::clone(self), patience, at, begun, has_ended: false })
    }
}

impl Try {
    pub(super) fn end(mut self, outcome: impl FnOnce(std::time::Duration) -> Outcome) {
        let now = Instant::now();
        let outcome = outcome(now - self.at);
        self.has_ended = true;
        self.state.health.lock().end(self.begun, outcome, now, self.patience);
    }
}

impl Drop for Try {
    fn drop(&mut self) {
        if !self.has_ended {
            self.state.health.lock().end(self.begun, Outcome::Unknown, Instant::now(), self.patience);
        }
    }
}
