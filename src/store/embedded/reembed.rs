//! Making all vectors anew with another model, while those of the one before are searched.
//!
//! The new ones are written to the other slot and kept in a memory of their own. What is stored meanwhile comes with a vector of
//! the model in use: it is noted, and its text embedded again before the switch. With the model in use itself, the vectors are
//! made that couldn't be made when their entries were stored.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::database::{Generations, NewVector, Put};
use super::record::{Slot, VectorKey, VectorRecord};
use super::{
    CacheKey, EmbedTexts, Inner, Made, ModelIdentity, Position, Space, Spaces, StoreError, TextEmbedding, TextHash,
    load, stripe,
};
use crate::index::{Expiry, Row};
use crate::telemetry;

/// Texts that are embedded in one go.
const AT_ONCE: usize = 16;
/// Texts that may still have to be embedded when all stores wait for the switch.
const LAST: usize = 4;
/// How often what was stored meanwhile is gone through before that, where more and more is stored.
const ROUNDS: usize = 50;

/// The vectors that will be searched.
pub(super) struct Next {
    pub(super) space: Arc<Space>,
    /// Entries that were stored since, without a vector of this model.
    due: Mutex<HashSet<VectorKey>>,
    /// Whether there are all others.
    is_complete: AtomicBool,
}

impl Next {
    /// An entry was written.
    pub(super) fn take(&self, put: &Put) {
        self.space.take(put);
        let key = VectorKey { cache: put.cache, scope: put.entry.scope, id: put.entry.id };
        let is_there = put.vector.as_ref().is_some_and(|(slot, _)| *slot == self.space.slot);
        if put.wanted && !is_there {
            self.due.lock().insert(key);
        } else {
            self.due.lock().remove(&key);
        }
    }

    /// An entry was removed.
    pub(super) fn remove(&self, key: VectorKey) {
        self.space.memory.remove(key.cache, key.scope, &key.id);
        self.due.lock().remove(&key);
    }

    /// A cache was emptied.
    pub(super) fn flush(&self, cache: CacheKey) {
        self.space.memory.flush(cache);
        self.due.lock().retain(|key| key.cache != cache);
    }

    /// What was stored since is to be made now.
    fn take_due(&self) -> Vec<VectorKey> {
        std::mem::take(&mut *self.due.lock()).into_iter().collect()
    }

    fn is_nearly_done(&self) -> bool {
        self.due.lock().len() <= LAST
    }
}

/// A text's vector, and the entry that it is for.
struct MadeVector {
    key: VectorKey,
    stripe: u8,
    made: TextEmbedding,
}

