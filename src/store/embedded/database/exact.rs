//! Entries by their exact text: from memory where they are there, because waiting for another thread costs more than that.

use rocksdb::{DBPinnableSlice, ErrorKind, ReadOptions, ReadTier};

use super::super::super::{CacheKey, Entry, EntryFilter, EntryId, ScopeKey, StoreError, TextHash, Timestamp};
use super::super::record::{self, EntryRecord, decode, decode_entry};
use super::{Curation, Damage, Database, failed, family};

/// What is looked for.
pub(in super::super) struct Sought {
    pub(in super::super) cache: CacheKey,
    pub(in super::super) scope: ScopeKey,
    pub(in super::super) text: TextHash,
    pub(in super::super) wanted: EntryFilter,
    pub(in super::super) now: Timestamp,
}

/// How far a read goes for what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Tier {
    /// What is in memory. Takes some microseconds, and never waits for a disk.
    Memory,
    /// Everything, however long it takes.
    Disk,
}

/// Why a read came to nothing.
#[derive(Debug)]
pub(in super::super) enum Unread {
    /// It would have had to go further than [`Tier::Memory`].
    NotInMemory,
    Failed(StoreError),
}

impl From<StoreError> for Unread {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<Unread> for StoreError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Failed(error) => error,
            Unread::NotInMemory => Self::Damaged("a read of everything found too little".into()),
        }
    }
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
        let mut options = ReadOptions::default();
        if tier == Tier::Memory {
            options.set_read_tier(ReadTier::BlockCache);
        }
        let entry_of = |id: EntryId| -> Result<Option<Entry>, Unread> {
            let found = self.read(family::ENTRIES, &record::entry_key(*cache, id), &options)?;
            let found = found.map(|bytes| decode_entry(&bytes)).transpose()?;
            Ok(found.map(|EntryRecord { entry, .. }| entry).filter(|entry| sought.is_served_by(entry)))
        };
        // Nearly always the entry has just the attributes that are asked for, and so a known id.
        if wanted.chat.is_none()
            && let Some(entry) = entry_of(EntryId::new(*scope, *text, &wanted.attributes))?
        {
            return Ok(Some(entry));
        }
        let ids = self.read(family::EXACT, &record::exact_key(*cache, *scope, *text), &options)?;
        let ids: Vec<EntryId> = ids.map_or_else(|| Ok(Vec::new()), |bytes| decode(&bytes))?;
        let mut entries = Vec::new();
        for id in ids {
            entries.extend(entry_of(id)?);
        }
        let specificity = |entry: &Entry| entry.curation.as_ref().map_or(0, Curation::specificity);
        Ok(entries.into_iter().max_by_key(|entry| (specificity(entry), entry.created)))
    }

    /// Entries by their ids, in their order. One that can't be read counts as missing, and that is logged.
    pub(in super::super) fn entries(&self, cache: CacheKey, ids: &[EntryId]) -> Result<Vec<Option<Entry>>, StoreError> {
        let keys: Vec<_> = ids.iter().map(|id| record::entry_key(cache, *id)).collect();
        let found = self.db.batched_multi_get_cf(self.family(family::ENTRIES)?, &keys, false);
        let mut damage = Damage::default();
        let mut read = |found: Result<Option<DBPinnableSlice<'_>>, rocksdb::Error>| {
            let bytes = damage.sort_out(found.map_err(failed))??;
            damage.sort_out(decode_entry(&bytes)).map(|record| record.entry)
        };
        let entries = found.into_iter().map(&mut read).collect();
        damage.report();
        Ok(entries)
    }

    fn read(
        &self,
        family: &'static str,
        key: &[u8],
        options: &ReadOptions,
    ) -> Result<Option<DBPinnableSlice<'_>>, Unread> {
        self.db.get_pinned_cf_opt(self.family(family)?, key, options).map_err(|error| match error.kind() {
            ErrorKind::Incomplete => Unread::NotInMemory,
            _ => Unread::Failed(failed(error)),
        })
    }
}
