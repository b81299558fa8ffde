//! The texts of entries, parsed and remembered: each lookup weighs several, mostly the same ones.

use std::sync::Arc;

use crate::decide::text::Parsed;
use crate::decide::{AnswerClass, ParsedPrompt, is_literal};
use crate::store::{Answer, Entry, EntryId, Timestamp};

/// Entries that are remembered, of all caches together; each takes about half a kilobyte.
const MAX_ENTRIES: usize = 16_384;

/// What an answer says, whether in text or in calls of tools.
pub(super) fn answer_text(answer: &Answer) -> &str {
    match &answer.completion {
        Some(completion) if answer.text.is_empty() => completion,
        _ => &answer.text,
    }
}

/// What an answer says, as a number: those that say the same have the same.
pub(super) fn says(answer: &Answer) -> u64 {
    match &answer.vector {
        None => AnswerClass::of(answer_text(answer)).0,
        Some(vector) => {
            let mut hasher = blake3::Hasher::new();
            for number in &vector.components {
                hasher.update(&number.to_le_bytes());
            }
            hasher.finalize().as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
        }
    }
}

/// What an entry's texts say, parsed.
pub(super) struct ParsedEntry {
    version: Version,
    pub(super) parsed: Parsed,
    pub(super) class: AnswerClass,
    pub(super) is_literal: bool,
}

impl ParsedEntry {
    /// Its prompt, which says `text`, as one that is asked.
    pub(super) fn prompt<'t>(&self, text: &'t str) -> ParsedPrompt<'t> {
        ParsedPrompt::parsed(text, self.parsed.clone())
    }
}

/// Tells one answer of an entry from the next, which comes under the same name. To look at all of it would take longer than a decision
/// about it.
#[derive(PartialEq, Eq)]
struct Version {
    created: Timestamp,
    length: usize,
}

/// Remembers [`ParsedEntry`]s.
pub(super) struct ParsedEntryCache(quick_cache::sync::Cache<EntryId, Arc<ParsedEntry>>);

impl Default for ParsedEntryCache {
    fn default() -> Self {
        Self(quick_cache::sync::Cache::new(MAX_ENTRIES))
    }
}

impl ParsedEntryCache {
    pub(super) fn of(&self, entry: &Entry) -> Arc<ParsedEntry> {
        let version = Version::of(entry.created, &entry.answer);
        let known = self.0.get(&entry.id).filter(|known| known.version == version);
        known.unwrap_or_else(|| self.parse(entry.id, entry.created, &entry.prompt, &entry.answer))
    }

    /// Parses an entry when it is stored, so that no lookup has to wait for that.
    pub(super) fn parse(&self, entry: EntryId, created: Timestamp, prompt: &str, answer: &Answer) -> Arc<ParsedEntry> {
        let text = answer_text(answer);
        let known = Arc::new(ParsedEntry {
            version: Version::of(created, answer),
            parsed: Parsed::new(prompt),
            class: AnswerClass::of(text),
            is_literal: is_literal(text),
        });
        self.0.insert(entry, Arc::clone(&known));
        known
    }
}

impl Version {
    fn of(created: Timestamp, answer: &Answer) -> Self {
        Self { created, length: answer_text(answer).len() }
    }
}
