//! What a cache learns: decides by it, learns from labels as they come, and fits it anew off the hot path.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::decisions::{Decisions, Label, Logged, MOST};
use super::judge::{Judge, Pair};
use super::lookup::{Decision, DecisionId};
use super::registry::{Cache, Setup};
use crate::config::Reliability;
use crate::decide::{
    self, AnswerClass, Answered, Beliefs, Case, Change, Evidence, Learner, Likeness, Neighbour, Quarantine, Query,
    Reading, Rule, Source, Standing, Terms,
};
use crate::embed::{Cosine, Embedder, Embedding, ModelDigest, Prefix};
use crate::prompt::Question;
use crate::store::{Answer, Attributes, CacheKey, EntryId, ScopeKey, Store, StoreError, TextHash, Timestamp};
use crate::telemetry;

/// Long answers whose vectors are at least this near say the same, and at most that near don't; between, nobody knows.
const SAME_MEANING: f32 = 0.85;
const OTHER_MEANING: f32 = 0.6;

/// Where what a cache learned is kept in the store.
const LEARNER: &str = "learner";
/// Where it is kept which entries aren't served. It changes at other times, and must not be lost.
const QUARANTINED: &str = "quarantined";
/// Bytes of what a cache learned that are written a second, in the mean: with all its examples it takes some megabytes, and changes
/// with each decision.
const WRITTEN_PER_SECOND: f64 = 100_000.0;

/// What one cache has learned.
pub(super) struct Learning {
    cache: String,
    /// Held for microseconds.
    learner: Mutex<Learner>,
    decisions: Mutex<Decisions>,
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

/// How soon what changed is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// What costs much to write may wait a while for further changes; a crash costs what was learned since.
    None,
    /// Nothing is left unsaved.
    All,
}

/// What was learned, as it is kept: of one model's cosines.
#[derive(serde::Serialize, serde::Deserialize)]
struct Saved {
    model: ModelDigest,
    learner: Learner,
}

