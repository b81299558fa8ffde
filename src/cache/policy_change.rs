//! A change of a cache's policy while it runs: who made it, when, and what was before.

use serde::{Deserialize, Serialize};

use super::error::CacheError;
use crate::config::{CacheSettings, PolicyName};
use crate::store::Timestamp;

/// Changes that are remembered.
const MAX_CHANGES: usize = 200;

/// What can be changed of a cache while it runs; unset is as the settings say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// See [`CacheSettings`].
    pub policy: Option<PolicyName>,
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
pub(super) struct History(pub(super) Vec<TuningChange>);

impl History {
    /// Of what is written.
    pub(super) const VERSION: u8 = 1;

    pub(super) fn current(&self) -> Tuning {
        self.0.last().map(|change| change.after).unwrap_or_default()
    }

    pub(super) fn push(&mut self, change: TuningChange) {
        self.0.push(change);
        let forgotten = self.0.len().saturating_sub(MAX_CHANGES);
        self.0.drain(..forgotten);
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
    pub(super) fn loosens(&self, base: &CacheSettings) -> Option<&'static str> {
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
