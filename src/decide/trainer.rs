//! Learning from labels.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::answer::AnswerClass;
use super::assessment::{Assessment, Verdict};
use super::auditor::Auditor;
use super::candidate::CandidateFeatures;
use super::centres::Centres;
use super::classes::{Evidence, Joined};
use super::drift::Change;
use super::features::FEATURES;
use super::knowledge::Knowledge;
use super::logistic::{Example, fit};
use super::metric::Metric;
use super::per_entry::Observations;
use super::prior::ModelPrior;
use super::query::AnsweredQuery;
use super::scatter::Scatter;
use super::source::LabelSource;
use super::spending::Spending;
use super::tunables::{TrainingTunables, Tunables};
use crate::store::EntryId;

/// What a cache has learned, and what it goes on learning from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Trainer {
    pub(super) knowledge: Knowledge,
    pub(super) examples: VecDeque<Example<FEATURES>>,
    pub(super) scatter: Scatter,
    pub(super) next_fit: u64,
    /// Counts what makes a fit that was begun before it worthless.
    pub(super) generation: u64,
}

/// What became known of an assessment's candidates.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'l> {
    /// Of each candidate, what was found of its answer, where anything was.
    pub of: &'l [Option<Judgement>],
    /// The prompt with its fresh answer, if it is at hand.
    pub answered: Option<AnsweredQuery<'l>>,
}

/// Whether an answer was right, and how often whoever says so is right, from 0.5 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// It was.
    pub right: bool,
    /// See above.
    pub reliability: f64,
}

impl Judgement {
    /// By somebody who never errs.
    #[must_use]
    pub fn sure(right: bool) -> Self {
        Self { right, reliability: 1.0 }
    }

    /// How much it counts: a coin's tells nothing.
    fn trust(self) -> f64 {
        (2.0 * self.reliability - 1.0).clamp(0.0, 1.0).powi(2)
    }
}

/// A fit that is due: everything that it needs, so that it can be made elsewhere.
#[derive(Debug, Clone)]
pub struct FitJob {
    examples: Vec<Example<FEATURES>>,
    mislabelled: f64,
    scatter: Scatter,
    last: Option<Arc<Metric>>,
    start: [f64; FEATURES],
    generation: u64,
}

/// The coefficients and the metric that came of a [`FitJob`].
#[derive(Debug, Clone)]
pub struct Fitted {
    coefficients: [f64; FEATURES],
    metric: Option<Metric>,
    generation: u64,
}

impl FitJob {
    /// Makes it; some tens of milliseconds.
    #[must_use]
    pub fn run(&self, prior: &ModelPrior) -> Fitted {
        Fitted {
            coefficients: fit(&self.examples, self.mislabelled, &prior.coefficients, &self.start),
            metric: Metric::of(&self.scatter, prior.metric.as_ref(), self.last.as_deref()),
            generation: self.generation,
        }
    }
}

impl Trainer {
    /// What lookups go by.
    #[must_use]
    pub fn knowledge(&self) -> &Knowledge {
        &self.knowledge
    }

    /// Learns what labels say about an assessment.
    pub fn learn(
        &mut self,
        assessment: &Assessment,
        labels: &Labels<'_>,
        spending: &Spending,
        tunables: &Tunables,
    ) -> Change {
        let Labels { of, answered } = *labels;
        let training = &tunables.training;
        if let Some(answered) = answered {
            self.locate(answered, assessment, of, training);
        }
        let stands_for = match assessment.verdict {
            Verdict::Audited => (1.0 / assessment.audit_rate.max(f64::MIN_POSITIVE)).min(training.max_audit_weight),
            _ => 1.0,
        };
        let mut change = Change::None;
        for (place, (candidate, judgement)) in assessment.candidates.iter().zip(of).enumerate() {
            let Some(judgement) = *judgement else { continue };
            let (right, trust) = (judgement.right, judgement.trust());
            let is_best = Some(place) == assessment.best;
            let raw = assessment.raw.get(place).copied().unwrap_or(0.5);
            self.knowledge.estimator.records.add(candidate.entry, candidate.answer, raw, right, trust);
            #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
            let weight = (trust * stands_for * if is_best { 1.0 } else { training.weight_of_others }) as f32;
            self.add_example(Example { features: candidate.vector(), right, weight }, training);
            if place == 0 {
                self.observe(candidate, right);
            }
            if is_best && assessment.verdict != Verdict::Served {
                change = self.check_prediction(assessment, place, raw, right, tunables);
            }
        }
        self.knowledge.labels += 1;
        if change == Change::Sounded {
            self.begin_anew(training);
            spending.forget_doubt();
        }
        change
    }

    fn add_example(&mut self, example: Example<FEATURES>, training: &TrainingTunables) {
        self.examples.push_back(example);
        if self.examples.len() > training.examples {
            self.examples.pop_front();
        }
    }

    /// Whether what was predicted of the best candidate came true.
    fn check_prediction(
        &mut self,
        assessment: &Assessment,
        place: usize,
        raw: f64,
        right: bool,
        tunables: &Tunables,
    ) -> Change {
        let Knowledge { auditor, calibration, drift, .. } = &mut self.knowledge;
        let p_correct = assessment.p_correct.get(place).copied().unwrap_or(0.0);
        if assessment.verdict == Verdict::Audited {
            auditor.add(1.0 - raw, assessment.audit_rate, right, &tunables.audit);
        } else if 1.0 - p_correct <= tunables.calibration.near_cut * assessment.cut {
            calibration.add_near(1.0 - raw, right, &tunables.calibration);
        }
        drift.add(p_correct, right, assessment.verdict.would_hit(), &tunables.drift)
    }

