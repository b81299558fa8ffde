//! The store in this process: RocksDB for what must last, vectors in memory.
//!
//! RocksDB calls and searches block, so each runs on tokio's blocking threads, but for an exact text that is in memory; how
//! many run and how many wait is bounded. Writes that concern the same text take the same lock stripe, under which the batch is written *and* the index
//! changed: that is why the index never shows what the database doesn't hold, and never keeps what it dropped.

mod database;
mod eviction;
mod load;
mod quarantines;
mod record;
mod reembed;
mod removal;
mod scope_indexes;
mod select;
mod work_set;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::Semaphore;

use super::{
    AnswerGist, Attributes, CacheKey, CacheName, Candidate, ChatContext, EmbedTexts, Entry, EntryFilter, EntryId,
    GistOf, Holdings, Loss, Made, NewEntry, Position, Quarantine, ScopeKey, Selected, Selection, Store, StoreError,
    Stored, StoredVector, TextHash, Timestamp, Vector,
};
use crate::background;
use crate::config::Durability;
use crate::embed::{Embedding, ModelDigest, ModelIdentity, TextEmbedding};
use crate::index::{Expiry, Filter, Row};
use crate::telemetry::{self, Step};
use database::{Database, Put, Sought, Tier, Unread};
pub use database::{Examination, OpenError, Problem, StateOnDisk, examine, mend};
use eviction::{EntryCost, EvictionIndex};
use quarantines::{Quarantined, Quarantines};
use record::{EntryRecord, Slot, VectorKey};
use scope_indexes::{NotLoaded, ScopeIndexes};
use work_set::WorkSet;

/// Operations that run at once, each on a blocking thread.
const MAX_RUNNING: usize = 32;
/// Operations that may wait for their turn; further ones are turned away.
const MAX_WAITING: usize = 4096;
/// Vectors of a scope that may wait for the graph before that is urgent: scanning so many takes about 0.3 ms.
const URGENT: usize = 4096;
/// Entries of many that are written in one go: while they are, other writes wait, for about a millisecond.
const AT_ONCE: usize = 64;
const STRIPES: u8 = 64;
/// How long opening a store waits for its index.
const A_MOMENT: Duration = Duration::from_millis(250);

/// RocksDB with an in-memory index.
pub struct EmbeddedStore {
    inner: Arc<Inner>,
    /// Those that work in the background, until the store is closed.
    threads: Mutex<Vec<JoinHandle<()>>>,
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
    spaces: ArcSwap<Spaces>,
    eviction: EvictionIndex,
    quarantines: Quarantines,
    /// A write takes its text's stripe, under a shared hold on `all`; flushing holds `all` alone.
    stripes: [Mutex<()>; STRIPES as usize],
    all: RwLock<()>,
    /// Held while a graph is saved: two of one scope at a time would take each other's generation.
    saving: Mutex<()>,
    /// Held while vectors are made anew.
    making: Mutex<()>,
    /// Scopes whose graphs want upkeep.
    due: WorkSet<(CacheKey, ScopeKey)>,
    /// Those of them that want it soon.
    urgent: WorkSet<(CacheKey, ScopeKey)>,
    /// Room.
    room: WorkSet<()>,
    closing: AtomicBool,
}

/// The vectors of one model: those in memory, and where they are on disk.
struct Space {
    model: Arc<ModelIdentity>,
    slot: Slot,
    memory: ScopeIndexes,
}

impl Space {
    fn new(model: &ModelIdentity, slot: Slot) -> Self {
        Self { model: Arc::new(model.clone()), slot, memory: ScopeIndexes::new(model.dimension) }
    }
}

/// The vectors that are searched, and those that will be.
struct Spaces {
    current: Arc<Space>,
    next: Option<Arc<reembed::Next>>,
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// The database's directory; made when it is missing.
    pub path: PathBuf,
    /// What an acknowledged store survives.
    pub durability: Durability,
    /// What all entries together may take on disk before compression.
    pub max_bytes: u64,
    /// What is kept of answers so that they needn't be read.
    pub gist_of: GistOf,
}

