//! A chat request, read.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName};
use bytes::Bytes;

use super::controls::Controls;
use super::error::ApiError;
use super::model_name::model_of;
use crate::cache::{AnswerNeed, Cache, Lookup, Strategy, chat_context};
use crate::decide::LookupConstraints;
use crate::http::auth::Caller;
use crate::http::live::Live;
use crate::http::paths::MODEL_HEADER;
use crate::http::{App, body};
use crate::llm::{self, Chat, Delivery, Document, FormatId, raw};
use crate::prompt::{Cacheability, Partition, Question};
use crate::router::ChatRequest;
use crate::store::Attributes;
use crate::telemetry;

/// Bodies beyond this are parsed on a blocking thread.
pub(super) const PARSE_INLINE: usize = 256 << 10;
/// Headers that change what a provider makes of a request, and what of them says the same as nothing: the versions that
/// Anthropic's clients send by themselves shape a reply and not its answer.
const VERSIONS: [(HeaderName, &[&str]); 3] = [
    (HeaderName::from_static("anthropic-beta"), &[]),
    (HeaderName::from_static("anthropic-version"), &["2023-06-01", "2026-10-21"]),
    (HeaderName::from_static("openai-beta"), &[]),
];

/// Where a chat in `format` is posted, after `/v1`.
pub(super) fn path_of(format: FormatId) -> &'static str {
    match format {
        FormatId::OpenAiResponses => "/responses",
        FormatId::OpenAiCompletions => "/completions",
        FormatId::Anthropic => "/messages",
        _ => "/chat/completions",
    }
}

/// A chat request that has been read.
pub(super) struct IncomingChat {
    pub(super) format: FormatId,
    pub(super) caller: Caller,
    pub(super) body: Bytes,
    pub(super) headers: HeaderMap,
    /// With its query: `/chat/completions`.
    pub(super) path: String,
    /// None where the request names none, or more than one: the default provider then judges.
    pub(super) model: Option<String>,
    pub(super) controls: Controls,
    pub(super) delivery: Delivery,
    /// What it says, for the router.
    pub(super) request: ChatRequest,
    /// The cache to ask and what to ask it, or why it can't be had, which must not fail the request.
    pub(super) asked: Result<(Arc<Cache>, Question), String>,
    /// What separates its scope from those of other requests, beside what it says.
    apart: Vec<Option<String>>,
    /// What the scope says of the target that is to answer: see [`Router::answer_scope`](crate::router::Router::answer_scope).
    target_scope: Option<String>,
    /// Whether a provider that may answer keeps its answers.
    provider_keeps_answers: bool,
}

