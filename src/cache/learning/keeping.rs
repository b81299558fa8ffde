//! What was learned and decided, kept in the store.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::super::decisions::{Logged, MOST};
use super::super::registry::Cache;
use super::Learning;
use crate::decide::Learner;
use crate::embed::ModelDigest;
use crate::store::{StoreError, Timestamp};

/// Where what a cache learned is kept in the store.
const LEARNER: &str = "learner";
/// Where it is kept which entries aren't served. It changes at other times, and must not be lost.
const QUARANTINED: &str = "quarantined";
/// Bytes of what a cache learned that are written a second, in the mean: with all its examples it takes some megabytes, and changes
/// with each decision.
const WRITTEN_PER_SECOND: f64 = 100_000.0;

/// How soon what changed is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushMode {
    /// What costs much to write may wait a while for further changes; a crash costs what was learned since.
    None,
    /// Nothing is left unsaved.
    All,
}

/// What was learned, as it is kept: of one model's cosines.
#[derive(serde::Serialize, serde::Deserialize)]
struct Saved {
    model: ModelDigest,
    learner: Learner,
}

impl Learning {
    /// What was learned, if it changed and is to be saved now.
    fn take_unsaved(&self, model: &ModelDigest, haste: FlushMode) -> Option<Vec<u8>> {
        let is_time = haste == FlushMode::All || Instant::now() >= *self.next_save.lock();
        if !is_time || !self.unsaved.swap(false, Ordering::Relaxed) {
            return None;
        }
        let saved = Saved { model: model.clone(), learner: self.learner.lock().clone() };
        let bytes = postcard::to_stdvec(&saved).ok()?;
        #[expect(clippy::cast_precision_loss, reason = "a size")]
        let pause = Duration::from_secs_f64(bytes.len() as f64 / WRITTEN_PER_SECOND);
        *self.next_save.lock() = Instant::now() + pause;
        Some(bytes)
    }

    fn save_again(&self) {
        self.unsaved.store(true, Ordering::Relaxed);
        *self.next_save.lock() = Instant::now();
    }

    /// Which entries are quarantined, if that changed.
    fn take_unsaved_quarantines(&self) -> Option<Vec<u8>> {
        if !self.unsaved_quarantines.swap(false, Ordering::Relaxed) {
            return None;
        }
        postcard::to_stdvec(self.learner.lock().quarantined()).ok()
    }

    /// Goes on with what was learned and saved. Of another model's cosines nothing can be learned.
    fn restore(&self, bytes: &[u8], model: &ModelDigest) -> Result<(), postcard::Error> {
        let Saved { model: of, learner } = postcard::from_bytes(bytes)?;
        if of == *model {
            *self.learner.lock() = learner;
        }
        Ok(())
    }

    /// Goes on with the quarantines that were saved; what was learned is restored before.
    fn restore_quarantines(&self, bytes: &[u8]) -> Result<(), postcard::Error> {
        let learner = &mut *self.learner.lock();
        learner.set_quarantined(postcard::from_bytes(bytes)?);
        self.quarantines.store(learner.has_quarantined(), Ordering::Relaxed);
        Ok(())
    }
}

impl Cache {
    /// Writes what was learned since the last time, and which entries aren't served.
    pub(in super::super) async fn save_learned(&self, haste: FlushMode) -> Result<(), StoreError> {
        self.save_quarantines().await?;
        let _one_at_a_time = self.learning.saving.lock().await;
        let Some(bytes) = self.learning.take_unsaved(&self.setup().embedder.identity().digest, haste) else {
            return Ok(());
        };
        let saved = self.store.save_state(self.key, LEARNER, bytes).await;
        saved.inspect_err(|_| self.learning.save_again())
    }

