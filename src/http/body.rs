//! Reading request bodies within bounds.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream, StreamExt};
use http_body_util::BodyExt;
use parking_lot::Mutex;

use crate::config::ByteLimit;

/// Why a body wasn't read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the request is larger than {0}")]
    TooLarge(ByteLimit),
    #[error("the request did not arrive within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("the request broke off")]
    Broken(#[source] axum::Error),
}

/// A body larger than its limit is still read up to this many times the limit, and thrown away: a client that is cut off
/// while it sends sees a broken connection instead of the answer that tells it why.
const DRAIN: usize = 16;

/// Reads all of `body`, which must have arrived after `patience`.
pub(super) async fn read(body: Body, limit: ByteLimit, patience: Duration) -> Result<Bytes, BodyError> {
    tokio::time::timeout(patience, collect(body, limit)).await.unwrap_or(Err(BodyError::TimedOut(patience)))
}

async fn collect(mut body: Body, limit: ByteLimit) -> Result<Bytes, BodyError> {
    let mut collected = BytesMut::new();
    let mut seen = 0usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= limit.bytes() {
            collected.extend_from_slice(&data);
        } else {
            collected.clear();
            if seen > limit.bytes().saturating_mul(DRAIN) {
                break;
            }
        }
    }
    if seen > limit.bytes() { Err(BodyError::TooLarge(limit)) } else { Ok(collected.freeze()) }
}

/// Throws away what is still to come of a body that is too large, as [`collect`] does. `seen` of it came before.
pub(super) async fn drain(body: Body, seen: usize, limit: ByteLimit, patience: Duration) {
    drain_pieces(&mut body.into_data_stream(), seen, limit, patience).await;
}

async fn drain_pieces(
    pieces: &mut (impl Stream<Item = Result<Bytes, axum::Error>> + Unpin),
    mut seen: usize,
    limit: ByteLimit,
    patience: Duration,
) {
    let until = limit.bytes().saturating_mul(DRAIN);
    let drained = async {
        while seen <= until
            && let Some(Ok(piece)) = pieces.next().await
        {
            seen = seen.saturating_add(piece.len());
        }
    };
    // Whoever takes longer sees a broken connection.
    let _ = tokio::time::timeout(patience, drained).await;
}

/// Why a body that is passed on as it comes has ended early, once it has.
pub(super) type Flaw = Arc<Mutex<Option<BodyError>>>;

/// A body as it comes, which ends with an error where it is larger than its limit or its sender goes silent. The flaw says why,
/// because whoever passes it on only sees that it failed.
pub(super) fn bounded(
    body: Body,
    limit: ByteLimit,
    patience: Duration,
) -> (impl Stream<Item = Result<Bytes, std::io::Error>> + Send, Flaw) {
    let flaw = Flaw::default();
    let told = Arc::clone(&flaw);
    let pieces = stream::try_unfold((body.into_data_stream(), 0usize), move |(mut pieces, seen)| {
        let told = Arc::clone(&told);
        async move {
            let next = async {
                let next = tokio::time::timeout(patience, pieces.next()).await;
                let next = next.map_err(|_| BodyError::TimedOut(patience))?.transpose().map_err(BodyError::Broken)?;
                let seen = seen.saturating_add(next.as_ref().map_or(0, Bytes::len));
                if seen > limit.bytes() {
                    drain_pieces(&mut pieces, seen, limit, patience).await;
                    return Err(BodyError::TooLarge(limit));
                }
                Ok((next, seen))
            };
            match next.await {
                Ok((next, seen)) => Ok(next.map(|piece| (piece, (pieces, seen)))),
                Err(error) => {
                    let failed = std::io::Error::other(error.to_string());
                    *told.lock() = Some(error);
                    Err(failed)
                }
            }
        }
    });
    (pieces, flaw)
}

/// The largest body that is made of a compressed one.
const DECOMPRESSED: u64 = 64 << 20;

/// A compressed body as it was before. The error is a sentence.
pub(super) async fn decompressed(body: &[u8], encoding: &[u8]) -> Result<Bytes, String> {
    use async_compression::tokio::bufread::{GzipDecoder, ZlibDecoder};
    use tokio::io::AsyncReadExt;
    let mut out = Vec::new();
    let read = match encoding.to_ascii_lowercase().as_slice() {
        b"gzip" | b"x-gzip" => GzipDecoder::new(body).take(DECOMPRESSED).read_to_end(&mut out).await,
        b"deflate" => ZlibDecoder::new(body).take(DECOMPRESSED).read_to_end(&mut out).await,
        other => return Err(format!("it is compressed as `{}`", String::from_utf8_lossy(other))),
    };
    read.map_err(|error| format!("it can't be decompressed: {error}"))?;
    if out.len() as u64 == DECOMPRESSED { Err("it is too large".into()) } else { Ok(out.into()) }
}

/// What a request's body says, as it was before it was compressed, and without a byte order mark. The error is a sentence.
pub(super) async fn readable(headers: &HeaderMap, body: &Bytes) -> Result<Bytes, String> {
    let body = match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => body.clone(),
        Some(encoding) => decompressed(body, encoding).await?,
    };
    Ok(if body.starts_with(b"\xef\xbb\xbf") { body.slice(3..) } else { body })
}

/// Whether others may read a JSON object in a body that isn't understood here: one with numbers such as `NaN`, with half a
/// character, nested deeper than is read here, or compressed in some other way.
pub(super) fn may_be_an_object(headers: &HeaderMap, body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    let is_encoded = headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity");
    is_encoded || (body.first() == Some(&b'{') && body.last() == Some(&b'}') && std::str::from_utf8(body).is_ok())
}
