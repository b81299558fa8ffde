//! Vectors that providers made of texts: found by exactly the text, each by itself, and kept so.
//!
//! A request asks for many at once, so they are read in one go and written in one go.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cache::Cache;
use super::error::CacheError;
use super::pending::PendingSave;
use super::search::MAX_WAIT;
use crate::decide::{Observation, Outcome};
use crate::prompt::Fingerprint;
use crate::store::{
    Answer, Attributes, Entry, EntryId, NewEntry, ProviderVector, Quarantine, ScopeKey, StoreError, Tags, TextHash,
    Timestamp, Vector,
};
use crate::telemetry::{self, Step};

/// Which vectors a request asks for.
#[derive(Debug, Clone, Copy)]
pub struct VectorLookup<'l> {
    /// Of everything in the request but its texts.
    pub fingerprint: &'l Fingerprint,
    /// The texts. Equal ones may be among them.
    pub texts: &'l [String],
    /// The oldest vectors that the caller accepts, in milliseconds.
    pub max_age_millis: Option<u64>,
}

/// A vector that is known.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownVector {
    /// The vector.
    pub vector: Arc<ProviderVector>,
    /// How long ago it was made.
    pub age_millis: u64,
    /// When it stops being served.
    pub expires: Timestamp,
}

/// Vectors to remember.
#[derive(Debug, Clone)]
pub struct VectorSave {
    /// Of everything in the request but its texts.
    pub fingerprint: Fingerprint,
    /// Each with the text that it was made of.
    pub vectors: Vec<(String, ProviderVector)>,
    /// What the entries can be deleted by.
    pub tags: Tags,
    /// How long they live; never longer than the cache's own time to live.
    pub ttl_millis: Option<u64>,
    /// How long all of them together took to make.
    pub took: Duration,
}

impl Cache {
    /// The vectors that are known, in the order of the texts. All that are told are of one model and one length, because those
    /// of a reply are; where some aren't, none is known. Never fails: where the store does, none is known, and the error says
    /// why.
    ///
    /// # Errors
    /// What was wrong, for the caller to see.
    pub async fn known_vectors(&self, lookup: VectorLookup<'_>) -> Result<Vec<Option<KnownVector>>, String> {
        let started = Instant::now();
        let found = tokio::time::timeout(MAX_WAIT, self.find_vectors(lookup)).await;
        telemetry::step(Step::Exact, started.elapsed());
        let trouble = match found {
            Ok(Ok(known)) => return Ok(known),
            Ok(Err(error)) => {
                tracing::warn!(cache = self.name.id, cause = telemetry::cause(&error), "vectors can't be looked up");
                error.to_string()
            }
            Err(_) => "the cache did not answer in time".to_owned(),
        };
        telemetry::degraded("store");
        Err(trouble)
    }

    async fn find_vectors(&self, lookup: VectorLookup<'_>) -> Result<Vec<Option<KnownVector>>, StoreError> {
        let VectorLookup { fingerprint, texts, max_age_millis } = lookup;
        let scope = ScopeKey::new(self.key, fingerprint.bytes());
        // Each text is read once, however often it is asked for.
        let mut places = HashMap::new();
        let mut hashes = Vec::new();
        let order: Vec<usize> = texts
            .iter()
            .map(|text| {
                *places.entry(text.as_str()).or_insert_with(|| {
                    hashes.push(TextHash::of(text));
                    hashes.len() - 1
                })
            })
            .collect();
        let before = self.pending.before_now(scope);
        if !before.is_empty() {
            before.of_any(&hashes.iter().copied().collect::<HashSet<_>>()).await;
        }
        let now = Timestamp::now();
        let found = self.store.find_exact_many(self.key, scope, hashes.clone(), now).await?;
        let mut known: Vec<Option<KnownVector>> =
            found.into_iter().map(|entry| self.known_vector(entry?, now, max_age_millis)).collect();
        for (hash, known) in hashes.iter().zip(&known) {
            let id = EntryId::new(scope, *hash, &Attributes::default());
            match known {
                Some(_) => self.store.used(self.key, id),
                None => self.store.missed(self.key, id),
            }
        }
        if !are_alike(known.iter().flatten()) {
            tracing::debug!(cache = self.name.id, "known vectors are of several models or lengths, and made anew");
            known.fill(None);
        }
        Ok(order.into_iter().map(|place| known[place].clone()).collect())
    }