impl Learning {
    pub(super) fn new(cache: &str, keep_decisions: u64, salt: u64) -> Self {
        Self {
            cache: cache.to_owned(),
            learner: Mutex::default(),
            decisions: Mutex::new(Decisions::new(keep_decisions)),
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
            Rule::PerEntry(terms) => Some(learner.per_entry(evidence, terms, ruled_out, draw)),
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
        let waits = served.is_none() && case.is_some();
        let logged = Logged {
            at: Timestamp::now(),
            decision: Arc::clone(decision),
            case: case.map(Arc::new),
            served,
            labels: Vec::new(),
        };
        self.decisions.lock().add(logged, waits.then_some(of));
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

    /// What was learned, if it changed and is to be saved now.
    fn take_unsaved(&self, model: &ModelDigest, haste: Haste) -> Option<Vec<u8>> {
        let is_time = haste == Haste::All || Instant::now() >= *self.next_save.lock();
        if !is_time || !self.unsaved.swap(false, Ordering::Relaxed) {
            return None;
        }
        let saved = Saved { model: model.clone(), learner: self.learner.lock().clone() };
        let bytes = postcard::to_stdvec(&saved).ok()?;
        #[expect(clippy::cast_precision_loss, reason = "a size")]
        let pause = Duration::from_secs_f64(bytes.len() as f64 / WRITTEN_PER_SECOND);
        *self.next_save.lock() = Instant::now() + pause;
        Some(bytes)
    }

    fn save_again(&self) {
        self.unsaved.store(true, Ordering::Relaxed);
        *self.next_save.lock() = Instant::now();
    }

    /// Which entries are quarantined, if that changed.
    fn take_unsaved_quarantines(&self) -> Option<Vec<u8>> {
        if !self.unsaved_quarantines.swap(false, Ordering::Relaxed) {
            return None;
        }
        postcard::to_stdvec(self.learner.lock().quarantined()).ok()
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

    /// Goes on with what was learned and saved. Of another model's cosines nothing can be learned.
    fn restore(&self, bytes: &[u8], model: &ModelDigest) -> Result<(), postcard::Error> {
        let Saved { model: of, learner } = postcard::from_bytes(bytes)?;
        if of == *model {
            *self.learner.lock() = learner;
        }
        Ok(())
    }

    /// Goes on with the quarantines that were saved; what was learned is restored before.
    fn restore_quarantines(&self, bytes: &[u8]) -> Result<(), postcard::Error> {
        let learner = &mut *self.learner.lock();
        learner.set_quarantined(postcard::from_bytes(bytes)?);
        self.quarantines.store(learner.has_quarantined(), Ordering::Relaxed);
        Ok(())
    }

    /// Another model's cosines mean something else.
    pub(super) fn forget(&self) {
        let learner = &mut *self.learner.lock();
        *learner = learner.with_another_model();
        self.decisions.lock().clear();
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

/// A fresh answer, from which labels are made.
pub(super) struct Fresh<'a> {
    pub(super) entry: EntryId,
    pub(super) scope: ScopeKey,
    pub(super) text: TextHash,
    pub(super) prompt: &'a str,
    pub(super) answer: &'a Answer,
    /// Where it is stored so that near prompts find it.
    pub(super) stored: Option<Stored<'a>>,
}

/// A fresh answer's entry.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    pub(super) created: Timestamp,
    /// The prompt's, made of all that the prompt says.
    pub(super) vector: &'a Embedding,
}

/// Where a label comes from.
#[derive(Clone, Copy)]
struct Told<'a> {
    source: Source,
    /// The prompt with its fresh answer, if there is one and the prompt is known whole.
    asked: Option<Answered<'a>>,
}

/// What an answer says, whether in text or in calls of tools.
pub(super) fn said(answer: &Answer) -> &str {
    match &answer.completion {
        Some(completion) if answer.text.is_empty() => completion,
        _ => &answer.text,
    }
}

impl Cache {
    /// A fresh answer was stored: the decision before it learns whether its candidates would have been right.
    pub(super) fn learn_from(&self, fresh: &Fresh<'_>) {
        // Feedback is taken under any rule, so a new answer ends its quarantine under any.
        self.learning.renewed(&fresh.entry);
        let setup = self.setup();
        if setup.rule.terms().is_none() {
            return;
        }
        let learn = |Stored { created, .. }| self.known.learn(fresh.entry, created, fresh.prompt, fresh.answer);
        let known = fresh.stored.map(learn);
        let answered = self.learning.decisions.lock().answered(fresh.scope, fresh.text);
        let Some((id, case)) = answered else { return };
        let text = said(fresh.answer);
        let (class, is_literal) = match &known {
            Some(known) => (known.class, known.is_literal),
            None => (AnswerClass::of(text), decide::is_literal(text)),
        };
        let likeness = |evidence: &Evidence| match evidence.answer == class {
            true => Likeness::Same,
            false if is_literal && evidence.is_literal => Likeness::Different,
            false => Likeness::Unclear,
        };
        let likenesses: Vec<Likeness> = case.evidence.iter().map(likeness).collect();
        if !likenesses.contains(&Likeness::Unclear) {
            let right: Vec<_> = likenesses.iter().map(|likeness| Some(*likeness == Likeness::Same)).collect();
            let reading = known.map(|known| Reading::parsed(fresh.prompt, known.prompt.clone()));
            let query = reading.as_ref().zip(fresh.stored).map(|(reading, of)| Query::new(reading, of.vector));
            let asked = query.map(|query| Answered { query, answer: class });
            let told = Told { source: Source::FreshAnswer, asked };
            self.learning.learn((id, &case), &right, told, &setup);
            return;
        }
        let comparison = Comparison {
            id,
            case,
            likenesses,
            entry: fresh.entry,
            prompt: fresh.prompt.to_owned(),
            answer: text.to_owned(),
            class,
            vector: fresh.stored.map(|of| of.vector.clone()),
            judge: self.judge.get().cloned(),
            store: Arc::clone(&self.store),
            key: self.key,
            learning: Arc::clone(&self.learning),
            setup,
        };
        self.learning.tasks.spawn(comparison.run());
    }

    /// The provider's answer to a question that isn't stored: the decision before it learns from it all the same.
    pub fn answered(&self, question: &Question, answer: &Answer, attributes: &Attributes) {
        let scope = ScopeKey::new(self.key, question.fingerprint.bytes());
        let text = TextHash::of(&question.text);
        self.learn_from(&Fresh {
            entry: EntryId::new(scope, text, attributes),
            scope,
            text,
            prompt: &question.text,
            answer,
            stored: None,
        });
    }

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

    /// Writes what was learned since the last time, and which entries aren't served.
    pub(super) async fn save_learned(&self, haste: Haste) -> Result<(), StoreError> {
        self.save_quarantines().await?;
        let Some(bytes) = self.learning.take_unsaved(&self.setup().embedder.identity().digest, haste) else {
            return Ok(());
        };
        let saved = self.store.save_state(self.key, LEARNER, bytes).await;
        saved.inspect_err(|_| self.learning.save_again())
    }

    async fn save_quarantines(&self) -> Result<(), StoreError> {
        let Some(bytes) = self.learning.take_unsaved_quarantines() else { return Ok(()) };
        let saved = self.store.save_state(self.key, QUARANTINED, bytes).await;
        saved.inspect_err(|_| self.learning.unsaved_quarantines.store(true, Ordering::Relaxed))
    }

    /// Goes on with what was saved. What is unreadable is as good as not there.
    pub(super) async fn restore_learned(&self) -> Result<(), StoreError> {
        let model = self.setup().embedder.identity().digest.clone();
        if let Some(bytes) = self.store.load_state(self.key, LEARNER).await?
            && let Err(error) = self.learning.restore(&bytes, &model)
        {
            tracing::warn!(cache = self.name.id, %error, "what was learned is unreadable; learning begins anew");
        }
        if let Some(bytes) = self.store.load_state(self.key, QUARANTINED).await?
            && let Err(error) = self.learning.restore_quarantines(&bytes)
        {
            tracing::error!(cache = self.name.id, %error, "which entries aren't served is unreadable; all are served again");
        }
        Ok(())
    }

    /// Writes the decisions that changed since the last time.
    pub(super) async fn save_decisions(&self) -> Result<(), StoreError> {
        let unsaved = self.learning.decisions.lock().take_unsaved();
        if unsaved.is_empty() {
            return Ok(());
        }
        let bytes = |logged: &Logged| Some((logged.decision.id.bytes(), serde_json::to_vec(logged).ok()?));
        let saved = self.store.keep_decisions(self.key, unsaved.iter().filter_map(bytes).collect()).await;
        if saved.is_err() {
            self.learning.decisions.lock().save_again(unsaved.iter().map(|logged| logged.decision.id));
        }
        saved
    }

    /// Takes up the decisions from before a restart.
    pub(super) async fn recall_decisions(&self) -> Result<(), StoreError> {
        let bytes = self.store.decisions(self.key, MOST).await?;
        let older = bytes.iter().filter_map(|bytes| serde_json::from_slice(bytes).ok());
        self.learning.decisions.lock().recall(older, Timestamp::now());
        Ok(())
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

/// Long answers that have to be compared by what they mean, behind the reply.
struct Comparison {
    id: DecisionId,
    case: Arc<Case>,
    likenesses: Vec<Likeness>,
    entry: EntryId,
    prompt: String,
    answer: String,
    class: AnswerClass,
    vector: Option<Embedding>,
    judge: Option<Arc<dyn Judge>>,
    store: Arc<dyn Store>,
    key: CacheKey,
    learning: Arc<Learning>,
    setup: Arc<Setup>,
}

impl Comparison {
    async fn run(self) {
        let mut right = Vec::with_capacity(self.likenesses.len());
        let mut source = Source::Meaning;
        for (likeness, evidence) in self.likenesses.iter().zip(&self.case.evidence) {
            right.push(match likeness {
                Likeness::Same => Some(true),
                Likeness::Different => Some(false),
                // What can't be found out is no label.
                Likeness::Unclear => self.compare(evidence.entry).await.ok().flatten().map(|(right, from)| {
                    if from == Source::Judge {
                        source = from;
                    }
                    right
                }),
            });
        }
        if let Some(same) = right.iter().position(|right| *right == Some(true)) {
            let class = self.case.evidence[same].answer;
            self.learning.learner.lock().join(self.entry, class);
        }
        if right.iter().any(Option::is_some) {
            let known = self.vector.as_ref().map(|vector| (Reading::of(&self.prompt), vector));
            let query = known.as_ref().map(|(reading, vector)| Query::new(reading, vector));
            let told = Told { source, asked: query.map(|query| Answered { query, answer: self.class }) };
            self.learning.learn((self.id, &self.case), &right, told, &self.setup);
        }
    }

    /// Whether the candidate's answer says the same, and who says so. A judge is asked where the vectors of the two don't tell.
    async fn compare(&self, candidate: EntryId) -> Result<Option<(bool, Source)>, StoreError> {
        let Some(entry) = self.store.get(self.key, candidate, Timestamp::now()).await? else { return Ok(None) };
        let stored = said(&entry.answer);
        let by_meaning = match decide::compare(&self.answer, stored) {
            Likeness::Same => Some(true),
            Likeness::Different => Some(false),
            Likeness::Unclear => same_meaning(&self.setup.embedder, &self.answer, stored).await,
        };
        let Some(judge) = self.judge.as_ref().filter(|_| by_meaning.is_none()) else {
            return Ok(by_meaning.map(|right| (right, Source::Meaning)));
        };
        let judged = judge.agree(Pair { question: &self.prompt, fresh: &self.answer, stored }).await;
        Ok(judged.map(|right| (right, Source::Judge)))
    }
}

/// Whether two answers say the same, by the cosine of their vectors. None where that doesn't tell, or nobody has time.
async fn same_meaning(embedder: &Embedder, a: &str, b: &str) -> Option<bool> {
    let (a, b) = tokio::join!(embedder.embed(a, Prefix::Query), embedder.embed(b, Prefix::Query));
    let cosine: Cosine = a.ok()?.vector.cosine(&b.ok()?.vector);
    match cosine.get() {
        near if near >= SAME_MEANING => Some(true),
        far if far <= OTHER_MEANING => Some(false),
        _ => None,
    }
}

/// What somebody says about an answer.
#[derive(Debug, Clone, Copy)]
pub struct Feedback {
    /// What it is about.
    pub about: About,
    /// Whether it was right.
    pub correct: bool,
}

/// What feedback is about.
#[derive(Debug, Clone, Copy)]
pub enum About {
    /// The answer that a lookup got.
    Decision(DecisionId),
    /// An entry's answer to its own prompt.
    Entry(EntryId),
}

/// What came of feedback.
#[derive(Debug, Clone)]
pub struct Heard {
    /// False where the same was said before.
    pub recorded: bool,
    /// The entry whose answer it was.
    pub entry: EntryId,
    /// From whom that entry is kept now.
    pub quarantined: Option<Quarantine>,
    /// The decisions that were answered with it, newest first, while they are kept.
    pub served_to: Vec<DecisionId>,
}

/// Why feedback isn't taken.
#[derive(Debug, thiserror::Error)]
pub enum NotHeard {
    /// There is no such decision, or it is no longer kept.
    #[error("there is no such decision in this cache, or it is older than decisions are kept")]
    UnknownDecision,
    /// There is no such entry.
    #[error("this cache holds no such entry")]
    UnknownEntry,
    /// The lookup got no answer from the cache.
    #[error("this decision served no answer, so there is nothing to be right or wrong")]
    NothingServed,
    /// The decision can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Cache {
    /// Somebody says whether an answer was right. A wrong one is served to nobody else: a near prompt's keeps its entry from near
    /// prompts, an equal one's from everybody, until it is stored again or reported right.
    ///
    /// # Errors
    /// See [`NotHeard`]; nothing has changed then.
    pub async fn feedback(&self, feedback: Feedback) -> Result<Heard, NotHeard> {
        match feedback.about {
            About::Decision(id) => self.feedback_on_decision(id, feedback.correct).await,
            About::Entry(entry) => {
                let found = self.store.get(self.key, entry, Timestamp::now()).await;
                if !found.is_ok_and(|found| found.is_some()) {
                    return Err(NotHeard::UnknownEntry);
                }
                let recorded = self.quarantine(entry, feedback.correct, Quarantine::Everybody);
                Ok(self.heard(entry, recorded).await)
            }
        }
    }

    async fn feedback_on_decision(&self, id: DecisionId, correct: bool) -> Result<Heard, NotHeard> {
        let logged = self.decision(id).await?.ok_or(NotHeard::UnknownDecision)?;
        // Labels are kept there.
        self.learning.decisions.lock().bring_back(logged.clone());
        let entry = logged.served.ok_or(NotHeard::NothingServed)?;
        if logged.labels.iter().any(|label| label.source == Source::Feedback) {
            return Ok(self.heard(entry, false).await);
        }
        if let Some(case) = &logged.case {
            let of_best = |place| (Some(place) == case.best).then_some(correct);
            let right: Vec<_> = (0..case.evidence.len()).map(of_best).collect();
            let told = Told { source: Source::Feedback, asked: None };
            self.learning.learn((id, case), &right, told, &self.setup());
        } else {
            let label = Label { source: Source::Feedback, right: correct, at: Timestamp::now() };
            self.learning.decisions.lock().label(id, label);
        }
        if !correct {
            let from = if logged.case.is_some() { Quarantine::NearPrompts } else { Quarantine::Everybody };
            self.quarantine(entry, false, from);
        }
        Ok(self.heard(entry, true).await)
    }

    /// Tells whether anything changed.
    fn quarantine(&self, entry: EntryId, correct: bool, from: Quarantine) -> bool {
        let learner = &mut *self.learning.learner.lock();
        let changed = if correct {
            let was = learner.is_quarantined(&entry);
            learner.release(&entry);
            was
        } else {
            learner.quarantine(entry, from)
        };
        self.learning.quarantines_changed(learner);
        changed
    }

    /// What is quarantined is kept at once: a wrong answer must not be back after a crash.
    async fn heard(&self, entry: EntryId, recorded: bool) -> Heard {
        if let Err(error) = self.save_quarantines().await {
            tracing::warn!(cache = self.name.id, %error, "feedback could not be saved yet; it is tried again");
        }
        if let Err(error) = self.save_decisions().await {
            tracing::warn!(cache = self.name.id, %error, "decisions could not be saved yet; it is tried again");
        }
        self.now_heard(entry, recorded)
    }

    fn now_heard(&self, entry: EntryId, recorded: bool) -> Heard {
        let learner = self.learning.learner.lock();
        let quarantined = match (learner.is_quarantined(&entry), learner.is_withdrawn(&entry)) {
            (_, true) => Some(Quarantine::Everybody),
            (true, false) => Some(Quarantine::NearPrompts),
            (false, false) => None,
        };
        drop(learner);
        Heard { recorded, entry, quarantined, served_to: self.learning.served(entry) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::TextHash;

    fn entry() -> EntryId {
        let scope = ScopeKey::new(CacheKey::new("t", "c"), &[0; 32]);
        EntryId::new(scope, TextHash::of("a prompt"), &Attributes::default())
    }

    fn learning() -> Learning {
        Learning::new("c", 0, 0)
    }

    #[tokio::test(start_paused = true)]
    async fn the_more_there_is_to_write_the_less_often_it_is_written() {
        let (learning, model) = (learning(), ModelDigest::new("m"));
        let saves = |haste| {
            learning.unsaved.store(true, Ordering::Relaxed);
            learning.take_unsaved(&model, haste)
        };
        let bytes = saves(Haste::None).unwrap().len();
        assert_eq!((saves(Haste::None), saves(Haste::All).map(|bytes| bytes.len())), (None, Some(bytes)));
        let pause = Duration::from_secs_f64(bytes as f64 / WRITTEN_PER_SECOND);
        tokio::time::advance(pause / 2).await;
        assert_eq!(saves(Haste::None), None);
        tokio::time::advance(pause).await;
        assert!(saves(Haste::None).is_some());
        learning.save_again();
        assert!(learning.take_unsaved(&model, Haste::None).is_some(), "what failed is tried again at once");
        assert_eq!(learning.take_unsaved(&model, Haste::All), None, "nothing has changed");
    }

    #[test]
    fn quarantines_last_whatever_was_learned_meanwhile() {
        let (before, after, model) = (learning(), learning(), ModelDigest::new("m"));
        before.unsaved.store(true, Ordering::Relaxed);
        let learned = before.take_unsaved(&model, Haste::All).unwrap();
        assert_eq!(before.take_unsaved_quarantines(), None);
        {
            let learner = &mut *before.learner.lock();
            learner.quarantine(entry(), Quarantine::Everybody);
            before.quarantines_changed(learner);
        }
        let quarantined = before.take_unsaved_quarantines().unwrap();
        after.restore(&learned, &model).unwrap();
        after.restore_quarantines(&quarantined).unwrap();
        assert!(after.is_withdrawn(&entry()));
        after.renewed(&entry());
        let renewed = after.take_unsaved_quarantines().unwrap();
        before.restore_quarantines(&renewed).unwrap();
        assert!(!before.is_withdrawn(&entry()));
    }
}
