//! Which entries are in quarantine: on disk beside each entry, written and removed in its batch, and all of them in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use super::super::{CacheKey, EntryId, Quarantine};

/// An entry's quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Quarantined {
    pub(super) from: Quarantine,
    /// What the wrong answer says; see [`AnswerGist::says`](super::super::AnswerGist::says). None where that isn't known.
    pub(super) says: Option<u64>,
}

impl Quarantined {
    /// What is assumed of a record that can't be read.
    pub(super) const WORST: Self = Self { from: Quarantine::Everybody, says: None };

    /// Whether an answer that says this is kept back too.
    pub(super) fn holds_for(&self, says: u64) -> bool {
        self.says.is_none_or(|wrong| wrong == says)
    }
}

/// The quarantined entries of all caches.
#[derive(Default)]
pub(super) struct Quarantines {
    entries: RwLock<HashMap<(CacheKey, EntryId), Quarantined>>,
    /// How many; lets lookups go without the lock where there is none.
    count: AtomicUsize,
}

impl Quarantines {
    pub(super) fn new(entries: HashMap<(CacheKey, EntryId), Quarantined>) -> Self {
        Self { count: entries.len().into(), entries: entries.into() }
    }

    pub(super) fn get(&self, cache: CacheKey, id: &EntryId) -> Option<Quarantined> {
        let are_any = self.count.load(Ordering::Acquire) > 0;
        are_any.then(|| self.entries.read().get(&(cache, *id)).copied()).flatten()
    }

    /// How many entries of a cache are quarantined.
    pub(super) fn count(&self, cache: CacheKey) -> usize {
        self.entries.read().keys().filter(|(of, _)| *of == cache).count()
    }

    pub(super) fn add(&self, cache: CacheKey, id: EntryId, quarantined: Quarantined) {
        self.change(|entries| {
            entries.insert((cache, id), quarantined);
        });
    }

    /// An entry is gone, or served again.
    pub(super) fn remove(&self, cache: CacheKey, id: &EntryId) {
        // Entries go by the thousand, and hardly any is here.
        if self.get(cache, id).is_some() {
            self.change(|entries| {
                entries.remove(&(cache, *id));
            });
        }
    }

    /// A cache has no entries any more.
    pub(super) fn flushed(&self, cache: CacheKey) {
        self.change(|entries| entries.retain(|(of, _), _| *of != cache));
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<(CacheKey, EntryId), Quarantined>)) {
        let entries = &mut *self.entries.write();
        change(entries);
        self.count.store(entries.len(), Ordering::Release);
    }
}
