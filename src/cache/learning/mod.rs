//! What a cache learns: decides by it, learns from labels as they come, and fits it anew off the hot path.

mod persistence;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub use persistence::FlushMode;
pub(super) use persistence::{LEARNER, QUARANTINED};

use super::awaited::AwaitedLabels;
use super::decision::{Decision, DecisionId};
use super::decisions::{Decisions, Label, Logged};
use super::setup::Setup;
use crate::config::Reliability;
use crate::decide::{
    AnswerClass, AnsweredQuery, Assessment, AssessmentRequest, Change, Judgement, Knowledge, LabelSource, Labels,
    LearnerStatus, ModelPrior, Policy, PolicyDecision, PolicyParams, Spending, SpendingState, Trainer, Tunables,
};
use crate::store::{CacheName, EntryId, ScopeKey, TextHash, Timestamp};
use crate::telemetry::{self, CacheLabels};

/// What is learned takes at most about so many times as much in memory as it is written in: numbers are written short, and what a map has is
/// beside it. Arbitrary, on the side of caution.
const OVER_WRITTEN: u64 = 3;

/// Who is right less often than this isn't believed.
const LEAST_RELIABILITY: f64 = 0.75;

/// What one cache has learned.
pub(super) struct Learning {
    name: CacheName,
    labels: OnceLock<CacheLabels>,
    /// Held while something is learned or copied. Lookups never take it.
    trainer: Mutex<Trainer>,
    /// What lookups go by: what was learned so far.
    knowledge: ArcSwap<Knowledge>,
    spending: Spending,
    pub(super) decisions: Mutex<Decisions>,
    pub(super) awaited: Mutex<AwaitedLabels>,
    /// Feedback is taken one after the other, or the same could be counted twice.
    pub(super) feedback: tokio::sync::Mutex<()>,
    /// What is saved is written one after the other, or what was older could be written last.
    pub(super) saving: tokio::sync::Mutex<()>,
    /// Labels that are being made, and fits.
    pub(super) tasks: TaskTracker,
    samples: AtomicU64,
    /// What samples begin with: by chance, except where they are to be the same every time.
    salt: u64,
    unsaved: AtomicBool,
    /// What was learned, when it was last written or read, took so many bytes.
    written: AtomicU64,
    /// When it is to be saved again at the earliest, unless at once.
    next_save: Mutex<Instant>,
}

impl Learning {
    pub(super) fn new(name: &CacheName, keep_decisions: u64, salt: u64) -> Self {
        Self {
            name: name.clone(),
            labels: OnceLock::new(),
            trainer: Mutex::default(),
            knowledge: ArcSwap::default(),
            spending: Spending::default(),
            decisions: Mutex::new(Decisions::new(keep_decisions)),
            awaited: Mutex::default(),
            feedback: tokio::sync::Mutex::default(),
            saving: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            samples: AtomicU64::new(0),
            salt,
            unsaved: AtomicBool::new(false),
            written: AtomicU64::new(0),
            next_save: Mutex::new(Instant::now()),
        }
    }

    /// Of its metrics. They come into being when this is first called.
    pub(super) fn labels(&self) -> &CacheLabels {
        self.labels.get_or_init(|| CacheLabels::of(&self.name.tenant, &self.name.id))
    }

    /// What `policy` makes of a request.
    pub(super) fn assess(&self, policy: &dyn Policy, request: &AssessmentRequest<'_>) -> PolicyDecision {
        let decision = policy.assess(request, &self.knowledge.load(), &self.spending);
        if decision.assessment.is_some() {
            self.unsaved.store(true, Ordering::Relaxed);
        }
        decision
    }

