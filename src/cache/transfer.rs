//! Entries on their way out of the caches and back in, one JSON object a line.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::cache::Cache;
use super::error::CacheError;
use super::line::{Line, LineEmbedding, fingerprint};
use super::registry::{Caches, EMBEDDED_AT_ONCE};
use super::save::usual_millis;
use crate::embed::{EmbedError, Prefix};
use crate::prompt::Cacheability;
use crate::store::{
    Answer, Attributes, CacheKey, CacheName, Curation, NewEntry, Position, StoreError, Tags, Timestamp, Vector,
};

/// Where lines go, and how far they are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Lines say which tenant's and which cache's they are, and how much worth; those that don't are `default`'s.
    ByOperator {
        /// For lines that name no cache.
        default: CacheName,
    },
    /// All belong to one cache, whatever they name, live no longer than its entries do, and are worth what new ones are.
    ByTenant {
        /// That cache.
        cache: CacheName,
    },
}

/// What became of some lines.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Imported {
    /// Lines that are entries now.
    pub stored: u64,
    /// Lines whose entries would have expired already.
    pub expired: u64,
    /// Lines that were of no use: how many, and for some of them the line's number and why.
    pub refused: u64,
    /// See [`refused`](Self::refused).
    pub why: Vec<(u64, String)>,
}

impl Imported {
    /// Reasons that are told at most.
    const REASONS: usize = 20;

    /// Adds what became of other lines.
    pub fn add(&mut self, others: Self) {
        self.stored += others.stored;
        self.expired += others.expired;
        self.refused += others.refused;
        self.why.extend(others.why);
        self.why.sort_unstable();
        self.why.truncate(Self::REASONS);
    }

    /// Counts a line that was of no use.
    pub fn refuse(&mut self, number: u64, why: String) {
        self.refused += 1;
        if self.why.len() < Self::REASONS {
            self.why.push((number, why));
        }
    }
}

impl Caches {
    /// Some entries behind a position as lines, and the position of the last of them; none where there are no more.
    ///
    /// # Errors
    /// The store's.
    pub async fn export(
        &self,
        only: Option<&CacheName>,
        after: Option<Position>,
        most: usize,
    ) -> Result<Option<(Vec<Line>, Position)>, CacheError> {
        let only = only.map(|name| CacheKey::new(&name.tenant, &name.id));
        let page = self.store().page(only, after, most).await?;
        let Some(last) = page.last() else { return Ok(None) };
        let position = Position { cache: last.cache, entry: last.entry.id };
        let lines = page.into_iter().filter_map(|stored| Some(Line::of(self.name(stored.cache)?, stored)));
        Ok(Some((lines.collect(), position)))
    }

    /// Stores lines, each known by its number.
    ///
    /// # Errors
    /// Where the store fails. Lines of no use are no error.
    pub async fn import(&self, lines: Vec<(u64, Line)>, to: &Destination) -> Result<Imported, CacheError> {
        let mut imported = Imported::default();
        let mut entries = Vec::with_capacity(lines.len());
        let mut caches: BTreeMap<CacheKey, Arc<Cache>> = BTreeMap::new();
        let mut made = stream::iter(lines)
            .map(|(number, line)| async move { (number, self.entry_of(line, to).await) })
            .buffered(EMBEDDED_AT_ONCE);
        while let Some((number, entry)) = made.next().await {
            match entry {
                Ok((entry, _)) if entry.expires <= Timestamp::now() => imported.expired += 1,
                Ok((entry, cache)) => {
                    caches.insert(cache.key, cache);
                    entries.push(entry);
                }
                Err(why) => imported.refuse(number, why),
            }
        }
        let mut kept = Vec::with_capacity(caches.len());
        for cache in caches.values() {
            kept.push(cache.kept().await?);
            cache.register().await?;
        }
        imported.stored = entries.len() as u64;
        match self.store().put_many(entries.clone()).await {
            Err(StoreError::OtherModel) => self.store().put_many(self.embedded_anew(entries).await).await?,
            stored => stored?,
        }
        Ok(imported)
    }

    /// Entries whose vectors another model made: it was changed in between.
    async fn embedded_anew(&self, mut entries: Vec<NewEntry>) -> Vec<NewEntry> {
        for entry in &mut entries {
            if matches!(entry.vector, Vector::New(_)) {
                entry.vector = self.embed(&entry.prompt).await.unwrap_or_else(|error| {
                    tracing::warn!(error, "imported without a vector: it serves its exact text only");
                    Vector::Unchanged
                });
            }
        }
        entries
    }

    async fn entry_of(&self, line: Line, to: &Destination) -> Result<(NewEntry, Arc<Cache>), String> {
        let (tenant, id) = match to {
            Destination::ByOperator { default } => {
                (line.tenant.as_ref().unwrap_or(&default.tenant), line.cache.as_ref().unwrap_or(&default.id))
            }
            Destination::ByTenant { cache } => (&cache.tenant, &cache.id),
        };
        let is_trusted = matches!(to, Destination::ByOperator { .. });
        line.check()?;
        let cache = self.get(tenant, id).map_err(|error| error.to_string())?;
        let question = line.question(&cache.ignored_fields())?;
        let curation = line.curation()?;
        let fingerprint = match (&curation, &line.fingerprint) {
            (Some(_), _) => Curation::fingerprint(),
            (None, Some(digits)) => fingerprint(digits)?,
            (None, None) => *question.fingerprint.bytes(),
        };
        let is_semantic = line.semantic.unwrap_or(true)
            && question.cacheability == Cacheability::Semantic
            && line.embedding.is_none();
        let model = self.store().model();
        let vector = match &line.vector {
            _ if !is_semantic => Vector::None,
            Some(made) if made.model == model.digest => Vector::New(made.read(model.dimension)?),
            _ => self.embed(&question.text).await?,
        };
        let now = Timestamp::now();
        let created = line.created.map_or(now, Timestamp).min(now);
        let embedding = line.embedding.as_ref().map(LineEmbedding::read).transpose()?;
        let answer = Answer { text: line.response, completion: line.completion, vector: embedding };
        let cost_millis = line.cost_millis.filter(|_| is_trusted).unwrap_or_else(|| usual_millis(&answer));
        let ttl_millis = if curation.is_some() { u64::MAX } else { cache.setup().ttl_millis() };
        let latest = if is_trusted { Timestamp(u64::MAX) } else { now.after(ttl_millis) };
        let expires = line.expires.map_or_else(|| created.after(ttl_millis), Timestamp).min(latest);
        let entry = NewEntry {
            cache: cache.key,
            fingerprint,
            prompt: question.text,
            answer,
            attributes: Attributes::new(line.attributes),
            created,
            expires,
            tags: Tags::new(line.tags),
            curation,
            cost_millis,
            uses: line.uses.filter(|_| is_trusted).unwrap_or(0),
            vector,
        };
        Ok((entry, cache))
    }

    async fn embed(&self, text: &str) -> Result<Vector, String> {
        let _place = self.importing.acquire().await.map_err(|error| error.to_string())?;
        loop {
            match self.embedder().embed(text, Prefix::Query).await {
                Ok(made) => return Ok(Vector::New(made)),
                Err(EmbedError::TooLong(_) | EmbedError::Unfit(_)) => return Ok(Vector::None),
                // Lookups come first; there will be room.
                Err(EmbedError::Busy(_)) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
