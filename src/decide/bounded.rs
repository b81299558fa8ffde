//! A map that holds so many keys at most: those that weren't touched for long make room.

use std::hash::Hash;

use serde::{Deserialize, Serialize};

use super::shared_map::SharedMap;

/// A map of at most `MAX` keys, in two generations: a change moves a key to the young one, and when that is half of all, it takes the
/// old one's place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "K: Serialize + Eq + Hash + Clone, V: Serialize + Clone",
    deserialize = "K: Deserialize<'de> + Eq + Hash + Clone, V: Deserialize<'de> + Clone"
))]
pub(super) struct BoundedMap<K: Eq + Hash + Clone, V: Clone, const MAX: usize> {
    young: SharedMap<K, V>,
    old: SharedMap<K, V>,
}

impl<K: Eq + Hash + Clone, V: Clone, const MAX: usize> Default for BoundedMap<K, V, MAX> {
    fn default() -> Self {
        Self { young: SharedMap::default(), old: SharedMap::default() }
    }
}

impl<K: Eq + Hash + Clone, V: Clone, const MAX: usize> BoundedMap<K, V, MAX> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Sets a key's value.
    pub(super) fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        self.young.insert(key, value);
        self.make_room();
    }

    /// Changes a key's value, the default where there is none.
    pub(super) fn update(&mut self, key: K, change: impl FnOnce(&mut V))
    where
        V: Default,
    {
        let old = if self.young.get(&key).is_none() { self.old.remove(&key) } else { None };
        change(self.young.entry_with(key, || old.unwrap_or_default()));
        self.make_room();
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        // It is in one of them.
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    fn make_room(&mut self) {
        if self.young.len() > MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

impl<K: Eq + Hash + Clone, V: Clone, const MAX: usize> FromIterator<(K, V)> for BoundedMap<K, V, MAX> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut map = Self::default();
        pairs.into_iter().for_each(|(key, value)| map.insert(key, value));
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Map = BoundedMap<u32, u32, 100>;

    #[test]
    fn what_is_not_touched_makes_room_and_what_is_stays() {
        let mut map = Map::default();
        for key in 0..10_000 {
            map.insert(key, key);
            map.update(0, |value| *value += 1);
            assert!(map.young.len() + map.old.len() <= 101);
        }
        assert_eq!((map.get(&0), map.get(&1)), (Some(&10_000), None));
        // However old, as many as half of all are there.
        assert!((9_951..10_000).all(|key| map.get(&key) == Some(&key)));
    }

    #[test]
    fn what_is_removed_begins_anew() {
        let mut map: Map = (0..60).map(|key| (key, key)).collect();
        for key in [1, 59] {
            map.remove(&key);
            assert_eq!(map.get(&key), None);
            map.update(key, |value| *value += 1);
            assert_eq!(map.get(&key), Some(&1));
        }
    }
}
