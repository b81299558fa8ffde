//! A reply's body on its way to the caller.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt};
use tokio_util::io::{ReaderStream, StreamReader};

use super::pieces::{BodyError, Pieces};
use super::reply::Progress;
use super::watch::EndWatch;
use crate::llm::{FormatId, Frame, ProviderError};

/// The largest reply that is converted.
const LARGEST: usize = 64 << 20;

/// The same stream of a chat, and where it was cut, an event in its format that says so. `progress` is told how far it has
/// come. Nothing is put to a stream of the Responses API, of whose ends other servers have their own.
pub(super) fn with_truncation_event(
    pieces: Pieces,
    format: FormatId,
    provider: String,
    progress: Arc<Progress>,
) -> Pieces {
    let state = (Some(pieces), EndWatch::new(format, progress));
    stream::unfold(state, move |(pieces, mut watch)| {
        let provider = provider.clone();
        async move {
            let mut pieces: Pieces = pieces?;
            let next = pieces.next().await;
            if next.is_none() {
                watch.end();
            }
            let why = match next {
                Some(Ok(piece)) => {
                    watch.see(&piece);
                    return Some((Ok(piece), (Some(pieces), watch)));
                }
                None if format == FormatId::OpenAiResponses => return None,
                Some(Err(error)) if format == FormatId::OpenAiResponses && !watch.has_ended() => {
                    tracing::warn!(provider, %error, "a stream was cut");
                    return Some((Err(error), (None, watch)));
                }
                // What fails after its end mark has merely ended.
                Some(Err(_)) if watch.has_ended() => return None,
                None if watch.may_end() => return None,
                Some(Err(error)) => {
                    tracing::warn!(provider, %error, "a stream was cut");
                    if error.is_timeout() { "went silent" } else { "broke off" }
                }
                None => {
                    tracing::warn!(provider, "a stream ended early");
                    "ended its answer early"
                }
            };
            let message = format!("the provider `{provider}` {why}; the answer is not complete");
            Some((Ok(truncation_event(format, &message)), (None, watch)))
        }
    })
    .boxed()
}

/// The event that says that a stream is cut.
fn truncation_event(format: FormatId, message: &str) -> Bytes {
    let error = ProviderError { code: Some("stream_cut".into()), ..ProviderError::new(502, message) };
    // Begun with an empty line, because a cut may be in the midst of an event.
    let mut out = String::from("\n\n");
    format.format().stream_writer(&Frame::default()).fail(&error, &mut out);
    out.into()
}

/// The same body, decompressed.
pub(super) fn decompressed(pieces: Pieces, encoding: &str) -> Pieces {
    use async_compression::tokio::bufread::{GzipDecoder, ZlibDecoder};
    let reader = StreamReader::new(pieces.map(|piece| piece.map_err(std::io::Error::other)));
    let compressed = |error| BodyError::Compressed(error);
    match encoding {
        "gzip" | "x-gzip" => {
            ReaderStream::new(GzipDecoder::new(reader)).map(move |piece| piece.map_err(compressed)).boxed()
        }
        "deflate" => ReaderStream::new(ZlibDecoder::new(reader)).map(move |piece| piece.map_err(compressed)).boxed(),
        other => {
            let why = format!("it is compressed as `{other}`, though nobody asked for that");
            stream::iter([Err(BodyError::Malformed(why))]).boxed()
        }
    }
}

/// A body's beginning, of `most` bytes or a piece more, and the rest where it is longer.
pub(super) async fn begun(mut pieces: Pieces, most: usize) -> Result<(Bytes, Option<Pieces>), BodyError> {
    let Some(first) = pieces.next().await.transpose()? else { return Ok((Bytes::new(), None)) };
    let Some(second) = pieces.next().await.transpose()? else { return Ok((first, None)) };
    let mut all = BytesMut::from(&first[..]);
    all.extend_from_slice(&second);
    while all.len() <= most {
        let Some(piece) = pieces.next().await.transpose()? else { return Ok((all.freeze(), None)) };
        all.extend_from_slice(&piece);
    }
    Ok((all.freeze(), Some(pieces)))
}

/// All of a body.
pub(super) async fn whole(mut pieces: Pieces) -> Result<Bytes, BodyError> {
    let mut all = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        all.extend_from_slice(&piece?);
        if all.len() > LARGEST {
            return Err(BodyError::Malformed(format!("it is larger than {} MiB", LARGEST >> 20)));
        }
    }
    Ok(all.freeze())
}

/// What a body is, by its first bytes: providers label streams as anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looks {
    /// Server-sent events.
    Events,
    /// A JSON document.
    Json,
    /// Neither.
    Unknown,
}

/// See [`Looks`].
pub(super) fn looks(first: &[u8]) -> Looks {
    let first = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first).trim_ascii_start();
    let is_event = [&b"data:"[..], b"event:", b"id:", b"retry:", b":"].iter().any(|field| first.starts_with(field));
    match first.first() {
        _ if is_event => Looks::Events,
        Some(b'{' | b'[') => Looks::Json,
        _ => Looks::Unknown,
    }
}
