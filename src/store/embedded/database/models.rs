//! Which model's vectors there are, and where.
//!
//! Vectors are in one of two [`Slot`]s. Those of another model are written to the other one, and take their place in one
//! step when they are complete. Until then a vector that is there is right: whatever changes an entry removes its vector from
//! both slots that it isn't written to. So an interruption costs nothing but what wasn't written yet.

use std::path::Path;

use rocksdb::{DB, WriteBatch, WriteOptions};

use super::super::super::{Entry, StoreError};
use super::super::record::{
    AboutVectors, EntryRecord, InRecord, Slot, VectorKey, decode, encode, encode_entry, encode_vector,
    encode_without_answer,
};
use super::{Database, OpenError, SCHEMA, UPGRADED_FROM, VectorRecord, failed, family, record};
use crate::embed::ModelIdentity;

/// Its only key in its family.
const KEY: &str = "identity";
/// Before and after all keys of vectors and graphs.
const ALL_KEYS: ([u8; 1], [u8; 65]) = ([0], [0xff; 65]);

/// What the database is.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Models {
    /// First, so that it can be read whatever follows.
    schema: u32,
    /// Whose vectors are in use.
    model: ModelIdentity,
    /// Where they are.
    slot: Slot,
    /// Whose vectors are in the other slot, or will be.
    next: Option<ModelIdentity>,
}

impl Models {
    pub(super) fn slot(&self) -> Slot {
        self.slot
    }

    /// The slots that have vectors.
    pub(super) fn in_use(&self) -> impl Iterator<Item = Slot> {
        [self.slot].into_iter().chain(self.next.is_some().then_some(self.slot.other()))
    }
}

/// What a database says that it is, whichever schema it has of those that can be read.
pub(super) fn identity(db: &DB) -> Result<Option<Models>, StoreError> {
    let meta = db.cf_handle(family::META).ok_or_else(|| no_family(family::META))?;
    db.get_cf(meta, KEY).map_err(failed)?.map(|bytes| decode(&bytes)).transpose()
}

/// Writes schema and model into a new database; compares them with an old one's.
pub(super) fn identify(db: &DB, path: &Path, model: &ModelIdentity, is_read_only: bool) -> Result<Models, OpenError> {
    let meta = db.cf_handle(family::META).ok_or_else(|| no_family(family::META))?;
    let Some(bytes) = db.get_cf(meta, KEY).map_err(failed)? else {
        let new = Models { schema: SCHEMA, model: model.clone(), slot: Slot::A, next: None };
        db.put_cf(meta, KEY, encode(&new)?).map_err(failed)?;
        return Ok(new);
    };
    let found = decode::<u32>(&bytes)?;
    if found > SCHEMA {
        let what = format!("it has schema {found}, and {SCHEMA} is the latest that this one knows");
        return Err(OpenError::TooNew { path: path.to_owned(), what });
    }
    if found < UPGRADED_FROM {
        return Err(OpenError::Schema { path: path.to_owned(), found });
    }
    let mut models: Models = decode(&bytes)?;
    models.schema = SCHEMA;
    if models.model.digest != model.digest || models.model.dimension != model.dimension {
        let (found, wanted) = (Box::new(models.model), Box::new(model.clone()));
        return Err(OpenError::Model { path: path.to_owned(), found, wanted });
    }
    if found < SCHEMA && !is_read_only {
        db.put_cf(meta, KEY, encode(&models)?).map_err(failed)?;
    }
    Ok(models)
}

/// A vector that was made anew.
pub(in super::super) struct NewVector {
    pub(in super::super) key: VectorKey,
    pub(in super::super) record: VectorRecord,
    /// Whether it is lossy.
    pub(in super::super) lossy: bool,
    /// The entry that it belongs to.
    pub(in super::super) of: EntryRecord<InRecord>,
}

impl Database {
    /// Where the vectors in use are.
    pub(in super::super) fn current_slot(&self) -> Slot {
        self.models.read().slot
    }

    /// From now on `model`'s vectors are in the other slot; of those of `model` that are there already none is lost. The
    /// caller sees to it that nothing is written meanwhile.
    pub(in super::super) fn begin(&self, model: &ModelIdentity) -> Result<(), StoreError> {
        let mut models = self.models.read().clone();
        let mut batch = WriteBatch::default();
        if models.next.as_ref().is_none_or(|next| next.digest != model.digest) {
            self.empty(&mut batch, models.slot.other())?;
        }
        models.next = Some(model.clone());
        self.write_models(batch, models)
    }

