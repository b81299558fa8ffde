//! The only folder that knows RocksDB.

mod decisions;
mod entries;
mod exact;
mod examine;
mod files;
mod graphs;
mod models;
mod options;
mod scan;

use std::collections::{HashMap, hash_map};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    ColumnFamily, DB, DBRecoveryMode, ErrorKind, FlushOptions, IteratorMode, Options, WriteBatch, WriteOptions,
};

use super::super::{
    AnswerGist, CacheKey, CacheName, Curation, Entry, EntryId, GistOf, Loss, ScopeKey, StoreError, TextHash, Timestamp,
};
use super::OpenOptions;
use super::eviction::EntryCost;
use super::quarantines::Quarantined;
use super::record::{
    self, AboutVectors, EncodedEntry, ExpiryKey, Slot, Slots, VectorKey, VectorRecord, decode, decode_record,
    decode_vector, encode, encode_entry, encode_record, encode_vector,
};
use crate::config::Durability;
use crate::embed::{Embedding, ModelIdentity};
use crate::index::Tag;
use crate::telemetry;

pub(super) use entries::{Tier, Unread};
pub(super) use exact::Sought;
pub use examine::{Examination, Problem, StateOnDisk, examine, mend};
pub(super) use graphs::Generations;
use models::Models;
pub(super) use models::NewVector;
use scan::{Damage, Scan};

/// Of the layout of column families and keys. The fourth one has a family for quarantines, the fifth one for answers; those from the
/// third on become it when they are opened.
const SCHEMA: u32 = 5;
const UPGRADED_FROM: u32 = 3;
/// What RocksDB says of a log whose last write is cut short, which happens where a process or a machine ends in the midst of it.
const TORN: [&str; 3] = ["truncated header", "truncated record body", "error reading trailing data"];

/// A key of the family that says what the database is: acknowledged writes may have been lost.
const LOSS: &str = "loss";

/// Of a page of entries, about: large ones come few at a time.
const PAGE_BYTES: usize = 4 << 20;

/// What the column families hold.
mod family {
    /// [`models::KEY`](super::models) → schema, and which model's vectors are where.
    pub(super) const META: &str = "default";
    /// [`entry_key`](super::record::entry_key) → [`EntryRecord`](super::record::EntryRecord).
    pub(super) const ENTRIES: &str = "entries";
    /// [`VectorKey`](super::VectorKey) → vector, expiry and tags: what the index is loaded from. One of the two is of the
    /// model that is in use, the other one empty or of the model that will be.
    pub(super) const VECTORS_A: &str = "vectors-a";
    pub(super) const VECTORS_B: &str = "vectors-b";
    /// [`exact_key`](super::record::exact_key) → ids of the entries of that text.
    pub(super) const EXACT: &str = "exact";
    /// [`ExpiryKey`](super::ExpiryKey) → nothing. An entry that was replaced may have several; the entry's own expiry
    /// counts.
    pub(super) const EXPIRY: &str = "expiry";
    /// cache key → tenant and id.
    pub(super) const CACHES: &str = "caches";
    /// cache key ‖ name → statistics and policy state.
    pub(super) const STATE: &str = "state";

    /// [`GraphKey`](super::record::GraphKey) → part of an index's graph, which spares linking it again at start.
    pub(super) const GRAPHS: &str = "graphs";
    /// [`entry_key`](super::record::entry_key) → [`EntryCost`](super::EntryCost): what it takes and has saved, which changes with
    /// each use.
    pub(super) const WORTH: &str = "worth";
    /// cache key ‖ name → a decision.
    pub(super) const DECISIONS: &str = "decisions";

    /// [`entry_key`](super::record::entry_key) → [`Quarantined`](super::Quarantined): entries that are kept from somebody.
    pub(super) const QUARANTINE: &str = "quarantine";

    /// [`entry_key`](super::record::entry_key) → an answer that doesn't lie in the entry's record.
    pub(super) const ANSWERS: &str = "answers";