impl IncomingChat {
    pub(super) async fn read(
        app: &App,
        live: &Live,
        format: FormatId,
        caller: Caller,
        query: Option<&str>,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Self, ApiError> {
        let server = &app.settings.server;
        let body = body::read(body, server.max_body, server.read_timeout.0).await?;
        let read = read(format, &headers, &body).await;
        if let Err(why) = &read
            && !body::may_be_an_object(&headers, &body)
        {
            return Err(ApiError::invalid(format!("the body is not a JSON object: {why}")));
        }
        let named = headers.get(MODEL_HEADER).and_then(|name| name.to_str().ok()).map(str::to_owned);
        let (read, body) = match &named {
            Some(name) => with_model(read, &body, name),
            None => (read, body),
        };
        let model = match &read {
            _ if named.is_some() => named,
            Ok(Read { chat: Ok(chat), ambiguous: None, .. }) => {
                Some(chat.model.clone()).filter(|name| !name.is_empty())
            }
            _ => model_of(&body),
        };
        let controls = Controls::read(&headers, read.as_ref().ok().and_then(|read| read.cache.as_ref()))?;
        let delivery = match &read {
            Ok(Read { chat: Ok(chat), .. }) => chat.delivery,
            _ => Delivery::Whole,
        };
        let has_controls = read.as_ref().is_ok_and(|read| read.cache.is_some());
        let plain =
            has_controls.then(|| raw::without(&body, "cache")).flatten().map_or_else(|| body.clone(), Bytes::from);
        let target_scope =
            model.as_deref().and_then(|model| live.router.likely_scope(model, &headers, &caller.tenant, &body));
        let apart = told_apart(live, &controls, query, model.as_deref(), &headers);
        let path = format!("{}{}", path_of(format), query.map(|query| format!("?{query}")).unwrap_or_default());
        let mut incoming = Self {
            format,
            provider_keeps_answers: live.router.keeps_answers(model.as_deref()),
            caller,
            body: plain,
            headers,
            path,
            model,
            delivery,
            request: ChatRequest { format, chat: None },
            asked: Err(String::new()),
            apart,
            target_scope,
            controls,
        };
        let cache =
            app.caches.get(&incoming.caller.tenant, &incoming.controls.cache).map_err(|error| error.to_string());
        incoming.asked = cache.map(|cache| {
            let question = match read {
                Err(why) => {
                    tracing::debug!(why, "a request that can't be read is forwarded");
                    Question::bypassing("", "the request is not understood")
                }
                Ok(Read { chat: Err(why), .. }) => {
                    tracing::debug!(%why, "a request that can't be read is forwarded");
                    Question::bypassing("", "the request is not understood")
                }
                Ok(Read { chat: Ok(chat), ambiguous, .. }) => {
                    let question = match ambiguous {
                        Some(why) => Question::bypassing("", why),
                        None => incoming.question(&chat, &cache, incoming.target_scope.as_deref()),
                    };
                    incoming.request.chat = Some(chat);
                    question
                }
            };
            (cache, question)
        });
        if let Err(why) = &incoming.asked {
            telemetry::degraded("cache");
            tracing::warn!(why, "a request goes on without the cache");
        }
        Ok(incoming)
    }

    fn question(&self, chat: &Chat, cache: &Cache, target_scope: Option<&str>) -> Question {
        let apart: Vec<Option<&str>> = self.apart.iter().map(Option::as_deref).chain([target_scope]).collect();
        let ignored = cache.ignored_fields();
        let provider_keeps_answers = self.provider_keeps_answers;
        Question::of_chat(chat, &Partition { ignored: &ignored, apart: &apart, provider_keeps_answers })
    }

    /// The question whose scope the answer of another target than the expected one belongs to; none where the answer
    /// belongs where it was looked for.
    pub(super) fn question_for_target(&self, target_scope: Option<&str>) -> Option<Question> {
        let (Ok((cache, _)), Some(chat)) = (&self.asked, &self.request.chat) else { return None };
        (target_scope != self.target_scope.as_deref()).then(|| self.question(chat, cache, target_scope))
    }

    pub(super) fn lookup(&self, cache: &Cache, question: &Question) -> Lookup {
        let mut question = question.clone();
        if self.controls.no_cache && !matches!(question.cacheability, Cacheability::Bypass(_)) {
            question.cacheability = Cacheability::Bypass("the request says no-cache");
        }
        let tells_usage = matches!(self.format, FormatId::OpenAiChat | FormatId::OpenAiCompletions)
            && self.delivery == Delivery::StreamWithUsage;
        let chat = self.request.chat.as_ref().filter(|_| cache.may_hold_curated());
        Lookup {
            question,
            chat: chat.and_then(|chat| chat_context(chat, self.controls.namespace.as_deref())),
            attributes: Attributes::default(),
            strategies: vec![Strategy::Exact, Strategy::Semantic],
            constraints: LookupConstraints {
                min_cosine: None,
                max_error_rate: self.controls.max_error_rate,
                max_age_millis: self.controls.max_age_millis,
            },
            max_results: 1,
            // Whoever asks for the usage counts on it, so an answer without one doesn't serve.
            need: if tells_usage { AnswerNeed::Usage } else { AnswerNeed::Nothing },
        }
    }
}

/// What separates a request from others beside what its body says: see [`Partition`].
pub(super) fn told_apart(
    live: &Live,
    controls: &Controls,
    query: Option<&str>,
    model: Option<&str>,
    headers: &HeaderMap,
) -> Vec<Option<String>> {
    // Where headers choose the model that answers, so do they choose the answer.
    let route = model.and_then(|model| live.router.told_apart_by(model, headers));
    [controls.namespace.clone(), query.map(str::to_owned), route].into_iter().chain(versions(headers)).collect()
}

/// What the headers say of the API's version, where that isn't what saying nothing means.
fn versions(headers: &HeaderMap) -> impl Iterator<Item = Option<String>> {
    VERSIONS.into_iter().map(|(name, usual)| {
        if !headers.contains_key(&name) {
            return None;
        }
        let values = headers.get_all(&name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let said = values.collect::<Vec<_>>().join(",");
        (!said.is_empty() && !usual.contains(&said.as_str())).then(|| format!("{name}: {said}"))
    })
}

/// A body that is JSON.
struct Read {
    /// The member `cache`, which is said to us.
    cache: Option<serde_json::Value>,
    /// See [`Document`].
    ambiguous: Option<&'static str>,
    chat: Result<Arc<Chat>, llm::Unsupported>,
}

/// Reads JSON in any size without holding up the other requests of this thread. The error says why it isn't any.
async fn read(format: FormatId, headers: &HeaderMap, body: &Bytes) -> Result<Read, String> {
    let body = body::readable(headers, body).await?;
    if body.len() <= PARSE_INLINE {
        return parse(format, &body);
    }
    let parsing = tokio::task::spawn_blocking(move || parse(format, &body));
    parsing.await.unwrap_or_else(|error| {
        tracing::error!(%error, "parsing a request failed");
        Err("it could not be parsed".into())
    })
}

/// A request whose path names the model, which the body then names too.
fn with_model(read: Result<Read, String>, body: &Bytes, name: &str) -> (Result<Read, String>, Bytes) {
    let read = read.map(|read| Read {
        chat: read.chat.map(|chat| Arc::new(Chat { model: name.to_owned(), ..Arc::unwrap_or_clone(chat) })),
        ..read
    });
    let body = raw::RawMembers::parse(body).map_or_else(
        || body.clone(),
        |mut members| {
            members.set("model", serde_json::Value::from(name).to_string());
            members.write().into()
        },
    );
    (read, body)
}

fn parse(format: FormatId, body: &[u8]) -> Result<Read, String> {
    let Document { mut value, ambiguous } = Document::parse(body).map_err(|error| error.to_string())?;
    if !value.is_object() {
        return Err("it is another value".into());
    }
    let cache =
        value.as_object_mut().and_then(|members| members.shift_remove("cache")).filter(|cache| !cache.is_null());
    Ok(Read { cache, ambiguous, chat: format.format().read_request(value).map(Arc::new) })
}
