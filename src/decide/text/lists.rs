//! Several lists of hashes in one piece of memory.

/// `N` lists, one behind the other: what is compared with many others shouldn't lie about.
#[derive(Debug, Clone)]
pub(super) struct Lists<const N: usize> {
    all: Box<[u64]>,
    /// Where each ends.
    ends: [usize; N],
}

impl<const N: usize> Lists<N> {
    pub(super) fn of(lists: [&mut dyn Iterator<Item = u64>; N]) -> Self {
        let mut all = Vec::new();
        let ends = lists.map(|list| {
            all.extend(list);
            all.len()
        });
        Self { all: all.into(), ends }
    }

    /// The list at a place.
    pub(super) fn at(&self, place: usize) -> &[u64] {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.all[start..self.ends[place]]
    }
}

/// Hashes in their order, each once.
pub(super) fn sorted(hashes: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut sorted: Vec<u64> = hashes.collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
}

/// Of two sorted lists: what both have ÷ what either has; 1 where there is nothing.
pub(super) fn overlap([a, b]: [&[u64]; 2]) -> f32 {
    let (mut i, mut j, mut both) = (0, 0, 0usize);
    while let (Some(first), Some(second)) = (a.get(i), b.get(j)) {
        both += usize::from(first == second);
        i += usize::from(first <= second);
        j += usize::from(second <= first);
    }
    let either = a.len() + b.len() - both;
    #[expect(clippy::cast_precision_loss, reason = "a share of words")]
    let share = both as f32 / either.max(1) as f32;
    if either == 0 { 1.0 } else { share }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lists_are_kept_apart(lists: [Vec<u64>; 3]) {
            let [a, b, c] = lists.clone();
            let together = Lists::of([&mut a.into_iter(), &mut b.into_iter(), &mut c.into_iter()]);
            prop_assert_eq!([0, 1, 2].map(|place| together.at(place).to_vec()), lists);
        }

        #[test]
        fn overlaps_are_those_of_sets(a in prop::collection::vec(0u64..9, 0..9), b in prop::collection::vec(0u64..9, 0..9)) {
            let [x, y] = [&a, &b].map(|list| list.iter().copied().collect::<BTreeSet<u64>>());
            let either = x.union(&y).count();
            let expected = if either == 0 { 1.0 } else { x.intersection(&y).count() as f32 / either as f32 };
            let [a, b] = [a, b].map(|list| sorted(list.into_iter()));
            prop_assert_eq!(overlap([&a, &b]), expected);
        }
    }
}