impl EmbeddedStore {
    /// Opens the database, making it where it is missing, and begins to load its vectors: until that is done,
    /// [`nearest`](Store::nearest) says [`StoreError::Loading`] for some scopes. Waits a moment for it, so that a small store
    /// is complete from the first lookup on.
    ///
    /// # Errors
    /// See [`OpenError`]; among them a database that another model's vectors fill.
    pub fn open(options: &OpenOptions, model: &ModelIdentity) -> Result<Self, OpenError> {
        let database = Database::open(options, model)?;
        let current = Arc::new(Space::new(model, database.current_slot()));
        // Before anything is served.
        let quarantines = Quarantines::new(database.quarantines()?);
        let inner = Arc::new(Inner {
            database,
            spaces: ArcSwap::from_pointee(Spaces { current, next: None }),
            eviction: EvictionIndex::new(options.max_bytes),
            quarantines,
            stripes: std::array::from_fn(|_| Mutex::new(())),
            all: RwLock::new(()),
            saving: Mutex::new(()),
            making: Mutex::new(()),
            due: WorkSet::new(),
            urgent: WorkSet::new(),
            room: WorkSet::new(),
            closing: AtomicBool::new(false),
        });
        tracing::info!(path = %options.path.display(), "opened the store");
        let (loaded, is_loaded) = mpsc::channel();
        let threads = [
            Self::thread(&inner, "index", {
                let loaded = loaded.clone();
                move |inner| inner.keep_index(&loaded)
            })?,
            Self::thread(&inner, "index-urgent", Inner::catch_up)?,
            Self::thread(&inner, "evict", move |inner| inner.keep_room(&loaded))?,
        ];
        let until = Instant::now() + A_MOMENT;
        // Whether both are done or the moment is over: either is fine.
        let is_loaded = || is_loaded.recv_timeout(until.saturating_duration_since(Instant::now()));
        let _ = is_loaded().and_then(|()| is_loaded());
        let (running, waiting) = (Arc::new(Semaphore::new(MAX_RUNNING)), AtomicUsize::new(0));
        Ok(Self { inner, threads: Mutex::new(threads.into()), running, waiting })
    }

    fn thread(
        inner: &Arc<Inner>,
        name: &str,
        work: impl FnOnce(&Inner) + Send + 'static,
    ) -> Result<JoinHandle<()>, OpenError> {
        let inner = Arc::clone(inner);
        std::thread::Builder::new().name(name.into()).spawn(move || work(&inner)).map_err(OpenError::Io)
    }

    /// Entries that are scanned until the graph that should have them does.
    #[must_use]
    pub fn unlinked(&self) -> usize {
        self.inner.current().memory.size().unlinked
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
    /// Waits for what goes on in the background: where that had the database for longest, the process might end while it is being
    /// closed, which RocksDB takes for a fault.
    fn drop(&mut self) {
        self.inner.end();
        for thread in self.threads.get_mut().drain(..) {
            // One that panicked is over too.
            let _ = thread.join();
        }
    }
}

/// The lock that writes of a text take.
fn stripe(text: TextHash) -> u8 {
    text.0[0] % STRIPES
}

impl Spaces {
    /// Where vectors of `model` go.
    fn slot_of(&self, model: &ModelDigest) -> Option<Slot> {
        self.all().find(|space| space.model.digest == *model).map(|space| space.slot)
    }

    /// Those that are searched first.
    fn all(&self) -> impl Iterator<Item = &Arc<Space>> {
        [&self.current].into_iter().chain(self.next.as_ref().map(|next| &next.space))
    }
}

impl Space {
    /// What a vector takes.
    fn vector_bytes(&self) -> i64 {
        i64::try_from(self.model.dimension * size_of::<f32>()).unwrap_or(i64::MAX)
    }

