//! Whether answers have changed: labels that say so, and when they no longer do.

use serde::{Deserialize, Serialize};

use super::tunables::DriftTunables;

/// Page's test (Page 1954, Biometrika 41) over all labels of best candidates, each with the probability that was predicted for
/// it: the sum of log-likelihood ratios of “a right answer is now right only a third of the time” against “predictions hold”, never
/// below 0. Unlike a test of audits alone it hears misses too, and sounds within some ten of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct DriftMonitor {
    evidence: f64,
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
enum State {
    #[default]
    Quiet,
    /// Nothing near is served; what would be is labelled.
    Alarm {
        /// Labels of would-be hits since the last bad stretch.
        labels: u32,
        wrong: u32,
        expected: f64,
    },
}

/// What a label changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// Predictions no longer hold.
    Sounded,
    /// They hold again.
    Cleared,
}

impl DriftMonitor {
    /// Whether only exact texts are answered.
    #[must_use]
    pub(super) fn is_alarmed(&self) -> bool {
        matches!(self.state, State::Alarm { .. })
    }

    /// How near the alarm is, from 0 to 1.
    #[must_use]
    pub(super) fn level(&self, tunables: &DriftTunables) -> f64 {
        if self.is_alarmed() { 1.0 } else { (self.evidence / tunables.alarm).clamp(0.0, 1.0) }
    }

    /// How many times as many audits as usual there are to be.
    #[must_use]
    pub(super) fn urgency(&self, tunables: &DriftTunables) -> f64 {
        let DriftTunables { suspicion, urgent, .. } = *tunables;
        1.0 + (urgent - 1.0) * ((self.level(tunables) - suspicion) / (1.0 - suspicion)).max(0.0)
    }

    /// A best candidate that was predicted to be right with the probability `predicted` was right, or wasn't. `would_hit`: it
    /// would have been served, but for an audit or the alarm.
    pub(super) fn add(&mut self, predicted: f64, right: bool, would_hit: bool, tunables: &DriftTunables) -> Change {
        match &mut self.state {
            State::Quiet => self.listen(predicted, right, tunables),
            State::Alarm { labels, wrong, expected } => {
                if !would_hit {
                    return Change::None;
                }
                *labels += 1;
                *wrong += u32::from(!right);
                *expected += 1.0 - predicted;
                let tolerable = *expected + 1.64 * expected.sqrt() + 0.5;
                if f64::from(*wrong) > tolerable + 1.0 {
                    (*labels, *wrong, *expected) = (0, 0, 0.0);
                } else if *labels >= tunables.clearing && f64::from(*wrong) <= tolerable {
                    *self = Self::default();
                    return Change::Cleared;
                }
                Change::None
            }
        }
    }

    fn listen(&mut self, predicted: f64, right: bool, tunables: &DriftTunables) -> Change {
        let DriftTunables { still_right, surest, .. } = *tunables;
        if predicted < tunables.hopeless {
            return Change::None;
        }
        let p = predicted.clamp(1.0 - surest, surest);
        let if_wrong = || ((1.0 - still_right * p) / (1.0 - p)).ln().min(tunables.max_weight);
        let ratio = if right { still_right.ln() } else { if_wrong() };
        self.evidence = (self.evidence + ratio).max(0.0);
        if self.evidence < tunables.alarm {
            return Change::None;
        }
        *self = Self { evidence: 0.0, state: State::Alarm { labels: 0, wrong: 0, expected: 0.0 } };
        Change::Sounded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tunables::Tunables;

    fn tunables() -> &'static DriftTunables {
        &Tunables::shipped().drift
    }

    /// Labels that are right as often as `p` says, or `kept` times as often, without chance: fractions add up.
    fn labels(p: f64, kept: f64, count: usize) -> impl Iterator<Item = bool> {
        let mut due = 0.5;
        std::iter::repeat_with(move || {
            due += p * kept;
            let right = due >= 1.0;
            due -= f64::from(u8::from(right));
            right
        })
        .take(count)
    }

    #[test]
    fn predictions_that_hold_never_sound_it() {
        for p in [0.05, 0.3, 0.6, 0.9, 0.97] {
            let mut drift = DriftMonitor::default();
            assert!(labels(p, 1.0, 5000).all(|right| drift.add(p, right, p > 0.8, tunables()) == Change::None), "{p}");
        }
    }

    #[test]
    fn changed_answers_sound_it_soon() {
        for (p, most) in [(0.3, 90), (0.6, 32), (0.97, 8)] {
            let mut drift = DriftMonitor::default();
            for right in labels(p, 1.0, 500) {
                assert_eq!(drift.add(p, right, true, tunables()), Change::None);
            }
            let after = labels(p, 0.0, 500).position(|right| drift.add(p, right, true, tunables()) == Change::Sounded);
            assert!(after.is_some_and(|after| after < most), "{p}: {after:?}");
        }
    }

    #[test]
    fn the_nearer_the_alarm_the_more_is_audited() {
        let mut drift = DriftMonitor::default();
        for right in labels(0.97, 1.0, 500) {
            drift.add(0.97, right, true, tunables());
            assert!(drift.urgency(tunables()) < 1.1);
        }
        let mut last = drift.urgency(tunables());
        while drift.add(0.97, false, true, tunables()) != Change::Sounded {
            assert!(drift.urgency(tunables()) >= last);
            last = drift.urgency(tunables());
        }
        assert!(last > tunables().urgent / 2.0 && last < tunables().urgent, "{last}");
    }

    #[test]
    fn only_good_labels_of_would_be_hits_clear_it() {
        let mut drift = DriftMonitor::default();
        while drift.add(0.95, false, true, tunables()) != Change::Sounded {}
        for _ in 0..100 {
            assert_eq!(drift.add(0.3, true, false, tunables()), Change::None);
            assert_eq!(drift.add(0.95, false, true, tunables()), Change::None);
        }
        let cleared = (1..).find(|_| drift.add(0.95, true, true, tunables()) == Change::Cleared);
        assert!(
            cleared.is_some_and(|labels| (tunables().clearing - 1..tunables().clearing + 3).contains(&labels)),
            "{cleared:?}"
        );
        assert!(!drift.is_alarmed());
    }
}
