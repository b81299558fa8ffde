//! Every scope's index.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::super::{CacheKey, EntryId, ScopeKey};
use crate::embed::Embedding;
use crate::index::{Filter, Image, ImageError, Neighbour, Row, VectorIndex};
use crate::telemetry;

/// A graph of which one part in so many isn't in its last image gets another.
const UNSAVED_PART: usize = 5;

type Scopes = HashMap<ScopeKey, Arc<VectorIndex<EntryId>>>;

/// One index per scope that has vectors: scopes can't meet, because nothing holds two of them.
pub(super) struct Memory {
    dimension: usize,
    caches: RwLock<HashMap<CacheKey, Scopes>>,
}

impl Memory {
    pub(super) fn new(dimension: usize) -> Self {
        Self { dimension, caches: RwLock::new(HashMap::new()) }
    }

    pub(super) fn insert(&self, cache: CacheKey, scope: ScopeKey, row: Row<EntryId>, vector: &Embedding) {
        // Inserted under the map's lock in either case, so that `remove` can't drop an emptied index from the map between
        // finding it and filling it.
        if let Some(index) = self.caches.read().get(&cache).and_then(|scopes| scopes.get(&scope)) {
            index.insert(row, vector);
            return;
        }
        let mut caches = self.caches.write();
        let new = || Arc::new(VectorIndex::new(self.dimension));
        caches.entry(cache).or_default().entry(scope).or_insert_with(new).insert(row, vector);
    }

    pub(super) fn remove(&self, cache: CacheKey, scope: ScopeKey, id: &EntryId) {
        let emptied = match self.index(cache, scope) {
            Some(index) => index.remove(id) && index.is_empty(),
            None => false,
        };
        if emptied {
            let mut caches = self.caches.write();
            if let Some(scopes) = caches.get_mut(&cache) {
                if scopes.get(&scope).is_some_and(|index| index.is_empty()) {
                    scopes.remove(&scope);
                }
                if scopes.is_empty() {
                    caches.remove(&cache);
                }
            }
        }
    }

    pub(super) fn flush(&self, cache: CacheKey) {
        // Millions of vectors take a while to drop; not under the lock.
        let gone = self.caches.write().remove(&cache);
        drop(gone);
    }

    pub(super) fn search(
        &self,
        cache: CacheKey,
        scope: ScopeKey,
        query: &Embedding,
        k: usize,
        filter: &Filter,
    ) -> Vec<Neighbour<EntryId>> {
        self.index(cache, scope).map(|index| index.search(query, k, filter)).unwrap_or_default()
    }

    pub(super) fn is_empty(&self, cache: CacheKey, scope: ScopeKey) -> bool {
        !self.caches.read().get(&cache).is_some_and(|scopes| scopes.contains_key(&scope))
    }

    pub(super) fn needs_upkeep(&self, cache: CacheKey, scope: ScopeKey) -> bool {
        self.index(cache, scope).is_some_and(|index| index.needs_upkeep())
    }

    pub(super) fn keep_up(&self, cache: CacheKey, scope: ScopeKey) {
        if let Some(index) = self.index(cache, scope) {
            index.keep_up();
        }
    }

    /// Builds the graphs that are due.
    pub(super) fn keep_up_all(&self) {
        let indexes: Vec<_> = self.caches.read().values().flat_map(HashMap::values).cloned().collect();
        for index in indexes {
            if index.needs_upkeep() {
                index.keep_up();
            }
        }
    }

    /// Gives a scope that has none an index.
    pub(super) fn adopt(&self, cache: CacheKey, scope: ScopeKey, index: VectorIndex<EntryId>) {
        self.caches.write().entry(cache).or_default().insert(scope, Arc::new(index));
    }

    /// An image of a scope's graph where so much has changed since the last one that another is worth its while, or
    /// `anything`.
    pub(super) fn image(&self, cache: CacheKey, scope: ScopeKey, anything: bool) -> Result<Option<Image>, ImageError> {
        let Some(index) = self.index(cache, scope) else { return Ok(None) };
        let least = if anything { 1 } else { index.len() / UNSAVED_PART };
        if index.unsaved() < least.max(1) { Ok(None) } else { index.image() }
    }

    /// The scopes that have a graph of which something isn't in its last image.
    pub(super) fn unsaved(&self) -> Vec<(CacheKey, ScopeKey)> {
        let caches = self.caches.read();
        let all =
            caches.iter().flat_map(|(cache, scopes)| scopes.iter().map(move |(scope, index)| (cache, scope, index)));
        all.filter(|(.., index)| index.unsaved() > 0).map(|(cache, scope, _)| (*cache, *scope)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.caches.read().values().flat_map(HashMap::values).map(|index| index.len()).sum()
    }

    pub(super) fn report_size(&self) {
        let scopes = self.caches.read().values().map(HashMap::len).sum();
        telemetry::index_size(self.len(), scopes);
    }

    fn index(&self, cache: CacheKey, scope: ScopeKey) -> Option<Arc<VectorIndex<EntryId>>> {
        self.caches.read().get(&cache)?.get(&scope).cloned()
    }
}
