//! The store in this process: RocksDB for what must last, vectors in memory.
//!
//! RocksDB calls and searches block, so each runs on tokio's blocking threads; how many run and how many wait is bounded. Writes that concern the same text take the same lock stripe, under which the batch is written *and* the index
//! changed: that is why the index never shows what the database doesn't hold, and never keeps what it dropped.

mod database;
mod load;
mod memory;
mod record;
mod worth;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::Semaphore;

use super::{
    Attributes, CacheKey, CacheName, Candidate, Entry, EntryId, Holdings, NewEntry, ScopeKey, Store, StoreError,
    TextHash, Timestamp, Vector,
};
use crate::config::Durability;
use crate::embed::{Embedding, ModelIdentity};
use crate::index::{Expiry, Filter, Row};
use crate::telemetry::{self, Step};
pub use database::OpenError;
use database::{Database, Put};
use memory::{Memory, NotLoaded};
use record::VectorKey;
use worth::{Ledger, Record};

/// Operations that run at once, each on a blocking thread.
const MAX_RUNNING: usize = 32;
/// Operations that may wait for their turn; further ones are turned away.
const MAX_WAITING: usize = 4096;
const STRIPES: u8 = 64;
/// How long opening a store waits for its index.
const A_MOMENT: Duration = Duration::from_millis(250);

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
    dimension: usize,
    database: Database,
    memory: Memory,
    ledger: Ledger,
    /// A write takes its text's stripe, under a shared hold on `all`; flushing holds `all` alone.
    stripes: [Mutex<()>; STRIPES as usize],
    all: RwLock<()>,
    /// Held while a graph is saved: two of one scope at a time would take each other's generation.
    saving: Mutex<()>,
    /// Held while entries are evicted.
    evicting: Mutex<()>,
    closing: AtomicBool,
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// The database's directory; made when it is missing.
    pub path: PathBuf,
    /// What an acknowledged store survives.
    pub durability: Durability,
    /// What all entries together may take on disk before compression.
    pub most_bytes: u64,
}

impl EmbeddedStore {
    /// Opens the database, making it where it is missing, and begins to load its vectors: until that is done,
    /// [`nearest`](Store::nearest) says [`StoreError::Loading`] for some scopes. Waits a moment for it, so that a small store
    /// is complete from the first lookup on.
    ///
    /// # Errors
    /// See [`OpenError`]; among them a database that another model's vectors fill.
    pub fn open(options: &OpenOptions, model: &ModelIdentity) -> Result<Self, OpenError> {
        let inner = Arc::new(Inner {
            dimension: model.dimension,
            database: Database::open(&options.path, options.durability, model)?,
            memory: Memory::new(model.dimension),
            ledger: Ledger::new(options.most_bytes),
            stripes: std::array::from_fn(|_| Mutex::new(())),
            all: RwLock::new(()),
            saving: Mutex::new(()),
            evicting: Mutex::new(()),
            closing: AtomicBool::new(false),
        });
        tracing::info!(path = %options.path.display(), "opened the store");
        let (loaded, is_loaded) = mpsc::channel();
        let in_background = Arc::clone(&inner);
        let loading = std::thread::Builder::new().name("load-index".into());
        loading.spawn(move || in_background.load(&loaded)).map_err(OpenError::Io)?;
        // Whether it is done or the moment is over: both are fine.
        let _ = is_loaded.recv_timeout(A_MOMENT);
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

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.inner.closing.store(true, Ordering::Relaxed);
    }
}

/// The lock that writes of a text take.
fn stripe(text: TextHash) -> u8 {
    text.0[0] % STRIPES
}