    pub(super) const ALL: [&str; 13] = [
        META, ENTRIES, VECTORS_A, VECTORS_B, EXACT, EXPIRY, CACHES, STATE, GRAPHS, WORTH, DECISIONS, QUARANTINE,
        ANSWERS,
    ];
}

/// Why a database can't be used. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process; stop that one or set storage.path to another directory", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// It can't be opened.
    #[error(
        "can't open the database in {}: {source}. Where a file is damaged, restore a backup, or keep what can be read with \
         `refrain check --data {} --mend`", path.display(), path.display()
    )]
    Open {
        /// The database.
        path: PathBuf,
        /// What RocksDB says.
        source: rocksdb::Error,
    },
    /// A program of an early version wrote it.
    #[error(
        "the database in {} has schema {found}, and there is no way from it to {SCHEMA}, which this program needs; set \
         storage.path to an empty directory, and fill that with `refrain import` from an export", path.display()
    )]
    Schema {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
    /// A program of a later version wrote it.
    #[error(
        "the database in {} was written by a later version of Refrain ({what}); start that version, or restore a backup from \
         before the upgrade", path.display()
    )]
    TooNew {
        /// The database.
        path: PathBuf,
        /// What this program doesn't know.
        what: String,
    },
    /// Files of a database are there, and one that all depends on isn't.
    #[error(
        "{} has files of a database, but {missing} is missing; bring it back, restore a backup, or keep what can be read with \
         `refrain check --data {} --mend`", path.display(), path.display()
    )]
    Incomplete {
        /// The database.
        path: PathBuf,
        /// The file.
        missing: String,
    },
    /// Another model's vectors are in it.
    #[error(
        "the database in {} was filled with embeddings of {} ({} dimensions, {}), but the settings name {} \
         ({} dimensions, {}). Vectors of two models can't be compared. `refrain reembed` makes them anew, and so does \
         `refrain serve --reembed`. Or set embedding.model back, or storage.path to an empty directory", path.display(), found.name, found.dimension,
        found.digest.short(), wanted.name, wanted.dimension, wanted.digest.short()
    )]
    Model {
        /// The database.
        path: PathBuf,
        /// The model whose vectors it holds.
        found: Box<ModelIdentity>,
        /// The model that the settings name.
        wanted: Box<ModelIdentity>,
    },
    /// Its contents can't be read.
    #[error("the database holds a record that can't be read")]
    Damaged(#[from] StoreError),
    /// The operating system refuses.
    #[error(transparent)]
    Io(std::io::Error),
}

impl OpenError {
    fn new(path: &Path, source: rocksdb::Error) -> Self {
        let path = path.to_owned();
        // RocksDB has no error kind of its own for a held lock file.
        if source.as_ref().contains("lock hold by") || source.as_ref().contains("While lock file") {
            return Self::InUse { path };
        }
        match files::missing_table(&source) {
            Some(missing) => Self::Incomplete { path, missing },
            None => Self::Open { path, source },
        }
    }
}

/// How much of the log of writes could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Log {
    /// All that was acknowledged.
    Whole,
    /// Not all of it.
    Damaged,
}

/// Opens a database although the end of its log, or something in its midst, can't be read: first as if all could, then with what
/// comes before the first damage, and where tables are newer than that, with all that isn't damaged. Says what that may cost.
fn replay_what_can_be_read<T>(
    options: &mut Options,
    open: impl Fn(&Options) -> Result<T, rocksdb::Error>,
) -> Result<(T, Log), rocksdb::Error> {
    options.set_wal_recovery_mode(DBRecoveryMode::AbsoluteConsistency);
    let damage = match open(options) {
        Err(error) if error.kind() == ErrorKind::Corruption => error,
        opened => return Ok((opened?, Log::Whole)),
    };
    for mode in [DBRecoveryMode::PointInTime, DBRecoveryMode::SkipAnyCorruptedRecord] {
        options.set_wal_recovery_mode(mode);
        if let Ok(opened) = open(options) {
            if TORN.iter().any(|torn| damage.as_ref().contains(torn)) {
                tracing::warn!(cause = %damage, "the last write before the end was cut short, and is lost");
                return Ok((opened, Log::Whole));
            }
            telemetry::degraded("log");
            tracing::error!(
                cause = %damage,
                "the log of writes is damaged: what was stored, deleted or reported since the damaged place is lost"
            );
            return Ok((opened, Log::Damaged));
        }
    }
    // It isn't the log.
    Err(damage)
}

