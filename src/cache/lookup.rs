//! One question to a cache.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::known::Known;
use super::pending::Before;
use super::registry::{Cache, Setup};
use crate::decide::{
    AnswerClass, Case, Demand, Ending, Evidence, Features, Guard, Neighbour, Observation, Outcome, Query, Reading,
    Rule, Terms, Text, Verdict, gather,
};
use crate::embed::{Cosine, EmbedError, Prefix, TextEmbedding};
use crate::prompt::{Cacheability, Question};
use crate::store::{
    Answer, Attributes, Candidate, ChatContext, Curation, Entry, EntryFilter, EntryId, ScopeKey, StoreError, TextHash,
    Timestamp,
};
use crate::telemetry::{self, Step};

/// A lookup that takes longer than this, because the embedder or the store is overloaded, goes on without the cache.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of a prompt that is read while the embedder works.
const READ_MEANWHILE: usize = 1 << 14;

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
    /// What curated entries may depend on. Unset: none of them may answer, because the text alone doesn't say what is asked.
    pub chat: Option<ChatContext>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct DecisionId(uuid::Uuid);

impl DecisionId {
    /// Its bytes, which sort by time.
    pub(super) fn bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl std::str::FromStr for DecisionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        uuid::Uuid::try_parse(text).map(Self)
    }
}

impl std::fmt::Display for DecisionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.simple().fmt(f)
    }
}

/// A candidate and what was thought of it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Considered {
    /// The candidate.
    pub entry: EntryId,
    /// Of the two prompts.
    pub cosine: Cosine,
    /// What the rule said.
    pub verdict: Verdict,
    /// Whether it is a curated entry.
    #[serde(default)]
    pub curated: bool,
}

/// How a lookup ended and why.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Decision {
    /// Its name.
    pub id: DecisionId,
    /// How it ended.
    pub outcome: Outcome,
    /// The probability that the best candidate's answer is right, where the rule estimates one.
    pub p_correct: Option<f64>,
    /// The error budget that it was made within, where the rule has one.
    pub budget: Option<f64>,
    /// The semantic candidates, nearest first.
    pub candidates: Vec<Considered>,
    /// What spoke against the best candidate, or against the entry of the same text.
    pub guards: Vec<Guard>,
    /// Why the cache had no say, or could only look for the same text.
    pub reason: Option<String>,
    /// Whether a curated entry was served.
    #[serde(default)]
    pub curated: bool,
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

impl Hit {
    /// Whether somebody wrote the answer for many chats.
    #[must_use]
    pub fn is_curated(&self) -> bool {
        self.entry.curation.is_some()
    }
}

/// The result of a lookup.
#[derive(Debug, Clone)]
pub struct Found {
    /// Best first; empty unless the outcome is a hit.
    pub hits: Vec<Hit>,
    /// How it came about.
    pub decision: Arc<Decision>,
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
        match lookup.question.cacheability {
            Cacheability::Bypass(why) => search.bypass(why.to_owned()),
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

/// What lies near a prompt.
struct Near<'l> {
    reading: Reading<'l>,
    query: TextEmbedding,
    candidates: Vec<Candidate>,
}

/// A scope, and what of it may answer.
#[derive(Clone)]
struct Place {
    scope: ScopeKey,
    wanted: EntryFilter,
}

/// A lookup under way.
struct Search<'l> {
    cache: &'l Cache,
    lookup: &'l Lookup,
    scope: ScopeKey,
    /// Where the cache's curated entries are, if it has any and they may answer.
    curated: Option<Place>,
    now: Timestamp,
    before: Before,
    /// What the whole lookup is made with, whatever changes meanwhile.
    setup: Arc<Setup>,
    hits: Vec<Hit>,
    candidates: Vec<Considered>,
    /// What a rule that learns went by.
    case: Option<Case>,
    guards: Vec<Guard>,
    reason: Option<String>,
    bypassed: bool,
    embedding: Option<TextEmbedding>,
}

