//! The approximate part of an index: which rows the nodes of an HNSW stand for.

use std::collections::{HashMap, HashSet, hash_map};

use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;

use super::hnsw::{Hnsw, Node, Scored};
use super::row::{Expiry, Filter, Row, Tag};
use super::tail::Snapshot;
use super::{Key, Neighbour};
use crate::embed::{Cosine, Embedding};

/// Where so few nodes can be what is asked for, because few carry a tag or most are dead, they are compared one by one.
const SCAN_ADMITTED: usize = 4096;
/// Candidates that a walk weighs at most: one that meets too few rows that the filter admits ends there, and what may be
/// admitted is compared one by one. Weighing a candidate takes longer the more there are.
const EF_MOST: usize = 1024;
/// Nodes that can be compared one by one while a walk weighs a candidate: it compares some 15 neighbours of each, which lie
/// anywhere in memory.
const SCANNED_PER_CANDIDATE: usize = 32;
/// Nodes that are looked up in one go; changes wait meanwhile.
const BLOCK: usize = 1024;
/// Before any time.
const GONE: Expiry = Expiry(0);
/// Nodes of a graph without dead that are linked in one go.
const REBUILT_AT_ONCE: usize = 4096;

/// A vector's place in the graph, and the rows that have this very vector.
///
/// HNSW can't hold many equal vectors: each links to its equals only, and what lies behind them can't be reached any more.
/// So every distinct vector is one node, however many rows share it, and a node without rows comes back to life when its
/// vector is stored again, which is what happens to a prompt that is answered anew.
struct Rows<K> {
    /// Found by searches.
    shown: Vec<Row<K>>,
    /// Added but not revealed yet.
    hidden: Vec<Row<K>>,
}

/// Identifies a vector by its components.
type VectorHash = [u8; 16];

pub(super) struct Graph<K> {
    hnsw: Hnsw,
    nodes: RwLock<Nodes<K>>,
    /// The node of each vector. None until a restored graph grows: hashing a million vectors takes seconds, and searches
    /// needn't wait for it.
    by_vector: Mutex<Option<HashMap<VectorHash, Node>>>,
}

struct Nodes<K> {
    /// By the node's number.
    list: Vec<Rows<K>>,
    /// When the last of a node's shown rows expires, [`GONE`] where it has none: what searches look at, in one place.
    expiry: Vec<Expiry>,
    by_key: HashMap<K, Node>,
    /// Which nodes have a row that carries a tag.
    by_tag: HashMap<Tag, RoaringBitmap>,
    /// Nodes with neither rows nor hidden ones.
    dead: usize,
}

impl<K: Key> Graph<K> {
    pub(super) fn new(dimension: usize) -> Self {
        Self { hnsw: Hnsw::new(dimension), nodes: RwLock::default(), by_vector: Mutex::new(Some(HashMap::new())) }
    }

    /// A graph of which each node has the rows at its number in `rows`, which were all linked.
    pub(super) fn of(hnsw: Hnsw, rows: Vec<Vec<Row<K>>>) -> Self {
        let mut nodes = Nodes::default();
        nodes.by_key.reserve(rows.len());
        for (number, rows) in (0..).zip(rows) {
            nodes.push(Node(number), rows);
        }
        Self { hnsw, nodes: RwLock::new(nodes), by_vector: Mutex::new(None) }
    }

    /// The rows' vectors and neighbours.
    pub(super) fn hnsw(&self) -> &Hnsw {
        &self.hnsw
    }

