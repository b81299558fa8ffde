//! Handing a provider's response on.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::headers;
use super::reply::Head;
use crate::router::Pieces;

/// A provider's response with its body as it arrives, and headers that say who was asked.
pub(super) fn told(head: Head, body: Pieces) -> Response {
    let mut response = (head.status, Body::from_stream(body)).into_response();
    *response.headers_mut() = head.headers;
    headers::set(response.headers_mut(), headers::forwarded(&head.provider, &head.failed_attempts));
    response
}

/// The `model` of a JSON body, where it has one, and no more than one.
pub(super) fn model_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Asked {
        model: String,
    }
    serde_json::from_slice(body).ok().map(|asked: Asked| asked.model)
}

/// Of several the last one, as most readers have it: it is what the provider will charge for.
pub(super) fn last_model_of(body: &[u8]) -> Option<String> {
    struct Model(Option<String>);
    impl<'de> Deserialize<'de> for Model {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(Members).map(Self)
        }
    }
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Option<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
            let mut model = None;
            while let Some(name) = members.next_key::<Cow<'de, str>>()? {
                if name == "model" {
                    model = members.next_value::<serde_json::Value>()?.as_str().map(str::to_owned);
                } else {
                    members.next_value::<IgnoredAny>()?;
                }
            }
            Ok(model)
        }
    }
    serde_json::from_slice::<Model>(body).ok()?.0
}

#[cfg(test)]
mod tests {
    use super::last_model_of;

    #[test]
    fn the_last_model_counts() {
        let of = |text: &str| last_model_of(text.as_bytes());
        assert_eq!(of(r#"{"model": "a", "x": [1], "model": "b"}"#).as_deref(), Some("b"));
        assert_eq!((of(r#"{"x": 1}"#), of(r#"{"model": 5}"#), of("[]"), of("{")), (None, None, None, None));
    }
}
