//! What is stored.

use super::attributes::Attributes;
use super::curation::{ChatContext, Curation};
use super::key::{CacheKey, EntryId, ScopeKey, TextHash};
use super::tags::Tags;
use crate::embed::{Cosine, Embedding, ModelDigest, TextEmbedding};
use crate::index::Tag;

/// A point in time, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time now.
    #[must_use]
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// This long after; never overflows.
    #[must_use]
    pub fn after(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds from `earlier` until this, zero where it isn't earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What is served on a hit.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// The answer as plain text: what the cache API replies.
    pub text: String,
    /// The whole reply of a chat completion as JSON, where the answer came from one. Opaque here.
    pub completion: Option<String>,
    /// The vector that was asked for, where the request was for one.
    pub vector: Option<ProviderVector>,
}

impl Answer {
    /// The bytes of all that it says.
    pub(super) fn size(&self) -> usize {
        let of_vector = self.vector.as_ref().map_or(0, |vector| vector.components.len() * size_of::<f32>());
        self.text.len() + self.completion.as_ref().map_or(0, String::len) + of_vector
    }
}

/// A vector that a provider's model made of a prompt, as it is served. Nothing is searched by it.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct ProviderVector {
    /// The model, as the provider names it in its reply.
    pub model: String,
    /// Tokens of the prompt: zero where the provider didn't tell, and a share of the batch's where it was one of several.
    pub tokens: u32,
    /// Its numbers.
    pub components: Vec<f32>,
}

/// What there is to know of an answer without reading it. How it is made of one, whoever opens the store says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AnswerGist {
    /// What it says, as a number: answers that say the same have the same.
    pub says: u64,
    /// Whether it is so short that other words say something else.
    pub is_literal: bool,
    /// Whether it says anything in plain text.
    pub has_text: bool,
    /// Whether it comes with how much was used to make it.
    pub has_usage: bool,
}

/// Finds out the gist of an answer.
pub type GistOf = for<'a> fn(&'a Answer) -> AnswerGist;

/// A stored entry: with its answer, or with as much of it as is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<A = Answer> {
    /// Its name.
    pub id: EntryId,
    /// Who may be answered with it; compared again with the asker's after every read.
    pub scope: ScopeKey,
    /// What the scope was made of, beside the cache: so that the entry can move to another one.
    pub fingerprint: [u8; 32],
    /// The prompt that was answered.
    pub prompt: String,
    /// The answer.
    pub answer: A,
    /// What it can be filtered by.
    pub attributes: Attributes,
    /// When it was stored.
    pub created: Timestamp,
    /// When it stops being served.
    pub expires: Timestamp,
    /// What it can be deleted by.
    pub tags: Tags,
    /// Which chats it answers, where somebody wrote it for more than one request.
    pub curation: Option<Curation>,
}

impl<A> Entry<A> {
    /// What its vector can be found by.
    #[must_use]
    pub fn index_tags(&self) -> Vec<Tag> {
        index_tags(&self.attributes, self.curation.as_ref())
    }

    /// The same entry with something else for its answer, and what it had.
    pub(super) fn with_answer<B>(self, answer: B) -> (Entry<B>, A) {
        let Self { id, scope, fingerprint, prompt, answer: before, attributes, created, expires, tags, curation } =
            self;
        let entry = Entry { id, scope, fingerprint, prompt, answer, attributes, created, expires, tags, curation };
        (entry, before)
    }
}

fn index_tags(attributes: &Attributes, curation: Option<&Curation>) -> Vec<Tag> {
    let mut tags = attributes.tags();
    tags.extend(curation.into_iter().flat_map(Curation::tags));
    tags
}

/// Which entries of a scope a lookup admits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryFilter {
    /// They carry all of these.
    pub attributes: Attributes,
    /// Where the scope is that of curated entries: they admit this chat.
    pub chat: Option<ChatContext>,
}

impl EntryFilter {
    /// Whether `entry` is one of them.
    #[must_use]
    pub fn admits<A>(&self, entry: &Entry<A>) -> bool {
        let admits = |chat| entry.curation.as_ref().is_some_and(|curation| curation.admits(chat));
        entry.attributes.carry(&self.attributes) && self.chat.as_ref().is_none_or(admits)
    }
}

impl From<Attributes> for EntryFilter {
    fn from(attributes: Attributes) -> Self {
        Self { attributes, chat: None }
    }
}

