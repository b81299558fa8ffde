//! Handing a provider's response on.

use axum::body::Body;
use axum::response::{IntoResponse, Response};

use super::head::Head;
use super::headers;
use crate::router::Pieces;

/// A provider's response with its body as it arrives, and headers that say who was asked.
pub(super) fn told(head: Head, body: Pieces) -> Response {
    let mut response = (head.status, Body::from_stream(body)).into_response();
    *response.headers_mut() = head.headers;
    headers::set(response.headers_mut(), headers::forwarded(&head.provider, &head.failed_attempts));
    response
}
