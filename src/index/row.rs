//! What is known about a vector besides its direction.

use super::Key;

/// A property that a search may ask for: the hash of an attribute's name and value.
pub type Tag = u64;

/// When a row stops being found, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry(pub u64);

impl Expiry {
    /// A row that never expires.
    pub const NEVER: Self = Self(u64::MAX);
}

/// A vector's key and properties.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<K> {
    /// Whose vector it is.
    pub key: K,
    /// When it stops being found.
    pub expiry: Expiry,
    /// What it can be filtered by.
    pub tags: Box<[Tag]>,
}

/// Which rows a search sees: those that carry every tag, and one of several, and haven't expired at `now`.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Milliseconds since 1970.
    pub now: u64,
    /// All of them must be carried.
    pub tags: Vec<Tag>,
    /// One of them must be carried, unless there is none.
    pub one_of: Vec<Tag>,
}

impl Filter {
    /// Whether tags matter.
    pub(super) fn asks_for_tags(&self) -> bool {
        !self.tags.is_empty() || !self.one_of.is_empty()
    }

    pub(super) fn admits<K: Key>(&self, row: &Row<K>) -> bool {
        row.expiry.0 > self.now
            && self.tags.iter().all(|tag| row.tags.contains(tag))
            && (self.one_of.is_empty() || self.one_of.iter().any(|tag| row.tags.contains(tag)))
    }
}
