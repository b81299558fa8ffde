//! What lookups go by of all that a cache has learned.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::answer::AnswerClass;
use super::auditor::Auditor;
use super::bounded::BoundedMap;
use super::calibration::Calibration;
use super::classes::AnswerClasses;
use super::drift::DriftMonitor;
use super::estimator::Estimator;
use super::params::PolicyParams;
use super::per_entry::Observations;
use super::source::{LabelSource, Reliabilities};
use super::tunables::Tunables;
use crate::store::EntryId;

/// Entries of which the per-entry policy keeps observations, and those whose answers are known to say the same as others do.
/// Arbitrary.
pub(super) const MAX_ENTRIES: usize = 50_000;

/// What a cache has learned: decisions are made from it and don't change it. Policies share it, so that nothing is lost where the
/// operator chooses another one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Knowledge {
    pub(super) estimator: Estimator,
    /// Labels that it has learned from, since the last alarm.
    pub(super) labels: u64,
    pub(super) auditor: Auditor,
    pub(super) calibration: Calibration,
    pub(super) drift: DriftMonitor,
    pub(super) alarms: u64,
    pub(super) observations: BoundedMap<EntryId, Arc<Observations>, MAX_ENTRIES>,
    pub(super) reliabilities: Reliabilities,
    /// Entries whose answers were found to say the same as others do, by builds before answers had classes.
    pub(super) synonyms: BoundedMap<EntryId, AnswerClass, MAX_ENTRIES>,
    pub(super) classes: AnswerClasses,
}

impl Knowledge {
    /// The class of an entry's answer: its own, or that of an answer that it was found to say the same as.
    #[must_use]
    pub fn class(&self, entry: &EntryId, own: AnswerClass) -> AnswerClass {
        self.classes.whole(self.synonyms.get(entry).copied().unwrap_or(own))
    }

    /// Whether two answers say the same, as far as that is known.
    #[must_use]
    pub fn agree(&self, a: AnswerClass, b: AnswerClass) -> Option<bool> {
        self.classes.agree(a, b)
    }

    /// Whether anything is known of an entry itself.
    #[must_use]
    pub fn knows(&self, entry: &EntryId) -> bool {
        self.observations.get(entry).is_some() || self.synonyms.get(entry).is_some()
    }

    /// How often labels of `source` are right; see [`Reliabilities`].
    #[must_use]
    pub fn reliability(&self, source: LabelSource, set: Option<f64>) -> f64 {
        self.reliabilities.of(source, set)
    }

    /// The usual share of would-be hits that is audited: what the operator set, and more where answers seem to have changed.
    pub(super) fn usual_audits(&self, params: &PolicyParams) -> f64 {
        params.audit_rate * self.drift.urgency(&params.tunables.drift)
    }

    /// What predicted errors are multiplied by: what audits say, and more while few labels are behind what was learned.
    #[expect(clippy::cast_precision_loss, reason = "a factor")]
    pub(super) fn calibration(&self, tunables: &Tunables) -> f64 {
        let youth = tunables.calibration.youth;
        let is_fitted = self.estimator.coefficients.is_some();
        let young = if is_fitted { 1.0 + youth / (self.labels as f64 + youth / 2.0) } else { 1.0 };
        self.calibration.factor(&self.auditor, &tunables.calibration) * young
    }
}
