//! What can go wrong between OpenAI's shape and another one: Google's and Amazon's say it alike.

/// Why a request can't be put to a provider: something in it has no counterpart there, or isn't what OpenAI's API says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` can't be sent to this model: {why}")]
pub struct Unconvertible {
    /// Where it is, as in `messages[2].content[0]`.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl Unconvertible {
    pub(super) fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
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
