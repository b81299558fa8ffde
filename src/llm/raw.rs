//! Changes to the top-level members of a JSON body that leave everything else as it was written.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// The members of an object, in their order and spelling.
#[derive(Debug)]
pub struct RawMembers<'b>(Vec<(Cow<'b, str>, Cow<'b, str>)>);

impl<'b> RawMembers<'b> {
    /// The members of `body`; none where it is no object.
    #[must_use]
    pub fn parse(body: &'b [u8]) -> Option<Self> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = RawMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = access.next_entry::<String, &RawValue>()? {
                    members.push((Cow::Owned(name), Cow::Borrowed(value.get())));
                }
                Ok(RawMembers(members))
            }
        }
        let mut json = serde_json::Deserializer::from_slice(body);
        let members = (&mut json).deserialize_map(All).ok()?;
        json.end().is_ok().then_some(members)
    }

    /// A member's value, as JSON.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| &**value)
    }

    /// Gives a member this value, which must be JSON. Of a member that is written twice, one is left, because providers
    /// differ in which they take.
    pub fn set(&mut self, name: &str, json: String) {
        let Some(at) = self.0.iter().position(|(member, _)| member == name) else {
            return self.0.push((name.to_owned().into(), json.into()));
        };
        if let Some((_, value)) = self.0.get_mut(at) {
            *value = json.into();
        }
        let mut place = 0..;
        self.0.retain(|(member, _)| place.next() <= Some(at) || member != name);
    }

    /// Removes a member. Returns whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let count = self.0.len();
        self.0.retain(|(member, _)| member != name);
        self.0.len() < count
    }

    /// The object as JSON.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let members: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{}:{value}", Value::from(&**name))).collect();
        format!("{{{}}}", members.join(",")).into_bytes()
    }
}

/// `body` with its `model` replaced. None where that is its model already, or where it names none.
#[must_use]
pub fn with_model(body: &[u8], model: &str) -> Option<Vec<u8>> {
    let mut members = RawMembers::parse(body)?;
    if serde_json::from_str::<String>(members.get("model")?).is_ok_and(|asked| asked == model) {
        return None;
    }
    members.set("model", Value::from(model).to_string());
    Some(members.write())
}

/// `body` without the member `name`. None where it has none.
#[must_use]
pub fn without(body: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut members = RawMembers::parse(body)?;
    members.remove(name).then(|| members.write())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: Option<Vec<u8>>) -> Option<String> {
        body.map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn only_the_model_changes() {
        let body =
            b"{ \"n\" : 1.00, \"model\":\"a\", \"x\": {\"b\": 1,  \"b\": 2}, \"y\": \"\\ud800\", \"model\": \"c\" }";
        assert_eq!(with_model(body, "a"), None);
        let changed = r#"{"n":1.00,"model":"b\"","x":{"b": 1,  "b": 2},"y":"\ud800"}"#;
        assert_eq!(text(with_model(body, "b\"")).as_deref(), Some(changed));
        for other in [&b"{\"n\":1}"[..], b"<html>", b"{\"model\":\"a\"} x", b"[]", b""] {
            assert_eq!(with_model(other, "b"), None);
        }
    }

    #[test]
    fn one_member_goes() {
        let body = b"{\"a\":1,\"cache\":{\"ttl\":5},\"b\":[1, 2]}";
        assert_eq!(text(without(body, "cache")).as_deref(), Some("{\"a\":1,\"b\":[1, 2]}"));
        assert_eq!(without(body, "c"), None);
    }

    #[test]
    fn members_are_read_added_and_written() {
        let mut members = RawMembers::parse(b"{\"a\": \"x\"}").unwrap();
        members.set("b", "true".into());
        assert_eq!((members.get("a"), members.get("b"), members.get("c")), (Some("\"x\""), Some("true"), None));
        assert_eq!(members.write(), b"{\"a\":\"x\",\"b\":true}");
    }

    #[test]
    fn what_is_deeper_than_is_read_keeps_its_spelling() {
        let deep = format!("{}1{}", "[{\"a\":".repeat(10_000), "}]".repeat(10_000));
        let body = format!("{{\"x\":{deep},\"model\":\"a\"}}");
        assert_eq!(text(with_model(body.as_bytes(), "b")), Some(format!("{{\"x\":{deep},\"model\":\"b\"}}")));
        let body = format!("{{\"model\":{deep}}}");
        assert_eq!(text(with_model(body.as_bytes(), "b")).as_deref(), Some("{\"model\":\"b\"}"));
    }
}
