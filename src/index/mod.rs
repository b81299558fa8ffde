//! Vectors of one scope in memory, searched for the nearest.
//!
//! A [`VectorIndex`] is two parts. New vectors go to the *tail*, which is scanned from end to end: visible at
//! once, exact up to some thousand vectors, and the fastest there is for the handful of vectors that most scopes hold. When the tail outgrows
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
mod signs;
mod simd;
mod tail;

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::embed::{Cosine, Embedding};
use graph::Graph;
pub use image::{ImageError, Restoring};
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

/// Vectors that move into the graph in one go. While they are revealed, which takes about a microsecond each, searches wait.
const STEP: usize = 256;

/// A graph with at least this share of dead rows is built anew by the next [`VectorIndex::keep_up`].
const DEAD_SHARE: f64 = 0.3;
/// Threads that link vectors into a graph: lookups go on beside them.
const THREADS: usize = 1;

/// Searches that rows may move under before one holds everything still.
const ATTEMPTS: usize = 4;

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
    /// Held while the graph is changed or its image taken, so that only one thread does.
    upkeep: Mutex<()>,
    /// Rows that came into the graph since its last image.
    unsaved: AtomicUsize,
}

struct Parts<K> {
    tail: Tail<K>,
    graph: Option<Arc<Graph<K>>>,
    /// How often a row was inserted anew that the graph had. A search that went through the tail before and through the
    /// graph afterwards has missed it.
    returned: u64,
    /// How often rows of the tail became part of the graph.
    absorbed: u64,
    /// Keys that left the graph since another one in its place was begun.
    leaving: Option<Vec<K>>,
}

impl<K: Key> VectorIndex<K> {
    /// An empty index for vectors of `dimension` components.
    #[must_use]
    pub fn new(dimension: usize) -> Self {
        let parts = Parts { tail: Tail::new(dimension), graph: None, returned: 0, absorbed: 0, leaving: None };
        Self { dimension, parts: RwLock::new(parts), upkeep: Mutex::new(()), unsaved: AtomicUsize::new(0) }
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
        self.parts.write().insert(row, vector.as_slice());
    }

    /// Adds all rows of `newer`.
    pub fn take_in(&self, newer: &Self) {
        let (parts, newer) = (&mut *self.parts.write(), newer.parts.read());
        newer.tail.for_each(|row, vector| parts.insert(row.clone(), vector));
        if let Some(graph) = &newer.graph {
            graph.for_each(|row, vector| parts.insert(row.clone(), vector));
        }
    }

    /// Removes `key`'s vector and tells whether there was one. The next search doesn't see it.
    pub fn remove(&self, key: &K) -> bool {
        self.parts.write().remove(key)
    }

    /// The `k` live rows nearest to `query` that `filter` lets through, nearest first.
    #[must_use]
    pub fn search(&self, query: &Embedding, k: usize, filter: &Filter) -> Vec<Neighbour<K>> {
        let query = query.as_slice();
        for _ in 0..ATTEMPTS {
            let (found, graph, returned, absorbed) = {
                let parts = self.parts.read();
                (parts.tail.search(query, k, filter), parts.graph.clone(), parts.returned, parts.absorbed)
            };
            let Some(graph) = graph else { return found };
            let linked = graph.search(query, k, filter);
            let parts = self.parts.read();
            if parts.returned == returned {
                drop(parts);
                return merged(found, linked, k);
            }
            // A row that left the graph before it was searched is in the tail, unless that was absorbed too.
            if parts.absorbed == absorbed {
                let found = parts.tail.search(query, k, filter);
                drop(parts);
                return merged(found, linked, k);
            }
        }
        // Rows may be anywhere, unless nothing moves meanwhile.
        let parts = self.parts.read();
        let linked = parts.graph.as_ref().map(|graph| graph.search(query, k, filter));
        merged(parts.tail.search(query, k, filter), linked.unwrap_or_default(), k)
    }

