//! What is told about what a cache has learned.

use serde::Serialize;

use super::knowledge::Knowledge;
use super::params::PolicyParams;
use super::share::Sample;
use super::spending::Spending;
use super::tunables::Tunables;

/// What is told about what a cache has learned.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LearnerStatus {
    /// Labels that it has learned from, since the last alarm.
    pub labels: u64,
    /// Audits of would-be hits, since the last alarm.
    pub audits: u64,
    /// Audits of late, and how many of these would have been wrong.
    #[serde(skip)]
    pub recent_audits: Sample,
    /// The largest predicted error that is served now.
    pub cut: f64,
    /// What predicted errors are multiplied by, from audits.
    pub calibration: f64,
    /// The share of would-be hits that is audited now, in the mean.
    pub audit_rate: f64,
    /// How near an alarm is, from 0 to 1.
    pub drift: f64,
    /// Whether only exact texts are answered, because answers have changed.
    pub alarmed: bool,
    /// How often that was so.
    pub alarms: u64,
    /// Entries that aren't served to near prompts, because an answer of theirs was reported wrong.
    pub quarantined: usize,
}

impl LearnerStatus {
    /// How learning stands, under `params`, with so many entries in quarantine.
    #[must_use]
    pub fn new(knowledge: &Knowledge, spending: &Spending, params: &PolicyParams, quarantined: usize) -> Self {
        let Tunables { audit, drift, .. } = params.tunables;
        Self {
            labels: knowledge.labels,
            audits: knowledge.auditor.all(),
            recent_audits: knowledge.auditor.wrong(),
            cut: spending.cut(),
            calibration: knowledge.calibration(params.tunables),
            audit_rate: knowledge.auditor.rate(knowledge.usual_audits(params), audit).min(1.0),
            drift: knowledge.drift.level(drift),
            alarmed: knowledge.drift.is_alarmed(),
            alarms: knowledge.alarms,
            quarantined,
        }
    }
}