    /// What was written is found from now on.
    fn take(&self, put: &Put) {
        let (cache, scope, id) = (put.cache, put.entry.scope, put.entry.id);
        match &put.vector {
            Some((slot, vector)) if *slot == self.slot => {
                let row = Row { key: id, expiry: Expiry(put.entry.expires.0), tags: put.tags.clone().into() };
                self.memory.insert(cache, scope, row, vector);
            }
            _ => self.memory.remove(cache, scope, &id),
        }
    }
}

impl Inner {
    /// The vectors that are searched.
    fn current(&self) -> Arc<Space> {
        Arc::clone(&self.spaces.load().current)
    }

    fn lock(&self, stripe: u8) -> MutexGuard<'_, ()> {
        self.stripes[usize::from(stripe % STRIPES)].lock()
    }

    /// Several stripes, always in the same order.
    fn lock_all(&self, stripes: impl Iterator<Item = u8>) -> Vec<MutexGuard<'_, ()>> {
        stripes.collect::<BTreeSet<u8>>().into_iter().map(|stripe| self.lock(stripe)).collect()
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// What goes on in the background ends as soon as it can.
    fn end(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.due.close();
        self.urgent.close();
        self.room.close();
    }

    /// Fills the index, says so, and then keeps graphs up until the store is closed.
    fn keep_index(&self, loaded: &mpsc::Sender<()>) {
        let started = Instant::now();
        let current = self.current();
        if let Err(error) = load::current(self, &current) {
            telemetry::degraded("load");
            tracing::error!(
                cause = telemetry::cause(&error),
                "the index could not be loaded; only exact texts are found"
            );
            return;
        }
        self.current().memory.report_size();
        // Nobody may be listening any more.
        let _ = loaded.send(());
        tracing::info!(millis = started.elapsed().as_millis(), "loaded the index");
        background::lower_priority();
        self.current().memory.due().into_iter().for_each(|of| self.due.want(of));
        // Whatever is searched by then.
        drop(current);
        while let Some((cache, scope)) = self.due.next() {
            let save = self.saver(cache, scope);
            if self.current().memory.keep_up(cache, scope, || !self.is_closing(), &save) {
                self.current().memory.report_size();
            }
            save();
        }
    }

    /// Helps where the thread that does so politely falls behind: scanning what isn't linked would cost lookups more.
    fn catch_up(&self) {
        while let Some((cache, scope)) = self.urgent.next() {
            let is_urgent = || !self.is_closing() && self.current().memory.unlinked(cache, scope) > URGENT;
            self.current().memory.keep_up(cache, scope, is_urgent, self.saver(cache, scope));
            // The other thread may have found this one at it, and gone; what is left here is its work.
            if self.current().memory.needs_upkeep(cache, scope) {
                self.due.want((cache, scope));
            }
        }
    }

    /// What keeps a scope's graph on disk where enough of it has changed, so that linking many hours' worth needn't begin anew
    /// after a restart. Gives up where it fails.
    fn saver(&self, cache: CacheKey, scope: ScopeKey) -> impl Fn() {
        let fails = Cell::new(false);
        move || {
            let Some(_one) = self.saving.try_lock().filter(|_| !fails.get() && !self.is_closing()) else { return };
            fails.set(!self.save_graph(cache, scope, false));
        }
    }

    /// Finds out what entries take, says so, and then makes room whenever there is too little, until the store is closed.
    fn keep_room(&self, loaded: &mpsc::Sender<()>) {
        if let Err(error) = load::records(self) {
            telemetry::degraded("load");
            tracing::error!(cause = telemetry::cause(&error), "what entries take is unknown; none is evicted");
            return;
        }
        let _ = loaded.send(());
        if self.database.is_read_only() {
            return;
        }
        background::lower_priority();
        if self.eviction.is_over() {
            self.evict();
        }
        while self.room.next().is_some() {
            self.evict();
        }
    }

    fn keep_up_if_due(&self, cache: CacheKey, scope: ScopeKey) {
        if self.current().memory.needs_upkeep(cache, scope) {
            self.due.want((cache, scope));
            if self.current().memory.unlinked(cache, scope) > URGENT {
                self.urgent.want((cache, scope));
            }
        }
    }

