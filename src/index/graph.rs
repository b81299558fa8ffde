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

struct Node<K> {
    row: Row<K>,
    /// Dead or not yet revealed nodes are walked through but never returned.
    visible: bool,
}

pub(super) struct Graph<K> {
    hnsw: Hnsw<'static, f32, CosineDistance>,
    nodes: RwLock<Nodes<K>>,
}

/// Node i is hnsw_rs's point with the id i.
struct Nodes<K> {
    list: Vec<Node<K>>,
    slots: HashMap<K, usize>,
}

impl<K: Key> Graph<K> {
    pub(super) fn new(expected: usize) -> Self {
        Self {
            hnsw: Hnsw::new(LINKS, expected.max(1), LAYERS, EF_CONSTRUCTION, CosineDistance),
            nodes: RwLock::new(Nodes { list: Vec::new(), slots: HashMap::new() }),
        }
    }

    pub(super) fn live(&self) -> usize {
        self.nodes.read().slots.len()
    }

    #[expect(clippy::cast_precision_loss, reason = "a share needs no 2^53 precision")]
    pub(super) fn dead_share(&self) -> f64 {
        let nodes = self.nodes.read();
        1.0 - nodes.slots.len() as f64 / nodes.list.len().max(1) as f64
    }

    /// Links the snapshot's vectors into the graph, where no search returns them yet. Returns their slots.
    pub(super) fn add_hidden(&self, snapshot: &Snapshot<K>) -> std::ops::Range<usize> {
        let first = {
            let mut nodes = self.nodes.write();
            let first = nodes.list.len();
            nodes.list.extend(snapshot.rows().map(|version| Node { row: version.row.clone(), visible: false }));
            first
        };
        let slots = first..first + snapshot.len();
        for (vector, slot) in snapshot.vectors().zip(slots.clone()) {
            self.hnsw.insert((vector, slot));
        }
        slots
    }

    pub(super) fn reveal(&self, slot: usize) {
        let nodes = &mut *self.nodes.write();
        let node = &mut nodes.list[slot];
        node.visible = true;
        nodes.slots.insert(node.row.key, slot);
    }

    pub(super) fn remove(&self, key: &K) -> bool {
        let nodes = &mut *self.nodes.write();
        nodes.slots.remove(key).is_some_and(|slot| {
            nodes.list[slot].visible = false;
            true
        })
    }

    pub(super) fn search(&self, query: &[f32], k: usize, filter: &Filter) -> Vec<Neighbour<K>> {
        let nodes = self.nodes.read();
        let found = |id: &usize| nodes.list.get(*id).is_some_and(|node| node.visible && filter.admits(&node.row));
        self.hnsw
            .search_filter(query, k, EF_SEARCH.max(2 * k), Some(&found))
            .into_iter()
            .filter_map(|neighbour| {
                let node = nodes.list.get(neighbour.d_id).filter(|node| node.visible)?;
                Some(Neighbour { key: node.row.key, cosine: Cosine::new(1.0 - neighbour.distance) })
            })
            .collect()
    }

    /// A new graph of the nodes that are visible now.
    pub(super) fn without_dead(&self) -> Self {
        let rows: Vec<(Row<K>, usize)> = {
            let nodes = self.nodes.read();
            let visible = nodes.list.iter().enumerate().filter(|(_, node)| node.visible);
            visible.map(|(slot, node)| (node.row.clone(), slot)).collect()
        };
        if rows.is_empty() {
            // hnsw_rs panics when a graph without points is iterated.
            return Self::new(1);
        }
        let vectors: HashMap<usize, Vec<f32>> = self
            .hnsw
            .get_point_indexation()
            .into_iter()
            .map(|point| (point.get_origin_id(), point.get_v().to_vec()))
            .collect();
        let fresh = Self::new(rows.len());
        for (row, old_slot) in rows {
            let Some(vector) = vectors.get(&old_slot) else { continue };
            let slot = {
                let mut nodes = fresh.nodes.write();
                nodes.list.push(Node { row, visible: false });
                nodes.list.len() - 1
            };
            fresh.hnsw.insert((vector, slot));
            fresh.reveal(slot);
        }
        fresh
    }

    /// Removes from this graph, made of `old`, what has been removed from `old` since.
    pub(super) fn drop_what_died_in(&self, old: &Self) {
        let old = old.nodes.read();
        let gone: Vec<K> = self.nodes.read().slots.keys().filter(|key| !old.slots.contains_key(key)).copied().collect();
        drop(old);
        for key in gone {
            self.remove(&key);
        }
    }
}