    /// What is in the other slot is given up. The caller sees to it that nothing is written meanwhile.
    pub(in super::super) fn abandon(&self) -> Result<(), StoreError> {
        let mut models = self.models.read().clone();
        if models.next.take().is_none() {
            return Ok(());
        }
        let mut batch = WriteBatch::default();
        self.empty(&mut batch, models.slot.other())?;
        self.write_models(batch, models)
    }

    /// The vectors in the other slot are in use from now on, and the others forgotten. The caller sees to it that nothing is
    /// written meanwhile.
    pub(in super::super) fn switch(&self) -> Result<(), StoreError> {
        let mut models = self.models.read().clone();
        let Some(next) = models.next.take() else { return Ok(()) };
        let old = models.slot;
        (models.model, models.slot) = (next, old.other());
        let mut batch = WriteBatch::default();
        self.empty(&mut batch, old)?;
        batch.delete_range_cf(self.family(family::GRAPHS)?, &ALL_KEYS.0[..], &ALL_KEYS.1[..]);
        self.write_models(batch, models)
    }

    /// The room of what is not in use is free at once, and not when it would have been compacted.
    pub(in super::super) fn reclaim(&self) -> Result<(), StoreError> {
        let unused = self.models.read().slot.other();
        let (first, last) = (&ALL_KEYS.0[..], &ALL_KEYS.1[..]);
        self.db.delete_file_in_range_cf(self.slot(unused)?, first, last).map_err(failed)
    }

    /// Whether `slot` has a vector.
    pub(in super::super) fn has_vector(&self, slot: Slot, key: VectorKey) -> Result<bool, StoreError> {
        Ok(self.db.get_pinned_cf(self.slot(slot)?, key.bytes()).map_err(failed)?.is_some())
    }

    /// Writes vectors of entries that are there. The caller holds their stripes.
    pub(in super::super) fn put_vectors(&self, slot: Slot, vectors: &[NewVector]) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        for NewVector { key, record: made, lossy, of } in vectors {
            let value = encode_vector(made.expires, &made.tags, &made.embedding)?;
            batch.put_cf(self.slot(slot)?, key.bytes(), value);
            if of.vectors.lossy.has(slot) != *lossy {
                let entry_key = record::entry_key(key.cache, key.id);
                let about = AboutVectors { lossy: of.vectors.lossy.with(slot, *lossy), ..of.vectors };
                self.rewrite(&mut batch, &entry_key, &of.entry, about)?;
            }
        }
        // They can be made again.
        self.db.write(batch).map_err(failed)
    }

    /// Writes an entry as it is, but for what is known of its vectors.
    fn rewrite(
        &self,
        batch: &mut WriteBatch,
        key: &[u8],
        entry: &Entry<InRecord>,
        vectors: AboutVectors,
    ) -> Result<(), StoreError> {
        let (gist, answer) = match &entry.answer {
            InRecord::Apart(gist) => {
                batch.put_cf(self.family(family::ENTRIES)?, key, encode_without_answer(entry, *gist, vectors)?);
                return Ok(());
            }
            InRecord::Short(gist, answer) => (*gist, answer),
            InRecord::Whole(answer) => (self.gist_of(answer), answer),
        };
        self.write_entry(batch, key, &encode_entry(entry, answer, gist, vectors)?)
    }

    /// The family of a slot.
    pub(super) fn slot(&self, slot: Slot) -> Result<&rocksdb::ColumnFamily, StoreError> {
        self.family(match slot {
            Slot::A => family::VECTORS_A,
            Slot::B => family::VECTORS_B,
        })
    }

    fn empty(&self, batch: &mut WriteBatch, slot: Slot) -> Result<(), StoreError> {
        batch.delete_range_cf(self.slot(slot)?, &ALL_KEYS.0[..], &ALL_KEYS.1[..]);
        Ok(())
    }

    /// Writes `batch` and what the database is from then on, in one step that lasts.
    fn write_models(&self, mut batch: WriteBatch, models: Models) -> Result<(), StoreError> {
        if self.is_read_only {
            return Err(StoreError::ReadOnly);
        }
        batch.put_cf(self.family(family::META)?, KEY, encode(&models)?);
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options).map_err(failed)?;
        *self.models.write() = models;
        Ok(())
    }
}

fn no_family(name: &str) -> StoreError {
    StoreError::Damaged(format!("the database has no family {name}"))
}
