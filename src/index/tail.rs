//! The part of an index that is no graph: contiguous vectors, scanned from end to end.
//!
//! While more comes in than can be linked, it gets long. Then the signs of all vectors are looked through first, and only
//! the likest rows are compared.

use std::collections::HashMap;

use super::row::{Filter, Row};
use super::signs::{Signs, by_difference};
use super::{Key, Neighbour};
use crate::embed::{Cosine, Embedding, dot};

/// Rows that are looked through for a key; beyond, a map knows where it is. Most scopes hold fewer.
const FEW: usize = 32;

/// Rows beyond which signs are looked through first.
const MANY: usize = 4096;

/// Rows that are compared then, at least, for each neighbour that is wanted. `cargo bench --bench index` says what share of the
/// nearest are among them.
const COMPARED: usize = 64;

/// A row together with the number of its insertion, by which a replaced row is told from its replacement.
#[derive(Clone)]
pub(super) struct Version<K> {
    pub(super) row: Row<K>,
    number: u64,
}

pub(super) struct Tail<K> {
    dimension: usize,
    /// Row i's vector is `vectors[i * dimension..][..dimension]`.
    vectors: Vec<f32>,
    rows: Vec<Version<K>>,
    /// Where each key's row is; none while the rows are few.
    #[expect(clippy::box_collection, reason = "most tails have none, and are small")]
    slots: Option<Box<HashMap<K, usize>>>,
    /// Of the vectors, while there are many.
    signs: Option<Box<Signs>>,
    inserted: u64,
}

/// A copy of a tail's first rows, to be worked on without holding its lock.
pub(super) struct Snapshot<K> {
    dimension: usize,
    vectors: Vec<f32>,
    rows: Vec<Version<K>>,
}

