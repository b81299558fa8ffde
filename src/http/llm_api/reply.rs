//! What a caller gets: a stored answer rendered in their format, or a provider's reply as it comes.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, Stream};

use super::error::ApiError;
use super::head::Head;
use super::headers;
use super::incoming::IncomingChat;
use super::meter::Meter;
use crate::cache::{Found, Hit};
use crate::llm::{self, Delivery, FormatId, Frame, playback};
use crate::router::Tokens;
use crate::store;

/// Whole replies up to this size are read before they are handed on, so that their headers can tell what they cost.
const READ_FIRST: usize = 1 << 20;

/// A stored answer in the way in which `incoming` wants it, and what it took to make, where that is known. None where it
/// can't be rendered, which must not fail the request.
pub(super) fn render_hit(
    incoming: &IncomingChat,
    found: &Found,
    hit: &Hit,
    expose_cosine: bool,
) -> Option<(Response, Option<Tokens>)> {
    let answer = &hit.entry.answer;
    let tokens = answer.completion.as_ref().and_then(|reply| Tokens::at_end_of(reply.as_bytes()));
    let frame = Frame {
        id: found.decision.id.to_string(),
        model: incoming.model.clone().unwrap_or_default(),
        created: hit.entry.created.0 / 1000,
        include_usage: incoming.delivery == Delivery::StreamWithUsage,
        chat: incoming.request.chat.clone(),
    };
    let body = match render(answer, incoming.format, incoming.delivery, &frame) {
        Ok(body) => body,
        Err(why) => {
            tracing::error!(entry = %hit.entry.id, %why, "a stored answer can't be read");
            return None;
        }
    };
    let kind: &[(HeaderName, &'static str)] = match incoming.delivery {
        Delivery::Whole => &[(header::CONTENT_TYPE, "application/json")],
        _ => &[(header::CONTENT_TYPE, "text/event-stream; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")],
    };
    let mut response = Body::from(body).into_response();
    for (name, value) in kind {
        response.headers_mut().insert(name.clone(), HeaderValue::from_static(value));
    }
    headers::set(response.headers_mut(), headers::hit(&found.decision, hit, expose_cosine));
    Some((response, tokens))
}

/// A stored answer in `format`: as it was stored where that is the same one and it is wanted whole.
fn render(answer: &store::Answer, format: FormatId, delivery: Delivery, frame: &Frame) -> Result<Bytes, String> {
    let read = match &answer.completion {
        // A text that somebody wrote took no tokens.
        None => {
            let usage = frame.include_usage.then(llm::Usage::default);
            llm::Answer { usage, ..llm::Answer::of_text(&answer.text) }
        }
        Some(reply) => {
            let stored = FormatId::of_reply(reply);
            if stored == format && delivery == Delivery::Whole {
                return Ok(reply.clone().into());
            }
            let reply = serde_json::from_str(reply).map_err(|error| error.to_string())?;
            stored.format().read_reply(reply).map_err(|error| error.to_string())?
        }
    };
    if delivery == Delivery::Whole {
        return Ok(format.format().write_reply(&read, frame).to_string().into());
    }
    // All events are there, so they leave in one piece.
    let (mut writer, mut out) = (format.format().stream_writer(frame), String::new());
    playback(&read).iter().for_each(|delta| writer.write(delta, &mut out));
    writer.finish(&mut out);
    Ok(out.into())
}

/// A provider's reply, which is in the caller's format already.
pub(super) async fn forward<E>(
    meter: &Meter,
    head: Arc<Head>,
    body: BoxStream<'static, Result<Bytes, E>>,
    status: Vec<(HeaderName, HeaderValue)>,
) -> Result<Response, ApiError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let mut head = Arc::unwrap_or_clone(head);
    let mut list = status;
    list.extend(headers::forwarded(&head.provider, &head.failed_attempts));
    let mut headers = std::mem::take(&mut head.headers);
    let body = if !head.is_stream && head.length.is_some_and(|length| length <= READ_FIRST) {
        let read = match collected(body).await {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(provider = head.provider, %error, "an answer was cut");
                let message = format!("the provider `{}` broke off its answer", head.provider);
                return Err(ApiError::new(StatusCode::BAD_GATEWAY, "upstream_broken", message).with(list));
            }
        };
        let tokens = head.used.get().or_else(|| Tokens::told_by(&read, &read));
        if let Some(tokens) = tokens.filter(|_| head.status.is_success()) {
            list.extend(meter.cost_header(&head, tokens));
        }
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(read.len()));
        Body::from(read)
    } else {
        Body::from_stream(body)
    };
    let mut response = (head.status, body).into_response();
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