    /// From 0 to 1, evenly; nobody who doesn't know the salt can foresee it. A policy that learns nothing needs none, and gets 0.
    pub(super) fn sample(&self, policy: &dyn Policy) -> f64 {
        if policy.params().is_none() {
            return 0.0;
        }
        let mut hasher = blake3::Hasher::new_derive_key("refrain audit");
        hasher.update(&self.salt.to_le_bytes());
        hasher.update(self.name.id.as_bytes());
        hasher.update(&self.samples.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let mut bytes = [0; 8];
        hasher.finalize_xof().fill(&mut bytes);
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let sample = (u64::from_le_bytes(bytes) >> 11) as f64 / (1u64 << 53) as f64;
        sample
    }

    /// The classes of entries' answers, each known by its text.
    pub(super) fn classes(&self, own: impl Iterator<Item = (EntryId, AnswerClass)>) -> Vec<AnswerClass> {
        let knowledge = self.knowledge.load();
        own.map(|(entry, class)| knowledge.class(&entry, class)).collect()
    }

    pub(super) fn log(
        &self,
        decision: &Arc<Decision>,
        assessment: Option<Assessment>,
        served: Option<EntryId>,
        of: (ScopeKey, TextHash),
    ) {
        let (at, assessment) = (Timestamp::now(), assessment.map(Arc::new));
        if let Some(assessment) = assessment.as_ref().filter(|_| served.is_none()) {
            let lost = self.awaited.lock().add(of, decision.id, Arc::clone(assessment), at);
            if lost > 0 {
                telemetry::labels_lost(self.labels(), lost);
            }
        }
        let logged = Logged { at, decision: Arc::clone(decision), assessment, served, labels: Vec::new() };
        self.decisions.lock().add(logged);
    }

    /// From now on decisions can be read back for so many milliseconds.
    pub(super) fn keep_decisions(&self, millis: u64) {
        self.decisions.lock().keep_for(millis);
    }

    pub(super) fn status(&self, params: &PolicyParams, quarantined: usize) -> LearnerStatus {
        LearnerStatus::new(&self.knowledge.load(), &self.spending, params, quarantined)
    }

    /// Learns what was found of each candidate's answer. Who errs too often isn't believed.
    pub(super) fn learn(
        self: &Arc<Self>,
        (id, assessment): (DecisionId, &Assessment),
        found: &[Option<Finding>],
        answered: Option<AnsweredQuery<'_>>,
        setup: &Setup,
    ) {
        let tunables = setup.policy.params().map_or_else(Tunables::shipped, |params| params.tunables);
        let change = self.change(|trainer| {
            let judgement = |found: &Option<Finding>| judgement((*found)?, trainer.knowledge(), setup);
            let of: Vec<_> = found.iter().map(judgement).collect();
            trainer.learn(assessment, &Labels { of: &of, answered }, &self.spending, tunables)
        });
        let of_best = assessment.best.and_then(|best| found.get(best).copied().flatten());
        if let Some(Finding { right, source }) = of_best {
            telemetry::label(self.labels(), source.name(), right);
            let label = Label { source, right, at: Timestamp::now() };
            let earlier = self.decisions.lock().label(id, label);
            earlier.into_iter().for_each(|earlier| self.compare(earlier, label, setup));
        }
        match change {
            Change::Sounded => {
                telemetry::drift_alarm(self.labels(), true);
                tracing::warn!(
                    cache = self.name.id,
                    "answers are no longer what was predicted: only equal texts are answered until labels are good again"
                );
            }
            Change::Cleared => {
                telemetry::drift_alarm(self.labels(), false);
                tracing::info!(cache = self.name.id, "labels are as predicted again: near texts are answered again");
            }
            Change::None => {}
        }
        self.refit(&setup.prior, tunables);
    }

    /// Two sources spoke about one decision: how reliable the lesser one is shows in whether it agrees.
    fn compare(&self, a: Label, b: Label, setup: &Setup) {
        if a.source == b.source {
            return;
        }
        self.change(|trainer| {
            let of = |label: Label| reliability(label.source, trainer.knowledge(), setup);
            let lesser = if of(a) < of(b) { a } else { b };
            trainer.compare(lesser.source, a.right == b.right);
        });
    }

    /// Changes what was learned: one at a time. Lookups that begin afterwards go by it, and it is to be saved.
    fn change<T>(&self, change: impl FnOnce(&mut Trainer) -> T) -> T {
        let trainer = &mut *self.trainer.lock();
        let changed = change(trainer);
        self.knowledge.store(Arc::new(trainer.knowledge().clone()));
        self.unsaved.store(true, Ordering::Relaxed);
        changed
    }

    /// Fits the model anew if that is due, on a thread that may block.
    fn refit(self: &Arc<Self>, prior: &Arc<ModelPrior>, tunables: &Tunables) {
        let Some(job) = self.trainer.lock().due(prior, tunables) else { return };
        let (learning, prior) = (Arc::clone(self), Arc::clone(prior));
        self.tasks.spawn_blocking(move || {
            let fitted = job.run(&prior);
            learning.change(|trainer| trainer.adopt(fitted));
        });
    }

    /// It was found that `later` says the same as `earlier`, which was `predicted` with this probability, or that it doesn't.
    pub(super) fn relate(
        &self,
        (earlier, later): (AnswerClass, AnswerClass),
        finding: Finding,
        predicted: f64,
        setup: &Setup,
    ) {
        self.change(|trainer| {
            if let Some(judgement) = judgement(finding, trainer.knowledge(), setup) {
                trainer.relate(earlier, later, judgement, predicted);
            }
        });
    }

    /// Whether two answers say the same, as far as that is known.
    pub(super) fn agree(&self, a: AnswerClass, b: AnswerClass) -> Option<bool> {
        self.knowledge.load().agree(a, b)
    }

    /// Until all labels that are known have been learned from.
    pub(super) async fn settle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    /// An entry has another answer now.
    pub(super) fn renewed(&self, entry: &EntryId) {
        // Most entries that are stored are new, and nothing is known of them.
        if self.knowledge.load().knows(entry) {
            self.change(|trainer| trainer.renewed(entry));
        }
    }

    /// What was learned and decided takes so many bytes in memory, about.
    pub(super) fn bytes(&self) -> u64 {
        let (decided, awaited) = (self.decisions.lock().bytes(), self.awaited.lock().bytes());
        OVER_WRITTEN * self.written.load(Ordering::Relaxed) + (decided + awaited) as u64
    }

    /// Drops the oldest decisions until so many bytes are free, and returns how many are.
    pub(super) fn shed_decisions(&self, bytes: u64) -> u64 {
        self.decisions.lock().shed(usize::try_from(bytes).unwrap_or(usize::MAX)) as u64
    }

    /// What was learned and decided is in the store, and no longer in memory.
    pub(super) fn drop_all(&self) {
        *self.trainer.lock() = Trainer::default();
        self.knowledge.store(Arc::default());
        self.spending.restore(SpendingState::default());
        self.decisions.lock().clear();
        let lost = {
            let mut awaited = self.awaited.lock();
            let lost = awaited.len();
            awaited.clear();
            lost
        };
        if lost > 0 {
            telemetry::labels_lost(self.labels(), lost);
        }
        self.written.store(0, Ordering::Relaxed);
    }

    /// Another model's cosines mean something else.
    pub(super) fn forget(&self) {
        self.change(|trainer| *trainer = trainer.with_another_model());
        self.spending.restore(SpendingState::default());
        self.decisions.lock().clear();
        self.awaited.lock().clear();
    }
}

/// What the operator set for a source.
fn set_for(reliability: &Reliability, source: LabelSource) -> Option<f64> {
    match source {
        LabelSource::FreshAnswer => reliability.fresh_answer,
        LabelSource::Meaning => reliability.meaning,
        LabelSource::Judge => reliability.judge,
        LabelSource::Feedback => reliability.feedback,
    }
}

/// What somebody found of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) right: bool,
    pub(super) source: LabelSource,
}

/// What a finding counts; none where its source errs too often.
fn judgement(Finding { right, source }: Finding, knowledge: &Knowledge, setup: &Setup) -> Option<Judgement> {
    let reliability = reliability(source, knowledge, setup);
    (reliability >= LEAST_RELIABILITY).then_some(Judgement { right, reliability })
}

fn reliability(source: LabelSource, knowledge: &Knowledge, setup: &Setup) -> f64 {
    knowledge.reliability(source, set_for(&setup.settings.reliability.unwrap_or_default(), source))
}
