//! The paths that clients use for one and the same thing.
//!
//! Some write their base address with a slash at its end, some leave `/v1` out, and Azure's clients name the model in the
//! path. Requests are brought to one spelling before they are routed.

use std::borrow::Cow;

use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderName, HeaderValue, Request};

/// Names the model, whatever the body says: Azure's clients have it in the path.
pub(super) const MODEL_HEADER: HeaderName = HeaderName::from_static("x-refrain-model");
/// What may follow on a base address without `/v1`.
const WITHOUT_VERSION: [&str; 8] =
    ["chat", "completions", "embeddings", "responses", "messages", "models", "images", "audio"];

/// The same request at the path that is routed.
pub(super) fn normalized<B>(mut request: Request<B>) -> Request<B> {
    let path = request.uri().path();
    let Some(Normalized { path, model }) = normalize(path) else { return request };
    let query = query_without_version(request.uri().query(), model.is_some());
    let target = match query.as_deref() {
        None | Some("") => path,
        Some(query) => format!("{path}?{query}"),
    };
    if let Ok(target) = PathAndQuery::try_from(target) {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.path_and_query = Some(target);
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }
    if let Some(model) = model.and_then(|model| HeaderValue::try_from(model).ok()) {
        request.headers_mut().insert(MODEL_HEADER, model);
    }
    request
}

struct Normalized {
    path: String,
    /// The model that the path names.
    model: Option<String>,
}

/// None where the path is as it should be.
fn normalize(path: &str) -> Option<Normalized> {
    let has_empty_segments = path.as_bytes().windows(2).any(|pair| pair == b"//");
    if path.starts_with("/v1/") && !path.ends_with('/') && !has_empty_segments {
        return None;
    }
    let mut plain = Cow::Borrowed(path);
    if has_empty_segments {
        let segments: Vec<&str> = plain.split('/').filter(|segment| !segment.is_empty()).collect();
        plain = Cow::Owned(format!("/{}", segments.join("/")));
    }
    let trimmed = plain.trim_end_matches('/');
    let trimmed = if trimmed.is_empty() { "/" } else { trimmed };
    if let Some(rest) = trimmed.strip_prefix("/openai/deployments/")
        && let Some((deployment, rest)) = rest.split_once('/')
    {
        return Some(Normalized { path: format!("/v1/{rest}"), model: Some(decoded(deployment)) });
    }
    if let Some(rest) = trimmed.strip_prefix("/openai/v1/") {
        return Some(Normalized { path: format!("/v1/{rest}"), model: None });
    }
    let first = trimmed.split('/').nth(1).unwrap_or_default();
    if WITHOUT_VERSION.contains(&first) {
        return Some(Normalized { path: format!("/v1{trimmed}"), model: None });
    }
    (trimmed != path).then(|| Normalized { path: trimmed.to_owned(), model: None })
}

/// Azure's version of the API says nothing to others, and would separate scopes.
fn query_without_version(query: Option<&str>, is_azure: bool) -> Option<String> {
    let kept = query?.split('&').filter(|pair| !is_azure || !pair.starts_with("api-version="));
    Some(kept.collect::<Vec<_>>().join("&"))
}

/// A segment of a path as it was before it was percent-encoded.
fn decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed(uri: &str) -> (String, Option<String>) {
        let request = normalized(Request::builder().uri(uri).body(()).unwrap());
        let model = request.headers().get(MODEL_HEADER).map(|value| value.to_str().unwrap().to_owned());
        (request.uri().to_string(), model)
    }

    #[test]
    fn paths_that_mean_the_same_are_one() {
        for (uri, expected) in [
            ("/v1/chat/completions", "/v1/chat/completions"),
            ("/v1/chat/completions/", "/v1/chat/completions"),
            ("//v1//chat/completions?x=1", "/v1/chat/completions?x=1"),
            ("/chat/completions", "/v1/chat/completions"),
            ("/responses/resp_1/input_items?after=a", "/v1/responses/resp_1/input_items?after=a"),
            ("/openai/v1/responses", "/v1/responses"),
            ("/v1/files", "/v1/files"),
            ("/healthz", "/healthz"),
            ("/", "/"),
        ] {
            assert_eq!(routed(uri), (expected.to_owned(), None), "{uri}");
        }
    }

    #[test]
    fn azures_deployments_are_models() {
        let azure = "/openai/deployments/gpt-4%2Elarge/chat/completions?api-version=2024-10-21";
        assert_eq!(routed(azure), ("/v1/chat/completions".into(), Some("gpt-4.large".into())));
        let both = "/openai/deployments/a/embeddings?a=b&api-version=1";
        assert_eq!(routed(both), ("/v1/embeddings?a=b".into(), Some("a".into())));
        assert_eq!(routed("/openai/deployments/a"), ("/openai/deployments/a".into(), None));
    }
}
