//! Vectors of one scope in memory, searched for the nearest.
//!
//! A [`VectorIndex`] is two parts. New vectors go to the *tail*, which is scanned from end to end: exact, visible at
//! once, and the fastest there is for the handful of vectors that most scopes hold. When the tail outgrows
//! [`GRAPH_FROM`], [`VectorIndex::keep_up`] moves it into the *graph* (HNSW) while lookups and inserts go on. Deleting
//! from the tail is immediate; in the graph it leaves a tombstone, and a graph of which a good part is dead is built anew.
//! An index that shrinks to a few goes without a graph again.
//!
//! This room doesn't know what its keys stand for, nor where vectors are kept durably.

mod codes;
mod graph;
mod hnsw;
mod image;
mod row;
mod simd;
mod tail;

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::embed::{Cosine, Embedding};
use graph::Graph;
pub use image::{Image, ImageError, Restoring};
pub use row::{Expiry, Filter, Row, Tag};
use tail::Tail;

/// Vectors of an index without a graph before one is built: up to here scanning them is about as fast as walking a graph,
/// and needs no upkeep.
///
/// `cargo bench --bench index` on 25,122 real prompts (2 cores of a Xeon, 384 dimensions, 8 neighbours): 512 vectors take
/// 28 µs to scan and 26 µs in the graph, 1,024 take 56 and 29, 8,192 take 576 and 38.
pub const GRAPH_FROM: usize = 1024;

/// Live vectors of an index with a graph below which it goes without again; far from [`GRAPH_FROM`], so that an index
/// which grows and shrinks a little stays what it is.
const GRAPH_UNTIL: usize = GRAPH_FROM / 4;

/// Vectors in the tail of an index with a graph before the graph absorbs them; scanning these takes 13 µs.
pub const TAIL_LIMIT: usize = 256;

/// A graph with at least this share of dead rows is built anew by the next [`VectorIndex::keep_up`].
const DEAD_SHARE: f64 = 0.3;
/// Threads that link vectors into a graph: lookups go on beside them.
const THREADS: usize = 1;

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
    dimension: usize,
    parts: RwLock<Parts<K>>,
    /// Held while the tail is being absorbed, so that only one thread does.
    absorbing: Mutex<()>,
    /// Rows that came into the graph since its last image.
    unsaved: AtomicUsize,
}

struct Parts<K> {
    tail: Tail<K>,
    graph: Option<Arc<Graph<K>>>,
}

impl<K: Key> VectorIndex<K> {
    /// An empty index for vectors of `dimension` components.
    #[must_use]
    pub fn new(dimension: usize) -> Self {
        let parts = Parts { tail: Tail::new(dimension), graph: None };
        Self { dimension, parts: RwLock::new(parts), absorbing: Mutex::new(()), unsaved: AtomicUsize::new(0) }
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

    /// Whether the tail is long enough, enough of the graph dead or little enough of it left for
    /// [`keep_up`](Self::keep_up) to be worth a thread.
    #[must_use]
    pub fn needs_upkeep(&self) -> bool {
        let parts = self.parts.read();
        match &parts.graph {
            None => parts.tail.len() > GRAPH_FROM,
            Some(graph) => {
                let live = parts.tail.len() + graph.live();
                parts.tail.len() > TAIL_LIMIT || graph.dead_share() > DEAD_SHARE || live < GRAPH_UNTIL
            }
        }
    }

    /// Rows that the graph has and its last [`image`](Self::image) hasn't, about.
    #[must_use]
    pub fn unsaved(&self) -> usize {
        self.unsaved.load(Ordering::Relaxed)
    }

    /// Gives the graph up where it holds too little, else does what [`absorb`](Self::absorb) does.
    pub fn keep_up(&self) {
        if !self.shrink() {
            self.absorb();
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
            Some(graph) => Arc::new(graph.without_dead(self.dimension, THREADS)),
            None => Arc::new(Graph::new(self.dimension)),
        };
        // Added hidden: until the swap below, these rows are found in the tail.
        let nodes = graph.add_hidden(&snapshot, THREADS);
        let mut parts = self.parts.write();
        if let Some(old) = &parts.graph
            && !Arc::ptr_eq(old, &graph)
        {
            graph.drop_what_died_in(old);
        }
        for (version, node) in snapshot.rows().zip(nodes) {
            if parts.tail.remove_version(version) {
                graph.reveal(&version.row.key, node);
            } else {
                // Replaced or removed since the snapshot.
                graph.forget_hidden(&version.row.key, node);
            }
        }
        parts.tail.shrink();
        let rebuilt = parts.graph.as_ref().is_some_and(|old| !Arc::ptr_eq(old, &graph));
        let linked = if rebuilt { graph.live() } else { snapshot.rows().count() };
        self.unsaved.fetch_add(linked, Ordering::Relaxed);
        parts.graph = Some(graph);
    }

    /// Gives the graph up where there is one and hardly anything in it.
    fn shrink(&self) -> bool {
        let Some(_only) = self.absorbing.try_lock() else { return false };
        let parts = &mut *self.parts.write();
        let Some(graph) = &parts.graph else { return false };
        if parts.tail.len() + graph.live() >= GRAPH_UNTIL {
            return false;
        }
        graph.for_each(|row, vector| parts.tail.push(row.clone(), vector));
        parts.graph = None;
        true
    }
}

impl<K: Key> Parts<K> {
    fn remove(&mut self, key: &K) -> bool {
        self.tail.remove(key) || self.graph.as_ref().is_some_and(|graph| graph.remove(key))
    }
}

#[cfg(test)]
mod tests;
