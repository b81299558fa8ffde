//! Would-be hits that go to the provider all the same, so that it is known how often hits are wrong.

use serde::{Deserialize, Serialize};

use super::share::Sample;
use super::tunables::AuditTunables;
use super::window::{Predicted, Sums, Window};

/// What audits have shown of late.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Auditor {
    window: Window<Audit>,
    all: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Audit {
    /// Error that was predicted, before calibration.
    predicted: f32,
    /// With what probability it was sampled.
    chance: f32,
    right: bool,
}

impl Predicted for Audit {
    fn error(&self) -> f32 {
        self.predicted
    }

    fn is_right(&self) -> bool {
        self.right
    }
}

/// The mean [`doubt`] about would-be hits of late.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct MeanDoubt(f64);

impl MeanDoubt {
    pub(super) fn new(tunables: &AuditTunables) -> Self {
        Self(doubt(tunables.first_error, tunables))
    }

    /// There was a would-be hit with this predicted error.
    pub(super) fn add(&mut self, error: f64, tunables: &AuditTunables) {
        self.0 += (doubt(error, tunables) - self.0) / tunables.doubt_over;
    }
}

impl Auditor {
    pub(super) fn new(window: Window<Audit>, all: u64) -> Self {
        Self { window, all }
    }

    /// The share of would-be hits that is audited, in the mean, where the operator set `usual`: more at first, less when much is
    /// known. 0 only where the operator says 0.
    #[must_use]
    pub(super) fn rate(&self, usual: f64, tunables: &AuditTunables) -> f64 {
        let (least, most) = tunables.rates;
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no 2^53 precision")]
        let known = (self.all as f64 + tunables.usual_after / most.powi(2)) / tunables.usual_after;
        usual * (1.0 / known.sqrt()).clamp(least, most)
    }

    /// With what probability a would-be hit with this predicted error is audited: in proportion to the doubt about it, because so, as
    /// many audits tell most about how many hits are wrong (Neyman 1934).
    #[must_use]
    pub(super) fn chance(&self, error: f64, usual: f64, mean: MeanDoubt, tunables: &AuditTunables) -> f64 {
        let (least, most) = tunables.focus;
        (self.rate(usual, tunables) * (doubt(error, tunables) / mean.0).clamp(least, most)).min(1.0)
    }

    /// The label of an audit came that was sampled with the probability `chance`.
    pub(super) fn add(&mut self, predicted: f64, chance: f64, right: bool, tunables: &AuditTunables) {
        #[expect(clippy::cast_possible_truncation, reason = "an error and a probability need no more than f32")]
        let audit = Audit { predicted: predicted as f32, chance: chance as f32, right };
        self.window.add(audit, tunables.window);
        self.all += 1;
    }

    /// How many audits of late were wrong, and how many were predicted to be.
    pub(super) fn sums(&self) -> Sums {
        self.window.sums()
    }

    /// The audits of late, and how many were wrong: an honest estimate of wrong ÷ hits.
    #[must_use]
    pub(super) fn wrong(&self) -> Sample {
        let mut sample = Sample::default();
        self.window.iter().for_each(|audit| sample.add(f64::from(audit.chance), !audit.right));
        sample
    }

    /// Audits ever, since the last alarm.
    #[must_use]
    pub(super) fn all(&self) -> u64 {
        self.all
    }
}

/// How little is known of a hit with this predicted error: the standard deviation of being wrong, √(e·(1 − e)), or √e about, because
/// no hit has a large error.
fn doubt(error: f64, tunables: &AuditTunables) -> f64 {
    error.max(tunables.least_error).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Share;
    use crate::decide::tunables::Tunables;

    fn tunables() -> &'static AuditTunables {
        &Tunables::shipped().audit
    }

    #[test]
    fn the_rate_falls_but_never_to_nothing() {
        let mut auditor = Auditor::default();
        let mut before = auditor.rate(0.05, tunables());
        assert!((before - 0.1).abs() < 1e-9);
        for _ in 0..5000 {
            auditor.add(0.01, 0.05, true, tunables());
            assert!(auditor.rate(0.05, tunables()) <= before);
            before = auditor.rate(0.05, tunables());
        }
        assert!((before - 0.01).abs() < 1e-9);
        assert_eq!(auditor.rate(0.0, tunables()), 0.0);
    }

    #[test]
    fn only_recent_audits_are_estimated_from() {
        let mut auditor = Auditor::default();
        (0..500).for_each(|n| auditor.add(0.04, 0.05, n % 25 != 0, tunables()));
        assert_eq!((auditor.wrong().drawn(), auditor.all()), (Share::new(20, 500), 500));
        (0..500).for_each(|_| auditor.add(0.04, 0.05, true, tunables()));
        assert_eq!((auditor.wrong().drawn(), auditor.all()), (Share::new(0, 500), 1000));
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
        let (auditor, mut mean) = (Auditor::default(), MeanDoubt::new(tunables()));
        errors.iter().for_each(|error| mean.add(*error, tunables()));
        let usual = auditor.rate(0.05, tunables());
        let chance = |error: f64| auditor.chance(error, 0.05, mean, tunables());
        assert!(
            chance(0.0) > usual / 4.0
                && chance(0.005) < usual
                && chance(0.19) > 2.0 * usual
                && chance(1.0) <= 3.0 * usual
        );
        let of_all = errors.iter().map(|error| chance(*error)).sum::<f64>() / 1000.0;
        assert!((0.9..1.1).contains(&(of_all / usual)), "{of_all} {usual}");
        assert!(variance(&errors, chance) < 0.7 * variance(&errors, |_| usual));
        let at = |usual| auditor.chance(0.1, usual, mean, tunables());
        assert_eq!((at(0.0), at(1.0)), (0.0, 1.0));
        (0..100_000).for_each(|_| mean.add(0.0, tunables()));
        let sure = auditor.chance(0.0, 0.05, mean, tunables());
        assert!((sure - usual).abs() < 1e-9, "where all are as sure as can be");
    }
}
