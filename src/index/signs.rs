//! Vectors by the signs of their components: a bit each, so that a long list is looked through in a tenth of the time.
//!
//! Two unit vectors at an angle θ differ in about θ/π of their signs. Those that differ in the fewest are compared exactly.

use super::simd::Simd;

/// Bits of a word.
const BITS: usize = u64::BITS as usize;

/// The signs of some rows' vectors.
pub(super) struct Signs {
    /// Words of a row.
    stride: usize,
    words: Vec<u64>,
}

impl Signs {
    /// Of `vectors`, which are `dimension` long each and follow each other.
    pub(super) fn of(vectors: &[f32], dimension: usize) -> Self {
        let stride = dimension.div_ceil(BITS);
        let mut signs = Self { stride, words: Vec::with_capacity(vectors.len() / dimension * stride) };
        vectors.chunks_exact(dimension).for_each(|vector| signs.push(vector));
        signs
    }

    pub(super) fn push(&mut self, vector: &[f32]) {
        self.words.extend(words_of(vector));
    }

    /// Fills the gap that the row at `slot` leaves with the last row.
    pub(super) fn swap_remove(&mut self, slot: usize) {
        let last = self.words.len() - self.stride;
        self.words.copy_within(last.., slot * self.stride);
        self.words.truncate(last);
    }

    pub(super) fn shrink(&mut self) {
        self.words.shrink_to_fit();
    }

    /// In how many signs each row differs from `query`.
    pub(super) fn differences(&self, query: &[f32]) -> Vec<u16> {
        let query: Vec<u64> = words_of(query).collect();
        let mut out = vec![0; self.words.len() / self.stride];
        Simd::best().sign_differences(&query, &self.words, &mut out);
        out
    }
}

fn words_of(vector: &[f32]) -> impl Iterator<Item = u64> {
    vector
        .chunks(BITS)
        .map(|part| part.iter().enumerate().fold(0, |word, (bit, x)| word | (u64::from(*x > 0.0) << bit)))
}

/// The rows in order of how much they differ, in groups that are each as much again as all before: of `differences`, the
/// slots of those that differ least, `first` at least, then of those that differ a little more.
pub(super) fn by_difference(differences: &[u16], first: usize) -> impl Iterator<Item = Vec<usize>> {
    let most = differences.iter().copied().max().map_or(0, usize::from);
    let mut counts = vec![0usize; most + 1];
    differences.iter().for_each(|difference| counts[usize::from(*difference)] += 1);
    let (mut from, mut seen) = (0usize, 0usize);
    std::iter::from_fn(move || {
        if from > most {
            return None;
        }
        let (mut until, mut in_group) = (from, 0);
        while until <= most && in_group < first.max(seen) {
            in_group += counts[until];
            until += 1;
        }
        let group = from..until;
        (from, seen) = (until, seen + in_group);
        let slots = differences.iter().enumerate().filter(|(_, difference)| group.contains(&usize::from(**difference)));
        Some(slots.map(|(slot, _)| slot).collect())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_that_come_and_go_keep_their_signs(
            rows in prop::collection::vec(prop::collection::vec(-1.0f32..1.0, 70), 1..20),
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
            query in prop::collection::vec(-1.0f32..1.0, 70),
        ) {
            let mut signs = Signs::of(&rows.concat(), 70);
            let mut rows = rows;
            for gone in gone {
                if rows.len() > 1 {
                    let slot = gone.index(rows.len());
                    rows.swap_remove(slot);
                    signs.swap_remove(slot);
                }
            }
            let differ = |row: &Vec<f32>| row.iter().zip(&query).filter(|(a, b)| (**a > 0.0) != (**b > 0.0)).count();
            let expected: Vec<u16> = rows.iter().map(|row| u16::try_from(differ(row)).unwrap()).collect();
            prop_assert_eq!(signs.differences(&query), expected);
        }

        #[test]
        fn groups_hold_every_row_once_and_the_likest_first(
            differences in prop::collection::vec(0u16..50, 0..200),
            first in 1usize..20,
        ) {
            let groups: Vec<Vec<usize>> = by_difference(&differences, first).collect();
            let mut all: Vec<usize> = groups.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..differences.len()).collect::<Vec<_>>());
            for pair in groups.windows(2) {
                let farthest = pair[0].iter().map(|slot| differences[*slot]).max();
                prop_assert!(pair[1].iter().all(|slot| Some(differences[*slot]) > farthest));
            }
            if let Some(group) = groups.first() {
                prop_assert!(group.len() >= first.min(differences.len()));
            }
        }
    }
}