impl<K: Key> Tail<K> {
    pub(super) fn new(dimension: usize) -> Self {
        Self { dimension, vectors: Vec::new(), rows: Vec::new(), slots: None, signs: None, inserted: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Adds a row whose key isn't there yet.
    pub(super) fn push(&mut self, row: Row<K>, vector: &[f32]) {
        debug_assert_eq!(vector.len(), self.dimension);
        if self.rows.len() < FEW {
            // Most scopes don't grow, and need no room for more.
            self.rows.reserve_exact(1);
            self.vectors.reserve_exact(self.dimension);
        }
        let (key, slot) = (row.key, self.rows.len());
        self.inserted += 1;
        self.rows.push(Version { row, number: self.inserted });
        self.vectors.extend_from_slice(vector);
        match &mut self.slots {
            Some(slots) => drop(slots.insert(key, slot)),
            None if self.rows.len() > FEW => {
                let all = self.rows.iter().enumerate().map(|(slot, version)| (version.row.key, slot));
                self.slots = Some(Box::new(all.collect()));
            }
            None => {}
        }
        match &mut self.signs {
            Some(signs) => signs.push(vector),
            None if self.rows.len() > MANY => {
                self.signs = Some(Box::new(Signs::of(&self.vectors, self.dimension)));
            }
            None => {}
        }
    }

    fn slot(&self, key: &K) -> Option<usize> {
        match &self.slots {
            Some(slots) => slots.get(key).copied(),
            None => self.rows.iter().position(|version| version.row.key == *key),
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> bool {
        self.slot(key).is_some_and(|slot| {
            self.remove_slot(slot);
            true
        })
    }

    /// Removes exactly the row of this version.
    pub(super) fn remove_version(&mut self, version: &Version<K>) -> bool {
        match self.slot(&version.row.key) {
            Some(slot) if self.rows[slot].number == version.number => {
                self.remove_slot(slot);
                true
            }
            _ => false,
        }
    }

    /// Fills the gap with the last row, so that rows stay contiguous.
    fn remove_slot(&mut self, slot: usize) {
        let removed = self.rows.swap_remove(slot);
        let last = self.rows.len();
        if let Some(slots) = &mut self.slots {
            slots.remove(&removed.row.key);
            if slot < last {
                slots.insert(self.rows[slot].row.key, slot);
            }
        }
        if slot < last {
            self.vectors.copy_within(last * self.dimension..(last + 1) * self.dimension, slot * self.dimension);
        }
        self.vectors.truncate(last * self.dimension);
        if let Some(signs) = &mut self.signs {
            signs.swap_remove(slot);
        }
    }

    /// Gives back memory that rows no longer need, once that is most of it.
    pub(super) fn shrink(&mut self) {
        if self.rows.len() > self.rows.capacity() / 4 {
            return;
        }
        self.vectors.shrink_to_fit();
        self.rows.shrink_to_fit();
        if self.rows.len() <= MANY {
            self.signs = None;
        } else if let Some(signs) = &mut self.signs {
            signs.shrink();
        }
        if self.rows.len() <= FEW {
            self.slots = None;
        } else if let Some(slots) = &mut self.slots {
            slots.shrink_to_fit();
        }
    }

    /// The `k` nearest rows that `filter` lets through; among many rows, most likely.
    pub(super) fn search(&self, query: &[f32], k: usize, filter: &Filter) -> Vec<Neighbour<K>> {
        let mut best = Best { query, k, filter, found: Vec::with_capacity(k + 1) };
        let Some(signs) = self.signs.as_ref().filter(|_| self.rows.len() > MANY) else {
            let vectors = self.vectors.chunks_exact(self.dimension);
            self.rows.iter().zip(vectors).for_each(|(version, vector)| best.compare(&version.row, vector));
            return best.found;
        };
        // A filter that lets few through makes this go on until there are enough.
        for slots in by_difference(&signs.differences(query), COMPARED * k) {
            for slot in slots {
                best.compare(&self.rows[slot].row, &self.vectors[slot * self.dimension..][..self.dimension]);
            }
            if best.found.len() == k {
                break;
            }
        }
        best.found
    }

    pub(super) fn vector(&self, key: &K) -> Option<Embedding> {
        let first = self.slot(key)? * self.dimension;
        Embedding::unit(self.vectors.get(first..first + self.dimension)?.iter().copied())
    }

    /// Calls `with` for every row, with its vector.
    pub(super) fn for_each(&self, mut with: impl FnMut(&Row<K>, &[f32])) {
        let vectors = self.vectors.chunks_exact(self.dimension);
        self.rows.iter().zip(vectors).for_each(|(version, vector)| with(&version.row, vector));
    }

    /// A copy of `most` rows.
    pub(super) fn snapshot(&self, most: usize) -> Snapshot<K> {
        let rows = self.rows.len().min(most);
        let vectors = self.vectors[..rows * self.dimension].to_vec();
        Snapshot { dimension: self.dimension, vectors, rows: self.rows[..rows].to_vec() }
    }
}

/// The nearest so far.
struct Best<'q, K> {
    query: &'q [f32],
    k: usize,
    filter: &'q Filter,
    found: Vec<Neighbour<K>>,
}

impl<K: Key> Best<'_, K> {
    fn compare(&mut self, row: &Row<K>, vector: &[f32]) {
        let cosine = dot(self.query, vector);
        let enters = self.found.len() < self.k || self.found.last().is_some_and(|worst| cosine > worst.cosine.get());
        if enters && self.filter.admits(row) {
            let at = self.found.partition_point(|neighbour| neighbour.cosine.get() >= cosine);
            self.found.insert(at, Neighbour { key: row.key, cosine: Cosine::new(cosine) });
            self.found.truncate(self.k);
        }
    }
}

impl<K: Key> Snapshot<K> {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &Version<K>> {
        self.rows.iter()
    }

    pub(super) fn vectors(&self) -> impl Iterator<Item = &[f32]> {
        self.vectors.chunks_exact(self.dimension)
    }
}
