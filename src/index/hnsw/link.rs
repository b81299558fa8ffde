//! Giving a node its neighbours.

use super::super::codes::Query;
use super::beam::{self, Scratch};
use super::chunk::{self, Chunks};
use super::{BASE_LINKS, EF_LINKING, Entry, Hnsw, LINKS, Node, STRIPES, Scored};

/// Of four neighbours of a full list, those that stay when it makes room.
const KEPT: usize = 3;

impl Hnsw {
    pub(super) fn link_one(&self, node: Node, scratch: &mut Scratch) {
        let chunks = self.chunks.read().clone();
        let highest = chunk::level(node);
        let Some(entry) = self.enter(node, highest) else { return };
        let query = Query::of(chunks.codes(node));
        let mut at = beam::descend(&chunks, self.simd, &query, entry, highest, scratch);
        let mut chosen = Vec::with_capacity(highest + 1);
        for level in (0..=highest.min(entry.level)).rev() {
            beam::near(&chunks, self.simd, &query, at, level, EF_LINKING, scratch);
            let step = chunks.step(node);
            let others = scratch.found().filter(|(other, _)| *other != node);
            let scored: Vec<Scored> = others.map(|(other, score)| (other, score * step)).collect();
            at = scored.first().map_or(at, |(nearest, _)| *nearest);
            chosen.push((level, self.choose(&chunks, scored.into_iter(), LINKS)));
        }
        for (level, others) in &chosen {
            let _lock = self.stripe(node).lock();
            chunks.neighbours(node, *level).set(others.iter().map(|(other, _)| *other));
        }
        // From the lowest level up: a search that comes by on one must find neighbours on those below.
        for (level, others) in chosen.into_iter().rev() {
            for (other, score) in others {
                self.link_back(&chunks, other, (node, score), level);
            }
        }
        let mut entry = self.entry.write();
        if entry.is_some_and(|entry| highest > entry.level) {
            *entry = Some(Entry { node, level: highest });
        }
    }

    /// Where to begin; none for the first node of all, which becomes the entry.
    fn enter(&self, node: Node, level: usize) -> Option<Entry> {
        let known = *self.entry.read();
        known.or_else(|| {
            let mut entry = self.entry.write();
            if entry.is_none() {
                *entry = Some(Entry { node, level });
                return None;
            }
            *entry
        })
    }

    /// Makes `new` a neighbour of `node`, whose other neighbours may have to make room.
    fn link_back(&self, chunks: &Chunks, node: Node, new: Scored, level: usize) {
        let _lock = self.stripe(node).lock();
        let neighbours = chunks.neighbours(node, level);
        if neighbours.iter().any(|other| other == new.0) || neighbours.push(new.0) {
            return;
        }
        let query = Query::of(chunks.codes(node));
        let step = chunks.step(node);
        let nodes: Vec<Node> = neighbours.iter().filter(|node| chunks.has(*node)).collect();
        let mut candidates = vec![new];
        beam::scores(chunks, self.simd, &query, &nodes, |other, score| candidates.push((other, score * step)));
        candidates.sort_by(|a, b| b.1.total_cmp(&a.1));
        let chosen = self.choose(chunks, candidates.iter().copied(), neighbours.capacity());
        // The others that are near stay too, but for some room: one that no list names any more is never found again.
        let is_chosen = |node: Node| chosen.iter().any(|(other, _)| *other == node);
        let others = candidates.iter().map(|(other, _)| *other).filter(|other| !is_chosen(*other));
        let kept = chosen.iter().map(|(other, _)| *other).chain(others).take(neighbours.capacity() * KEPT / 4);
        neighbours.set(kept);
    }

    /// At most `most` of `candidates`, which come nearest first: each that is nearer to the node than to all that were
    /// chosen before it, so that the chosen lie in different directions (algorithm 4 of the paper).
    fn choose(&self, chunks: &Chunks, candidates: impl Iterator<Item = Scored>, most: usize) -> Vec<Scored> {
        let mut chosen: Vec<Scored> = Vec::with_capacity(most);
        let mut nodes: Vec<Node> = Vec::with_capacity(BASE_LINKS);
        let mut query = Query::of(&[]);
        for (candidate, score) in candidates {
            if chosen.len() == most {
                break;
            }
            query.set(chunks.codes(candidate));
            let step = chunks.step(candidate);
            let mut is_apart = true;
            beam::scores(chunks, self.simd, &query, &nodes, |_, other| is_apart &= other * step <= score);
            if is_apart {
                chosen.push((candidate, score));
                nodes.push(candidate);
            }
        }
        chosen
    }

    fn stripe(&self, Node(node): Node) -> &parking_lot::Mutex<()> {
        &self.stripes[node as usize % STRIPES]
    }
}
