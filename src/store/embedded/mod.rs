//! The store in this process: RocksDB for what must last, vectors in memory.
//!
//! RocksDB calls and searches block, so each runs on tokio's blocking threads; how many run and how many wait is bounded. Writes that concern the same text take the same lock stripe, under which the batch is written *and* the index
//! changed: that is why the index never shows what the database doesn't hold, and never keeps what it dropped.

mod database;
mod load;
mod memory;
mod record;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::Semaphore;

use super::{
    Attributes, CacheKey, CacheName, Candidate, Entry, EntryId, NewEntry, ScopeKey, Store, StoreError, TextHash,
    Timestamp, Vector,
};
use crate::config::Durability;
use crate::embed::{Embedding, ModelIdentity};
use crate::index::{Expiry, Filter, Row};
use crate::telemetry::{self, Step};
pub use database::OpenError;
use database::{Database, Put};
use memory::Memory;

/// Operations that run at once, each on a blocking thread.
const MAX_RUNNING: usize = 32;
/// Operations that may wait for their turn; further ones are turned away.
const MAX_WAITING: usize = 4096;
const STRIPES: usize = 64;

/// RocksDB with an in-memory index.
pub struct EmbeddedStore {
    inner: Arc<Inner>,
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// A place among the operations that wait; given back when dropped, also where its caller gives up.
struct Waiting<'s>(&'s AtomicUsize);

impl<'s> Waiting<'s> {
    fn enter(waiting: &'s AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < MAX_WAITING).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Inner {
    database: Database,
    memory: Memory,
    /// A write takes its text's stripe, under a shared hold on `all`; flushing holds `all` alone.
    stripes: [Mutex<()>; STRIPES],
    all: RwLock<()>,
    /// Held while a graph is saved: two of one scope at a time would take each other's generation.
    saving: Mutex<()>,
}

impl EmbeddedStore {
    /// Opens the database in `path`, making it where it is missing, and loads its vectors.
    ///
    /// Blocks for as long as reading all vectors takes.
    ///
    /// # Errors
    /// See [`OpenError`]; among them a database that another model's vectors fill.
    pub fn open(path: &Path, durability: Durability, model: &ModelIdentity) -> Result<Self, OpenError> {
        let started = Instant::now();
        let database = Database::open(path, durability, model)?;
        let memory = load::vectors(&database, model.dimension)?;
        memory.report_size();
        tracing::info!(
            path = %path.display(), vectors = memory.len(), millis = started.elapsed().as_millis(), "opened the store"
        );
        let inner = Inner {
            database,
            memory,
            stripes: std::array::from_fn(|_| Mutex::new(())),
            all: RwLock::new(()),
            saving: Mutex::new(()),
        };
        let inner = Arc::new(inner);
        // Everything is in the tails now, where it can be searched, if slowly; the graphs are built behind that.
        let in_background = Arc::clone(&inner);
        std::thread::Builder::new()
            .name("build-index".into())
            .spawn(move || in_background.memory.keep_up_all())
            .map_err(OpenError::Io)?;
        Ok(Self { inner, running: Arc::new(Semaphore::new(MAX_RUNNING)), waiting: AtomicUsize::new(0) })
    }

    /// Runs `work` on a blocking thread.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Inner>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let waiting = Waiting::enter(&self.waiting).ok_or(StoreError::Busy(MAX_WAITING))?;
        let permit =
            Arc::clone(&self.running).acquire_owned().await.map_err(|error| StoreError::Failed(error.into()))?;
        drop(waiting);
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&inner)
        })
        .await
        .map_err(|error| StoreError::Failed(error.into()))?
    }
}

