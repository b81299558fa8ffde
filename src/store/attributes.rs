//! What entries can be filtered by.

use std::collections::BTreeMap;

use crate::index::Tag;

/// Names and values that a user gave an entry, or asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Attributes(BTreeMap<String, String>);

impl Attributes {
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
