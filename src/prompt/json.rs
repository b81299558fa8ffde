//! JSON by meaning: what a reader of the document can tell apart, and nothing else.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A JSON value without its spelling: keys are sorted, `1`, `1.0` and `1e0` are one number.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// Any number whose value is an integer.
    Integer(i128),
    /// Any other number. Never NaN or infinite.
    Fraction(f64),
    /// A string.
    String(String),
    /// A list.
    Array(Vec<Json>),
    /// A map.
    Object(BTreeMap<String, Json>),
    /// A value that readers understand differently, and why: a repeated key (first or last?), or an integer beyond 64
    /// bits (exact or rounded?).
    Unclear(&'static str),
}

impl Json {
    /// Parses a document.
    ///
    /// # Errors
    /// serde_json's message, with line and column. Nesting beyond 128 levels is an error too.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The member `key` of an object; `null` members count as absent, as the OpenAI API has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.get(key).filter(|value| **value != Self::Null),
            _ => None,
        }
    }

    /// As a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// As a boolean.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// As a number that isn't negative.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        if let Self::Integer(value) = self { u64::try_from(*value).ok() } else { None }
    }

    /// As a list.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// A number of serde_json's.
    pub(super) fn of_number(number: &serde_json::Number) -> Self {
        match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), ..) => Self::Integer(value.into()),
            (_, Some(value), _) => Self::Integer(value.into()),
            (.., Some(value)) => Self::number(value),
            _ => Self::Unclear("a number beyond 64 bits"),
        }
    }

    fn number(value: f64) -> Self {
        /// Below this, every integral f64 is what was written, or what every reader makes of it.
        const EXACT: f64 = 9_223_372_036_854_775_808.0;
        if value.fract() != 0.0 {
            Self::Fraction(value)
        } else if value.abs() < EXACT {
            #[expect(clippy::cast_possible_truncation, reason = "integral and within i128")]
            Self::Integer(value as i128)
        } else {
            Self::Unclear("a number beyond 64 bits")
        }
    }
}

impl From<Json> for Value {
    fn from(json: Json) -> Self {
        match json {
            Json::Null | Json::Unclear(_) => Self::Null,
            Json::Bool(value) => value.into(),
            Json::Integer(value) => {
                let number = i64::try_from(value).map(Self::from).or_else(|_| u64::try_from(value).map(Self::from));
                number.unwrap_or_default()
            }
            Json::Fraction(value) => value.into(),
            Json::String(text) => text.into(),
            Json::Array(items) => items.into_iter().map(Self::from).collect(),
            Json::Object(members) => members.into_iter().map(|(name, value)| (name, Self::from(value))).collect(),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Json, E> {
        Ok(Json::number(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut members = BTreeMap::new();
        let mut repeated = false;
        while let Some((key, value)) = access.next_entry::<String, Json>()? {
            repeated |= members.insert(key, value).is_some();
        }
        Ok(if repeated { Json::Unclear("a repeated key") } else { Json::Object(members) })
    }
}
