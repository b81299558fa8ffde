//! Filling the memory from the disk, while the store is already in use.

use super::Inner;
use super::database::Generations;
use super::memory::Memory;
use super::{CacheKey, EntryId, ScopeKey, StoreError};
use crate::index::{Expiry, Restoring, Row, VectorIndex};
use crate::telemetry;

/// Vectors between two looks at whether the store is closing, and two reports of how far loading is.
const LOOK_EVERY: u64 = 1024;

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

/// Loads everything that the database held when this began. Graphs that were kept are taken as they are; one that is damaged
/// is left to be linked again from its vectors. A vector that can't be read is left out: its entry serves its exact text.
pub(super) fn everything(inner: &Inner) -> Result<(), StoreError> {
    let (database, memory) = (&inner.database, &inner.memory);
    // Both see the database as it is now: what happens from here on is in memory at once.
    let (records, vectors) = (database.records()?, database.vectors()?);
    for record in records {
        match record {
            Ok((cache, id, record)) => inner.ledger.load(cache, id, record),
            Err(error) => tracing::warn!(cause = telemetry::cause(&error), "what an entry takes is unreadable"),
        }
    }
    inner.ledger.all_loaded();
    let all = database.count_vectors()?.max(1);
    let mut kept = database.graphs()?;
    let mut loading: Option<Scope> = None;
    let mut unread = 0u64;
    // In the order of scopes, so that each is done when the next begins.
    for (count, vector) in (1..).zip(vectors) {
        if count % LOOK_EVERY == 0 {
            if inner.is_closing() {
                return Ok(());
            }
            telemetry::index_loaded(count, all);
        }
        let (key, record) = match vector {
            Ok(vector) => vector,
            Err(error) => {
                unread += 1;
                tracing::debug!(cause = telemetry::cause(&error), "a vector is unreadable");
                continue;
            }
        };
        let of = (key.cache, key.scope);
        if loading.as_ref().is_some_and(|loading| loading.of != of) {
            finish(memory, loading.take());
        }
        let scope = match &mut loading {
            Some(scope) => scope,
            None => loading.insert(begin(inner, &mut kept, of)?),
        };
        let row = Row { key: key.id, expiry: Expiry(record.expires.0), tags: record.tags.into() };
        match &mut scope.index {
            Filling::Kept(restoring) => restoring.insert(row, &record.embedding),
            Filling::Plain(index) => index.insert(row, &record.embedding),
        }
    }
    finish(memory, loading);
    memory.all_loaded();
    telemetry::index_loaded(all, all);
    if unread > 0 {
        telemetry::degraded("unreadable");
        tracing::error!(
            unread,
            "some vectors are unreadable; the entries that they belong to serve their exact texts only"
        );
    }
    for (cache, scope) in kept.into_keys() {
        // Everything in it is gone, unless it came back since.
        if memory.is_empty(cache, scope) {
            database.delete_graphs(cache, scope)?;
        }
    }
    Ok(())
}

fn begin(inner: &Inner, kept: &mut Generations, of: (CacheKey, ScopeKey)) -> Result<Scope, StoreError> {
    let plain = || Filling::Plain(VectorIndex::new(inner.dimension));
    let Some(generation) = kept.remove(&of) else { return Ok(Scope { of, index: plain() }) };
    let index = match inner.database.load_graph(of, generation, inner.dimension) {
        Ok(restoring) => Filling::Kept(Box::new(restoring)),
        Err(StoreError::Damaged(why)) => {
            tracing::warn!(why, "a graph is damaged, and is linked again from its vectors");
            telemetry::degraded("graph");
            inner.database.delete_graphs(of.0, of.1)?;
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
