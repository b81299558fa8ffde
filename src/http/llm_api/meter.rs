//! What a request may use, what it used, and where that is written down.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, Stream};
use parking_lot::Mutex;

use super::error::ApiError;
use super::head::Head;
use crate::cache::Decision;
use crate::config::Price;
use crate::decide::Outcome;
use crate::http::App;
use crate::http::access_log::Line;
use crate::http::auth::{Caller, KeyId};
use crate::http::live::Live;
use crate::http::traces::{Kind, Span, Traced, Traces};
use crate::router::{Account, Allowance, Day, Exceeded, SendError, Sums, Tail, Tokens, Used, sample};
use crate::store::Timestamp;
use crate::telemetry;

/// Bytes that are about a token, where no provider tells.
const BYTES_PER_TOKEN: u64 = 4;
/// Bytes of a reply's beginning that are looked at for what it used.
const BEGINNING: usize = 2048;

const COST: HeaderName = HeaderName::from_static("x-refrain-cost");
const SAVED: HeaderName = HeaderName::from_static("x-refrain-saved");

/// Requests that have been let in by their caller's limits, before their model is known.
pub(super) struct Admitted {
    app: Arc<App>,
    live: Arc<Live>,
    caller: Caller,
    began: Instant,
    traced: Option<Traced>,
}

/// What one request uses, from its coming to its end.
pub(super) struct Meter {
    app: Arc<App>,
    live: Arc<Live>,
    tenant: Arc<str>,
    key: KeyId,
    /// As the caller calls it.
    model: String,
    /// Bytes of the request, by which its tokens are estimated where nobody tells; none where they aren't to be.
    prompt: Option<usize>,
    began: Instant,
    decision: Mutex<Option<Arc<Decision>>>,
    /// How a lookup ended that made no decision to look at.
    outcome: OnceLock<Outcome>,
    /// Its place in a trace, and that of the call to a provider.
    traced: Option<Traced>,
    call: Mutex<Option<Traced>>,
    /// Whether its line has been written.
    is_told: AtomicBool,
}

/// Who answered a request.
#[derive(Debug, Clone)]
pub(super) struct Served {
    provider: String,
    /// The provider's name of it.
    model: Option<String>,
    status: u16,
    attempts: usize,
    /// Whether it was another request's call.
    joined: bool,
    is_stream: bool,
    /// What a reply in another shape told, which its own shape may not.
    used: Used,
}

impl Served {
    pub(super) fn by(head: &Head) -> Self {
        Self {
            provider: head.provider.clone(),
            model: head.model.clone(),
            status: head.status.as_u16(),
            attempts: head.failed_attempts.len() + 1,
            joined: false,
            is_stream: head.is_stream,
            used: head.used.clone(),
        }
    }

    pub(super) fn joined(head: &Head) -> Self {
        Self { joined: true, ..Self::by(head) }
    }
}

impl Meter {
    /// Lets a request in, if its caller's key has any left.
    ///
    /// # Errors
    /// 429 where it has not.
    pub(super) fn admit(
        app: &Arc<App>,
        live: &Arc<Live>,
        caller: &Caller,
        headers: &HeaderMap,
    ) -> Result<Admitted, ApiError> {
        let settings = live.settings.tenants.get(&*caller.tenant);
        let allowance = settings.map_or_else(Allowance::default, |tenant| Allowance {
            requests: tenant.requests_per_minute,
            tokens: tenant.tokens_per_minute,
        });
        app.limits.keys.take(caller.key, allowance, tokio::time::Instant::now()).map_err(|over| {
            telemetry::limited("key");
            exceeded(over, "this API key")
        })?;
        let traced = Traces::begin(live.settings.traces.as_ref(), headers, sample());
        let (app, live) = (Arc::clone(app), Arc::clone(live));
        Ok(Admitted { app, live, caller: caller.clone(), began: Instant::now(), traced })
    }

    pub(super) fn decided(&self, decision: &Arc<Decision>) {
        *self.decision.lock() = Some(Arc::clone(decision));
    }

