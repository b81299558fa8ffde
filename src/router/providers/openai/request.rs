//! Changes to a request body that leave everything else as it was written.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object in their order and spelling.
pub struct Members<'b>(Vec<(Cow<'b, str>, Cow<'b, str>)>);

impl Members<'_> {
    /// A member's value, as JSON.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| &**value)
    }

    /// Whether there is a member of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Gives a member this value, which must be JSON.
    pub fn set(&mut self, name: &str, json: String) {
        match self.0.iter().position(|(member, _)| member == name) {
            Some(at) => {
                self.0[at].1 = json.into();
                // Of a member that is written twice, providers take one or the other.
                let mut place = 0..;
                self.0.retain(|(member, _)| place.next() <= Some(at) || member != name);
            }
            None => self.0.push((name.to_owned().into(), json.into())),
        }
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(member, _)| member != name);
    }
}

/// `body` with its `model` replaced, or `body` itself where that is its model already or it is no object.
#[must_use]
pub fn with_model(body: &Bytes, model: &str) -> Bytes {
    let Some(mut members) = members(body) else { return body.clone() };
    let is_it = |value: &str| serde_json::from_str(value).is_ok_and(|asked: String| asked == model);
    match (members.get("model"), serde_json::to_string(model)) {
        (Some(asked), Ok(model)) if !is_it(asked) => {
            members.set("model", model);
            write(&members)
        }
        _ => body.clone(),
    }
}

/// `body` without its `cache` member, which is said to us and which no provider knows; `body` itself where it has none.
#[must_use]
pub fn without_cache_controls(body: &Bytes) -> Bytes {
    match members(body) {
        Some(mut members) if members.has("cache") => {
            members.remove("cache");
            write(&members)
        }
        _ => body.clone(),
    }
}

/// The members of `body`; none where it is no object.
#[must_use]
pub fn members(body: &[u8]) -> Option<Members<'_>> {
    struct All;
    impl<'de> Visitor<'de> for All {
        type Value = Members<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some((name, value)) = access.next_entry::<String, &RawValue>()? {
                members.push((Cow::Owned(name), Cow::Borrowed(value.get())));
            }
            Ok(Members(members))
        }
    }
    serde_json::Deserializer::from_slice(body).deserialize_map(All).ok()
}

/// An object with these members.
#[must_use]
pub fn write(members: &Members<'_>) -> Bytes {
    let members: Vec<String> =
        members.0.iter().map(|(name, value)| format!("{}:{value}", serde_json::Value::from(&**name))).collect();
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
