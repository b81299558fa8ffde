//! What builds before the first version of learned state wrote: all of it in one value, in this order.

use std::collections::{HashMap, VecDeque};

use serde::Deserialize;

use super::allocator::BudgetAllocator;
use super::answer::AnswerClass;
use super::auditor::{Audit, Auditor, MeanDoubt};
use super::calibration::Calibration;
use super::centres::Centres;
use super::drift::DriftMonitor;
use super::estimator::Estimator;
use super::features::FEATURES;
use super::knowledge::Knowledge;
use super::logistic::Example;
use super::metric::Metric;
use super::per_entry::Observations;
use super::records::Records;
use super::scatter::Scatter;
use super::source::Reliabilities;
use super::spending::SpendingState;
use super::trainer::Trainer;
use crate::store::EntryId;

/// Everything that a cache had learned.
#[derive(Deserialize)]
pub struct LearnerV0 {
    coefficients: Option<Vec<f64>>,
    examples: VecDeque<Example<FEATURES>>,
    labels: u64,
    next_fit: u64,
    generation: u64,
    records: Records,
    scatter: Scatter,
    metric: Option<Metric>,
    centres: Centres,
    allocator: BudgetAllocator,
    audits: AuditsV0,
    drift: DriftMonitor,
    alarms: u64,
    observations: HashMap<EntryId, Observations>,
    reliabilities: Reliabilities,
    joined: HashMap<EntryId, AnswerClass>,
}

#[derive(Deserialize)]
struct AuditsV0 {
    window: VecDeque<Audit>,
    near: VecDeque<(f32, bool)>,
    all: u64,
    mean_doubt: MeanDoubt,
}

impl From<LearnerV0> for (Trainer, SpendingState) {
    fn from(before: LearnerV0) -> Self {
        let LearnerV0 { coefficients, metric, records, centres, audits, .. } = before;
        let knowledge = Knowledge {
            estimator: Estimator { coefficients, metric, records, centres },
            labels: before.labels,
            auditor: Auditor::new(audits.window, audits.all),
            calibration: Calibration::new(audits.near),
            drift: before.drift,
            alarms: before.alarms,
            observations: before.observations.into_iter().collect(),
            reliabilities: before.reliabilities,
            synonyms: before.joined.into_iter().collect(),
        };
        let trainer = Trainer {
            knowledge,
            examples: before.examples,
            scatter: before.scatter,
            next_fit: before.next_fit,
            generation: before.generation,
        };
        (trainer, SpendingState { allocator: before.allocator, mean_doubt: audits.mean_doubt })
    }
}
