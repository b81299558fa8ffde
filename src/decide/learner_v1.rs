//! What builds of the first version of learned state wrote: without classes of answers that say the same.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Deserialize;

use super::answer::AnswerClass;
use super::auditor::Auditor;
use super::bounded::BoundedMap;
use super::calibration::Calibration;
use super::classes::AnswerClasses;
use super::drift::DriftMonitor;
use super::estimator::Estimator;
use super::features::FEATURES;
use super::knowledge::{Knowledge, MAX_ENTRIES};
use super::logistic::Example;
use super::per_entry::Observations;
use super::scatter::Scatter;
use super::source::Reliabilities;
use super::trainer::Trainer;
use crate::store::EntryId;

/// What a cache had learned.
#[derive(Deserialize)]
pub struct TrainerV1 {
    knowledge: KnowledgeV1,
    examples: VecDeque<Example<FEATURES>>,
    scatter: Scatter,
    next_fit: u64,
    generation: u64,
}

#[derive(Deserialize)]
struct KnowledgeV1 {
    estimator: Estimator,
    labels: u64,
    auditor: Auditor,
    calibration: Calibration,
    drift: DriftMonitor,
    alarms: u64,
    observations: BoundedMap<EntryId, Arc<Observations>, MAX_ENTRIES>,
    reliabilities: Reliabilities,
    synonyms: BoundedMap<EntryId, AnswerClass, MAX_ENTRIES>,
}

impl From<TrainerV1> for Trainer {
    fn from(before: TrainerV1) -> Self {
        let TrainerV1 { knowledge: known, examples, scatter, next_fit, generation } = before;
        let knowledge = Knowledge {
            estimator: known.estimator,
            labels: known.labels,
            auditor: known.auditor,
            calibration: known.calibration,
            drift: known.drift,
            alarms: known.alarms,
            observations: known.observations,
            reliabilities: known.reliabilities,
            synonyms: known.synonyms,
            classes: AnswerClasses::default(),
        };
        Self { knowledge, examples, scatter, next_fit, generation }
    }
}
