//! Settings of one cache.

use serde::Deserialize;

use super::{ByteLimit, Span};

/// `[caches.ID]`. Every key is optional: what is missing comes from `[caches.default]`, then from the built-in default.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheSettings {
    /// How it is decided whether a near entry's answer is served.
    pub policy: Option<Policy>,
    /// `policy = "static"`: smallest plain cosine that is served. Unset: the embedding model's own default.
    pub min_cosine: Option<f32>,
    /// Whether a near text is refused where it names other numbers, is negated, or differs otherwise in what cosines don't
    /// show.
    pub strict: Option<bool>,
    /// How long an entry lives unless its store says otherwise.
    pub ttl: Option<Span>,
    /// What its entries may take on disk, before compression. Unset: as much as `storage.max_bytes` leaves.
    pub max_bytes: Option<ByteLimit>,
    /// Near entries that a decision looks at.
    pub candidates: Option<usize>,
    /// Request fields that don't change the answer and so don't separate scopes.
    pub ignored_fields: Option<Vec<String>>,
}

/// How it is decided whether a near entry's answer is served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// One fixed threshold on the cosine.
    #[default]
    Static,
}

impl CacheSettings {
    const DEFAULT_TTL: Span = Span(std::time::Duration::from_secs(30 * 24 * 3600));
    const DEFAULT_CANDIDATES: usize = 8;
    /// Identify the end user or steer a provider's own caching and billing; none of them reaches the model.
    const DEFAULT_IGNORED: [&'static str; 4] =
        ["user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"];

    /// This cache's keys, and `base`'s where this one has none.
    pub(super) fn over(self, base: &Self) -> Self {
        Self {
            policy: self.policy.or(base.policy),
            min_cosine: self.min_cosine.or(base.min_cosine),
            strict: self.strict.or(base.strict),
            ttl: self.ttl.or(base.ttl),
            max_bytes: self.max_bytes.or(base.max_bytes),
            candidates: self.candidates.or(base.candidates),
            ignored_fields: self.ignored_fields.or_else(|| base.ignored_fields.clone()),
        }
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

    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if let Some(cosine) = self.min_cosine
            && !(-1.0..=1.0).contains(&cosine)
        {
            return Err(("min_cosine", format!("{cosine} is no cosine; it must lie between -1 and 1")));
        }
        if self.candidates.is_some_and(|k| !(1..=100).contains(&k)) {
            return Err(("candidates", "must lie between 1 and 100".into()));
        }
        Ok(())
    }
}
