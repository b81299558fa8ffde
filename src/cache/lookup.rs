//! One question to a cache.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pending::Before;
use super::registry::{Cache, Setup};
use crate::decide::text::Parsed;
use crate::decide::{Demand, Features, Guard, Observation, Outcome, Text, Verdict};
use crate::embed::{Cosine, EmbedError, Prefix, TextEmbedding};
use crate::prompt::{Question, Reach};
use crate::store::{Answer, Attributes, Candidate, Entry, EntryId, ScopeKey, StoreError, TextHash, Timestamp};
use crate::telemetry::{self, Step};

/// A lookup that takes longer than this, because the embedder or the store is overloaded, goes on without the cache.
const PATIENCE: Duration = Duration::from_secs(2);

/// How an answer may be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// By the same text.
    Exact,
    /// By a text of the same meaning.
    Semantic,
}

/// What is asked of a cache.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The prompt and its scope.
    pub question: Question,
    /// Only entries that carry all of these may answer.
    pub attributes: Attributes,
    /// Tried in this order.
    pub strategies: Vec<Strategy>,
    /// What the caller asks for beyond the cache's rule.
    pub demand: Demand,
    /// Answers wanted at most.
    pub max_results: usize,
    /// Whether the caller can deliver an answer; others are passed over.
    pub usable: fn(&Answer) -> bool,
}

/// Names a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecisionId(uuid::Uuid);

impl std::fmt::Display for DecisionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.simple().fmt(f)
    }
}

/// A candidate and what was thought of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Considered {
    /// The candidate.
    pub entry: EntryId,
    /// Of the two prompts.
    pub cosine: Cosine,
    /// What the rule said.
    pub verdict: Verdict,
}

/// How a lookup ended and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Its name.
    pub id: DecisionId,
    /// How it ended.
    pub outcome: Outcome,
    /// The probability that the first answer is right, where the rule estimates one.
    pub p_correct: Option<f64>,
    /// The semantic candidates, nearest first.
    pub candidates: Vec<Considered>,
    /// What spoke against the best candidate, or against the entry of the same text.
    pub guards: Vec<Guard>,
    /// Why the cache had no say, or could only look for the same text.
    pub reason: Option<String>,
}

impl Decision {
    /// The best semantic candidate's cosine.
    #[must_use]
    pub fn best_cosine(&self) -> Option<Cosine> {
        self.candidates.first().map(|candidate| candidate.cosine)
    }
}

/// An entry whose answer is served.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The entry.
    pub entry: Entry,
    /// Of the two prompts; 1 where they are the same.
    pub cosine: Cosine,
    /// How it was found.
    pub strategy: Strategy,
    /// Of the answer, in milliseconds.
    pub age_millis: u64,
}

/// The result of a lookup.
#[derive(Debug, Clone)]
pub struct Found {
    /// Best first; empty unless the outcome is a hit.
    pub hits: Vec<Hit>,
    /// How it came about.
    pub decision: Decision,
    /// The prompt's vector where it was needed, so that a store that follows needn't compute it again.
    pub embedding: Option<TextEmbedding>,
}

/// What went wrong inside the cache. The caller's request goes on without it.
enum Trouble {
    Store(StoreError),
    Embed(EmbedError),
    Slow,
}

impl Cache {
    /// Looks for an answer. Never fails: where embedder or store do, the outcome is [`Outcome::Bypass`] with the reason,
    /// and a metric counts it.
    pub async fn lookup(&self, lookup: &Lookup) -> Found {
        let mut search = Search::new(self, lookup);
        match lookup.question.reach {
            Reach::Bypass(why) => search.bypass(why.to_owned()),
            _ => {
                let result = tokio::time::timeout(PATIENCE, search.run()).await;
                if let Err(trouble) = result.unwrap_or(Err(Trouble::Slow)) {
                    search.trouble(trouble.report(&self.name.id));
                }
            }
        }
        search.finish()
    }
}

