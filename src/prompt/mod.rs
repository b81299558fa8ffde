//! Chat request → the text to embed and the fingerprint of everything else.
//!
//! Two requests share a [`Fingerprint`] exactly when they mean the same but for their last user text, whichever format each
//! was said in. This module decides what of a request is meaning; it doesn't know what is stored.

mod chat;
mod fingerprint;
mod json;
mod vectors;

pub use chat::Partition;
pub use fingerprint::{Fingerprint, Unclear};
pub use json::Json;

/// A request as the cache sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Of everything but the text.
    pub fingerprint: Fingerprint,
    /// The last user text.
    pub text: String,
    /// Where an answer may come from.
    pub cacheability: Cacheability,
}

/// Where an answer may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cacheability {
    /// Answers to texts of the same meaning may serve.
    Semantic,
    /// Only an answer to exactly this request may serve.
    ExactOnly(&'static str),
    /// No stored answer may serve, and the answer may not be stored.
    Bypass(&'static str),
}

impl Question {
    /// A plain prompt within `scope`, which may be any JSON.
    ///
    /// # Errors
    /// Where `scope` has no single meaning.
    pub fn plain(prompt: &str, scope: &Json) -> Result<Self, Unclear> {
        let fingerprint = Fingerprint::of("prompt", |hasher| hasher.value(scope))?;
        Ok(Self { fingerprint, text: prompt.to_owned(), cacheability: Cacheability::of_text(prompt) })
    }
}

impl Cacheability {
    /// A text without a letter or digit has no meaning to compare.
    fn of_text(text: &str) -> Self {
        if text.chars().any(char::is_alphanumeric) {
            Self::Semantic
        } else {
            Self::ExactOnly("the text has no letter or digit to compare meanings by")
        }
    }
}