/// Whether a directory can't be written to, whatever the reason.
fn forbids_writing(error: &rocksdb::Error) -> bool {
    ["Read-only file system", "Permission denied"].iter().any(|why| error.as_ref().contains(why))
}

/// One entry with everything that is written for it.
pub(super) struct Put {
    pub(super) cache: CacheKey,
    pub(super) text: TextHash,
    pub(super) entry: Entry,
    pub(super) gist: AnswerGist,
    /// Where its vector goes, if it has one. None is left elsewhere.
    pub(super) vector: Option<(Slot, Embedding)>,
    pub(super) lossy: bool,
    /// Whether it should have a vector.
    pub(super) wanted: bool,
    pub(super) tags: Vec<Tag>,
    pub(super) cost_millis: u32,
    pub(super) uses: u32,
    pub(super) stripe: u8,
    /// Whether its quarantine ends with it.
    pub(super) is_released: bool,
}

/// What is removed in one batch.
#[derive(Default)]
pub(super) struct Deletions {
    /// Entries, with all that is kept of them.
    pub(super) entries: Vec<(CacheKey, Entry<AnswerGist>)>,
    /// Entries that aren't there, though it is written what they take.
    pub(super) missing: Vec<(CacheKey, EntryId)>,
    /// Expiries that were looked at.
    pub(super) expiries: Vec<ExpiryKey>,
}

pub(super) struct Database {
    db: DB,
    durability: Durability,
    /// How the gist of an answer is found out.
    gist_of: GistOf,
    /// Whether its directory lets nothing be written.
    is_read_only: bool,
    /// Whether acknowledged writes may have been lost, and nobody has taken account of that yet.
    suspects_loss: AtomicBool,
    models: RwLock<Models>,
}

impl Database {
    pub(super) fn open(options: &OpenOptions, model: &ModelIdentity) -> Result<Self, OpenError> {
        let OpenOptions { path, durability, gist_of, .. } = options;
        let there = files::families(path)?;
        let mut options = options::of_database()?;
        let shared = options::Shared::new();
        let families = || shared.families(family::ALL);
        // Where nothing can be written, no family can be made.
        let families_there = || shared.families(&there);
        let ((mut db, is_read_only), log) =
            replay_what_can_be_read(&mut options, |options| match DB::open_cf_descriptors(options, path, families()) {
                Ok(db) => Ok((db, false)),
                // Lookups are worth more than a refusal.
                Err(error) if forbids_writing(&error) => {
                    match DB::open_cf_descriptors_read_only(options, path, families_there(), false) {
                        Ok(db) => Ok((db, true)),
                        Err(damage) if damage.kind() == ErrorKind::Corruption => Err(damage),
                        Err(_) => Err(error),
                    }
                }
                Err(error) => Err(error),
            })
            .map_err(|error| OpenError::new(path, error))?;
        if is_read_only {
            tracing::error!(path = %path.display(), "nothing can be written here: answers are looked up, and none is stored");
        }
        if !is_read_only {
            graphs::renew(&mut db, &shared.of_family(family::GRAPHS)).map_err(|error| OpenError::new(path, error))?;
        }
        let models = models::identify(&db, path, model, is_read_only)?.into();
        let suspects_loss = log == Log::Damaged || has_key(&db, family::META, LOSS)?;
        let database = Self {
            db,
            durability: *durability,
            gist_of: *gist_of,
            is_read_only,
            suspects_loss: suspects_loss.into(),
            models,
        };
        if !is_read_only {
            files::mark_open(path)?;
            if suspects_loss {
                database.set_loss(Loss::Suspected)?;
            }
        }
        Ok(database)
    }