impl Inner {
    fn lock(&self, stripe: u8) -> MutexGuard<'_, ()> {
        self.stripes[usize::from(stripe % STRIPES)].lock()
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Fills the memory, says so, and does what is due then.
    fn load(&self, loaded: &mpsc::Sender<()>) {
        let started = Instant::now();
        if let Err(error) = load::everything(self) {
            telemetry::degraded("load");
            tracing::error!(
                cause = telemetry::cause(&error),
                "the index could not be loaded; only exact texts are found"
            );
            return;
        }
        self.memory.report_size();
        let _ = loaded.send(());
        tracing::info!(millis = started.elapsed().as_millis(), "loaded the index");
        self.evict();
        self.keep_up_all();
    }

    fn put(&self, new: NewEntry) -> Result<EntryId, StoreError> {
        let text = TextHash::of(&new.prompt);
        let id = EntryId::new(new.scope, text, &new.attributes);
        let NewEntry { cache, scope, .. } = new;
        let tags = new.attributes.tags();
        let _all = self.all.read();
        let _stripe = self.lock(stripe(text));
        let (vector, blurred) = match new.vector {
            Vector::New(made) => (Some(made.vector), made.blurred),
            Vector::None => (None, false),
            Vector::Unchanged => self.vector_before(VectorKey { cache, scope, id })?,
        };
        let entry = Entry {
            id,
            scope,
            prompt: new.prompt,
            answer: new.answer,
            attributes: new.attributes,
            created: new.created,
            expires: new.expires,
            blurred,
        };
        let uses = self.ledger.record(cache, &id).map_or(0, |record| record.uses);
        let put = Put {
            cache,
            text,
            entry: &entry,
            vector: vector.as_ref(),
            tags: &tags,
            cost_millis: new.cost_millis,
            uses,
            stripe: stripe(text),
        };
        let record = self.database.put(&put)?;
        self.ledger.stored(cache, id, record);
        match vector {
            Some(vector) => {
                let row = Row { key: id, expiry: Expiry(entry.expires.0), tags: tags.into() };
                self.memory.insert(cache, scope, row, &vector);
            }
            None => self.memory.remove(cache, scope, &id),
        }
        Ok(id)
    }

    /// The vector of an entry that is about to be replaced, and whether it is blurred.
    fn vector_before(&self, key: VectorKey) -> Result<(Option<Embedding>, bool), StoreError> {
        let blurred = self.database.entry(key.cache, key.id)?.is_some_and(|entry| entry.blurred);
        Ok((self.database.vector(key)?, blurred))
    }

    /// Does what is due in the background.
    fn keep_up_all(&self) {
        for (cache, scope) in self.memory.due() {
            if self.is_closing() {
                return;
            }
            self.keep_up(cache, scope);
        }
        self.memory.report_size();
    }

    fn keep_up(&self, cache: CacheKey, scope: ScopeKey) {
        // Another thread may be at it.
        if self.memory.keep_up(cache, scope)
            && let Some(_one) = self.saving.try_lock()
        {
            self.save_graph(cache, scope, false);
        }
    }

    /// Keeps a scope's graph on disk where enough of it has changed, or `anything`. It only spares time at the next start, so
    /// a failure is logged and no more. The caller holds `saving`.
    fn save_graph(&self, cache: CacheKey, scope: ScopeKey, anything: bool) {
        let Some(index) = self.memory.worth_saving(cache, scope, anything) else { return };
        let mut saved = self.database.save_graph(cache, scope, |keep| index.save_image(keep));
        // A flush may have come before the last of it was written.
        let _all = self.all.read();
        if saved.is_ok() && !self.memory.has(cache, scope, &index) {
            saved = self.database.delete_graphs(cache, scope);
        }
        if let Err(error) = saved {
            tracing::warn!(cause = telemetry::cause(&error), "a graph could not be saved");
        }
    }

    /// Keeps all graphs on disk as they are.
    fn save_graphs(&self) {
        let _one = self.saving.lock();
        for (cache, scope) in self.memory.unsaved() {
            self.save_graph(cache, scope, true);
        }
    }

