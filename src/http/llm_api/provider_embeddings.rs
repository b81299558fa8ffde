//! Providers' embeddings: vectors that are known come from the cache, and only the others are asked for.
//!
//! Each input is known by itself. What nothing is known of is forwarded as it came, and the reply handed on as it comes. Where
//! some vectors are known, a request for the others takes its place, and the reply is put together; if that doesn't come to
//! what the whole request would have brought, the whole request is made after all.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};

use super::controls::Controls;
use super::error::ApiError;
use super::head::Head;
use super::headers::{self, VectorsFound};
use super::incoming::{PARSE_INLINE, told_apart};
use super::meter::{Admitted, Meter, Served};
use super::reply::forward;
use super::shared_call::{FlightKey, Shape, lead};
use super::single_flight::Role;
use crate::cache::{Cache, KnownVector, VectorLookup, VectorSave};
use crate::decide::Outcome;
use crate::http::auth::Caller;
use crate::http::live::Live;
use crate::http::{App, body};
use crate::llm::embeddings::{self, EmbeddingsRequest, Encoding, Inputs, Vectors};
use crate::llm::{Document, raw};
use crate::prompt::{Fingerprint, Partition, Unclear};
use crate::router::{Outgoing, RouteError, SendError, Tokens, Upstream};
use crate::store::{CacheKey, ProviderVector, ScopeKey, TextHash, Timestamp};
use crate::telemetry;

/// The longest reply that is stored: 2,048 vectors of 4,096 numbers, as long as numbers are written. A request whose reply may be
/// longer is forwarded as it is.
const LONGEST: usize = 256 << 20;
/// Numbers of a vector whose request doesn't say how many, at most, and the bytes of each as it is told.
const DIMENSIONS: u64 = 4096;
const FLOAT_BYTES: u64 = 24;
const BASE64_BYTES: u64 = 6;
/// Numbers that are written on the thread that answers other requests too. More take a millisecond.
const WRITTEN_INLINE: usize = 16 << 10;

type Headers = Vec<(HeaderName, HeaderValue)>;

/// A request as it came.
pub(super) struct Arrived {
    pub(super) caller: Caller,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    /// The model that it names.
    pub(super) model: String,
    pub(super) body: Bytes,
    /// The same, as it was before it was compressed.
    pub(super) readable: Result<Bytes, String>,
}

/// Answers a request for vectors of a provider's model.
pub(super) async fn answer(
    app: Arc<App>,
    live: Arc<Live>,
    admitted: Admitted,
    arrived: Arrived,
) -> Result<Response, ApiError> {
    let incoming = Arc::new(Incoming::read(&app, &live, arrived).await?);
    let meter = Arc::new(admitted.for_model(Some(&incoming.model), None)?);
    let request = Request { app, live, incoming, meter: Arc::clone(&meter) };
    request.answer().await.inspect_err(|error| meter.failed(error.status()))
}

/// A request that has been read.
struct Incoming {
    caller: Caller,
    headers: HeaderMap,
    path: String,
    model: String,
    /// As it is forwarded where nothing of it is known.
    body: Bytes,
    controls: Controls,
    /// What to ask of which cache, or why the cache has no say in it.
    asked: Result<Asked, String>,
}

struct Asked {
    cache: Arc<Cache>,
    request: EmbeddingsRequest,
    /// The body as plain JSON.
    plain: Bytes,
    /// What each input is known by.
    names: Vec<String>,
    fingerprint: Fingerprint,
    /// What separates it from others beside what it says.
    apart: Vec<Option<String>>,
    /// What the scope says of the target that is to answer: see [`Router::answer_scope`](crate::router::Router::answer_scope).
    target_scope: Option<String>,
}

