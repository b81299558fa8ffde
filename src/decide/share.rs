//! Shares, and how sure one can be of them.

/// Normal deviates for 95 % of what may happen.
const Z: f64 = 1.959_963_985;
/// Nothing that was drawn stands for more than the inverse of this.
const LEAST_CHANCE: f64 = 1e-6;

/// So many of so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Those that count.
    pub some: u64,
    /// All.
    pub all: u64,
}

impl Share {
    /// `some` of `all`.
    #[must_use]
    pub fn new(some: u64, all: u64) -> Self {
        Self { some, all }
    }

    /// The share as it was seen, 0 of nothing.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share needs no 2^53 precision")]
    pub fn value(self) -> f64 {
        self.some as f64 / self.all.max(1) as f64
    }

    /// The 95 % interval of the share that is behind what was seen (Wilson 1927); anything from 0 to 1 of nothing.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share needs no 2^53 precision")]
    pub fn interval(self) -> (f64, f64) {
        wilson(self.value(), self.all as f64)
    }
}

/// What is known of a whole from a sample of which each was drawn with a chance of its own, and so stands for as many as one
/// divided by that chance.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    drawn: Share,
    /// Of all that were drawn, and of those that count.
    all: Weights,
    some: Weights,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Weights {
    sum: f64,
    squares: f64,
}

impl Weights {
    fn add(&mut self, weight: f64) {
        self.sum += weight;
        self.squares += weight * weight;
    }
}

impl Sample {
    /// One more was drawn, with this chance; `counts` is what is asked of it.
    pub fn add(&mut self, chance: f64, counts: bool) {
        let weight = 1.0 / chance.clamp(LEAST_CHANCE, 1.0);
        self.drawn.all += 1;
        self.all.add(weight);
        if counts {
            self.drawn.some += 1;
            self.some.add(weight);
        }
    }

    /// How many were drawn, and how many of these count.
    #[must_use]
    pub fn drawn(&self) -> Share {
        self.drawn
    }

    /// The share of the whole that counts: each that was drawn stands for its weight (Hájek 1971). 0 of nothing.
    #[must_use]
    pub fn value(&self) -> f64 {
        if self.drawn.all == 0 { 0.0 } else { self.some.sum / self.all.sum }
    }

    /// Its 95 % interval: Wilson's, of as many equal draws as would tell as much. That is (Σw)² ÷ Σw² (Kish 1965), which takes those
    /// that count to be any of them; where these are heavier ones, what they are seen to vary by (the linearised variance of the
    /// ratio), which makes it fewer.
    #[must_use]
    pub fn interval(&self) -> (f64, f64) {
        let p = self.value();
        let by_weights = self.all.sum.powi(2) / self.all.squares;
        let others = self.all.squares - self.some.squares;
        let variance = ((1.0 - p).powi(2) * self.some.squares + p * p * others) / self.all.sum.powi(2);
        let by_variance = if variance > 0.0 { p * (1.0 - p) / variance } else { by_weights };
        if self.drawn.all == 0 { (0.0, 1.0) } else { wilson(p, by_weights.min(by_variance)) }
    }
}

/// The 95 % interval around the share `p` of `n` (Wilson 1927).
fn wilson(p: f64, n: f64) -> (f64, f64) {
    if n <= 0.0 {
        return (0.0, 1.0);
    }
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).max(0.0).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((centre - half) / scale).max(0.0), ((centre + half) / scale).min(1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::draws::draws;
    use super::*;

    #[test]
    fn intervals_are_wilsons() {
        // Of Newcombe 1998, table I: 81 of 263, and 0 of 20.
        let (low, high) = Share::new(81, 263).interval();
        assert!((low - 0.2553).abs() < 1e-4 && (high - 0.3662).abs() < 1e-4, "{low} {high}");
        let (low, high) = Share::new(0, 20).interval();
        assert!(low.abs() < 1e-9 && (high - 0.1611).abs() < 1e-4, "{low} {high}");
    }

    /// Of hits, 70 % are sure and wrong in the share `sure`, the others in the share `unsure`, each kind with its chance to be
    /// drawn: how often the interval of 500 that were drawn holds the share of all that is wrong.
    fn covered(sure: f64, unsure: f64, chances: (f64, f64)) -> f64 {
        const RUNS: u32 = 2000;
        let mut draws = draws();
        let mut chance_of = |p: f64| draws.next().unwrap() < p;
        let of_sure = 0.7 * chances.0 / (0.7 * chances.0 + 0.3 * chances.1);
        let whole = 0.7 * sure + 0.3 * unsure;
        let holds = (0..RUNS).filter(|_| {
            let mut sample = Sample::default();
            for _ in 0..500 {
                let (wrong, chance) = if chance_of(of_sure) { (sure, chances.0) } else { (unsure, chances.1) };
                sample.add(chance, chance_of(wrong));
            }
            let (low, high) = sample.interval();
            low <= whole && whole <= high
        });
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let share = holds.count() as f64 / f64::from(RUNS);
        share
    }

    #[test]
    fn intervals_of_unequal_draws_hold_what_is_behind_them() {
        for (sure, unsure) in [(0.01, 0.1), (0.03, 0.03), (0.06, 0.02), (0.003, 0.003)] {
            for chances in [(0.05, 0.05), (0.02, 0.1), (0.01, 0.09), (0.1, 0.02)] {
                let covered = covered(sure, unsure, chances);
                assert!(covered > 0.92, "{sure} {unsure} {chances:?}: {covered}");
            }
        }
    }

    #[test]
    fn a_sample_that_was_drawn_evenly_is_a_share() {
        let mut sample = Sample::default();
        (0..263).for_each(|n| sample.add(0.05, n < 81));
        let (share, (low, high)) = (sample.drawn(), sample.interval());
        assert_eq!(share, Share::new(81, 263));
        assert!((sample.value() - share.value()).abs() < 1e-9);
        assert!((low - share.interval().0).abs() < 1e-9 && (high - share.interval().1).abs() < 1e-9, "{low} {high}");
        assert_eq!(Sample::default().interval(), (0.0, 1.0));
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_share(all in 0u64..10_000, part in 0.0f64..=1.0) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
            let share = Share::new((all as f64 * part) as u64, all);
            let (low, high) = share.interval();
            prop_assert!(0.0 <= low && low <= share.value() + 1e-12 && share.value() <= high + 1e-12 && high <= 1.0);
        }
    }
}