    /// A lookup ended so that makes no decision.
    pub(super) fn found(&self, outcome: Outcome) {
        // There is one lookup for each request.
        let _ = self.outcome.set(outcome);
    }

    /// A call to a provider begins. What to tell it of the trace, if it is one of ours.
    pub(super) fn calls(&self) -> Option<HeaderValue> {
        let traced = self.traced?;
        let context = traced.context.child();
        let call = Traced { context, parent: Some(traced.context.span()), began: SystemTime::now() };
        *self.call.lock() = Some(call);
        HeaderValue::try_from(context.header()).ok()
    }

    /// Whether the tenant and its key may cost any more this month. What the cache answers costs nothing.
    pub(super) fn may_spend(&self) -> Result<(), SendError> {
        let Some(tenant) = self.live.settings.tenants.get(&*self.tenant) else { return Ok(()) };
        let spent = |who: &str, most: Option<f64>| most.filter(|most| self.app.usage.spent(who, today()) >= *most);
        let over = spent(&self.tenant, tenant.dollars_per_month).map(|most| ("this tenant's", most));
        let over = over.or_else(|| Some(("this API key's", spent(&self.key.account(), tenant.key_dollars_per_month)?)));
        over.map_or(Ok(()), |(whose, most)| {
            telemetry::limited("spend");
            Err(SendError::Spent { whose, most })
        })
    }

    /// The cache answered, and so spared these tokens.
    pub(super) fn hit(&self, mut response: Response, tokens: Option<Tokens>) -> Response {
        let price = self.price_of_alias();
        let sums = Sums::spared(tokens, price, false);
        if sums.saved > 0.0 {
            response.headers_mut().extend([dollars(SAVED, sums.saved)].into_iter().flatten());
        }
        self.book("cache", &sums);
        self.line(200, "cache", None, 1, tokens, None);
        response
    }

    /// The cache answered a part of the request, and so spared these tokens. The rest is another one's to write down.
    pub(super) fn hit_in_part(&self, response: &mut Response, tokens: Tokens) {
        let sums = Sums { requests: 0, hits: 0, ..Sums::spared(Some(tokens), self.price_of_alias(), false) };
        if sums.saved > 0.0 {
            response.headers_mut().extend([dollars(SAVED, sums.saved)].into_iter().flatten());
        }
        self.book("cache", &sums);
    }

    /// No answer at all.
    pub(super) fn failed(&self, status: StatusCode) {
        self.line(status.as_u16(), "", None, 0, None, None);
    }

    /// What a reply costs, for its headers.
    pub(super) fn cost_header(&self, head: &Head, tokens: Tokens) -> Option<(HeaderName, HeaderValue)> {
        let price = self.price(&head.provider, head.model.as_deref())?;
        dollars(COST, tokens.cost(price))
    }

