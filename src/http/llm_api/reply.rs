//! What a caller gets: a stored answer played back, or a provider's reply handed on, in the shape of the API that was asked.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, Stream};
use serde_json::Value;
use sse_stream::SseByteStream;

use super::ask::Ask;
use super::error::ApiError;
use super::headers;
use super::meter::Meter;
use crate::cache::{Found, Hit};
use crate::router::providers::anthropic;
use crate::router::providers::openai::{self, Delivery};
use crate::router::{Dialect, Pieces, Tokens, Tried, Upstream, Used};

/// Whole replies up to this size are read before they are handed on, so that their headers can tell what they cost.
const READ_FIRST: usize = 1 << 20;

/// What comes before a reply's body.
#[derive(Debug, Clone)]
pub(in crate::http) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) length: Option<usize>,
    pub(super) is_stream: bool,
    pub(super) dialect: Dialect,
    pub(super) provider: String,
    pub(super) model: Option<String>,
    pub(super) tried: Vec<Tried>,
    pub(super) used: Used,
}

impl Head {
    pub(super) fn of(upstream: Upstream) -> (Self, Pieces) {
        let is_stream = upstream.is_stream();
        let head = Self {
            status: upstream.status,
            headers: upstream.headers,
            length: upstream.content_length,
            is_stream,
            dialect: upstream.dialect,
            provider: upstream.provider,
            model: upstream.model,
            tried: upstream.tried,
            used: upstream.used,
        };
        (head, upstream.body)
    }
}

/// A stored answer in the way in which `ask` wants it, and what it took to make, where that is known.
pub(super) fn played_back(
    ask: &Ask,
    found: &Found,
    hit: &Hit,
    expose_cosine: bool,
) -> Result<(Response, Option<Tokens>), ApiError> {
    let id = found.decision.id.to_string();
    let (answer, created) = (&hit.entry.answer, hit.entry.created.0 / 1000);
    let model = ask.model.as_deref().unwrap_or_default();
    let tokens = answer.completion.as_ref().and_then(|completion| Tokens::at_end_of(completion.as_bytes()));
    let body: Bytes = match (ask.dialect, ask.delivery) {
        (Dialect::OpenAi, Delivery::Whole) => openai::completion(answer, &id, created, model),
        // All events are there, so they leave in one piece.
        (Dialect::OpenAi, delivery) => {
            openai::stream(answer, delivery == Delivery::StreamWithUsage, &id, created, model).concat().into()
        }
        (Dialect::Anthropic, delivery) => {
            let completion: Value =
                serde_json::from_slice(&openai::completion(answer, &id, created, model)).unwrap_or_default();
            let told = match delivery {
                Delivery::Whole => anthropic::messages::reply(&completion).map(|message| message.to_string()),
                _ => anthropic::messages::stream_events(&completion).map(|events| written(&events)),
            };
            let unreadable = |why: anthropic::Malformed| {
                tracing::error!(%why, "a stored answer can't be told in Anthropic's shape");
                ApiError::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "unreadable_answer",
                    "the stored answer is not readable",
                )
            };
            told.map_err(unreadable)?.into()
        }
    };
    let kind: &[(HeaderName, &'static str)] = match ask.delivery {
        Delivery::Whole => &[(header::CONTENT_TYPE, "application/json")],
        _ => &[(header::CONTENT_TYPE, "text/event-stream; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")],
    };
    let mut response = Body::from(body).into_response();
    for (name, value) in kind {
        response.headers_mut().insert(name.clone(), HeaderValue::from_static(value));
    }
    headers::set(response.headers_mut(), headers::hit(&found.decision, hit, expose_cosine));
    Ok((response, tokens))
}