    /// The vector of each key's row; None of those that aren't there any more.
    #[must_use]
    pub fn vectors<'k>(&self, keys: impl Iterator<Item = &'k K>) -> Vec<Option<Embedding>> {
        let parts = self.parts.read();
        let in_graph = |key: &K| parts.graph.as_ref()?.vector(key);
        keys.map(|key| parts.tail.vector(key).or_else(|| in_graph(key))).collect()
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

    /// Rows that wait in the tail although the graph should have them.
    #[must_use]
    pub fn unlinked(&self) -> usize {
        let parts = self.parts.read();
        let fits = if parts.graph.is_some() { TAIL_LIMIT } else { GRAPH_FROM };
        Some(parts.tail.len()).filter(|rows| *rows > fits).unwrap_or(0)
    }

    /// Rows in the tail.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.parts.read().tail.len()
    }

    /// Rows that the graph has and its last [image](Self::save_image) hasn't, about.
    #[must_use]
    pub fn unsaved(&self) -> usize {
        self.unsaved.load(Ordering::Relaxed)
    }

    /// Gives the graph up where it holds too little, builds it anew where too much of it is dead, and moves the tail into it.
    /// Takes seconds for a large one, and ends early where `go_on` says no; searches, inserts and removals go on meanwhile.
    /// Returns whether there was anything to do that no other thread was at. Calls `between` after each step that moved some of
    /// the tail, when the graph isn't being changed.
    pub fn keep_up(&self, go_on: impl Fn() -> bool, between: impl Fn()) -> bool {
        let absorb = || {
            self.absorb(|| {
                between();
                go_on()
            })
        };
        self.shrink() || self.rebuild(&go_on) | absorb()
    }

    /// Moves the tail into the graph, in steps, while `go_on` says yes. Returns whether it moved any.
    pub fn absorb(&self, go_on: impl Fn() -> bool) -> bool {
        let mut moved = false;
        while go_on()
            && let Some(rows) = self.absorb_some()
        {
            moved |= rows > 0;
            if rows < STEP {
                break;
            }
        }
        moved
    }

    /// Moves some rows of the tail into the graph; tells how many. `None`: another thread is at it.
    fn absorb_some(&self) -> Option<usize> {
        let _only = self.upkeep.try_lock()?;
        let (snapshot, graph) = {
            let parts = self.parts.read();
            (parts.tail.snapshot(STEP), parts.graph.clone())
        };
        if snapshot.len() == 0 {
            return Some(0);
        }
        let graph = graph.unwrap_or_else(|| Arc::new(Graph::new(self.dimension)));
        // Added hidden: until the swap below, these rows are found in the tail.
        let nodes = graph.add_hidden(&snapshot, THREADS);
        let mut parts = self.parts.write();
        // Those that aren't there any more were replaced or removed since the snapshot.
        let moved = snapshot.rows().map(|version| (version.row.key, parts.tail.remove_version(version)));
        graph.settle(moved.zip(nodes));
        parts.tail.shrink();
        parts.absorbed += 1;
        parts.graph = Some(graph);
        self.unsaved.fetch_add(snapshot.len(), Ordering::Relaxed);
        Some(snapshot.len())
    }

    /// Builds the graph anew where too much of it is dead.
    fn rebuild(&self, go_on: impl Fn() -> bool) -> bool {
        let Some(_only) = self.upkeep.try_lock() else { return false };
        let old = {
            let parts = &mut *self.parts.write();
            let Some(old) = parts.graph.clone().filter(|graph| graph.dead_share() > DEAD_SHARE) else { return false };
            parts.leaving = Some(Vec::new());
            old
        };
        let graph = old.without_dead(self.dimension, THREADS, go_on);
        let mut parts = self.parts.write();
        let left = parts.leaving.take().unwrap_or_default();
        let Some(graph) = graph.map(Arc::new) else { return false };
        for key in left {
            graph.remove(&key);
        }
        self.unsaved.fetch_add(graph.live(), Ordering::Relaxed);
        parts.graph = Some(graph);
        true
    }

    /// Gives the graph up where there is one and hardly anything in it.
    fn shrink(&self) -> bool {
        let Some(_only) = self.upkeep.try_lock() else { return false };
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

/// The `k` nearest of both parts'. A row that moved between the two searches is found twice; the tail's is never the older
/// one.
fn merged<K: Key>(tail: Vec<Neighbour<K>>, graph: Vec<Neighbour<K>>, k: usize) -> Vec<Neighbour<K>> {
    let in_tail: HashSet<K> = tail.iter().map(|neighbour| neighbour.key).collect();
    let mut found = tail;
    found.extend(graph.into_iter().filter(|neighbour| !in_tail.contains(&neighbour.key)));
    found.sort_by(|a, b| b.cosine.get().total_cmp(&a.cosine.get()));
    found.truncate(k);
    found
}

impl<K: Key> Parts<K> {
    fn insert(&mut self, row: Row<K>, vector: &[f32]) {
        if !self.tail.remove(&row.key) && self.remove_from_graph(&row.key) {
            self.returned += 1;
        }
        self.tail.push(row, vector);
    }

    fn remove(&mut self, key: &K) -> bool {
        self.tail.remove(key) || self.remove_from_graph(key)
    }

    fn remove_from_graph(&mut self, key: &K) -> bool {
        let removed = self.graph.as_ref().is_some_and(|graph| graph.remove(key));
        if let Some(leaving) = self.leaving.as_mut().filter(|_| removed) {
            leaving.push(*key);
        }
        removed
    }
}

#[cfg(test)]
mod tests;