    /// The same body; what it used is written down at its end.
    pub(super) fn metered<E: Send + 'static>(
        self: &Arc<Self>,
        body: BoxStream<'static, Result<Bytes, E>>,
        served: Served,
    ) -> BoxStream<'static, Result<Bytes, E>> {
        let meter = Arc::clone(self);
        let (beginning, end) = (Vec::new(), Tail::default());
        let served = Some((meter, served));
        Metered { body, beginning, end, size: 0, events: 0, first: None, broken: false, served }.boxed()
    }

    fn ended<S>(&self, served: &Served, seen: &Metered<S>) {
        let is_success = (200..300).contains(&served.status);
        let price = self.price(&served.provider, served.model.as_deref());
        let tokens = served.used.get().or_else(|| Tokens::told_by(&seen.beginning, seen.end.bytes()));
        let used = tokens.or_else(|| self.about(served, seen)).unwrap_or_default();
        let sums = match (served.joined, is_success) {
            (true, _) => Sums::spared(tokens, price, true),
            (false, true) => Sums::forwarded(used, tokens.is_some() || self.prompt.is_none(), price),
            // Nobody pays for what failed.
            (false, false) => Sums::forwarded(Tokens::default(), true, None),
        };
        self.book(&served.provider, &sums);
        self.end_call(served, tokens, seen.broken);
        if is_success && !served.joined {
            self.app.limits.keys.spend(&self.key, used.all());
            self.app.limits.models.spend(&self.model, used.all());
            telemetry::tokens(&served.provider, sums.input_tokens, sums.output_tokens);
        }
        let status = if seen.broken { 502 } else { served.status };
        self.line(status, &served.provider, served.model.as_deref(), served.attempts, tokens, seen.first);
    }

    /// What a reply may have used whose provider didn't tell, or of which the end was never seen. Most streams have an event
    /// for each token.
    fn about<S>(&self, served: &Served, seen: &Metered<S>) -> Option<Tokens> {
        let output = if served.is_stream { seen.events } else { seen.size / BYTES_PER_TOKEN };
        self.prompt.map(|prompt| Tokens::about(prompt, output))
    }

    fn book(&self, provider: &str, sums: &Sums) {
        let account =
            Account { tenant: self.tenant.to_string(), model: self.model.clone(), provider: provider.to_owned() };
        telemetry::money(sums.cost, sums.saved, sums.saved_tokens);
        self.app.usage.add(today(), account, sums);
        if sums.cost > 0.0 {
            self.app.usage.charge(today(), &self.key.account(), sums.cost);
        }
    }

    fn line(
        &self,
        status: u16,
        provider: &str,
        model: Option<&str>,
        attempts: usize,
        tokens: Option<Tokens>,
        first: Option<Instant>,
    ) {
        // A reply that broke off while it was read has been told already.
        if self.is_told.swap(true, Ordering::Relaxed) {
            return;
        }
        let decision = self.decision.lock().clone();
        let outcome = decision.as_ref().map(|decision| decision.outcome).or(self.outcome.get().copied());
        self.end_request(status, provider, decision.as_deref());
        self.app.access_log.write(&self.live.settings.access_log, || Line {
            tenant: self.tenant.to_string(),
            model: self.model.clone(),
            provider: provider.to_owned(),
            answered_as: model.map(str::to_owned),
            status,
            attempts,
            outcome: outcome.map_or("bypass", Outcome::name),
            decision: decision.as_ref().map(|decision| decision.id.to_string()),
            tokens,
            seconds: self.began.elapsed().as_secs_f64(),
            first_byte: first.map(|first| (first - self.began).as_secs_f64()),
        });
    }

    /// The span of the call, which is over.
    fn end_call(&self, served: &Served, tokens: Option<Tokens>, broken: bool) {
        let Some(call) = self.call.lock().take().filter(|_| !served.joined) else { return };
        let mut attributes = vec![
            ("gen_ai.operation.name", "chat".into()),
            ("gen_ai.provider.name", served.provider.clone().into()),
            ("gen_ai.request.model", served.model.as_ref().unwrap_or(&self.model).clone().into()),
            ("http.response.status_code", served.status.into()),
            ("refrain.attempts", served.attempts.into()),
        ];
        if let Some(tokens) = tokens {
            attributes.push(("gen_ai.usage.input_tokens", tokens.input.into()));
            attributes.push(("gen_ai.usage.output_tokens", tokens.output.into()));
        }
        self.app.traces.end(Span {
            context: call.context,
            parent: call.parent,
            kind: Kind::Client,
            name: format!("chat {}", served.model.as_ref().unwrap_or(&self.model)),
            began: call.began,
            attributes,
            failed: broken || served.status >= 400,
        });
    }

    /// The span of the request, which is over.
    fn end_request(&self, status: u16, provider: &str, decision: Option<&Decision>) {
        let Some(traced) = self.traced else { return };
        let mut attributes = vec![
            ("gen_ai.operation.name", "chat".into()),
            ("gen_ai.request.model", self.model.clone().into()),
            ("http.response.status_code", status.into()),
            ("refrain.tenant", self.tenant.to_string().into()),
            ("refrain.answered_by", provider.into()),
        ];
        if let Some(decision) = decision {
            attributes.push(("refrain.outcome", decision.outcome.name().into()));
            attributes.push(("refrain.decision", decision.id.to_string().into()));
        }
        self.app.traces.end(Span {
            context: traced.context,
            parent: traced.parent,
            kind: Kind::Server,
            name: format!("chat {}", self.model),
            began: traced.began,
            attributes,
            failed: status >= 500,
        });
    }

    fn price(&self, provider: &str, model: Option<&str>) -> Option<&Price> {
        self.live.settings.price(provider, model.unwrap_or(&self.model))
    }

    /// What the model would have cost that the cache answered for: its first target's price.
    fn price_of_alias(&self) -> Option<&Price> {
        match self.live.settings.models.get(&self.model).and_then(|model| model.targets.first()) {
            Some(target) => self.price(&target.provider, Some(&target.model)),
            None => self.price("", None),
        }
    }
}

