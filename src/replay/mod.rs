//! Replaying a trace through caches with different policies, side by side.
//!
//! Each policy has a cache of its own in a store that is thrown away afterwards. What runs is the code that serves: lookups,
//! embedding, index, rules, saves. Every miss is answered with the request's own group and stored; a hit is wrong where its
//! entry belongs to another group.

mod tally;
mod trace;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use tally::{CHECKPOINT, Counts, Tally};
pub use trace::{Request, Trace};

use crate::cache::{self, CacheError, Caches, Lookup, Save, Strategy};
use crate::config::{CacheSettings, Durability, Policy, Settings};
use crate::decide::{Demand, Outcome};
use crate::embed::{EmbedError, Embedder, Prefix};
use crate::prompt::{Json, Question};
use crate::store::embedded::{EmbeddedStore, OpenError, OpenOptions};
use crate::store::{Answer, Attributes};

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
        let (policy, min_cosine, strict) = (Some(Policy::Static), Some(min_cosine), Some(strict));
        Self { name, settings: CacheSettings { policy, min_cosine, strict, ..CacheSettings::default() } }
    }
}

/// Replays `trace` with each candidate and tells what became of it, in their order. `progress` is told of every request that
/// is done, `candidates` × requests in all.
///
/// # Errors
/// See [`ReplayError`].
pub async fn replay(
    settings: &Settings,
    embedder: Embedder,
    trace: &Trace,
    candidates: &[Candidate],
    progress: &(impl Fn() + Sync),
) -> Result<Vec<Tally>, ReplayError> {
    if trace.requests.is_empty() {
        return Err(ReplayError::Empty);
    }
    let folder = tempfile::tempdir()?;
    let model = embedder.identity().clone();
    let options = OpenOptions { path: folder.path().into(), durability: Durability::Buffered, most_bytes: u64::MAX };
    let store = Arc::new(EmbeddedStore::open(&options, &model)?);
    let names = |number: usize| format!("policy-{number}");
    let caches: BTreeMap<String, CacheSettings> =
        candidates.iter().enumerate().map(|(number, candidate)| (names(number), candidate.settings.clone())).collect();
    let settings = Arc::new(Settings { caches, ..settings.clone() });
    let caches = Caches::open(settings, model.digest, store, embedder).await?;
    embed_all(&caches, trace).await;
    let each = (0..candidates.len()).map(|number| run(&caches, names(number), trace, progress));
    let tallies = futures_util::future::try_join_all(each).await?;
    caches.store().close().await.map_err(CacheError::from)?;
    Ok(tallies)
}

/// So that policies, one request after the other, find what they need in the embedder's memory.
async fn embed_all(caches: &Caches, trace: &Trace) {
    use futures_util::{StreamExt, stream};
    let embedder = caches.embedder();
    let embedded = stream::iter(&trace.requests).for_each_concurrent(EMBEDDED_AT_ONCE, |request| {
        let embedder = &embedder;
        // Whatever goes wrong goes wrong again when it is asked.
        async move { drop::<Result<_, EmbedError>>(embedder.embed(&request.prompt, Prefix::Query).await) }
    });
    embedded.await;
}

async fn run(caches: &Caches, id: String, trace: &Trace, progress: &(impl Fn() + Sync)) -> Result<Tally, ReplayError> {
    let cache = caches.get(TENANT, &id)?;
    let length = trace.requests.len() as u64;
    let mut tally = Tally::default();
    for (number, Request { prompt, group }) in (0..).zip(&trace.requests) {
        let question =
            Question::plain(prompt, &Json::Null).map_err(|error| ReplayError::Question(error.to_string()))?;
        let lookup = Lookup {
            question,
            attributes: Attributes::default(),
            strategies: vec![Strategy::Exact, Strategy::Semantic],
            demand: Demand::default(),
            max_results: 1,
            usable: |_| true,
        };
        let found = cache.lookup(&lookup).await;
        let served = found.hits.first().map(|hit| hit.entry.answer.text.as_str());
        tally.add(number, length, found.decision.outcome, served.is_some_and(|answer| answer != group));
        if found.decision.outcome == Outcome::Miss {
            let answer = Answer { text: group.clone(), completion: None };
            let (question, attributes, embedding) = (lookup.question, lookup.attributes, found.embedding);
            let save = Save { question, answer, attributes, ttl_millis: None, semantic: true, took: None, embedding };
            cache.save(save).await?;
        }
        progress();
    }
    Ok(tally)
}