impl Incoming {
    async fn read(app: &App, live: &Live, arrived: Arrived) -> Result<Self, ApiError> {
        let Arrived { caller, query, mut headers, model, mut body, readable } = arrived;
        let parsed = match &readable {
            Ok(readable) => parse(readable.clone()).await,
            Err(why) => Err(why.clone()),
        };
        let (cache, request) = match parsed {
            Ok(Parsed { cache, request }) => (cache, request),
            Err(why) => (None, Err(why)),
        };
        let controls = Controls::read(&headers, cache.as_ref())?;
        let mut plain = readable.unwrap_or_default();
        if cache.is_some()
            && let Some(without) = raw::without(&plain, "cache")
        {
            plain = without.into();
            body = plain.clone();
            headers.remove(header::CONTENT_ENCODING);
        }
        let asked = request
            .inspect_err(|why| tracing::debug!(why, "a request that can't be read is forwarded"))
            .map_err(|_| "the request is not understood".to_owned())
            .and_then(|request| {
                let cache = app.caches.get(&caller.tenant, &controls.cache).map_err(|error| {
                    telemetry::degraded("cache");
                    tracing::warn!(why = %error, "a request goes on without the cache");
                    error.to_string()
                })?;
                let apart = told_apart(live, &controls, query.as_deref(), Some(&model), &headers);
                let target_scope = live.router.likely_scope(&model, &headers, &caller.tenant, &body);
                let fingerprint = fingerprint(&request, &model, &cache, &apart, target_scope.as_deref());
                let fingerprint = fingerprint.map_err(|unclear| unclear.to_string())?;
                let names = request.inputs.names();
                Ok(Asked { cache, request, plain, names, fingerprint, apart, target_scope })
            });
        let path = format!("/embeddings{}", query.map(|query| format!("?{query}")).unwrap_or_default());
        Ok(Self { caller, headers, path, model, body, controls, asked })
    }
}

fn fingerprint(
    request: &EmbeddingsRequest,
    model: &str,
    cache: &Cache,
    apart: &[Option<String>],
    target_scope: Option<&str>,
) -> Result<Fingerprint, Unclear> {
    let apart: Vec<Option<&str>> = apart.iter().map(Option::as_deref).chain([target_scope]).collect();
    let ignored = cache.ignored_fields();
    let partition = Partition { ignored: &ignored, apart: &apart, provider_keeps_answers: false };
    Fingerprint::of_vectors(request, model, &partition)
}

/// A body that is JSON.
struct Parsed {
    /// The member `cache`, which is said to us.
    cache: Option<serde_json::Value>,
    /// What it asks for, or why that isn't understood.
    request: Result<EmbeddingsRequest, String>,
}

async fn parse(body: Bytes) -> Result<Parsed, String> {
    off_thread_if(body.len() > PARSE_INLINE, move || {
        let Document { value, ambiguous } = Document::parse(&body).map_err(|error| error.to_string())?;
        let cache = value.get("cache").filter(|cache| !cache.is_null()).cloned();
        let request = match ambiguous {
            Some(why) => Err(why.to_owned()),
            None => EmbeddingsRequest::read(value).map_err(|error| error.to_string()),
        };
        let request = request.and_then(|request| match request.inputs.is_empty() {
            true => Err("it has no inputs".to_owned()),
            false => Ok(request),
        });
        Ok(Parsed { cache, request })
    })
    .await
}

/// Does long work where it holds up nobody.
async fn off_thread_if<T: Send + 'static>(
    is_long: bool,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    if !is_long {
        return work();
    }
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "work on vectors failed");
        Err("it could not be worked on".into())
    })
}

/// A call to a provider.
struct Call {
    /// Which of the request's inputs it is for.
    places: Vec<usize>,
    headers: HeaderMap,
    body: Bytes,
    /// Whether it is the request as it came.
    is_whole: bool,
}

impl Call {
    fn whole(incoming: &Incoming, asked: &Asked) -> Self {
        let (headers, body) = (incoming.headers.clone(), incoming.body.clone());
        Self { places: (0..asked.names.len()).collect(), headers, body, is_whole: true }
    }

