//! What is stored.

use std::collections::BTreeMap;

use super::key::{CacheKey, EntryId, ScopeKey};
use crate::embed::TextEmbedding;
use crate::index::Tag;

/// A point in time, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time now.
    #[must_use]
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// This long after; never overflows.
    #[must_use]
    pub fn after(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` until this, zero where it isn't earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

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

/// What is served on a hit.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Answer {
    /// The answer as plain text: what the cache API replies.
    pub text: String,
    /// The whole reply of a chat completion as JSON, where the answer came from one. Opaque here.
    pub completion: Option<String>,
}

/// A stored entry.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Entry {
    /// Its name.
    pub id: EntryId,
    /// Who may be answered with it; compared again with the asker's after every read.
    pub scope: ScopeKey,
    /// The prompt that was answered.
    pub prompt: String,
    /// The answer.
    pub answer: Answer,
    /// What it can be filtered by.
    pub attributes: Attributes,
    /// When it was stored.
    pub created: Timestamp,
    /// When it stops being served.
    pub expires: Timestamp,
    /// Windows that the prompt's vector is the mean of; 0 where it has no vector.
    pub windows: usize,
}

/// An entry to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEntry {
    /// The cache that it belongs to.
    pub cache: CacheKey,
    /// See [`Entry`].
    pub scope: ScopeKey,
    /// See [`Entry`].
    pub prompt: String,
    /// See [`Entry`].
    pub answer: Answer,
    /// See [`Entry`].
    pub attributes: Attributes,
    /// See [`Entry`].
    pub created: Timestamp,
    /// See [`Entry`].
    pub expires: Timestamp,
    /// The prompt's vector. Without one the entry is found by its exact text only.
    pub embedding: Option<TextEmbedding>,
}
