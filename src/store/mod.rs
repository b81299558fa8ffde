//! Durable entries and their nearest neighbours.
//!
//! [`Store`] is what the cache needs of a store, whichever it is; [`embedded`] is RocksDB with the vectors in memory.
//! A store doesn't know why something is stored, or whether a neighbour is near enough.

mod attributes;
mod curation;
pub mod embedded;
mod entry;
mod key;
mod quarantine;
mod state;
mod tags;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use crate::embed::{Cosine, Embedding, ModelIdentity, TextEmbedding};
use crate::index::ImageError;
pub use attributes::{Attributes, Flaw};
pub use curation::{ChatContext, Curation};
pub use entry::{
    Answer, AnswerGist, Entry, EntryFilter, GistOf, Holdings, Near, NewEntry, Position, ProviderVector, Selected,
    Selection, Stored, StoredVector, Timestamp, Vector,
};
pub use key::{CacheKey, EntryId, ScopeKey, TextHash};
pub use quarantine::Quarantine;
pub use state::{State, StateError, write_state};
pub use tags::Tags;

/// Why a store can't do what it was asked. None of these is the caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No space is left for writes; reads go on.
    #[error("the disk is full")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nothing can be written here; reads go on.
    #[error("the data can only be read here")]
    ReadOnly,
    /// More operations wait than the store admits.
    #[error("the store is overloaded ({0} operations are waiting)")]
    Busy(usize),
    /// Vectors are still being read from the disk; exact texts are found already.
    #[error("the index is still being loaded")]
    Loading,
    /// Curated entries are never evicted, and take as much as they may.
    #[error(
        "curated entries take up all the room that they may, which is {0} bytes; delete some, or raise max_curated_bytes"
    )]
    CuratedFull(u64),
    /// The embedding model was changed a moment ago, or a vector is none of the model's that the store has vectors of.
    #[error("the vectors are another model's")]
    OtherModel,
    /// The store was closed before it was done.
    #[error("the store was closed")]
    Closed,
    /// A record isn't what was written.
    #[error("a stored record is damaged: {0}")]
    Damaged(String),
    /// Anything else that the database says.
    #[error("the store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<ImageError> for StoreError {
    fn from(error: ImageError) -> Self {
        Self::Failed(error.into())
    }
}

/// An entry's vector near the one asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The near entry.
    pub entry: Entry<AnswerGist>,
    /// Whether its prompt's vector misses some of what it says.
    pub lossy: bool,
    /// Its prompt's vector.
    pub vector: Embedding,
    /// The plain cosine of the two vectors.
    pub cosine: Cosine,
}

/// Embeds texts; none where a text is none that can be.
pub type EmbedTexts<'e> = dyn FnMut(&[&str]) -> Vec<Option<TextEmbedding>> + 'e;

/// How many vectors have been made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// So many.
    pub done: u64,
    /// Of about so many.
    pub all: u64,
}

/// Whether acknowledged writes may be gone, reports of wrong answers among them: because their log was damaged, or because
/// somebody mended the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing says so.
    None,
    /// They may be.
    Suspected,
}

/// A cache that has been stored into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheName {
    /// Its owner.
    pub tenant: String,
    /// The `cacheId` of the API.
    pub id: String,
}

/// Where entries live.
///
/// Every method may be called from many tasks at once and never blocks the caller's thread. What a finished
/// [`put`](Store::put), [`delete`](Store::delete) or [`flush`](Store::flush) did, the next call sees.
#[async_trait]
pub trait Store: Send + Sync {
    /// Writes `entry` durably, then makes it visible. An entry of the same id is replaced. [`StoreError::OtherModel`] where
    /// its vector is of no model that is in use or being changed to.
    async fn put(&self, entry: NewEntry) -> Result<EntryId, StoreError>;

    /// Writes many entries, each as [`put`](Store::put) does, and all of them durably by the time that this returns. Where it
    /// fails, some may have been written.
    async fn put_many(&self, entries: Vec<NewEntry>) -> Result<(), StoreError>;

