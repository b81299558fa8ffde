//! Reading request bodies within bounds.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

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
