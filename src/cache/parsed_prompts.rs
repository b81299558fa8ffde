//! Prompts of entries, parsed and remembered: each lookup weighs several, mostly the same ones.

use std::sync::Arc;

use crate::decide::text::Parsed;
use crate::store::EntryId;

/// Prompts that are remembered, of all caches together; each takes about half a kilobyte.
const MAX_PROMPTS: usize = 16_384;

/// Remembers what prompts say. An entry's id is made of its prompt, so that it never has another one.
pub(super) struct ParsedPrompts(quick_cache::sync::Cache<EntryId, Arc<Parsed>>);

impl Default for ParsedPrompts {
    fn default() -> Self {
        Self(quick_cache::sync::Cache::new(MAX_PROMPTS))
    }
}

impl ParsedPrompts {
    /// Parses an entry's prompt, unless it is known. Whoever stores one does so too, so that no lookup has to wait for that.
    pub(super) fn of(&self, entry: EntryId, prompt: &str) -> Arc<Parsed> {
        self.0.get(&entry).unwrap_or_else(|| {
            let parsed = Arc::new(Parsed::new(prompt));
            self.0.insert(entry, Arc::clone(&parsed));
            parsed
        })
    }
}