impl Inner {
    pub(super) fn make_vectors(
        &self,
        model: &ModelIdentity,
        embed: &mut EmbedTexts<'_>,
        progress: &mut dyn FnMut(Made),
    ) -> Result<(), StoreError> {
        let _only = self.making.lock();
        // Where it fails, what was made stays and is kept right, vectors of this model are still taken, and the next call
        // goes on.
        match self.begin(model)? {
            None => self.make_all(&self.current(), embed, progress),
            Some(next) => {
                load::vectors(self, &next.space, Generations::new(), |_, _| ())?;
                self.make_all(&next.space, embed, progress)?;
                self.link(&next)?;
                self.make_due(&next, embed)?;
                next.is_complete.store(true, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    pub(super) fn switch_model(
        &self,
        embed: &mut EmbedTexts<'_>,
        switched: &mut dyn FnMut(),
    ) -> Result<(), StoreError> {
        let _only = self.making.lock();
        let Some(next) = self.spaces.load().next.clone() else {
            switched();
            return Ok(());
        };
        if !next.is_complete.load(Ordering::Relaxed) {
            return Err(StoreError::Failed("not all vectors are made".into()));
        }
        self.make_due(&next, embed)?;
        let old = {
            // A graph that is being saved would be one of vectors that are forgotten.
            let _graphs = self.saving.lock();
            let _all = self.all.write();
            let made = self.embed(&next.space, &next.take_due(), embed)?;
            self.keep(&next.space, &made)?;
            self.database.switch()?;
            let old = self.spaces.swap(Arc::new(Spaces { current: Arc::clone(&next.space), next: None }));
            // Who waits to store something finds that its vector is of no use, and must find the new model too.
            switched();
            old
        };
        // Millions of vectors take a while to drop.
        drop(old);
        if let Err(error) = self.database.reclaim() {
            tracing::warn!(cause = telemetry::cause(&error), "the room of the vectors before is free later");
        }
        // Their graphs are to be saved; not now, because lookups wait for those who know the new model.
        self.current().memory.unsaved().into_iter().for_each(|of| self.due.want(of));
        Ok(())
    }

    /// From now on all that is stored and removed is noted. None where `model` is in use already.
    pub(super) fn begin(&self, model: &ModelIdentity) -> Result<Option<Arc<Next>>, StoreError> {
        let _all = self.all.write();
        let current = self.current();
        let next = if current.model.digest == model.digest {
            self.database.abandon()?;
            None
        } else {
            self.database.begin(model)?;
            let space = Arc::new(Space::new(model, current.slot.other()));
            Some(Arc::new(Next { space, due: Mutex::default(), is_complete: false.into() }))
        };
        self.spaces.store(Arc::new(Spaces { current, next: next.clone() }));
        Ok(next)
    }

    /// Goes through all entries and makes the vectors that aren't in `space`.
    fn make_all(
        &self,
        space: &Space,
        embed: &mut EmbedTexts<'_>,
        progress: &mut dyn FnMut(Made),
    ) -> Result<(), StoreError> {
        let all = self.eviction.entries();
        let (mut done, mut made, mut last) = (0, 0, None);
        while let page = self.database.page(None, last, AT_ONCE)?
            && let Some((cache, record)) = page.last()
        {
            self.go_on()?;
            last = Some(Position { cache: *cache, entry: record.entry.id });
            done += page.len() as u64;
            let wanting = page.iter().filter(|(_, record)| record.vectors.wanted);
            let keys = wanting.map(|(cache, record)| VectorKey {
                cache: *cache,
                scope: record.entry.scope,
                id: record.entry.id,
            });
            let missing = self.missing(space.slot, keys)?;
            made += missing.len();
            self.make(space, &missing, embed)?;
            progress(Made { done, all: all.max(done) });
        }
        progress(Made { done, all: done });
        tracing::info!(made, entries = done, "made vectors");
        Ok(())
    }

    fn missing(&self, slot: Slot, keys: impl Iterator<Item = VectorKey>) -> Result<Vec<VectorKey>, StoreError> {
        let mut missing = Vec::new();
        for key in keys {
            if !self.database.has_vector(slot, key)? {
                missing.push(key);
            }
        }
        Ok(missing)
    }

    fn make(&self, space: &Space, keys: &[VectorKey], embed: &mut EmbedTexts<'_>) -> Result<(), StoreError> {
        let made = self.embed(space, keys, embed)?;
        let _all = self.all.read();
        self.keep(space, &made)
    }

    /// Makes the vectors of what was stored since, until so little is left that all stores can wait for it.
    fn make_due(&self, next: &Next, embed: &mut EmbedTexts<'_>) -> Result<(), StoreError> {
        for _ in (0..ROUNDS).take_while(|_| !next.is_nearly_done()) {
            // Before the texts are read: they may be stored again meanwhile.
            for some in next.take_due().chunks(AT_ONCE) {
                self.go_on()?;
                self.make(&next.space, some, embed)?;
            }
        }
        Ok(())
    }

    /// Before anything is searched, scopes of many vectors need their graphs.
    fn link(&self, next: &Next) -> Result<(), StoreError> {
        for (cache, scope) in next.space.memory.due() {
            next.space.memory.keep_up(cache, scope, || !self.is_closing(), || {});
            self.go_on()?;
        }
        Ok(())
    }

    fn embed(
        &self,
        space: &Space,
        keys: &[VectorKey],
        embed: &mut EmbedTexts<'_>,
    ) -> Result<Vec<MadeVector>, StoreError> {
        let mut entries = Vec::with_capacity(keys.len());
        for key in keys {
            match self.database.record(key.cache, key.id).map(|found| found.map(|record| record.entry)) {
                Ok(Some(entry)) if entry.scope == key.scope => entries.push((*key, entry.prompt)),
                // It was removed.
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(id = %key.id, cause = telemetry::cause(&error), "an entry is unreadable");
                }
            }
        }
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let texts: Vec<&str> = entries.iter().map(|(_, prompt)| prompt.as_str()).collect();
        let made = embed(&texts);
        if made.iter().flatten().any(|made| made.model != space.model.digest) {
            return Err(StoreError::OtherModel);
        }
        let made = entries.iter().zip(made).filter_map(|((key, prompt), made)| {
            Some(MadeVector { key: *key, stripe: stripe(TextHash::of(prompt)), made: made? })
        });
        Ok(made.collect())
    }

    /// Keeps vectors of entries that are still there, and still want one. The caller holds `all`.
    fn keep(&self, space: &Space, made: &[MadeVector]) -> Result<(), StoreError> {
        let _stripes = self.lock_all(made.iter().map(|made| made.stripe));
        let current = self.current();
        let mut vectors = Vec::with_capacity(made.len());
        for MadeVector { key, made, .. } in made {
            let Some(of) = self.database.record(key.cache, key.id)?.filter(|of| of.vectors.wanted) else {
                continue;
            };
            self.recount(space, &current, *key)?;
            let (expires, tags) = (of.entry.expires, of.entry.index_tags());
            let record = VectorRecord { expires, tags, embedding: made.vector.clone() };
            vectors.push(NewVector { key: *key, record, lossy: made.lossy, of });
        }
        self.database.put_vectors(space.slot, &vectors)?;
        for NewVector { key, record, .. } in vectors {
            let row = Row { key: key.id, expiry: Expiry(record.expires.0), tags: record.tags.into() };
            space.memory.insert(key.cache, key.scope, row, &record.embedding);
            self.keep_up_if_due(key.cache, key.scope);
        }
        Ok(())
    }

    /// A vector is about to be kept. Of an entry's two vectors only the one that will stay is counted.
    fn recount(&self, space: &Space, current: &Space, key: VectorKey) -> Result<(), StoreError> {
        if self.database.has_vector(space.slot, key)? {
            return Ok(());
        }
        let has_other = space.slot != current.slot && self.database.has_vector(current.slot, key)?;
        let more = space.vector_bytes() - if has_other { current.vector_bytes() } else { 0 };
        if more != 0 {
            self.eviction.resized(key.cache, &key.id, more);
        }
        Ok(())
    }

    fn go_on(&self) -> Result<(), StoreError> {
        if self.is_closing() { Err(StoreError::Closed) } else { Ok(()) }
    }
}