    /// Every vector, in the order of caches and scopes. Where some can't be read, one error takes their place.
    pub(super) fn vectors(
        &self,
        slot: Slot,
    ) -> Result<impl Iterator<Item = Result<(VectorKey, VectorRecord), StoreError>>, StoreError> {
        let all = Scan::new(&self.db, self.slot(slot)?);
        Ok(all.map(|item| {
            let (key, value) = item?;
            Ok((VectorKey::read(&key)?, decode_vector(&value)?))
        }))
    }

    /// How many vectors there are, about.
    pub(super) fn count_vectors(&self, slot: Slot) -> Result<u64, StoreError> {
        const COUNT: &str = "rocksdb.estimate-num-keys";
        let count = self.db.property_int_value_cf(self.slot(slot)?, COUNT).map_err(failed)?;
        Ok(count.unwrap_or(0))
    }

    /// An entry's vector.
    pub(super) fn vector(&self, slot: Slot, key: VectorKey) -> Result<Option<Embedding>, StoreError> {
        let found = self.db.get_pinned_cf(self.slot(slot)?, key.bytes()).map_err(failed)?;
        found.map(|bytes| Ok(decode_vector(&bytes)?.embedding)).transpose()
    }

    /// What every entry takes and has saved.
    pub(super) fn records(
        &self,
    ) -> Result<impl Iterator<Item = Result<(CacheKey, EntryId, EntryCost), StoreError>>, StoreError> {
        let all = Scan::new(&self.db, self.family(family::WORTH)?);
        Ok(all.map(|item| {
            let (key, value) = item?;
            let (cache, id) = record::read_entry_key(&key)?;
            Ok((cache, id, decode_record(&value)?))
        }))
    }

    pub(super) fn save_records(&self, records: &[(CacheKey, EntryId, EntryCost)]) -> Result<(), StoreError> {
        let family = self.family(family::WORTH)?;
        let mut batch = WriteBatch::default();
        for (cache, id, record) in records {
            batch.put_cf(family, record::entry_key(*cache, *id), encode_record(record)?);
        }
        // Nobody was told that these would last.
        self.db.write(batch).map_err(failed)
    }

    /// Makes a copy of everything as it is now, of hard links where the file system allows.
    pub(super) fn backup(&self, directory: &Path) -> Result<(), StoreError> {
        if self.is_read_only {
            return copied(self.db.path(), directory).map_err(|error| StoreError::Failed(error.into()));
        }
        Checkpoint::new(&self.db).and_then(|checkpoint| checkpoint.create_checkpoint(directory)).map_err(failed)
    }

    /// Writes all entries or none; returns what each takes.
    pub(super) fn put(&self, puts: &[Put], durability: Durability) -> Result<Vec<EntryCost>, StoreError> {
        let mut batch = WriteBatch::default();
        // Texts may come twice.
        let mut ids_of_texts = HashMap::new();
        let mut records = Vec::with_capacity(puts.len());
        for put in puts {
            let key = record::exact_key(put.cache, put.entry.scope, put.text);
            let ids = match ids_of_texts.entry(key) {
                hash_map::Entry::Occupied(known) => known.into_mut(),
                hash_map::Entry::Vacant(new) => new.insert(self.ids_of_text(put.cache, put.entry.scope, put.text)?),
            };
            if !ids.contains(&put.entry.id) {
                ids.push(put.entry.id);
            }
            records.push(self.add(&mut batch, put, ids)?);
        }
        self.write_with(batch, durability)?;
        Ok(records)
    }

