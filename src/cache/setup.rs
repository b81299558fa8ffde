//! What a cache's lookups are made with.

use std::sync::Arc;

use crate::config::{CacheSettings, PolicyName, Span};
use crate::decide::{BudgetPolicy, ErrorBudget, ModelPrior, PerEntryPolicy, Policy, PolicyParams, StaticThreshold};
use crate::embed::{Cosine, Embedder, Manifest, ModelDigest, ModelIdentity};

/// What a cache's lookups are made with. All of it belongs together: a threshold is one of a model's cosines.
pub(super) struct Setup {
    pub(super) embedder: Embedder,
    pub(super) policy: Arc<dyn Policy>,
    /// What the model's cosines are worth before there are labels.
    pub(super) prior: Arc<ModelPrior>,
    /// What the policy was made of, and all else that is set for the cache.
    pub(super) settings: CacheSettings,
    pub(super) ignored_fields: Arc<[String]>,
    /// Whether the settings name the cache.
    pub(super) is_configured: bool,
}

impl Setup {
    /// `named` is the model that the settings name. Without any threshold (checked at start for configured caches) nothing but equal
    /// vectors is served.
    pub(super) fn new(
        (settings, is_configured): (CacheSettings, bool),
        embedder: Embedder,
        prior: Arc<ModelPrior>,
        named: &ModelDigest,
    ) -> Self {
        let policy = policy(&settings, (embedder.identity(), embedder.manifest()), &prior, named);
        let policy = policy.unwrap_or_else(|| Arc::new(StaticThreshold { min_cosine: Cosine::ONE, strict: true }));
        let ignored_fields = settings.ignored_fields().into();
        Self { embedder, policy, prior, settings, ignored_fields, is_configured }
    }

    /// How long entries live by default, in milliseconds.
    pub(super) fn ttl_millis(&self) -> u64 {
        millis(self.settings.ttl())
    }

    /// How long decisions are kept, in milliseconds.
    pub(super) fn keep_decisions_millis(&self) -> u64 {
        millis(self.settings.keep_decisions())
    }
}

/// The policy that a cache with these settings has. None where it needs a threshold that neither the settings nor the model give.
pub(super) fn policy(
    settings: &CacheSettings,
    (model, manifest): (&ModelIdentity, &Manifest),
    prior: &Arc<ModelPrior>,
    named: &ModelDigest,
) -> Option<Arc<dyn Policy>> {
    let strict = settings.strict();
    let learned = || {
        let budget = ErrorBudget::new(settings.error_budget())?;
        Some((PolicyParams::new(budget, settings.audit_rate(), strict), Arc::clone(prior)))
    };
    match settings.policy.unwrap_or_default() {
        PolicyName::Budget => learned().map(|(params, prior)| Arc::new(BudgetPolicy { params, prior }) as _),
        PolicyName::PerEntry => learned().map(|(params, prior)| Arc::new(PerEntryPolicy { params, prior }) as _),
        PolicyName::Static => {
            // A threshold is one of a model's cosines; another model's mean something else.
            let set = settings.min_cosine.filter(|_| model.digest == *named);
            let min_cosine = Cosine::new(set.or(manifest.min_cosine)?);
            Some(Arc::new(StaticThreshold { min_cosine, strict }))
        }
    }
}

/// What a model's prior says, or that it has none.
pub(super) fn prior_of(embedder: &Embedder) -> Arc<ModelPrior> {
    let Some(text) = &embedder.manifest().prior else { return Arc::default() };
    match ModelPrior::from_json(text) {
        Ok(prior) => Arc::new(prior),
        Err(error) => {
            let model = &embedder.identity().name;
            tracing::warn!(model, %error, "the model's prior can't be used: caches learn from their own labels alone");
            Arc::default()
        }
    }
}

fn millis(span: Span) -> u64 {
    u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)
}
