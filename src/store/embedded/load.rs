//! Filling the memory from the disk, while the store is already in use.

use std::sync::mpsc;

use super::database::Generations;
use super::record::{VectorKey, VectorRecord};
use super::scope_indexes::ScopeIndexes;
use super::{CacheKey, EntryId, ScopeKey, StoreError};
use super::{Inner, Space};
use crate::index::{Expiry, Restoring, Row, VectorIndex};
use crate::telemetry;

/// Vectors that are handed from one thread to the next in one go, and how many such batches may wait.
const BATCH: usize = 1024;
const BATCHES: usize = 4;

/// A scope that is being loaded.
struct Scope {
    of: (CacheKey, ScopeKey),
    index: Filling,
}

enum Filling {
    /// Its graph was kept, and gets its rows back.
    Kept(Box<Restoring<EntryId>>),
    /// It has none.
    Plain(VectorIndex<EntryId>),
}

/// Vectors as they come from the disk, or why one can't be read.
type Read = Result<(VectorKey, VectorRecord), StoreError>;

/// Loads what every entry takes and has saved.
pub(super) fn records(inner: &Inner) -> Result<(), StoreError> {
    for record in inner.database.records()? {
        match record {
            Ok((cache, id, record)) => inner.eviction.load(cache, id, record),
            Err(error) => tracing::warn!(cause = telemetry::cause(&error), "what an entry takes is unreadable"),
        }
    }
    inner.eviction.all_loaded();
    Ok(())
}

/// Loads all vectors that the database holds. Graphs that were kept are taken as they are; one that is damaged is left to be
/// linked again from its vectors. A vector that can't be read is left out: its entry serves its exact text.
pub(super) fn current(inner: &Inner, space: &Space) -> Result<(), StoreError> {
    vectors(inner, space, inner.database.graphs()?, telemetry::index_loaded)
}

/// Loads the vectors of `space`, and of their graphs those that were kept.
pub(super) fn vectors(
    inner: &Inner,
    space: &Space,
    kept: Generations,
    progress: fn(u64, u64),
) -> Result<(), StoreError> {
    let all = inner.database.count_vectors(space.slot)?.max(1);
    let vectors = inner.database.vectors(space.slot)?;
    let (sender, batches) = mpsc::sync_channel(BATCHES);
    std::thread::scope(|scope| {
        // Reading and decoding take about as long as filling indexes.
        scope.spawn(move || read(vectors, &sender));
        Loader { inner, memory: &space.memory, kept, scope: None, unread: 0, progress }.take_in(batches, all);
    });
    Ok(())
}

/// Hands the vectors over, until nobody takes them any more.
fn read(mut vectors: impl Iterator<Item = Read>, batches: &mpsc::SyncSender<Vec<Read>>) {
    loop {
        let batch: Vec<Read> = vectors.by_ref().take(BATCH).collect();
        if batch.is_empty() || batches.send(batch).is_err() {
            return;
        }
    }
}

struct Loader<'i> {
    inner: &'i Inner,
    memory: &'i ScopeIndexes,
    kept: Generations,
    /// The one that is being loaded: vectors come in the order of scopes, so each is done when the next begins.
    scope: Option<Scope>,
    unread: u64,
    /// Is told how many of how many are loaded.
    progress: fn(u64, u64),
}

impl Loader<'_> {
    fn take_in(mut self, batches: mpsc::Receiver<Vec<Read>>, all: u64) {
        let mut count = 0;
        for batch in batches {
            if self.inner.is_closing() {
                return;
            }
            count += batch.len() as u64;
            for vector in batch {
                self.take(vector);
            }
            (self.progress)(count, all);
        }
        self.end(all);
    }

    fn take(&mut self, vector: Read) {
        let (key, record) = match vector {
            Ok(vector) => vector,
            Err(error) => {
                self.unread += 1;
                tracing::debug!(cause = telemetry::cause(&error), "a vector is unreadable");
                return;
            }
        };
        let of = (key.cache, key.scope);
        if self.scope.as_ref().is_some_and(|scope| scope.of != of) {
            finish(self.memory, self.scope.take());
        }
        let scope = match &mut self.scope {
            Some(scope) => scope,
            None => {
                let new = self.begin(of);
                self.scope.insert(new)
            }
        };
        let row = Row { key: key.id, expiry: Expiry(record.expires.0), tags: record.tags.into() };
        match &mut scope.index {
            Filling::Kept(restoring) => restoring.insert(row, &record.embedding),
            Filling::Plain(index) => index.insert(row, &record.embedding),
        }
    }

    fn end(self, all: u64) {
        let Self { inner: Inner { database, .. }, memory, scope, .. } = self;
        finish(memory, scope);
        memory.all_loaded();
        (self.progress)(all, all);
        if self.unread > 0 {
            telemetry::degraded("unreadable");
            let unread = self.unread;
            tracing::error!(unread, "some vectors are unreadable; their entries serve exact texts only");
        }
        for (cache, scope) in self.kept.into_keys() {
            // Everything in it is gone, unless it came back since.
            if memory.is_empty(cache, scope) {
                database.forget_graphs(cache, scope);
            }
        }
    }

    fn begin(&mut self, of: (CacheKey, ScopeKey)) -> Scope {
        let dimension = self.memory.dimension();
        let plain = || Filling::Plain(VectorIndex::new(dimension));
        let Some(generation) = self.kept.remove(&of) else { return Scope { of, index: plain() } };
        let database = &self.inner.database;
        let index = match database.load_graph(of, generation, dimension) {
            Ok(restoring) => Filling::Kept(Box::new(restoring)),
            // Whatever the reason, its vectors are there.
            Err(error) => {
                database.give_up_graph(of.0, of.1, &error);
                plain()
            }
        };
        Scope { of, index }
    }
}

fn finish(memory: &ScopeIndexes, loading: Option<Scope>) {
    if let Some(Scope { of: (cache, scope), index }) = loading {
        let index = match index {
            Filling::Kept(restoring) => restoring.finish(),
            Filling::Plain(index) => index,
        };
        memory.adopt(cache, scope, index);
    }
}
