//! Sending a request to a provider, to the next one where that fails, and handing the reply on as it comes.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::de::IgnoredAny;
use tokio::time::Instant;

use super::Router;
use super::body::{self, BodyError, Pieces};
use super::conditions::Asked;
use super::error::{SendError, Tried, UpstreamError};
use super::gate::Place;
use super::headers::remove_connection_headers;
use super::health::Outcome;
use super::keys::Taken;
use super::provider::Provider;
use super::providers::gemini;
use super::retry_after;
use super::route::Route;
use super::target::Try;
use super::usage::Tokens;
use super::wire::{self, Dialect, Foreign, Prepared, Reading, Unconvertible};
use crate::telemetry::{self, Step};

/// Bodies beyond this are converted on a blocking thread.
const CONVERT_INLINE: usize = 256 << 10;
/// Whole replies up to this size are read before they are handed on: one that is cut can be asked for again.
const READ_FIRST: usize = 1 << 20;
/// Of a refusal, which may not be needed: bytes that are read, and for how long.
const SETTLED: usize = 64 << 10;
const SETTLING: Duration = Duration::from_secs(5);
/// The first pause before a target is tried again, doubled each time up to the longest, and shortened by chance by up to half.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A request to be forwarded.
pub struct Outgoing<'o> {
    /// Its method.
    pub method: Method,
    /// The path after `/v1`, with its query: `/chat/completions`.
    pub path: &'o str,
    /// The caller's headers.
    pub headers: &'o HeaderMap,
    /// Whose request it is.
    pub tenant: &'o str,
    /// The API in whose shapes it is.
    pub dialect: Dialect,
    /// Whether the caller's own credentials may go to the provider: only where they are not keys of ours.
    pub trust_credentials: bool,
    /// Whether nothing is done twice where it is sent twice. Others are sent again only where they can't have arrived.
    pub is_repeatable: bool,
}

/// A provider's response, whatever its status.
pub struct Upstream {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, without those that concern the connection.
    pub headers: HeaderMap,
    /// Its body's length, where the provider told it.
    pub content_length: Option<usize>,
    /// Its body, as it arrives.
    pub body: Pieces,
    /// The API in whose shapes it is.
    pub dialect: Dialect,
    /// Who answered, and with which model, where one was asked for.
    pub provider: String,
    /// See `provider`.
    pub model: Option<String>,
    /// Those that were asked before, and what they did.
    pub tried: Vec<Tried>,
    /// What it used, once that is known of a stream that doesn't tell it to the caller.
    pub used: Used,
}

/// What a stream used, once it is known.
pub type Used = Arc<OnceLock<Tokens>>;

/// What one try came to.
enum Attempt {
    /// This is the answer, or as good as any other will be.
    Answer(Box<Upstream>),
    /// Perhaps another try or another target does better.
    Failed(Failure),
}

struct Failure {
    what: String,
    /// What the caller gets if nobody does better.
    answer: Result<Box<Upstream>, SendError>,
    /// How long the provider wants to be left alone.
    wait: Option<Duration>,
    is_limit: bool,
    next: Next,
    /// Whether anybody was asked at all.
    was_asked: bool,
}

