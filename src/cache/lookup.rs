//! One question to a cache, and what came of it.

use std::sync::Arc;

use super::decision::Decision;
use super::gist::AnswerNeed;
use crate::decide::LookupConstraints;
use crate::embed::{Cosine, TextEmbedding};
use crate::prompt::Question;
use crate::store::{Attributes, ChatContext, Entry};

/// How an answer may be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// By the same text.
    Exact,
    /// By a text of the same meaning.
    Semantic,
}

/// What is asked of a cache.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The prompt and its scope.
    pub question: Question,
    /// What curated entries may depend on. Unset: none of them may answer, because the text alone doesn't say what is asked.
    pub chat: Option<ChatContext>,
    /// Only entries that carry all of these may answer.
    pub attributes: Attributes,
    /// Tried in this order.
    pub strategies: Vec<Strategy>,
    /// What the caller asks for beyond the cache's policy.
    pub constraints: LookupConstraints,
    /// Answers wanted at most.
    pub max_results: usize,
    /// What an answer must come with for the caller to deliver it; others are passed over.
    pub need: AnswerNeed,
}

impl Lookup {
    /// For one answer of any age, by the same text or one of the same meaning.
    #[must_use]
    pub fn new(question: Question) -> Self {
        Self {
            question,
            chat: None,
            attributes: Attributes::default(),
            strategies: vec![Strategy::Exact, Strategy::Semantic],
            constraints: LookupConstraints::default(),
            max_results: 1,
            need: AnswerNeed::Nothing,
        }
    }
}

/// An entry whose answer is served.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The entry.
    pub entry: Entry,
    /// Of the two prompts; 1 where they are the same.
    pub cosine: Cosine,
    /// How it was found.
    pub strategy: Strategy,
    /// Of the answer, in milliseconds.
    pub age_millis: u64,
}

impl Hit {
    /// Whether somebody wrote the answer for many chats.
    #[must_use]
    pub fn is_curated(&self) -> bool {
        self.entry.curation.is_some()
    }
}

/// The result of a lookup.
#[derive(Debug, Clone)]
pub struct Found {
    /// Best first; empty unless the outcome is a hit.
    pub hits: Vec<Hit>,
    /// How it came about.
    pub decision: Arc<Decision>,
    /// The prompt's vector where it was needed, so that a store that follows needn't compute it again.
    pub embedding: Option<TextEmbedding>,
}