    /// Adds an entry, `ids` of whose text there are, to what will be written.
    fn add(&self, batch: &mut WriteBatch, put: &Put, ids: &[EntryId]) -> Result<EntryCost, StoreError> {
        let before = batch.size_in_bytes();
        let Put { cache, text, entry, .. } = put;
        let vector_key = VectorKey { cache: *cache, scope: entry.scope, id: entry.id }.bytes();
        let entry_key = record::entry_key(*cache, entry.id);
        let models = self.models.read();
        let lossy = Slots::only(put.vector.as_ref().map_or(models.slot(), |(slot, _)| *slot), put.lossy);
        let about = AboutVectors { wanted: put.wanted, lossy };
        self.write_entry(batch, &entry_key, &encode_entry(entry, &entry.answer, put.gist, about)?)?;
        batch.put_cf(self.family(family::EXACT)?, record::exact_key(*cache, entry.scope, *text), encode(&ids)?);
        let expiry = ExpiryKey { at: entry.expires, cache: *cache, id: entry.id };
        batch.put_cf(self.family(family::EXPIRY)?, expiry.bytes(), []);
        for slot in models.in_use() {
            match &put.vector {
                Some((its, vector)) if *its == slot => {
                    let value = encode_vector(entry.expires, &put.tags, vector)?;
                    batch.put_cf(self.slot(slot)?, vector_key, value);
                }
                _ => batch.delete_cf(self.slot(slot)?, vector_key),
            }
        }
        if put.is_released {
            batch.delete_cf(self.family(family::QUARANTINE)?, entry_key);
        }
        let bytes = u32::try_from(batch.size_in_bytes() - before).unwrap_or(u32::MAX);
        let is_pinned = entry.curation.is_some();
        let record = EntryCost { bytes, cost_millis: put.cost_millis, uses: put.uses, stripe: put.stripe, is_pinned };
        batch.put_cf(self.family(family::WORTH)?, entry_key, encode_record(&record)?);
        Ok(record)
    }

    /// An answer that lay apart goes where the one that replaces it doesn't.
    fn write_entry(
        &self,
        batch: &mut WriteBatch,
        key: &[u8],
        EncodedEntry { record, answer }: &EncodedEntry,
    ) -> Result<(), StoreError> {
        batch.put_cf(self.family(family::ENTRIES)?, key, record);
        match answer {
            Some(answer) => batch.put_cf(self.family(family::ANSWERS)?, key, answer),
            None => batch.delete_cf(self.family(family::ANSWERS)?, key),
        }
        Ok(())
    }

