//! What can go wrong between a caller's format and a provider's, by who has to know it.

use std::fmt::Display;
use std::time::Duration;

/// A request that isn't one in its format, or that can't be said in another. For the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {why}")]
pub struct Unsupported {
    /// The member, as in `messages[2].content[0]`.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl Unsupported {
    /// `field` can't be used, because of `why`.
    pub fn new(field: impl Display, why: impl Display) -> Self {
        Self { field: field.to_string(), why: why.to_string() }
    }
}

/// A reply that isn't what the provider's API promises. For the operator; better no answer than half of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the provider's reply is not understood: {0}")]
pub struct Malformed(pub String);

impl From<Unsupported> for Malformed {
    fn from(why: Unsupported) -> Self {
        Self(why.to_string())
    }
}

impl From<Unsupported> for StreamFault {
    fn from(why: Unsupported) -> Self {
        Self::Malformed(why.into())
    }
}

/// Why a stream can't be read any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    /// An event isn't understood.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The provider says that it failed.
    #[error("the provider failed: {}", .0.message)]
    Provider(ProviderError),
    /// The stream ended, and nothing in it said that the answer had.
    #[error("the provider's stream ended before its answer did")]
    Truncated,
}

/// The code of a conversation that is too long, as OpenAI has it: agents look for it, and shorten their history.
pub(super) const CONTEXT_TOO_LONG: &str = "context_length_exceeded";

/// An error in the words of no API in particular.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderError {
    /// The HTTP status that it comes with, or that fits it.
    pub status: u16,
    /// What happened, for people.
    pub message: String,
    /// A word for programs, such as `context_length_exceeded`, where the provider gives one.
    pub code: Option<String>,
    /// The parameter that is to blame, where the provider names one.
    pub param: Option<String>,
    /// How long the provider wants to be left alone, where its body says so.
    pub retry_after: Option<Duration>,
}

impl ProviderError {
    /// With a message only.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), code: None, param: None, retry_after: None }
    }

    /// For a body that has no error object: its text, unless that is a page of HTML, or JSON of a shape that isn't known, which
    /// would tell a caller nothing.
    #[must_use]
    pub fn of_text(status: u16, body: &[u8]) -> Self {
        /// Characters that are told, at most. Arbitrary.
        const TOLD: usize = 500;
        let text: String = String::from_utf8_lossy(body).trim().chars().take(TOLD).collect();
        let is_text = !text.is_empty() && !text.starts_with(['<', '{', '[']);
        Self::new(status, if is_text { text } else { format!("the provider answered with status {status}") })
    }

    /// For a body that is no error message, such as a proxy's page: as much of it as it takes to recognise it.
    #[must_use]
    pub fn unreadable(status: u16, body: &[u8]) -> Self {
        /// Characters that are shown, at most.
        const SHOWN: usize = 300;
        let text = String::from_utf8_lossy(body.get(..4 * SHOWN).unwrap_or(body));
        let words: Vec<&str> =
            text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
        let shown: String = words.join(" ").chars().take(SHOWN).collect();
        let what = if shown.is_empty() { " no explanation" } else { ": " };
        Self::new(status, format!("the provider answered with status {status} and{what}{shown}"))
    }
}
