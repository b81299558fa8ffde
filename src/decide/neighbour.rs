//! Stored prompts near one that is asked.

use super::answer::AnswerClass;
use super::query::PromptText;
use crate::embed::{Cosine, Embedding};
use crate::store::EntryId;

/// A stored prompt near the one that is asked.
#[derive(Debug, Clone, Copy)]
pub struct Neighbour<'n> {
    /// Its entry.
    pub entry: EntryId,
    /// Its prompt.
    pub prompt: PromptText<'n>,
    /// Its prompt's vector.
    pub vector: &'n Embedding,
    /// Of the two prompts.
    pub cosine: Cosine,
    /// Entries of one class have the same answer.
    pub answer: AnswerClass,
    /// Whether its answer is short or structured, so that others that say the same have the same class.
    pub is_literal: bool,
    /// What can rule it out, whatever its prompt says.
    pub state: CandidateState,
}

/// What can rule an entry out, whatever its prompt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CandidateState {
    /// Of its answer, in milliseconds.
    pub age_millis: u64,
    /// Whether an answer of it was reported wrong.
    pub is_quarantined: bool,
    /// Whether the caller's API can carry its answer.
    pub is_deliverable: bool,
}

impl Default for CandidateState {
    /// A new entry that nobody complains about.
    fn default() -> Self {
        Self { age_millis: 0, is_quarantined: false, is_deliverable: true }
    }
}

/// The places of the nearest neighbour with each answer, nearest first.
pub(super) fn nearest_of_each(neighbours: &[Neighbour<'_>]) -> impl Iterator<Item = usize> {
    let is_nearest = |place: &usize| {
        let (nearer, answer) = (&neighbours[..*place], neighbours[*place].answer);
        nearer.iter().all(|other| other.answer != answer)
    };
    (0..neighbours.len()).filter(is_nearest)
}
