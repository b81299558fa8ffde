//! Reading all vectors at start.

use super::database::{Database, Generations, OpenError};
use super::memory::Memory;
use super::{CacheKey, EntryId, ScopeKey, StoreError};
use crate::index::{Expiry, Restoring, Row};
use crate::telemetry;

/// A scope whose graph was kept, and gets its rows back.
struct Loading {
    of: (CacheKey, ScopeKey),
    restoring: Restoring<EntryId>,
}

/// The indexes of all scopes. Graphs that were kept are taken as they are; one that is damaged is left to be linked again
/// from its vectors.
pub(super) fn vectors(database: &Database, dimension: usize) -> Result<Memory, OpenError> {
    let memory = Memory::new(dimension);
    let mut kept = database.graphs()?;
    let mut loading: Option<Loading> = None;
    // In the order of scopes, so that each is done when the next begins.
    for vector in database.vectors() {
        let (key, record) = vector?;
        let of = (key.cache, key.scope);
        if loading.as_ref().is_some_and(|loading| loading.of != of) {
            finish(&memory, loading.take());
        }
        if loading.is_none() {
            loading = begin(database, &mut kept, of, dimension)?;
        }
        let row = Row { key: key.id, expiry: Expiry(record.expires.0), tags: record.tags.into() };
        match &mut loading {
            Some(loading) => loading.restoring.insert(row, &record.embedding),
            None => memory.insert(key.cache, key.scope, row, &record.embedding),
        }
    }
    finish(&memory, loading);
    for (cache, scope) in kept.into_keys() {
        // Everything in it is gone.
        database.delete_graphs(cache, scope)?;
    }
    Ok(memory)
}

fn begin(
    database: &Database,
    kept: &mut Generations,
    of: (CacheKey, ScopeKey),
    dimension: usize,
) -> Result<Option<Loading>, StoreError> {
    let Some(generation) = kept.remove(&of) else { return Ok(None) };
    match database.load_graph(of, generation, dimension) {
        Ok(restoring) => Ok(Some(Loading { of, restoring })),
        Err(StoreError::Damaged(why)) => {
            tracing::warn!(why, "a graph is damaged, and is linked again from its vectors");
            telemetry::degraded("graph");
            database.delete_graphs(of.0, of.1)?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn finish(memory: &Memory, loading: Option<Loading>) {
    if let Some(Loading { of: (cache, scope), restoring }) = loading {
        memory.adopt(cache, scope, restoring.finish());
    }
}
