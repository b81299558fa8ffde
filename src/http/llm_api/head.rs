//! What comes before a reply's body.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};

use crate::router::{FailedAttempt, Pieces, Progress, Upstream, Used};

/// What comes before a reply's body.
#[derive(Debug, Clone)]
pub(in crate::http) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) length: Option<usize>,
    pub(super) is_stream: bool,
    /// How far a stream has come.
    pub(super) progress: Arc<Progress>,
    pub(super) provider: String,
    pub(super) model: Option<String>,
    pub(super) failed_attempts: Vec<FailedAttempt>,
    pub(super) used: Used,
}

impl Head {
    pub(super) fn of(upstream: Upstream) -> (Self, Pieces) {
        let head = Self {
            status: upstream.status,
            headers: upstream.headers,
            length: upstream.content_length,
            is_stream: upstream.is_stream,
            progress: upstream.progress,
            provider: upstream.provider,
            model: upstream.model,
            failed_attempts: upstream.failed_attempts,
            used: upstream.used,
        };
        (head, upstream.body)
    }
}
