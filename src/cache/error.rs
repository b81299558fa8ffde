//! What caches can't do.

use crate::embed::EmbedError;
use crate::store::StoreError;

/// Caches of all tenants together that were stored into: each takes memory for its statistics and its policy.
pub(super) const MAX_CACHES: usize = 10_000;

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

/// Why the caches can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No threshold is known.
    #[error(
        "caches.{0}.min_cosine must be set in settings that name the model {1}, whose manifest has no default threshold"
    )]
    NoThreshold(String, String),
    /// The store can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
