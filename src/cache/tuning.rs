//! Changes of a cache's policy while it runs: who made them, when, and how they are undone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::CacheError;
use super::registry::{Cache, Caches};
use crate::config::{CacheSettings, Policy};
use crate::decide::{Ending, ErrorBudget, Outlook, Recorded, Source, under_budgets, under_thresholds};
use crate::store::Timestamp;

/// Where changes are kept in the store.
pub(super) const CHANGES: &str = "changes";
/// Changes that are remembered.
const MOST: usize = 200;

/// What can be changed of a cache while it runs; unset is as the settings say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// See [`CacheSettings`].
    pub policy: Option<Policy>,
    /// See [`CacheSettings`].
    pub error_budget: Option<f64>,
    /// See [`CacheSettings`].
    pub audit_rate: Option<f64>,
    /// See [`CacheSettings`].
    pub min_cosine: Option<f32>,
    /// See [`CacheSettings`].
    pub strict: Option<bool>,
}

/// A change, and what was before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TuningChange {
    /// When it was made.
    pub at: Timestamp,
    /// Who made it: the tenant whose key was used.
    pub by: String,
    /// What was set before.
    pub before: Tuning,
    /// What has been set since.
    pub after: Tuning,
}

/// All changes of a cache, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct History(Vec<TuningChange>);

impl History {
    pub(super) fn current(&self) -> Tuning {
        self.0.last().map(|change| change.after).unwrap_or_default()
    }
}

/// Why a change isn't made.
#[derive(Debug, thiserror::Error)]
pub enum NotTuned {
    /// It can't work.
    #[error("{key} {why}")]
    Invalid {
        /// The setting.
        key: &'static str,
        /// Why.
        why: String,
    },
    /// It would serve more than the operator allows.
    #[error("{0} may only be made stricter than the operator's settings have it")]
    Looser(&'static str),
    /// Nothing was ever changed.
    #[error("there is no change to undo")]
    NothingToUndo,
    /// It couldn't be kept.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Tuning {
    /// `base` with these changes.
    #[must_use]
    pub fn over(&self, base: CacheSettings) -> CacheSettings {
        CacheSettings {
            policy: self.policy.or(base.policy),
            error_budget: self.error_budget.or(base.error_budget),
            audit_rate: self.audit_rate.or(base.audit_rate),
            min_cosine: self.min_cosine.or(base.min_cosine),
            strict: self.strict.or(base.strict),
            ..base
        }
    }

    /// What would let more through than `base` does.
    fn loosens(&self, base: &CacheSettings) -> Option<&'static str> {
        let more = |mine: Option<f64>, theirs: f64| mine.is_some_and(|mine| mine > theirs);
        let other_policy = self.policy.is_some_and(|policy| policy != base.policy.unwrap_or_default());
        [
            (other_policy, "policy"),
            (more(self.error_budget, base.error_budget()), "errorBudget"),
            (self.audit_rate.is_some_and(|rate| rate < base.audit_rate()), "auditRate"),
            (self.min_cosine.is_some_and(|least| base.min_cosine.is_none_or(|theirs| least < theirs)), "minCosine"),
            (self.strict == Some(false) && base.strict(), "strict"),
        ]
        .into_iter()
        .find_map(|(is_looser, name)| is_looser.then_some(name))
    }
}

impl Caches {
    /// Changes `cache`'s policy from now on, durably. `may_loosen`: whether `by` is the operator.
    ///
    /// # Errors
    /// See [`NotTuned`]; nothing has changed then.
    pub async fn tune(&self, cache: &Arc<Cache>, to: Tuning, by: &str, may_loosen: bool) -> Result<(), NotTuned> {
        self.tune_from(cache, |_| to, by, may_loosen).await
    }

    /// The same with what is made of the policy as it is.
    ///
    /// # Errors
    /// See [`NotTuned`]; nothing has changed then.
    pub async fn tune_from(
        &self,
        cache: &Arc<Cache>,
        change: impl FnOnce(Tuning) -> Tuning,
        by: &str,
        may_loosen: bool,
    ) -> Result<(), NotTuned> {
        let _one = cache.tuning.lock().await;
        let mut history = cache.history();
        let before = history.current();
        let to = change(before);
        let base = self.settings().cache(cache.id());
        to.over(base.clone()).check().map_err(|(key, why)| NotTuned::Invalid { key, why })?;
        if let Some(looser) = to.loosens(&base).filter(|_| !may_loosen) {
            return Err(NotTuned::Looser(looser));
        }
        if !self.is_workable(cache, &to) {
            let why = "is needed for a static policy: neither the settings nor the model have one".into();
            return Err(NotTuned::Invalid { key: "minCosine", why });
        }
        let change = TuningChange { at: Timestamp::now(), by: by.to_owned(), before, after: to };
        history.0.push(change);
        let forgotten = history.0.len().saturating_sub(MOST);
        history.0.drain(..forgotten);
        self.keep(cache, history).await
    }

    /// Sets what was set before the last change; that is a change too.
    ///
    /// # Errors
    /// See [`NotTuned`].
    pub async fn undo(&self, cache: &Arc<Cache>, by: &str, may_loosen: bool) -> Result<(), NotTuned> {
        let last = cache.history().0.last().cloned().ok_or(NotTuned::NothingToUndo)?;
        self.tune(cache, last.before, by, may_loosen).await
    }

    async fn keep(&self, cache: &Arc<Cache>, history: History) -> Result<(), NotTuned> {
        let _kept = cache.kept().await?;
        cache.register().await.map_err(CacheError::from)?;
        let bytes = postcard::to_stdvec(&history).map_err(|error| CacheError::Transfer(error.into()))?;
        self.store().save_state(cache.key, CHANGES, bytes).await.map_err(CacheError::from)?;
        self.take_up(cache, history);
        Ok(())
    }
}

impl Cache {
    /// All changes of its policy, oldest first.
    #[must_use]
    pub fn changes(&self) -> Vec<TuningChange> {
        self.history().0
    }

    /// What its own decisions would have come to under each of `budgets` and each of `thresholds`.
    #[must_use]
    pub fn simulate(&self, budgets: &[ErrorBudget], thresholds: &[f32]) -> (Vec<Outlook>, Vec<Outlook>) {
        let recorded: Vec<Recorded> = self.decisions().iter().filter_map(recorded).collect();
        (under_budgets(&recorded, budgets), under_thresholds(&recorded, thresholds))
    }
}

/// None where the cache had no say.
fn recorded(logged: &super::Logged) -> Option<Recorded> {
    let decision = &logged.decision;
    if decision.outcome == crate::decide::Outcome::Bypass {
        return None;
    }
    let case = logged.case.as_ref();
    // Who stores an answer though one was served has reasons, not chance.
    let is_labelled_by_chance = case.is_none_or(|case| case.ending != Ending::Served);
    let mut told = logged.labels.iter().filter(|label| label.source != Source::Feedback && is_labelled_by_chance);
    Some(Recorded {
        cosine: decision.best_cosine().map(crate::embed::Cosine::get),
        error: decision.p_correct.map(|p| 1.0 - p),
        exact: decision.outcome == crate::decide::Outcome::ExactHit,
        would_hit: case.is_some_and(|case| case.ending.would_hit()),
        chance: case.map_or(1.0, |case| case.label_chance()),
        label: told.next().map(|label| label.right),
    })
}