    /// Whose rows some nodes' are; hidden ones don't count.
    pub(super) fn keys(&self, nodes: impl Iterator<Item = Node>) -> Vec<Vec<K>> {
        let all = self.nodes.read();
        nodes.map(|node| all.rows(node).shown.iter().map(|row| row.key).collect()).collect()
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

    /// Links the snapshot's vectors into the graph, where no search returns them yet. Returns each row's node. Only one
    /// thread may do so at a time.
    pub(super) fn add_hidden(&self, snapshot: &Snapshot<K>, threads: usize) -> Vec<Node> {
        self.add(snapshot.rows().map(|version| version.row.clone()).zip(snapshot.vectors()), threads)
    }

    fn add<'v>(&self, rows: impl Iterator<Item = (Row<K>, &'v [f32])>, threads: usize) -> Vec<Node> {
        let hashed: Vec<_> = rows.map(|(row, vector)| (row, vector, hash(vector))).collect();
        let mut fresh = Vec::new();
        let mut by_vector = self.by_vector.lock();
        let by_vector = by_vector.get_or_insert_with(|| self.hash_all());
        let places = {
            let nodes = &mut *self.nodes.write();
            let hidden = hashed.into_iter().map(|(row, vector, hash)| match by_vector.entry(hash) {
                hash_map::Entry::Occupied(known) => {
                    nodes.hide(row, *known.get());
                    *known.get()
                }
                hash_map::Entry::Vacant(new) => {
                    fresh.push(vector);
                    *new.insert(nodes.push_hidden(row))
                }
            });
            hidden.collect()
        };
        let added = self.hnsw.append(fresh.into_iter());
        self.hnsw.link(added, threads);
        places
    }

    /// The node of each vector. Nodes that were restored without rows have none, and nothing is equal to that.
    fn hash_all(&self) -> HashMap<VectorHash, Node> {
        let nodes = self.nodes.read().list.len();
        let mut by_vector = HashMap::with_capacity(nodes);
        self.hnsw.vectors((0..).map(Node).take(nodes), |node, vector| {
            by_vector.insert(hash(vector), node);
        });
        by_vector
    }

    /// Lets searches find rows that were added hidden, each known by its key and node, or forgets them.
    pub(super) fn settle(&self, rows: impl Iterator<Item = ((K, bool), Node)>) {
        let nodes = &mut *self.nodes.write();
        for ((key, is_shown), node) in rows {
            if is_shown {
                nodes.reveal(&key, node);
            } else {
                nodes.forget_hidden(&key, node);
            }
        }
    }

    pub(super) fn remove(&self, key: &K) -> bool {
        self.nodes.write().remove(key)
    }

    /// The `k` rows nearest to `query` that `filter` admits. Changes wait for it for moments only: nothing is compared under
    /// the lock that they take.
    pub(super) fn search(&self, query: &[f32], k: usize, filter: &Filter) -> Vec<Neighbour<K>> {
        let admit = |near: &mut Vec<Scored>| {
            let nodes = self.nodes.read();
            near.retain(|(node, _)| nodes.admits(*node, filter));
        };
        let (tagged, admitted) = {
            let nodes = self.nodes.read();
            let tagged = nodes.tagged(filter);
            let admitted = tagged.as_ref().map_or(nodes.list.len() - nodes.dead, |tagged| count(tagged.len()));
            (tagged, admitted)
        };
        let walked = if admitted <= SCAN_ADMITTED {
            None
        } else {
            self.hnsw.search(query, k, EF_MOST.min(admitted / SCANNED_PER_CANDIDATE), admit)
        };
        let near = walked.unwrap_or_else(|| match &tagged {
            Some(tagged) => self.hnsw.scan(query, k, self.blocks(filter.now, tagged.iter()), admit),
            None => self.hnsw.scan(query, k, self.blocks(filter.now, 0..), admit),
        });
        let nodes = self.nodes.read();
        near.into_iter()
            .flat_map(|(node, cosine)| {
                let admitted = nodes.rows(node).shown.iter().filter(|row| filter.admits(row));
                admitted.map(move |row| Neighbour { key: row.key, cosine: Cosine::new(cosine) })
            })
            .take(k)
            .collect()
    }

    /// Those of some nodes that have rows at `now`, some at a time.
    fn blocks(&self, now: u64, mut of: impl Iterator<Item = u32>) -> impl Iterator<Item = Vec<Node>> {
        std::iter::from_fn(move || {
            let nodes = self.nodes.read();
            let expiries = of.by_ref().take(BLOCK).map_while(|node| Some((node, nodes.expiry.get(node as usize)?)));
            let mut is_over = true;
            let there = expiries.inspect(|_| is_over = false).filter(|(_, expiry)| expiry.0 > now);
            let block = there.map(|(node, _)| Node(node)).collect();
            (!is_over).then_some(block)
        })
    }

    pub(super) fn vector(&self, key: &K) -> Option<Embedding> {
        let node = *self.nodes.read().by_key.get(key)?;
        let mut found = None;
        self.hnsw.vectors([node].into_iter(), |_, vector| found = Embedding::unit(vector.iter().copied()));
        found
    }

    /// Calls `with` for every row that is shown, with its vector.
    pub(super) fn for_each(&self, mut with: impl FnMut(&Row<K>, &[f32])) {
        let nodes = self.nodes.read();
        let live = nodes.by_key.values().copied().collect::<HashSet<Node>>();
        self.hnsw.vectors(live.into_iter(), |node, vector| {
            nodes.rows(node).shown.iter().for_each(|row| with(row, vector));
        });
    }

    /// A new graph of the nodes that have rows now, unless `go_on` says no.
    pub(super) fn without_dead(&self, dimension: usize, threads: usize, go_on: impl Fn() -> bool) -> Option<Self> {
        let live: Vec<Node> = {
            let nodes = self.nodes.read();
            let live = (0u32..).map(Node).zip(&nodes.list).filter(|(_, rows)| !rows.shown.is_empty());
            live.map(|(node, _)| node).collect()
        };
        let fresh = Self::new(dimension);
        for some in live.chunks(REBUILT_AT_ONCE) {
            if !go_on() {
                return None;
            }
            // Those that died since would be dead in the new graph too.
            let some: Vec<(Node, Vec<Row<K>>)> = {
                let nodes = self.nodes.read();
                let rows = some.iter().map(|node| (*node, nodes.rows(*node).shown.clone()));
                rows.filter(|(_, rows)| !rows.is_empty()).collect()
            };
            let mut vectors = Vec::new();
            self.hnsw.vectors(some.iter().map(|(node, _)| *node), |_, vector| vectors.extend_from_slice(vector));
            let rows = some.iter().zip(vectors.chunks_exact(dimension));
            let rows: Vec<_> =
                rows.flat_map(|((_, rows), vector)| rows.iter().map(move |row| (row.clone(), vector))).collect();
            let keys: Vec<K> = rows.iter().map(|(row, _)| row.key).collect();
            let nodes = fresh.add(rows.into_iter(), threads);
            fresh.settle(keys.into_iter().map(|key| (key, true)).zip(nodes));
        }
        Some(fresh)
    }
}