/// What may be tried after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The same target.
    Again,
    /// Another target only.
    Elsewhere,
    /// Nothing: what was asked may have been done, and must not be done twice.
    Nothing,
}

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
            Some(model) => router.route(model, &Asked::new(self.headers, self.tenant, body), draw())?,
            None => vec![router.direct_route(router.provider_for(None)?)?],
        };
        let begun = Instant::now();
        let mut tried = Vec::new();
        // What the caller gets if nobody does better, and the place of that try.
        let mut last: Option<(Result<Box<Upstream>, SendError>, usize)> = None;
        for (place, route) in routes.iter().enumerate() {
            let now = Instant::now();
            if !route.state.health.lock().is_open(now) {
                continue;
            }
            let has_next = routes[place + 1..].iter().any(|next| next.state.health.lock().is_open(now));
            match self.try_route(router, route, body, begun, has_next, &mut tried).await {
                Attempt::Answer(mut upstream) => {
                    upstream.tried = tried;
                    return Ok(*upstream);
                }
                Attempt::Failed(failure) => {
                    // What somebody answered says more than that another one couldn't be asked.
                    if failure.was_asked || last.is_none() {
                        last = Some((failure.answer, tried.len().saturating_sub(1)));
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
                // That try is the answer, and not one that came to nothing.
                tried.remove(place);
                upstream.tried = tried;
                Ok(*upstream)
            }
            Some((Err(error), place)) => {
                let named = tried.remove(place);
                tried.push(named);
                Err(error.with(tried))
            }
            None => {
                let now = Instant::now();
                let opens = routes.iter().filter_map(|route| route.state.health.lock().opens_at(now)).min();
                let is_limit = routes.iter().all(|route| !route.state.health.lock().is_broken());
                Err(SendError::LeftAlone { wait: opens.map_or(PAUSE, |at| at - now), is_limit, tried })
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
        tried: &mut Vec<Tried>,
    ) -> Attempt {
        let until = begun + router.retries.within;
        let mut pause = PAUSE;
        let mut attempts = 0;
        let mut before = None;
        loop {
            attempts += 1;
            let failure = match self.attempt(router, route, body, until).await {
                answer @ Attempt::Answer(_) => return answer,
                Attempt::Failed(failure) => failure,
            };
            if let Some(before) = before.filter(|_| !failure.was_asked) {
                return Attempt::Failed(before);
            }
            let provider = &route.target.provider;
            tried.push(Tried { provider: provider.name.clone(), what: failure.what.clone() });
            telemetry::retry(&provider.name);
            if failure.next != Next::Again || attempts >= router.retries.attempts {
                return Attempt::Failed(failure);
            }
            // One that is limited isn't better in a moment; the next one may be free.
            let wait = failure.wait.unwrap_or(pause.mul_f64(1.0 - draw() / 2.0));
            if (failure.is_limit && has_next) || Instant::now() + wait > until {
                return Attempt::Failed(failure);
            }
            before = Some(failure);
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&self, router: &Router, route: &Route<'_>, body: &Bytes, until: Instant) -> Attempt {
        let provider = &route.target.provider;
        let unasked = |what: &str, error: SendError| {
            let (what, answer, next) = (what.to_owned(), Err(error), Next::Elsewhere);
            Attempt::Failed(Failure { what, answer, wait: None, is_limit: false, next, was_asked: false })
        };
        let prepared = match self.prepare(route, body).await {
            Ok(prepared) => prepared,
            Err(error) => return unasked("unsuited", error.into()),
        };
        let Ok(place) = route.state.gate.enter(until).await else {
            return unasked("full", SendError::Full { tried: Vec::new() });
        };
        // While this one waited, others may have found the target broken.
        let Some(attempt) = route.state.begin(router.retries.patience) else {
            let opens = route.state.health.lock().opens_at(Instant::now());
            let wait = opens.map_or(PAUSE, |at| at.saturating_duration_since(Instant::now()));
            return unasked("left-alone", SendError::LeftAlone { wait, is_limit: false, tried: Vec::new() });
        };
        let (headers, key) = match self.headers_for(provider).await {
            Ok(headers) => headers,
            Err(error) => {
                attempt.end(|_| Outcome::Failed);
                return unasked("no-credentials", provider.without_credentials(&error).into());
            }
        };
        let sent = self.send_prepared(provider, prepared, headers, place).await;
        self.judge(route, sent, attempt, key)
    }

    async fn prepare(&self, route: &Route<'_>, body: &Bytes) -> Result<Prepared, Unconvertible> {
        let (target, provider) = (route.target, &route.target.provider);
        let model = route.model;
        let body = match model {
            Some(model) => target.adjustments.apply(body, model),
            None => body.clone(),
        };
        let path = self.path;
        if body.len() <= CONVERT_INLINE || !wire::is_taken_apart(provider, self.dialect, path) {
            return wire::prepare(provider, self.dialect, path, model, body);
        }
        let (provider, dialect) = (Arc::clone(provider), self.dialect);
        let (path, model) = (path.to_owned(), model.map(str::to_owned));
        let converting =
            tokio::task::spawn_blocking(move || wire::prepare(&provider, dialect, &path, model.as_deref(), body));
        converting.await.unwrap_or_else(|error| {
            tracing::error!(%error, "converting a request failed");
            Err(Unconvertible("it could not be converted".into()))
        })
    }

    /// Sends a body as it comes to `provider`, once.
    ///
    /// # Errors
    /// Where it couldn't be reached.
    pub async fn send_to(&self, provider: &Provider, body: reqwest::Body) -> Result<Upstream, UpstreamError> {
        if provider.signer.is_some() {
            // A signature covers all of a body, which would have to be here.
            return Err(provider.error("takes signed chats only", false, None));
        }
        let headers = match self.headers_for(provider).await {
            Ok((headers, _)) => headers,
            Err(error) => return Err(provider.without_credentials(&error)),
        };
        self.send_raw(provider, &wire::path_at(provider, self.path), body, headers).await
    }

    async fn send_raw(
        &self,
        provider: &Provider,
        path: &str,
        body: reqwest::Body,
        headers: HeaderMap,
    ) -> Result<Upstream, UpstreamError> {
        let started = Instant::now();
        let request = provider.client.request(self.method.clone(), provider.url(path));
        let sending = request.headers(headers).body(body).timeout(provider.timeout).send();
        let response = match tokio::time::timeout(provider.first_byte_timeout, sending).await {
            Ok(response) => response,
            Err(_) => {
                telemetry::upstream(&provider.name, None);
                return Err(provider.error("did not answer in time", true, None));
            }
        };
        match response {
            Ok(mut response) => {
                telemetry::step(Step::Upstream, started.elapsed());
                telemetry::upstream(&provider.name, Some(response.status().as_u16()));
                let mut headers = std::mem::take(response.headers_mut());
                let content_length = headers.get(header::CONTENT_LENGTH).cloned();
                remove_connection_headers(&mut headers);
                // The body isn't changed, so its length holds on the way back.
                headers.extend(content_length.iter().map(|length| (header::CONTENT_LENGTH, length.clone())));
                let broken = |error: reqwest::Error| BodyError::Broken(error.without_url());
                Ok(Upstream {
                    status: response.status(),
                    headers,
                    content_length: content_length.and_then(|length| length.to_str().ok()?.parse().ok()),
                    body: response.bytes_stream().map(move |piece| piece.map_err(broken)).boxed(),
                    dialect: self.dialect,
                    provider: provider.name.clone(),
                    model: None,
                    tried: Vec::new(),
                    used: Used::default(),
                })
            }
            Err(error) => {
                telemetry::upstream(&provider.name, None);
                let source = error.without_url();
                let cause = telemetry::cause(&source);
                tracing::warn!(provider = provider.name, cause, "provider did not answer");
                let what = match &source {
                    error if error.is_connect() => "can't be reached",
                    error if error.is_timeout() => "did not answer in time",
                    _ => "broke off before it answered",
                };
                let timeout = source.is_timeout() && !source.is_connect();
                Err(provider.error(what, timeout, Some(BodyError::Broken(source))))
            }
        }
    }

    /// Sends what was prepared, and waits for the first byte of a good answer: as long as nothing has reached the caller,
    /// another target can still do better.
    async fn send_prepared(
        &self,
        provider: &Provider,
        prepared: Prepared,
        mut headers: HeaderMap,
        place: Place,
    ) -> Result<Upstream, UpstreamError> {
        let started = Instant::now();
        let Prepared { path, body, reading } = prepared;
        if let Some(signer) = &provider.signer {
            let signed = signer.sign(&self.method, &provider.url(&path), &body, &mut headers, SystemTime::now());
            signed.map_err(|error| {
                tracing::error!(provider = provider.name, error = telemetry::cause(&error), "a request isn't signed");
                provider.error("can't be asked with the keys in the settings", false, None)
            })?;
        }
        let mut upstream = self.send_raw(provider, &path, body.into(), headers).await?;
        let is_stream = is_event_stream(&upstream.headers);
        if !upstream.status.is_success() {
            match &reading {
                Reading::AsItIs(dialect) => upstream.dialect = *dialect,
                Reading::Converted(converted) => upstream = converted_error(upstream, converted.from).await,
            }
            // While others are tried, and pauses are kept, nobody works on this any more.
            return Ok(if is_retryable(upstream.status) { settled(upstream).await } else { upstream.holding(place) });
        }
        let left = (started + provider.first_byte_timeout).saturating_duration_since(Instant::now());
        let first = match tokio::time::timeout(left, upstream.body.next()).await {
            Ok(Some(Ok(first))) => Some(first),
            Ok(None) => None,
            Ok(Some(Err(error))) => {
                let timeout = error.is_timeout();
                let what = if timeout { "went silent before its answer" } else { "broke off before its answer" };
                return Err(provider.error(what, timeout, Some(error)));
            }
            Err(_) => return Err(provider.error("did not begin its answer in time", true, None)),
        };
        upstream.body = stream::iter(first.map(Ok)).chain(upstream.body).boxed();
        match reading {
            Reading::AsItIs(dialect) => {
                upstream.dialect = dialect;
                if is_stream {
                    upstream.body = body::told_when_cut(upstream.body, dialect, provider.name.clone());
                } else if self.method != Method::HEAD
                    && upstream.content_length.map_or(is_plain_json(&upstream.headers), |length| length <= READ_FIRST)
                {
                    // Chats, messages and embeddings: others may have nothing to say.
                    let is_answer = self.is_repeatable && self.method == Method::POST;
                    upstream = read_first(upstream, is_answer).await.map_err(|error| {
                        tracing::warn!(provider = provider.name, %error, "an answer can't be used");
                        let what = match &error {
                            BodyError::Broken(_) => "broke off its answer",
                            BodyError::Malformed(_) => "gave no usable answer",
                        };
                        provider.error(what, error.is_timeout(), Some(error))
                    })?;
                }
            }
            Reading::Converted(converted) => {
                upstream.dialect = Dialect::OpenAi;
                upstream.content_length = None;
                for name in [header::CONTENT_LENGTH, header::CONTENT_ENCODING] {
                    upstream.headers.remove(name);
                }
                if converted.is_stream {
                    if is_kind(&upstream.headers, "application/json") {
                        let why = BodyError::Malformed("a stream was asked for, and it is JSON".into());
                        return Err(provider.error("gave no usable answer", false, Some(why)));
                    }
                    upstream.body = body::chunks(upstream.body, &converted, Used::clone(&upstream.used));
                    upstream.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
                } else {
                    let read = body::whole(upstream.body).await;
                    let read = read.and_then(|bytes| body::completion(&bytes, &converted));
                    let completion = read.map_err(|error| {
                        tracing::warn!(provider = provider.name, %error, "an answer can't be used");
                        let timeout = error.is_timeout();
                        provider.error("gave no usable answer", timeout, Some(error))
                    })?;
                    upstream.content_length = Some(completion.len());
                    upstream.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                    upstream.body = stream::iter([Ok(completion)]).boxed();
                }
            }
        }
        Ok(upstream.holding(place))
    }

    /// Learns from how a try ended, and says whether another one may do better.
    fn judge(
        &self,
        route: &Route<'_>,
        sent: Result<Upstream, UpstreamError>,
        attempt: Try,
        key: Option<Taken>,
    ) -> Attempt {
        let provider = &route.target.provider;
        match sent {
            Ok(mut upstream) => {
                let status = upstream.status.as_u16();
                upstream.model = route.model.map(str::to_owned);
                let is_retryable = is_retryable(upstream.status);
                // It is our key that is refused, and another target has another one.
                let is_unwelcome = matches!(status, 401 | 403) && !provider.wants_credentials();
                let wait = if is_retryable { retry_after::wait(&upstream.headers, SystemTime::now()) } else { None };
                let mut has_another_key = false;
                attempt.end(|took| match (status, key) {
                    (429, Some(key)) => {
                        let now = Instant::now();
                        has_another_key = provider.keys.has_another(key, now);
                        provider.keys.cool(key, wait.unwrap_or(PAUSE * 10), now);
                        if has_another_key { Outcome::Unknown } else { Outcome::Limited(wait) }
                    }
                    (429, None) => Outcome::Limited(wait),
                    // As asked for with 503 when a provider is overloaded.
                    (500.., _) if wait.is_some() => Outcome::Limited(wait),
                    (500.., _) => Outcome::Failed,
                    (200..300, _) => Outcome::Answered(took),
                    (401 | 403, _) => Outcome::Unknown,
                    _ => Outcome::Refused,
                });
                if !is_retryable && !is_unwelcome {
                    return Attempt::Answer(Box::new(upstream));
                }
                let is_limit = status == 429 && !has_another_key;
                Attempt::Failed(Failure {
                    what: status.to_string(),
                    answer: Ok(Box::new(upstream)),
                    wait: if has_another_key { Some(Duration::ZERO) } else { wait },
                    is_limit,
                    next: match status {
                        401 | 403 => Next::Elsewhere,
                        // What may have been done, though it was answered badly, isn't done again.
                        _ if !self.is_repeatable && status != 429 => Next::Nothing,
                        _ => Next::Again,
                    },
                    was_asked: true,
                })
            }
            Err(error) => {
                attempt.end(|_| Outcome::Failed);
                let is_unsent = error.what == "can't be reached";
                Attempt::Failed(Failure {
                    what: if error.timeout {
                        "timeout".into()
                    } else if is_unsent {
                        "unreachable".into()
                    } else {
                        "broken".into()
                    },
                    wait: None,
                    is_limit: false,
                    next: if self.is_repeatable || is_unsent { Next::Again } else { Next::Nothing },
                    was_asked: true,
                    answer: Err(error.into()),
                })
            }
        }
    }
}

impl Upstream {
    /// How many were asked, the one that answered included.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.tried.len() + 1
    }

    /// Whether it is a stream of events.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        is_event_stream(&self.headers)
    }

    /// Keeps the place until the body has been read or given up.
    fn holding(mut self, place: Place) -> Self {
        let held = move |piece| {
            let _held = &place;
            piece
        };
        self.body = self.body.map(held).boxed();
        self
    }
}

/// Whether another try, or another target, may do better.
fn is_retryable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 409 | 429) || status.is_server_error()
}