    /// For what isn't known, each once.
    fn for_unknown(incoming: &Incoming, asked: &Asked, known: &[Option<KnownVector>]) -> Self {
        let mut seen = HashSet::new();
        let is_new = |place: &usize| known[*place].is_none() && seen.insert(asked.names[*place].as_str());
        let places: Vec<usize> = (0..asked.names.len()).filter(is_new).collect();
        if places.len() == asked.names.len() {
            return Self::whole(incoming, asked);
        }
        let Some(body) = asked.request.inputs.at(&places).in_place_of_all(&asked.plain) else {
            return Self::whole(incoming, asked);
        };
        let mut headers = incoming.headers.clone();
        headers.remove(header::CONTENT_ENCODING);
        Self { places, headers, body: body.into(), is_whole: false }
    }

    /// How long its reply may be.
    fn longest_reply(&self, request: &EmbeddingsRequest) -> u64 {
        let number = match request.encoding {
            Encoding::Float => FLOAT_BYTES,
            Encoding::Base64 => BASE64_BYTES,
        };
        let vector = request.dimensions.unwrap_or(DIMENSIONS).max(DIMENSIONS).saturating_mul(number);
        vector.saturating_mul(self.places.len() as u64)
    }
}

/// What a call brought.
struct Replied {
    head: Arc<Head>,
    body: BoxStream<'static, Result<Bytes, std::io::Error>>,
    /// Whether it was another request's call.
    is_joined: bool,
}

/// A request with all that it is answered with.
#[derive(Clone)]
struct Request {
    app: Arc<App>,
    live: Arc<Live>,
    incoming: Arc<Incoming>,
    meter: Arc<Meter>,
}

impl Request {
    async fn answer(self) -> Result<Response, ApiError> {
        let incoming = Arc::clone(&self.incoming);
        let asked = match &incoming.asked {
            Ok(asked) => asked,
            Err(why) => {
                let status = headers::unavailable(why);
                incoming.controls.may_forward(&status)?;
                let sent = self.send(&incoming.headers, &incoming.body).await;
                let Replied { head, body, .. } = self.unshared(sent.map_err(|error| self.error(error, &status))?);
                return forward(&self.meter, head, body, status).await;
            }
        };
        let (known, mut status) = self.look_up(asked).await;
        if known.iter().all(Option::is_some) {
            return self.hit(asked, known.into_iter().flatten().collect(), status).await;
        }
        incoming.controls.may_forward(&status)?;
        let call = Call::for_unknown(&incoming, asked, &known);
        let replied = self.ask(asked, &call, !incoming.controls.no_cache).await;
        let replied = replied.map_err(|error| self.error(error, &status))?;
        if replied.is_joined {
            headers::collapsed(&mut status);
        }
        if call.is_whole || replied.head.status != StatusCode::OK {
            return forward(&self.meter, replied.head, replied.body, status).await;
        }
        match self.complete(asked, known, &call, replied, &status).await? {
            Ok(response) => Ok(response),
            Err(why) => {
                tracing::debug!(why, "vectors don't belong together; all of them are asked for");
                let status = headers::vectors(VectorsFound::None, 0, asked.names.len());
                let replied = self.ask(asked, &Call::whole(&incoming, asked), false).await;
                let Replied { head, body, .. } = replied.map_err(|error| self.error(error, &status))?;
                forward(&self.meter, head, body, status).await
            }
        }
    }

