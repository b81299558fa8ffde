//! Graphs of indexes, in parts.
//!
//! A graph is written under a new generation, its head last; only then the generation before goes. Whenever the process
//! dies, the newest generation that has a head is a whole graph. Every part carries a checksum.

use std::collections::HashMap;

use rocksdb::{DB, Options, ReadOptions, WriteBatch};

use super::super::super::{CacheKey, EntryId, ScopeKey, StoreError};
use super::super::record::{GraphKey, decode, encode};
use super::scan::skip;
use super::{Database, failed, family};
use crate::index::Restoring;
use crate::telemetry;

/// Bytes of a part's checksum, which come before it.
const CHECKSUM: usize = 16;

/// Bytes of a key.
const KEY: usize = 60;
/// A key of the family that says what the database is: some table of graphs is damaged.
const DAMAGED: &str = "damaged-graphs";

/// Removes all graphs with their tables, where one of those was found to be damaged.
pub(super) fn renew(db: &mut DB, options: &Options) -> Result<(), rocksdb::Error> {
    let is_damaged = |db: &DB| db.cf_handle(family::META).map_or(Ok(None), |meta| db.get_cf(meta, DAMAGED));
    if is_damaged(db)?.is_some() {
        tracing::warn!("a table of graphs is damaged: all graphs are linked again from their vectors");
        db.drop_cf(family::GRAPHS)?;
        db.create_cf(family::GRAPHS, options)?;
        db.cf_handle(family::META).map_or(Ok(()), |meta| db.delete_cf(meta, DAMAGED))?;
    }
    Ok(())
}

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
        let generation = match self.last_generation(cache, scope, u64::MAX) {
            Ok(last) => last.map_or(0, |last| last.saturating_add(1)),
            // Whatever was there is of no use.
            Err(_) => {
                self.delete_graphs(cache, scope)?;
                0
            }
        };
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

    /// The graphs that are whole, as far as one can see without reading them. Scopes that have only torn ones lose those, and
    /// what can't be read is left out: a graph only spares time.
    pub(in super::super) fn graphs(&self) -> Result<Generations, StoreError> {
        let mut found = Generations::new();
        let mut keys = self.db.raw_iterator_cf(self.family(family::GRAPHS)?);
        let mut last = vec![0; KEY];
        keys.seek_to_first();
        loop {
            let Some(key) = keys.key() else {
                let Err(error) = keys.status() else { break };
                self.doubt_graphs(&failed(error));
                if !skip(&mut keys, &mut last) {
                    break;
                }
                continue;
            };
            let GraphKey { cache, scope, .. } = GraphKey::read(key)?;
            match self.newest_graph(cache, scope) {
                Ok(Some(generation)) => drop(found.insert((cache, scope), generation)),
                Ok(None) => self.forget_graphs(cache, scope),
                Err(error) => self.give_up_graph(cache, scope, &error),
            }
            last = GraphKey { cache, scope, generation: u64::MAX, part: u32::MAX }.bytes().to_vec();
            keys.seek(&last);
        }
        Ok(found)
    }

    /// The newest generation of a graph that has a head.
    fn newest_graph(&self, cache: CacheKey, scope: ScopeKey) -> Result<Option<u64>, StoreError> {
        let mut newest = self.last_generation(cache, scope, u64::MAX)?;
        while let Some(generation) = newest {
            let head = GraphKey { cache, scope, generation, part: 0 }.bytes();
            if self.db.get_pinned_cf(self.family(family::GRAPHS)?, head).map_err(failed)?.is_some() {
                return Ok(Some(generation));
            }
            let before = generation.checked_sub(1);
            newest = before.map(|before| self.last_generation(cache, scope, before)).transpose()?.flatten();
        }
        Ok(None)
    }

    /// A scope's graph can't be read: it will be linked again from its vectors.
    pub(in super::super) fn give_up_graph(&self, cache: CacheKey, scope: ScopeKey, why: &StoreError) {
        self.doubt_graphs(why);
        self.forget_graphs(cache, scope);
    }

    /// Says that a graph can't be read. Where the damage is the table's, the next start begins without any: compacting a damaged
    /// table fails, and after that every store does.
    fn doubt_graphs(&self, why: &StoreError) {
        tracing::warn!(cause = telemetry::cause(why), "a graph can't be read, and is linked again from its vectors");
        telemetry::degraded("graph");
        if !self.is_read_only && !matches!(why, StoreError::Damaged(_)) {
            let noted = self.family(family::META).map(|meta| self.db.put_cf(meta, DAMAGED, []));
            if !matches!(noted, Ok(Ok(()))) {
                tracing::warn!("the damage could not be noted");
            }
        }
    }

    /// Removes a scope's graphs if that can be done now; if not, they are no better at the next start.
    pub(in super::super) fn forget_graphs(&self, cache: CacheKey, scope: ScopeKey) {
        if !self.is_read_only
            && let Err(error) = self.delete_graphs(cache, scope)
        {
            tracing::warn!(cause = telemetry::cause(&error), "a graph could not be removed");
        }
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
    /// The tables that have graphs, or other rows of a family.
    pub(in super::super) fn tables(&self, of: &str) -> Vec<std::path::PathBuf> {
        let files = self.db.live_files().unwrap().into_iter().filter(|file| file.column_family_name == of);
        files.map(|file| self.db.path().join(file.name.trim_start_matches('/'))).collect()
    }

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