/// A lookup under way.
struct Search<'l> {
    cache: &'l Cache,
    lookup: &'l Lookup,
    scope: ScopeKey,
    now: Timestamp,
    before: Before,
    /// What the whole lookup is made with, whatever changes meanwhile.
    setup: Arc<Setup>,
    hits: Vec<Hit>,
    candidates: Vec<Considered>,
    guards: Vec<Guard>,
    reason: Option<String>,
    bypassed: bool,
    embedding: Option<TextEmbedding>,
}

impl<'l> Search<'l> {
    fn new(cache: &'l Cache, lookup: &'l Lookup) -> Self {
        let scope = ScopeKey::new(cache.key, lookup.question.fingerprint.bytes());
        Self {
            cache,
            lookup,
            scope,
            before: cache.pending.before_now(scope),
            setup: cache.setup(),
            now: Timestamp::now(),
            hits: Vec::new(),
            candidates: Vec::new(),
            guards: Vec::new(),
            reason: None,
            bypassed: false,
            embedding: None,
        }
    }

    async fn run(&mut self) -> Result<(), Trouble> {
        for strategy in &self.lookup.strategies {
            if self.hits.len() < self.lookup.max_results {
                match strategy {
                    Strategy::Exact => self.exact().await?,
                    Strategy::Semantic => self.semantic().await?,
                }
            }
        }
        Ok(())
    }

    async fn exact(&mut self) -> Result<(), Trouble> {
        let started = Instant::now();
        let text = TextHash::of(&self.lookup.question.text);
        self.before.of_text(text).await;
        let found = self
            .cache
            .store
            .find_exact(self.cache.key, self.scope, text, &self.lookup.attributes, self.now)
            .await
            .map_err(Trouble::Store)?;
        telemetry::step(Step::Exact, started.elapsed());
        let same = |entry: &Entry| entry.prompt == self.lookup.question.text && (self.lookup.usable)(&entry.answer);
        if let Some(entry) = found.filter(same) {
            let age = self.now.since(entry.created);
            match self.lookup.demand.too_old(age) {
                Some(guard) => self.guards.push(guard),
                None => self.serve(entry, Cosine::ONE, Strategy::Exact, age),
            }
        }
        Ok(())
    }

    async fn semantic(&mut self) -> Result<(), Trouble> {
        if let Reach::ExactOnly(why) = self.lookup.question.reach {
            self.reason = Some(why.to_owned());
            return Ok(());
        }
        if self.before.is_empty() && self.cache.store.nothing_near(self.cache.key, self.scope) {
            return Ok(());
        }
        let found = match self.search().await {
            // The model was changed in between; the new one is in use by now.
            Err(Trouble::Store(StoreError::OtherModel)) => {
                self.setup = self.cache.setup();
                self.search().await
            }
            found => found,
        };
        let (query, candidates) = match found {
            Err(Trouble::Embed(error @ (EmbedError::TooLong(_) | EmbedError::Unfit(_)))) => {
                self.reason = Some(error.to_string());
                return Ok(());
            }
            found => found?,
        };
        let started = Instant::now();
        self.weigh(&query, candidates);
        telemetry::step(Step::Decide, started.elapsed());
        self.embedding = Some(query);
        Ok(())
    }

    async fn search(&self) -> Result<(TextEmbedding, Vec<Candidate>), Trouble> {
        let query = self.embed().await.map_err(Trouble::Embed)?;
        self.before.all().await;
        let candidates = self.nearest(&query).await.map_err(Trouble::Store)?;
        Ok((query, candidates))
    }

    async fn embed(&self) -> Result<TextEmbedding, EmbedError> {
        let started = Instant::now();
        let query = self.setup.embedder.embed(&self.lookup.question.text, Prefix::Query).await;
        telemetry::step(Step::Embed, started.elapsed());
        query
    }

    async fn nearest(&self, query: &TextEmbedding) -> Result<Vec<Candidate>, StoreError> {
        let started = Instant::now();
        let k = self.cache.candidates.max(self.lookup.max_results);
        let Self { cache, lookup, scope, now, .. } = self;
        let nearest = cache.store.nearest(cache.key, *scope, query, k, &lookup.attributes, *now).await;
        telemetry::step(Step::Search, started.elapsed());
        nearest
    }

