//! What builds before the first version of learned state wrote: all of it in one value, in this order.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use serde::Deserialize;

use super::allocator::BudgetAllocator;
use super::answer::AnswerClass;
use super::auditor::{Audit, Auditor, MeanDoubt};
use super::calibration::Calibration;
use super::centres::Centres;
use super::classes::AnswerClasses;
use super::drift::DriftMonitor;
use super::estimator::Estimator;
use super::features::FEATURES;
use super::knowledge::Knowledge;
use super::logistic::Example;
use super::metric::Metric;
use super::per_entry::Observations;
use super::records::{Record, Records};
use super::scatter::Scatter;
use super::source::Reliabilities;
use super::spending::SpendingState;
use super::trainer::Trainer;
use super::window::Window;
use crate::store::EntryId;

/// Everything that a cache had learned.
#[derive(Deserialize)]
pub struct LearnerV0 {
    coefficients: Option<Vec<f64>>,
    examples: VecDeque<Example<FEATURES>>,
    labels: u64,
    next_fit: u64,
    generation: u64,
    records: RecordsV0,
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
    window: Window<Audit>,
    near: Window<(f32, bool)>,
    all: u64,
    mean_doubt: MeanDoubt,
}

#[derive(Deserialize)]
struct RecordsV0 {
    entries: TableV0<EntryId>,
    answers: TableV0<AnswerClass>,
}

#[derive(Deserialize)]
#[serde(bound = "K: Deserialize<'de> + Eq + Hash")]
struct TableV0<K> {
    records: HashMap<K, Record>,
    by_age: VecDeque<K>,
}

impl<K: Copy + Eq + Hash> TableV0<K> {
    /// The oldest first.
    fn by_age(&self) -> impl Iterator<Item = (K, Record)> {
        self.by_age.iter().filter_map(|key| Some((*key, *self.records.get(key)?)))
    }
}

impl From<LearnerV0> for (Trainer, SpendingState) {
    fn from(before: LearnerV0) -> Self {
        let LearnerV0 { coefficients, metric, records, centres, audits, .. } = before;
        let knowledge = Knowledge {
            estimator: Estimator {
                coefficients,
                metric: metric.map(Arc::new),
                records: Records::new(records.entries.by_age(), records.answers.by_age()),
                centres,
            },
            labels: before.labels,
            auditor: Auditor::new(audits.window, audits.all),
            calibration: Calibration::new(audits.near),
            drift: before.drift,
            alarms: before.alarms,
            observations: before
                .observations
                .into_iter()
                .map(|(entry, observed)| (entry, Arc::new(observed)))
                .collect(),
            reliabilities: before.reliabilities,
            synonyms: before.joined.into_iter().collect(),
            classes: AnswerClasses::default(),
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
