//! Entries whose answers were reported wrong.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::store::EntryId;

/// From whom an entry is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Quarantine {
    /// From near prompts: its answer was wrong for one of these.
    NearPrompts,
    /// From its own text too: its answer is wrong.
    Everybody,
}

/// The quarantined entries of one cache.
#[derive(Default)]
pub(in super::super) struct Quarantines {
    entries: RwLock<HashMap<EntryId, Quarantine>>,
    /// Whether there are any; lets lookups go without the lock.
    are_any: AtomicBool,
    is_unsaved: AtomicBool,
}

impl Quarantines {
    /// From whom an entry is kept.
    pub(in super::super) fn of(&self, entry: &EntryId) -> Option<Quarantine> {
        self.are_any.load(Ordering::Relaxed).then(|| self.entries.read().get(entry).copied()).flatten()
    }

    /// Whether an entry isn't served to near prompts.
    pub(in super::super) fn is_quarantined(&self, entry: &EntryId) -> bool {
        self.of(entry).is_some()
    }

    /// Whether an entry isn't served to anybody, not even for its own text.
    pub(in super::super) fn is_withdrawn(&self, entry: &EntryId) -> bool {
        self.of(entry) == Some(Quarantine::Everybody)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.read().len()
    }

    /// An answer of `entry` is known to be wrong. Tells whether that is new.
    pub(in super::super) fn add(&self, entry: EntryId, from: Quarantine) -> bool {
        let entries = &mut *self.entries.write();
        let held = entries.get(&entry).copied();
        entries.insert(entry, held.map_or(from, |held| held.max(from)));
        self.changed(entries);
        held.is_none_or(|held| held < from)
    }

    /// `entry` is served again. Tells whether it wasn't.
    pub(in super::super) fn release(&self, entry: &EntryId) -> bool {
        if !self.are_any.load(Ordering::Relaxed) {
            return false;
        }
        let entries = &mut *self.entries.write();
        let was = entries.remove(entry).is_some();
        if was {
            self.changed(entries);
        }
        was
    }

    fn changed(&self, entries: &HashMap<EntryId, Quarantine>) {
        self.are_any.store(!entries.is_empty(), Ordering::Relaxed);
        self.is_unsaved.store(true, Ordering::Relaxed);
    }

    /// All of them, if any changed since they were last saved.
    pub(in super::super) fn take_unsaved(&self) -> Option<Vec<u8>> {
        let entries = self.entries.read();
        self.is_unsaved.swap(false, Ordering::Relaxed).then(|| postcard::to_stdvec(&*entries).ok()).flatten()
    }

    /// They weren't saved after all.
    pub(in super::super) fn save_again(&self) {
        self.is_unsaved.store(true, Ordering::Relaxed);
    }

    /// Goes on with those that were saved.
    pub(in super::super) fn restore(&self, bytes: &[u8]) -> Result<(), postcard::Error> {
        let entries = &mut *self.entries.write();
        *entries = postcard::from_bytes(bytes)?;
        self.are_any.store(!entries.is_empty(), Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Attributes, CacheKey, ScopeKey, TextHash};

    fn entry(text: &str) -> EntryId {
        EntryId::new(ScopeKey::new(CacheKey::new("t", "c"), &[0; 32]), TextHash::of(text), &Attributes::default())
    }

    #[test]
    fn the_stricter_quarantine_counts_until_the_entry_is_released() {
        let (quarantines, entry) = (Quarantines::default(), entry("a"));
        assert!(!quarantines.release(&entry));
        assert!(quarantines.add(entry, Quarantine::NearPrompts));
        assert!(quarantines.is_quarantined(&entry) && !quarantines.is_withdrawn(&entry));
        assert!(quarantines.add(entry, Quarantine::Everybody));
        assert!(!quarantines.add(entry, Quarantine::NearPrompts));
        assert!(quarantines.is_withdrawn(&entry));
        assert!(quarantines.release(&entry) && !quarantines.is_quarantined(&entry));
    }

    #[test]
    fn what_is_saved_is_there_again() {
        let (before, after) = (Quarantines::default(), Quarantines::default());
        assert_eq!(before.take_unsaved(), None);
        before.add(entry("a"), Quarantine::Everybody);
        let saved = before.take_unsaved().unwrap();
        assert_eq!(before.take_unsaved(), None);
        before.save_again();
        assert_eq!(before.take_unsaved().as_ref(), Some(&saved));
        after.restore(&saved).unwrap();
        assert!(after.is_withdrawn(&entry("a")) && !after.is_quarantined(&entry("b")));
    }
}