    fn weigh(&mut self, query: &TextEmbedding, candidates: Vec<Candidate>) {
        let (rule, lookup) = (&Arc::clone(&self.setup).rule, self.lookup);
        let usable = candidates.into_iter().filter(|candidate| (lookup.usable)(&candidate.entry.answer));
        let parsed = rule.is_strict().then(|| Parsed::new(&lookup.question.text));
        let asked = Text { text: &lookup.question.text, blurred: query.blurred, parsed: parsed.as_ref() };
        for candidate in usable {
            let stored = Text { text: &candidate.entry.prompt, blurred: candidate.blurred, parsed: None };
            let features = Features::of(asked, stored, candidate.cosine);
            let age = self.now.since(candidate.entry.created);
            let verdict = rule.judge(&features, age, &lookup.demand);
            let serves = verdict.serves();
            if self.candidates.is_empty() {
                self.guards.clone_from(&verdict.guards);
            }
            self.candidates.push(Considered { entry: candidate.entry.id, cosine: features.cosine, verdict });
            if serves && self.hits.len() < lookup.max_results {
                self.serve(candidate.entry, features.cosine, Strategy::Semantic, age);
            }
        }
    }

    fn serve(&mut self, entry: Entry, cosine: Cosine, strategy: Strategy, age_millis: u64) {
        if !self.hits.iter().any(|hit| hit.entry.id == entry.id) {
            self.hits.push(Hit { entry, cosine, strategy, age_millis });
        }
    }

    fn bypass(&mut self, reason: String) {
        self.reason = Some(reason);
        self.bypassed = true;
    }

    /// What was found before the trouble is as right as ever.
    fn trouble(&mut self, reason: String) {
        self.bypassed = self.hits.is_empty();
        self.reason = Some(reason);
    }

    fn finish(self) -> Found {
        let outcome = match self.hits.first().map(|hit| hit.strategy) {
            _ if self.bypassed => Outcome::Bypass,
            Some(Strategy::Exact) => Outcome::ExactHit,
            Some(Strategy::Semantic) => Outcome::SemanticHit,
            None => Outcome::Miss,
        };
        let p_correct = self.candidates.first().and_then(|best| best.verdict.p_correct);
        let guards = if outcome.is_hit() { Vec::new() } else { self.guards };
        let decision = Decision {
            id: DecisionId(uuid::Uuid::now_v7()),
            outcome,
            p_correct,
            candidates: self.candidates,
            guards,
            reason: self.reason,
        };
        let min_cosine = self.setup.rule.min_cosine(&self.lookup.demand);
        let (store, key) = (&self.cache.store, self.cache.key);
        match self.hits.first() {
            Some(hit) => store.used(key, hit.entry.id),
            None if outcome == Outcome::Miss => {
                let text = TextHash::of(&self.lookup.question.text);
                store.missed(key, EntryId::new(self.scope, text, &self.lookup.attributes));
            }
            None => {}
        }
        self.cache.observe(&Observation { outcome, best: decision.best_cosine(), min_cosine });
        Found { hits: self.hits, decision, embedding: self.embedding }
    }
}

impl Trouble {
    /// Counts and logs it; returns what the caller may know.
    fn report(self, cache: &str) -> String {
        let (part, error): (_, Box<dyn std::error::Error>) = match self {
            Self::Store(error @ (StoreError::Loading | StoreError::OtherModel)) => ("loading", error.into()),
            Self::Store(error) => ("store", error.into()),
            Self::Embed(EmbedError::Busy(n)) => ("embed_queue", EmbedError::Busy(n).into()),
            Self::Embed(error) => ("embed", error.into()),
            Self::Slow => ("slow", "the cache did not answer in time".into()),
        };
        telemetry::degraded(part);
        let cause = telemetry::cause(error.as_ref());
        if part == "loading" {
            // Known, and over soon.
            tracing::debug!(cache, part, %error, "lookup went on without the cache");
        } else {
            tracing::warn!(cache, part, %error, cause, "lookup went on without the cache");
        }
        error.to_string()
    }
}
