//! Finding the nodes near a vector.

use super::super::codes::Query;
use super::super::simd::{Line, Simd};
use super::chunk::Chunks;
use super::{BASE_LINKS, Entry, Node};

#[cfg(test)]
thread_local! {
    /// Nodes that this thread has compared with something.
    pub(in super::super) static COMPARED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// What a search works with; kept, so that searches allocate nothing.
#[derive(Default)]
pub(super) struct Scratch {
    /// A bit per node.
    seen: Vec<u64>,
    /// The nearest so far, nearest first.
    pool: Vec<Candidate>,
    /// Nodes to be compared next.
    fresh: Vec<Node>,
}

#[derive(Clone, Copy)]
struct Candidate {
    node: Node,
    score: f32,
    /// Whether its neighbours have been looked at.
    expanded: bool,
}

impl Scratch {
    /// What the last search found, nearest first, with scores.
    pub(super) fn found(&self) -> impl ExactSizeIterator<Item = (Node, f32)> {
        self.pool.iter().map(|candidate| (candidate.node, candidate.score))
    }
}

/// Calls `with` for each of `nodes` with its score: its cosine with the query, but for a factor that is the query's and
/// positive, and for what codes lose.
pub(super) fn scores(chunks: &Chunks, simd: Simd, query: &Query, nodes: &[Node], mut with: impl FnMut(Node, f32)) {
    #[cfg(test)]
    COMPARED.set(COMPARED.get() + nodes.len());
    let mut rows: [&[Line]; BASE_LINKS] = [&[]; BASE_LINKS];
    let mut products = [0; BASE_LINKS];
    for nodes in nodes.chunks(BASE_LINKS) {
        let (rows, products) = (&mut rows[..nodes.len()], &mut products[..nodes.len()]);
        rows.iter_mut().zip(nodes).for_each(|(row, node)| *row = chunks.codes(*node));
        simd.byte_products(&query.lines, rows, products);
        for (node, product) in nodes.iter().zip(products) {
            #[expect(clippy::cast_precision_loss, reason = "codes are less exact")]
            with(*node, product.wrapping_sub(query.excess) as f32 * chunks.step(*node));
        }
    }
}

/// The node that a walk from the entry down to the level above `floor` ends at, always to the nearest neighbour.
pub(super) fn descend(
    chunks: &Chunks,
    simd: Simd,
    query: &Query,
    entry: Entry,
    floor: usize,
    scratch: &mut Scratch,
) -> Node {
    let mut best = (entry.node, f32::NEG_INFINITY);
    scores(chunks, simd, query, &[entry.node], |node, score| best = (node, score));
    for level in (floor + 1..=entry.level).rev() {
        loop {
            let at = best.0;
            scratch.fresh.clear();
            scratch.fresh.extend(chunks.neighbours(at, level).iter().filter(|node| chunks.has(*node)));
            scores(chunks, simd, query, &scratch.fresh, |node, score| {
                if score > best.1 {
                    best = (node, score);
                }
            });
            if best.0 == at {
                break;
            }
        }
    }
    best.0
}

/// Finds about the `ef` nearest nodes on a level, beginning at `start`: those that are reached over nodes that were among
/// the `ef` nearest so far. They are left in `scratch`.
pub(super) fn near(
    chunks: &Chunks,
    simd: Simd,
    query: &Query,
    start: Node,
    level: usize,
    ef: usize,
    scratch: &mut Scratch,
) {
    let Scratch { seen, pool, fresh } = scratch;
    seen.clear();
    seen.resize(chunks.len().div_ceil(64), 0);
    let mut is_new = |Node(node): Node| {
        let (word, bit) = (&mut seen[node as usize / 64], 1 << (node % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    };
    is_new(start);
    pool.clear();
    scores(chunks, simd, query, &[start], |node, score| pool.push(Candidate { node, score, expanded: false }));
    let mut next = 0;
    while let Some(candidate) = pool.get_mut(next) {
        if candidate.expanded {
            next += 1;
            continue;
        }
        candidate.expanded = true;
        fresh.clear();
        // A list may name nodes that were added after these chunks were taken.
        let neighbours = chunks.neighbours(candidate.node, level).iter();
        fresh.extend(neighbours.filter(|node| chunks.has(*node) && is_new(*node)));
        scores(chunks, simd, query, fresh, |node, score| {
            if pool.len() >= ef {
                if pool.last().is_some_and(|worst| score <= worst.score) {
                    return;
                }
                pool.pop();
            }
            let place = pool.partition_point(|other| other.score >= score);
            pool.insert(place, Candidate { node, score, expanded: false });
            next = next.min(place);
        });
    }
}
