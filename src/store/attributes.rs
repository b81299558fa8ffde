//! What entries can be filtered by.

use std::collections::BTreeMap;

use crate::index::Tag;

/// Bytes of the longest name.
const MAX_NAME: usize = 64;
/// Bytes of the longest value. LangCache documents 500 characters, but langchain-redis sends its whole `llm_string`, quoted, which
/// takes some thousands.
const MAX_VALUE: usize = 16 << 10;

/// What is wrong with an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The rule that it breaks, as JSON Schema calls it.
    pub rule: &'static str,
    /// What the rule is; the attribute is the sentence's subject.
    pub message: String,
}

/// Names and values that a user gave an entry, or asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Attributes(BTreeMap<String, String>);

impl Attributes {
    /// An entry may have so many.
    pub const MAX: usize = 16;

    /// Why an entry may not have an attribute of this name and value, as LangCache has it, with more of each.
    #[must_use]
    pub fn flaw(name: &str, value: &str) -> Option<Flaw> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(allowed) {
            let message = format!("must be named by 1 to {MAX_NAME} letters, digits, _ or -");
            Some(Flaw { rule: "pattern", message })
        } else if value.len() > MAX_VALUE {
            Some(Flaw { rule: "maxLength", message: format!("must have at most {MAX_VALUE} bytes") })
        } else {
            None
        }
    }

    /// From names and values; whether those are acceptable is for the caller to check.
    #[must_use]
    pub fn new(map: BTreeMap<String, String>) -> Self {
        Self(map)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether every one of `asked` is among these.
    #[must_use]
    pub fn carry(&self, asked: &Self) -> bool {
        asked.0.iter().all(|(name, value)| self.0.get(name) == Some(value))
    }

    /// Their hashes, for filtering during a search.
    #[must_use]
    pub fn tags(&self) -> Vec<Tag> {
        self.iter()
            .map(|(name, value)| {
                let mut hasher = blake3::Hasher::new();
                hasher.update(&(name.len() as u64).to_le_bytes());
                hasher.update(name.as_bytes());
                hasher.update(value.as_bytes());
                let mut tag = [0; 8];
                hasher.finalize_xof().fill(&mut tag);
                Tag::from_le_bytes(tag)
            })
            .collect()
    }
}

impl From<Attributes> for BTreeMap<String, String> {
    fn from(attributes: Attributes) -> Self {
        attributes.0
    }
}
