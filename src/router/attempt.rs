//! One attempt at one target: prepared, sent, its reply read as far as another attempt could still do better.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use reqwest::StatusCode;
use reqwest::header::{self, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use super::body::{self, Looks, looks};
use super::concurrency::Permit;
use super::convert::{self, ConvertedStream};
use super::credentials::keys::KeySlot;
use super::error::{SendError, UpstreamError};
use super::health::Outcome;
use super::outgoing::Outgoing;
use super::pieces::BodyError;
use super::plan::{self, Conversion, Prepared, ResponsePlan};
use super::provider::Provider;
use super::reply::{Flaw, Upstream, is_kind};
use super::retry_after;
use super::route::Route;
use super::router::Router;
use super::target::Try;
use super::transport::UNREACHABLE;
use super::usage::Tokens;
use crate::llm::{self, Answer, Chat, Event, EventSplitter, FormatId, StreamFault, Terminal, Unsupported};
use crate::telemetry;

/// Bodies beyond this are converted on a blocking thread.
const CONVERT_INLINE: usize = 256 << 10;
/// Whole replies up to this size are read before they are handed on: one that is cut can be asked for again.
const READ_FIRST: usize = 1 << 20;
/// Bytes of a stream that are waited for, to see whether it begins with an error.
const FIRST_EVENT: usize = 16 << 10;
/// Of a refusal, which may not be needed: bytes that are read, and for how long.
const SETTLED: usize = 64 << 10;
const SETTLING: Duration = Duration::from_secs(5);

/// The first pause before a target is tried again, doubled each time up to the longest, and shortened by chance by up to half.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// What one attempt came to.
pub(super) enum Attempt {
    /// This is the answer, or as good as any other will be.
    Answer(Box<Upstream>),
    /// Perhaps another attempt or another target does better.
    Failed(Failure),
}

pub(super) struct Failure {
    pub(super) what: String,
    /// What the caller gets if nobody does better.
    pub(super) answer: Result<Box<Upstream>, SendError>,
    /// How long the provider wants to be left alone.
    pub(super) wait: Option<Duration>,
    pub(super) is_limit: bool,
    pub(super) next: Next,
    /// Whether anybody was asked at all.
    pub(super) was_asked: bool,
}

/// What may be tried after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The same target.
    Again,
    /// Another target only.
    Elsewhere,
    /// Nothing: what was asked may have been done, and must not be done twice.
    Nothing,
}

