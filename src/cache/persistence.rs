//! What a cache learned and decided, written to the store and read from it.

use super::cache::Cache;
use super::decision::DecisionId;
use super::decisions::{Logged, MAX_DECISIONS};
use super::learning::{FlushMode, LEARNER, QUARANTINED};
use crate::decide::LearnerStatus;
use crate::store::{StoreError, Timestamp};

impl Cache {
    /// Writes what was learned since the last time, and which entries aren't served.
    pub(super) async fn save_learned(&self, mode: FlushMode) -> Result<(), StoreError> {
        self.save_quarantines().await?;
        let _one_at_a_time = self.learning.saving.lock().await;
        let Some(bytes) = self.learning.take_unsaved(&self.setup().embedder.identity().digest, mode) else {
            return Ok(());
        };
        let saved = self.store.save_state(self.key, LEARNER, bytes).await;
        saved.inspect_err(|_| self.learning.save_again())
    }

    /// Once it returns, what was quarantined before it was called is in the store, whoever wrote it there.
    pub(super) async fn save_quarantines(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.learning.saving.lock().await;
        let Some(bytes) = self.learning.quarantines.take_unsaved() else { return Ok(()) };
        let saved = self.store.save_state(self.key, QUARANTINED, bytes).await;
        saved.inspect_err(|_| self.learning.quarantines.save_again())
    }

    /// Goes on with what was saved. What is unreadable is as good as not there.
    pub(super) async fn restore_learned(&self) -> Result<(), StoreError> {
        let model = self.setup().embedder.identity().digest.clone();
        if let Some(bytes) = self.store.load_state(self.key, LEARNER).await?
            && let Err(error) = self.learning.restore(&bytes, &model)
        {
            tracing::warn!(cache = self.name.id, %error, "what was learned is unreadable; learning begins anew");
        }
        if let Some(bytes) = self.store.load_state(self.key, QUARANTINED).await?
            && let Err(error) = self.learning.quarantines.restore(&bytes)
        {
            tracing::error!(cache = self.name.id, %error, "which entries aren't served is unreadable; all are served again");
        }
        Ok(())
    }

    /// Writes the decisions that changed since the last time.
    pub(super) async fn save_decisions(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.learning.saving.lock().await;
        let unsaved = self.learning.decisions.lock().take_unsaved();
        if unsaved.is_empty() {
            return Ok(());
        }
        let bytes = |logged: &Logged| Some((logged.decision.id.bytes(), serde_json::to_vec(logged).ok()?));
        let saved = self.store.keep_decisions(self.key, unsaved.iter().filter_map(bytes).collect()).await;
        if saved.is_err() {
            self.learning.decisions.lock().save_again(unsaved);
        }
        saved
    }

    /// Takes up the decisions from before a restart.
    pub(super) async fn recall_decisions(&self) -> Result<(), StoreError> {
        let bytes = self.store.decisions(self.key, MAX_DECISIONS).await?;
        let older = bytes.iter().filter_map(|bytes| serde_json::from_slice(bytes).ok());
        self.learning.decisions.lock().recall(older, Timestamp::now());
        Ok(())
    }

    /// Until all labels that are known have been learned from; replays wait for it after each request.
    pub async fn settle(&self) {
        self.learning.settle().await;
    }

    /// The decision of `id`, while it is kept.
    ///
    /// # Errors
    /// The store's, where it isn't in memory.
    pub async fn decision(&self, id: DecisionId) -> Result<Option<Logged>, StoreError> {
        if let Some(logged) = self.learning.decisions.lock().get(id, Timestamp::now()) {
            return Ok(Some(logged.clone()));
        }
        let found = self.store.decision(self.key, id.bytes()).await?;
        let logged: Option<Logged> = found.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let kept = |logged: &Logged| self.learning.decisions.lock().keeps(logged.at, Timestamp::now());
        Ok(logged.filter(kept))
    }

    /// All decisions that are kept, oldest first.
    #[must_use]
    pub fn decisions(&self) -> Vec<Logged> {
        self.learning.decisions.lock().all().cloned().collect()
    }

    /// How learning stands, where the cache's policy learns.
    #[must_use]
    pub fn learner_status(&self) -> Option<LearnerStatus> {
        self.policy_params().map(|params| self.learning.status(&params))
    }
}
