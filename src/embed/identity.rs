//! Which model made a vector.

use std::sync::Arc;

/// Which model made a vector: vectors of different identities can't be compared.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ModelIdentity {
    /// The model's directory name.
    pub name: String,
    /// Components of its embeddings.
    pub dimension: usize,
    /// Of everything that decides what vector a text gets.
    pub digest: ModelDigest,
}

/// What tells one model's vectors from another's: blake3 of weights, tokenizer, config and of what the manifest says about
/// using them, in hexadecimal digits. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ModelDigest(Arc<str>);

impl ModelDigest {
    /// The digest that `digits` spell.
    #[must_use]
    pub fn new(digits: &str) -> Self {
        Self(digits.into())
    }

    /// Its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Enough of its digits for people.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}
