//! What people say about answers.

use super::super::decisions::Label;
use super::super::lookup::DecisionId;
use super::super::registry::Cache;
use super::Told;
use crate::decide::{Quarantine, Source};
use crate::store::{EntryId, StoreError, Timestamp};

/// What somebody says about an answer.
#[derive(Debug, Clone, Copy)]
pub struct Feedback {
    /// What it is about.
    pub about: About,
    /// Whether it was right.
    pub correct: bool,
}

/// What feedback is about.
#[derive(Debug, Clone, Copy)]
pub enum About {
    /// The answer that a lookup got.
    Decision(DecisionId),
    /// An entry's answer to its own prompt.
    Entry(EntryId),
}

/// What came of feedback.
#[derive(Debug, Clone)]
pub struct FeedbackOutcome {
    /// False where the same was said before.
    pub recorded: bool,
    /// The entry whose answer it was.
    pub entry: EntryId,
    /// From whom that entry is kept now.
    pub quarantined: Option<Quarantine>,
    /// The decisions that were answered with it, newest first, while they are kept.
    pub served_to: Vec<DecisionId>,
}

/// Why feedback isn't taken.
#[derive(Debug, thiserror::Error)]
pub enum FeedbackError {
    /// There is no such decision, or it is no longer kept.
    #[error("there is no such decision in this cache, or it is older than decisions are kept")]
    UnknownDecision,
    /// There is no such entry.
    #[error("this cache holds no such entry")]
    UnknownEntry,
    /// The lookup got no answer from the cache.
    #[error("this decision served no answer, so there is nothing to be right or wrong")]
    NothingServed,
    /// The decision can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Cache {
    /// Somebody says whether an answer was right. A wrong one is served to nobody else: a near prompt's keeps its entry from near
    /// prompts, an equal one's from everybody, until it is stored again or reported right.
    ///
    /// # Errors
    /// See [`FeedbackError`]; nothing has changed then.
    pub async fn feedback(&self, feedback: Feedback) -> Result<FeedbackOutcome, FeedbackError> {
        let _one_at_a_time = self.learning.hearing.lock().await;
        match feedback.about {
            About::Decision(id) => self.feedback_on_decision(id, feedback.correct).await,
            About::Entry(entry) => {
                let found = self.store.get(self.key, entry, Timestamp::now()).await;
                if !found.is_ok_and(|found| found.is_some()) {
                    return Err(FeedbackError::UnknownEntry);
                }
                let recorded = self.quarantine(entry, feedback.correct, Quarantine::Everybody);
                Ok(self.heard(entry, recorded).await)
            }
        }
    }

    async fn feedback_on_decision(&self, id: DecisionId, correct: bool) -> Result<FeedbackOutcome, FeedbackError> {
        let logged = {
            // What is being written is neither in memory nor, with its labels, in the store.
            let _none_is_written = self.learning.saving.lock().await;
            let logged = self.decision(id).await?.ok_or(FeedbackError::UnknownDecision)?;
            // Labels are kept there.
            self.learning.decisions.lock().bring_back(logged.clone());
            logged
        };
        let entry = logged.served.ok_or(FeedbackError::NothingServed)?;
        if logged.labels.iter().any(|label| label.source == Source::Feedback) {
            return Ok(self.heard(entry, false).await);
        }
        if let Some(case) = &logged.case {
            let of_best = |place| (Some(place) == case.best).then_some(correct);
            let right: Vec<_> = (0..case.evidence.len()).map(of_best).collect();
            let told = Told { source: Source::Feedback, asked: None };
            self.learning.learn((id, case), &right, told, &self.setup());
        } else {
            let label = Label { source: Source::Feedback, right: correct, at: Timestamp::now() };
            self.learning.decisions.lock().label(id, label);
        }
        if !correct {
            let from = if logged.case.is_some() { Quarantine::NearPrompts } else { Quarantine::Everybody };
            self.quarantine(entry, false, from);
        }
        Ok(self.heard(entry, true).await)
    }

    /// Tells whether anything changed.
    fn quarantine(&self, entry: EntryId, correct: bool, from: Quarantine) -> bool {
        let learner = &mut *self.learning.learner.lock();
        let changed = if correct {
            let was = learner.is_quarantined(&entry);
            learner.release(&entry);
            was
        } else {
            learner.quarantine(entry, from)
        };
        self.learning.quarantines_changed(learner);
        changed
    }

    /// What is quarantined is kept at once: a wrong answer must not be back after a crash.
    async fn heard(&self, entry: EntryId, recorded: bool) -> FeedbackOutcome {
        if let Err(error) = self.save_quarantines().await {
            tracing::warn!(cache = self.name.id, %error, "feedback could not be saved yet; it is tried again");
        }
        if let Err(error) = self.save_decisions().await {
            tracing::warn!(cache = self.name.id, %error, "decisions could not be saved yet; it is tried again");
        }
        self.now_heard(entry, recorded)
    }

    fn now_heard(&self, entry: EntryId, recorded: bool) -> FeedbackOutcome {
        let learner = self.learning.learner.lock();
        let quarantined = match (learner.is_quarantined(&entry), learner.is_withdrawn(&entry)) {
            (_, true) => Some(Quarantine::Everybody),
            (true, false) => Some(Quarantine::NearPrompts),
            (false, false) => None,
        };
        drop(learner);
        FeedbackOutcome { recorded, entry, quarantined, served_to: self.learning.served(entry) }
    }
}