    /// Removes what is worth least until nothing takes too much.
    fn evict(&self) {
        let Some(_only) = self.evicting.try_lock() else { return };
        while !self.is_closing()
            && let Some((cache, id)) = self.ledger.next_to_go()
        {
            let evicted = self.delete_if(cache, id, |_| true).and_then(|there| {
                // Nothing was behind that record.
                if there { Ok(()) } else { self.forget(cache, id) }
            });
            match evicted {
                Ok(()) => telemetry::evicted(),
                Err(error) => {
                    // What can't be read or removed now must not keep the rest alive.
                    self.ledger.removed(cache, &id);
                    tracing::warn!(%id, cause = telemetry::cause(&error), "an entry could not be evicted");
                }
            }
        }
    }

    fn forget(&self, cache: CacheKey, id: EntryId) -> Result<(), StoreError> {
        self.ledger.removed(cache, &id);
        self.database.delete_record(cache, id)
    }

    /// Writes how often entries were of use.
    fn save_uses(&self) -> Result<(), StoreError> {
        let mut unsaved = self.ledger.take_unsaved();
        unsaved.sort_unstable_by_key(|(.., record)| record.stripe);
        for same in unsaved.chunk_by(|a, b| a.2.stripe == b.2.stripe) {
            // What is removed meanwhile must not come back.
            let _stripe = self.lock(same[0].2.stripe);
            let known =
                |(cache, id, _): &(CacheKey, EntryId, Record)| Some((*cache, *id, self.ledger.record(*cache, id)?));
            self.database.save_records(&same.iter().filter_map(known).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Removes the entry of `id` where `condition` holds of it.
    fn delete_if(&self, cache: CacheKey, id: EntryId, condition: impl Fn(&Entry) -> bool) -> Result<bool, StoreError> {
        let Some(seen) = self.database.entry(cache, id)? else { return Ok(false) };
        let text = TextHash::of(&seen.prompt);
        let _all = self.all.read();
        let _stripe = self.lock(stripe(text));
        // Read again under the lock: it may just have been replaced.
        let Some(entry) = self.database.entry(cache, id)?.filter(condition) else { return Ok(false) };
        self.database.delete(cache, text, &entry)?;
        self.ledger.removed(cache, &id);
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
            drop(tokio::task::spawn_blocking(move || inner.keep_up(cache, scope)));
        }
        if self.inner.ledger.is_over() {
            let inner = Arc::clone(&self.inner);
            drop(tokio::task::spawn_blocking(move || inner.evict()));
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
            let nearest =
                inner.memory.search(cache, scope, &query, k, &filter).map_err(|NotLoaded| StoreError::Loading)?;
            for neighbour in nearest {
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

    fn used(&self, cache: CacheKey, id: EntryId) {
        self.inner.ledger.used(cache, id);
    }

    fn missed(&self, cache: CacheKey, id: EntryId) {
        self.inner.ledger.missed(cache, id);
    }

    fn limit(&self, cache: CacheKey, most_bytes: u64) {
        self.inner.ledger.limit(cache, most_bytes);
    }

    fn holdings(&self, cache: CacheKey) -> Holdings {
        let (entries, bytes) = self.inner.ledger.of_cache(cache);
        Holdings { entries, bytes }
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
            inner.ledger.flushed(cache);
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
            telemetry::held(inner.ledger.bytes());
            Ok(swept)
        })
        .await
        .inspect(|swept| {
            if *swept > 0 {
                let inner = Arc::clone(&self.inner);
                // Graphs that lost many; nobody waits for them.
                drop(tokio::task::spawn_blocking(move || inner.keep_up_all()));
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

    async fn save_uses(&self) -> Result<(), StoreError> {
        self.blocking(|inner| inner.save_uses()).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.closing.store(true, Ordering::Relaxed);
        self.blocking(|inner| {
            inner.save_uses()?;
            inner.save_graphs();
            inner.database.sync()
        })
        .await
    }
}

#[cfg(test)]
mod tests;
