//! What a cache learned and decided, written to the store and read from it.

use std::collections::HashMap;
use std::sync::Arc;

use super::cache::{Cache, STATISTICS_VERSION};
use super::decision::DecisionId;
use super::decisions::{Logged, MAX_DECISIONS};
use super::distrust::Doubt;
use super::learning::{FlushMode, LEARNER, Learning, QUARANTINED};
use super::policy_change::History;
use super::registry::{CHANGES, Caches, STATISTICS};
use crate::decide::{LearnerStatus, Statistics};
use crate::store::{EntryId, Quarantine, State, StateError, StoreError, Timestamp};
use crate::telemetry;

/// In the place of quarantines: nobody knows what they were. No list of them reads so.
const LOST: [u8; 16] = [0xff; 16];

/// Whether what was written of a cache under `name` can be read.
///
/// # Errors
/// Why not.
pub fn check_state(name: &str, bytes: &[u8]) -> Result<(), StateError> {
    match name {
        LEARNER => Learning::check(bytes),
        STATISTICS => State::read(bytes, STATISTICS_VERSION)?.value::<Statistics>().map(drop),
        CHANGES => State::read(bytes, History::VERSION)?.value::<History>().map(drop),
        QUARANTINED if bytes.is_empty() => Ok(()),
        QUARANTINED => State::read(bytes, 0)?.value::<HashMap<EntryId, Quarantine>>().map(drop),
        // Another owner's.
        _ => Ok(()),
    }
}

impl Cache {
    /// Writes what was learned since the last time.
    pub(super) async fn save_learned(&self, mode: FlushMode) -> Result<(), StoreError> {
        let _one_at_a_time = self.learning.saving.lock().await;
        let Some(bytes) = self.learning.take_unsaved(&self.setup().embedder.identity().digest, mode) else {
            return Ok(());
        };
        let saved = self.store.save_state(self.key, LEARNER, bytes).await;
        saved.inspect_err(|_| self.learning.save_again())
    }

    /// Goes on with what was saved. Where what was learned is unreadable, learning begins anew: nothing near is served then that the
    /// prior alone isn't sure of.
    pub(super) async fn restore_learned(&self) -> Result<(), StoreError> {
        let model = self.setup().embedder.identity().digest.clone();
        if let Some(bytes) = self.store.load_state(self.key, LEARNER).await?
            && let Err(error) = self.learning.restore(&bytes, &model)
        {
            telemetry::degraded("learned");
            tracing::warn!(cache = self.name.id, %error, "what was learned can't be read; learning begins anew");
        }
        Ok(())
    }

    /// Goes on with the quarantines that builds before wrote beside the entries: they move to these. Where they can't be read,
    /// nobody knows which answers were reported wrong, and near texts aren't answered until the cache is flushed.
    async fn restore_quarantines(&self) -> Result<(), StoreError> {
        let Some(bytes) = self.store.load_state(self.key, QUARANTINED).await?.filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        match State::read(&bytes, 0).and_then(State::value::<HashMap<EntryId, Quarantine>>) {
            Ok(entries) => {
                for (entry, from) in entries {
                    self.store.quarantine(self.key, entry, from).await?;
                }
                self.store.save_state(self.key, QUARANTINED, Vec::new()).await
            }
            Err(error) => {
                telemetry::degraded("quarantine");
                tracing::error!(
                    cache = self.name.id,
                    %error,
                    "which answers were reported wrong can't be read: near texts aren't answered until the cache is flushed"
                );
                self.distrust.add(Doubt::Quarantines);
                Ok(())
            }
        }
    }

    /// Reports of wrong answers may have been lost: near texts aren't answered until the cache is flushed, after a restart neither.
    pub(super) async fn suspect_lost_reports(&self) -> Result<(), StoreError> {
        self.distrust.add(Doubt::Quarantines);
        self.store.save_state(self.key, QUARANTINED, LOST.to_vec()).await
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
        self.policy_params().map(|params| self.learning.status(&params, self.store.count_quarantined(self.key)))
    }
}

impl Caches {
    /// Goes on with everything that was saved of a cache.
    pub(super) async fn restore(&self, cache: &Arc<Cache>) -> Result<(), StoreError> {
        if let Some(bytes) = self.store().load_state(cache.key, STATISTICS).await? {
            match State::read(&bytes, STATISTICS_VERSION).and_then(State::value) {
                Ok(statistics) => cache.statistics.lock().statistics = statistics,
                // Counts are not worth refusing to start for.
                Err(error) => {
                    tracing::warn!(cache = cache.id(), %error, "statistics can't be read; counting begins anew");
                }
            }
        }
        cache.restore_learned().await?;
        cache.restore_quarantines().await?;
        let Some(bytes) = self.store().load_state(cache.key, CHANGES).await? else { return Ok(()) };
        match State::read(&bytes, History::VERSION).and_then(State::value) {
            Ok(history) => self.take_up(cache, history),
            Err(error) => {
                telemetry::degraded("policy");
                tracing::error!(
                    cache = cache.id(),
                    %error,
                    "changes of the policy can't be read: near texts aren't answered until it is set again"
                );
                cache.distrust.add(Doubt::Policy);
            }
        }
        Ok(())
    }
}
