//! What a cache learns: decides by it, learns from labels as they come, and fits it anew off the hot path.

mod feedback;
mod fresh;
mod keeping;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub use feedback::{About, Feedback, FeedbackError, FeedbackOutcome};
pub(super) use fresh::{Fresh, Stored, said};
pub use keeping::FlushMode;

use super::awaited::AwaitedLabels;
use super::decisions::{Decisions, Label, Logged};
use super::lookup::{Decision, DecisionId};
use super::registry::{Cache, Setup};
use crate::config::Reliability;
use crate::decide::{
    AnswerClass, Answered, Beliefs, Case, Change, Evidence, Learner, Neighbour, Query, Rule, Source, Standing, Terms,
};
use crate::store::{EntryId, ScopeKey, StoreError, TextHash, Timestamp};
use crate::telemetry;

/// What one cache has learned.
pub(super) struct Learning {
    cache: String,
    /// Held for microseconds.
    learner: Mutex<Learner>,
    decisions: Mutex<Decisions>,
    awaited: Mutex<AwaitedLabels>,
    /// Feedback is taken one after the other, or the same could be counted twice.
    hearing: tokio::sync::Mutex<()>,
    /// What is saved is written one after the other, or what was older could be written last.
    saving: tokio::sync::Mutex<()>,
    /// Labels that are being made, and fits.
    tasks: TaskTracker,
    draws: AtomicU64,
    /// What draws begin with: by chance, except where they are to be the same every time.
    salt: u64,
    unsaved: AtomicBool,
    /// When it is to be saved again at the earliest, unless in haste.
    next_save: Mutex<Instant>,
    /// Whether any entry is quarantined; lets lookups of exact texts go without the lock.
    quarantines: AtomicBool,
    unsaved_quarantines: AtomicBool,
}

impl Learning {
    pub(super) fn new(cache: &str, keep_decisions: u64, salt: u64) -> Self {
        Self {
            cache: cache.to_owned(),
            learner: Mutex::default(),
            decisions: Mutex::new(Decisions::new(keep_decisions)),
            awaited: Mutex::default(),
            hearing: tokio::sync::Mutex::default(),
            saving: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            draws: AtomicU64::new(0),
            salt,
            unsaved: AtomicBool::new(false),
            next_save: Mutex::new(Instant::now()),
            quarantines: AtomicBool::new(false),
            unsaved_quarantines: AtomicBool::new(false),
        }
    }

