//! Whether predicted errors come true, and what they have to be multiplied by.

use serde::{Deserialize, Serialize};

use super::auditor::Auditor;
use super::tunables::CalibrationTunables;
use super::window::{Sums, Window};

/// What became of predictions of late, beside what [`Auditor`] knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Calibration {
    /// Candidates that were just not sure enough: the error that was predicted of each, and whether it was right. They were
    /// rejected, and so all of them are labelled. They speak of predictions that are alike, and there are more of them than audits.
    near: Window<(f32, bool)>,
}

impl Calibration {
    pub(super) fn new(near: Window<(f32, bool)>) -> Self {
        Self { near }
    }

    /// The label of a candidate came that was just not sure enough.
    pub(super) fn add_near(&mut self, predicted: f64, right: bool, tunables: &CalibrationTunables) {
        #[expect(clippy::cast_possible_truncation, reason = "an error needs no more than f32")]
        self.near.add((predicted as f32, right), tunables.window);
    }

    /// What predicted errors have to be multiplied by: wrong ÷ expected to be wrong, with caution.
    #[must_use]
    pub(super) fn factor(&self, auditor: &Auditor, tunables: &CalibrationTunables) -> f64 {
        let Sums { wrong, expected } = auditor.sums() + self.near.sums();
        let (assumed_wrong, assumed_expected) = tunables.assumed;
        #[expect(clippy::cast_precision_loss, reason = "a window's length")]
        let (wrong, expected) = (wrong as f64 + assumed_wrong, expected + assumed_expected);
        let (least, most) = tunables.bounds;
        ((wrong + tunables.caution * wrong.sqrt()) / expected).clamp(least, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tunables::Tunables;

    #[test]
    fn it_follows_what_audits_show_and_what_was_nearly_served() {
        let Tunables { audit, calibration: tunables, .. } = Tunables::shipped();
        let (mut honest, mut careless) = (Auditor::default(), Auditor::default());
        for n in 0..500 {
            honest.add(0.04, 0.05, n % 25 != 0, audit);
            careless.add(0.04, 0.05, n % 6 != 0, audit);
        }
        let mut calibration = Calibration::default();
        let factor = |calibration: &Calibration, auditor| calibration.factor(auditor, tunables);
        let of_honest = factor(&calibration, &honest);
        assert!((0.9..1.4).contains(&of_honest), "{of_honest}");
        assert!((3.5..5.5).contains(&factor(&calibration, &careless)));
        (0..500).for_each(|n| calibration.add_near(0.04, n % 6 != 0, tunables));
        assert!(factor(&calibration, &honest) > 1.5 * of_honest);
    }
}
