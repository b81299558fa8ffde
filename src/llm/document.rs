//! A request's body as JSON, read once.

use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What other programs put before UTF-8, and JSON doesn't allow.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Values in a document, at most: each takes ten times the memory of the shortest spelling. Arbitrary; chats have thousands.
const MAX_VALUES: usize = 1_000_000;

/// A JSON document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What it says, members in their order; of repeated ones the last.
    pub value: Value,
    /// What in it readers understand differently, if anything: such a request can't be compared with others.
    pub ambiguous: Option<&'static str>,
}

impl Document {
    /// Parses `bytes`.
    ///
    /// # Errors
    /// serde_json's message, with line and column. Nesting beyond 128 levels and more than a million values are errors too.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let document = Self::deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(document)
    }
}

/// The same JSON with U+FFFD in place of escapes that are half of a character, as some providers cut them; none where there
/// are none.
#[must_use]
pub fn without_lone_surrogates(json: &str) -> Option<String> {
    let unit = |at: usize| {
        let escape = json.get(at..at + 6).filter(|escape| escape.starts_with("\\u"))?;
        u16::from_str_radix(&escape[2..], 16).ok()
    };
    let (mut out, mut from, mut at) = (String::new(), 0, 0);
    let bytes = json.as_bytes();
    while let Some(offset) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += offset;
        match (unit(at), unit(at + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => at += 12,
            (Some(0xD800..=0xDFFF), _) => {
                out.push_str(&json[from..at]);
                out.push_str("\\ufffd");
                at += 6;
                from = at;
            }
            // An escaped backslash, or whatever else is escaped, with it.
            _ => at += 2,
        }
    }
    (from > 0).then(|| out + &json[from..])
}

/// What is known of a document so far.
struct Reading {
    ambiguous: Option<&'static str>,
    /// How many more values it may have.
    values_left: usize,
}

/// Reads a value, and writes down what is ambiguous in it.
struct Reader<'a>(&'a mut Reading);

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.0.values_left.checked_sub(1);
        self.0.values_left = left.ok_or_else(|| de::Error::custom("more values than are read"))?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        /// Below this, every integral double is what was written, or what every reader makes of it.
        const EXACT: f64 = 9_223_372_036_854_775_808.0;
        if value.fract() == 0.0 && value.abs() >= EXACT {
            self.0.ambiguous = Some("a number beyond 64 bits");
        }
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(Reader(self.0))? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(Reader(self.0))?;
            if members.insert(name, value).is_some() {
                self.0.ambiguous = Some("a repeated key");
            }
        }
        Ok(members.into())
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut reading = Reading { ambiguous: None, values_left: MAX_VALUES };
        let value = Reader(&mut reading).deserialize(deserializer)?;
        Ok(Self { value, ambiguous: reading.ambiguous })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::llm::FormatId;

    fn read(text: &str) -> Document {
        Document::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_readers_understand_differently_is_told() {
        for text in ["{\"a\": 1, \"a\": 2}", "[{\"a\": 1, \"\\u0061\": 1}]", "[100000000000000000000000000]"] {
            assert!(read(text).ambiguous.is_some(), "{text}");
        }
        for text in ["{\"a\": {\"a\": 1}}", "[18446744073709551615, -9223372036854775808, 1e5, 0.1]", "\u{feff}{}"] {
            assert_eq!(read(text).ambiguous, None, "{text}");
        }
    }

    #[test]
    fn halves_of_characters_are_replaced() {
        for (json, expected) in [
            (r#"{"a": "x\ud83d y"}"#, Some(r#"{"a": "x\ufffd y"}"#)),
            (r#""\udc00\ud83d\ud83d\ude00""#, Some(r#""\ufffd\ufffd\ud83d\ude00""#)),
            (r#""\\ud83d \ud83d\ude00 \n \u00e9""#, None),
            ("\"\\", None),
            ("\"\\ud83", None),
        ] {
            assert_eq!(without_lone_surrogates(json).as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn values_keep_their_order_and_their_numbers() {
        let text = "{\"z\":1,\"a\":[1.0,2.5e-3,-7],\"m\":{\"y\":null,\"b\":true}}";
        assert_eq!(read(text).value, serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(read(text).value.to_string(), "{\"z\":1,\"a\":[1.0,0.0025,-7],\"m\":{\"y\":null,\"b\":true}}");
        assert_eq!(read("\u{feff}{\"a\":1}").value, json!({"a": 1}));
        for text in ["", "{", "{} {}", "nul", "\"\\ud800\"", "[NaN]", &"[".repeat(200)] {
            assert!(Document::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_document_has_no_more_values_than_memory() {
        let many = |count: usize| format!("[{}]", vec!["[]"; count].join(","));
        assert!(Document::parse(many(MAX_VALUES - 1).as_bytes()).is_ok());
        let error = Document::parse(many(MAX_VALUES).as_bytes()).unwrap_err();
        assert!(error.to_string().contains("more values"), "{error}");
    }

    #[test]
    fn depth_is_an_error_and_never_overflows_a_stack() {
        let nested = |opening: &str, inner: &str, closing: &str, depth| {
            format!("{}{inner}{}", opening.repeat(depth), closing.repeat(depth))
        };
        let test = move || {
            for depth in [128, 10_000, 1_000_000] {
                for deep in
                    [nested("[", "", "]", depth), nested("{\"a\":", "1", "}", depth), nested("[{\"a\":", "", "", depth)]
                {
                    let error = Document::parse(deep.as_bytes()).unwrap_err();
                    assert!(error.to_string().contains("recursion limit"), "{error}");
                }
            }
            // As deep as can be read: every format reads and writes it within a small stack.
            let deep = nested("[", "", "]", 120);
            for body in [
                format!(
                    "{{\"model\": \"m\", \"messages\": [{{\"role\": \"user\", \"content\": \"x\"}}], \"x\": {deep}}}"
                ),
                format!("{{\"model\": \"m\", \"input\": \"x\", \"tools\": [{{\"type\": \"x\", \"x\": {deep}}}]}}"),
                format!("{{\"contents\": [{{\"parts\": [{{\"text\": \"x\"}}]}}], \"x\": {deep}}}"),
            ] {
                for from in FormatId::ALL {
                    let value = Document::parse(body.as_bytes()).unwrap().value;
                    let Ok(chat) = from.format().read_request(value) else { continue };
                    for to in FormatId::ALL {
                        drop(to.format().write_request(&chat, "m").map(|written| written.to_string()));
                    }
                    assert_eq!(chat.clone(), chat);
                }
            }
        };
        std::thread::Builder::new().stack_size(512 << 10).spawn(test).unwrap().join().unwrap();
    }
}
