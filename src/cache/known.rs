//! What is known of entries' texts, remembered: each lookup weighs several, mostly the same ones.

use std::sync::Arc;

use super::learning::said;
use crate::decide::text::Parsed;
use crate::decide::{AnswerClass, Reading, is_literal};
use crate::store::{Answer, Entry, EntryId, Timestamp};

/// Entries that are remembered, of all caches together; each takes about half a kilobyte.
const MOST: usize = 16_384;

/// What an entry's texts say, taken apart.
pub(super) struct Known {
    version: Version,
    pub(super) prompt: Parsed,
    pub(super) class: AnswerClass,
    pub(super) is_literal: bool,
}

impl Known {
    /// Its prompt, which says `text`, as one that is asked.
    pub(super) fn reading<'t>(&self, text: &'t str) -> Reading<'t> {
        Reading::parsed(text, self.prompt.clone())
    }
}

/// Tells one answer of an entry from the next, which comes under the same name. To look at all of it would take longer than a decision
/// about it.
#[derive(PartialEq, Eq)]
struct Version {
    created: Timestamp,
    length: usize,
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
        let version = Version::of(entry.created, &entry.answer);
        let known = self.0.get(&entry.id).filter(|known| known.version == version);
        known.unwrap_or_else(|| self.learn(entry.id, entry.created, &entry.prompt, &entry.answer))
    }

    /// What is learned of an entry when it is stored, no lookup has to wait for.
    pub(super) fn learn(&self, entry: EntryId, created: Timestamp, prompt: &str, answer: &Answer) -> Arc<Known> {
        let said = said(answer);
        let known = Arc::new(Known {
            version: Version::of(created, answer),
            prompt: Parsed::new(prompt),
            class: AnswerClass::of(said),
            is_literal: is_literal(said),
        });
        self.0.insert(entry, Arc::clone(&known));
        known
    }
}

impl Version {
    fn of(created: Timestamp, answer: &Answer) -> Self {
        Self { created, length: said(answer).len() }
    }
}