/// A refusal with its body read, as far as it is worth it: it may not be needed, and then nobody would.
async fn settled(mut upstream: Upstream) -> Upstream {
    let reading = tokio::time::timeout(SETTLING, body::begun(upstream.body, SETTLED));
    let (read, rest) = reading.await.ok().and_then(Result::ok).unwrap_or_default();
    if rest.is_some() || upstream.content_length.is_some_and(|length| length != read.len()) {
        // Cut where it is long or slow.
        upstream.headers.remove(header::CONTENT_LENGTH);
        upstream.content_length = None;
    }
    upstream.body = stream::iter([Ok(read)]).boxed();
    upstream
}

/// The same answer, read to its end where it is no longer than [`READ_FIRST`]. Where it is one, and says that it is JSON, it
/// must be.
async fn read_first(mut upstream: Upstream, is_answer: bool) -> Result<Upstream, BodyError> {
    let (read, rest) = body::begun(upstream.body, READ_FIRST).await?;
    if rest.is_none() {
        if is_answer && is_plain_json(&upstream.headers) {
            serde_json::from_slice::<IgnoredAny>(&read).map_err(|error| BodyError::Malformed(error.to_string()))?;
        }
        upstream.content_length = Some(read.len());
        upstream.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(read.len()));
    }
    upstream.body = stream::iter([Ok(read)]).chain(stream::iter(rest).flatten()).boxed();
    Ok(upstream)
}

