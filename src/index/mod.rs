//! Vectors of one scope in memory, searched for the nearest.
//!
//! A [`VectorIndex`] is two parts. New vectors go to the *tail*, which is scanned from end to end: exact, visible at
//! once, and the fastest there is for the handful of vectors that most scopes hold. When the tail outgrows
//! [`GRAPH_FROM`], [`VectorIndex::absorb`] moves it into the *graph* (HNSW) while lookups and inserts go on. Deleting
//! from the tail is immediate; in the graph it leaves a tombstone, and a graph of which a good part is dead is built anew.
//!
//! This room doesn't know what its keys stand for, nor where vectors are kept durably.

mod graph;
mod row;
mod tail;

use std::hash::Hash;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::embed::{Cosine, Embedding};
use graph::Graph;
pub use row::{Expiry, Filter, Row, Tag};
use tail::Tail;

/// Vectors of an index without a graph before one is built: up to here scanning them is faster than walking a graph.
///
/// `cargo bench --bench index` on 25,122 real prompts (2 cores of a Xeon, 384 dimensions, 8 neighbours): 8,192 vectors
/// take 524 µs to scan and 679 µs in the graph, 16,384 take 1,125 µs and 855 µs.
pub const GRAPH_FROM: usize = 8192;

/// Vectors in the tail of an index with a graph before the graph absorbs them; scanning these takes 46 µs.
pub const TAIL_LIMIT: usize = 1024;

/// A graph with at least this share of dead rows is built anew by the next [`VectorIndex::absorb`].
const DEAD_SHARE: f64 = 0.3;

/// What identifies a vector.
pub trait Key: Copy + Eq + Hash + Send + Sync + 'static {}
impl<T: Copy + Eq + Hash + Send + Sync + 'static> Key for T {}

/// A vector near the one asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour<K> {
    /// Whose vector it is.
    pub key: K,
    /// Of the angle between the two.
    pub cosine: Cosine,
}

/// The vectors of one scope.
pub struct VectorIndex<K> {
    parts: RwLock<Parts<K>>,
    /// Held while the tail is being absorbed, so that only one thread does.
    absorbing: Mutex<()>,
}

struct Parts<K> {
    tail: Tail<K>,
    graph: Option<Arc<Graph<K>>>,
}

impl<K: Key> VectorIndex<K> {
    /// An empty index for vectors of `dimension` components.
    #[must_use]
    pub fn new(dimension: usize) -> Self {
        Self { parts: RwLock::new(Parts { tail: Tail::new(dimension), graph: None }), absorbing: Mutex::new(()) }
    }

    /// The number of live vectors.
    #[must_use]
    pub fn len(&self) -> usize {
        let parts = self.parts.read();
        parts.tail.len() + parts.graph.as_ref().map_or(0, |graph| graph.live())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds `row`, or replaces the one of the same key. The next search sees it.
    pub fn insert(&self, row: Row<K>, vector: &Embedding) {
        let mut parts = self.parts.write();
        parts.remove(&row.key);
        parts.tail.push(row, vector.as_slice());
    }

    /// Removes `key`'s vector and tells whether there was one. The next search doesn't see it.
    pub fn remove(&self, key: &K) -> bool {
        self.parts.write().remove(key)
    }

    /// The `k` live rows nearest to `query` that `filter` lets through, nearest first.
    #[must_use]
    pub fn search(&self, query: &Embedding, k: usize, filter: &Filter) -> Vec<Neighbour<K>> {
        let (mut found, graph) = {
            let parts = self.parts.read();
            (parts.tail.search(query.as_slice(), k, filter), parts.graph.clone())
        };
        if let Some(graph) = graph {
            found.extend(graph.search(query.as_slice(), k, filter));
            found.sort_by(|a, b| b.cosine.get().total_cmp(&a.cosine.get()));
            // A row that moves from the tail to the graph between the two searches is found twice.
            let mut seen = std::collections::HashSet::new();
            found.retain(|neighbour| seen.insert(neighbour.key));
            found.truncate(k);
        }
        found
    }

    /// Whether the tail is long enough, or enough of the graph dead, for [`absorb`](Self::absorb) to be worth a thread.
    #[must_use]
    pub fn wants_absorbing(&self) -> bool {
        let parts = self.parts.read();
        match &parts.graph {
            None => parts.tail.len() > GRAPH_FROM,
            Some(graph) => parts.tail.len() > TAIL_LIMIT || graph.dead_share() > DEAD_SHARE,
        }
    }

    /// Moves the tail into the graph. Takes seconds for a large one; searches, inserts and removals go on meanwhile.
    /// Returns at once where another thread is at it.
    pub fn absorb(&self) {
        let Some(_only) = self.absorbing.try_lock() else { return };
        let (snapshot, old) = {
            let parts = self.parts.read();
            (parts.tail.snapshot(), parts.graph.clone())
        };
        let graph = match old {
            Some(graph) if graph.dead_share() <= DEAD_SHARE => graph,
            Some(graph) => Arc::new(graph.without_dead()),
            None => Arc::new(Graph::new(snapshot.len())),
        };
        // Added hidden: until the swap below, these rows are found in the tail.
        let slots = graph.add_hidden(&snapshot);
        let mut parts = self.parts.write();
        if let Some(old) = &parts.graph
            && !Arc::ptr_eq(old, &graph)
        {
            graph.drop_what_died_in(old);
        }
        for (version, slot) in snapshot.rows().zip(slots) {
            if parts.tail.remove_version(version) {
                graph.reveal(&version.row.key, slot);
            } else {
                // Replaced or removed since the snapshot.
                graph.forget_hidden(&version.row.key, slot);
            }
        }
        parts.tail.shrink();
        parts.graph = Some(graph);
    }
}

impl<K: Key> Parts<K> {
    fn remove(&mut self, key: &K) -> bool {
        self.tail.remove(key) || self.graph.as_ref().is_some_and(|graph| graph.remove(key))
    }
}

#[cfg(test)]
mod tests;
