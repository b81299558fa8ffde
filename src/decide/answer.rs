//! When two answers are the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Names a class of answers that are the same: a hash of what a short answer says, or the class of an answer that another one
/// was found to say the same as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AnswerClass(pub u64);

/// Characters up to which an answer is compared by what it says literally; longer ones are worded differently each time.
pub(super) const SHORT: usize = 80;
/// Bytes up to which an answer is taken apart; beyond, only its very bytes count, because lookups read several.
const MAX: usize = 1 << 10;

impl AnswerClass {
    /// The class of answers that say literally what `text` does: letters in any case, spaces and punctuation around them
    /// apart; numbers and JSON by value.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        if text.len() <= MAX {
            hasher.update(canonical(text).as_bytes());
        } else {
            hasher.update(text.trim().as_bytes());
        }
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        Self(u64::from_le_bytes(first))
    }
}

/// Whether an answer is short or structured, so that another one that says the same says it in the same words.
#[must_use]
pub fn is_literal(text: &str) -> bool {
    text.chars().nth(SHORT).is_none() || as_json(text).is_some()
}

/// A text such that answers that say literally the same have the same one.
fn canonical(text: &str) -> String {
    let text = text.trim();
    if let Some(json) = as_json(text) {
        return format!("json:{}", of_json(&json));
    }
    if let Some(number) = as_number(text) {
        return format!("number:{number:?}");
    }
    let mut canonical = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        let word = word.trim_matches(|c: char| {
            matches!(c, '.' | ',' | '!' | '?' | ';' | ':' | '"' | '\'' | '*' | '`' | '(' | ')')
        });
        if !word.is_empty() {
            if !canonical.is_empty() {
                canonical.push(' ');
            }
            canonical.extend(word.chars().flat_map(char::to_lowercase));
        }
    }
    // Of nothing but signs, these are what it says.
    if canonical.is_empty() { text.to_owned() } else { canonical }
}

/// Objects and lists only: a bare word or number is text.
fn as_json(text: &str) -> Option<serde_json::Value> {
    let text = text.trim();
    let text = text.strip_prefix("```json").and_then(|rest| rest.strip_suffix("```")).map_or(text, str::trim);
    if !text.starts_with(['{', '[']) || text.len() > MAX {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// Members in the order of their names, numbers by value.
fn of_json(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.iter().map(|(name, value)| (name, of_json(value))).collect();
            let members: Vec<String> = members.into_iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(of_json).collect::<Vec<_>>().join(",")),
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), |number| format!("{number:?}")),
        other => other.to_string(),
    }
}

/// A number that stands alone, with thousands apart or not: 1,000.50 is 1000.5.
fn as_number(text: &str) -> Option<f64> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if !text.bytes().any(|byte| byte.is_ascii_digit()) || text.len() > 40 {
        return None;
    }
    let groups: Vec<&str> = text.split('.').next()?.trim_start_matches(['-', '+']).split(',').collect();
    let is_grouped = groups.len() == 1 || groups.iter().skip(1).all(|group| group.len() == 3);
    if !is_grouped {
        return None;
    }
    text.replace(',', "").parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_answers_are_the_same_whatever_their_dress() {
        for (a, b) in [
            ("Paris", " paris. "),
            ("**Yes**", "yes"),
            ("1,000.50", "1000.5"),
            ("42", "42.0"),
            ("{\"a\": 1, \"b\": [2.0]}", "{ \"b\":[2], \"a\":1.0 }"),
            ("```json\n{\"a\": 1}\n```", "{\"a\":1}"),
        ] {
            assert_eq!(AnswerClass::of(a), AnswerClass::of(b), "{a} | {b}");
        }
        for (a, b) in [("Paris", "Lyon"), ("1,5", "15"), ("42", "43"), ("{\"a\": 1}", "{\"a\": \"1\"}"), ("+", "-")] {
            assert!(is_literal(a) && is_literal(b) && AnswerClass::of(a) != AnswerClass::of(b), "{a} | {b}");
        }
    }

    #[test]
    fn long_answers_have_to_be_understood() {
        let (a, b) =
            ("The capital of France is the city of Paris. ".repeat(3), "France has Paris as its capital. ".repeat(4));
        assert!(!is_literal(&a) && AnswerClass::of(&a) != AnswerClass::of(&b));
        assert_eq!(AnswerClass::of(&a), AnswerClass::of(&a.to_uppercase()));
    }

    proptest! {
        #[test]
        fn dress_does_not_matter(text in "\\PC{0,100}") {
            prop_assert_eq!(AnswerClass::of(&text), AnswerClass::of(&format!(" {text}\n")));
        }
    }
}