    /// Once it returns, what was quarantined before it was called is in the store, whoever wrote it there.
    pub(super) async fn save_quarantines(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.learning.saving.lock().await;
        let Some(bytes) = self.learning.take_unsaved_quarantines() else { return Ok(()) };
        let saved = self.store.save_state(self.key, QUARANTINED, bytes).await;
        saved.inspect_err(|_| self.learning.unsaved_quarantines.store(true, Ordering::Relaxed))
    }

    /// Goes on with what was saved. What is unreadable is as good as not there.
    pub(in super::super) async fn restore_learned(&self) -> Result<(), StoreError> {
        let model = self.setup().embedder.identity().digest.clone();
        if let Some(bytes) = self.store.load_state(self.key, LEARNER).await?
            && let Err(error) = self.learning.restore(&bytes, &model)
        {
            tracing::warn!(cache = self.name.id, %error, "what was learned is unreadable; learning begins anew");
        }
        if let Some(bytes) = self.store.load_state(self.key, QUARANTINED).await?
            && let Err(error) = self.learning.restore_quarantines(&bytes)
        {
            tracing::error!(cache = self.name.id, %error, "which entries aren't served is unreadable; all are served again");
        }
        Ok(())
    }

    /// Writes the decisions that changed since the last time.
    pub(in super::super) async fn save_decisions(&self) -> Result<(), StoreError> {
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
    pub(in super::super) async fn recall_decisions(&self) -> Result<(), StoreError> {
        let bytes = self.store.decisions(self.key, MOST).await?;
        let older = bytes.iter().filter_map(|bytes| serde_json::from_slice(bytes).ok());
        self.learning.decisions.lock().recall(older, Timestamp::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Quarantine;
    use crate::store::{Attributes, CacheKey, EntryId, ScopeKey, TextHash};

    fn entry() -> EntryId {
        let scope = ScopeKey::new(CacheKey::new("t", "c"), &[0; 32]);
        EntryId::new(scope, TextHash::of("a prompt"), &Attributes::default())
    }

    fn learning() -> Learning {
        Learning::new("c", 0, 0)
    }

    #[tokio::test(start_paused = true)]
    async fn the_more_there_is_to_write_the_less_often_it_is_written() {
        let (learning, model) = (learning(), ModelDigest::new("m"));
        let saves = |haste| {
            learning.unsaved.store(true, Ordering::Relaxed);
            learning.take_unsaved(&model, haste)
        };
        let bytes = saves(FlushMode::None).unwrap().len();
        assert_eq!((saves(FlushMode::None), saves(FlushMode::All).map(|bytes| bytes.len())), (None, Some(bytes)));
        let pause = Duration::from_secs_f64(bytes as f64 / WRITTEN_PER_SECOND);
        tokio::time::advance(pause / 2).await;
        assert_eq!(saves(FlushMode::None), None);
        tokio::time::advance(pause).await;
        assert!(saves(FlushMode::None).is_some());
        learning.save_again();
        assert!(learning.take_unsaved(&model, FlushMode::None).is_some(), "what failed is tried again at once");
        assert_eq!(learning.take_unsaved(&model, FlushMode::All), None, "nothing has changed");
    }

    #[test]
    fn quarantines_last_whatever_was_learned_meanwhile() {
        let (before, after, model) = (learning(), learning(), ModelDigest::new("m"));
        before.unsaved.store(true, Ordering::Relaxed);
        let learned = before.take_unsaved(&model, FlushMode::All).unwrap();
        assert_eq!(before.take_unsaved_quarantines(), None);
        {
            let learner = &mut *before.learner.lock();
            learner.quarantine(entry(), Quarantine::Everybody);
            before.quarantines_changed(learner);
        }
        let quarantined = before.take_unsaved_quarantines().unwrap();
        after.restore(&learned, &model).unwrap();
        after.restore_quarantines(&quarantined).unwrap();
        assert!(after.is_withdrawn(&entry()));
        after.renewed(&entry());
        let renewed = after.take_unsaved_quarantines().unwrap();
        before.restore_quarantines(&renewed).unwrap();
        assert!(!before.is_withdrawn(&entry()));
    }
}
