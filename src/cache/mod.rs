//! The life of a lookup and of a store.
//!
//! [`Caches`] finds or makes a [`Cache`]; a cache looks up (exact, then semantic, in the order asked) and stores. Its
//! callers speak HTTP or replay traces; its store and its embedder know nothing of each other.

mod awaited;
mod chat_context;
mod decisions;
mod deletion;
mod judge;
mod known;
mod learning;
mod lifecycle;
mod lookup;
mod pending;
mod reembed;
mod registry;
mod save;
mod transfer;
mod tuning;
mod vectors;

pub use chat_context::{chat_context, chat_question, read_chat};
pub use decisions::{Label, Logged};
pub use deletion::Deletion;
pub use judge::{Judge, Pair};
pub use learning::{About, Feedback, FeedbackError, FeedbackOutcome, FlushMode};
pub use lookup::{Considered, Decision, DecisionId, Found, Hit, Lookup, Strategy};
pub use pending::PendingSave;
pub use reembed::{INTERRUPTED, ReembedError, Reembedded};
pub use registry::{Cache, Caches, OpenError};
pub use save::Save;
pub use transfer::{Destination, Imported, Line};
pub use tuning::{NotTuned, Tuning, TuningChange};
pub use vectors::{KnownVector, VectorLookup, VectorSave};

use crate::embed::EmbedError;
use crate::store::StoreError;

/// Caches of all tenants together, those included that were asked but never stored into: each takes memory, and a series in
/// the metrics, until the next start.
const MAX_CACHES: usize = 10_000;
/// Characters of the longest `cacheId`.
const MAX_NAME: usize = 128;

/// Why the cache can't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// There is no such cache, and it may not spring into being.
    #[error("there is no cache `{0}`; add [caches.{0}] to the settings, or set server.create_caches = true")]
    Unknown(String),
    /// There is no such cache.
    #[error("there is no cache `{0}`")]
    NoSuchCache(String),
    /// There is one of this name.
    #[error("there is a cache `{0}` already")]
    Exists(String),
    /// Only the operator makes caches here.
    #[error("only caches of the settings exist here (server.create_caches = false)")]
    NotAllowed,
    /// The name can't be a cache's.
    #[error("a cacheId is 1 to 128 letters, digits, _, - or .")]
    BadName,
    /// No more caches are made.
    #[error("there are {MAX_CACHES} caches already, and no more are made")]
    TooMany,
    /// Entries can't be written down.
    #[error("entries can't be written down")]
    Transfer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A text that entries are to be near to can't be embedded now.
    #[error(transparent)]
    Embed(EmbedError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