    /// Decides about candidates by a rule that learns.
    pub(super) fn decide(
        &self,
        mut evidence: Vec<Evidence>,
        (asked, neighbours): (Query<'_>, &[Neighbour<'_>]),
        setup: &Setup,
        most_error: Option<f64>,
        ruled_out: impl Fn(&Evidence) -> bool,
    ) -> Option<Case> {
        let draw = self.draw();
        let learner = &mut *self.learner.lock();
        learner.complete(&mut evidence, asked, neighbours, &setup.beliefs);
        self.unsaved.store(true, Ordering::Relaxed);
        match setup.rule {
            Rule::Static { .. } => None,
            Rule::PerEntry(terms) => Some(learner.per_entry(evidence, terms, most_error, ruled_out, draw)),
            Rule::Budget(terms) => Some(learner.budgeted(evidence, terms, &setup.beliefs, most_error, ruled_out, draw)),
        }
    }

    /// From 0 to 1, evenly; nobody who doesn't know the salt can foresee it.
    fn draw(&self) -> f64 {
        let mut hasher = blake3::Hasher::new_derive_key("refrain audit");
        hasher.update(&self.salt.to_le_bytes());
        hasher.update(self.cache.as_bytes());
        hasher.update(&self.draws.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let mut bytes = [0; 8];
        hasher.finalize_xof().fill(&mut bytes);
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let draw = (u64::from_le_bytes(bytes) >> 11) as f64 / (1u64 << 53) as f64;
        draw
    }

    /// The classes of entries' answers, each known by its text.
    pub(super) fn classes(&self, own: impl Iterator<Item = (EntryId, AnswerClass)>) -> Vec<AnswerClass> {
        let own: Vec<_> = own.collect();
        let learner = self.learner.lock();
        own.into_iter().map(|(entry, class)| learner.class(&entry, class)).collect()
    }

    pub(super) fn log(
        &self,
        decision: &Arc<Decision>,
        case: Option<Case>,
        served: Option<EntryId>,
        of: (ScopeKey, TextHash),
    ) {
        let (at, case) = (Timestamp::now(), case.map(Arc::new));
        if let Some(case) = case.as_ref().filter(|_| served.is_none()) {
            let lost = self.awaited.lock().add(of, decision.id, Arc::clone(case), at);
            telemetry::labels_lost(&self.cache, lost);
        }
        let logged = Logged { at, decision: Arc::clone(decision), case, served, labels: Vec::new() };
        self.decisions.lock().add(logged);
    }

    /// From now on decisions can be read back for so many milliseconds.
    pub(super) fn keep_decisions(&self, millis: u64) {
        self.decisions.lock().keep_for(millis);
    }

    pub(super) fn decisions(&self) -> Vec<Logged> {
        self.decisions.lock().all().cloned().collect()
    }

    pub(super) fn served(&self, entry: EntryId) -> Vec<DecisionId> {
        self.decisions.lock().served(entry)
    }

    /// Whether an entry's answer is known to be wrong for its own text.
    pub(super) fn is_withdrawn(&self, entry: &EntryId) -> bool {
        self.quarantines.load(Ordering::Relaxed) && self.learner.lock().is_withdrawn(entry)
    }

    /// Whether an entry isn't served to near prompts.
    pub(super) fn is_quarantined(&self, entry: &EntryId) -> bool {
        self.quarantines.load(Ordering::Relaxed) && self.learner.lock().is_quarantined(entry)
    }

    pub(super) fn standing(&self, terms: Terms) -> Standing {
        self.learner.lock().standing(terms)
    }

    /// Learns what labels say about each candidate of a case.
    fn learn(self: &Arc<Self>, about: (DecisionId, &Case), right: &[Option<bool>], told: Told<'_>, setup: &Setup) {
        let ((id, case), Told { source, asked }) = (about, told);
        let change = {
            let learner = &mut *self.learner.lock();
            let reliability =
                learner.reliability(source, set_for(&setup.settings.reliability.unwrap_or_default(), source));
            learner.learn(case, right, reliability, asked)
        };
        self.unsaved.store(true, Ordering::Relaxed);
        let of_best = case.best.and_then(|best| right.get(best).copied().flatten());
        if let Some(right) = of_best {
            telemetry::label(&self.cache, source.name(), right);
            let now = Timestamp::now();
            self.decisions.lock().label(id, Label { source, right, at: now });
        }
        match change {
            Change::Sounded => {
                telemetry::drift_alarm(&self.cache, true);
                tracing::warn!(
                    cache = self.cache,
                    "answers are no longer what was predicted: only equal texts are answered until labels are good again"
                );
            }
            Change::Cleared => {
                telemetry::drift_alarm(&self.cache, false);
                tracing::info!(cache = self.cache, "labels are as predicted again: near texts are answered again");
            }
            Change::None => {}
        }
        self.refit(&setup.beliefs);
    }

    /// Fits the model anew if that is due, on a thread that may block.
    fn refit(self: &Arc<Self>, beliefs: &Arc<Beliefs>) {
        let Some(job) = self.learner.lock().due(beliefs) else { return };
        let (learning, beliefs) = (Arc::clone(self), Arc::clone(beliefs));
        self.tasks.spawn_blocking(move || {
            let fitted = job.run(&beliefs);
            learning.learner.lock().adopt(fitted);
        });
    }

    /// Until all labels that are known have been learned from.
    pub(super) async fn settle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    /// These entries have other answers now.
    pub(super) fn all_renewed(&self, entries: &[EntryId]) {
        if self.quarantines.load(Ordering::Relaxed) {
            entries.iter().for_each(|entry| self.renewed(entry));
        }
    }

    /// An entry has another answer now.
    fn renewed(&self, entry: &EntryId) {
        let learner = &mut *self.learner.lock();
        if learner.renewed(entry) {
            self.quarantines_changed(learner);
        }
    }

    fn quarantines_changed(&self, learner: &Learner) {
        self.quarantines.store(learner.has_quarantined(), Ordering::Relaxed);
        self.unsaved_quarantines.store(true, Ordering::Relaxed);
    }

    /// Another model's cosines mean something else.
    pub(super) fn forget(&self) {
        let learner = &mut *self.learner.lock();
        *learner = learner.with_another_model();
        self.decisions.lock().clear();
        self.awaited.lock().clear();
        self.unsaved.store(true, Ordering::Relaxed);
    }
}

/// What the operator set for a source.
fn set_for(reliability: &Reliability, source: Source) -> Option<f64> {
    match source {
        Source::FreshAnswer => reliability.fresh_answer,
        Source::Meaning => reliability.meaning,
        Source::Judge => reliability.judge,
        Source::Feedback => reliability.feedback,
    }
}

/// Where a label comes from.
#[derive(Clone, Copy)]
struct Told<'a> {
    source: Source,
    /// The prompt with its fresh answer, if there is one and the prompt is known whole.
    asked: Option<Answered<'a>>,
}

impl Cache {
    /// Until all labels that are known have been learned from; replays wait for it after each request.
    pub async fn settle(&self) {
        self.learning.settle().await;
    }

    /// The decision of `id`, while it is kept.
    ///
    /// # Errors
    /// The store's, where it isn't in memory.
    pub async fn decision(&self, id: DecisionId) -> Result<Option<Logged>, StoreError> {
        if let Some(logged) = self.learning.decisions.lock().get(id, Timestamp::now()) {
            return Ok(Some(logged.clone()));
        }
        let found = self.store.decision(self.key, id.bytes()).await?;
        let logged: Option<Logged> = found.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let kept = |logged: &Logged| self.learning.decisions.lock().keeps(logged.at, Timestamp::now());
        Ok(logged.filter(kept))
    }

    /// All decisions that are kept, oldest first.
    #[must_use]
    pub fn decisions(&self) -> Vec<Logged> {
        self.learning.decisions()
    }

    /// How learning stands, where the cache's rule learns.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        self.rule().terms().map(|terms| self.learning.standing(terms))
    }
}