impl<K> Default for Nodes<K> {
    fn default() -> Self {
        Self { list: Vec::new(), expiry: Vec::new(), by_key: HashMap::new(), by_tag: HashMap::new(), dead: 0 }
    }
}

impl<K: Key> Nodes<K> {
    fn rows(&self, Node(node): Node) -> &Rows<K> {
        &self.list[node as usize]
    }

    /// Whether a node has a row that `filter` admits.
    fn admits(&self, node: Node, filter: &Filter) -> bool {
        let is_there = self.expiry[node.0 as usize].0 > filter.now;
        is_there && (!filter.asks_for_tags() || self.rows(node).shown.iter().any(|row| filter.admits(row)))
    }

    fn rows_mut(&mut self, Node(node): Node) -> &mut Rows<K> {
        &mut self.list[node as usize]
    }

    /// Adds a node whose rows are shown.
    fn push(&mut self, node: Node, rows: Vec<Row<K>>) {
        for row in &rows {
            self.by_key.insert(row.key, node);
            for tag in &row.tags {
                self.by_tag.entry(*tag).or_default().insert(node.0);
            }
        }
        self.dead += usize::from(rows.is_empty());
        self.list.push(Rows { shown: rows, hidden: Vec::new() });
        self.expiry.push(self.rows(node).expiry());
    }

