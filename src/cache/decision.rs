//! How a lookup ended, and why.

use crate::decide::{CandidateVerdict, Outcome, RejectionReason};
use crate::embed::Cosine;
use crate::store::EntryId;

/// Names a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct DecisionId(uuid::Uuid);

impl DecisionId {
    /// A new one; they sort by time.
    pub(super) fn new() -> Self {
        Self(uuid::Uuid::now_v7())
    }

    /// Its bytes, which sort by time.
    pub(super) fn bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl std::str::FromStr for DecisionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        uuid::Uuid::try_parse(text).map(Self)
    }
}

impl std::fmt::Display for DecisionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.simple().fmt(f)
    }
}

/// A candidate and what was thought of it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Considered {
    /// The candidate.
    pub entry: EntryId,
    /// Of the two prompts.
    pub cosine: Cosine,
    /// What the policy said.
    pub verdict: CandidateVerdict,
    /// Whether it is a curated entry.
    #[serde(default)]
    pub curated: bool,
}

/// How a lookup ended and why.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Decision {
    /// Its name.
    pub id: DecisionId,
    /// How it ended.
    pub outcome: Outcome,
    /// The probability that the best candidate's answer is right, where the policy estimates one.
    pub p_correct: Option<f64>,
    /// The error budget that it was made within, where the policy has one.
    pub budget: Option<f64>,
    /// The semantic candidates, nearest first.
    pub candidates: Vec<Considered>,
    /// What spoke against the best candidate, or against the entry of the same text.
    #[serde(rename = "guards")]
    pub rejections: Vec<RejectionReason>,
    /// Why the cache had no say, or could only look for the same text.
    pub reason: Option<String>,
    /// Whether a curated entry was served.
    #[serde(default)]
    pub curated: bool,
}

impl Decision {
    /// The best semantic candidate's cosine.
    #[must_use]
    pub fn best_cosine(&self) -> Option<Cosine> {
        self.candidates.first().map(|candidate| candidate.cosine)
    }
}