    /// What is known, and the headers that say so.
    async fn look_up(&self, asked: &Asked) -> (Vec<Option<KnownVector>>, Headers) {
        let controls = &self.incoming.controls;
        let count = asked.names.len();
        let looked_up = match controls.no_cache {
            true => Ok(vec![None; count]),
            false => {
                let (fingerprint, texts, max_age_millis) = (&asked.fingerprint, &asked.names, controls.max_age_millis);
                asked.cache.known_vectors(VectorLookup { fingerprint, texts, max_age_millis }).await
            }
        };
        let trouble = looked_up.as_ref().err().cloned();
        let known = looked_up.unwrap_or_else(|_| vec![None; count]);
        let hits = known.iter().flatten().count();
        let oldest = known.iter().flatten().map(|known| known.age_millis).max();
        let expires = known.iter().flatten().map(|known| known.expires).min();
        let found = match (&trouble, hits) {
            (Some(why), _) => VectorsFound::Trouble(why),
            _ if controls.no_cache => VectorsFound::Refresh,
            (None, 0) => VectorsFound::None,
            (None, hits) if hits == count => VectorsFound::All {
                age_millis: oldest.unwrap_or_default(),
                expires: expires.unwrap_or(Timestamp(u64::MAX)),
            },
            (None, _) => VectorsFound::Some,
        };
        let outcome = match found {
            VectorsFound::All { .. } => Outcome::ExactHit,
            VectorsFound::Some | VectorsFound::None => Outcome::Miss,
            VectorsFound::Refresh | VectorsFound::Trouble(_) => Outcome::Bypass,
        };
        asked.cache.observe_vectors(outcome, hits, count);
        self.meter.found(outcome);
        let status = headers::vectors(found, hits, count);
        (known, status)
    }

    /// Everything is known.
    async fn hit(&self, asked: &Asked, known: Vec<KnownVector>, status: Headers) -> Result<Response, ApiError> {
        let tokens = known.iter().map(|known| u64::from(known.vector.tokens)).sum();
        let numbers = known.iter().map(|known| known.vector.components.len()).sum::<usize>();
        let (encoding, asked_for) = (asked.request.encoding, self.incoming.model.clone());
        let written = off_thread_if(numbers > WRITTEN_INLINE, move || {
            let vectors: Vec<&[f32]> = known.iter().map(|known| known.vector.components.as_slice()).collect();
            let told = known.first().map(|known| known.vector.model.as_str()).filter(|model| !model.is_empty());
            embeddings::write_reply(None, told.unwrap_or(&asked_for), &vectors, encoding, tokens)
                .map_err(|error| error.to_string())
        });
        let written = written.await.map_err(internal)?;
        let mut response = json(written);
        headers::set(response.headers_mut(), status);
        Ok(self.meter.hit(response, Some(Tokens { input: tokens, ..Tokens::default() })))
    }

    /// Makes a call, or joins another request's for the same; what it brings is stored behind it.
    async fn ask(&self, asked: &Asked, call: &Call, may_join: bool) -> Result<Replied, SendError> {
        let request = self.clone();
        let (headers, body) = (call.headers.clone(), call.body.clone());
        let sending = async move { request.send(&headers, &body).await };
        if self.incoming.controls.no_store || call.longest_reply(&asked.request) > LONGEST as u64 {
            return Ok(self.unshared(sending.await?));
        }
        let names: Vec<String> = call.places.iter().map(|place| asked.names[*place].clone()).collect();
        let scope = CacheKey::new(&self.incoming.caller.tenant, asked.cache.id());
        let key = FlightKey {
            scope: ScopeKey::new(scope, asked.fingerprint.bytes()),
            text: TextHash::of(&serde_json::Value::from(names.clone()).to_string()),
            shape: Shape::Vectors(asked.request.encoding),
        };
        let flights = &self.app.flights;
        let joined = if may_join { flights.join(key) } else { Role::Leader(flights.detached(key)) };
        let (leader, follower) = match joined {
            Role::Leader(led) => led,
            Role::Follower(follower) => match follower.head().await {
                Some(head) => {
                    let body = self.meter.metered(follower.body().boxed(), Served::joined(&head));
                    return Ok(Replied { head, body: body.map_err(std::io::Error::other).boxed(), is_joined: true });
                }
                None => flights.detached(key),
            },
        };
        let recorder = Recorder {
            request: self.clone(),
            inputs: asked.request.inputs.at(&call.places),
            names,
            began: Instant::now(),
        };
        let store = |body: Option<Bytes>, head: &Head| {
            if let Some(body) = body {
                recorder.store(body, head);
            }
        };
        match lead(leader.keep(LONGEST), Arc::clone(&self.meter), sending, store).await? {
            Some(upstream) => Ok(self.unshared(upstream)),
            None => {
                let head = follower.head().await.ok_or(SendError::Ended)?;
                Ok(Replied { head, body: follower.body().map_err(std::io::Error::other).boxed(), is_joined: false })
            }
        }
    }