    /// Adds a hidden row to a node.
    fn hide(&mut self, row: Row<K>, node: Node) {
        self.dead -= usize::from(self.rows(node).is_dead());
        self.rows_mut(node).hidden.push(row);
    }

    /// Adds a node with a hidden row, which has to be linked into the graph.
    fn push_hidden(&mut self, row: Row<K>) -> Node {
        #[expect(clippy::cast_possible_truncation, reason = "4 billion vectors don't fit into memory")]
        let node = Node(self.list.len() as u32);
        self.list.push(Rows { shown: Vec::new(), hidden: vec![row] });
        self.expiry.push(GONE);
        node
    }

    fn reveal(&mut self, key: &K, node: Node) {
        let rows = self.rows_mut(node);
        if let Some(at) = rows.hidden.iter().position(|row| row.key == *key) {
            let row = rows.hidden.swap_remove(at);
            for tag in &row.tags {
                self.by_tag.entry(*tag).or_default().insert(node.0);
            }
            self.rows_mut(node).shown.push(row);
            self.expiry[node.0 as usize] = self.rows(node).expiry();
            self.by_key.insert(*key, node);
        }
    }

    fn forget_hidden(&mut self, key: &K, node: Node) {
        self.rows_mut(node).hidden.retain(|row| row.key != *key);
        self.dead += usize::from(self.rows(node).is_dead());
    }

    fn remove(&mut self, key: &K) -> bool {
        let Some(node) = self.by_key.remove(key) else { return false };
        let rows = self.rows_mut(node);
        let Some(at) = rows.shown.iter().position(|row| row.key == *key) else { return false };
        let removed = rows.shown.swap_remove(at);
        for tag in &removed.tags {
            if !self.rows(node).shown.iter().any(|row| row.tags.contains(tag)) {
                self.untag(*tag, node);
            }
        }
        self.expiry[node.0 as usize] = self.rows(node).expiry();
        self.dead += usize::from(self.rows(node).is_dead());
        true
    }

    fn untag(&mut self, tag: Tag, node: Node) {
        if let Some(tagged) = self.by_tag.get_mut(&tag) {
            tagged.remove(node.0);
            if tagged.is_empty() {
                self.by_tag.remove(&tag);
            }
        }
    }

    /// The nodes of which each tag that is asked for is carried, by one row or another; none where no tag is asked for.
    fn tagged(&self, filter: &Filter) -> Option<RoaringBitmap> {
        let mut sets = filter.tags.iter().map(|tag| self.by_tag.get(tag));
        let first = if filter.one_of.is_empty() {
            sets.next()?.cloned()
        } else {
            let either = filter.one_of.iter().filter_map(|tag| self.by_tag.get(tag));
            Some(either.fold(RoaringBitmap::new(), |all, set| all | set))
        };
        let all = first.and_then(|first| sets.try_fold(first, |all, set| Some(all & set?)));
        Some(all.unwrap_or_default())
    }
}

impl<K> Rows<K> {
    fn expiry(&self) -> Expiry {
        self.shown.iter().map(|row| row.expiry).max().unwrap_or(GONE)
    }

    fn is_dead(&self) -> bool {
        self.shown.is_empty() && self.hidden.is_empty()
    }
}

fn count(nodes: u64) -> usize {
    usize::try_from(nodes).unwrap_or(usize::MAX)
}

fn hash(vector: &[f32]) -> VectorHash {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut hash = VectorHash::default();
    blake3::Hasher::new().update(&bytes).finalize_xof().fill(&mut hash);
    hash
}