/// Which entries of a cache are to be deleted: those that all of these hold for. What is unset holds for all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// They carry all of these.
    pub attributes: Attributes,
    /// They carry one of these.
    pub tags: Option<Tags>,
    /// They were stored before.
    pub stored_before: Option<Timestamp>,
    /// Their prompts are this near to a text, whatever their scopes; a text is near to itself.
    pub near: Option<Near>,
    /// They are curated, or aren't.
    pub curated: Option<bool>,
}

/// A text, and how near to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Near {
    /// The text.
    pub text: String,
    /// Its vector; where it has none, only equal texts are near.
    pub embedding: Option<TextEmbedding>,
    /// The least plain cosine.
    pub min_cosine: Cosine,
}

impl Selection {
    /// Whether all that can be seen without vectors holds for `entry`.
    #[must_use]
    pub fn admits<A>(&self, entry: &Entry<A>) -> bool {
        entry.attributes.carry(&self.attributes)
            && self.tags.as_ref().is_none_or(|tags| entry.tags.has_any(tags))
            && self.stored_before.is_none_or(|before| entry.created < before)
            && self.curated.is_none_or(|curated| entry.curation.is_some() == curated)
    }
}

/// An entry that was selected.
#[derive(Debug, Clone, PartialEq)]
pub struct Selected {
    /// The entry.
    pub entry: Entry,
    /// Of its prompt and the text that it had to be near to.
    pub cosine: Option<Cosine>,
}

/// An entry to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEntry {
    /// The cache that it belongs to.
    pub cache: CacheKey,
    /// Of everything in the request but the prompt; it and the cache are the scope.
    pub fingerprint: [u8; 32],
    /// See [`Entry`].
    pub prompt: String,
    /// See [`Entry`].
    pub answer: Answer,
    /// See [`Entry`].
    pub attributes: Attributes,
    /// See [`Entry`].
    pub created: Timestamp,
    /// See [`Entry`].
    pub expires: Timestamp,
    /// See [`Entry`].
    pub tags: Tags,
    /// See [`Entry`]. Where it is set, `fingerprint` is [`Curation::fingerprint`].
    pub curation: Option<Curation>,
    /// Milliseconds that its answer took to make: what a lookup that finds it saves.
    pub cost_millis: u32,
    /// Lookups that were answered with it elsewhere.
    pub uses: u32,
    /// The prompt's vector.
    pub vector: Vector,
}

impl NewEntry {
    /// The name that it will have.
    #[must_use]
    pub fn id(&self) -> EntryId {
        let (scope, text) = (self.scope(), TextHash::of(&self.prompt));
        match &self.curation {
            Some(curation) => curation.entry_id(scope, text, &self.attributes),
            None => EntryId::new(scope, text, &self.attributes),
        }
    }

    /// What its vector can be found by.
    #[must_use]
    pub fn index_tags(&self) -> Vec<Tag> {
        index_tags(&self.attributes, self.curation.as_ref())
    }

    /// Who may be answered with it.
    #[must_use]
    pub fn scope(&self) -> ScopeKey {
        ScopeKey::new(self.cache, &self.fingerprint)
    }
}

/// An entry with all that is kept of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The cache that it belongs to.
    pub cache: CacheKey,
    /// The entry.
    pub entry: Entry,
    /// Whether texts of the same meaning may be answered with it.
    pub semantic: bool,
    /// Its prompt's vector, if it has one.
    pub vector: Option<StoredVector>,
    /// See [`NewEntry`].
    pub cost_millis: u32,
    /// Lookups that were answered with it.
    pub uses: u32,
}

/// A prompt's vector as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredVector {
    /// The vector.
    pub vector: Embedding,
    /// Whether it misses some of what the prompt says.
    pub lossy: bool,
    /// Which model made it.
    pub model: ModelDigest,
}

/// A place among all entries, in the order in which [`Store::page`](super::Store::page) goes through them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The cache of the last entry that was seen.
    pub cache: CacheKey,
    /// The last entry that was seen.
    pub entry: EntryId,
}

/// What becomes of an entry's vector when it is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Vector {
    /// This is it.
    New(TextEmbedding),
    /// It has none, and is found by its exact text only.
    None,
    /// It couldn't be computed now. An entry that is replaced keeps the one that it had: the text is the same.
    Unchanged,
}

/// What a cache holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Holdings {
    /// Its entries.
    pub entries: usize,
    /// What they take on disk, before compression.
    pub bytes: u64,
    /// Those of them that are curated.
    pub curated: usize,
    /// What those take.
    #[serde(rename = "curatedBytes")]
    pub curated_bytes: u64,
}