/// A provider's error in OpenAI's shape.
async fn converted_error(mut upstream: Upstream, from: Foreign) -> Upstream {
    let status = upstream.status.as_u16();
    let bytes = body::whole(upstream.body).await.unwrap_or_default();
    if from == Foreign::Gemini
        && let Some(delay) = gemini::retry_delay(&bytes)
        && !upstream.headers.contains_key(header::RETRY_AFTER)
    {
        // Rounded up: whoever comes too early is refused again.
        upstream.headers.insert(header::RETRY_AFTER, HeaderValue::from(delay.as_secs_f64().ceil().max(0.0) as u64));
    }
    let kind = upstream.headers.get("x-amzn-errortype").and_then(|kind| kind.to_str().ok());
    let error = body::error(status, kind, &bytes, from);
    upstream.headers.remove(header::CONTENT_ENCODING);
    upstream.headers.remove(header::CONTENT_LENGTH);
    upstream.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    upstream.content_length = Some(error.len());
    upstream.dialect = Dialect::OpenAi;
    upstream.body = stream::iter([Ok(error)]).boxed();
    upstream
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    is_kind(headers, "text/event-stream")
}

/// Whether a body is JSON that can be read as it is.
fn is_plain_json(headers: &HeaderMap) -> bool {
    is_kind(headers, "application/json") && !headers.contains_key(header::CONTENT_ENCODING)
}

fn is_kind(headers: &HeaderMap, wanted: &str) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.and_then(|kind| kind.split(';').next()).is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted))
}

/// From 0 to 1, evenly.
pub(crate) fn draw() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let bits = STATE.hash_one(COUNT.fetch_add(1, Ordering::Relaxed)) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let draw = bits as f64 / (1u64 << 53) as f64;
    draw
}
