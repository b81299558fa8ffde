//! How often something was asked for lately, about.

/// Rows of counters; an estimate is the least of an item's counters, one in each row.
const ROWS: usize = 4;
/// The most that a counter counts to.
const MAX: u8 = 15;
/// The most of what was counted before a restart: nobody knows how long ago that was.
const REMEMBERED: u8 = MAX / 2;
/// Items that are kept apart at least.
const ITEMS: usize = 1024;
/// Counters of a row per item: with fewer, items that are asked for once look as if they were asked for more often.
const SPREAD: usize = 4;
/// Counts per item after which all counters are halved, so that what was asked for long ago is forgotten.
const COUNTS: usize = 10;

/// A count-min sketch whose counters are halved from time to time: TinyLFU's (Einziger, Friedman and Manes 2017). Never
/// estimates too little, but for what it has forgotten.
pub(super) struct Sketch {
    /// [`ROWS`] times `width` counters.
    counters: Vec<u8>,
    /// Of two.
    width: usize,
    counted: usize,
}

impl Sketch {
    pub(super) fn new() -> Self {
        Self { counters: vec![0; ROWS * SPREAD * ITEMS], width: SPREAD * ITEMS, counted: 0 }
    }

    /// Keeps apart about so many items from now on.
    pub(super) fn grow(&mut self, items: usize) {
        while self.width < SPREAD * items {
            // An item's place is its hash modulo the width; in a row of twice the width it is that or that much farther.
            let rows = self.counters.chunks_exact(self.width);
            self.counters = rows.flat_map(|row| [row, row]).flatten().copied().collect();
            self.width *= 2;
        }
    }

    /// `hash` was asked for once more.
    pub(super) fn count(&mut self, hash: u128) {
        let least = self.estimate(hash);
        if least < MAX {
            for place in self.places(hash) {
                // Counters that others raised already need no raising.
                self.counters[place] = self.counters[place].max(least + 1);
            }
        }
        self.counted += 1;
        if self.counted >= COUNTS * (self.width / SPREAD) {
            self.counters.iter_mut().for_each(|counter| *counter /= 2);
            self.counted /= 2;
        }
    }

    /// `hash` was asked for so often before anything was counted.
    pub(super) fn remember(&mut self, hash: u128, times: u32) {
        let times = u8::try_from(times).unwrap_or(REMEMBERED).min(REMEMBERED);
        for place in self.places(hash) {
            self.counters[place] = self.counters[place].max(times);
        }
    }

    /// How often `hash` was asked for, up to 15.
    pub(super) fn estimate(&self, hash: u128) -> u8 {
        self.places(hash).map(|place| self.counters[place]).into_iter().min().unwrap_or(0)
    }

    /// The counters of an item. Its hash is a cryptographic one, so each quarter is a hash of its own.
    #[expect(clippy::cast_possible_truncation, reason = "a quarter is what is wanted")]
    fn places(&self, hash: u128) -> [usize; ROWS] {
        std::array::from_fn(|row| row * self.width + ((hash >> (32 * row)) as u32 as usize & (self.width - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u32) -> u128 {
        u128::from_le_bytes(blake3::hash(&n.to_le_bytes()).as_bytes()[..16].try_into().unwrap())
    }

    #[test]
    fn estimates_are_never_too_little_and_seldom_too_much() {
        let mut sketch = Sketch::new();
        sketch.grow(4000);
        (0..2000).for_each(|n| (0..=n % 5).for_each(|_| sketch.count(hash(n))));
        let wrong = (0..2000).filter(|n| sketch.estimate(hash(*n)) != (n % 5 + 1) as u8).count();
        assert!((0..2000).all(|n| sketch.estimate(hash(n)) >= (n % 5 + 1) as u8));
        assert!(wrong < 5, "{wrong}");
        sketch.grow(100_000);
        assert!((0..2000).all(|n| sketch.estimate(hash(n)) >= (n % 5 + 1) as u8));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten_like_the_rest() {
        let mut sketch = Sketch::new();
        [(0, 0), (1, 3), (2, 1_000_000)].into_iter().for_each(|(n, times)| sketch.remember(hash(n), times));
        assert_eq!([0, 1, 2].map(|n| sketch.estimate(hash(n))), [0, 3, REMEMBERED]);
        (0..4 * COUNTS * ITEMS).for_each(|n| sketch.count(hash(3 + n as u32 % 500)));
        assert!(sketch.estimate(hash(2)) < 2);
    }

    #[test]
    fn what_is_no_longer_asked_for_is_forgotten() {
        let mut sketch = Sketch::new();
        (0..10).for_each(|_| sketch.count(hash(0)));
        assert_eq!(sketch.estimate(hash(0)), 10);
        (0..4 * COUNTS * ITEMS).for_each(|n| sketch.count(hash(1 + n as u32 % 500)));
        assert!(sketch.estimate(hash(0)) < 3);
    }
}
