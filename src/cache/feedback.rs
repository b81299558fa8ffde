//! What people say about answers.

use super::cache::Cache;
use super::decision::DecisionId;
use super::decisions::Label;
use super::learning::Finding;
use crate::decide::LabelSource;
use crate::store::{EntryId, Quarantine, StoreError, Timestamp};

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
    /// The store failed. A wrong answer is kept back until the next start all the same; say it again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Cache {
    /// Somebody says whether an answer was right. A wrong one is served to nobody else: a near prompt's keeps its entry from near
    /// prompts, an equal one's from everybody, until it has another answer or is reported right.
    ///
    /// # Errors
    /// See [`FeedbackError`]; nothing has changed then, but for what that says of the store.
    pub async fn feedback(&self, feedback: Feedback) -> Result<FeedbackOutcome, FeedbackError> {
        self.wake().await?;
        match feedback.about {
            About::Decision(id) => self.feedback_on_decision(id, feedback.correct).await,
            About::Entry(entry) => {
                let found = self.store.get(self.key, entry, Timestamp::now()).await?;
                found.ok_or(FeedbackError::UnknownEntry)?;
                let recorded = match feedback.correct {
                    true => self.store.release(self.key, entry).await?,
                    false => self.store.quarantine(self.key, entry, Quarantine::Everybody).await?,
                };
                Ok(self.outcome(entry, recorded))
            }
        }
    }

    async fn feedback_on_decision(&self, id: DecisionId, correct: bool) -> Result<FeedbackOutcome, FeedbackError> {
        // One after the other, or the same could be counted twice.
        let _one_at_a_time = self.learning.feedback.lock().await;
        let logged = {
            // What is being written is neither in memory nor, with its labels, in the store.
            let _none_is_written = self.learning.saving.lock().await;
            let logged = self.decision(id).await?.ok_or(FeedbackError::UnknownDecision)?;
            // Labels are kept there.
            self.learning.decisions.lock().bring_back(logged.clone());
            logged
        };
        let entry = logged.served.ok_or(FeedbackError::NothingServed)?;
        if logged.labels.iter().any(|label| label.source == LabelSource::Feedback) {
            return Ok(self.outcome(entry, false));
        }
        // A wrong answer must not be back after a crash. Where that can't be promised, nothing was said.
        if !correct {
            let from = if logged.assessment.is_some() { Quarantine::NearPrompts } else { Quarantine::Everybody };
            self.store.quarantine(self.key, entry, from).await?;
        }
        if let Some(assessment) = &logged.assessment {
            let finding = Finding { right: correct, source: LabelSource::Feedback };
            let of_best = |place| (Some(place) == assessment.best).then_some(finding);
            let found: Vec<_> = (0..assessment.candidates.len()).map(of_best).collect();
            self.learning.learn((id, assessment), &found, None, &self.setup());
        } else {
            let label = Label { source: LabelSource::Feedback, right: correct, at: Timestamp::now() };
            self.learning.decisions.lock().label(id, label);
        }
        if let Err(error) = self.save_decisions().await {
            tracing::warn!(cache = self.name.id, %error, "decisions could not be saved yet; it is tried again");
        }
        Ok(self.outcome(entry, true))
    }

    fn outcome(&self, entry: EntryId, recorded: bool) -> FeedbackOutcome {
        let quarantined = self.store.quarantined(self.key, &entry);
        let served_to = self.learning.decisions.lock().served(entry);
        FeedbackOutcome { recorded, entry, quarantined, served_to }
    }
}
