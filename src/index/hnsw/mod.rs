//! A hierarchical navigable small world graph (Malkov and Yashunin 2018) that is searched while it grows.
//!
//! Every node has a vector, its codes in bytes, and on each of its levels a list of neighbours. Searches and the choice of
//! neighbours compare codes; what a search returns is compared exactly. Lists are arrays of atomic node numbers: searches
//! read them while nodes are linked, and the worst that they can meet is a list half old and half new, all of whose
//! numbers are nodes. Vectors and codes never change. Nodes are never removed; who owns the graph knows which of them count,
//! and builds another one when too many don't.

mod beam;
mod chunk;
mod link;

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Mutex, RwLock};

use super::codes::Query;
use super::simd::Simd;
use crate::embed::dot;
#[cfg(test)]
pub(super) use beam::COMPARED;
use beam::Scratch;
pub(super) use chunk::ChunkImage;
use chunk::Chunks;

/// Neighbours of a node on each level but the lowest, where it may have twice as many: what the authors recommend for
/// embeddings of a few hundred dimensions.
const LINKS: usize = 16;
/// Neighbours on the lowest level.
const BASE_LINKS: usize = 2 * LINKS;
/// Candidates that are weighed when a node is linked.
const EF_LINKING: usize = 200;
/// Candidates that a search weighs at least. 10,000 real prompts' vectors jittered to 100,000: recall of the nearest
/// is 0.998 with 32, 0.9995 with 48 and 64.
const EF_SEARCH: usize = 48;
/// Large graphs take a candidate more for every so many nodes: of 1,000,000 jittered vectors 48 find 0.931 of the nearest,
/// 192 0.976 and 512 0.992. Comparing more of them exactly changes none of that.
const NODES_PER_CANDIDATE: usize = 1875;
/// Candidates beyond the wanted ones that are compared exactly, because codes may order them wrongly.
const SPARE: usize = 8;
/// Locks that the lists of neighbours share.
const STRIPES: usize = 256;

/// A node's number: how many nodes were there before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Node(pub(super) u32);

/// A node and its score with a query: the higher, the nearer.
pub(super) type Scored = (Node, f32);

/// A graph of vectors of one dimension.
pub(super) struct Hnsw {
    chunks: RwLock<Chunks>,
    entry: RwLock<Option<Entry>>,
    /// Held while a list of neighbours is written; the list of a node belongs to the stripe of its number.
    stripes: Box<[Mutex<()>]>,
    simd: Simd,
}

/// Where searches begin: a node of the highest level.
#[derive(Debug, Clone, Copy)]
struct Entry {
    node: Node,
    level: usize,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Hnsw {
    pub(super) fn new(dimension: usize) -> Self {
        Self {
            chunks: RwLock::new(Chunks::new(dimension)),
            entry: RwLock::default(),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            simd: Simd::best(),
        }
    }

    /// Its nodes, linked or not.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.chunks.read().len()
    }