    /// A reply that is for this request alone, and isn't stored.
    fn unshared(&self, upstream: Upstream) -> Replied {
        let (head, body) = Head::of(upstream);
        let body = self.meter.metered(body, Served::by(&head)).map_err(std::io::Error::other).boxed();
        Replied { head: Arc::new(head), body, is_joined: false }
    }

    /// The reply to the whole request, of what is known and what `call` brought. The inner error says why they don't belong
    /// together.
    async fn complete(
        &self,
        asked: &Asked,
        known: Vec<Option<KnownVector>>,
        call: &Call,
        replied: Replied,
        status: &Headers,
    ) -> Result<Result<Response, String>, ApiError> {
        let Replied { head, body, .. } = replied;
        let Some(body) = collected(body).await.map_err(|error| {
            tracing::warn!(provider = head.provider, %error, "an answer was cut");
            let message = format!("the provider `{}` broke off its answer", head.provider);
            let list = headers::forwarded(&head.provider, &head.failed_attempts);
            let error = ApiError::new(StatusCode::BAD_GATEWAY, "upstream_broken", message);
            error.with(status.iter().cloned()).with(list)
        })?
        else {
            return Ok(Err("they are too many".into()));
        };
        if self.target_scope_of(&head) != asked.target_scope {
            return Ok(Err("another target answered than the one whose answers are known".into()));
        }
        let spared = known.iter().flatten().map(|known| u64::from(known.vector.tokens)).sum();
        let body = match decompressed(body, &head).await {
            Ok(body) => body,
            Err(why) => return Ok(Err(why)),
        };
        let (inputs, encoding) = (asked.request.inputs.at(&call.places), asked.request.encoding);
        let (names, places) = (asked.names.clone(), call.places.clone());
        let merged = off_thread_if(true, move || merge(&body, &inputs, &names, &places, &known, encoding)).await;
        let Merged { body, tokens } = match merged {
            Ok(merged) => merged,
            Err(why) => return Ok(Err(why)),
        };
        let mut response = json(body);
        for (name, value) in &head.headers {
            if ![header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::CONTENT_TYPE].contains(name) {
                response.headers_mut().append(name.clone(), value.clone());
            }
        }
        let mut list = status.clone();
        list.extend(headers::forwarded(&head.provider, &head.failed_attempts));
        list.extend(self.meter.cost_header(&head, Tokens { input: tokens, ..Tokens::default() }));
        headers::set(response.headers_mut(), list);
        self.meter.hit_in_part(&mut response, Tokens { input: spared, ..Tokens::default() });
        Ok(Ok(response))
    }

    /// What of the target that answered belongs to the scope of its vectors.
    fn target_scope_of(&self, head: &Head) -> Option<String> {
        let target_model = head.model.as_deref().unwrap_or_default();
        self.live.router.answer_scope(&self.incoming.model, &head.provider, target_model)
    }

    async fn send(&self, headers: &HeaderMap, body: &Bytes) -> Result<Upstream, SendError> {
        self.meter.may_spend()?;
        let outgoing = Outgoing {
            method: Method::POST,
            path: &self.incoming.path,
            headers,
            tenant: &self.incoming.caller.tenant,
            chat: None,
            trust_credentials: self.live.tenants.is_local(),
            is_repeatable: true,
        };
        outgoing.send_by_model(&self.live.router, Some(&self.incoming.model), body).await
    }

