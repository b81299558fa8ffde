//! Errors in the provider's shape.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::embed::EmbedError;
use crate::http::auth::Denied;
use crate::http::body::BodyError;
use crate::router::{RouteError, SendError, UpstreamError};

/// An error as the caller sees it.
#[derive(Debug)]
pub(in crate::http) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    pub(super) fn with(mut self, headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> Self {
        self.headers.extend(headers);
        self
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        if denied == Denied::Elsewhere {
            return Self::new(StatusCode::FORBIDDEN, "not_local", denied.to_string());
        }
        Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", denied.to_string())
            .with([(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))])
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let (status, code) = match error {
            BodyError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "request_too_large"),
            BodyError::TimedOut(_) => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            BodyError::Broken(_) => (StatusCode::BAD_REQUEST, "request_broken"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<RouteError> for ApiError {
    fn from(error: RouteError) -> Self {
        let (status, code) = match error {
            RouteError::NoProviders => (StatusCode::SERVICE_UNAVAILABLE, "no_provider"),
            RouteError::UnknownModel(..) => (StatusCode::NOT_FOUND, "model_not_found"),
            RouteError::NoDefault(_) | RouteError::UnknownProvider(..) => {
                (StatusCode::BAD_REQUEST, "provider_not_found")
            }
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<UpstreamError> for ApiError {
    fn from(error: UpstreamError) -> Self {
        let status = if error.timeout { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
        Self::new(status, "provider_unreachable", error.to_string())
            .with(super::headers::forwarded(&error.provider, error.attempts))
    }
}

impl From<SendError> for ApiError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Route(error) => error.into(),
            SendError::Upstream(error) => error.into(),
        }
    }
}

impl From<EmbedError> for ApiError {
    fn from(error: EmbedError) -> Self {
        let message = error.to_string();
        match error {
            EmbedError::Busy(_) => Self::new(StatusCode::TOO_MANY_REQUESTS, "embedding_queue_full", message)
                .with([(header::RETRY_AFTER, HeaderValue::from_static("1"))]),
            EmbedError::TooLong(_) => Self::new(StatusCode::BAD_REQUEST, "context_length_exceeded", message),
            EmbedError::Unfit(_) => Self::new(StatusCode::BAD_REQUEST, "invalid_input", message),
            EmbedError::Failed(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "embedding_failed", message),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "api_error",
        };
        let body = json!({"error": {"message": self.message, "type": kind, "param": null, "code": self.code}});
        let mut response = (self.status, Json(body)).into_response();
        response.headers_mut().extend(self.headers);
        response
    }
}
