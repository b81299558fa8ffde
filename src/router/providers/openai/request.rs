//! Changes to a request body that leave everything else as it was written.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// `body` with its `model` replaced, or `body` itself where that is its model already or it is no object.
#[must_use]
pub fn with_model(body: &Bytes, model: &str) -> Bytes {
    let Some(members) = members(body) else { return body.clone() };
    let Ok(wanted) = serde_json::to_string(model) else { return body.clone() };
    let is = |name: &str, value: &RawValue| {
        name == "model" && serde_json::from_str(value.get()).is_ok_and(|v: String| v == model)
    };
    if members.iter().any(|(name, value)| is(name, value)) {
        return body.clone();
    }
    write(members.iter().map(|(name, value)| (&**name, if name == "model" { &*wanted } else { value.get() })))
}

/// `body` without its `cache` member, which is said to us and which no provider knows; `body` itself where it has none.
#[must_use]
pub fn without_cache_controls(body: &Bytes) -> Bytes {
    match members(body) {
        Some(members) if members.iter().any(|(name, _)| name == "cache") => {
            write(members.iter().filter(|(name, _)| name != "cache").map(|(name, value)| (&**name, value.get())))
        }
        _ => body.clone(),
    }
}

/// The members of an object in their order and spelling.
fn members(body: &[u8]) -> Option<Vec<(Cow<'_, str>, &RawValue)>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = access.next_entry::<String, &RawValue>()? {
                members.push((Cow::Owned(member.0), member.1));
            }
            Ok(members)
        }
    }
    serde_json::Deserializer::from_slice(body).deserialize_map(Members).ok()
}

fn write<'m>(members: impl Iterator<Item = (&'m str, &'m str)>) -> Bytes {
    let members: Vec<String> =
        members.map(|(name, value)| format!("{}:{value}", serde_json::Value::from(name))).collect();
    format!("{{{}}}", members.join(",")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_model_changes() {
        let body = Bytes::from_static(b"{ \"n\" : 1.00, \"model\":\"a\", \"x\": {\"b\": 1,  \"b\": 2} }");
        assert_eq!(with_model(&body, "a"), body);
        assert_eq!(&*with_model(&body, "b\""), &br#"{"n":1.00,"model":"b\"","x":{"b": 1,  "b": 2}}"#[..]);
    }

    #[test]
    fn only_cache_controls_go() {
        let body = Bytes::from_static(b"{\"a\":1,\"cache\":{\"ttl\":5},\"b\":[1, 2]}");
        assert_eq!(&*without_cache_controls(&body), &b"{\"a\":1,\"b\":[1, 2]}"[..]);
        let none = Bytes::from_static(b"{ \"a\" : 1 }");
        assert_eq!(without_cache_controls(&none), none);
        let rubbish = Bytes::from_static(b"<html>");
        assert_eq!(without_cache_controls(&rubbish), rubbish);
    }
}