    fn error(&self, error: SendError, status: &Headers) -> ApiError {
        let error = match error {
            SendError::Route(error) => self.unknown(&error),
            error => error.into(),
        };
        error.with(status.clone())
    }

    /// Says which model there is.
    fn unknown(&self, error: &RouteError) -> ApiError {
        let embedder = self.app.caches.embedder();
        let (local, model) = (&embedder.identity().name, &self.incoming.model);
        let message = format!(
            "`{model}` is not the local embedding model, which is `{local}`; and it can't be forwarded: {error}"
        );
        ApiError::new(StatusCode::NOT_FOUND, "model_not_found", message)
    }
}

/// A whole reply, and the tokens that the provider was paid for.
struct Merged {
    body: Vec<u8>,
    tokens: u64,
}

/// Puts a reply together. `reply` has the vectors of `inputs`, which are those at `places`.
fn merge(
    reply: &[u8],
    inputs: &Inputs,
    names: &[String],
    places: &[usize],
    known: &[Option<KnownVector>],
    encoding: Encoding,
) -> Result<Merged, String> {
    let Vectors { model, vectors, tokens } = Vectors::read(reply, inputs.len()).map_err(|error| error.to_string())?;
    let tokens = tokens.unwrap_or(0);
    let is_alike = |known: &KnownVector| {
        known.vector.model == model && vectors.first().is_some_and(|new| new.len() == known.vector.components.len())
    };
    if !known.iter().flatten().all(is_alike) {
        return Err("they are of another model or length than those that are known".into());
    }
    let shares = inputs.shares(tokens);
    let named = places.iter().map(|place| names[*place].as_str());
    let new: HashMap<&str, (&[f32], u32)> =
        named.zip(vectors.iter().map(Vec::as_slice).zip(shares.iter().copied())).collect();
    let mut all = Vec::with_capacity(names.len());
    let mut sum = 0;
    for (name, known) in names.iter().zip(known) {
        let (vector, tokens) = match known {
            Some(known) => (known.vector.components.as_slice(), known.vector.tokens),
            None => *new.get(name.as_str()).ok_or("one was not asked for")?,
        };
        all.push(vector);
        sum += u64::from(tokens);
    }
    let body = embeddings::write_reply(None, &model, &all, encoding, sum).map_err(|error| error.to_string())?;
    Ok(Merged { body, tokens })
}

/// Stores a reply, behind it.
struct Recorder {
    request: Request,
    /// What the call was for, and what each is known by.
    inputs: Inputs,
    names: Vec<String>,
    began: Instant,
}

impl Recorder {
    fn store(self, body: Bytes, head: &Head) {
        let Self { request, inputs, names, began } = self;
        let incoming = Arc::clone(&request.incoming);
        let Ok(asked) = &incoming.asked else { return };
        // It belongs to the target that answered, whichever was expected to.
        let target_scope = request.target_scope_of(head);
        let printed = fingerprint(&asked.request, &incoming.model, &asked.cache, &asked.apart, target_scope.as_deref());
        let Ok(fingerprint) = printed else { return };
        let cache = Arc::clone(&asked.cache);
        let pending = cache.begin_save_vectors(&fingerprint, names.iter());
        let (head, took) = (head.clone(), began.elapsed());
        request.app.saves.clone().spawn(async move {
            let read = match decompressed(body, &head).await {
                Ok(body) => off_thread_if(true, move || read(&body, &inputs, names)).await,
                Err(why) => Err(why),
            };
            match read {
                Ok(vectors) => {
                    let controls = &request.incoming.controls;
                    let (tags, ttl_millis) = (controls.tags.clone(), controls.ttl_millis);
                    // A failure is logged and counted where it happens; the caller has their answer already.
                    let _ = cache.save_vectors(VectorSave { fingerprint, vectors, tags, ttl_millis, took }).await;
                }
                Err(why) => {
                    telemetry::store(cache.labels(), "not_kept");
                    tracing::debug!(cache = cache.id(), why, "a reply with vectors is not stored");
                }
            }
            drop(pending);
        });
    }
}