    /// The `most` entries behind a position, or the first ones of all: of one cache, where that is named. Each is whole, but
    /// they aren't of one moment: what is stored or removed meanwhile may or may not be among them.
    async fn page(
        &self,
        cache: Option<CacheKey>,
        after: Option<Position>,
        most: usize,
    ) -> Result<Vec<Stored>, StoreError>;

    /// Copies the whole store, as it is at one moment, into `directory`, which must not exist. Lookups and stores go on.
    async fn backup(&self, directory: &Path) -> Result<(), StoreError>;

    /// The entry of `id` in `cache`, unless it has expired at `now`.
    async fn get(&self, cache: CacheKey, id: EntryId, now: Timestamp) -> Result<Option<Entry>, StoreError>;

    /// The entry in `scope` of exactly the text with the hash `text` that has just the attributes that are wanted, else the newest
    /// one that carries all of them and more; of curated ones the most specific. Expired at `now` doesn't count.
    async fn find_exact(
        &self,
        cache: CacheKey,
        scope: ScopeKey,
        text: TextHash,
        wanted: &EntryFilter,
        now: Timestamp,
    ) -> Result<Option<Entry>, StoreError>;

    /// The entry in `scope` of each of several texts, in their order and read in one go: those without attributes. Expired at
    /// `now` doesn't count.
    async fn find_exact_many(
        &self,
        cache: CacheKey,
        scope: ScopeKey,
        texts: Vec<TextHash>,
        now: Timestamp,
    ) -> Result<Vec<Option<Entry>>, StoreError>;

    /// Whether [`nearest`](Store::nearest) would find nothing in `scope` whatever it is asked, so that nothing need be
    /// embedded. Answers at once.
    fn nothing_near(&self, cache: CacheKey, scope: ScopeKey) -> bool;

    /// How many entries in `scope` have a vector. Answers at once.
    fn count_near(&self, cache: CacheKey, scope: ScopeKey) -> usize;

    /// The entries in `scope` with the `k` nearest vectors, nearest first, that are `wanted` and haven't expired at `now`. Their answers
    /// aren't read; [`get`](Store::get) does that. [`StoreError::OtherModel`] where the query is of another model than [`model`](Store::model).
    async fn nearest(
        &self,
        cache: CacheKey,
        scope: ScopeKey,
        query: &TextEmbedding,
        k: usize,
        wanted: &EntryFilter,
        now: Timestamp,
    ) -> Result<Vec<Candidate>, StoreError>;

    /// A lookup was answered with the entry `id`, which makes it worth keeping.
    fn used(&self, cache: CacheKey, id: EntryId);

    /// A lookup found no answer; this is the entry that would have been one.
    fn missed(&self, cache: CacheKey, id: EntryId);

    /// `cache` may take so many bytes; what is worth least goes beyond that. Its curated entries, which never go, may take
    /// `max_curated` of them, and those of all caches together half of what there is: further ones are refused.
    fn limit(&self, cache: CacheKey, max_bytes: u64, max_curated: u64);

    /// Whether `cache` has curated entries, or whether that isn't known yet. Answers at once.
    fn may_hold_curated(&self, cache: CacheKey) -> bool;

    /// What `cache` holds.
    fn holdings(&self, cache: CacheKey) -> Holdings;

    /// Keeps an entry from somebody, durably, until it is [released](Store::release), removed, or gets an answer that
    /// [says](AnswerGist::says) something else. Tells whether it was kept from fewer before; false where there is no such entry. Where
    /// it fails, the entry is kept back all the same, but may come back with a restart.
    async fn quarantine(&self, cache: CacheKey, id: EntryId, from: Quarantine) -> Result<bool, StoreError>;

    /// Keeps an entry from nobody any more, durably. Tells whether it was.
    async fn release(&self, cache: CacheKey, id: EntryId) -> Result<bool, StoreError>;

    /// From whom an entry is kept. Answers at once.
    fn quarantined(&self, cache: CacheKey, id: &EntryId) -> Option<Quarantine>;

