//! What a rule may look at.

use crate::embed::{Cosine, Embedding, TextEmbedding};

/// What is known about a prompt and a candidate for its answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Features {
    /// Of the angle between the two prompts; for long ones, that of their least similar parts.
    pub cosine: Cosine,
}

impl Features {
    /// Of `query` and the candidate whose whole vector is at `cosine` to the query's and whose long prompt has `parts`.
    #[must_use]
    pub fn of(query: &TextEmbedding, cosine: Cosine, parts: &[Embedding]) -> Self {
        Self { cosine: query.weakest_part(cosine, parts) }
    }
}
