//! A hash of meaning.

use std::sync::LazyLock;

use serde_json::Value;

use super::json::Json;

/// Bytes that are collected before they are hashed: most of what is written are tags and lengths.
const PENDING: usize = 1 << 10;

/// A hash of everything in a request that isn't the last user text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// A request that readers may understand differently; it can't be compared with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request has {0}, which providers read differently")]
pub struct Unclear(pub &'static str);

impl Fingerprint {
    /// Of requests that have none; they bypass the cache.
    pub(super) const NONE: Self = Self([0; 32]);

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash of what `feed` writes; fingerprints of different `kind`s never meet.
    pub(super) fn of(
        kind: &str,
        feed: impl FnOnce(&mut MeaningHasher) -> Result<(), Unclear>,
    ) -> Result<Self, Unclear> {
        static EMPTY: LazyLock<blake3::Hasher> =
            LazyLock::new(|| blake3::Hasher::new_derive_key("refrain fingerprint"));
        let mut hasher = MeaningHasher { hasher: EMPTY.clone(), pending: Vec::with_capacity(PENDING) };
        hasher.text(kind);
        feed(&mut hasher)?;
        hasher.hasher.update(&hasher.pending);
        Ok(Self(*hasher.hasher.finalize().as_bytes()))
    }
}

/// Writes values so that no two different ones read the same: each is preceded by its type and its length.
pub(super) struct MeaningHasher {
    hasher: blake3::Hasher,
    /// What comes next, and isn't hashed yet.
    pending: Vec<u8>,
}

impl MeaningHasher {
    fn write(&mut self, bytes: &[u8]) {
        if self.pending.len() + bytes.len() > PENDING {
            self.hasher.update(&self.pending);
            self.pending.clear();
        }
        if bytes.len() > PENDING {
            self.hasher.update(bytes);
        } else {
            self.pending.extend_from_slice(bytes);
        }
    }

    pub(super) fn value(&mut self, json: &Json) -> Result<(), Unclear> {
        match json {
            Json::Null => self.tag(b'0'),
            Json::Bool(false) => self.tag(b'f'),
            Json::Bool(true) => self.tag(b't'),
            Json::Integer(value) => {
                self.tag(b'i');
                self.write(&value.to_le_bytes());
            }
            Json::Fraction(value) => {
                self.tag(b'n');
                self.write(&value.to_bits().to_le_bytes());
            }
            Json::String(text) => self.text(text),
            Json::Array(items) => {
                self.begin_array(items.len());
                for item in items {
                    self.value(item)?;
                }
            }
            Json::Object(members) => {
                self.begin_object(members.len());
                for (key, value) in members {
                    self.text(key);
                    self.value(value)?;
                }
            }
            Json::Unclear(why) => return Err(Unclear(why)),
        }
        Ok(())
    }

    /// A value of serde_json's; the order of members and the spelling of numbers don't matter.
    pub(super) fn json(&mut self, value: &Value) -> Result<(), Unclear> {
        match value {
            Value::Null => self.tag(b'0'),
            Value::Bool(false) => self.tag(b'f'),
            Value::Bool(true) => self.tag(b't'),
            Value::Number(number) => self.value(&Json::of_number(number))?,
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                self.begin_array(items.len());
                items.iter().try_for_each(|item| self.json(item))?;
            }
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_unstable_by_key(|(name, _)| *name);
                self.begin_object(members.len());
                for (name, value) in members {
                    self.text(name);
                    self.json(value)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn text(&mut self, text: &str) {
        self.sized(b's', text.len());
        self.write(text.as_bytes());
    }

    /// A text of some kind.
    pub(super) fn tagged_text(&mut self, kind: u8, text: &str) {
        self.tag(kind);
        self.text(text);
    }

    pub(super) fn optional_text(&mut self, text: Option<&str>) {
        match text {
            None => self.tag(b'-'),
            Some(text) => self.text(text),
        }
    }

    pub(super) fn flag(&mut self, flag: Option<bool>) {
        self.tag(match flag {
            None => b'-',
            Some(false) => b'f',
            Some(true) => b't',
        });
    }

    pub(super) fn whole(&mut self, number: Option<i128>) {
        match number {
            None => self.tag(b'-'),
            Some(number) => {
                self.tag(b'i');
                self.write(&number.to_le_bytes());
            }
        }
    }

    pub(super) fn number(&mut self, number: Option<f64>) {
        match number {
            None => self.tag(b'-'),
            Some(number) => {
                self.tag(b'n');
                // Zero has two spellings.
                self.write(&(number + 0.0).to_bits().to_le_bytes());
            }
        }
    }

    pub(super) fn begin_array(&mut self, items: usize) {
        self.sized(b'a', items);
    }

    pub(super) fn begin_object(&mut self, members: usize) {
        self.sized(b'o', members);
    }

    /// The place where the last user text stood.
    pub(super) fn hole(&mut self) {
        self.tag(b'_');
    }

    fn sized(&mut self, tag: u8, size: usize) {
        self.tag(tag);
        self.write(&(size as u64).to_le_bytes());
    }

    pub(super) fn tag(&mut self, tag: u8) {
        self.write(&[tag]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn print(text: &str) -> Result<Fingerprint, Unclear> {
        let json = Json::parse(text.as_bytes()).unwrap();
        let print = Fingerprint::of("test", |hasher| hasher.value(&json));
        if print.is_ok() {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(Fingerprint::of("test", |hasher| hasher.json(&value)), print, "{text}");
        }
        print
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9f64).prop_map(Value::from),
            "[a-c\u{e9}\" \\\\\n]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec(("[a-d]{0,2}", inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Writes `value` with its keys in an order, spaces and number spellings that depend on `seed`.
    fn spell(value: &Value, seed: &mut u64, out: &mut String) {
        let mut next = || {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*seed >> 33) as usize
        };
        let space = ["", " ", "\n\t", "  \r\n"][next() % 4];
        out.push_str(space);
        match value {
            Value::Number(number) => {
                let integral = number.as_i64().filter(|n| n.abs() < 1 << 52);
                match (integral, next() % 4) {
                    (Some(n), 0) => out.push_str(&format!("{n}.0")),
                    (Some(n), 1) => out.push_str(&format!("{n}e0")),
                    (Some(n), 2) => out.push_str(&format!("{n}0E-1")),
                    (None, 0) if number.is_f64() => out.push_str(&format!("{number}e+0").replacen("e-", "e-", 1)),
                    _ => out.push_str(&number.to_string()),
                }
            }
            Value::String(text) if next().is_multiple_of(2) => {
                out.push('"');
                for unit in text.encode_utf16() {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
                out.push('"');
            }
            Value::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    spell(item, seed, out);
                }
                out.push(']');
            }
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                let turn = next() % members.len().max(1);
                members.rotate_left(turn);
                out.push('{');
                for (i, (key, item)) in members.into_iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { " ," });
                    out.push_str(&Value::from(key.clone()).to_string());
                    out.push_str(" :");
                    spell(item, seed, out);
                }
                out.push('}');
            }
            other => out.push_str(&other.to_string()),
        }
        out.push_str(space);
    }

    /// By value, as a reader compares: 1 equals 1.0.
    fn same(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
                (Some(a), Some(b)) => a == b,
                _ => a.as_f64() == b.as_f64(),
            },
            (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
            }
            _ => a == b,
        }
    }

    proptest! {
        #[test]
        fn spelling_does_not_change_a_fingerprint(value in value(), mut seed in any::<u64>()) {
            let mut spelled = String::new();
            spell(&value, &mut seed, &mut spelled);
            prop_assert_eq!(print(&spelled), print(&value.to_string()), "{}", spelled);
        }

        #[test]
        fn different_values_have_different_fingerprints(a in value(), b in value()) {
            prop_assert_eq!(print(&a.to_string()) == print(&b.to_string()), same(&a, &b));
        }
    }

    #[test]
    fn numbers_are_compared_by_value() {
        for (a, b) in [
            ("1", "1.0"),
            ("1", "1e0"),
            ("100", "1E2"),
            ("0", "-0.0"),
            ("0.5", "5e-1"),
            ("1e16", "10000000000000000"),
            // More digits than a double holds, and yet one that it does.
            ("-1991207884412801", "-19912078844128010E-1"),
        ] {
            assert_eq!(print(a), print(b), "{a} {b}");
        }
        for (a, b) in
            [("1", "2"), ("0.5", "0.25"), ("9007199254740993", "9007199254740992"), ("1", "\"1\""), ("1", "true")]
        {
            assert_ne!(print(a), print(b), "{a} {b}");
        }
    }

    #[test]
    fn what_readers_understand_differently_has_no_fingerprint() {
        for text in ["{\"a\": 1, \"a\": 2}", "{\"a\": 1, \"\\u0061\": 1}", "[100000000000000000000000000]"] {
            assert!(print(text).is_err(), "{text}");
        }
    }
}
