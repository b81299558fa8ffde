//! Filling the memory from the disk, while the store is already in use.

use std::sync::mpsc;

use super::Inner;
use super::database::Generations;
use super::memory::Memory;
use super::record::{VectorKey, VectorRecord};
use super::{CacheKey, EntryId, ScopeKey, StoreError};
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
            Ok((cache, id, record)) => inner.ledger.load(cache, id, record),
            Err(error) => tracing::warn!(cause = telemetry::cause(&error), "what an entry takes is unreadable"),
        }
    }
    inner.ledger.all_loaded();
    Ok(())
}

/// Loads all vectors that the database holds. Graphs that were kept are taken as they are; one that is damaged is left to be
/// linked again from its vectors. A vector that can't be read is left out: its entry serves its exact text.
pub(super) fn vectors(inner: &Inner) -> Result<(), StoreError> {
    let all = inner.database.count_vectors()?.max(1);
    let kept = inner.database.graphs()?;
    let vectors = inner.database.vectors()?;
    let (sender, batches) = mpsc::sync_channel(BATCHES);
    std::thread::scope(|scope| {
        // Reading and decoding take about as long as filling indexes.
        scope.spawn(move || read(vectors, &sender));
        Loader { inner, kept, scope: None, unread: 0 }.take_in(batches, all)
    })
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
    kept: Generations,
    /// The one that is being loaded: vectors come in the order of scopes, so each is done when the next begins.
    scope: Option<Scope>,
    unread: u64,
}

impl Loader<'_> {
    fn take_in(mut self, batches: mpsc::Receiver<Vec<Read>>, all: u64) -> Result<(), StoreError> {
        let mut count = 0;
        for batch in batches {
            if self.inner.is_closing() {
                return Ok(());
            }
            count += batch.len() as u64;
            for vector in batch {
                self.take(vector)?;
            }
            telemetry::index_loaded(count, all);
        }
        self.end(all)
    }

    fn take(&mut self, vector: Read) -> Result<(), StoreError> {
        let (key, record) = match vector {
            Ok(vector) => vector,
            Err(error) => {
                self.unread += 1;
                tracing::debug!(cause = telemetry::cause(&error), "a vector is unreadable");
                return Ok(());
            }
        };
        let of = (key.cache, key.scope);
        if self.scope.as_ref().is_some_and(|scope| scope.of != of) {
            finish(&self.inner.memory, self.scope.take());
        }
        let scope = match &mut self.scope {
            Some(scope) => scope,
            None => self.scope.insert(begin(self.inner, &mut self.kept, of)?),
        };
        let row = Row { key: key.id, expiry: Expiry(record.expires.0), tags: record.tags.into() };
        match &mut scope.index {
            Filling::Kept(restoring) => restoring.insert(row, &record.embedding),
            Filling::Plain(index) => index.insert(row, &record.embedding),
        }
        Ok(())
    }

    fn end(self, all: u64) -> Result<(), StoreError> {
        let Inner { database, memory, .. } = self.inner;
        finish(memory, self.scope);
        memory.all_loaded();
        telemetry::index_loaded(all, all);
        if self.unread > 0 {
            telemetry::degraded("unreadable");
            let unread = self.unread;
            tracing::error!(unread, "some vectors are unreadable; their entries serve exact texts only");
        }
        for (cache, scope) in self.kept.into_keys() {
            // Everything in it is gone, unless it came back since.
            if memory.is_empty(cache, scope) && !database.is_read_only() {
                database.delete_graphs(cache, scope)?;
            }
        }
        Ok(())
    }
}

fn begin(inner: &Inner, kept: &mut Generations, of: (CacheKey, ScopeKey)) -> Result<Scope, StoreError> {
    let plain = || Filling::Plain(VectorIndex::new(inner.dimension));
    let Some(generation) = kept.remove(&of) else { return Ok(Scope { of, index: plain() }) };
    let index = match inner.database.load_graph(of, generation, inner.dimension) {
        Ok(restoring) => Filling::Kept(Box::new(restoring)),
        Err(StoreError::Damaged(why)) => {
            tracing::warn!(why, "a graph is damaged, and is linked again from its vectors");
            telemetry::degraded("graph");
            // It may stay: it is damaged at the next start too.
            let _ = inner.database.delete_graphs(of.0, of.1);
            plain()
        }
        Err(error) => return Err(error),
    };
    Ok(Scope { of, index })
}

fn finish(memory: &Memory, loading: Option<Scope>) {
    if let Some(Scope { of: (cache, scope), index }) = loading {
        let index = match index {
            Filling::Kept(restoring) => restoring.finish(),
            Filling::Plain(index) => index,
        };
        memory.adopt(cache, scope, index);
    }
}
