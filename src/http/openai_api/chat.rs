//! `POST /v1/chat/completions`: answered from the cache, or forwarded and remembered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::capture::Capture;
use super::controls::Controls;
use super::error::ApiError;
use super::headers;
use super::relay::{as_it_comes, model_of};
use crate::cache::{Cache, Found, Hit, Lookup, PendingSave, Save, Strategy};
use crate::decide::Demand;
use crate::embed::TextEmbedding;
use crate::http::{App, body};
use crate::prompt::{Json, Question, Reach, chat_question};
use crate::router::providers::openai::{self, Delivery, NotKept, Recording};
use crate::router::{Outgoing, Upstream};
use crate::store::Attributes;
use crate::telemetry;

/// Bodies beyond this are parsed on a blocking thread.
const PARSE_INLINE: usize = 256 << 10;

/// A chat request that has been read.
struct Chat {
    body: Bytes,
    headers: HeaderMap,
    /// With its query: `/chat/completions`.
    path: String,
    /// None where the request names none, or more than one: the default provider then judges.
    model: Option<String>,
    controls: Controls,
    delivery: Delivery,
    /// The cache to ask and what to ask it, or why it can't be had, which must not fail the request.
    asked: Result<(Arc<Cache>, Question), String>,
}

/// `POST /v1/chat/completions`
pub(in crate::http) async fn chat(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let tenant = app.tenants.identify(&headers)?;
    let chat = Chat::read(&app, &tenant, uri.query(), headers, body).await?;
    let (cache, question) = match &chat.asked {
        Ok(asked) => asked,
        Err(why) => {
            let status = headers::unavailable(why);
            chat.may_forward(&status)?;
            return forward(&app, &chat, status, None).await;
        }
    };

    let found = cache.lookup(&chat.lookup(question)).await;
    if let Some(hit) = found.hits.first() {
        return Ok(chat.play_back(&app, &found, hit));
    }
    let refreshed = chat.controls.no_cache && !matches!(question.reach, Reach::Bypass(_));
    let status = headers::not_a_hit(&found.decision, refreshed, app.settings.server.expose_cosine);
    chat.may_forward(&status)?;
    let keep = !chat.controls.no_store && !matches!(question.reach, Reach::Bypass(_));
    let keeper = keep.then(|| Keeper {
        app: Arc::clone(&app),
        cache: Arc::clone(cache),
        question: question.clone(),
        ttl_millis: chat.controls.ttl_millis,
        embedding: found.embedding,
        asked: Instant::now(),
    });
    forward(&app, &chat, status, keeper).await
}

