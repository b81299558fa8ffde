//! The model that a body names.

use std::borrow::Cow;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

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