/// The vectors of a reply, each with its name.
fn read(reply: &[u8], inputs: &Inputs, names: Vec<String>) -> Result<Vec<(String, ProviderVector)>, String> {
    let Vectors { model, vectors, tokens } = Vectors::read(reply, inputs.len()).map_err(|error| error.to_string())?;
    let shares = inputs.shares(tokens.unwrap_or(0));
    let made = vectors.into_iter().zip(shares);
    let vector = |(components, tokens)| ProviderVector { model: model.clone(), tokens, components };
    Ok(names.into_iter().zip(made.map(vector)).collect())
}

/// All of a reply; none where it is too long.
async fn collected(
    mut body: BoxStream<'static, Result<Bytes, std::io::Error>>,
) -> Result<Option<Bytes>, std::io::Error> {
    let mut all = BytesMut::new();
    while let Some(piece) = body.try_next().await? {
        if all.len() + piece.len() > LONGEST {
            return Ok(None);
        }
        all.extend_from_slice(&piece);
    }
    Ok(Some(all.freeze()))
}

async fn decompressed(reply: Bytes, head: &Head) -> Result<Bytes, String> {
    match head.headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => body::decompressed(&reply, encoding.as_bytes()).await,
        _ => Ok(reply),
    }
}

fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], Body::from(body)).into_response()
}

fn internal(why: String) -> ApiError {
    tracing::error!(why, "vectors can't be told");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "the vectors can't be told")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(model: &str, tokens: u32, components: &[f32]) -> Option<KnownVector> {
        let vector = ProviderVector { model: model.into(), tokens, components: components.to_vec() };
        Some(KnownVector { vector: Arc::new(vector), age_millis: 0, expires: Timestamp(0) })
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn known_and_new_vectors_come_in_the_order_of_the_inputs() {
        let all = names(&["b", "a", "b", "cc", "a"]);
        let known = [None, known("m", 3, &[1.0, 0.5]), None, None, known("m", 3, &[1.0, 0.5])];
        let inputs = Inputs::Texts(names(&["b", "cc"]));
        let reply = embeddings::write_reply(None, "m", &[&[2.0, 0.5], &[3.0, 0.5]], Encoding::Float, 9).unwrap();
        let merged = merge(&reply, &inputs, &all, &[0, 3], &known, Encoding::Base64).unwrap();
        let read = Vectors::read(&merged.body, 5).unwrap();
        let firsts: Vec<f32> = read.vectors.iter().map(|vector| vector[0]).collect();
        assert_eq!(firsts, [2.0, 1.0, 2.0, 3.0, 1.0]);
        // b has a third of the nine, cc the rest, and each counts as often as it was asked for.
        assert_eq!((merged.tokens, read.tokens), (9, Some(3 + 3 + 3 + 6 + 3)));
    }

    #[test]
    fn vectors_of_another_model_or_length_do_not_belong_together() {
        let (all, inputs) = (names(&["a", "b"]), Inputs::Texts(names(&["b"])));
        let reply = embeddings::write_reply(None, "m", &[&[2.0, 0.5]], Encoding::Float, 1).unwrap();
        let merged = |known| merge(&reply, &inputs, &all, &[1], &[known, None], Encoding::Float).map(|_| ());
        assert_eq!(merged(known("m", 1, &[1.0, 0.0])), Ok(()));
        assert!(merged(known("n", 1, &[1.0, 0.0])).is_err());
        assert!(merged(known("m", 1, &[1.0])).is_err());
        assert!(merge(b"{}", &inputs, &all, &[1], &[None, None], Encoding::Float).is_err());
    }
}
