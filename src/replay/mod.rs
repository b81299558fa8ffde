//! Replaying a trace through caches with different policies, side by side.
//!
//! Each policy has a cache of its own in a store that is thrown away afterwards. What runs is the code that serves: lookups,
//! embedding, index, rules, saves, labels. Every miss and every audit is answered with the request's own group, or with its response, and
//! stored; a hit is wrong where its entry belongs to another group.

mod calibrate;
mod frontier;
mod judge;
pub mod report;
mod tally;
mod trace;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub use calibrate::{Labelled, Pair, Vectors};
pub use frontier::{Asked, frontier, hits_at};
use judge::GroupJudge;
pub use tally::{Bin, CHECKPOINT, Counts, Digest, Seen, Tally};
pub use trace::{Request, Trace, TraceError};

use crate::cache::{self, Cache, CacheError, Caches, Lookup, Save, gist_of};
use crate::config::{CacheSettings, Durability, PolicyName, Settings};
use crate::decide::Outcome;
use crate::embed::{EmbedError, Embedder, Prefix};
use crate::llm::FormatId;
use crate::prompt::{Cacheability, Json, Partition, Question};
use crate::store::embedded::{EmbeddedStore, OpenError, OpenOptions};
use crate::store::{Answer, EntryId};

/// Texts that are embedded at a time: enough to fill batches.
const EMBEDDED_AT_ONCE: usize = 64;
/// Who owns the caches.
const TENANT: &str = "replay";

/// Why a trace can't be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is no request.
    #[error("the trace has no request: every line needs a `prompt` and a `group`")]
    Empty,
    /// The store can't be made.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The caches can't.
    #[error(transparent)]
    Caches(#[from] cache::OpenError),
    /// A request could not be answered or stored.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The operating system refuses.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The request isn't one.
    #[error("a prompt can't be asked: {0}")]
    Question(String),
}

/// A policy under its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// As it is shown.
    pub name: String,
    /// As a cache's settings say it.
    pub settings: CacheSettings,
}

impl Candidate {
    /// A fixed threshold.
    #[must_use]
    pub fn fixed(min_cosine: f32, strict: bool) -> Self {
        let name = format!("static {min_cosine:.2}{}", if strict { " strict" } else { "" });
        let (policy, min_cosine, strict) = (Some(PolicyName::Static), Some(min_cosine), Some(strict));
        Self { name, settings: CacheSettings { policy, min_cosine, strict, ..CacheSettings::default() } }
    }

    /// A rule that learns, with an error budget.
    #[must_use]
    pub fn budgeted(policy: PolicyName, budget: f64, base: &CacheSettings, strict: bool) -> Self {
        let kind = if policy == PolicyName::PerEntry { "per-entry" } else { "budget" };
        let name = format!("{kind} {budget}{}", if strict { " strict" } else { "" });
        let settings = CacheSettings {
            policy: Some(policy),
            error_budget: Some(budget),
            strict: Some(strict),
            audit_rate: base.audit_rate,
            candidates: base.candidates,
            ..CacheSettings::default()
        };
        Self { name, settings }
    }

    /// The budget that it is bound to, if it is.
    #[must_use]
    pub fn budget(&self) -> Option<f64> {
        (self.settings.policy != Some(PolicyName::Static)).then(|| self.settings.error_budget())
    }

    /// The published rule stores an explored prompt only where the entry near it was wrong.
    fn stores_only_what_was_wrong(&self) -> bool {
        self.settings.policy == Some(PolicyName::PerEntry)
    }
}

/// What misses are answered with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AnsweredWith {
    /// The name of the request's group: so all labels are right.
    Group,
    /// The request's response, where it has one. Labels come as they do in service, from comparing responses.
    Response {
        /// In which share of the pairs a judge errs, if there is one. It knows the groups.
        judge_error: Option<f64>,
    },
}

/// What came of a replay.
#[derive(Debug)]
pub struct Replayed {
    /// Of each candidate, in their order.
    pub tallies: Vec<Tally>,
    /// What every fixed threshold would have served.
    pub frontier: Vec<report::Point>,
}

