//! Errors in the provider's shape.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::headers;
use crate::embed::EmbedError;
use crate::http::auth::Denied;
use crate::http::body::BodyError;
use crate::llm::{FormatId, ProviderError};
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
        let (status, code) = status_and_code(&error);
        Self::new(status, code, error.to_string())
    }
}

impl From<UpstreamError> for ApiError {
    fn from(error: UpstreamError) -> Self {
        let status = status_of_upstream(&error);
        // The last one that was tried is the one that the error names.
        let before = &error.failed_attempts[..error.failed_attempts.len().saturating_sub(1)];
        let list = headers::forwarded(&error.provider, before);
        let code = if error.is_without_credentials { "no_credentials" } else { "provider_unreachable" };
        Self::new(status, code, error.to_string()).with(list).with(headers::failed(&error.failed_attempts))
    }
}

fn status_and_code(error: &RouteError) -> (StatusCode, &'static str) {
    match error {
        RouteError::NoProviders => (StatusCode::SERVICE_UNAVAILABLE, "no_provider"),
        RouteError::NoTarget(_) => (StatusCode::BAD_REQUEST, "no_target"),
        RouteError::UnknownModel(..) => (StatusCode::NOT_FOUND, "model_not_found"),
        RouteError::NoDefault(_) | RouteError::UnknownProvider(..) => (StatusCode::BAD_REQUEST, "provider_not_found"),
    }
}

fn status_of_upstream(error: &UpstreamError) -> StatusCode {
    if error.timeout { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY }
}

/// The status that a caller sees.
pub(super) fn status_of(error: &SendError) -> StatusCode {
    match error {
        SendError::Route(error) => status_and_code(error).0,
        SendError::Unsupported(_) => StatusCode::BAD_REQUEST,
        SendError::Upstream(error) => status_of_upstream(error),
        SendError::CircuitOpen { is_limit: false, .. } => StatusCode::SERVICE_UNAVAILABLE,
        SendError::CircuitOpen { .. } | SendError::Full { .. } | SendError::Spent { .. } => {
            StatusCode::TOO_MANY_REQUESTS
        }
        SendError::Ended => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<SendError> for ApiError {
    fn from(error: SendError) -> Self {
        let (message, tried, status) = (error.to_string(), headers::failed(error.failed_attempts()), status_of(&error));
        let new = |code| Self::new(status, code, message.clone()).with(tried.clone());
        let after = |wait: std::time::Duration| [(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)))];
        match error {
            SendError::Route(error) => error.into(),
            SendError::Upstream(error) => error.into(),
            SendError::Unsupported(_) => new("unsupported_by_provider"),
            SendError::CircuitOpen { wait, is_limit: true, .. } => new("provider_limited").with(after(wait)),
            SendError::CircuitOpen { wait, .. } => new("provider_left_alone").with(after(wait)),
            SendError::Full { .. } => new("too_many_requests").with(after(std::time::Duration::from_secs(1))),
            SendError::Spent { .. } => new("budget_used_up"),
            SendError::Ended => new("internal_error"),
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

impl ApiError {
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The error as a format of chats tells it.
    pub(super) fn in_format(self, format: FormatId) -> Response {
        let error =
            ProviderError { code: Some(self.code.into()), ..ProviderError::new(self.status.as_u16(), self.message) };
        let mut response = (self.status, Json(format.format().write_error(&error))).into_response();
        response.headers_mut().extend(self.headers);
        response
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
