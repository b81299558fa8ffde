//! Handing a provider's response on.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::headers;
use crate::router::Upstream;

/// A provider's response with its body as it arrives.
pub(super) fn as_it_comes(upstream: Upstream) -> Response {
    let mut response = (upstream.status, Body::from_stream(upstream.body)).into_response();
    *response.headers_mut() = upstream.headers;
    response
}

/// The same, with headers that say who was asked.
pub(super) fn told(upstream: Upstream) -> Response {
    let list = headers::forwarded(&upstream.provider, &upstream.tried);
    let mut response = as_it_comes(upstream);
    headers::set(response.headers_mut(), list);
    response
}

/// The `model` of a JSON body, where it has one.
pub(super) fn model_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Asked {
        model: String,
    }
    serde_json::from_slice(body).ok().map(|asked: Asked| asked.model)
}
