//! A lookup under way: exact, then semantic, in the order asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cache::Cache;
use super::decision::{Considered, Decision, DecisionId};
use super::gist::AnswerNeed;
use super::lookup::{Found, Hit, Lookup, Strategy};
use super::pending::Before;
use super::place::{Near, Place};
use super::setup::Setup;
use super::trouble::Trouble;
use crate::decide::text::Parsed;
use crate::decide::{
    AnswerClass, Assessment, AssessmentRequest, CandidateState, Neighbour, Observation, Outcome, ParsedPrompt,
    PolicyDecision, PromptText, Query, RejectionReason, Verdict,
};
use crate::embed::{Cosine, EmbedError, Prefix, TextEmbedding};
use crate::prompt::Cacheability;
use crate::store::{
    Candidate, Curation, Entry, EntryFilter, EntryId, Quarantine, ScopeKey, StoreError, TextHash, Timestamp,
};
use crate::telemetry::{self, Step};

/// A lookup that takes longer than this, because something is overloaded, goes on without the cache.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(2);

/// Bytes of a prompt that is parsed while the embedder works.
const PARSE_MEANWHILE: usize = 1 << 14;

impl Cache {
    /// Looks for an answer. Never fails: where embedder or store do, the outcome is [`Outcome::Bypass`] with the reason,
    /// and a metric counts it.
    pub async fn lookup(&self, lookup: &Lookup) -> Found {
        let mut search = Search::new(self, lookup);
        match lookup.question.cacheability {
            Cacheability::Bypass(why) => search.bypass(why.to_owned()),
            _ => {
                let result = tokio::time::timeout(MAX_WAIT, search.run()).await;
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
    /// Where answers may be, curated ones first.
    places: Arc<[Place]>,
    now: Timestamp,
    before: Before,
    /// What the whole lookup is made with, whatever changes meanwhile.
    setup: Arc<Setup>,
    hits: Vec<Hit>,
    candidates: Vec<Considered>,
    /// What a policy that learns went by.
    assessment: Option<Assessment>,
    rejections: Vec<RejectionReason>,
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
        let own = Place { scope, wanted: lookup.attributes.clone().into() };
        Self {
            cache,
            lookup,
            scope,
            places: curated.into_iter().chain([own]).collect(),
            before: cache.pending.before_now(scope),
            setup: cache.setup(),
            now: Timestamp::now(),
            hits: Vec::new(),
            candidates: Vec::new(),
            assessment: None,
            rejections: Vec::new(),
            reason: None,
            bypassed: false,
            embedding: None,
        }
    }

    async fn run(&mut self) -> Result<(), Trouble> {
        self.cache.wake().await.map_err(Trouble::Store)?;
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
        for place in Arc::clone(&self.places).iter() {
            if self.hits.len() < self.lookup.max_results {
                self.exact_in(place, text).await?;
            }
        }
        telemetry::step(Step::Exact, started.elapsed());
        Ok(())
    }

    async fn exact_in(&mut self, Place { scope, wanted }: &Place, text: TextHash) -> Result<(), Trouble> {
        let (cache, now) = (self.cache, self.now);
        let found = cache.store.find_exact(cache.key, *scope, text, wanted, now).await.map_err(Trouble::Store)?;
        let same = |entry: &Entry| {
            entry.prompt == self.lookup.question.text && self.can_be_given(entry, AnswerNeed::is_met_by)
        };
        if let Some(entry) = found.filter(same) {
            if cache.store.quarantined(cache.key, &entry.id) == Some(Quarantine::Everybody) {
                self.rejections.push(RejectionReason::Quarantined);
                return Ok(());
            }
            let age = self.now.since(entry.created);
            match self.lookup.constraints.too_old(age) {
                Some(reason) => self.rejections.push(reason),
                None => self.serve(entry, Cosine::ONE, Strategy::Exact, age),
            }
        }
        Ok(())
    }

    /// Whether the caller can be given an entry's answer. Curated ones are plain text, which everybody can.
    fn can_be_given<A>(&self, entry: &Entry<A>, is_met_by: impl FnOnce(AnswerNeed, &A) -> bool) -> bool {
        entry.curation.is_some() || is_met_by(self.lookup.need, &entry.answer)
    }

    async fn semantic(&mut self) -> Result<(), Trouble> {
        if let Cacheability::ExactOnly(why) = self.lookup.question.cacheability {
            self.reason = Some(why.to_owned());
            return Ok(());
        }
        if let Some(why) = self.cache.distrust() {
            self.reason = Some(why.to_owned());
            return Ok(());
        }
        let nothing_near = |place: &Place| self.cache.store.nothing_near(self.cache.key, place.scope);
        if self.before.is_empty() && self.places.iter().all(nothing_near) {
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
        let (embedding, served) = self.assess(near);
        self.embedding = Some(embedding);
        telemetry::step(Step::Decide, started.elapsed());
        for found in served {
            self.serve_near(&found).await?;
        }
        Ok(())
    }

    async fn search(&self) -> Result<Near<'l>, Trouble> {
        let text = self.lookup.question.text.as_str();
        let parse = || ParsedPrompt::of(text);
        // The embedder may refuse a long one.
        let parse_meanwhile = async { (text.len() <= PARSE_MEANWHILE).then(parse) };
        let (query, prompt) = tokio::join!(biased; self.embed(), parse_meanwhile);
        let query = query.map_err(Trouble::Embed)?;
        self.before.all().await;
        let candidates = self.nearest(&query).await.map_err(Trouble::Store)?;
        Ok(Near { prompt: prompt.unwrap_or_else(parse), query, candidates })
    }

    async fn embed(&self) -> Result<TextEmbedding, EmbedError> {
        let started = Instant::now();
        let query = self.setup.embedder.embed(&self.lookup.question.text, Prefix::Query).await;
        telemetry::step(Step::Embed, started.elapsed());
        query
    }

    /// The nearest of all places together.
    async fn nearest(&self, query: &TextEmbedding) -> Result<Vec<Candidate>, StoreError> {
        let started = Instant::now();
        let k = self.setup.settings.candidates().max(self.lookup.max_results);
        let Self { cache, now, .. } = self;
        let mut nearest = Vec::new();
        for Place { scope, wanted } in self.places.iter() {
            if !cache.store.nothing_near(cache.key, *scope) {
                nearest.extend(cache.store.nearest(cache.key, *scope, query, k, wanted, *now).await?);
            }
        }
        if self.places.len() > 1 {
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

    /// Asks the policy. Returns the prompt's vector, and what is to be served.
    fn assess(&mut self, near: Near<'_>) -> (TextEmbedding, Vec<Candidate>) {
        let Near { prompt, query: embedding, candidates } = near;
        if candidates.is_empty() {
            return (embedding, Vec::new());
        }
        let (cache, lookup) = (self.cache, self.lookup);
        let policy = &Arc::clone(&self.setup).policy;
        let query = Query { prompt: &prompt, vector: &embedding.vector, is_lossy: embedding.lossy };
        let parsed: Vec<_> = match policy.ignores_texts() {
            true => Vec::new(),
            false => candidates.iter().map(|found| cache.prompts.of(found.entry.id, &found.entry.prompt)).collect(),
        };
        let own = |found: &Candidate| (found.entry.id, AnswerClass(found.entry.answer.says));
        let classes = cache.learning.classes(candidates.iter().map(own));
        let neighbours: Vec<Neighbour<'_>> = candidates
            .iter()
            .zip(classes)
            .enumerate()
            .map(|(place, (found, class))| self.neighbour(found, parsed.get(place), class))
            .collect();
        let request = AssessmentRequest {
            query,
            neighbours: &neighbours,
            entries: self.count_near(),
            constraints: &lookup.constraints,
            max_results: lookup.max_results,
            sample: cache.learning.sample(policy.as_ref()),
        };
        let PolicyDecision { verdicts, served, rejections, assessment } =
            cache.learning.assess(policy.as_ref(), &request);
        self.assessment = assessment;
        self.rejections = rejections;
        self.candidates = candidates
            .iter()
            .zip(verdicts)
            .map(|(Candidate { entry, cosine, .. }, verdict)| Considered {
                entry: entry.id,
                cosine: *cosine,
                verdict,
                curated: entry.curation.is_some(),
            })
            .collect();
        let mut candidates: Vec<Option<Candidate>> = candidates.into_iter().map(Some).collect();
        let served = served.into_iter().filter_map(|place| candidates.get_mut(place)?.take()).collect();
        (embedding, served)
    }

    /// Serves a near entry, unless it went, or got another answer, after it had been found.
    async fn serve_near(&mut self, found: &Candidate) -> Result<(), Trouble> {
        if self.hits.len() >= self.lookup.max_results {
            return Ok(());
        }
        let Candidate { entry: Entry { id, created, .. }, cosine, .. } = found;
        let entry = self.cache.store.get(self.cache.key, *id, self.now).await.map_err(Trouble::Store)?;
        match entry.filter(|entry| entry.created == *created) {
            Some(entry) => self.serve(entry, *cosine, Strategy::Semantic, self.now.since(*created)),
            None => self.reason = Some("the answer was removed or replaced meanwhile".into()),
        }
        Ok(())
    }

    fn count_near(&self) -> usize {
        self.places.iter().map(|place| self.cache.store.count_near(self.cache.key, place.scope)).sum()
    }

    fn neighbour<'n>(
        &self,
        found: &'n Candidate,
        parsed: Option<&'n Arc<Parsed>>,
        answer: AnswerClass,
    ) -> Neighbour<'n> {
        let Candidate { entry, vector, cosine, lossy } = found;
        Neighbour {
            entry: entry.id,
            prompt: PromptText { text: &entry.prompt, parsed: parsed.map(Arc::as_ref), is_lossy: *lossy },
            vector,
            cosine: *cosine,
            answer,
            is_literal: entry.answer.is_literal,
            state: CandidateState {
                age_millis: self.now.since(entry.created),
                is_quarantined: self.cache.store.quarantined(self.cache.key, &entry.id).is_some(),
                is_deliverable: self.can_be_given(entry, AnswerNeed::is_met_by_gist),
            },
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
            None if self.assessment.as_ref().is_some_and(|assessment| assessment.verdict == Verdict::Audited) => {
                Outcome::Audit
            }
            None => Outcome::Miss,
        };
        let p_correct = self.assessment.as_ref().and_then(Assessment::best_p);
        let rejections = if outcome.is_hit() { Vec::new() } else { self.rejections };
        let decision = Arc::new(Decision {
            id: DecisionId::new(),
            outcome,
            p_correct,
            budget: self.setup.policy.params().map(|params| params.budget.get()),
            candidates: self.candidates,
            rejections,
            reason: self.reason,
            curated: self.hits.first().is_some_and(Hit::is_curated),
        });
        if decision.curated {
            telemetry::curated_hit(self.cache.labels());
        }
        let served = self.hits.first().map(|hit| hit.entry.id);
        let text = TextHash::of(&self.lookup.question.text);
        self.cache.learning.log(&decision, self.assessment, served, (self.scope, text));
        let min_cosine = self.setup.policy.min_cosine(&self.lookup.constraints);
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
