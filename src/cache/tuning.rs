//! Changing a cache's policy while it runs, undoing that, and what a change would come to.

use std::sync::Arc;

use super::cache::Cache;
use super::decisions::Logged;
use super::distrust::Doubt;
use super::error::CacheError;
use super::policy_change::{History, NotTuned, Tuning, TuningChange};
use super::registry::{CHANGES, Caches};
use crate::decide::{ErrorBudget, LabelSource, Outcome, Outlook, Recorded, Verdict, under_budgets, under_thresholds};
use crate::embed::Cosine;
use crate::store::{Timestamp, write_state};

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
        history.push(change);
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
        cache.register().await?;
        let bytes = write_state(History::VERSION, &history)
            .ok_or_else(|| CacheError::Transfer("the changes of the policy".into()))?;
        self.store().save_state(cache.key, CHANGES, bytes).await.map_err(CacheError::from)?;
        cache.distrust.remove(Doubt::Policy);
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
        let calibration = self.learner_status().map_or(1.0, |status| status.calibration);
        (under_budgets(&recorded, budgets, calibration), under_thresholds(&recorded, thresholds))
    }
}

/// None where the cache had no say.
fn recorded(logged: &Logged) -> Option<Recorded> {
    let decision = &logged.decision;
    if decision.outcome == Outcome::Bypass {
        return None;
    }
    let assessment = logged.assessment.as_ref();
    // Who stores an answer though one was served has reasons, not chance.
    let is_labelled_by_chance = assessment.is_none_or(|assessment| assessment.verdict != Verdict::Served);
    let mut told = logged.labels.iter().filter(|label| label.source != LabelSource::Feedback && is_labelled_by_chance);
    Some(Recorded {
        cosine: decision.best_cosine().map(Cosine::get),
        error: decision.p_correct.map(|p| 1.0 - p),
        exact: decision.outcome == Outcome::ExactHit,
        would_hit: assessment.is_some_and(|assessment| assessment.verdict.would_hit()),
        chance: assessment.map_or(1.0, |assessment| assessment.label_chance()),
        label: told.next().map(|label| label.right),
    })
}