    /// Removes what `deletions` say, all or nothing.
    pub(super) fn delete(&self, deletions: &Deletions, durability: Durability) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        // Texts may come twice.
        let mut ids_of_texts = HashMap::new();
        for (cache, entry) in &deletions.entries {
            let (cache, text) = (*cache, TextHash::of(&entry.prompt));
            let entry_key = record::entry_key(cache, entry.id);
            for name in [family::ENTRIES, family::ANSWERS, family::WORTH, family::QUARANTINE] {
                batch.delete_cf(self.family(name)?, entry_key);
            }
            let vector_key = VectorKey { cache, scope: entry.scope, id: entry.id }.bytes();
            for slot in self.models.read().in_use() {
                batch.delete_cf(self.slot(slot)?, vector_key);
            }
            let expiry = ExpiryKey { at: entry.expires, cache, id: entry.id };
            batch.delete_cf(self.family(family::EXPIRY)?, expiry.bytes());
            let ids = match ids_of_texts.entry(record::exact_key(cache, entry.scope, text)) {
                hash_map::Entry::Occupied(known) => known.into_mut(),
                hash_map::Entry::Vacant(new) => new.insert(self.ids_of_text(cache, entry.scope, text)?),
            };
            ids.retain(|id| *id != entry.id);
        }
        let exact = self.family(family::EXACT)?;
        for (key, ids) in ids_of_texts {
            if ids.is_empty() {
                batch.delete_cf(exact, key);
            } else {
                batch.put_cf(exact, key, encode(&ids)?);
            }
        }
        for (cache, id) in &deletions.missing {
            batch.delete_cf(self.family(family::WORTH)?, record::entry_key(*cache, *id));
        }
        for key in &deletions.expiries {
            batch.delete_cf(self.family(family::EXPIRY)?, key.bytes());
        }
        if batch.is_empty() { Ok(()) } else { self.write_with(batch, durability) }
    }

    /// Removes a whole cache, which is a range of keys. What knows of its entries' expiry is left behind, and does no harm.
    pub(super) fn flush(&self, cache: CacheKey) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        let of_entries = [family::ENTRIES, family::ANSWERS, family::EXACT, family::WORTH, family::QUARANTINE];
        let of_vectors = [family::VECTORS_A, family::VECTORS_B, family::GRAPHS];
        for name in of_entries.into_iter().chain(of_vectors) {
            let family = self.family(name)?;
            match after(cache) {
                Some(end) => batch.delete_range_cf(family, cache.0.to_vec(), end.to_vec()),
                // The last cache key of all has no end, and all else lies before it.
                None => batch.delete_range_cf(family, cache.0.to_vec(), vec![0xff; 81]),
            }
        }
        self.write(batch)
    }

    /// Every quarantine. One that can't be read counts as the strictest, and that is logged.
    pub(super) fn quarantines(&self) -> Result<HashMap<(CacheKey, EntryId), Quarantined>, StoreError> {
        let mut all = HashMap::new();
        // One of before that can only be read has none.
        let Some(family) = self.db.cf_handle(family::QUARANTINE) else { return Ok(all) };
        let mut damage = Damage::default();
        for item in Scan::new(&self.db, family) {
            let Some((key, value)) = damage.sort_out(item) else { continue };
            let Some(entry) = damage.sort_out(record::read_entry_key(&key)) else { continue };
            all.insert(entry, damage.sort_out(decode(&value)).unwrap_or(Quarantined::WORST));
        }
        damage.report();
        Ok(all)
    }

    /// From now on an entry is kept from somebody, or from nobody.
    pub(super) fn set_quarantine(
        &self,
        cache: CacheKey,
        id: EntryId,
        quarantined: Option<&Quarantined>,
    ) -> Result<(), StoreError> {
        if self.is_read_only {
            return Err(StoreError::ReadOnly);
        }
        let (family, key) = (self.family(family::QUARANTINE)?, record::entry_key(cache, id));
        let mut batch = WriteBatch::default();
        match quarantined {
            Some(quarantined) => batch.put_cf(family, key, encode(quarantined)?),
            None => batch.delete_cf(family, key),
        }
        self.write(batch)
    }

    /// The first `most` keys that are due at `now`.
    pub(super) fn expired(&self, now: Timestamp, most: usize) -> Result<Vec<ExpiryKey>, StoreError> {
        let mut due = Vec::new();
        for item in self.db.iterator_cf(self.family(family::EXPIRY)?, IteratorMode::Start).take(most) {
            let key = ExpiryKey::read(&item.map_err(failed)?.0)?;
            if key.at > now {
                break;
            }
            due.push(key);
        }
        Ok(due)
    }

    pub(super) fn add_cache(&self, name: &CacheName) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        let value = encode(&(&name.tenant, &name.id))?;
        batch.put_cf(self.family(family::CACHES)?, CacheKey::new(&name.tenant, &name.id).0, value);
        self.write(batch)
    }

    /// Forgets that a cache exists, with its state. Its entries are [flushed](Self::flush).
    pub(super) fn remove_cache(&self, cache: CacheKey) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        batch.delete_cf(self.family(family::CACHES)?, cache.0);
        let end = after(cache).map_or_else(|| vec![0xff; 81], |end| end.to_vec());
        batch.delete_range_cf(self.family(family::STATE)?, cache.0.to_vec(), end);
        self.write(batch)
    }

    pub(super) fn caches(&self) -> Result<Vec<CacheName>, StoreError> {
        self.db
            .iterator_cf(self.family(family::CACHES)?, IteratorMode::Start)
            .map(|item| {
                let (tenant, id) = decode(&item.map_err(failed)?.1)?;
                Ok(CacheName { tenant, id })
            })
            .collect()
    }

    pub(super) fn save_state(&self, cache: CacheKey, name: &str, state: &[u8]) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.family(family::STATE)?, [&cache.0, name.as_bytes()].concat(), state);
        self.write(batch)
    }

    pub(super) fn load_state(&self, cache: CacheKey, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(self.family(family::STATE)?, [&cache.0, name.as_bytes()].concat()).map_err(failed)
    }

    /// Everything reaches the disk, as tables, so that nothing has to be replayed at the next start. Nothing is written afterwards.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        if self.is_read_only {
            return Ok(());
        }
        self.db.flush_wal(true).map_err(failed)?;
        let families = family::ALL.iter().map(|name| self.family(name)).collect::<Result<Vec<_>, _>>()?;
        self.db.flush_cfs_opt(&families, &FlushOptions::default()).map_err(failed)?;
        files::mark_closed(self.db.path()).map_err(|error| StoreError::Failed(error.into()))
    }

    /// Whether acknowledged writes may have been lost, and nobody has taken account of that yet.
    pub(super) fn loss(&self) -> Loss {
        if self.suspects_loss.load(Ordering::Relaxed) { Loss::Suspected } else { Loss::None }
    }

    pub(super) fn set_loss(&self, loss: Loss) -> Result<(), StoreError> {
        let (mut batch, meta) = (WriteBatch::default(), self.family(family::META)?);
        match loss {
            Loss::Suspected => batch.put_cf(meta, LOSS, []),
            Loss::None => batch.delete_cf(meta, LOSS),
        }
        self.write_with(batch, Durability::Fsync)?;
        self.suspects_loss.store(loss == Loss::Suspected, Ordering::Relaxed);
        Ok(())
    }

    /// Whether nothing can be written.
    pub(super) fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// As durable as all stores are.
    pub(super) fn durability(&self) -> Durability {
        self.durability
    }

    /// What was written reaches the disk, if that was promised.
    pub(super) fn flush_log(&self) -> Result<(), StoreError> {
        match self.durability {
            Durability::Fsync => self.db.flush_wal(true).map_err(failed),
            Durability::Buffered => Ok(()),
        }
    }

    /// Everything in `batch` or nothing.
    fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.write_with(batch, self.durability)
    }

    fn write_with(&self, batch: WriteBatch, durability: Durability) -> Result<(), StoreError> {
        if self.is_read_only {
            return Err(StoreError::ReadOnly);
        }
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Fsync);
        self.db.write_opt(batch, &options).map_err(failed)
    }

    /// The entries of one text in one scope.
    fn ids_of_text(&self, cache: CacheKey, scope: ScopeKey, text: TextHash) -> Result<Vec<EntryId>, StoreError> {
        let found = self.db.get_pinned_cf(self.family(family::EXACT)?, record::exact_key(cache, scope, text));
        found.map_err(failed)?.map_or_else(|| Ok(Vec::new()), |bytes| decode(&bytes))
    }

    fn family(&self, name: &'static str) -> Result<&ColumnFamily, StoreError> {
        self.db.cf_handle(name).ok_or_else(|| StoreError::Damaged(format!("the database has no family {name}")))
    }
}

