//! Would-be hits that go to the provider all the same, so that it is known how often hits are wrong.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::share::Sample;

/// Audits that estimates are made from.
const WINDOW: usize = 500;
/// Audits after which the rate is what the operator set; it falls with the square root of their number, as does what one more
/// of them tells.
const USUAL: f64 = 20.0;
/// The rate stays between these multiples of what the operator set.
const RATES: (f64, f64) = (0.2, 2.0);
/// Multiples of the rate between which the doubt about a hit decides: what seems sure is audited too.
const FOCUS: (f64, f64) = (1.0 / 3.0, 3.0);
/// The mean doubt is one over about so many would-be hits, and begins with that about this error.
const RECENT: f64 = 200.0;
const FIRST_ERROR: f64 = 0.03;
/// Nothing is surer than this.
const LEAST_ERROR: f64 = 1e-4;
/// Wrong answers that are assumed before the first audit, and how many would have been expected: the first predictions rest on
/// other traffic than this one.
const ASSUMED: (f64, f64) = (2.0, 1.5);
/// Standard deviations that the calibration keeps above what was seen.
const CAUTION: f64 = 0.5;
/// Bounds of the calibration.
const CALIBRATION: (f64, f64) = (0.7, 10.0);

/// What audits have shown of late.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Audits {
    window: VecDeque<Audit>,
    /// The same of candidates that were just not sure enough: refused, and so labelled all of them. They speak of predictions that
    /// are alike, and there are more of them than audits.
    near: VecDeque<(f32, bool)>,
    all: u64,
    /// The mean of [`doubt`] about would-be hits of late.
    mean_doubt: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Audit {
    /// Error that was predicted, before calibration.
    predicted: f32,
    /// With what probability it was drawn.
    chance: f32,
    right: bool,
}

impl Default for Audits {
    fn default() -> Self {
        Self { window: VecDeque::new(), near: VecDeque::new(), all: 0, mean_doubt: doubt(FIRST_ERROR) }
    }
}

impl Audits {
    /// The share of would-be hits that is audited, in the mean, where the operator set `usual`: more at first, less when much is
    /// known. 0 only where the operator says 0.
    #[must_use]
    pub(super) fn rate(&self, usual: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no 2^53 precision")]
        let known = (self.all as f64 + USUAL / RATES.1.powi(2)) / USUAL;
        usual * (1.0 / known.sqrt()).clamp(RATES.0, RATES.1)
    }

    /// With what probability a would-be hit with this predicted error is audited: in proportion to the doubt about it, because so, as
    /// many audits tell most about how many hits are wrong (Neyman 1934).
    #[must_use]
    pub(super) fn chance(&self, error: f64, usual: f64) -> f64 {
        (self.rate(usual) * (doubt(error) / self.mean_doubt).clamp(FOCUS.0, FOCUS.1)).min(1.0)
    }

    /// There was a would-be hit with this predicted error.
    pub(super) fn saw(&mut self, error: f64) {
        self.mean_doubt += (doubt(error) - self.mean_doubt) / RECENT;
    }

    /// The label of an audit came that was drawn with the probability `chance`.
    pub(super) fn add(&mut self, predicted: f64, chance: f64, right: bool) {
        #[expect(clippy::cast_possible_truncation, reason = "an error and a probability need no more than f32")]
        self.window.push_back(Audit { predicted: predicted as f32, chance: chance as f32, right });
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
        let all = || self.window.iter().map(|audit| (audit.predicted, audit.right)).chain(self.near.iter().copied());
        let wrong = all().filter(|(_, right)| !right).count() as f64 + ASSUMED.0;
        let expected = all().map(|(error, _)| f64::from(error)).sum::<f64>() + ASSUMED.1;
        ((wrong + CAUTION * wrong.sqrt()) / expected).clamp(CALIBRATION.0, CALIBRATION.1)
    }

    /// The audits of late, and how many were wrong: an honest estimate of wrong ÷ hits.
    #[must_use]
    pub(super) fn wrong(&self) -> Sample {
        let mut sample = Sample::default();
        self.window.iter().for_each(|audit| sample.add(f64::from(audit.chance), !audit.right));
        sample
    }

    /// Audits ever.
    #[must_use]
    pub(super) fn all(&self) -> u64 {
        self.all
    }

    /// What was known is of another time.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// How little is known of a hit with this predicted error: the standard deviation of being wrong, √(e·(1 − e)), or √e about, because
/// no hit has a large error.
fn doubt(error: f64) -> f64 {
    error.max(LEAST_ERROR).sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::share::Share;
    use super::*;

    #[test]
    fn the_rate_falls_but_never_to_nothing() {
        let mut audits = Audits::default();
        let mut before = audits.rate(0.05);
        assert!((before - 0.1).abs() < 1e-9);
        for _ in 0..5000 {
            audits.add(0.01, 0.05, true);
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
            honest.add(0.04, 0.05, n % 25 != 0);
            careless.add(0.04, 0.05, n % 6 != 0);
        }
        assert!((0.9..1.4).contains(&honest.calibration()), "{}", honest.calibration());
        assert!((3.5..5.5).contains(&careless.calibration()), "{}", careless.calibration());
        assert_eq!(honest.wrong().drawn(), Share::new(20, 500));
    }

    /// The variance of an estimate of how many hits with the errors `of` are wrong, if they are audited by `chance`, times the number of
    /// audits.
    fn variance(of: &[f64], chance: impl Fn(f64) -> f64) -> f64 {
        let audits: f64 = of.iter().map(|error| chance(*error)).sum();
        let variance: f64 = of.iter().map(|error| error * (1.0 - error) * (1.0 / chance(*error) - 1.0)).sum();
        variance * audits
    }

    #[test]
    fn doubtful_hits_are_audited_more_often_and_as_many_audits_tell_more() {
        let errors: Vec<f64> =
            (0..1000).map(|n| if n % 10 < 7 { 0.005 } else { 0.01 + 0.02 * f64::from(n % 10) }).collect();
        let mut audits = Audits::default();
        errors.iter().for_each(|error| audits.saw(*error));
        let usual = audits.rate(0.05);
        let chance = |error: f64| audits.chance(error, 0.05);
        assert!(
            chance(0.0) > usual / 4.0
                && chance(0.005) < usual
                && chance(0.19) > 2.0 * usual
                && chance(1.0) <= 3.0 * usual
        );
        let mean = errors.iter().map(|error| chance(*error)).sum::<f64>() / 1000.0;
        assert!((0.9..1.1).contains(&(mean / usual)), "{mean} {usual}");
        assert!(variance(&errors, chance) < 0.7 * variance(&errors, |_| usual));
        assert_eq!((audits.chance(0.1, 0.0), audits.chance(0.1, 1.0)), (0.0, 1.0));
        (0..100_000).for_each(|_| audits.saw(0.0));
        assert!((audits.chance(0.0, 0.05) - usual).abs() < 1e-9, "where all are as sure as can be");
    }
}
