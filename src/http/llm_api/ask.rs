//! A chat request, read.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use bytes::Bytes;
use serde_json::Value;

use super::controls::Controls;
use super::error::ApiError;
use super::relay::model_of;
use crate::cache::{Cache, Lookup, Strategy, chat_context};
use crate::decide::Demand;
use crate::http::auth::Caller;
use crate::http::live::Live;
use crate::http::{App, body};
use crate::prompt::{Json, Question, Reach, chat_question};
use crate::router::Dialect;
use crate::router::providers::openai::Delivery;
use crate::router::providers::{anthropic, openai};
use crate::store::{Attributes, ChatContext};
use crate::telemetry;

/// Bodies beyond this are parsed on a blocking thread.
const PARSE_INLINE: usize = 256 << 10;

/// A chat request that has been read.
pub(super) struct Ask {
    pub(super) dialect: Dialect,
    pub(super) caller: Caller,
    pub(super) body: Bytes,
    pub(super) headers: HeaderMap,
    /// With its query: `/chat/completions`.
    pub(super) path: String,
    /// None where the request names none, or more than one: the default provider then judges.
    pub(super) model: Option<String>,
    pub(super) controls: Controls,
    pub(super) delivery: Delivery,
    /// The cache to ask and what to ask it, or why it can't be had, which must not fail the request.
    pub(super) asked: Result<(Arc<Cache>, Question), String>,
    /// What curated entries are asked with, where they may answer.
    pub(super) chat: Option<ChatContext>,
}

impl Ask {
    pub(super) async fn read(
        app: &App,
        live: &Live,
        dialect: Dialect,
        caller: Caller,
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
        let delivery = match (stream, usage, dialect) {
            (false, ..) => Delivery::Whole,
            // Anthropic's streams always tell it.
            (true, _, Dialect::Anthropic) | (true, Some(true), _) => Delivery::StreamWithUsage,
            (true, ..) => Delivery::Stream,
        };
        // What both APIs can say is asked of the cache in OpenAI's shape, so that an answer to one serves the other.
        let chat = match (dialect, json) {
            (Dialect::OpenAi, json) | (_, json @ Json::Unclear(_)) => Ok(json),
            (Dialect::Anthropic, _) => as_chat(&body),
        };
        let context = chat.as_ref().ok().and_then(|chat| chat_context(chat, controls.namespace.as_deref()));
        let cache = app.caches.get(&caller.tenant, &controls.cache).map_err(|error| error.to_string());
        let asked = cache.and_then(|cache| {
            // Where headers choose the model that answers, so do they choose the answer.
            let route = model.as_deref().and_then(|model| live.router.told_apart_by(model, &headers));
            let query =
                route.map(|route| format!("{}\n{route}", query.unwrap_or_default())).or(query.map(str::to_owned));
            let apart = [controls.namespace.as_deref(), query.as_deref()];
            let question = chat_question(&chat?, &cache.ignored_fields(), &apart);
            Ok((cache, question))
        });
        if let Err(why) = &asked {
            telemetry::degraded("cache");
            tracing::warn!(why, "a request goes on without the cache");
        }
        let body = openai::without_cache_controls(&body);
        let path = format!("{}{}", dialect.chat_path(), query.map(|query| format!("?{query}")).unwrap_or_default());
        Ok(Self { dialect, caller, body, headers, path, model, controls, delivery, asked, chat: context })
    }

    /// # Errors
    /// Where the caller wants an answer from the cache or none.
    pub(super) fn may_forward(&self, status: &[(HeaderName, HeaderValue)]) -> Result<(), ApiError> {
        if self.controls.only_if_cached {
            let message = "only-if-cached was asked for, and the cache has no answer";
            let error = ApiError::new(StatusCode::GATEWAY_TIMEOUT, "not_cached", message);
            return Err(error.with(status.iter().cloned()));
        }
        Ok(())
    }

    pub(super) fn lookup(&self, question: &Question) -> Lookup {
        let mut question = question.clone();
        if self.controls.no_cache && !matches!(question.reach, Reach::Bypass(_)) {
            question.reach = Reach::Bypass("the request says no-cache");
        }
        Lookup {
            question,
            chat: self.chat.clone(),
            attributes: Attributes::default(),
            strategies: vec![Strategy::Exact, Strategy::Semantic],
            demand: Demand {
                min_cosine: None,
                max_error_rate: self.controls.max_error_rate,
                max_age_millis: self.controls.max_age_millis,
            },
            max_results: 1,
            usable: match self.dialect {
                Dialect::OpenAi => openai::deliverable(self.delivery),
                // An answer without usage is told with zeros.
                Dialect::Anthropic => |_| true,
            },
        }
    }
}

/// What of an Anthropic-shaped request has a counterpart in OpenAI's shape. All else is part of the question as it is.
const CONVERTED: [&str; 12] = [
    "model",
    "messages",
    "system",
    "max_tokens",
    "stop_sequences",
    "temperature",
    "top_p",
    "tools",
    "tool_choice",
    "stream",
    "metadata",
    "cache",
];

/// What an Anthropic-shaped request asks, in OpenAI's shape; the error says why that can't be said.
fn as_chat(body: &[u8]) -> Result<Json, String> {
    let request: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let mut chat = anthropic::messages::to_chat(&request).map_err(|why| why.to_string())?;
    if let (Value::Object(chat), Value::Object(request)) = (&mut chat, request) {
        chat.extend(request.into_iter().filter(|(name, _)| !CONVERTED.contains(&name.as_str())));
    }
    Json::parse(chat.to_string().as_bytes()).map_err(|error| error.to_string())
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
