//! The caches in memory: those that were stored into, and some that were only asked for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::cache::Cache;
use crate::store::CacheKey;

/// Caches that were asked for and never stored into, of which nothing is kept anywhere. Who asks for more of them than this takes nobody's
/// room but that of others like these. Arbitrary.
const MAX_UNSTORED: usize = 1000;

/// Caches by their keys.
#[derive(Default)]
pub(super) struct CacheTable {
    stored: HashMap<CacheKey, Arc<Cache>>,
    unstored: HashMap<CacheKey, Arc<Cache>>,
    /// Of the unstored ones, in the order in which they were first asked for.
    by_age: VecDeque<CacheKey>,
}

impl CacheTable {
    pub(super) fn get(&self, key: &CacheKey) -> Option<&Arc<Cache>> {
        self.stored.get(key).or_else(|| self.unstored.get(key))
    }

    /// Adds one, unless it is there. Returns the one that is there now.
    pub(super) fn add(&mut self, cache: Cache) -> Arc<Cache> {
        if let Some(there) = self.get(&cache.key) {
            return Arc::clone(there);
        }
        let cache = Arc::new(cache);
        if cache.is_registered() {
            self.stored.insert(cache.key, Arc::clone(&cache));
            return cache;
        }
        self.unstored.insert(cache.key, Arc::clone(&cache));
        self.by_age.push_back(cache.key);
        // Each is looked at once at most.
        for _ in 0..self.by_age.len() {
            if self.by_age.len() <= MAX_UNSTORED {
                break;
            }
            let Some(oldest) = self.by_age.pop_front() else { break };
            self.evict(oldest);
        }
        cache
    }

    /// Lets go of an unstored cache: it may have been stored into by now, or be about to.
    fn evict(&mut self, key: CacheKey) {
        let Some(cache) = self.unstored.remove(&key) else { return };
        if cache.is_registered() {
            self.stored.insert(key, cache);
        } else if Arc::strong_count(&cache) > 1 {
            self.unstored.insert(key, cache);
            self.by_age.push_back(key);
        }
    }

    pub(super) fn remove(&mut self, key: &CacheKey) {
        self.stored.remove(key);
        if self.unstored.remove(key).is_some() {
            self.by_age.retain(|of| of != key);
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Cache>> {
        self.stored.values().chain(self.unstored.values())
    }

    /// Those that were stored into.
    pub(super) fn registered(&self) -> impl Iterator<Item = &Arc<Cache>> {
        self.all().filter(|cache| cache.is_registered())
    }
}