/// Replays `trace` with each candidate and tells what became of it. `progress` is told of every request that is done,
/// `candidates` × requests in all.
///
/// # Errors
/// See [`ReplayError`].
pub async fn replay(
    settings: &Settings,
    embedder: Embedder,
    trace: &Trace,
    candidates: &[Candidate],
    answered_with: AnsweredWith,
    progress: &(impl Fn() + Sync),
) -> Result<Replayed, ReplayError> {
    if trace.requests.is_empty() {
        return Err(ReplayError::Empty);
    }
    let folder = tempfile::tempdir()?;
    let model = embedder.identity().clone();
    let options =
        OpenOptions { path: folder.path().into(), durability: Durability::Buffered, max_bytes: u64::MAX, gist_of };
    let store = Arc::new(EmbeddedStore::open(&options, &model)?);
    let names = |number: usize| format!("policy-{number}");
    let caches: BTreeMap<String, CacheSettings> =
        candidates.iter().enumerate().map(|(number, candidate)| (names(number), candidate.settings.clone())).collect();
    let settings = Arc::new(Settings { caches, ..settings.clone() });
    let caches = Caches::open_with_draws(settings, model.digest, store, embedder, 0).await?;
    if let AnsweredWith::Response { judge_error: Some(error) } = answered_with {
        caches.judged_by(Arc::new(GroupJudge::new(trace, error)));
    }
    let asked = embed_all(&caches, trace).await;
    let frontier = tokio::task::block_in_place(|| frontier::frontier(&asked));
    let each = candidates
        .iter()
        .enumerate()
        .map(|(number, candidate)| run(&caches, names(number), candidate, (trace, answered_with), progress));
    let tallies = futures_util::future::try_join_all(each).await?;
    caches.store().close().await.map_err(CacheError::from)?;
    Ok(Replayed { tallies, frontier })
}

/// So that policies, one request after the other, find what they need in the embedder's memory.
async fn embed_all<'t>(caches: &Caches, trace: &'t Trace) -> Vec<Asked<'t>> {
    use futures_util::{StreamExt, stream};
    let embedder = caches.embedder();
    let embedded = stream::iter(&trace.requests).map(|request| {
        let embedder = &embedder;
        async move {
            // Whatever goes wrong goes wrong again when it is asked.
            let made: Result<_, EmbedError> = embedder.embed(&request.prompt, Prefix::Query).await;
            Asked { group: &request.group, vector: made.ok().map(|made| made.vector) }
        }
    });
    embedded.buffered(EMBEDDED_AT_ONCE).collect().await
}

async fn run(
    caches: &Caches,
    id: String,
    candidate: &Candidate,
    (trace, answered_with): (&Trace, AnsweredWith),
    progress: &(impl Fn() + Sync),
) -> Result<Tally, ReplayError> {
    let cache = caches.get(TENANT, &id)?;
    let length = trace.requests.len() as u64;
    let mut tally = Tally::default();
    let mut groups: HashMap<EntryId, &str> = HashMap::new();
    for (number, request) in (0..).zip(&trace.requests) {
        let lookup = Lookup::new(question(request, &cache)?);
        let found = cache.lookup(&lookup).await;
        let decision = &found.decision;
        let is_right = |entry: &EntryId| groups.get(entry).is_some_and(|group| *group == request.group);
        let served = found.hits.first().map(|hit| is_right(&hit.entry.id));
        let best = cache.decision(decision.id).await.map_err(CacheError::from)?.and_then(|logged| {
            let nearest = logged.assessment.as_ref()?.best()?.clone();
            Some((nearest.cosine.get(), decision.p_correct?, is_right(&nearest.entry)))
        });
        let nearest = decision.candidates.first().map(|nearest| (nearest.cosine.get(), is_right(&nearest.entry)));
        let was_alarmed = cache.learner_status().is_some_and(|status| status.alarmed);
        tally.digest.add(decision, found.hits.first().map(|hit| hit.entry.id));
        tally.add(number, length, &Seen { outcome: decision.outcome, served, best, nearest });
        if matches!(decision.outcome, Outcome::Miss | Outcome::Audit) {
            let response = request.response.as_ref().filter(|_| answered_with != AnsweredWith::Group);
            let answer = Answer { text: response.unwrap_or(&request.group).clone(), ..Answer::default() };
            let is_known = candidate.stores_only_what_was_wrong() && best.is_some_and(|(_, _, right)| right);
            let (question, embedding) = (lookup.question, found.embedding);
            if is_known {
                cache.answered(&question, &answer, &lookup.attributes);
            } else {
                let save = Save { embedding, ..Save::new(question, answer) };
                groups.insert(cache.save(save).await?, &request.group);
            }
            cache.settle().await;
        }
        if !was_alarmed && cache.learner_status().is_some_and(|status| status.alarmed) {
            tally.alarms.push(number);
        }
        progress();
    }
    Ok(tally)
}

fn question(request: &Request, cache: &Cache) -> Result<Question, ReplayError> {
    let unclear = |error: &dyn std::fmt::Display| ReplayError::Question(error.to_string());
    let Some(messages) = &request.messages else {
        return Question::plain(&request.prompt, &Json::Null).map_err(|error| unclear(&error));
    };
    let chat = serde_json::json!({ "model": request.model, "messages": messages });
    let chat = FormatId::OpenAiChat.format().read_request(chat).map_err(|error| unclear(&error))?;
    let ignored = cache.ignored_fields();
    let question = Question::of_chat(&chat, &Partition { ignored: &ignored, ..Partition::default() });
    if let Cacheability::Bypass(why) = question.cacheability {
        return Err(unclear(&why));
    }
    Ok(question)
}