    /// Adds nodes, which no search finds before they are linked. Only one thread may do so at a time.
    pub(super) fn append<'v>(&self, vectors: impl ExactSizeIterator<Item = &'v [f32]>) -> Range<u32> {
        let before = self.chunks.read().clone();
        let from = before.len();
        let after = before.extended(vectors);
        #[expect(clippy::cast_possible_truncation, reason = "4 billion vectors don't fit into memory")]
        let added = from as u32..after.len() as u32;
        *self.chunks.write() = after;
        added
    }

    /// Links nodes that were added, on as many threads.
    pub(super) fn link(&self, nodes: Range<u32>, threads: usize) {
        let next = AtomicU32::new(nodes.start);
        let work = || {
            SCRATCH.with_borrow_mut(|scratch| {
                loop {
                    let node = next.fetch_add(1, Ordering::Relaxed);
                    if node >= nodes.end {
                        break;
                    }
                    self.link_one(Node(node), scratch);
                }
            });
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
    }

    /// The `k` nodes nearest to `query` of those that `admit` leaves in a list, nearest first, with their cosines. Where fewer
    /// are found, the search looks farther, up to `most` candidates. `None`: it didn't meet enough, and there may be more.
    pub(super) fn search(
        &self,
        query: &[f32],
        k: usize,
        most: usize,
        admit: impl Fn(&mut Vec<Scored>),
    ) -> Option<Vec<Scored>> {
        // The entry first: it is among the nodes that are there by then.
        let Some(entry) = *self.entry.read() else { return Some(Vec::new()) };
        let chunks = self.chunks.read().clone();
        let codes = Query::new(query);
        SCRATCH.with_borrow_mut(|scratch| {
            let start = beam::descend(&chunks, self.simd, &codes, entry, 0, scratch);
            let mut ef = EF_SEARCH.max(chunks.len() / NODES_PER_CANDIDATE).min(most).max(2 * k);
            loop {
                beam::near(&chunks, self.simd, &codes, start, 0, ef, scratch);
                let mut near: Vec<Scored> = scratch.found().collect();
                let is_all = near.len() < ef;
                admit(&mut near);
                if near.len() >= k || is_all {
                    near.truncate(k + SPARE);
                    return Some(self.compared(&chunks, query, near, k));
                }
                ef *= 4;
                if ef > most {
                    return None;
                }
            }
        })
    }

    /// The `k` nodes nearest to `query` of those that come in `blocks` and that `admit` leaves in a list, nearest first, with
    /// their cosines. `admit` is asked only about nodes that are nearer than those that were found before.
    pub(super) fn scan(
        &self,
        query: &[f32],
        k: usize,
        blocks: impl Iterator<Item = Vec<Node>>,
        admit: impl Fn(&mut Vec<Scored>),
    ) -> Vec<Scored> {
        let codes = Query::new(query);
        let wanted = k + SPARE;
        let mut near: Vec<Scored> = Vec::with_capacity(wanted);
        for mut block in blocks {
            let chunks = self.chunks.read().clone();
            // Those that aren't linked yet are still found elsewhere.
            block.retain(|node| chunks.has(*node));
            let farthest = near.get(wanted.saturating_sub(1)).map_or(f32::NEG_INFINITY, |(_, score)| *score);
            let mut nearer = Vec::new();
            beam::scores(&chunks, self.simd, &codes, &block, |node, score| {
                if score > farthest {
                    nearer.push((node, score));
                }
            });
            if nearer.is_empty() {
                continue;
            }
            admit(&mut nearer);
            near.append(&mut nearer);
            near.sort_by(|a, b| b.1.total_cmp(&a.1));
            near.truncate(wanted);
        }
        let chunks = self.chunks.read().clone();
        self.compared(&chunks, query, near, k)
    }

    /// The `k` nearest of some nodes, nearest first, with cosines in the place of scores.
    fn compared(&self, chunks: &Chunks, query: &[f32], mut near: Vec<Scored>, k: usize) -> Vec<Scored> {
        for (node, cosine) in &mut near {
            *cosine = dot(query, chunks.vector(*node));
        }
        near.sort_by(|a, b| b.1.total_cmp(&a.1));
        near.truncate(k);
        near
    }

    /// Calls `with` for some nodes' vectors.
    pub(super) fn vectors(&self, nodes: impl Iterator<Item = Node>, mut with: impl FnMut(Node, &[f32])) {
        let chunks = self.chunks.read().clone();
        nodes.for_each(|node| with(node, chunks.vector(node)));
    }
}

/// What is kept of a graph beside its chunks.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(super) struct Head {
    nodes: u32,
    entry: Option<(u32, u32)>,
}

impl Hnsw {
    /// What is kept of it on disk: all but the vectors. Nobody may link meanwhile.
    pub(super) fn image(&self) -> (Head, impl Iterator<Item = ChunkImage> + use<>) {
        let entry = self.entry.read().map(|entry| (entry.node.0, entry.level as u32));
        let chunks = self.chunks.read().clone();
        #[expect(clippy::cast_possible_truncation, reason = "4 billion vectors don't fit into memory")]
        let nodes = chunks.len() as u32;
        (Head { nodes, entry }, chunks.images())
    }
}