impl Outgoing<'_> {
    pub(super) async fn attempt(&self, router: &Router, route: &Route<'_>, body: &Bytes, until: Instant) -> Attempt {
        let provider = &route.target.provider;
        let unasked = |what: &str, error: SendError| {
            let (what, answer, next) = (what.to_owned(), Err(error), Next::Elsewhere);
            Attempt::Failed(Failure { what, answer, wait: None, is_limit: false, next, was_asked: false })
        };
        let prepared = match self.prepare(route, body).await {
            Ok(prepared) => prepared,
            Err(error) => return unasked("unsuited", error.into()),
        };
        let Ok(permit) = route.state.concurrency.enter(until).await else {
            return unasked("full", SendError::Full { failed_attempts: Vec::new() });
        };
        // While this one waited, others may have found the target broken.
        let Some(attempt) = route.state.begin(router.retries.patience) else {
            let opens = route.state.health.lock().opens_at(Instant::now());
            let wait = opens.map_or(FIRST_PAUSE, |at| at.saturating_duration_since(Instant::now()));
            return unasked(
                "left-alone",
                SendError::CircuitOpen { wait, is_limit: false, failed_attempts: Vec::new() },
            );
        };
        let (headers, key) = match self.headers_for(provider).await {
            Ok(headers) => headers,
            Err(error) => {
                attempt.end(|_| Outcome::Failed);
                return unasked("no-credentials", provider.no_credentials(&error).into());
            }
        };
        let is_to_find_out = self.is_for_responses() && provider.may_lack_responses();
        let once_more = is_to_find_out.then(|| headers.clone());
        let mut sent = self.send_prepared(provider, prepared, headers, permit).await;
        if let (Ok(upstream), Some(headers)) = (&mut sent, once_more)
            && self.lacks_responses(upstream).await
        {
            provider.found_without_responses();
            if let (Ok(prepared), Ok(permit)) =
                (self.prepare(route, body).await, route.state.concurrency.enter(until).await)
            {
                sent = self.send_prepared(provider, prepared, headers, permit).await;
            }
        }
        self.judge(route, sent, attempt, key)
    }

    async fn prepare(&self, route: &Route<'_>, body: &Bytes) -> Result<Prepared, Unsupported> {
        let (target, provider, model) = (route.target, &route.target.provider, route.model);
        let is_adjusted = !target.adjustments.are_none();
        let names_it = |model: &str| self.said().is_some_and(|chat| chat.model == model);
        let adjusted = match model {
            Some(model) if is_adjusted || !names_it(model) => target.adjustments.apply(body, model),
            _ => body.clone(),
        };
        if adjusted.len() <= CONVERT_INLINE || !plan::is_converted(provider, self.chat) {
            return plan::prepare(provider, self.chat, self.path, model, adjusted, is_adjusted);
        }
        let (provider, chat) = (Arc::clone(provider), self.chat.cloned());
        let (path, model) = (self.path.to_owned(), model.map(str::to_owned));
        let converting = tokio::task::spawn_blocking(move || {
            plan::prepare(&provider, chat.as_ref(), &path, model.as_deref(), adjusted, is_adjusted)
        });
        converting.await.unwrap_or_else(|error| {
            tracing::error!(%error, "converting a request failed");
            Err(Unsupported::new("the request", "could not be converted"))
        })
    }

    fn is_for_responses(&self) -> bool {
        self.chat.is_some_and(|chat| chat.format == FormatId::OpenAiResponses)
    }

    /// Whether a provider that was asked for a response as if it had the Responses API says that it hasn't.
    async fn lacks_responses(&self, upstream: &mut Upstream) -> bool {
        if !matches!(upstream.status.as_u16(), 404 | 405) {
            return false;
        }
        let reading = tokio::time::timeout(
            SETTLING,
            body::begun(std::mem::replace(&mut upstream.body, stream::empty().boxed()), SETTLED),
        );
        let Ok(Ok((read, rest))) = reading.await else { return false };
        // One that has it, and not the model, says so.
        let is_about_a_model = memchr_of(&read, b"model_not_found") || memchr_of(&read, b"previous_response");
        upstream.body = stream::iter([Ok(read)]).chain(stream::iter(rest).flatten()).boxed();
        !is_about_a_model
    }

    /// Sends what was prepared, and waits for the beginning of a good answer: as long as nothing has reached the caller,
    /// another target can still do better.
    async fn send_prepared(
        &self,
        provider: &Provider,
        prepared: Prepared,
        mut headers: header::HeaderMap,
        permit: Permit,
    ) -> Result<Upstream, UpstreamError> {
        let started = Instant::now();
        let Prepared { path, body, response } = prepared;
        if let Some(signer) = &provider.signer {
            let signed = signer.sign(&self.method, &provider.url(&path), &body, &mut headers, SystemTime::now());
            signed.map_err(|error| {
                tracing::error!(provider = provider.name, error = telemetry::cause(&error), "a request isn't signed");
                provider.error("can't be asked with the keys in the settings", false, None)
            })?;
        }
        let mut upstream = self.exchange(provider, &path, body.into(), headers).await?;
        if !upstream.status.is_success() {
            if let ResponsePlan::Convert(conversion) = &response {
                upstream = converted_error(upstream, conversion).await;
            }
            // While others are tried, and pauses are kept, nobody works on this any more.
            let is_retryable = is_retryable(upstream.status);
            return Ok(if is_retryable { settled(upstream).await } else { upstream.holding(permit) });
        }
        let until = started + provider.first_byte_timeout;
        let first = first_piece(&mut upstream, until).await.map_err(|failed| failed.of(provider))?;
        let read = match response {
            ResponsePlan::PassThrough(None) => self.pass_through(upstream).await,
            ResponsePlan::PassThrough(Some(format)) => self.pass_chat_through(upstream, format, &first, until).await,
            ResponsePlan::Convert(conversion) => self.convert(upstream, *conversion, &first, until).await,
        };
        Ok(read.map_err(|failed| failed.of(provider))?.holding(permit))
    }

    /// A reply that isn't a chat's.
    async fn pass_through(&self, upstream: Upstream) -> Result<Upstream, NoAnswer> {
        let is_short = upstream.content_length.map_or(is_plain_json(&upstream), |length| length <= READ_FIRST);
        if upstream.is_stream || self.method == reqwest::Method::HEAD || !is_short {
            return Ok(upstream);
        }
        // Embeddings and the like; others may have nothing to say.
        let is_answer = self.is_repeatable && self.method == reqwest::Method::POST;
        let (upstream, read) = read_first(upstream).await?;
        match read {
            Some(read) if is_answer && is_plain_json(&upstream) => {
                serde_json::from_slice::<IgnoredAny>(&read).map_err(NoAnswer::malformed)?;
                Ok(upstream)
            }
            _ => Ok(upstream),
        }
    }

    /// A chat's reply in the caller's own format.
    async fn pass_chat_through(
        &self,
        mut upstream: Upstream,
        format: FormatId,
        first: &[u8],
        until: Instant,
    ) -> Result<Upstream, NoAnswer> {
        if upstream.is_encoded() {
            return Ok(upstream);
        }
        match looks(first) {
            Looks::Events => {
                upstream.is_stream = true;
                upstream.flaw = self.first_event_flaw(&mut upstream, format, until).await?;
                let (provider, progress) = (upstream.provider.clone(), Arc::clone(&upstream.progress));
                upstream.body = body::with_truncation_event(upstream.body, format, provider, progress);
                Ok(upstream)
            }
            Looks::Json => {
                upstream.is_stream = false;
                let (mut upstream, read) = read_first(upstream).await?;
                if let Some(read) = read {
                    let seen = Seen::of(&read)?;
                    if let Some(tokens) = seen.used {
                        upstream.used.set(tokens);
                    }
                    upstream.flaw = seen.flaw(&read, format, self.said());
                }
                Ok(upstream)
            }
            // Whoever promises JSON and sends none has no answer.
            Looks::Unknown if is_kind(&upstream.headers, "application/json") => {
                let (upstream, read) = read_first(upstream).await?;
                if let Some(read) = read {
                    serde_json::from_slice::<IgnoredAny>(&read).map_err(NoAnswer::malformed)?;
                }
                Ok(upstream)
            }
            Looks::Unknown if first.is_empty() && upstream.is_stream => Err(NoAnswer::unusable("it is empty".into())),
            Looks::Unknown => Ok(upstream),
        }
    }

    /// Waits for the first event of a stream, within bounds, and looks whether it is an error.
    async fn first_event_flaw(
        &self,
        upstream: &mut Upstream,
        format: FormatId,
        until: Instant,
    ) -> Result<Option<Flaw>, NoAnswer> {
        let (mut events, mut read, mut first) = (EventSplitter::default(), Vec::new(), None);
        let mut size = 0;
        while first.is_none() && size < FIRST_EVENT {
            match tokio::time::timeout_at(until, upstream.body.next()).await {
                Ok(Some(Ok(piece))) => {
                    events.feed(&piece, |event| {
                        // An empty one keeps a connection alive; of what can't be read nothing is known.
                        let says = |event: &&Event| !event.data.is_empty() || !event.name.is_empty();
                        first = first.take().or_else(|| event.ok().filter(says).cloned());
                    });
                    size += piece.len();
                    read.push(Ok(piece));
                }
                Ok(Some(Err(error))) if read.is_empty() => return Err(NoAnswer::broken(error)),
                Ok(Some(Err(error))) => {
                    read.push(Err(error));
                    break;
                }
                Ok(None) | Err(_) => break,
            }
        }
        let rest = std::mem::replace(&mut upstream.body, stream::empty().boxed());
        upstream.body = stream::iter(read).chain(rest).boxed();
        let is_error = first.is_some_and(|event| format.format().terminal(&event) == Some(Terminal::Error));
        Ok(is_error.then_some(Flaw::Error(StatusCode::BAD_GATEWAY.as_u16())))
    }

    /// A reply in another format.
    async fn convert(
        &self,
        mut upstream: Upstream,
        conversion: Conversion,
        first: &[u8],
        until: Instant,
    ) -> Result<Upstream, NoAnswer> {
        upstream = decoded(upstream);
        if conversion.is_stream && looks(first) != Looks::Json {
            let pieces = std::mem::replace(&mut upstream.body, stream::empty().boxed());
            let mut converted =
                ConvertedStream::new(pieces, &conversion, upstream.used.clone(), Arc::clone(&upstream.progress));
            match tokio::time::timeout_at(until, converted.begin()).await {
                // A slow beginning is handed on as it comes.
                Ok(Ok(())) | Err(_) => {}
                Ok(Err(StreamFault::Provider(error))) => {
                    return Err(NoAnswer {
                        what: "failed",
                        timeout: false,
                        source: BodyError::Malformed(error.message),
                    });
                }
                Ok(Err(fault)) => return Err(NoAnswer::unusable(fault.to_string())),
            }
            upstream.is_stream = true;
            upstream.reset_body_headers("text/event-stream");
            upstream.body = converted.into_pieces();
            return Ok(upstream);
        }
        let pieces = std::mem::replace(&mut upstream.body, stream::empty().boxed());
        let read = body::whole(pieces).await.map_err(NoAnswer::broken)?;
        let answer = convert::read(&read, conversion.from).map_err(NoAnswer::broken)?;
        upstream.flaw = self.said().and_then(|chat| defect(&answer, chat));
        if answer.lossy.is_some() {
            upstream.progress.lose();
        }
        upstream.used = answer
            .usage
            .as_ref()
            .map(|usage| {
                let used = super::reply::Used::default();
                used.set(convert::tokens(usage));
                used
            })
            .unwrap_or_default();
        let Conversion { to, is_stream, frame, .. } = conversion;
        let (told, kind) = if is_stream {
            (convert::played_back(&answer, to, &frame), "text/event-stream")
        } else {
            (convert::whole(&answer, to, &frame), "application/json")
        };
        upstream.is_stream = is_stream;
        upstream.reset_body_headers(kind);
        upstream.content_length = Some(told.len());
        upstream.body = stream::iter([Ok(told)]).boxed();
        Ok(upstream)
    }

    /// What the request says, where it is a chat that could be read.
    fn said(&self) -> Option<&Chat> {
        self.chat?.chat.as_deref()
    }

    /// Learns from how an attempt ended, and says whether another one may do better.
    fn judge(
        &self,
        route: &Route<'_>,
        sent: Result<Upstream, UpstreamError>,
        attempt: Try,
        key: Option<KeySlot>,
    ) -> Attempt {
        let provider = &route.target.provider;
        match sent {
            Ok(mut upstream) => {
                let status = match upstream.flaw {
                    Some(Flaw::Error(status)) => status,
                    _ => upstream.status.as_u16(),
                };
                upstream.model = route.model.map(str::to_owned);
                let is_retryable = StatusCode::from_u16(status).is_ok_and(is_retryable);
                // It is our key that is refused, or the model isn't there, and another target has another one.
                let is_unwelcome = matches!(status, 401 | 403) && !provider.wants_credentials();
                let is_elsewhere = is_unwelcome || matches!(status, 402 | 404 | 410);
                let is_defective = matches!(upstream.flaw, Some(Flaw::Defect(_)));
                let wait = if is_retryable { retry_after::wait(&upstream.headers, SystemTime::now()) } else { None };
                let mut has_another_key = false;
                attempt.end(|took| match (status, key) {
                    (429, Some(key)) => {
                        let now = Instant::now();
                        has_another_key = provider.keys.has_another(key, now);
                        provider.keys.cool(key, wait.unwrap_or(FIRST_PAUSE * 10), now);
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
                if !is_retryable && !is_elsewhere && !is_defective {
                    return Attempt::Answer(Box::new(upstream));
                }
                let is_limit = status == 429 && !has_another_key;
                Attempt::Failed(Failure {
                    what: if is_defective { "defective".into() } else { status.to_string() },
                    answer: Ok(Box::new(upstream)),
                    wait: if has_another_key || is_defective { Some(Duration::ZERO) } else { wait },
                    is_limit,
                    next: match status {
                        _ if is_elsewhere => Next::Elsewhere,
                        // What may have been done, though it was answered badly, isn't done again.
                        _ if !self.is_repeatable && status != 429 => Next::Nothing,
                        _ => Next::Again,
                    },
                    was_asked: true,
                })
            }
            Err(error) => {
                attempt.end(|_| Outcome::Failed);
                let is_unsent = error.what == UNREACHABLE;
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

/// Why a success is no answer.
struct NoAnswer {
    what: &'static str,
    timeout: bool,
    source: BodyError,
}

impl NoAnswer {
    fn broken(source: BodyError) -> Self {
        let what = match &source {
            BodyError::Broken(_) => "broke off its answer",
            BodyError::Malformed(_) | BodyError::Compressed(_) => "gave no usable answer",
        };
        Self { what, timeout: source.is_timeout(), source }
    }

    fn unusable(why: String) -> Self {
        Self::broken(BodyError::Malformed(why))
    }

    fn malformed(error: serde_json::Error) -> Self {
        Self::unusable(error.to_string())
    }

    fn of(self, provider: &Provider) -> UpstreamError {
        tracing::warn!(provider = provider.name, error = %self.source, "an answer can't be used");
        provider.error(self.what, self.timeout, Some(self.source))
    }
}

/// Waits for the first bytes of a body, and leaves them in it.
async fn first_piece(upstream: &mut Upstream, until: Instant) -> Result<Bytes, NoAnswer> {
    let late = || NoAnswer {
        what: "did not begin its answer in time",
        timeout: true,
        source: BodyError::Malformed("it did not begin in time".into()),
    };
    let first = match tokio::time::timeout_at(until, upstream.body.next()).await.map_err(|_| late())? {
        Some(Ok(first)) => first,
        None => return Ok(Bytes::new()),
        Some(Err(error)) => {
            let timeout = error.is_timeout();
            let what = if timeout { "went silent before its answer" } else { "broke off before its answer" };
            return Err(NoAnswer { what, timeout, source: error });
        }
    };
    let rest = std::mem::replace(&mut upstream.body, stream::empty().boxed());
    upstream.body = stream::iter([Ok(first.clone())]).chain(rest).boxed();
    Ok(first)
}

/// Whether another attempt, or another target, may do better.
fn is_retryable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 409 | 429) || status.is_server_error()
}

/// Whether a body is said to be JSON, and can be read as it is.
fn is_plain_json(upstream: &Upstream) -> bool {
    is_kind(&upstream.headers, "application/json") && !upstream.is_encoded()
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

/// The same answer, read to its end where it is no longer than [`READ_FIRST`], and what was read then.
async fn read_first(mut upstream: Upstream) -> Result<(Upstream, Option<Bytes>), NoAnswer> {
    let (read, rest) = body::begun(upstream.body, READ_FIRST).await.map_err(NoAnswer::broken)?;
    let is_whole = rest.is_none();
    if is_whole {
        upstream.content_length = Some(read.len());
        upstream.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(read.len()));
    }
    upstream.body = stream::iter([Ok(read.clone())]).chain(stream::iter(rest).flatten()).boxed();
    Ok((upstream, is_whole.then_some(read)))
}

/// What a whole reply in a caller's format says beside its answer.
#[derive(Default)]
struct Seen {
    /// The status of the error that it tells, if it tells one.
    error: Option<u16>,
    used: Option<Tokens>,
}

impl Seen {
    /// The error says that it is no JSON.
    fn of(read: &[u8]) -> Result<Self, NoAnswer> {
        #[derive(Deserialize)]
        struct Shallow<'r> {
            #[serde(borrow, default)]
            error: Option<&'r serde_json::value::RawValue>,
            usage: Option<serde_json::Value>,
        }
        let json = read.strip_prefix(b"\xef\xbb\xbf").unwrap_or(read);
        if json.trim_ascii_start().first() == Some(&b'{')
            && let Ok(Shallow { error, usage }) = serde_json::from_slice(json)
        {
            return Ok(Self { error: error.map(status_of), used: usage.as_ref().and_then(Tokens::of) });
        }
        // Another value, or a member that is there twice, which is JSON all the same.
        serde_json::from_slice::<IgnoredAny>(json).map_err(NoAnswer::malformed)?;
        Ok(Self::default())
    }

    /// What is wrong with it as the answer to `chat`.
    fn flaw(&self, read: &[u8], format: FormatId, chat: Option<&Chat>) -> Option<Flaw> {
        if let Some(status) = self.error {
            return Some(Flaw::Error(status));
        }
        let demands = |chat: &&Chat| !chat.tools.is_empty() || chat.output != llm::chat::Output::Text;
        chat.filter(demands).and_then(|chat| defect(&convert::read(read, format).ok()?, chat))
    }
}

/// The status that fits an error in a reply with status 200.
fn status_of(error: &serde_json::value::RawValue) -> u16 {
    let error: serde_json::Value = serde_json::from_str(error.get()).unwrap_or_default();
    let status = error["status"].as_u64().or(error["code"].as_u64()).and_then(|status| u16::try_from(status).ok());
    status.filter(|status| (400..600).contains(status)).unwrap_or(502)
}

/// What is wrong with an answer that is complete.
fn defect(answer: &Answer, chat: &Chat) -> Option<Flaw> {
    let is_complete = !matches!(answer.finish, llm::Finish::Length | llm::Finish::ContentFilter | llm::Finish::Refusal);
    let checked = is_complete.then(|| llm::storable::check_fitting(answer, chat));
    checked.and_then(Result::err).map(|defect| Flaw::Defect(defect.to_string()))
}

/// The same reply, decompressed.
fn decoded(mut upstream: Upstream) -> Upstream {
    if !upstream.is_encoded() {
        return upstream;
    }
    let encoding =
        upstream.headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let encoding = encoding.to_ascii_lowercase();
    upstream.body = body::decompressed(upstream.body, &encoding);
    upstream.headers.remove(header::CONTENT_ENCODING);
    upstream
}

/// A provider's refusal in the caller's format.
async fn converted_error(mut upstream: Upstream, conversion: &Conversion) -> Upstream {
    upstream = decoded(upstream);
    let status = upstream.status.as_u16();
    let pieces = std::mem::replace(&mut upstream.body, stream::empty().boxed());
    let bytes = body::whole(pieces).await.unwrap_or_default();
    let header = |name: &str| upstream.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let error = conversion.from.format().read_error(status, &header, &bytes);
    if let Some(wait) = error.retry_after.filter(|_| !upstream.headers.contains_key(header::RETRY_AFTER)) {
        // Rounded up: whoever comes too early is refused again.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and far below 2^53")]
        let seconds = wait.as_secs_f64().ceil() as u64;
        upstream.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    let told = Bytes::from(conversion.to.format().write_error(&error).to_string());
    upstream.is_stream = false;
    upstream.reset_body_headers("application/json");
    upstream.content_length = Some(told.len());
    upstream.body = stream::iter([Ok(told)]).boxed();
    upstream
}

fn memchr_of(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}