impl Chat {
    async fn read(
        app: &App,
        tenant: &str,
        query: Option<&str>,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Self, ApiError> {
        let server = &app.settings.server;
        let body = body::read(body, server.max_body, server.read_timeout.0).await?;
        let json = parse(&body).await?;
        let model = match &json {
            Json::Unclear(_) => model_of(&body),
            json => json.get("model").and_then(Json::as_str).map(str::to_owned),
        };
        let controls = Controls::read(&headers, &json)?;
        let stream = json.get("stream").and_then(Json::as_bool).unwrap_or(false);
        let usage = json.get("stream_options").and_then(|options| options.get("include_usage")).and_then(Json::as_bool);
        let delivery = match (stream, usage) {
            (false, _) => Delivery::Whole,
            (true, Some(true)) => Delivery::StreamWithUsage,
            (true, _) => Delivery::Stream,
        };
        let asked = app.caches.get(tenant, &controls.cache).map_err(|error| error.to_string()).map(|cache| {
            let apart = [controls.namespace.as_deref(), query];
            let question = chat_question(&json, cache.ignored_fields(), &apart);
            (cache, question)
        });
        if let Err(why) = &asked {
            telemetry::degraded("cache");
            tracing::warn!(why, "a request goes on without the cache");
        }
        let body = if json.get("cache").is_some() { openai::without_cache_controls(&body) } else { body };
        let path = format!("/chat/completions{}", query.map(|query| format!("?{query}")).unwrap_or_default());
        Ok(Self { body, headers, path, model, controls, delivery, asked })
    }

    /// # Errors
    /// Where the caller wants an answer from the cache or none.
    fn may_forward(&self, status: &[(HeaderName, HeaderValue)]) -> Result<(), ApiError> {
        if self.controls.only_if_cached {
            let message = "only-if-cached was asked for, and the cache has no answer";
            let error = ApiError::new(StatusCode::GATEWAY_TIMEOUT, "not_cached", message);
            return Err(error.with(status.iter().cloned()));
        }
        Ok(())
    }

    fn lookup(&self, question: &Question) -> Lookup {
        let mut question = question.clone();
        if self.controls.no_cache && !matches!(question.reach, Reach::Bypass(_)) {
            question.reach = Reach::Bypass("the request says no-cache");
        }
        Lookup {
            question,
            attributes: Attributes::default(),
            strategies: vec![Strategy::Exact, Strategy::Semantic],
            demand: Demand {
                min_cosine: None,
                max_error_rate: self.controls.max_error_rate,
                max_age_millis: self.controls.max_age_millis,
            },
            max_results: 1,
            usable: openai::deliverable(self.delivery),
        }
    }

    fn play_back(&self, app: &App, found: &Found, hit: &Hit) -> Response {
        let id = found.decision.id.to_string();
        let (answer, created) = (&hit.entry.answer, hit.entry.created.0 / 1000);
        let model = self.model.as_deref().unwrap_or_default();
        let mut response = if self.delivery == Delivery::Whole {
            let kind = HeaderValue::from_static("application/json");
            ([(header::CONTENT_TYPE, kind)], openai::completion(answer, &id, created, model)).into_response()
        } else {
            let usage = self.delivery == Delivery::StreamWithUsage;
            // All events are there, so they leave in one piece.
            let body = Body::from(openai::stream(answer, usage, &id, created, model).concat());
            let kind = [
                (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            ];
            (kind, body).into_response()
        };
        let list = headers::hit(&found.decision, hit, app.settings.server.expose_cosine);
        headers::set(response.headers_mut(), list);
        response
    }
}

/// JSON in any size without holding up the other requests of this thread.
async fn parse(body: &Bytes) -> Result<Json, ApiError> {
    let parsed = if body.len() <= PARSE_INLINE {
        Json::parse(body)
    } else {
        let body = body.clone();
        let parsing = tokio::task::spawn_blocking(move || Json::parse(&body));
        parsing.await.map_err(|error| {
            tracing::error!(%error, "parsing a request failed");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "the request could not be parsed")
        })?
    };
    let json = parsed.map_err(|error| ApiError::invalid(format!("the body is not valid JSON: {error}")))?;
    match json {
        Json::Object(_) | Json::Unclear(_) => Ok(json),
        _ => Err(ApiError::invalid("the body must be a JSON object")),
    }
}

/// Sends the request on and its reply back, byte for byte, keeping the reply on the side where `keeper` says so.
async fn forward(
    app: &App,
    chat: &Chat,
    status: Vec<(HeaderName, HeaderValue)>,
    keeper: Option<Keeper>,
) -> Result<Response, ApiError> {
    let outgoing = Outgoing {
        method: Method::POST,
        path: &chat.path,
        headers: &chat.headers,
        trust_credentials: app.tenants.is_local(),
    };
    let sent = outgoing.send_by_model(&app.router, chat.model.as_deref(), &chat.body).await;
    let upstream = sent.map_err(|error| ApiError::from(error).with(status.clone()))?;
    let mut list = status;
    list.extend(headers::forwarded(&upstream.provider, upstream.attempts));
    let keepable = upstream.status == StatusCode::OK && !upstream.headers.contains_key(header::CONTENT_ENCODING);
    let mut response = match keeper.filter(|_| keepable) {
        Some(keeper) => kept(upstream, keeper),
        None => as_it_comes(upstream),
    };
    headers::set(response.headers_mut(), list);
    Ok(response)
}

fn kept(upstream: Upstream, keeper: Keeper) -> Response {
    let is_stream = upstream
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.starts_with("text/event-stream"));
    let length = upstream.content_length;
    let has_ended = if is_stream { openai::has_ended } else { |_: &[Bytes]| false };
    let body = Capture::new(upstream.body, length, has_ended, move |pieces| keeper.keep(pieces, is_stream));
    let mut response = (upstream.status, Body::from_stream(body)).into_response();
    *response.headers_mut() = upstream.headers;
    response
}

/// Remembers a reply, behind it.
struct Keeper {
    app: Arc<App>,
    cache: Arc<Cache>,
    question: Question,
    ttl_millis: Option<u64>,
    embedding: Option<TextEmbedding>,
    asked: Instant,
}

impl Keeper {
    fn keep(self, pieces: Vec<Bytes>, is_stream: bool) {
        let pending = self.cache.begin_save(&self.question);
        let saves = self.app.saves.clone();
        saves.spawn(self.save(pieces, is_stream, pending));
    }

    async fn save(self, pieces: Vec<Bytes>, is_stream: bool, pending: PendingSave) {
        let took = self.asked.elapsed();
        let recorded = if is_stream { openai::record_stream(pieces).await } else { openai::record(&pieces.concat()) };
        match recorded {
            Ok(recording) => self.store(recording, took).await,
            Err(why) => self.log(&why),
        }
        drop(pending);
    }

    async fn store(self, Recording { answer, calls_tools }: Recording, took: Duration) {
        let save = Save {
            ttl_millis: self.ttl_millis,
            question: self.question,
            answer,
            attributes: Attributes::default(),
            semantic: !calls_tools,
            took: Some(took),
            embedding: self.embedding,
        };
        // A failure is logged and counted where it happens; the caller has their answer already.
        let _ = self.cache.save(save).await;
    }

    fn log(&self, why: &NotKept) {
        telemetry::store(self.cache.id(), "not_kept");
        tracing::debug!(cache = self.cache.id(), %why, "a reply is not kept");
    }
}
