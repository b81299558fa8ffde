//! Entries by their exact text: from memory where they are there, because waiting for another thread costs more than that.

use super::super::super::{CacheKey, Entry, EntryFilter, EntryId, ScopeKey, TextHash, Timestamp};
use super::super::record::{self, decode};
use super::entries::{Tier, Unread};
use super::{Curation, Database, family};

/// What is looked for.
pub(in super::super) struct Sought {
    pub(in super::super) cache: CacheKey,
    pub(in super::super) scope: ScopeKey,
    pub(in super::super) text: TextHash,
    pub(in super::super) wanted: EntryFilter,
    pub(in super::super) now: Timestamp,
}

impl Sought {
    fn is_served_by(&self, entry: &Entry) -> bool {
        entry.scope == self.scope && entry.expires > self.now && self.wanted.admits(entry)
    }
}

impl Database {
    /// See [`Store::find_exact`](super::super::super::Store::find_exact).
    pub(in super::super) fn find_exact(&self, sought: &Sought, tier: Tier) -> Result<Option<Entry>, Unread> {
        let Sought { cache, scope, text, wanted, .. } = sought;
        let entry_of = |id: EntryId| -> Result<Option<Entry>, Unread> {
            Ok(self.entry(*cache, id, tier)?.filter(|entry| sought.is_served_by(entry)))
        };
        // Nearly always the entry has just the attributes that are asked for, and so a known id.
        if wanted.chat.is_none()
            && let Some(entry) = entry_of(EntryId::new(*scope, *text, &wanted.attributes))?
        {
            return Ok(Some(entry));
        }
        let ids = self.read(family::EXACT, &record::exact_key(*cache, *scope, *text), &tier.options())?;
        let ids: Vec<EntryId> = ids.map_or_else(|| Ok(Vec::new()), |bytes| decode(&bytes))?;
        let mut entries = Vec::new();
        for id in ids {
            entries.extend(entry_of(id)?);
        }
        let specificity = |entry: &Entry| entry.curation.as_ref().map_or(0, Curation::specificity);
        Ok(entries.into_iter().max_by_key(|entry| (specificity(entry), entry.created)))
    }
}
