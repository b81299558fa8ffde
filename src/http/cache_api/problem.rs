//! Errors of the cache API: RFC 9457's fields, with LangCache's types.
//!
//! LangCache has published two lists of types. Its Python SDK checks the second one since 0.12; before that, and in its JavaScript SDK
//! up to 0.11.1, the newest there is, it is the first. Both SDKs take an error whose type isn't in their list for a broken reply.
//! So the types are those of the list that the caller's `User-Agent` stands for; whoever is no SDK gets the second.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::cache::CacheError;
use crate::embed::EmbedError;
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
    CacheNotFound,
    EntryNotFound,
    WrongMethod,
    Conflict,
    PayloadTooLarge,
    ResourceUnavailable,
    OutOfMemory,
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

    pub(super) fn unexpected(detail: impl Into<String>) -> Self {
        Self { kind: Kind::Unexpected, detail: detail.into(), fields: Vec::new() }
    }

    pub(super) fn no_entry(detail: impl Into<String>) -> Self {
        Self { kind: Kind::EntryNotFound, detail: detail.into(), fields: Vec::new() }
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
            CacheError::Unknown(_) | CacheError::NoSuchCache(_) => Kind::CacheNotFound,
            CacheError::Exists(_) => Kind::Conflict,
            CacheError::NotAllowed => Kind::Forbidden,
            CacheError::BadName => Kind::InvalidData,
            CacheError::TooMany => Kind::ResourceUnavailable,
            CacheError::Store(StoreError::Busy(_)) | CacheError::Embed(EmbedError::Busy(_)) => Kind::TooManyRequests,
            CacheError::Store(StoreError::Full(_) | StoreError::CuratedFull(_)) => Kind::OutOfMemory,
            CacheError::Embed(_) => Kind::ResourceUnavailable,
            CacheError::Store(
                StoreError::ReadOnly | StoreError::Loading | StoreError::OtherModel | StoreError::Closed,
            ) => Kind::ResourceUnavailable,
            CacheError::Store(StoreError::Damaged(_) | StoreError::Failed(_)) | CacheError::Transfer(_) => {
                Kind::Unexpected
            }
        };
        Self { kind, detail, fields: Vec::new() }
    }
}

/// The lists of types that LangCache has published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Published {
    First,
    Second,
}

impl Published {
    /// The list that a caller knows: `speakeasy-sdk/python 0.11.1 …` knows the first.
    fn of(headers: &HeaderMap) -> Self {
        const SECOND_SINCE: (u32, u32) = (0, 12);
        let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        let version = agent.and_then(|agent| agent.strip_prefix("speakeasy-sdk/")?.split(' ').nth(1));
        let mut numbers = version.unwrap_or_default().split('.').map(|number| number.parse().ok());
        match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(major), Some(minor)) if (major, minor) < SECOND_SINCE => Self::First,
            _ => Self::Second,
        }
    }
}

impl Problem {
    /// Written with the types that the caller with these headers knows.
    pub(super) fn known_to(self, headers: &HeaderMap) -> Response {
        self.written(Published::of(headers))
    }
}

/// Writes errors of the cache API with the types that the caller knows.
pub(in crate::http) async fn with_known_types(request: Request, next: Next) -> Response {
    let published = Published::of(request.headers());
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<Problem>() {
        Some(problem) if published == Published::First => problem.written(published),
        _ => response,
    }
}

impl Kind {
    fn status(self) -> StatusCode {
        match self {
            Self::InvalidData => StatusCode::BAD_REQUEST,
            Self::AuthenticationFailed => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound | Self::CacheNotFound | Self::EntryNotFound => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ResourceUnavailable | Self::OutOfMemory => StatusCode::FAILED_DEPENDENCY,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unexpected => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The title, and the type in the first list and in the second.
    fn names(self) -> (&'static str, [&'static str; 2]) {
        let in_both = |name| [name, name];
        match self {
            Self::InvalidData => ("Invalid data", in_both("/errors/invalid-data")),
            Self::AuthenticationFailed => ("Authentication failed", in_both("/errors/authentication-failed")),
            Self::Forbidden => ("Insufficient permissions", in_both("/errors/insufficient-permissions")),
            Self::NotFound => ("Not found", ["/errors/resource/not-found", "/errors/resource-not-found"]),
            Self::CacheNotFound => ("Cache not found", ["/errors/cache/not-found", "/errors/resource-not-found"]),
            Self::EntryNotFound => ("Entry not found", ["/errors/cache/entry/not-found", "/errors/resource-not-found"]),
            // In neither list: LangCache doesn't say these.
            Self::WrongMethod => ("Method not allowed", in_both("/errors/method-not-allowed")),
            Self::Conflict => ("Already exists", in_both("/errors/already-exists")),
            Self::PayloadTooLarge => ("Payload too large", in_both("/errors/payload-too-large")),
            Self::ResourceUnavailable => (
                "Resource unavailable",
                ["/errors/database/resource-database-unavailable", "/errors/resource-unavailable"],
            ),
            Self::OutOfMemory => ("No room left", ["/errors/database/out-of-memory", "/errors/database-out-of-memory"]),
            Self::TooManyRequests => ("Too many requests", in_both("/errors/too-many-requests")),
            Self::Unexpected => ("Unexpected error", in_both("/errors/unexpected-error")),
        }
    }
}

impl Problem {
    fn written(&self, published: Published) -> Response {
        #[derive(Serialize)]
        struct Wire<'p> {
            r#type: &'static str,
            title: &'static str,
            status: u16,
            detail: &'p str,
            #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
            fields: &'p [FieldError],
        }
        let status = self.kind.status();
        let (title, [first, second]) = self.kind.names();
        let r#type = if published == Published::First { first } else { second };
        let wire = Wire { r#type, title, status: status.as_u16(), detail: &self.detail, fields: &self.fields };
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

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.written(Published::Second);
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_types_is_the_one_that_the_sdk_knows() {
        let of = |agent: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.extend(agent.map(|agent| (header::USER_AGENT, HeaderValue::from_static(agent))));
            Published::of(&headers)
        };
        for first in [
            "speakeasy-sdk/typescript 0.11.1 2.760.2 @redis-ai/langcache",
            "speakeasy-sdk/python 0.11.1 2.755.9 langcache",
            "speakeasy-sdk/python 0.9.0 2.755.9 langcache",
        ] {
            assert_eq!(of(Some(first)), Published::First, "{first}");
        }
        for second in [
            None,
            Some("curl/8.0"),
            Some("speakeasy-sdk/python 0.14.0 2.932.9 langcache"),
            Some("speakeasy-sdk/typescript 1.0.0 3.0.0 @redis-ai/langcache"),
            Some("speakeasy-sdk/"),
            Some("speakeasy-sdk/python x.y langcache"),
        ] {
            assert_eq!(of(second), Published::Second, "{second:?}");
        }
    }
}