impl Inner {
    fn stripe(&self, text: TextHash) -> MutexGuard<'_, ()> {
        self.stripes[usize::from(text.0[0]) % STRIPES].lock()
    }

    fn put(&self, new: NewEntry) -> Result<EntryId, StoreError> {
        let text = TextHash::of(&new.prompt);
        let id = EntryId::new(new.scope, text, &new.attributes);
        let NewEntry { cache, scope, vector, .. } = new;
        let tags = new.attributes.tags();
        let entry = Entry {
            id,
            scope,
            prompt: new.prompt,
            answer: new.answer,
            attributes: new.attributes,
            created: new.created,
            expires: new.expires,
            blurred: matches!(&vector, Vector::New(made) if made.blurred),
        };
        let _all = self.all.read();
        let _stripe = self.stripe(text);
        self.database.put(&Put { cache, text, entry: &entry, vector: &vector, tags: &tags })?;
        match vector {
            Vector::New(made) => {
                let row = Row { key: id, expiry: Expiry(entry.expires.0), tags: tags.into() };
                self.memory.insert(cache, scope, row, &made.vector);
            }
            Vector::None => self.memory.remove(cache, scope, &id),
            Vector::Unchanged => {}
        }
        Ok(id)
    }

    /// Keeps a scope's graph on disk where enough of it has changed, or `anything`. It only spares time at the next start, so
    /// a failure is logged and no more.
    fn save_graph(&self, cache: CacheKey, scope: ScopeKey, anything: bool) {
        let _one = self.saving.lock();
        let image = self.memory.image(cache, scope, anything).map_err(|error| StoreError::Failed(error.into()));
        let saved = image.and_then(|image| image.map_or(Ok(()), |image| self.database.save_graph(cache, scope, image)));
        if let Err(error) = saved {
            tracing::warn!(cause = telemetry::cause(&error), "a graph could not be saved");
        }
    }

    /// Removes the entry of `id` where `condition` holds of it.
    fn delete_if(&self, cache: CacheKey, id: EntryId, condition: impl Fn(&Entry) -> bool) -> Result<bool, StoreError> {
        let Some(seen) = self.database.entry(cache, id)? else { return Ok(false) };
        let text = TextHash::of(&seen.prompt);
        let _all = self.all.read();
        let _stripe = self.stripe(text);
        // Read again under the lock: it may just have been replaced.
        let Some(entry) = self.database.entry(cache, id)?.filter(condition) else { return Ok(false) };
        self.database.delete(cache, text, &entry)?;
        self.memory.remove(cache, entry.scope, &id);
        Ok(true)
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn put(&self, entry: NewEntry) -> Result<EntryId, StoreError> {
        let (cache, scope) = (entry.cache, entry.scope);
        let started = Instant::now();
        let id = self.blocking(move |inner| inner.put(entry)).await?;
        telemetry::step(Step::Store, started.elapsed());
        if self.inner.memory.needs_upkeep(cache, scope) {
            let inner = Arc::clone(&self.inner);
            // Takes seconds; nobody waits for it.
            drop(tokio::task::spawn_blocking(move || {
                inner.memory.keep_up(cache, scope);
                inner.save_graph(cache, scope, false);
            }));
        }
        Ok(id)
    }

    async fn get(&self, cache: CacheKey, id: EntryId, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        self.blocking(move |inner| Ok(inner.database.entry(cache, id)?.filter(|entry| entry.expires > now))).await
    }

    async fn find_exact(
        &self,
        cache: CacheKey,
        scope: ScopeKey,
        text: TextHash,
        attributes: &Attributes,
        now: Timestamp,
    ) -> Result<Option<Entry>, StoreError> {
        let asked = attributes.clone();
        self.blocking(move |inner| {
            let serves = |entry: &Entry| entry.scope == scope && entry.expires > now && entry.attributes.carry(&asked);
            // Nearly always the entry has just the attributes that are asked for, and so a known id.
            if let Some(entry) = inner.database.entry(cache, EntryId::new(scope, text, &asked))?.filter(serves) {
                return Ok(Some(entry));
            }
            let entries = inner.database.entries_of_text(scope, text)?;
            Ok(entries.into_iter().filter(serves).max_by_key(|entry| entry.created))
        })
        .await
    }

    fn nothing_near(&self, cache: CacheKey, scope: ScopeKey) -> bool {
        self.inner.memory.is_empty(cache, scope)
    }

    async fn nearest(
        &self,
        cache: CacheKey,
        scope: ScopeKey,
        query: &Embedding,
        k: usize,
        attributes: &Attributes,
        now: Timestamp,
    ) -> Result<Vec<Candidate>, StoreError> {
        let filter = Filter { now: now.0, tags: attributes.tags() };
        let (query, asked) = (query.clone(), attributes.clone());
        self.blocking(move |inner| {
            let mut candidates = Vec::new();
            for neighbour in inner.memory.search(cache, scope, &query, k, &filter) {
                // An entry deleted since the search is no candidate; tags are hashes, so attributes are compared whole.
                let Some(entry) = inner.database.entry(cache, neighbour.key)? else { continue };
                if entry.scope == scope && entry.expires > now && entry.attributes.carry(&asked) {
                    candidates.push(Candidate { entry, cosine: neighbour.cosine });
                }
            }
            Ok(candidates)
        })
        .await
    }

    async fn delete(&self, cache: CacheKey, id: EntryId, now: Timestamp) -> Result<bool, StoreError> {
        self.blocking(move |inner| inner.delete_if(cache, id, |entry| entry.expires > now)).await
    }

    async fn delete_matching(
        &self,
        cache: CacheKey,
        attributes: &Attributes,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let asked = attributes.clone();
        self.blocking(move |inner| {
            let matches = |entry: &Entry| entry.expires > now && entry.attributes.carry(&asked);
            let mut deleted = 0;
            for id in inner.database.ids_where(cache, matches)? {
                deleted += u64::from(inner.delete_if(cache, id, matches)?);
            }
            Ok(deleted)
        })
        .await
    }

    async fn flush(&self, cache: CacheKey) -> Result<(), StoreError> {
        self.blocking(move |inner| {
            let _all = inner.all.write();
            inner.database.flush(cache)?;
            inner.memory.flush(cache);
            Ok(())
        })
        .await
    }

    async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.blocking(move |inner| {
            let mut swept = 0;
            loop {
                let expired = inner.database.expired(now)?;
                for due in &expired {
                    match inner.delete_if(due.cache, due.id, |entry| entry.expires <= now) {
                        Ok(deleted) => swept += u64::from(deleted),
                        // One that can't be read can't be served either; it must not keep the others alive.
                        Err(StoreError::Damaged(why)) => {
                            tracing::warn!(id = %due.id, why, "an expired entry is unreadable");
                        }
                        Err(error) => return Err(error),
                    }
                    inner.database.forget_expiry(due)?;
                }
                if expired.is_empty() {
                    break;
                }
            }
            inner.memory.report_size();
            Ok(swept)
        })
        .await
        .inspect(|swept| {
            if *swept > 0 {
                let inner = Arc::clone(&self.inner);
                // Graphs that lost many; nobody waits for them.
                drop(tokio::task::spawn_blocking(move || inner.memory.keep_up_all()));
            }
        })
    }

    async fn add_cache(&self, name: &CacheName) -> Result<(), StoreError> {
        let name = name.clone();
        self.blocking(move |inner| inner.database.add_cache(&name)).await
    }

    async fn caches(&self) -> Result<Vec<CacheName>, StoreError> {
        self.blocking(|inner| inner.database.caches()).await
    }

    async fn save_state(&self, cache: CacheKey, name: &'static str, state: Vec<u8>) -> Result<(), StoreError> {
        self.blocking(move |inner| inner.database.save_state(cache, name, &state)).await
    }

    async fn load_state(&self, cache: CacheKey, name: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
        self.blocking(move |inner| inner.database.load_state(cache, name)).await
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.blocking(|inner| {
            for (cache, scope) in inner.memory.unsaved() {
                inner.save_graph(cache, scope, true);
            }
            inner.database.sync()
        })
        .await
    }
}

#[cfg(test)]
mod tests;