    /// Writes all entries or none.
    fn put(&self, new: Vec<NewEntry>, durability: Durability) -> Result<(), StoreError> {
        let texts: Vec<TextHash> = new.iter().map(|new| TextHash::of(&new.prompt)).collect();
        // Finding out a gist reads the whole answer, so it is done before others have to wait.
        let gists: Vec<AnswerGist> = new.iter().map(|new| self.database.gist_of(&new.answer)).collect();
        let all = self.all.read();
        let stripes = self.lock_all(texts.iter().map(|text| stripe(*text)));
        let puts = new.into_iter().zip(texts).zip(gists).map(|((new, text), gist)| self.prepare(new, text, gist));
        let puts = puts.collect::<Result<Vec<Put>, _>>()?;
        let caches: BTreeSet<CacheKey> = puts.iter().map(|put| put.cache).collect();
        let records = self.database.put(&puts, durability)?;
        let spaces = self.spaces.load();
        for (put, record) in puts.into_iter().zip(records) {
            self.eviction.stored(put.cache, put.entry.id, record);
            if put.is_released {
                self.quarantines.remove(put.cache, &put.entry.id);
            }
            spaces.current.take(&put);
            if let Some(next) = &spaces.next {
                next.take(&put);
            }
            self.keep_up_if_due(put.cache, put.entry.scope);
        }
        drop((stripes, all));
        self.make_room(caches);
        Ok(())
    }

    /// What is to be written. The caller holds its stripe.
    fn prepare(&self, new: NewEntry, text: TextHash, gist: AnswerGist) -> Result<Put, StoreError> {
        let (cache, scope) = (new.cache, new.scope());
        let id = new.id();
        let is_pinned = || self.eviction.record(cache, &id).is_some_and(|record| record.is_pinned);
        if new.curation.is_some()
            && let Some(most) = self.eviction.pinned_is_full(cache)
            && !is_pinned()
        {
            return Err(StoreError::CuratedFull(most));
        }
        let tags = new.index_tags();
        let wanted = new.vector != Vector::None;
        let (vector, lossy) = match new.vector {
            Vector::New(made) => {
                let slot = self.spaces.load().slot_of(&made.model).ok_or(StoreError::OtherModel)?;
                (Some((slot, made.vector)), made.lossy)
            }
            Vector::None => (None, false),
            Vector::Unchanged => self.vector_before(VectorKey { cache, scope, id })?,
        };
        let uses = self.eviction.record(cache, &id).map_or(new.uses, |record| record.uses);
        let entry = Entry {
            id,
            scope,
            fingerprint: new.fingerprint,
            prompt: new.prompt,
            answer: new.answer,
            attributes: new.attributes,
            created: new.created,
            expires: new.expires,
            tags: new.tags,
            curation: new.curation,
        };
        let (cost_millis, stripe) = (new.cost_millis, stripe(text));
        let is_released = self.quarantines.get(cache, &id).is_some_and(|quarantined| !quarantined.holds_for(gist.says));
        Ok(Put { cache, text, entry, gist, vector, lossy, wanted, tags, cost_millis, uses, stripe, is_released })
    }

    fn stored(&self, cache: CacheKey, EntryRecord { entry, vectors }: EntryRecord) -> Stored {
        let mut vector = None;
        for space in self.spaces.load().all() {
            let found = self.database.vector(space.slot, VectorKey { cache, scope: entry.scope, id: entry.id });
            // An entry is worth something without its vector.
            let found = found.unwrap_or_else(|error| {
                tracing::warn!(id = %entry.id, cause = telemetry::cause(&error), "a vector is unreadable");
                None
            });
            let (lossy, model) = (vectors.lossy.has(space.slot), space.model.digest.clone());
            vector = vector.or(found.map(|vector| StoredVector { vector, lossy, model }));
        }
        let record = self.eviction.record(cache, &entry.id);
        let (cost_millis, uses) = record.map_or((0, 0), |record| (record.cost_millis, record.uses));
        Stored { cache, entry, semantic: vectors.wanted, vector, cost_millis, uses }
    }

