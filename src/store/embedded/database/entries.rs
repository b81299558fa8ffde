//! Reading entries: whole, or with the gist of their answers, which spares reading those.

use rocksdb::{DBPinnableSlice, ErrorKind, ReadOptions, ReadTier};

use super::super::super::{Answer, AnswerGist, CacheKey, Entry, EntryId, Position, StoreError};
use super::super::record::{self, EntryRecord, InRecord, decode_answer, decode_entry, decode_gist};
use super::scan::{Damage, Scan};
use super::{Database, PAGE_BYTES, failed, family};

/// How often an entry is read again that was replaced between its record and its answer. Arbitrary: once is enough nearly always.
const ATTEMPTS: usize = 5;

/// How far a read goes for what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Tier {
    /// What is in memory. Takes some microseconds, and never waits for a disk.
    Memory,
    /// Everything, however long it takes.
    Disk,
}

impl Tier {
    pub(super) fn options(self) -> ReadOptions {
        let mut options = ReadOptions::default();
        if self == Self::Memory {
            options.set_read_tier(ReadTier::BlockCache);
        }
        options
    }
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

impl Database {
    /// An entry with all that its record has.
    pub(in super::super) fn record(
        &self,
        cache: CacheKey,
        id: EntryId,
    ) -> Result<Option<EntryRecord<InRecord>>, StoreError> {
        Ok(self.record_with(cache, id, &ReadOptions::default())?)
    }

    /// An entry with the gist of its answer.
    pub(in super::super) fn gist(
        &self,
        cache: CacheKey,
        id: EntryId,
    ) -> Result<Option<EntryRecord<AnswerGist>>, StoreError> {
        let found = self.read(family::ENTRIES, &record::entry_key(cache, id), &ReadOptions::default())?;
        found.map(|bytes| decode_gist(&bytes, self.gist_of)).transpose()
    }

    /// An entry with its answer.
    pub(in super::super) fn entry(&self, cache: CacheKey, id: EntryId, tier: Tier) -> Result<Option<Entry>, Unread> {
        Ok(self.whole(cache, id, &tier.options())?.map(|record| record.entry))
    }

    /// Entries by their ids, in their order. One that can't be read counts as missing, and that is logged.
    pub(in super::super) fn entries(&self, cache: CacheKey, ids: &[EntryId]) -> Result<Vec<Option<Entry>>, StoreError> {
        let keys: Vec<_> = ids.iter().map(|id| record::entry_key(cache, *id)).collect();
        let found = self.db.batched_multi_get_cf(self.family(family::ENTRIES)?, &keys, false);
        let mut damage = Damage::default();
        let mut records = Vec::with_capacity(ids.len());
        for found in found {
            let bytes = damage.sort_out(found.map_err(failed)).flatten();
            records.push(bytes.and_then(|bytes| damage.sort_out(decode_entry(&bytes))));
        }
        let is_apart = |record: &&EntryRecord<InRecord>| matches!(record.entry.answer, InRecord::Apart(_));
        let keys: Vec<_> =
            records.iter().flatten().filter(is_apart).map(|it| record::entry_key(cache, it.entry.id)).collect();
        let mut apart = match keys.is_empty() {
            true => Vec::new(),
            false => self.db.batched_multi_get_cf(self.family(family::ANSWERS)?, &keys, false),
        }
        .into_iter();
        let mut whole = |record: EntryRecord<InRecord>| {
            let id = record.entry.id;
            let found = match is_apart(&&record) {
                true => damage.sort_out(apart.next().unwrap_or(Ok(None)).map_err(failed)).flatten(),
                false => None,
            };
            let joined = join(record, found.as_deref());
            match damage.sort_out(joined)? {
                Some(record) => Some(record.entry),
                // It was replaced in between.
                None => damage.sort_out(self.entry(cache, id, Tier::Disk).map_err(StoreError::from)).flatten(),
            }
        };
        let entries = records.into_iter().map(|record| whole(record?)).collect();
        damage.report();
        Ok(entries)
    }

