//! Would-be hits that go to the provider all the same, so that it is known how often hits are wrong.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::share::Share;

/// Audits that estimates are made from.
const WINDOW: usize = 500;
/// Audits after which the rate is what the operator set; it falls with the square root of their number, as does what one more
/// of them tells.
const USUAL: f64 = 20.0;
/// The rate stays between these multiples of what the operator set.
const RATES: (f64, f64) = (0.2, 2.0);
/// Wrong answers that are assumed before the first audit, and how many would have been expected: the first predictions rest on
/// other traffic than this one.
const ASSUMED: (f64, f64) = (2.0, 1.5);
/// Standard deviations that the calibration keeps above what was seen.
const CAUTION: f64 = 0.5;
/// Bounds of the calibration.
const CALIBRATION: (f64, f64) = (0.7, 10.0);

/// What audits have shown of late.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Audits {
    /// Error that was predicted, before calibration, and whether the answer was right.
    window: VecDeque<(f32, bool)>,
    /// The same of candidates that were just not sure enough: refused, and so labelled all of them. They speak of predictions that
    /// are alike, and there are more of them than audits.
    near: VecDeque<(f32, bool)>,
    all: u64,
}

impl Audits {
    /// The share of would-be hits that is audited, where the operator set `usual`: more at first, less when much is known. 0 only
    /// where the operator says 0.
    #[must_use]
    pub(super) fn rate(&self, usual: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no 2^53 precision")]
        let known = (self.all as f64 + USUAL / RATES.1.powi(2)) / USUAL;
        usual * (1.0 / known.sqrt()).clamp(RATES.0, RATES.1)
    }

    /// An audit's label came.
    pub(super) fn add(&mut self, predicted: f64, right: bool) {
        #[expect(clippy::cast_possible_truncation, reason = "an error needs no more than f32")]
        self.window.push_back((predicted as f32, right));
        if self.window.len() > WINDOW {
            self.window.pop_front();
        }
        self.all += 1;
    }

    /// The label of a candidate came that was just not sure enough.
    pub(super) fn add_near(&mut self, predicted: f64, right: bool) {
        #[expect(clippy::cast_possible_truncation, reason = "an error needs no more than f32")]
        self.near.push_back((predicted as f32, right));
        if self.near.len() > WINDOW {
            self.near.pop_front();
        }
    }

    /// What predicted errors have to be multiplied by: wrong ÷ expected to be wrong, with caution.
    #[must_use]
    pub(super) fn calibration(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a window's length")]
        let near_wrong = self.near.iter().filter(|(_, right)| !right).count() as f64;
        let sum = |window: &VecDeque<(f32, bool)>| window.iter().map(|(error, _)| f64::from(*error)).sum::<f64>();
        let wrong = self.wrong().some as f64 + near_wrong + ASSUMED.0;
        let expected = sum(&self.window) + sum(&self.near) + ASSUMED.1;
        ((wrong + CAUTION * wrong.sqrt()) / expected).clamp(CALIBRATION.0, CALIBRATION.1)
    }

    /// Wrong ÷ audited, of late: an honest estimate of wrong ÷ hits.
    #[must_use]
    pub(super) fn wrong(&self) -> Share {
        let wrong = self.window.iter().filter(|(_, right)| !right).count() as u64;
        Share::new(wrong, self.window.len() as u64)
    }

    /// Audits ever.
    #[must_use]
    pub(super) fn all(&self) -> u64 {
        self.all
    }

    /// What was known is of another time.
    pub(super) fn forget(&mut self) {
        self.window.clear();
        self.near.clear();
        self.all = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_but_never_to_nothing() {
        let mut audits = Audits::default();
        let mut before = audits.rate(0.05);
        assert!((before - 0.1).abs() < 1e-9);
        for _ in 0..5000 {
            audits.add(0.01, true);
            assert!(audits.rate(0.05) <= before);
            before = audits.rate(0.05);
        }
        assert!((before - 0.01).abs() < 1e-9);
        assert_eq!(audits.rate(0.0), 0.0);
    }

    #[test]
    fn calibration_follows_what_was_seen() {
        let mut honest = Audits::default();
        let mut careless = Audits::default();
        for n in 0..500 {
            honest.add(0.04, n % 25 != 0);
            careless.add(0.04, n % 6 != 0);
        }
        assert!((0.9..1.4).contains(&honest.calibration()), "{}", honest.calibration());
        assert!((3.5..5.5).contains(&careless.calibration()), "{}", careless.calibration());
        assert_eq!(honest.wrong(), Share::new(20, 500));
    }
}