    /// Learns where prompts lie that have one answer: this one's is a candidate's that was right, or another that is known.
    fn locate(
        &mut self,
        answered: AnsweredQuery<'_>,
        assessment: &Assessment,
        of: &[Option<Judgement>],
        training: &TrainingTunables,
    ) {
        let AnsweredQuery { query, answer: fresh } = answered;
        let fresh = self.knowledge.classes.whole(fresh);
        let vector = query.vector.as_slice();
        self.scatter.add(vector);
        let centres = &mut self.knowledge.estimator.centres;
        let judged = || {
            let candidates = assessment.candidates.iter().zip(&assessment.raw).zip(of);
            candidates.filter_map(|((candidate, raw), of)| Some((candidate, *raw, (*of)?)))
        };
        let has_answer = judged().find(|(_, _, judgement)| judgement.right);
        let has_answer = has_answer.map(|(candidate, _, judgement)| (candidate.answer, judgement.trust()));
        // What its own text says needs nobody to find it.
        if let Some((answer, trust)) = has_answer.or_else(|| centres.knows(&fresh).then_some((fresh, 1.0))) {
            if let Some((away, others)) = centres.away(&answer, vector) {
                self.scatter.add_within(&away, others);
            }
            #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
            centres.add(answer, vector, query.tokens(), trust as f32);
        }
        let wrong = judged().filter(|(_, _, judgement)| !judgement.right);
        for (candidate, raw, judgement) in wrong.filter(|(_, raw, _)| *raw > training.nearly_taken) {
            #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
            centres.push_away(&candidate.answer, vector, (judgement.trust() * raw) as f32);
        }
    }

    fn observe(&mut self, candidate: &CandidateFeatures, right: bool) {
        let add = |observed: &mut Arc<Observations>| Arc::make_mut(observed).add(candidate.cosine, right);
        self.knowledge.observations.update(candidate.entry, add);
    }

    /// Answers have changed: what was learned before says little about what is right now.
    fn begin_anew(&mut self, training: &TrainingTunables) {
        let old = self.examples.len().saturating_sub(training.kept_after_alarm);
        self.examples.drain(..old);
        self.knowledge.auditor = Auditor::default();
        self.knowledge.calibration = Default::default();
        self.knowledge.estimator.centres = Centres::default();
        self.knowledge.labels = 0;
        self.knowledge.alarms += 1;
        self.next_fit = 0;
        self.generation += 1;
    }

    /// What remains where the vectors are another model's: what is known of entries and answers, and of who labels them.
    #[must_use]
    pub fn with_another_model(&self) -> Self {
        let mut knowledge = Knowledge {
            reliabilities: self.knowledge.reliabilities.clone(),
            synonyms: self.knowledge.synonyms.clone(),
            classes: self.knowledge.classes.clone(),
            ..Knowledge::default()
        };
        knowledge.estimator.records = self.knowledge.estimator.records.clone();
        Self { knowledge, generation: self.generation + 1, ..Self::default() }
    }

    /// Somebody found that `later` says the same as `earlier`, or doesn't. What is known of answers that become one is joined.
    /// `predicted` is how probable it was before that they say the same.
    pub fn relate(&mut self, earlier: AnswerClass, later: AnswerClass, judgement: Judgement, predicted: f64) {
        let Judgement { right: same, reliability } = judgement;
        let evidence = Evidence { same, reliability, predicted };
        if let Some(Joined { part, whole }) = self.knowledge.classes.add(earlier, later, evidence) {
            self.knowledge.estimator.records.join(part, whole);
            self.knowledge.estimator.centres.join(part, whole);
        }
    }

    /// `source` said the same as a more reliable one, or didn't.
    pub fn compare(&mut self, source: LabelSource, agreed: bool) {
        self.knowledge.reliabilities.compare(source, agreed);
    }

    /// `entry` has another answer now, or is gone.
    pub fn renewed(&mut self, entry: &EntryId) {
        self.knowledge.synonyms.remove(entry);
        self.knowledge.observations.remove(entry);
    }

    /// The fit that is due, if one is.
    #[must_use]
    pub fn due(&mut self, prior: &ModelPrior, tunables: &Tunables) -> Option<FitJob> {
        let (training, labels) = (&tunables.training, self.knowledge.labels);
        if labels < self.next_fit.max(training.first_fit) {
            return None;
        }
        let (some, share, most) = training.fit_every;
        self.next_fit = labels + (labels / share + some).min(most);
        let estimator = &self.knowledge.estimator;
        Some(FitJob {
            examples: self.examples.iter().copied().collect(),
            mislabelled: training.mislabelled,
            scatter: self.scatter.clone(),
            last: estimator.metric.clone(),
            start: estimator.coefficients(prior).unwrap_or(prior.coefficients.mean),
            generation: self.generation,
        })
    }

    /// Takes what came of a fit, unless it is of another time.
    pub fn adopt(&mut self, fitted: Fitted) {
        if fitted.generation == self.generation {
            let estimator = &mut self.knowledge.estimator;
            estimator.coefficients = Some(fitted.coefficients.to_vec());
            estimator.metric = fitted.metric.map(Arc::new).or(estimator.metric.take());
        }
    }
}

#[cfg(test)]
mod tests;