    /// The vector of an entry that is about to be replaced, and whether it is lossy.
    fn vector_before(&self, key: VectorKey) -> Result<(Option<(Slot, Embedding)>, bool), StoreError> {
        let record = self.database.gist(key.cache, key.id)?;
        for space in self.spaces.load().all() {
            if let Some(vector) = self.database.vector(space.slot, key)? {
                let lossy = record.is_some_and(|record| record.vectors.lossy.has(space.slot));
                return Ok((Some((space.slot, vector)), lossy));
            }
        }
        Ok((None, false))
    }

    /// Keeps a scope's graph on disk where enough of it has changed, or `anything`. It only spares time at the next start, so
    /// a failure is logged and no more. The caller holds `saving`.
    fn save_graph(&self, cache: CacheKey, scope: ScopeKey, anything: bool) -> bool {
        if self.database.is_read_only() {
            return true;
        }
        let Some(index) = self.current().memory.worth_saving(cache, scope, anything) else { return true };
        let mut saved = self.database.save_graph(cache, scope, |keep| index.save_image(keep));
        // A flush may have come before the last of it was written.
        let _all = self.all.read();
        if saved.is_ok() && !self.current().memory.has(cache, scope, &index) {
            saved = self.database.delete_graphs(cache, scope);
        }
        saved.inspect_err(|error| tracing::warn!(cause = telemetry::cause(error), "a graph could not be saved")).is_ok()
    }

    /// Keeps all graphs on disk as they are.
    fn save_graphs(&self) {
        let _one = self.saving.lock();
        for (cache, scope) in self.current().memory.unsaved() {
            self.save_graph(cache, scope, true);
        }
    }

