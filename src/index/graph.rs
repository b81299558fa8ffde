//! The approximate part of an index: hnsw_rs, with the deletion and the filters that it lacks.

use std::collections::HashMap;

use hnsw_rs::hnsw::Hnsw;
use hnsw_rs::prelude::Distance;
use parking_lot::RwLock;

use super::row::{Filter, Row};
use super::tail::Snapshot;
use super::{Key, Neighbour};
use crate::embed::{Cosine, dot};

/// Links per node; 16 is what the authors of HNSW recommend for embeddings of a few hundred dimensions.
const LINKS: usize = 16;
const LAYERS: usize = 16;
/// Candidates weighed when a node is linked.
const EF_CONSTRUCTION: usize = 200;
/// Candidates weighed in a search, at least.
const EF_SEARCH: usize = 96;

/// 1 − cos, on unit vectors.
#[derive(Clone, Copy)]
struct CosineDistance;

impl Distance<f32> for CosineDistance {
    fn eval(&self, a: &[f32], b: &[f32]) -> f32 {
        (1.0 - dot(a, b)).max(0.0)
    }
}

/// A vector's place in the graph, and the rows that have this very vector.
///
/// HNSW can't hold many equal vectors: each links to its equals only, and what lies behind them can't be reached any more.
/// So every distinct vector is one node, however many rows share it, and a node without rows comes back to life when its
/// vector is stored again, which is what happens to a prompt that is answered anew.
#[derive(Default)]
struct Node<K> {
    /// Found by searches.
    rows: Vec<Row<K>>,
    /// Added but not revealed yet.
    hidden: Vec<Row<K>>,
}

/// A node's number, which is its point's id in hnsw_rs.
#[derive(Clone, Copy)]
pub(super) struct Slot(usize);

/// Identifies a vector by its components.
type VectorHash = [u8; 16];

pub(super) struct Graph<K> {
    hnsw: Hnsw<'static, f32, CosineDistance>,
    nodes: RwLock<Nodes<K>>,
}

struct Nodes<K> {
    list: Vec<Node<K>>,
    by_vector: HashMap<VectorHash, usize>,
    by_key: HashMap<K, usize>,
    /// Nodes with neither rows nor hidden ones.
    dead: usize,
}

impl<K: Key> Graph<K> {
    pub(super) fn new(expected: usize) -> Self {
        Self {
            hnsw: Hnsw::new(LINKS, expected.max(1), LAYERS, EF_CONSTRUCTION, CosineDistance),
            nodes: RwLock::new(Nodes { list: Vec::new(), by_vector: HashMap::new(), by_key: HashMap::new(), dead: 0 }),
        }
    }

    pub(super) fn live(&self) -> usize {
        self.nodes.read().by_key.len()
    }

    /// The share of nodes that searches walk through in vain.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no 2^53 precision")]
    pub(super) fn dead_share(&self) -> f64 {
        let nodes = self.nodes.read();
        nodes.dead as f64 / nodes.list.len().max(1) as f64
    }

    /// Links the snapshot's vectors into the graph, where no search returns them yet. Returns each row's slot.
    pub(super) fn add_hidden(&self, snapshot: &Snapshot<K>) -> Vec<Slot> {
        snapshot.rows().zip(snapshot.vectors()).map(|(version, vector)| self.add(version.row.clone(), vector)).collect()
    }

    fn add(&self, row: Row<K>, vector: &[f32]) -> Slot {
        let (slot, is_new) = self.nodes.write().hide(row, hash(vector));
        if is_new {
            self.hnsw.insert((vector, slot.0));
        }
        slot
    }

    /// Lets searches find the row of `key` that was added hidden in `slot`.
    pub(super) fn reveal(&self, key: &K, slot: Slot) {
        self.nodes.write().reveal(key, slot);
    }

    /// Forgets the row of `key` that was added hidden in `slot`.
    pub(super) fn forget_hidden(&self, key: &K, Slot(slot): Slot) {
        let nodes = &mut *self.nodes.write();
        nodes.list[slot].hidden.retain(|row| row.key != *key);
        nodes.dead += usize::from(nodes.list[slot].is_dead());
    }

