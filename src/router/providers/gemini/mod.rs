//! Google's `generateContent` (the Gemini API's v1beta; Vertex AI speaks the same), to and from OpenAI's chat completions.
//!
//! Everything here is pure: bytes and JSON in, JSON out, times handed in.

mod completion;
mod contents;
mod error;
mod media;
mod path;
mod reply;
mod request;
mod schema;
mod stream;
mod tools;

pub use completion::completion;
pub use error::{error, retry_delay};
pub use path::path;
pub(crate) use path::percent_encoded;
pub use request::request;
pub use stream::Chunks;

/// Why a request can't be put to Gemini: something in it has no counterpart there, or isn't what OpenAI's API says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` can't be sent to this model: {why}")]
pub struct Unconvertible {
    /// Where it is, as in `messages[2].content[0]`.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl Unconvertible {
    fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }
}

/// A reply that isn't one complete answer in a form that is understood; better no answer than half of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the provider's reply is not understood: {0}")]
pub struct Malformed(pub String);

/// Why a stream isn't a whole answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    /// An event isn't understood.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The provider says that it has failed.
    #[error("the provider failed: {message}")]
    Upstream {
        /// What it says.
        message: String,
        /// OpenAI's word for this kind of error, such as `rate_limit_error`.
        kind: String,
    },
    /// The stream ended without saying why, so something is missing.
    #[error("the provider's stream broke off")]
    BrokenOff,
}

/// Whether `model` is of Gemini's third generation or later, whose models match function results to calls by their ids
/// and want thought signatures back. The models before reject a request that has these ids in it.
fn is_gemini_3_or_later(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let Some(rest) = name.strip_prefix("gemini-") else { return false };
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    match digits.parse::<u32>() {
        Ok(generation) => generation >= 3,
        // `gemini-flash-latest` and its like have moved on to the third generation.
        Err(_) => digits.is_empty() && rest.ends_with("-latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_told_apart() {
        for new in ["gemini-3-pro-preview", "gemini-3.5-flash", "models/gemini-12", "gemini-flash-latest"] {
            assert!(is_gemini_3_or_later(new), "{new}");
        }
        for old in ["gemini-2.5-flash", "gemini-1.5-pro-latest", "gemma-3-27b-it", "gemini-", "gemini-pro", "", "gpt-5"]
        {
            assert!(!is_gemini_3_or_later(old), "{old}");
        }
        assert!(!is_gemini_3_or_later("gemini-99999999999999999999-latest"));
    }

    #[test]
    fn messages_say_where_and_why() {
        let error = Unconvertible::new("n", "only one answer can be asked for");
        assert_eq!(error.to_string(), "`n` can't be sent to this model: only one answer can be asked for");
        assert_eq!(StreamFault::from(Malformed("x".into())).to_string(), "the provider's reply is not understood: x");
    }
}