    /// The `most` entries behind a position, or fewer where they are large. Those that can't be read are left out, and that is
    /// logged.
    pub(in super::super) fn page(
        &self,
        cache: Option<CacheKey>,
        after: Option<Position>,
        most: usize,
    ) -> Result<Vec<(CacheKey, EntryRecord)>, StoreError> {
        let last = after.map(|after| record::entry_key(after.cache, after.entry));
        let from: &[u8] = match (&last, &cache) {
            (Some(last), _) => last,
            (None, Some(cache)) => &cache.0,
            (None, None) => &[],
        };
        let mut options = ReadOptions::default();
        // What is read once must not drive out what is read again and again.
        options.fill_cache(false);
        let mut page = Vec::with_capacity(most);
        let (mut bytes, mut damage) = (0, Damage::default());
        for item in Scan::from(&self.db, self.family(family::ENTRIES)?, from) {
            let Some((key, value)) = damage.sort_out(item) else { continue };
            let Some((of, id)) = damage.sort_out(record::read_entry_key(&key)) else { continue };
            if page.len() == most || bytes > PAGE_BYTES || cache.is_some_and(|cache| cache != of) {
                break;
            }
            if last.is_some_and(|last| *key == last) {
                continue;
            }
            let Some(record) = damage.sort_out(decode_entry(&value)) else { continue };
            let whole = match join(record, None) {
                Ok(Some(whole)) => Ok(Some(whole)),
                // Its answer lies apart.
                Ok(None) => self.whole(of, id, &options).map_err(StoreError::from),
                Err(error) => Err(error),
            };
            if let Some(record) = damage.sort_out(whole).flatten() {
                bytes += value.len() + record.entry.answer.size();
                page.push((of, record));
            }
        }
        damage.report();
        Ok(page)
    }

    /// Calls `each` for every entry of a cache that can be read. That some can't is logged.
    pub(in super::super) fn for_each_gist(
        &self,
        cache: CacheKey,
        mut each: impl FnMut(Entry<AnswerGist>),
    ) -> Result<(), StoreError> {
        let mut damage = Damage::default();
        for item in Scan::from(&self.db, self.family(family::ENTRIES)?, &cache.0) {
            let Some((key, value)) = damage.sort_out(item) else { continue };
            if !key.starts_with(&cache.0) {
                break;
            }
            if let Some(record) = damage.sort_out(decode_gist(&value, self.gist_of)) {
                each(record.entry);
            }
        }
        damage.report();
        Ok(())
    }

    pub(in super::super) fn gist_of(&self, answer: &Answer) -> AnswerGist {
        (self.gist_of)(answer)
    }

    fn record_with(
        &self,
        cache: CacheKey,
        id: EntryId,
        options: &ReadOptions,
    ) -> Result<Option<EntryRecord<InRecord>>, Unread> {
        let found = self.read(family::ENTRIES, &record::entry_key(cache, id), options)?;
        Ok(found.map(|bytes| decode_entry(&bytes)).transpose()?)
    }

    fn whole(&self, cache: CacheKey, id: EntryId, options: &ReadOptions) -> Result<Option<EntryRecord>, Unread> {
        for _ in 0..ATTEMPTS {
            let Some(record) = self.record_with(cache, id, options)? else { return Ok(None) };
            let apart = match record.entry.answer {
                InRecord::Apart(_) => self.read(family::ANSWERS, &record::entry_key(cache, id), options)?,
                _ => None,
            };
            if let Some(whole) = join(record, apart.as_deref())? {
                return Ok(Some(whole));
            }
        }
        Err(StoreError::Damaged(format!("the answer of the entry {id} is missing")).into())
    }

    #[cfg(test)]
    pub(in super::super) fn count_answers_apart(&self) -> usize {
        Scan::new(&self.db, self.family(family::ANSWERS).unwrap()).count()
    }

    pub(super) fn read(
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

/// An entry with its answer, of which `apart` is what lies apart. None where that isn't there, or isn't its own.
fn join(record: EntryRecord<InRecord>, apart: Option<&[u8]>) -> Result<Option<EntryRecord>, StoreError> {
    let found: Option<Answer> = match (&record.entry.answer, apart) {
        (InRecord::Apart(gist), Some(bytes)) => decode_answer(bytes, &record.entry, *gist)?,
        _ => None,
    };
    let (record, in_record) = record.with_answer(Answer::default());
    let answer = match in_record {
        InRecord::Whole(answer) | InRecord::Short(_, answer) => Some(answer),
        InRecord::Apart(_) => found,
    };
    Ok(answer.map(|answer| record.with_answer(answer).0))
}
