//! A map whose copies share what doesn't change: copying it takes no longer the more it holds.
//!
//! What a cache has learned is copied after each label, so that lookups can go by it without a lock. The table that all copies share isn't
//! written to, so that it stays in the caches of all processors.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, LazyLock};

use hashbrown::HashTable;
use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// Changes that are kept apart at least. Arbitrary.
const LEAST_CHANGES: usize = 32;

/// A key is hashed once for both tables.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A map whose copies share what doesn't change: one table that they share, and the latest changes, which are few.
#[derive(Debug, Clone)]
pub(super) struct SharedMap<K, V> {
    shared: Arc<HashTable<(K, V)>>,
    /// None where a key is gone.
    changes: HashTable<(K, Option<V>)>,
    len: usize,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { shared: Arc::default(), changes: HashTable::new(), len: 0 }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> SharedMap<K, V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        // Most maps of a young cache are empty, and hashing takes longer than this.
        if self.len == 0 {
            return None;
        }
        let hash = hash_of(key);
        match find(&self.changes, key, hash) {
            Some(changed) => changed.as_ref(),
            None => find(&self.shared, key, hash),
        }
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        // Nothing is copied for a key that isn't there.
        self.get(key)?;
        self.slot(key).as_mut()
    }

    /// The value of a key, the default where it has none.
    pub(super) fn entry(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.entry_with(key, V::default)
    }

    /// The value of a key, `new` where it has none.
    pub(super) fn entry_with(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        self.len += usize::from(self.get(&key).is_none());
        self.slot(&key).get_or_insert_with(new)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        let before = self.slot(&key).replace(value);
        self.len += usize::from(before.is_none());
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.get(key)?;
        self.len -= 1;
        self.slot(key).take()
    }

    pub(super) fn retain(&mut self, keeps: impl Fn(&mut V) -> bool) {
        let shared = self.share_changes();
        shared.retain(|(_, value)| keeps(value));
        self.len = self.shared.len();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let is_unchanged = |(key, _): &&(K, V)| find(&self.changes, key, hash_of(key)).is_none();
        let unchanged = self.shared.iter().filter(is_unchanged).map(|(key, value)| (key, value));
        unchanged.chain(self.changes.iter().filter_map(|(key, changed)| Some((key, changed.as_ref()?))))
    }

    /// What a key has, among the changes from now on.
    fn slot(&mut self, key: &K) -> &mut Option<V> {
        // With the root of all, copying the changes with each copy and copying all with so many changes cost the same.
        if self.changes.len() >= LEAST_CHANGES.max(2 * self.shared.len().isqrt()) {
            self.share_changes();
        }
        let hash = hash_of(key);
        let Self { shared, changes, .. } = self;
        let entry = changes.entry(hash, |(other, _)| other == key, |(other, _)| hash_of(other));
        &mut entry.or_insert_with(|| (key.clone(), find(shared, key, hash).cloned())).into_mut().1
    }

    /// Makes the table for later copies to share, with all changes.
    fn share_changes(&mut self) -> &mut HashTable<(K, V)> {
        let shared = Arc::make_mut(&mut self.shared);
        for (key, changed) in self.changes.drain() {
            let hash = hash_of(&key);
            match (shared.find_entry(hash, |(other, _)| *other == key), changed) {
                (Ok(mut known), Some(value)) => known.get_mut().1 = value,
                (Ok(known), None) => drop(known.remove()),
                (Err(_), Some(value)) => drop(shared.insert_unique(hash, (key, value), |(other, _)| hash_of(other))),
                (Err(_), None) => {}
            }
        }
        shared
    }
}

fn hash_of<K: Hash>(key: &K) -> u64 {
    HASHER.hash_one(key)
}

fn find<'t, K: Eq, V>(table: &'t HashTable<(K, V)>, key: &K, hash: u64) -> Option<&'t V> {
    table.find(hash, |(other, _)| other == key).map(|(_, value)| value)
}

impl<K: Eq + Hash + Clone, V: Clone> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut map = Self::default();
        pairs.into_iter().for_each(|(key, value)| map.insert(key, value));
        map
    }
}

impl<K: Eq + Hash + Clone, V: Clone + PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().all(|(key, value)| other.get(key) == Some(value))
    }
}

/// As any map is written.
impl<K: Eq + Hash + Clone + Serialize, V: Clone + Serialize> Serialize for SharedMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(Some(self.len))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de, K: Eq + Hash + Clone + Deserialize<'de>, V: Clone + Deserialize<'de>> Deserialize<'de> for SharedMap<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(HashMap::<K, V>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_does_what_a_map_does_and_copies_stay_as_they_were(
            steps in prop::collection::vec((0u8..100, 0u16..600, any::<u32>()), 0..800)
        ) {
            let (mut map, mut plain) = (SharedMap::<u16, u32>::default(), HashMap::new());
            let mut copies = Vec::new();
            for (step, key, value) in steps {
                match step {
                    0..45 => {
                        map.insert(key, value);
                        plain.insert(key, value);
                    }
                    45..60 => prop_assert_eq!(map.remove(&key), plain.remove(&key)),
                    60..90 => {
                        *map.entry(key) ^= value;
                        *plain.entry(key).or_default() ^= value;
                    }
                    90..94 => prop_assert_eq!(map.get_mut(&key), plain.get_mut(&key)),
                    94 => {
                        map.retain(|value| *value % 5 != *value % 2);
                        plain.retain(|_, value| *value % 5 != *value % 2);
                    }
                    _ => copies.push((map.clone(), plain.clone())),
                }
                prop_assert_eq!((map.len(), map.get(&key)), (plain.len(), plain.get(&key)));
            }
            copies.push((map, plain));
            for (map, plain) in copies {
                let read: SharedMap<u16, u32> =
                    postcard::from_bytes(&postcard::to_stdvec(&plain).unwrap()).unwrap();
                prop_assert!(map == read && map.len() == plain.len());
                prop_assert!(map.iter().all(|(key, value)| plain.get(key) == Some(value)));
            }
        }
    }
}