impl<'l> Search<'l> {
    fn new(cache: &'l Cache, lookup: &'l Lookup) -> Self {
        let scope = ScopeKey::new(cache.key, lookup.question.fingerprint.bytes());
        let curated = lookup.chat.as_ref().filter(|_| cache.may_hold_curated()).map(|chat| Place {
            scope: ScopeKey::new(cache.key, &Curation::fingerprint()),
            wanted: EntryFilter { attributes: lookup.attributes.clone(), chat: Some(chat.clone()) },
        });
        Self {
            cache,
            lookup,
            scope,
            curated,
            before: cache.pending.before_now(scope),
            setup: cache.setup(),
            now: Timestamp::now(),
            hits: Vec::new(),
            candidates: Vec::new(),
            case: None,
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

    /// What somebody wrote for this text comes before what a model once answered to this request.
    async fn exact(&mut self) -> Result<(), Trouble> {
        let started = Instant::now();
        let text = TextHash::of(&self.lookup.question.text);
        self.before.of_text(text).await;
        for place in self.places() {
            if self.hits.len() < self.lookup.max_results {
                self.exact_in(&place, text).await?;
            }
        }
        telemetry::step(Step::Exact, started.elapsed());
        Ok(())
    }

    async fn exact_in(&mut self, Place { scope, wanted }: &Place, text: TextHash) -> Result<(), Trouble> {
        let Self { cache, now, .. } = self;
        let found = cache.store.find_exact(cache.key, *scope, text, wanted, *now).await.map_err(Trouble::Store)?;
        let same = |entry: &Entry| entry.prompt == self.lookup.question.text && self.is_usable(entry);
        if let Some(entry) = found.filter(same) {
            if self.cache.learning.is_withdrawn(&entry.id) {
                self.guards.push(Guard::Quarantined);
                return Ok(());
            }
            let age = self.now.since(entry.created);
            match self.lookup.demand.too_old(age) {
                Some(guard) => self.guards.push(guard),
                None => self.serve(entry, Cosine::ONE, Strategy::Exact, age),
            }
        }
        Ok(())
    }

    /// Where answers may be, curated ones first.
    fn places(&self) -> Vec<Place> {
        let own = Place { scope: self.scope, wanted: self.lookup.attributes.clone().into() };
        self.curated.iter().cloned().chain([own]).collect()
    }

    /// Whether the caller can deliver an entry's answer. Curated ones are plain text, which everybody can.
    fn is_usable(&self, entry: &Entry) -> bool {
        entry.curation.is_some() || (self.lookup.usable)(&entry.answer)
    }

    async fn semantic(&mut self) -> Result<(), Trouble> {
        if let Cacheability::ExactOnly(why) = self.lookup.question.cacheability {
            self.reason = Some(why.to_owned());
            return Ok(());
        }
        let nothing_near = |place: &Place| self.cache.store.nothing_near(self.cache.key, place.scope);
        if self.before.is_empty() && self.places().iter().all(nothing_near) {
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
        let near = match found {
            Err(Trouble::Embed(error @ (EmbedError::TooLong(_) | EmbedError::Unfit(_)))) => {
                self.reason = Some(error.to_string());
                return Ok(());
            }
            found => found?,
        };
        let started = Instant::now();
        self.embedding = Some(self.weigh(near));
        telemetry::step(Step::Decide, started.elapsed());
        Ok(())
    }

    async fn search(&self) -> Result<Near<'l>, Trouble> {
        let text = self.lookup.question.text.as_str();
        let read = || Reading::of(text);
        // The embedder may refuse a long one.
        let read_meanwhile = async { (text.len() <= READ_MEANWHILE).then(read) };
        let (query, reading) = tokio::join!(biased; self.embed(), read_meanwhile);
        let query = query.map_err(Trouble::Embed)?;
        self.before.all().await;
        let candidates = self.nearest(&query).await.map_err(Trouble::Store)?;
        Ok(Near { reading: reading.unwrap_or_else(read), query, candidates })
    }

    async fn embed(&self) -> Result<TextEmbedding, EmbedError> {
        let started = Instant::now();
        let query = self.setup.embedder.embed(&self.lookup.question.text, Prefix::Query).await;
        telemetry::step(Step::Embed, started.elapsed());
        query
    }

    /// The nearest of all places together: neighbours that agree are evidence, wherever they are from.
    async fn nearest(&self, query: &TextEmbedding) -> Result<Vec<Candidate>, StoreError> {
        let started = Instant::now();
        let k = self.setup.settings.candidates().max(self.lookup.max_results);
        let Self { cache, now, .. } = self;
        let mut nearest = Vec::new();
        for Place { scope, wanted } in self.places() {
            if !cache.store.nothing_near(cache.key, scope) {
                nearest.extend(cache.store.nearest(cache.key, scope, query, k, &wanted, *now).await?);
            }
        }
        if self.curated.is_some() {
            let specificity = |found: &Candidate| found.entry.curation.as_ref().map(Curation::specificity);
            nearest.sort_by(|a, b| {
                let by_cosine = b.cosine.get().total_cmp(&a.cosine.get());
                by_cosine.then_with(|| specificity(b).cmp(&specificity(a)))
            });
            nearest.truncate(k);
        }
        telemetry::step(Step::Search, started.elapsed());
        Ok(nearest)
    }

    /// Returns the prompt's vector.
    fn weigh(&mut self, near: Near<'_>) -> TextEmbedding {
        let Near { reading, query, candidates } = near;
        let asked = Query { reading: &reading, vector: &query.vector, blurred: query.blurred };
        match self.setup.rule {
            Rule::Static { .. } => self.weigh_by_threshold(asked, candidates),
            Rule::PerEntry(terms) | Rule::Budget(terms) => self.weigh_by_labels(asked, candidates, terms),
        }
        query
    }

    /// By what was learned from labels: of the candidates together, because neighbours that agree are evidence.
    fn weigh_by_labels(&mut self, asked: Query<'_>, candidates: Vec<Candidate>, terms: Terms) {
        if candidates.is_empty() {
            return;
        }
        let (cache, lookup, now) = (self.cache, self.lookup, self.now);
        let known: Vec<_> = candidates.iter().map(|found| cache.known.of(&found.entry)).collect();
        let own = candidates.iter().zip(&known).map(|(found, known)| (found.entry.id, known.class));
        let classes = cache.learning.classes(own);
        let about = candidates.iter().zip(&known).zip(classes);
        let neighbours: Vec<_> = about.map(|((found, known), class)| neighbour(found, known, class)).collect();
        let evidence = gather(asked, &neighbours, cache.holdings().entries);
        let ruled_out = |evidence: &Evidence| {
            candidates.get(evidence.place).is_none_or(|found| {
                !self.is_usable(&found.entry)
                    || lookup.demand.too_old(now.since(found.entry.created)).is_some()
                    || lookup.demand.min_cosine.is_some_and(|least| found.cosine < least)
            })
        };
        let most_error = lookup.demand.max_error_rate;
        let Some(case) = cache.learning.decide(evidence, (asked, &neighbours), &self.setup, most_error, ruled_out)
        else {
            return;
        };
        let p_of = |place: usize| {
            let weighed = case.evidence.iter().position(|evidence| evidence.place == place)?;
            case.p_correct.get(weighed).copied().map(|p| (weighed, p))
        };
        for (place, found) in candidates.into_iter().enumerate() {
            let weighed = p_of(place);
            let age = now.since(found.entry.created);
            let is_best = weighed.is_some_and(|(weighed, _)| Some(weighed) == case.best);
            let mut guards = match weighed {
                Some((weighed, _)) if is_best || case.best.is_none() => {
                    self.against(&case, &case.evidence[weighed], &found, terms)
                }
                _ => vec![Guard::NotTheBest],
            };
            // Of several answers that a caller wants, the others have to be as sure as the first.
            let is_sure = weighed.is_some_and(|(_, p)| 1.0 - p <= case.cut);
            let is_further = lookup.max_results > 1 && case.ending == Ending::Served && !is_best && is_sure;
            if is_further
                && weighed.is_some_and(|(weighed, _)| self.is_servable(&case.evidence[weighed], &found, terms))
            {
                guards.clear();
            }
            if is_best || (case.best.is_none() && place == 0) {
                self.guards.clone_from(&guards);
            }
            let verdict = Verdict { p_correct: weighed.map(|(_, p)| p), guards };
            let serves = verdict.serves();
            let curated = found.entry.curation.is_some();
            self.candidates.push(Considered { entry: found.entry.id, cosine: found.cosine, verdict, curated });
            if serves && self.hits.len() < lookup.max_results {
                self.serve(found.entry, found.cosine, Strategy::Semantic, age);
            }
        }
        self.case = Some(case);
    }

    /// What speaks against serving the best candidate, or the nearest where all are ruled out.
    fn against(&self, case: &Case, evidence: &Evidence, found: &Candidate, terms: Terms) -> Vec<Guard> {
        let mut guards = self.ruling_out(evidence, found, terms);
        let error = 1.0 - case.best_p().unwrap_or(0.0);
        guards.extend(match case.ending {
            Ending::Served => None,
            Ending::Audited => Some(Guard::Audited),
            Ending::Alarmed => Some(Guard::AnswersChanged),
            Ending::Refused if case.best.is_none() => None,
            Ending::Refused if matches!(self.setup.rule, Rule::PerEntry(_)) => {
                Some(Guard::Explored { probability: case.audit_rate })
            }
            Ending::Refused => Some(Guard::OverBudget { error, cut: case.cut }),
        });
        guards
    }

    /// What speaks against a candidate however sure it is.
    fn ruling_out(&self, evidence: &Evidence, found: &Candidate, terms: Terms) -> Vec<Guard> {
        let demand = &self.lookup.demand;
        let mut guards = Vec::new();
        if let Some(least) = demand.min_cosine.filter(|least| found.cosine < *least) {
            guards.push(Guard::BelowThreshold { min_cosine: least.get() });
        }
        if evidence.unclear {
            guards.push(Guard::BlurredAndDifferent);
        }
        if terms.strict {
            guards.extend(evidence.differences.iter().map(|what| Guard::Differs { what: what.clone() }));
        }
        if self.cache.learning.is_quarantined(&found.entry.id) {
            guards.push(Guard::Quarantined);
        }
        guards.extend(demand.too_old(self.now.since(found.entry.created)));
        guards
    }

    fn is_servable(&self, evidence: &Evidence, found: &Candidate, terms: Terms) -> bool {
        self.is_usable(&found.entry) && self.ruling_out(evidence, found, terms).is_empty()
    }

    /// By one fixed threshold.
    fn weigh_by_threshold(&mut self, asked: Query<'_>, candidates: Vec<Candidate>) {
        let (rule, lookup) = (&Arc::clone(&self.setup).rule, self.lookup);
        let usable: Vec<Candidate> = candidates.into_iter().filter(|found| self.is_usable(&found.entry)).collect();
        let asked = asked.text();
        let asked = Text { parsed: asked.parsed.filter(|_| rule.is_strict()), ..asked };
        for candidate in usable {
            let known = rule.is_strict().then(|| self.cache.known.of(&candidate.entry));
            let parsed = known.as_ref().map(|known| &known.prompt);
            let stored = Text { text: &candidate.entry.prompt, blurred: candidate.blurred, parsed };
            let features = Features::of(asked, stored, candidate.cosine);
            let age = self.now.since(candidate.entry.created);
            let mut verdict = rule.judge(&features, age, &lookup.demand);
            if self.cache.learning.is_quarantined(&candidate.entry.id) {
                verdict.guards.push(Guard::Quarantined);
            }
            let serves = verdict.serves();
            if self.candidates.is_empty() {
                self.guards.clone_from(&verdict.guards);
            }
            let curated = candidate.entry.curation.is_some();
            self.candidates.push(Considered { entry: candidate.entry.id, cosine: features.cosine, verdict, curated });
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
            None if self.case.as_ref().is_some_and(|case| case.ending == Ending::Audited) => Outcome::Audit,
            None => Outcome::Miss,
        };
        let p_correct = self.case.as_ref().and_then(Case::best_p);
        let guards = if outcome.is_hit() { Vec::new() } else { self.guards };
        let decision = Arc::new(Decision {
            id: DecisionId(uuid::Uuid::now_v7()),
            outcome,
            p_correct,
            budget: self.setup.rule.terms().map(|terms| terms.budget.get()),
            candidates: self.candidates,
            guards,
            reason: self.reason,
            curated: self.hits.first().is_some_and(Hit::is_curated),
        });
        if decision.curated {
            telemetry::curated_hit(&self.cache.name.id);
        }
        let served = self.hits.first().map(|hit| hit.entry.id);
        let text = TextHash::of(&self.lookup.question.text);
        self.cache.learning.log(&decision, self.case, served, (self.scope, text));
        let min_cosine = self.setup.rule.min_cosine(&self.lookup.demand);
        let (store, key) = (&self.cache.store, self.cache.key);
        match self.hits.first() {
            Some(hit) => store.used(key, hit.entry.id),
            None if matches!(outcome, Outcome::Miss | Outcome::Audit) => {
                store.missed(key, EntryId::new(self.scope, text, &self.lookup.attributes));
            }
            None => {}
        }
        self.cache.observe(&Observation { outcome, best: decision.best_cosine(), min_cosine });
        Found { hits: self.hits, decision, embedding: self.embedding }
    }
}

fn neighbour<'n>(found: &'n Candidate, known: &'n Known, answer: AnswerClass) -> Neighbour<'n> {
    Neighbour {
        entry: found.entry.id,
        prompt: Text { text: &found.entry.prompt, blurred: found.blurred, parsed: Some(&known.prompt) },
        vector: &found.vector,
        cosine: found.cosine,
        answer,
        is_literal: known.is_literal,
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
