//! Graphs of indexes, in parts.
//!
//! A graph is written under a new generation, its head last; only then the generation before goes. Whenever the process
//! dies, the newest generation that has a head is a whole graph. Every part carries a checksum.

use std::collections::HashMap;

use rocksdb::{ReadOptions, WriteBatch};

use super::super::super::{CacheKey, EntryId, ScopeKey, StoreError};
use super::super::record::{GraphKey, decode, encode};
use super::{Database, failed, family};
use crate::index::Restoring;

/// Bytes of a part's checksum, which come before it.
const CHECKSUM: usize = 16;

/// The generation of each graph that is whole.
pub(in super::super) type Generations = HashMap<(CacheKey, ScopeKey), u64>;

impl Database {
    /// Writes a graph in the place of the one that is there: `save` is handed what keeps a part, and returns the head, if there
    /// is a graph. Its parts are many megabytes; no lock is held. Only one thread may do so at a time.
    pub(in super::super) fn save_graph(
        &self,
        cache: CacheKey,
        scope: ScopeKey,
        save: impl FnOnce(&mut dyn FnMut(Vec<u8>) -> Result<(), StoreError>) -> Result<Option<Vec<u8>>, StoreError>,
    ) -> Result<(), StoreError> {
        let key = |generation, part| GraphKey { cache, scope, generation, part };
        let generation = self.last_generation(cache, scope, u64::MAX)?.map_or(0, |last| last.saturating_add(1));
        let mut count = 0u32;
        let head = save(&mut |part| {
            count += 1;
            self.put_graph_part(key(generation, count), &part)
        })?;
        let Some(head) = head else { return Ok(()) };
        self.put_graph_part(key(generation, 0), &encode(&(count, head))?)?;
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(self.family(family::GRAPHS)?, key(0, 0).bytes(), key(generation, 0).bytes());
        self.write(batch)
    }

    /// The graphs that are whole, as far as one can see without reading them. Scopes that have only torn ones lose those.
    pub(in super::super) fn graphs(&self) -> Result<Generations, StoreError> {
        let mut found = Generations::new();
        let mut keys = self.db.raw_iterator_cf(self.family(family::GRAPHS)?);
        keys.seek_to_first();
        while let Some(key) = keys.key() {
            let GraphKey { cache, scope, .. } = GraphKey::read(key)?;
            let mut newest = self.last_generation(cache, scope, u64::MAX)?;
            while let Some(generation) = newest {
                let head = GraphKey { cache, scope, generation, part: 0 }.bytes();
                if self.db.get_pinned_cf(self.family(family::GRAPHS)?, head).map_err(failed)?.is_some() {
                    found.insert((cache, scope), generation);
                    break;
                }
                let before = generation.checked_sub(1);
                newest = before.map(|before| self.last_generation(cache, scope, before)).transpose()?.flatten();
            }
            if !found.contains_key(&(cache, scope)) && !self.is_read_only {
                self.delete_graphs(cache, scope)?;
            }
            keys.seek(GraphKey { cache, scope, generation: u64::MAX, part: u32::MAX }.bytes());
        }
        keys.status().map_err(failed)?;
        Ok(found)
    }

    /// An index with a graph, still without rows.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where the graph isn't what was written.
    pub(in super::super) fn load_graph(
        &self,
        (cache, scope): (CacheKey, ScopeKey),
        generation: u64,
        dimension: usize,
    ) -> Result<Restoring<EntryId>, StoreError> {
        let damaged = |why: &dyn std::error::Error| StoreError::Damaged(why.to_string());
        let part = |part: u32| {
            let found = self.graph_part(GraphKey { cache, scope, generation, part })?;
            found.ok_or_else(|| StoreError::Damaged("a part of a graph is missing".into()))
        };
        let (count, head): (u32, Vec<u8>) = decode(&part(0)?)?;
        let mut restoring = Restoring::new(dimension, &head).map_err(|error| damaged(&error))?;
        for number in 1..=count {
            restoring.push(&part(number)?).map_err(|error| damaged(&error))?;
        }
        restoring.check().map_err(|error| damaged(&error))?;
        Ok(restoring)
    }

    /// Removes the graphs of a scope.
    pub(in super::super) fn delete_graphs(&self, cache: CacheKey, scope: ScopeKey) -> Result<(), StoreError> {
        let key = |generation, part| GraphKey { cache, scope, generation, part }.bytes();
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(self.family(family::GRAPHS)?, key(0, 0), key(u64::MAX, u32::MAX));
        self.write(batch)
    }

    /// The last generation up to `most` of which anything is there.
    fn last_generation(&self, cache: CacheKey, scope: ScopeKey, most: u64) -> Result<Option<u64>, StoreError> {
        let mut keys = self.db.raw_iterator_cf(self.family(family::GRAPHS)?);
        keys.seek_for_prev(GraphKey { cache, scope, generation: most, part: u32::MAX }.bytes());
        keys.status().map_err(failed)?;
        let last = keys.key().map(GraphKey::read).transpose()?;
        Ok(last.filter(|last| (last.cache, last.scope) == (cache, scope)).map(|last| last.generation))
    }

    fn put_graph_part(&self, key: GraphKey, part: &[u8]) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        let value = [&checksum(part), part].concat();
        batch.put_cf(self.family(family::GRAPHS)?, key.bytes(), value);
        self.write(batch)
    }

    fn graph_part(&self, key: GraphKey) -> Result<Option<Vec<u8>>, StoreError> {
        let mut options = ReadOptions::default();
        // Parts are large and read once; they would fill the cache of blocks.
        options.fill_cache(false);
        let found = self.db.get_pinned_cf_opt(self.family(family::GRAPHS)?, key.bytes(), &options).map_err(failed)?;
        let Some(value) = found else { return Ok(None) };
        match value.split_at_checked(CHECKSUM) {
            Some((sum, part)) if sum == checksum(part) => Ok(Some(part.to_vec())),
            _ => Err(StoreError::Damaged("a part of a graph isn't what was written".into())),
        }
    }
}

fn checksum(part: &[u8]) -> [u8; CHECKSUM] {
    let mut sum = [0; CHECKSUM];
    blake3::Hasher::new().update(part).finalize_xof().fill(&mut sum);
    sum
}

#[cfg(test)]
impl Database {
    /// Writes the first part of a graph, and no head.
    pub(in super::super) fn tear_graph(&self, cache: CacheKey, scope: ScopeKey, generation: u64) {
        self.put_graph_part(GraphKey { cache, scope, generation, part: 1 }, b"half a graph").unwrap();
    }

    /// Changes a byte of a graph's last part.
    pub(in super::super) fn damage_graph(&self, cache: CacheKey, scope: ScopeKey, generation: u64) {
        let family = self.family(family::GRAPHS).unwrap();
        let mut keys = self.db.raw_iterator_cf(family);
        keys.seek_for_prev(GraphKey { cache, scope, generation, part: u32::MAX }.bytes());
        let (key, mut value) = (keys.key().unwrap().to_vec(), keys.value().unwrap().to_vec());
        let middle = value.len() / 2;
        value[middle] ^= 1;
        self.db.put_cf(family, key, value).unwrap();
    }
}