    /// Writes how often entries were of use.
    fn save_uses(&self) -> Result<(), StoreError> {
        if self.database.is_read_only() {
            return Ok(());
        }
        let mut unsaved = self.eviction.take_unsaved();
        unsaved.sort_unstable_by_key(|(.., record)| record.stripe);
        for same in unsaved.chunk_by(|a, b| a.2.stripe == b.2.stripe) {
            // What is removed or flushed meanwhile must not come back.
            let _all = self.all.read();
            let _stripe = self.lock(same[0].2.stripe);
            let known = |(cache, id, _): &(CacheKey, EntryId, EntryCost)| {
                Some((*cache, *id, self.eviction.record(*cache, id)?))
            };
            self.database.save_records(&same.iter().filter_map(known).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Removes all entries of a cache. The caller holds `all` alone.
    fn flush(&self, cache: CacheKey) -> Result<(), StoreError> {
        self.database.flush(cache)?;
        self.eviction.flushed(cache);
        self.quarantines.flushed(cache);
        let spaces = self.spaces.load();
        spaces.current.memory.flush(cache);
        if let Some(next) = &spaces.next {
            next.flush(cache);
        }
        Ok(())
    }

    /// See [`Store::quarantine`].
    fn quarantine(&self, cache: CacheKey, id: EntryId, from: Quarantine) -> Result<bool, StoreError> {
        let Some(seen) = self.database.gist(cache, id)? else { return Ok(false) };
        let _all = self.all.read();
        let _stripe = self.lock(stripe(TextHash::of(&seen.entry.prompt)));
        let Some(EntryRecord { entry, .. }) = self.database.gist(cache, id)? else { return Ok(false) };
        let before = self.quarantines.get(cache, &id).map(|quarantined| quarantined.from);
        let from = before.map_or(from, |before| before.max(from));
        let quarantined = Quarantined { from, says: Some(entry.answer.says) };
        self.quarantines.add(cache, id, quarantined);
        self.database.set_quarantine(cache, id, Some(&quarantined))?;
        Ok(before < Some(from))
    }

    /// See [`Store::release`].
    fn release(&self, cache: CacheKey, id: EntryId) -> Result<bool, StoreError> {
        if self.quarantines.get(cache, &id).is_none() {
            return Ok(false);
        }
        let text = self.database.gist(cache, id)?.map(|record| TextHash::of(&record.entry.prompt));
        let _all = self.all.read();
        let _stripe = text.map(|text| self.lock(stripe(text)));
        self.database.set_quarantine(cache, id, None)?;
        self.quarantines.remove(cache, &id);
        Ok(true)
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn put(&self, entry: NewEntry) -> Result<EntryId, StoreError> {
        let started = Instant::now();
        let id = entry.id();
        self.blocking(move |inner| inner.put(vec![entry], inner.database.durability())).await?;
        telemetry::step(Step::Store, started.elapsed());
        Ok(id)
    }

    async fn put_many(&self, entries: Vec<NewEntry>) -> Result<(), StoreError> {
        self.blocking(move |inner| {
            let mut entries = entries.into_iter().peekable();
            while entries.peek().is_some() {
                inner.put(entries.by_ref().take(AT_ONCE).collect(), Durability::Buffered)?;
            }
            inner.database.flush_log()
        })
        .await
    }

    async fn page(
        &self,
        cache: Option<CacheKey>,
        after: Option<Position>,
        most: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        self.blocking(move |inner| {
            let page = inner.database.page(cache, after, most)?;
            Ok(page.into_iter().map(|(cache, record)| inner.stored(cache, record)).collect())
        })
        .await
    }

    async fn backup(&self, directory: &Path) -> Result<(), StoreError> {
        let directory = directory.to_owned();
        self.blocking(move |inner| {
            inner.save_uses()?;
            inner.save_graphs();
            inner.database.backup(&directory)
        })
        .await
    }

    async fn get(&self, cache: CacheKey, id: EntryId, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        let found = match self.inner.database.entry(cache, id, Tier::Memory) {
            Err(Unread::NotInMemory) => {
                self.blocking(move |inner| Ok(inner.database.entry(cache, id, Tier::Disk)?)).await?
            }
            found => found?,
        };
        Ok(found.filter(|entry| entry.expires > now))
    }

    async fn find_exact(
        &self,
        cache: CacheKey,
        scope: ScopeKey,
        text: TextHash,
        wanted: &EntryFilter,
        now: Timestamp,
    ) -> Result<Option<Entry>, StoreError> {
        let sought = Sought { cache, scope, text, wanted: wanted.clone(), now };
        match self.inner.database.find_exact(&sought, Tier::Memory) {
            Err(Unread::NotInMemory) => {
                self.blocking(move |inner| Ok(inner.database.find_exact(&sought, Tier::Disk)?)).await
            }
            found => Ok(found?),
        }
    }

    async fn find_exact_many(
        &self,
        cache: CacheKey,
        scope: ScopeKey,
        texts: Vec<TextHash>,
        now: Timestamp,
    ) -> Result<Vec<Option<Entry>>, StoreError> {
        self.blocking(move |inner| {
            let none = Attributes::default();
            let ids: Vec<EntryId> = texts.into_iter().map(|text| EntryId::new(scope, text, &none)).collect();
            let serves = |entry: &Entry| entry.scope == scope && entry.expires > now;
            Ok(inner.database.entries(cache, &ids)?.into_iter().map(|entry| entry.filter(serves)).collect())
        })
        .await
    }

    fn nothing_near(&self, cache: CacheKey, scope: ScopeKey) -> bool {
        self.inner.current().memory.is_empty(cache, scope)
    }

    fn count_near(&self, cache: CacheKey, scope: ScopeKey) -> usize {
        self.inner.current().memory.len(cache, scope)
    }

    async fn nearest(
        &self,
        cache: CacheKey,
        scope: ScopeKey,
        query: &TextEmbedding,
        k: usize,
        wanted: &EntryFilter,
        now: Timestamp,
    ) -> Result<Vec<Candidate>, StoreError> {
        let one_of = wanted.chat.as_ref().map(ChatContext::tags).unwrap_or_default();
        let filter = Filter { now: now.0, tags: wanted.attributes.tags(), one_of };
        let (query, wanted) = (query.clone(), wanted.clone());
        self.blocking(move |inner| {
            let mut candidates = Vec::new();
            let space = inner.current();
            if space.model.digest != query.model {
                return Err(StoreError::OtherModel);
            }
            let nearest = space.memory.search(cache, scope, &query.vector, k, &filter);
            let nearest = nearest.map_err(|NotLoaded| StoreError::Loading)?;
            let vectors = space.memory.vectors(cache, scope, nearest.iter().map(|neighbour| &neighbour.key));
            for (neighbour, vector) in nearest.into_iter().zip(vectors) {
                // An entry deleted since the search is no candidate; tags are hashes, so what they stand for is compared whole.
                let record = inner.database.gist(cache, neighbour.key)?;
                let (Some(EntryRecord { entry, vectors }), Some(vector)) = (record, vector) else {
                    continue;
                };
                if entry.scope == scope && entry.expires > now && wanted.admits(&entry) {
                    let lossy = vectors.lossy.has(space.slot);
                    candidates.push(Candidate { entry, lossy, vector, cosine: neighbour.cosine });
                }
            }
            Ok(candidates)
        })
        .await
    }

    fn used(&self, cache: CacheKey, id: EntryId) {
        self.inner.eviction.used(cache, id);
    }

    fn missed(&self, cache: CacheKey, id: EntryId) {
        self.inner.eviction.missed(cache, id);
    }

    fn limit(&self, cache: CacheKey, max_bytes: u64, max_curated: u64) {
        self.inner.eviction.limit(cache, max_bytes, max_curated);
        self.inner.room.want(());
    }

    fn may_hold_curated(&self, cache: CacheKey) -> bool {
        !self.inner.eviction.has_none_pinned(cache)
    }

    fn holdings(&self, cache: CacheKey) -> Holdings {
        let (entries, bytes) = self.inner.eviction.of_cache(cache);
        let (curated, curated_bytes) = self.inner.eviction.pinned_of_cache(cache);
        Holdings { entries, bytes, curated, curated_bytes }
    }

    async fn quarantine(&self, cache: CacheKey, id: EntryId, from: Quarantine) -> Result<bool, StoreError> {
        self.blocking(move |inner| inner.quarantine(cache, id, from)).await
    }

    async fn release(&self, cache: CacheKey, id: EntryId) -> Result<bool, StoreError> {
        self.blocking(move |inner| inner.release(cache, id)).await
    }

    fn quarantined(&self, cache: CacheKey, id: &EntryId) -> Option<Quarantine> {
        self.inner.quarantines.get(cache, id).map(|quarantined| quarantined.from)
    }

    fn count_quarantined(&self, cache: CacheKey) -> usize {
        self.inner.quarantines.count(cache)
    }

    async fn delete(&self, cache: CacheKey, id: EntryId, now: Timestamp) -> Result<bool, StoreError> {
        self.blocking(move |inner| inner.delete(cache, id, now)).await
    }

    async fn select(
        &self,
        cache: CacheKey,
        selection: &Selection,
        now: Timestamp,
        most: usize,
    ) -> Result<(u64, Vec<Selected>), StoreError> {
        let selection = selection.clone();
        self.blocking(move |inner| {
            let (mut count, mut first) = (0, Vec::new());
            inner.for_each_selected(cache, &selection, now, |entry, cosine| {
                count += 1;
                if first.len() < most {
                    first.push((entry.id, cosine));
                }
            })?;
            let mut selected = Vec::with_capacity(first.len());
            for (id, cosine) in first {
                // One may be gone by now.
                let entry = inner.database.entry(cache, id, Tier::Disk)?;
                selected.extend(entry.map(|entry| Selected { entry, cosine }));
            }
            Ok((count, selected))
        })
        .await
    }

    async fn delete_selected(&self, cache: CacheKey, selection: &Selection, now: Timestamp) -> Result<u64, StoreError> {
        let selection = selection.clone();
        self.blocking(move |inner| inner.delete_selected(cache, &selection, now)).await
    }

    async fn flush(&self, cache: CacheKey) -> Result<(), StoreError> {
        self.blocking(move |inner| {
            let _all = inner.all.write();
            inner.flush(cache)
        })
        .await
    }

    async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.blocking(move |inner| inner.sweep(now)).await
    }

    fn loss(&self) -> Loss {
        self.inner.database.loss()
    }

    async fn loss_is_known(&self) -> Result<(), StoreError> {
        self.blocking(|inner| match inner.database.loss() {
            Loss::Suspected if !inner.database.is_read_only() => inner.database.set_loss(Loss::None),
            _ => Ok(()),
        })
        .await
    }

    async fn add_cache(&self, name: &CacheName) -> Result<(), StoreError> {
        let name = name.clone();
        self.blocking(move |inner| inner.database.add_cache(&name)).await
    }

    async fn remove_cache(&self, cache: CacheKey) -> Result<(), StoreError> {
        self.blocking(move |inner| {
            let _all = inner.all.write();
            inner.flush(cache)?;
            inner.database.remove_cache(cache)?;
            inner.database.forget_decisions(cache)
        })
        .await
    }

    async fn caches(&self) -> Result<Vec<CacheName>, StoreError> {
        self.blocking(|inner| inner.database.caches()).await
    }

    async fn save_state(&self, cache: CacheKey, name: &'static str, state: Vec<u8>) -> Result<(), StoreError> {
        self.blocking(move |inner| match inner.database.save_state(cache, name, &state) {
            // Nobody is helped by hearing of this again and again.
            Err(StoreError::ReadOnly) => Ok(()),
            saved => saved,
        })
        .await
    }

    async fn load_state(&self, cache: CacheKey, name: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
        self.blocking(move |inner| inner.database.load_state(cache, name)).await
    }

    async fn keep_decisions(&self, cache: CacheKey, decisions: Vec<([u8; 16], Vec<u8>)>) -> Result<(), StoreError> {
        self.blocking(move |inner| match inner.database.keep_decisions(cache, &decisions) {
            Err(StoreError::ReadOnly) => Ok(()),
            kept => kept,
        })
        .await
    }

    async fn decision(&self, cache: CacheKey, name: [u8; 16]) -> Result<Option<Vec<u8>>, StoreError> {
        self.blocking(move |inner| inner.database.decision(cache, name)).await
    }

    async fn decisions(&self, cache: CacheKey, most: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.blocking(move |inner| inner.database.decisions(cache, most)).await
    }

    async fn forget_decisions(&self, cache: CacheKey) -> Result<(), StoreError> {
        self.blocking(move |inner| inner.database.forget_decisions(cache)).await
    }

    fn model(&self) -> Arc<ModelIdentity> {
        Arc::clone(&self.inner.current().model)
    }

    fn expect_model(&self, model: &ModelIdentity) -> Result<(), StoreError> {
        self.inner.begin(model).map(drop)
    }

    fn make_vectors(
        &self,
        model: &ModelIdentity,
        embed: &mut EmbedTexts<'_>,
        progress: &mut dyn FnMut(Made),
    ) -> Result<(), StoreError> {
        self.inner.make_vectors(model, embed, progress)
    }

    fn switch_model(&self, embed: &mut EmbedTexts<'_>, switched: &mut dyn FnMut()) -> Result<(), StoreError> {
        self.inner.switch_model(embed, switched)
    }

    async fn save_uses(&self) -> Result<(), StoreError> {
        self.blocking(|inner| inner.save_uses()).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.inner.end();
        let threads = std::mem::take(&mut *self.threads.lock());
        self.blocking(|inner| {
            for thread in threads {
                thread.join().map_err(|_| StoreError::Failed("a background thread panicked".into()))?;
            }
            // Whatever makes vectors sees that it has to end.
            let _none_made = inner.making.lock();
            inner.save_uses()?;
            inner.save_graphs();
            inner.database.sync()
        })
        .await
    }
}

#[cfg(test)]
mod tests;