/// A graph that is made of an image; its vectors come one by one.
pub(super) struct Restoring {
    head: Head,
    chunks: chunk::Restoring,
}

impl Restoring {
    pub(super) fn new(dimension: usize, head: Head) -> Self {
        Self { head, chunks: chunk::Restoring::new(dimension) }
    }

    /// Adds the next chunk. `None`: it isn't this graph's.
    pub(super) fn push(&mut self, image: ChunkImage) -> Option<()> {
        self.chunks.push(image, self.head.nodes as usize)
    }

    /// Gives a node its vector, if it is the one that the node was linked for. A node that gets none can be walked over
    /// and must not be found.
    pub(super) fn set_vector(&mut self, node: Node, vector: &[f32]) -> bool {
        self.chunks.set_vector(node, vector)
    }

    /// The vector that a node was given.
    pub(super) fn vector(&self, node: Node) -> &[f32] {
        self.chunks.vector(node)
    }

    fn entry(&self) -> Option<Entry> {
        self.head.entry.map(|(node, level)| Entry { node: Node(node), level: level as usize })
    }

    /// Whether all chunks are there, and searches can begin at one of their nodes.
    pub(super) fn is_whole(&self) -> bool {
        let nodes = self.head.nodes;
        let enters = |entry: Entry| entry.node.0 < nodes && entry.level <= chunk::level(entry.node);
        self.chunks.len() == nodes as usize && (nodes > 0) == self.entry().is_some_and(enters)
    }

