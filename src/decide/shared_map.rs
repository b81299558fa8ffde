//! A map whose copies share what doesn't change: copying it takes no longer the more it holds.
//!
//! What a cache has learned is copied after each label, so that lookups can go by it without a lock.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, LazyLock};

use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// Parts of a map. A change copies one of them, if a copy of the map still has it. Arbitrary: with 20,000 keys, 80 to a part.
const SHARDS: usize = 256;

/// Chooses a key's shard.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A map whose copies share what doesn't change.
#[derive(Debug, Clone)]
pub(super) struct SharedMap<K, V> {
    /// None, or all of them. One that is empty isn't there.
    shards: Vec<Option<Arc<HashMap<K, V>>>>,
    len: usize,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { shards: Vec::new(), len: 0 }
    }
}

impl<K: Eq + Hash + Clone, V: Clone> SharedMap<K, V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.shards.get(shard_of(key))?.as_ref()?.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        // Nothing is copied for a key that isn't there.
        self.get(key)?;
        Arc::make_mut(self.shards.get_mut(shard_of(key))?.as_mut()?).get_mut(key)
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
        if self.shards.is_empty() {
            self.shards = vec![None; SHARDS];
        }
        let Self { shards, len } = self;
        let shard = Arc::make_mut(shards[shard_of(&key)].get_or_insert_default());
        shard.entry(key).or_insert_with(|| {
            *len += 1;
            new()
        })
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        match self.get_mut(&key) {
            Some(before) => *before = value,
            None => drop(self.entry_with(key, || value)),
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.get(key)?;
        let removed = Arc::make_mut(self.shards.get_mut(shard_of(key))?.as_mut()?).remove(key);
        self.len -= usize::from(removed.is_some());
        removed
    }

    pub(super) fn retain(&mut self, keeps: impl Fn(&mut V) -> bool) {
        for shard in self.shards.iter_mut().flatten() {
            Arc::make_mut(shard).retain(|_, value| keeps(value));
        }
        self.len = self.iter().count();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flatten().flat_map(|shard| shard.iter())
    }
}

fn shard_of<K: Hash>(key: &K) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "some of its bits are enough")]
    let hash = HASHER.hash_one(key) as usize;
    hash % SHARDS
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
            steps in prop::collection::vec((0u8..4, 0u16..600, any::<u32>()), 0..400)
        ) {
            let (mut map, mut plain) = (SharedMap::<u16, u32>::default(), HashMap::new());
            let mut copies = Vec::new();
            for (step, key, value) in steps {
                match step {
                    0 => {
                        map.insert(key, value);
                        plain.insert(key, value);
                    }
                    1 => prop_assert_eq!(map.remove(&key), plain.remove(&key)),
                    2 => {
                        *map.entry(key) ^= value;
                        *plain.entry(key).or_default() ^= value;
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
