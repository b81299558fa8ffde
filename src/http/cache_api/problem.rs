//! Errors of the cache API: RFC 9457's fields, with LangCache's types.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::cache::CacheError;
use crate::http::auth::Denied;
use crate::http::body::BodyError;
use crate::http::ndjson::ImportError;
use crate::store::StoreError;

/// What is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct FieldError {
    pub(super) field: String,
    pub(super) rule: &'static str,
    pub(super) message: String,
}

/// The kinds of errors, each with its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    InvalidData,
    AuthenticationFailed,
    Forbidden,
    NotFound,
    WrongMethod,
    PayloadTooLarge,
    ResourceUnavailable,
    TooManyRequests,
    Unexpected,
}

/// An error as the caller sees it.
///
/// The content type is `application/json`, not `application/problem+json`: the SDKs recognise their typed errors by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) struct Problem {
    kind: Kind,
    detail: String,
    fields: Vec<FieldError>,
}

impl Problem {
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self { kind: Kind::InvalidData, detail: detail.into(), fields: Vec::new() }
    }

    pub(super) fn invalid_fields(fields: Vec<FieldError>) -> Self {
        let told: Vec<String> = fields.iter().map(|field| format!("`{}` {}", field.field, field.message)).collect();
        Self { kind: Kind::InvalidData, detail: told.join("; "), fields }
    }

    pub(super) fn wrong_method(detail: impl Into<String>) -> Self {
        Self { kind: Kind::WrongMethod, detail: detail.into(), fields: Vec::new() }
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self { kind: Kind::Forbidden, detail: detail.into(), fields: Vec::new() }
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self { kind: Kind::NotFound, detail: detail.into(), fields: Vec::new() }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let kind = if denied == Denied::Elsewhere { Kind::Forbidden } else { Kind::AuthenticationFailed };
        Self { kind, detail: denied.to_string(), fields: Vec::new() }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let kind = match error {
            BodyError::TooLarge(_) => Kind::PayloadTooLarge,
            BodyError::TimedOut(_) | BodyError::Broken(_) => Kind::InvalidData,
        };
        Self { kind, detail: error.to_string(), fields: Vec::new() }
    }
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Broken(why) => Self::invalid(why),
            ImportError::Cache(error) => error.into(),
        }
    }
}

impl From<CacheError> for Problem {
    fn from(error: CacheError) -> Self {
        let detail = error.to_string();
        let kind = match error {
            CacheError::Unknown(_) => Kind::NotFound,
            CacheError::BadName => Kind::InvalidData,
            CacheError::TooMany => Kind::ResourceUnavailable,
            CacheError::Store(StoreError::Busy(_)) => Kind::TooManyRequests,
            CacheError::Store(
                StoreError::Full(_)
                | StoreError::ReadOnly
                | StoreError::Loading
                | StoreError::OtherModel
                | StoreError::Closed,
            ) => Kind::ResourceUnavailable,
            CacheError::Store(StoreError::Damaged(_) | StoreError::Failed(_)) | CacheError::Transfer(_) => {
                Kind::Unexpected
            }
        };
        Self { kind, detail, fields: Vec::new() }
    }
}

impl Kind {
    /// Status, type and title.
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::InvalidData => (StatusCode::BAD_REQUEST, "/errors/invalid-data", "Invalid data"),
            Self::AuthenticationFailed => {
                (StatusCode::UNAUTHORIZED, "/errors/authentication-failed", "Authentication failed")
            }
            Self::Forbidden => (StatusCode::FORBIDDEN, "/errors/insufficient-permissions", "Insufficient permissions"),
            Self::NotFound => (StatusCode::NOT_FOUND, "/errors/resource-not-found", "Not found"),
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "/errors/method-not-allowed", "Method not allowed"),
            Self::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "/errors/payload-too-large", "Payload too large"),
            Self::ResourceUnavailable => {
                (StatusCode::FAILED_DEPENDENCY, "/errors/resource-unavailable", "Resource unavailable")
            }
            Self::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "/errors/too-many-requests", "Too many requests"),
            Self::Unexpected => (StatusCode::INTERNAL_SERVER_ERROR, "/errors/unexpected-error", "Unexpected error"),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Wire {
            r#type: &'static str,
            title: &'static str,
            status: u16,
            detail: String,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            fields: Vec<FieldError>,
        }
        let (status, r#type, title) = self.kind.parts();
        let wire = Wire { r#type, title, status: status.as_u16(), detail: self.detail, fields: self.fields };
        let mut response = (status, Json(wire)).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