    /// The graph, which must be [whole](Self::is_whole).
    pub(super) fn finish(self) -> Hnsw {
        let entry = RwLock::new(self.entry());
        Hnsw { chunks: RwLock::new(self.chunks.finish()), entry, ..Hnsw::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIMENSION: usize = 100;

    /// What a search that looks as far as it takes finds.
    fn search(graph: &Hnsw, query: &[f32], k: usize, admits: impl Fn(Node) -> bool) -> Vec<Scored> {
        graph.search(query, k, usize::MAX, |near| near.retain(|(node, _)| admits(*node))).unwrap()
    }

    /// Unit vectors in clusters, the same for the same seed.
    fn vectors(count: usize, seed: u64) -> Vec<Vec<f32>> {
        let mut state = seed | 1;
        let mut noise = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        let centres: Vec<Vec<f32>> = (0..30).map(|_| (0..DIMENSION).map(|_| noise()).collect()).collect();
        let near = |centre: &Vec<f32>, noise: &mut dyn FnMut() -> f32| {
            let vector: Vec<f32> = centre.iter().map(|x| x + 0.7 * noise()).collect();
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vector.into_iter().map(|x| x / length).collect()
        };
        (0..count).map(|n| near(&centres[n % centres.len()], &mut noise)).collect()
    }

    fn graph(vectors: &[Vec<f32>], threads: usize) -> Hnsw {
        let graph = Hnsw::new(DIMENSION);
        for some in vectors.chunks(700) {
            let nodes = graph.append(some.iter().map(Vec::as_slice));
            graph.link(nodes, threads);
        }
        graph
    }

    fn exact(vectors: &[Vec<f32>], query: &[f32], k: usize, admits: impl Fn(usize) -> bool) -> Vec<u32> {
        let mut all: Vec<(u32, f32)> = (0..vectors.len())
            .filter(|n| admits(*n))
            .map(|n| (n as u32, vectors[n].iter().zip(query).map(|(x, y)| x * y).sum()))
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.into_iter().take(k).map(|(n, _)| n).collect()
    }

    /// The share of the `k` nearest that are found.
    fn recall(
        graph: &Hnsw,
        vectors: &[Vec<f32>],
        queries: &[Vec<f32>],
        k: usize,
        admits: impl Fn(usize) -> bool,
    ) -> f64 {
        let mut found = 0;
        let mut wanted = 0;
        for query in queries {
            let near = search(graph, query, k, |node| admits(node.0 as usize));
            assert!(near.windows(2).all(|pair| pair[0].1 >= pair[1].1));
            let exact = exact(vectors, query, k, &admits);
            found += exact.iter().filter(|n| near.iter().any(|(node, _)| node.0 == **n)).count();
            wanted += exact.len();
        }
        found as f64 / wanted as f64
    }

    #[test]
    fn the_nearest_are_found_with_and_without_a_condition() {
        let vectors = vectors(5100, 5);
        let (vectors, queries) = vectors.split_at(5000);
        for threads in [1, 3] {
            let graph = graph(vectors, threads);
            assert_eq!(graph.len(), 5000);
            let recall = |k: usize, every: usize| recall(&graph, vectors, queries, k, |n| n % every == 0);
            let all = [(1, 1), (10, 1), (10, 10), (10, 1000)].map(|(k, every)| recall(k, every));
            assert!(all.iter().all(|recall| *recall > 0.98), "{all:?}");
        }
    }

    /// A crowd, and later some handfuls of others that are much nearer to one another than to the crowd.
    #[test]
    fn handfuls_far_from_the_crowd_are_found() {
        let mut state = 77u64;
        let mut noise = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        let mut near = |centre: &[f32], spread: f32| -> Vec<f32> {
            let vector: Vec<f32> = centre.iter().map(|x| x + spread * noise()).collect();
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vector.into_iter().map(|x| x / length).collect()
        };
        let crowd = near(&[0.0; DIMENSION], 1.0);
        let mut all: Vec<Vec<f32>> = (0..3000).map(|_| near(&crowd, 0.08)).collect();
        let kinds: Vec<Vec<f32>> = (0..17).map(|_| near(&crowd, 0.1)).collect();
        for n in 0..1500 {
            all[n * 2] = near(&kinds[n % 17], 0.03);
        }
        for _ in 0..40 {
            let centre = near(&crowd, 0.17);
            all.extend((0..15).map(|_| near(&centre, 0.05)));
        }
        let graph = graph(&all, 1);
        let missed = (0..all.len()).filter(|n| search(&graph, &all[*n], 8, |_| true)[0].1 < 0.999);
        assert_eq!(missed.collect::<Vec<_>>(), [0usize; 0]);
    }

    #[test]
    fn a_graph_of_few_nodes_finds_them_all() {
        let vectors = vectors(9, 5);
        let graph = Hnsw::new(DIMENSION);
        assert_eq!(search(&graph, &vectors[0], 3, |_| true), []);
        for (n, vector) in vectors.iter().enumerate() {
            let node = graph.append(std::iter::once(vector.as_slice()));
            graph.link(node, 1);
            assert_eq!(search(&graph, vector, 20, |_| true).len(), n + 1);
            assert_eq!(search(&graph, vector, 1, |_| true)[0].0, Node(n as u32));
        }
        assert_eq!(search(&graph, &vectors[0], 20, |_| false), []);
    }

    #[test]
    fn searches_go_on_while_nodes_are_linked() {
        let vectors = vectors(3000, 9);
        let graph = Hnsw::new(DIMENSION);
        let first = graph.append(vectors[..500].iter().map(Vec::as_slice));
        graph.link(first, 1);
        std::thread::scope(|scope| {
            let linking = scope.spawn(|| {
                for some in vectors[500..].chunks(100) {
                    graph.link(graph.append(some.iter().map(Vec::as_slice)), 1);
                }
            });
            let (mut n, mut missed) = (0, 0);
            while !linking.is_finished() {
                let near = search(&graph, &vectors[n % 500], 5, |_| true);
                assert_eq!(near.len(), 5);
                missed += usize::from(near[0].1 < 0.99);
                n += 1;
            }
            assert!(missed * 50 <= n, "{missed} of {n}");
        });
        assert!(recall(&graph, &vectors, &vectors[..200], 1, |_| true) > 0.98);
    }
}
