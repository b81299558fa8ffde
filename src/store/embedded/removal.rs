//! Removing entries: those that were asked to go, that have expired, or that have to make room. Many go in few batches.

use super::database::Deletions;
use super::eviction::Excess;
use super::record::{EntryRecord, ExpiryKey, VectorKey};
use super::{AT_ONCE, Inner, stripe};
use crate::config::Durability;
use crate::store::{AnswerGist, CacheKey, Entry, EntryId, Selection, StoreError, TextHash, Timestamp};
use crate::telemetry;

/// An entry that is to be removed.
#[derive(Clone, Copy)]
pub(super) struct RemovalTarget {
    pub(super) cache: CacheKey,
    pub(super) id: EntryId,
    /// Which lock its writes take, where that is known without reading it.
    pub(super) stripe: Option<u8>,
}

impl RemovalTarget {
    fn of<A>(cache: CacheKey, entry: &Entry<A>) -> Self {
        Self { cache, id: entry.id, stripe: Some(stripe(TextHash::of(&entry.prompt))) }
    }
}

/// What became of some entries that were to be removed.
#[derive(Default)]
struct Removed {
    count: u64,
    /// Those that can't be read are left where they are.
    unreadable: Vec<(EntryId, StoreError)>,
}

impl Inner {
    /// Removes an entry that hasn't expired, and tells whether it was there.
    pub(super) fn delete(&self, cache: CacheKey, id: EntryId, now: Timestamp) -> Result<bool, StoreError> {
        let removed = self.remove(
            &[RemovalTarget { cache, id, stripe: None }],
            Vec::new(),
            self.database.durability(),
            |entry| entry.expires > now,
        )?;
        match removed.unreadable.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(removed.count > 0),
        }
    }

    /// Removes the entries of a cache that are selected, and counts them.
    pub(super) fn delete_selected(
        &self,
        cache: CacheKey,
        selection: &Selection,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut selected = Vec::new();
        self.for_each_selected(cache, selection, now, |entry, _| selected.push(RemovalTarget::of(cache, &entry)))?;
        // One may have been replaced since. Its text, and so what is near to it, is the same.
        let still = |entry: &Entry<AnswerGist>| entry.expires > now && selection.admits(entry);
        let (mut deleted, mut unreadable) = (0, None);
        for some in selected.chunks(AT_ONCE) {
            let removed = self.remove(some, Vec::new(), Durability::Buffered, still)?;
            deleted += removed.count;
            unreadable = unreadable.or(removed.unreadable.into_iter().next());
        }
        self.database.flush_log()?;
        unreadable.map_or(Ok(deleted), |(_, error)| Err(error))
    }

    /// Removes what expired before `now`, and counts it. What a crash brings back of it is as invisible as before.
    pub(super) fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut swept = 0;
        // Where nothing can be removed, what has expired is invisible all the same.
        while !self.database.is_read_only() && !self.is_closing() {
            let due = self.database.expired(now, AT_ONCE)?;
            if due.is_empty() {
                break;
            }
            let expired: Vec<_> =
                due.iter().map(|due| RemovalTarget { cache: due.cache, id: due.id, stripe: None }).collect();
            let removed = self.remove(&expired, due, Durability::Buffered, |entry| entry.expires <= now)?;
            swept += removed.count;
            // One that can't be read can't be served either; it must not keep the others alive.
            for (id, error) in removed.unreadable {
                tracing::warn!(%id, cause = telemetry::cause(&error), "an expired entry is unreadable");
            }
        }
        self.current().memory.report_size();
        telemetry::held(self.eviction.bytes());
        Ok(swept)
    }

    /// Removes what is worth least until nothing takes too much.
    pub(super) fn evict(&self) {
        while !self.is_closing() && self.evict_some() {}
    }

    /// Entries of these caches were stored: whoever stored them makes room as well, where the thread that does so falls behind.
    pub(super) fn make_room(&self, caches: impl IntoIterator<Item = CacheKey>) {
        match caches.into_iter().map(|cache| self.eviction.excess(cache)).max() {
            None | Some(Excess::None) => {}
            Some(Excess::Some) => self.room.want(()),
            Some(Excess::Much) => {
                self.room.want(());
                self.evict_some();
            }
        }
    }

    /// Removes some of what is worth least, where anything takes too much. What a crash brings back of it goes again.
    fn evict_some(&self) -> bool {
        let going = self.eviction.take_to_go(AT_ONCE);
        if going.is_empty() {
            return false;
        }
        match self.remove(&going, Vec::new(), Durability::Buffered, |_| true) {
            Ok(Removed { count, unreadable }) => {
                telemetry::evicted(count);
                for (id, error) in unreadable {
                    tracing::warn!(%id, cause = telemetry::cause(&error), "an entry could not be evicted");
                }
            }
            // What can't be removed now must not keep the rest alive.
            Err(error) => {
                tracing::warn!(entries = going.len(), cause = telemetry::cause(&error), "entries could not be evicted");
            }
        }
        true
    }

    /// Removes those of some entries that `condition` holds of, and `expiries`, in one batch.
    fn remove(
        &self,
        targets: &[RemovalTarget],
        expiries: Vec<ExpiryKey>,
        durability: Durability,
        condition: impl Fn(&Entry<AnswerGist>) -> bool,
    ) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        let mut locked = Vec::with_capacity(targets.len());
        for one in targets {
            match self.stripe_of(one) {
                Ok(stripe) => locked.extend(stripe.map(|stripe| (one, stripe))),
                Err(error) => removed.unreadable.push((one.id, error)),
            }
        }
        let _all = self.all.read();
        let _stripes = self.lock_all(locked.iter().map(|(_, stripe)| *stripe));
        let mut deletions = Deletions { expiries, ..Deletions::default() };
        for (RemovalTarget { cache, id, .. }, _) in locked {
            // Read again under the lock: it may just have been replaced.
            match self.database.gist(*cache, *id) {
                Ok(Some(EntryRecord { entry, .. })) if condition(&entry) => deletions.entries.push((*cache, entry)),
                Ok(Some(_)) => {}
                Ok(None) => deletions.missing.push((*cache, *id)),
                Err(error) => removed.unreadable.push((*id, error)),
            }
        }
        self.database.delete(&deletions, durability)?;
        for (cache, id) in &deletions.missing {
            self.eviction.removed(*cache, id);
        }
        removed.count = deletions.entries.len() as u64;
        for (cache, entry) in deletions.entries {
            self.forget(cache, &entry);
        }
        Ok(removed)
    }

    /// The lock that writes of an entry take; none where nothing is known of it.
    fn stripe_of(&self, targets: &RemovalTarget) -> Result<Option<u8>, StoreError> {
        let RemovalTarget { cache, id, stripe: known } = targets;
        if known.is_some() {
            return Ok(*known);
        }
        Ok(match self.database.gist(*cache, *id)? {
            Some(record) => Some(stripe(TextHash::of(&record.entry.prompt))),
            None => self.eviction.record(*cache, id).map(|record| record.stripe),
        })
    }

    /// An entry was removed from the database. The caller holds its stripe.
    fn forget<A>(&self, cache: CacheKey, entry: &Entry<A>) {
        let (scope, id) = (entry.scope, entry.id);
        self.eviction.removed(cache, &id);
        self.quarantines.remove(cache, &id);
        let spaces = self.spaces.load();
        spaces.current.memory.remove(cache, scope, &id);
        if let Some(next) = &spaces.next {
            next.remove(VectorKey { cache, scope, id });
        }
        self.keep_up_if_due(cache, scope);
    }
}
