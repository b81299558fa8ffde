//! Settings of one cache.

use serde::{Deserialize, Serialize};

use super::{ByteLimit, Span};

/// `[caches.ID]`. Every key is optional: what is missing comes from `[caches.default]`, then from the built-in default.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheSettings {
    /// How it is decided whether a near entry's answer is served.
    pub policy: Option<PolicyName>,
    /// `policy = "budget"` and `"per-entry"`: wrong answers ÷ requests at most.
    pub error_budget: Option<f64>,
    /// `policy = "budget"`: usual share of would-be hits that go to the provider all the same, to see whether they are right.
    /// More at first, less when much is known; 0: none, and then nobody knows.
    pub audit_rate: Option<f64>,
    /// How often labels are right.
    pub reliability: Option<Reliability>,
    /// How long decisions can be read back, and feedback on them is taken.
    pub keep_decisions: Option<Span>,
    /// `policy = "static"`: smallest plain cosine that is served. Unset: the embedding model's own default.
    pub min_cosine: Option<f32>,
    /// Whether a near text is refused where it names other numbers, is negated, or differs otherwise in what cosines don't
    /// show.
    pub strict: Option<bool>,
    /// How long an entry lives unless its store says otherwise.
    pub ttl: Option<Span>,
    /// What its entries may take on disk, before compression. Unset: as much as `storage.max_bytes` leaves.
    pub max_bytes: Option<ByteLimit>,
    /// What its curated entries may take, which are never evicted; further ones are refused. Those of all caches together may take
    /// half of `storage.max_bytes`.
    pub max_curated_bytes: Option<ByteLimit>,
    /// Near entries that a decision looks at.
    pub candidates: Option<usize>,
    /// Request fields that don't change the answer and so don't separate scopes.
    pub ignored_fields: Option<Vec<String>>,
}

/// How it is decided whether a near entry's answer is served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyName {
    /// As many hits as an error budget allows, by what is learned from labels.
    #[default]
    Budget,
    /// The published per-entry rule, with the same budget.
    PerEntry,
    /// One fixed threshold on the cosine.
    Static,
}

/// `[caches.ID.reliability]`: how often each source of labels is right, from 0.5 to 1. Unset: as usual, and then as seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reliability {
    /// Fresh answers, compared literally.
    pub fresh_answer: Option<f64>,
    /// Fresh answers, compared by meaning.
    pub meaning: Option<f64>,
    /// The judge model.
    pub judge: Option<f64>,
    /// Whoever calls the feedback API.
    pub feedback: Option<f64>,
}

impl CacheSettings {
    const DEFAULT_TTL: Span = Span(std::time::Duration::from_secs(30 * 24 * 3600));
    const DEFAULT_CANDIDATES: usize = 10;
    /// About 30,000 questions and answers of an FAQ, vectors included.
    const DEFAULT_MAX_CURATED_BYTES: ByteLimit = ByteLimit::mib(64);
    const DEFAULT_BUDGET: f64 = 0.02;
    const DEFAULT_AUDIT_RATE: f64 = 0.05;
    const DEFAULT_KEEP_DECISIONS: Span = Span(std::time::Duration::from_secs(24 * 3600));
    /// Identify the end user or steer a provider's own caching and billing; none of them reaches the model.
    const DEFAULT_IGNORED: [&'static str; 4] =
        ["user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"];

    /// This cache's keys, and `base`'s where this one has none.
    pub(super) fn over(self, base: &Self) -> Self {
        Self {
            policy: self.policy.or(base.policy),
            error_budget: self.error_budget.or(base.error_budget),
            audit_rate: self.audit_rate.or(base.audit_rate),
            reliability: self.reliability.or(base.reliability),
            keep_decisions: self.keep_decisions.or(base.keep_decisions),
            min_cosine: self.min_cosine.or(base.min_cosine),
            strict: self.strict.or(base.strict),
            ttl: self.ttl.or(base.ttl),
            max_bytes: self.max_bytes.or(base.max_bytes),
            max_curated_bytes: self.max_curated_bytes.or(base.max_curated_bytes),
            candidates: self.candidates.or(base.candidates),
            ignored_fields: self.ignored_fields.or_else(|| base.ignored_fields.clone()),
        }
    }

    /// Wrong answers ÷ requests at most.
    #[must_use]
    pub fn error_budget(&self) -> f64 {
        self.error_budget.unwrap_or(Self::DEFAULT_BUDGET)
    }

    /// Usual share of would-be hits that are audited.
    #[must_use]
    pub fn audit_rate(&self) -> f64 {
        self.audit_rate.unwrap_or(Self::DEFAULT_AUDIT_RATE)
    }

    /// How long decisions can be read back.
    #[must_use]
    pub fn keep_decisions(&self) -> Span {
        self.keep_decisions.unwrap_or(Self::DEFAULT_KEEP_DECISIONS)
    }

    /// Whether texts that differ in what cosines don't show are refused.
    #[must_use]
    pub fn strict(&self) -> bool {
        self.strict.unwrap_or(false)
    }

    /// How long an entry lives by default.
    #[must_use]
    pub fn ttl(&self) -> Span {
        self.ttl.unwrap_or(Self::DEFAULT_TTL)
    }

    /// What curated entries may take.
    #[must_use]
    pub fn max_curated_bytes(&self) -> ByteLimit {
        self.max_curated_bytes.unwrap_or(Self::DEFAULT_MAX_CURATED_BYTES)
    }

    /// Near entries that a decision looks at.
    #[must_use]
    pub fn candidates(&self) -> usize {
        self.candidates.unwrap_or(Self::DEFAULT_CANDIDATES)
    }

    /// Request fields that don't separate scopes.
    #[must_use]
    pub fn ignored_fields(&self) -> Vec<String> {
        self.ignored_fields.clone().unwrap_or_else(|| Self::DEFAULT_IGNORED.map(String::from).to_vec())
    }

    /// What no type can express.
    ///
    /// # Errors
    /// The key, and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if let Some(cosine) = self.min_cosine
            && !(-1.0..=1.0).contains(&cosine)
        {
            return Err(("min_cosine", format!("{cosine} is no cosine; it must lie between -1 and 1")));
        }
        if let Some(budget) = self.error_budget
            && !(0.0..=0.5).contains(&budget)
        {
            return Err((
                "error_budget",
                format!("{budget} is no share of wrong answers; it must lie between 0 and 0.5"),
            ));
        }
        if let Some(rate) = self.audit_rate
            && !(0.0..=1.0).contains(&rate)
        {
            return Err(("audit_rate", format!("{rate} is no share of hits; it must lie between 0 and 1")));
        }
        let Reliability { fresh_answer, meaning, judge, feedback } = self.reliability.unwrap_or_default();
        if [fresh_answer, meaning, judge, feedback].into_iter().flatten().any(|share| !(0.5..=1.0).contains(&share)) {
            return Err(("reliability", "each must lie between 0.5, which tells nothing, and 1".into()));
        }
        if self.candidates.is_some_and(|k| !(1..=100).contains(&k)) {
            return Err(("candidates", "must lie between 1 and 100".into()));
        }
        Ok(())
    }
}