    fn known_vector(&self, entry: Entry, now: Timestamp, max_age_millis: Option<u64>) -> Option<KnownVector> {
        let age_millis = now.since(entry.created);
        if max_age_millis.is_some_and(|most| age_millis > most)
            || self.store.quarantined(self.key, &entry.id) == Some(Quarantine::Everybody)
        {
            return None;
        }
        let vector = Arc::new(entry.answer.vector?);
        Some(KnownVector { vector, age_millis, expires: entry.expires })
    }

    /// Counts a request for vectors as one lookup, which is a hit where all of them were known.
    pub fn observe_vectors(&self, outcome: Outcome, known: usize, asked: usize) {
        self.observe(&Observation { outcome, best: None, min_cosine: None });
        telemetry::vectors(self.labels(), known, asked.saturating_sub(known));
    }

    /// Says that vectors of these texts are about to be saved: until the result is dropped, lookups of any of them wait.
    #[must_use]
    pub fn begin_save_vectors<'t>(
        &self,
        fingerprint: &Fingerprint,
        texts: impl Iterator<Item = &'t String>,
    ) -> PendingSave {
        let hashes: Vec<TextHash> = texts.map(|text| TextHash::of(text)).collect();
        self.pending.begin(ScopeKey::new(self.key, fingerprint.bytes()), hashes)
    }

    /// Stores vectors durably; the next lookup sees them.
    ///
    /// # Errors
    /// The store's.
    pub async fn save_vectors(&self, save: VectorSave) -> Result<(), CacheError> {
        let VectorSave { fingerprint, vectors, tags, ttl_millis, took } = save;
        let kept = self.kept().await?;
        self.register().await?;
        let created = Timestamp::now();
        let longest = self.setup().ttl_millis();
        let expires = created.after(ttl_millis.map_or(longest, |asked| asked.min(longest)));
        // What a hit spares of each is its share of the call.
        let share = took.as_millis() / vectors.len().max(1) as u128;
        let cost_millis = u32::try_from(share).unwrap_or(u32::MAX).max(1);
        let entry = |(prompt, vector)| {
            let answer = Answer { vector: Some(vector), ..Answer::default() };
            NewEntry {
                cache: self.key,
                fingerprint: *fingerprint.bytes(),
                prompt,
                answer,
                attributes: Attributes::default(),
                created,
                expires,
                tags: tags.clone(),
                curation: None,
                cost_millis,
                uses: 0,
                vector: Vector::None,
            }
        };
        let entries: Vec<NewEntry> = vectors.into_iter().map(entry).collect();
        let ids: Vec<EntryId> = entries.iter().map(NewEntry::id).collect();
        let stored = self.store.put_many(entries).await;
        let result = if stored.is_ok() { "stored" } else { "failed" };
        ids.iter().for_each(|_| telemetry::store(self.labels(), result));
        if let Err(error) = &stored {
            tracing::error!(cache = self.name.id, cause = telemetry::cause(error), "vectors could not be stored");
        }
        stored?;
        drop(kept);
        Ok(())
    }
}

/// Whether vectors are of one model and one length.
fn are_alike<'k>(mut known: impl Iterator<Item = &'k KnownVector>) -> bool {
    let of = |known: &'k KnownVector| (&known.vector.model, known.vector.components.len());
    let Some(first) = known.next().map(of) else { return true };
    known.all(|other| of(other) == first)
}