impl Admitted {
    /// The same, outside of traces, which are of chats.
    pub(super) fn untraced(self) -> Self {
        Self { traced: None, ..self }
    }

    /// The meter of a request for `model` with a prompt of so many bytes, if that model has any left.
    ///
    /// # Errors
    /// 429 where it has not.
    pub(super) fn for_model(self, model: Option<&str>, prompt: Option<usize>) -> Result<Meter, ApiError> {
        let Self { app, live, caller, began, traced } = self;
        let model = model.unwrap_or_default().to_owned();
        if let Some(settings) = live.settings.models.get(&model) {
            let allowance = Allowance { requests: settings.requests_per_minute, tokens: settings.tokens_per_minute };
            app.limits.models.take(model.clone(), allowance, tokio::time::Instant::now()).map_err(|over| {
                telemetry::limited("model");
                exceeded(over, &format!("the model `{model}`"))
            })?;
        }
        let Caller { tenant, key } = caller;
        let (decision, call) = (Mutex::default(), Mutex::default());
        let (outcome, is_told) = (OnceLock::new(), AtomicBool::new(false));
        Ok(Meter { app, live, tenant, key, model, prompt, began, decision, outcome, traced, call, is_told })
    }
}

/// A body that is counted.
struct Metered<S> {
    body: S,
    /// Its two ends, one of which tells what it used.
    beginning: Vec<u8>,
    end: Tail,
    size: u64,
    events: u64,
    first: Option<Instant>,
    broken: bool,
    served: Option<(Arc<Meter>, Served)>,
}

impl<S> Metered<S> {
    fn add(&mut self, piece: &[u8]) {
        self.first.get_or_insert_with(Instant::now);
        self.size += piece.len() as u64;
        if self.served.as_ref().is_some_and(|(_, served)| served.is_stream) {
            self.events += piece.windows(2).filter(|pair| pair == b"\n\n").count() as u64;
        }
        let room = BEGINNING.saturating_sub(self.beginning.len());
        self.beginning.extend_from_slice(&piece[..piece.len().min(room)]);
        self.end.add(piece);
    }
}

impl<S, E> Stream for Metered<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    type Item = Result<Bytes, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.body).poll_next(cx);
        match &next {
            Poll::Ready(Some(Ok(piece))) => self.add(piece),
            Poll::Ready(Some(Err(_))) => self.broken = true,
            _ => {}
        }
        next
    }
}

/// Readers of a body whose length is known don't poll it past its end, and callers may go away: it is over when it is dropped.
impl<S> Drop for Metered<S> {
    fn drop(&mut self) {
        if let Some((meter, served)) = self.served.take() {
            meter.ended(&served, self);
        }
    }
}

fn exceeded(over: Exceeded, whose: &str) -> ApiError {
    let Exceeded { what, allowed, wait } = over;
    let message = format!("{whose} may use {allowed} {what} a minute, and has");
    let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message);
    error.with([(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1))])
}

fn dollars(name: HeaderName, amount: f64) -> Option<(HeaderName, HeaderValue)> {
    Some((name, HeaderValue::try_from(format!("{amount:.8}")).ok()?))
}

fn today() -> Day {
    Day::of_millis(Timestamp::now().0)
}
