//! What was learned, as it is stored.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::Learning;
use crate::decide::{LearnerV0, SpendingState, Trainer, TrainerV1};
use crate::embed::ModelDigest;
use crate::store::{State, StateError, write_state};

/// Where what a cache learned is kept in the store.
pub(in super::super) const LEARNER: &str = "learner";
/// Where builds before kept which entries aren't served. The store keeps that beside the entries now.
pub(in super::super) const QUARANTINED: &str = "quarantined";
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

/// The version of what is written.
const VERSION: u8 = 2;

/// What was learned, as it is kept: of one model's cosines.
#[derive(serde::Serialize, serde::Deserialize)]
struct Saved {
    model: ModelDigest,
    trainer: Trainer,
    spending: SpendingState,
}

/// The same as builds of the first version wrote it.
#[derive(serde::Deserialize)]
struct SavedV1 {
    model: ModelDigest,
    trainer: TrainerV1,
    spending: SpendingState,
}

/// The same as builds before the first version wrote it.
#[derive(serde::Deserialize)]
struct SavedV0 {
    model: ModelDigest,
    learner: LearnerV0,
}

impl Saved {
    fn read(bytes: &[u8]) -> Result<Self, StateError> {
        let state = State::read(bytes, VERSION)?;
        Ok(match state.version() {
            0 => {
                let SavedV0 { model, learner } = state.value()?;
                let (trainer, spending) = learner.into();
                Self { model, trainer, spending }
            }
            1 => {
                let SavedV1 { model, trainer, spending } = state.value()?;
                Self { model, trainer: trainer.into(), spending }
            }
            _ => state.value()?,
        })
    }
}

impl Learning {
    /// What was learned, if it changed and is to be saved now.
    pub(in super::super) fn take_unsaved(&self, model: &ModelDigest, mode: FlushMode) -> Option<Vec<u8>> {
        let is_time = mode == FlushMode::All || Instant::now() >= *self.next_save.lock();
        if !is_time || !self.unsaved.swap(false, Ordering::Relaxed) {
            return None;
        }
        let saved =
            Saved { model: model.clone(), trainer: self.trainer.lock().clone(), spending: self.spending.state() };
        let bytes = write_state(VERSION, &saved)?;
        self.written.store(bytes.len() as u64, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a size")]
        let pause = Duration::from_secs_f64(bytes.len() as f64 / WRITTEN_PER_SECOND);
        *self.next_save.lock() = Instant::now() + pause;
        Some(bytes)
    }

    pub(in super::super) fn save_again(&self) {
        self.unsaved.store(true, Ordering::Relaxed);
        *self.next_save.lock() = Instant::now();
    }

    /// Whether what was saved can be read.
    pub(in super::super) fn check(bytes: &[u8]) -> Result<(), StateError> {
        Saved::read(bytes).map(drop)
    }

    /// Goes on with what was learned and saved. Of another model's cosines nothing can be learned.
    pub(in super::super) fn restore(&self, bytes: &[u8], model: &ModelDigest) -> Result<(), StateError> {
        let Saved { model: of, trainer, spending } = Saved::read(bytes)?;
        if of == *model {
            self.change(|now| *now = trainer);
            self.spending.restore(spending);
            self.written.store(bytes.len() as u64, Ordering::Relaxed);
            // It is what is there.
            self.unsaved.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::CacheName;

    fn learning() -> Learning {
        Learning::new(&CacheName { tenant: "t".into(), id: "c".into() }, 0, 0)
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
}
