//! A map that holds so many keys at most: the oldest make room.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use serde::{Deserialize, Serialize};

/// A map of at most `MAX` keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(bound(deserialize = "K: Deserialize<'de> + Eq + Hash, V: Deserialize<'de>"))]
pub(super) struct BoundedMap<K: Eq + Hash, V, const MAX: usize> {
    values: HashMap<K, V>,
    /// The same keys, in the order in which they came.
    by_age: VecDeque<K>,
}

impl<K: Eq + Hash, V, const MAX: usize> Default for BoundedMap<K, V, MAX> {
    fn default() -> Self {
        Self { values: HashMap::new(), by_age: VecDeque::new() }
    }
}

impl<K: Copy + Eq + Hash, V, const MAX: usize> BoundedMap<K, V, MAX> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
    }

    /// Sets a key's value. A key that is there keeps its age.
    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.values.insert(key, value).is_none() {
            self.came(key);
        }
    }

    /// Changes a key's value, the default where there is none.
    pub(super) fn update(&mut self, key: K, change: impl FnOnce(&mut V))
    where
        V: Default,
    {
        if let Some(value) = self.values.get_mut(&key) {
            return change(value);
        }
        let mut value = V::default();
        change(&mut value);
        self.insert(key, value);
    }

    /// Removes a key; looks at all of them where it is there.
    pub(super) fn remove(&mut self, key: &K) {
        if self.values.remove(key).is_some() {
            self.by_age.retain(|other| other != key);
        }
    }

    fn came(&mut self, key: K) {
        self.by_age.push_back(key);
        if self.by_age.len() > MAX
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.values.remove(&oldest);
        }
    }
}

impl<K: Copy + Eq + Hash, V, const MAX: usize> FromIterator<(K, V)> for BoundedMap<K, V, MAX> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut map = Self::default();
        pairs.into_iter().for_each(|(key, value)| map.insert(key, value));
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Map = BoundedMap<u32, u32, 3>;

    #[test]
    fn the_oldest_make_room() {
        let mut map: Map = (0..3).map(|key| (key, key)).collect();
        map.update(0, |value| *value += 10);
        assert_eq!((map.get(&0), map.get(&3)), (Some(&10), None));
        map.update(3, |value| *value += 5);
        assert_eq!((map.get(&0), map.get(&1), map.get(&3)), (None, Some(&1), Some(&5)));
    }

    #[test]
    fn what_is_removed_and_comes_again_is_new() {
        let mut map: Map = (0..3).map(|key| (key, key)).collect();
        map.remove(&0);
        map.remove(&7);
        map.insert(0, 9);
        map.insert(3, 3);
        assert_eq!((map.get(&0), map.get(&1), map.by_age.len()), (Some(&9), None, 3));
    }
}