/// A provider's reply, in the shape of the API that was asked.
pub(super) async fn handed_on<E>(
    ask: &Ask,
    meter: &Meter,
    head: &Head,
    body: BoxStream<'static, Result<Bytes, E>>,
    status: Vec<(HeaderName, HeaderValue)>,
) -> Result<Response, ApiError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let mut list = status;
    list.extend(headers::forwarded(&head.provider, &head.tried));
    let is_foreign = ask.dialect == Dialect::Anthropic && head.dialect == Dialect::OpenAi;
    let mut headers = head.headers.clone();
    let mut status_code = head.status;
    let body = if head.is_stream {
        if is_foreign {
            headers.remove(header::CONTENT_LENGTH);
            Body::from_stream(as_messages(body, ask.model.clone().unwrap_or_default()))
        } else {
            Body::from_stream(body)
        }
    } else if is_foreign || head.length.is_some_and(|length| length <= READ_FIRST) {
        let read = match collected(body).await {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(provider = head.provider, %error, "an answer was cut");
                let message = format!("the provider `{}` broke off its answer", head.provider);
                return Err(ApiError::new(StatusCode::BAD_GATEWAY, "upstream_broken", message).with(list));
            }
        };
        if let Some(tokens) = Tokens::told_by(&read, &read).filter(|_| head.status.is_success()) {
            list.extend(meter.cost_header(head, tokens));
        }
        let body = if is_foreign {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let (told_as, body) = in_messages_shape(head.status, &read);
            status_code = told_as;
            body
        } else {
            read
        };
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        Body::from(body)
    } else {
        Body::from_stream(body)
    };
    let mut response = (status_code, body).into_response();
    *response.headers_mut() = headers;
    headers::set(response.headers_mut(), list);
    Ok(response)
}

async fn collected<E>(mut body: impl Stream<Item = Result<Bytes, E>> + Unpin) -> Result<Bytes, E> {
    let Some(first) = body.next().await.transpose()? else { return Ok(Bytes::new()) };
    let Some(second) = body.next().await.transpose()? else { return Ok(first) };
    let mut all = BytesMut::from(&first[..]);
    all.extend_from_slice(&second);
    while let Some(piece) = body.next().await {
        all.extend_from_slice(&piece?);
    }
    Ok(all.freeze())
}

/// An OpenAI-shaped reply, or error, in Anthropic's shape, and its status.
fn in_messages_shape(status: StatusCode, body: &[u8]) -> (StatusCode, Bytes) {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let told = if status.is_success() {
        match anthropic::messages::reply(&parsed) {
            Ok(message) => message,
            Err(why) => {
                tracing::warn!(%why, "a provider's answer can't be told in Anthropic's shape");
                let message = parsed["error"]["message"].as_str().unwrap_or("the provider's answer is not understood");
                let error = anthropic::messages::error(502, message);
                return (StatusCode::BAD_GATEWAY, error.to_string().into());
            }
        }
    } else {
        let message = parsed["error"]["message"].as_str().unwrap_or("the provider refused, and didn't say why");
        anthropic::messages::error(status.as_u16(), message)
    };
    (status, told.to_string().into())
}

/// An OpenAI-shaped stream in Anthropic's shape.
fn as_messages<E: std::error::Error + Send + Sync + 'static>(
    body: BoxStream<'static, Result<Bytes, E>>,
    model: String,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let state = Some((SseByteStream::new(body), anthropic::messages::Events::new(&model)));
    stream::unfold(state, |state| async move {
        let (mut chunks, mut events) = state?;
        loop {
            let mut told = Vec::new();
            let (fault, is_over) = match chunks.next().await {
                Some(Ok(chunk)) => match chunk.data.as_deref() {
                    None | Some("") => (None, false),
                    Some("[DONE]") => (events.finish(&mut told).err().map(|fault| fault.to_string()), true),
                    Some(data) => match serde_json::from_str(data) {
                        Ok(chunk) => (events.chunk(&chunk, &mut told).err().map(|fault| fault.to_string()), false),
                        Err(_) => (Some("the provider's stream is not understood".to_owned()), true),
                    },
                },
                Some(Err(_)) => (Some("the provider broke off its answer".to_owned()), true),
                None => (events.finish(&mut told).err().map(|fault| fault.to_string()), true),
            };
            let is_over = is_over || fault.is_some();
            if let Some(why) = fault {
                told.push(("error", anthropic::messages::error(502, &why)));
            }
            if !told.is_empty() || is_over {
                return Some((Ok(written(&told).into()), (!is_over).then_some((chunks, events))));
            }
        }
    })
}

fn written(events: &[(&'static str, Value)]) -> String {
    events.iter().map(|(name, data)| format!("event: {name}\ndata: {data}\n\n")).collect()
}