    pub(super) fn remove(&self, key: &K) -> bool {
        let nodes = &mut *self.nodes.write();
        nodes.by_key.remove(key).is_some_and(|slot| {
            nodes.list[slot].rows.retain(|row| row.key != *key);
            nodes.dead += usize::from(nodes.list[slot].is_dead());
            true
        })
    }

    pub(super) fn search(&self, query: &[f32], k: usize, filter: &Filter) -> Vec<Neighbour<K>> {
        let nodes = self.nodes.read();
        let admitted =
            |id: &usize| nodes.list.get(*id).is_some_and(|node| node.rows.iter().any(|row| filter.admits(row)));
        self.hnsw
            .search_filter(query, k, EF_SEARCH.max(2 * k), Some(&admitted))
            .into_iter()
            .flat_map(|near| {
                let rows = nodes.list.get(near.d_id).map(|node| node.rows.as_slice()).unwrap_or_default();
                let admitted = rows.iter().filter(|row| filter.admits(row));
                admitted.map(move |row| Neighbour { key: row.key, cosine: Cosine::new(1.0 - near.distance) })
            })
            .take(k)
            .collect()
    }

    /// A new graph of the nodes that have rows now.
    pub(super) fn without_dead(&self) -> Self {
        let live: HashMap<usize, Vec<Row<K>>> = {
            let nodes = self.nodes.read();
            let live = nodes.list.iter().enumerate().filter(|(_, node)| !node.rows.is_empty());
            live.map(|(slot, node)| (slot, node.rows.clone())).collect()
        };
        let fresh = Self::new(live.len());
        if live.is_empty() {
            // hnsw_rs panics when a graph without points is iterated.
            return fresh;
        }
        for point in self.hnsw.get_point_indexation() {
            let vector = point.get_v();
            for row in live.get(&point.get_origin_id()).into_iter().flatten() {
                let slot = fresh.add(row.clone(), vector);
                fresh.reveal(&row.key, slot);
            }
        }
        fresh
    }

    /// Removes from this graph, made of `old`, what has been removed from `old` since.
    pub(super) fn drop_what_died_in(&self, old: &Self) {
        let gone: Vec<K> = {
            let (old, mine) = (old.nodes.read(), self.nodes.read());
            mine.by_key.keys().filter(|key| !old.by_key.contains_key(key)).copied().collect()
        };
        for key in gone {
            self.remove(&key);
        }
    }
}

impl<K: Key> Nodes<K> {
    /// Adds a hidden row; tells where, and whether the node is new and has to be linked into the graph.
    fn hide(&mut self, row: Row<K>, vector: VectorHash) -> (Slot, bool) {
        if let Some(&slot) = self.by_vector.get(&vector) {
            self.dead -= usize::from(self.list[slot].is_dead());
            self.list[slot].hidden.push(row);
            return (Slot(slot), false);
        }
        let slot = self.list.len();
        self.list.push(Node { rows: Vec::new(), hidden: vec![row] });
        self.by_vector.insert(vector, slot);
        (Slot(slot), true)
    }

    fn reveal(&mut self, key: &K, Slot(slot): Slot) {
        let node = &mut self.list[slot];
        if let Some(at) = node.hidden.iter().position(|row| row.key == *key) {
            let row = node.hidden.swap_remove(at);
            node.rows.push(row);
            self.by_key.insert(*key, slot);
        }
    }
}

impl<K> Node<K> {
    fn is_dead(&self) -> bool {
        self.rows.is_empty() && self.hidden.is_empty()
    }
}

fn hash(vector: &[f32]) -> VectorHash {
    let mut hasher = blake3::Hasher::new();
    for x in vector {
        hasher.update(&x.to_le_bytes());
    }
    let mut hash = VectorHash::default();
    hasher.finalize_xof().fill(&mut hash);
    hash
}
