//! What is known of entries' texts, remembered: each lookup weighs several, mostly the same ones.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use super::learning::said;
use crate::decide::text::Parsed;
use crate::decide::{AnswerClass, is_literal};
use crate::store::{Entry, EntryId};

/// Entries that are remembered, of all caches together; each takes one or two kilobytes.
const MOST: usize = 16_384;

/// What an entry's texts say, taken apart.
pub(super) struct Known {
    /// A hash of the answer, which may change while the entry's name stays.
    answer: u64,
    pub(super) prompt: Parsed,
    pub(super) class: AnswerClass,
    pub(super) is_literal: bool,
}

/// Remembers [`Known`] entries.
pub(super) struct Memory(quick_cache::sync::Cache<EntryId, Arc<Known>>);

impl Default for Memory {
    fn default() -> Self {
        Self(quick_cache::sync::Cache::new(MOST))
    }
}

impl Memory {
    pub(super) fn of(&self, entry: &Entry) -> Arc<Known> {
        let answer = said(&entry.answer);
        let mut hasher = DefaultHasher::new();
        hasher.write(answer.as_bytes());
        let hash = hasher.finish();
        if let Some(known) = self.0.get(&entry.id).filter(|known| known.answer == hash) {
            return known;
        }
        let known = Arc::new(Known {
            answer: hash,
            prompt: Parsed::new(&entry.prompt),
            class: AnswerClass::of(answer),
            is_literal: is_literal(answer),
        });
        self.0.insert(entry.id, Arc::clone(&known));
        known
    }
}