    /// How many entries of `cache` are kept from somebody.
    fn count_quarantined(&self, cache: CacheKey) -> usize;

    /// Removes an entry and tells whether it was there.
    async fn delete(&self, cache: CacheKey, id: EntryId, now: Timestamp) -> Result<bool, StoreError>;

    /// Finds the entries of `cache` that are selected: how many there are, and the first `most` of them.
    async fn select(
        &self,
        cache: CacheKey,
        selection: &Selection,
        now: Timestamp,
        most: usize,
    ) -> Result<(u64, Vec<Selected>), StoreError>;

    /// Removes the entries of `cache` that are selected, and counts them.
    async fn delete_selected(&self, cache: CacheKey, selection: &Selection, now: Timestamp) -> Result<u64, StoreError>;

    /// Removes every entry of `cache`.
    async fn flush(&self, cache: CacheKey) -> Result<(), StoreError>;

    /// Removes what expired before `now`; returns how many entries. They were invisible already.
    async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError>;

    /// Whether acknowledged writes may have been lost, and nobody has said yet that they know. Answers at once.
    fn loss(&self) -> Loss;

    /// Whoever depends on what may have been lost has taken account of it.
    async fn loss_is_known(&self) -> Result<(), StoreError>;

    /// Remembers that a cache exists.
    async fn add_cache(&self, name: &CacheName) -> Result<(), StoreError>;

    /// Removes a cache with all that is kept of it: entries, state and decisions.
    async fn remove_cache(&self, cache: CacheKey) -> Result<(), StoreError>;

    /// The caches that exist.
    async fn caches(&self) -> Result<Vec<CacheName>, StoreError>;

    /// Keeps `state`, which only its owner understands, for `cache` under `name`.
    async fn save_state(&self, cache: CacheKey, name: &'static str, state: Vec<u8>) -> Result<(), StoreError>;

    /// What was kept for `cache` under `name`.
    async fn load_state(&self, cache: CacheKey, name: &'static str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keeps decisions, each under a name that sorts by time. They take the place of those of the same names. Once all of them
    /// take a gigabyte, the oldest go.
    async fn keep_decisions(&self, cache: CacheKey, decisions: Vec<([u8; 16], Vec<u8>)>) -> Result<(), StoreError>;

    /// The decision of this name.
    async fn decision(&self, cache: CacheKey, name: [u8; 16]) -> Result<Option<Vec<u8>>, StoreError>;

    /// The `most` newest ones of a cache, newest first.
    async fn decisions(&self, cache: CacheKey, most: usize) -> Result<Vec<Vec<u8>>, StoreError>;

    /// Forgets all of a cache.
    async fn forget_decisions(&self, cache: CacheKey) -> Result<(), StoreError>;

    /// Which model made the vectors that [`nearest`](Store::nearest) searches.
    fn model(&self) -> Arc<ModelIdentity>;

    /// From now on vectors of `model` are taken as well, though they aren't searched yet. Blocks for a moment.
    fn expect_model(&self, model: &ModelIdentity) -> Result<(), StoreError>;

    /// Makes the vectors of all entries with the model that `embed` embeds with, while those that are there still serve. What
    /// an interrupted call has made is not made again; with the model in use, only those are made that an entry lacks. Blocks
    /// until all is made; call it from a thread of its own.
    fn make_vectors(
        &self,
        model: &ModelIdentity,
        embed: &mut EmbedTexts<'_>,
        progress: &mut dyn FnMut(Made),
    ) -> Result<(), StoreError>;

    /// From now on the vectors that [`make_vectors`](Store::make_vectors) made are searched; those before are forgotten.
    /// Blocks for a moment, in which nothing is stored; at its end `switched` is called.
    fn switch_model(&self, embed: &mut EmbedTexts<'_>, switched: &mut dyn FnMut()) -> Result<(), StoreError>;

    /// Writes that need no haste: how often entries were of use.
    async fn save_uses(&self) -> Result<(), StoreError>;

    /// What goes on in the background ends, and what was only buffered reaches the disk.
    async fn close(&self) -> Result<(), StoreError>;
}