/// Whether a family has a key.
fn has_key(db: &DB, name: &str, key: &str) -> Result<bool, StoreError> {
    let Some(family) = db.cf_handle(name) else { return Ok(false) };
    Ok(db.get_pinned_cf(family, key).map_err(failed)?.is_some())
}

/// The first key after all that begin with `cache`.
fn after(cache: CacheKey) -> Option<[u8; 16]> {
    u128::from_be_bytes(cache.0).checked_add(1).map(u128::to_be_bytes)
}

fn failed(error: rocksdb::Error) -> StoreError {
    if error.as_ref().contains("No space left") {
        StoreError::Full(error.into())
    } else {
        StoreError::Failed(error.into())
    }
}

/// Copies a database that nobody can change into `directory`, which appears there whole or not at all.
fn copied(database: &Path, directory: &Path) -> std::io::Result<()> {
    let mut unfinished = directory.as_os_str().to_owned();
    unfinished.push(".tmp");
    let unfinished = PathBuf::from(unfinished);
    match std::fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => std::fs::create_dir_all(&unfinished)?,
    }
    for entry in std::fs::read_dir(database)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.file_name() != "LOCK" {
            std::fs::copy(entry.path(), unfinished.join(entry.file_name()))?;
        }
    }
    std::fs::rename(unfinished, directory)
}
