//! Making all vectors anew with another model, while those of the one before are searched.
//!
//! The new ones are written to the other slot and kept in a memory of their own. What is stored meanwhile comes with a vector of
//! the model in use: it is noted, and its text embedded again before the switch.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::database::{Generations, NewVector, Put};
use super::record::{VectorKey, VectorRecord};
use super::{
    AT_ONCE, CacheKey, EmbedTexts, Inner, Made, ModelIdentity, Space, Spaces, StoreError, TextEmbedding, TextHash,
    load, stripe,
};
use crate::index::{Expiry, Row};
use crate::telemetry;

/// Keys that are read in one go.
const PAGE: usize = 1024;

/// The vectors that will be searched.
pub(super) struct Next {
    pub(super) space: Arc<Space>,
    /// Entries that were stored since, with a vector of the model in use.
    due: Mutex<HashSet<VectorKey>>,
}

impl Next {
    /// An entry was written.
    pub(super) fn take(&self, put: &Put) {
        self.space.take(put);
        let key = VectorKey { cache: put.cache, scope: put.entry.scope, id: put.entry.id };
        if put.vector.as_ref().is_some_and(|(slot, _)| *slot != self.space.slot) {
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

    /// These needn't be made any more.
    fn forget(&self, keys: &[VectorKey]) {
        let mut due = self.due.lock();
        keys.iter().for_each(|key| {
            due.remove(key);
        });
    }

    /// Some of what was stored since, or all.
    fn due(&self, most: usize) -> Vec<VectorKey> {
        self.due.lock().iter().take(most).copied().collect()
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
        let Some(next) = self.begin(model)? else { return Ok(()) };
        let made = self.make_all(&next, embed, progress);
        if made.is_err() {
            // What was written stays, and is kept right; the next call goes on with it.
            let _all = self.all.write();
            self.spaces.store(Arc::new(Spaces { current: self.current(), next: None }));
        }
        made
    }

    pub(super) fn switch_model(
        &self,
        embed: &mut EmbedTexts<'_>,
        switched: &mut dyn FnMut(),
    ) -> Result<(), StoreError> {
        let _only = self.making.lock();
        let Some(next) = self.spaces.load().next.clone() else { return Ok(()) };
        self.make_due(&next, embed)?;
        {
            // A graph that is being saved would be one of vectors that are forgotten.
            let _graphs = self.saving.lock();
            let _all = self.all.write();
            while let due = next.due(AT_ONCE)
                && !due.is_empty()
            {
                let made = self.embed(&next, &due, embed)?;
                self.keep(&next, &made)?;
                next.forget(&due);
            }
            self.database.switch()?;
            self.spaces.store(Arc::new(Spaces { current: Arc::clone(&next.space), next: None }));
            // Who waits to store something finds that its vector is of no use, and must find the new model too.
            switched();
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
            Some(Arc::new(Next { space, due: Mutex::default() }))
        };
        self.spaces.store(Arc::new(Spaces { current, next: next.clone() }));
        Ok(next)
    }

    fn make_all(
        &self,
        next: &Next,
        embed: &mut EmbedTexts<'_>,
        progress: &mut dyn FnMut(Made),
    ) -> Result<(), StoreError> {
        load::vectors(self, &next.space, Generations::new(), |_, _| ())?;
        let current = self.current();
        let known = if current.memory.is_loaded() { current.memory.size().entries as u64 } else { 0 };
        let all = known.max(if known == 0 { self.database.count_vectors(current.slot)? } else { 0 });
        let (mut done, mut made, mut last) = (0, 0, None);
        while let keys = self.database.vector_keys(current.slot, last, PAGE)?
            && !keys.is_empty()
        {
            last = keys.last().copied();
            for some in keys.chunks(AT_ONCE) {
                self.go_on()?;
                made += self.make_missing(next, some, embed)?;
                done += some.len() as u64;
                progress(Made { done, all: all.max(done) });
            }
        }
        progress(Made { done, all: done });
        tracing::info!(made, there = done - made, "made vectors anew");
        self.link(next)?;
        self.make_due(next, embed)
    }

    /// Makes those of some vectors that aren't there yet, and counts them.
    fn make_missing(&self, next: &Next, keys: &[VectorKey], embed: &mut EmbedTexts<'_>) -> Result<u64, StoreError> {
        let mut missing = Vec::with_capacity(keys.len());
        for key in keys {
            if !self.database.has_vector(next.space.slot, *key)? {
                missing.push(*key);
            }
        }
        self.make(next, &missing, embed)?;
        Ok(missing.len() as u64)
    }

    fn make(&self, next: &Next, keys: &[VectorKey], embed: &mut EmbedTexts<'_>) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let made = self.embed(next, keys, embed)?;
        let _all = self.all.read();
        self.keep(next, &made)
    }

    /// Makes the vectors of what was stored since, until so little is left that all stores can wait for it.
    fn make_due(&self, next: &Next, embed: &mut EmbedTexts<'_>) -> Result<(), StoreError> {
        while let due = next.due(usize::MAX)
            && due.len() > AT_ONCE
        {
            for some in due.chunks(AT_ONCE) {
                self.go_on()?;
                // Before its text is read: it may be stored again meanwhile.
                next.forget(some);
                self.make(next, some, embed)?;
            }
        }
        Ok(())
    }

    /// Before anything is searched, scopes of many vectors need their graphs.
    fn link(&self, next: &Next) -> Result<(), StoreError> {
        for (cache, scope) in next.space.memory.due() {
            next.space.memory.keep_up(cache, scope, || !self.is_closing());
            self.go_on()?;
        }
        Ok(())
    }

    fn embed(
        &self,
        next: &Next,
        keys: &[VectorKey],
        embed: &mut EmbedTexts<'_>,
    ) -> Result<Vec<MadeVector>, StoreError> {
        let mut entries = Vec::with_capacity(keys.len());
        for key in keys {
            match self.database.entry(key.cache, key.id) {
                Ok(Some(entry)) if entry.scope == key.scope => entries.push((*key, entry.prompt)),
                // It was removed.
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(id = %key.id, cause = telemetry::cause(&error), "an entry is unreadable");
                }
            }
        }
        let texts: Vec<&str> = entries.iter().map(|(_, prompt)| prompt.as_str()).collect();
        let made = embed(&texts);
        if made.iter().flatten().any(|made| made.model != next.space.model.digest) {
            return Err(StoreError::OtherModel);
        }
        let made = entries.iter().zip(made).filter_map(|((key, prompt), made)| {
            Some(MadeVector { key: *key, stripe: stripe(TextHash::of(prompt)), made: made? })
        });
        Ok(made.collect())
    }

    /// Keeps vectors of entries that are still there, and still have one. The caller holds `all`.
    fn keep(&self, next: &Next, made: &[MadeVector]) -> Result<(), StoreError> {
        let _stripes = self.lock_all(made.iter().map(|made| made.stripe));
        let current = self.current().slot;
        let mut vectors = Vec::with_capacity(made.len());
        for MadeVector { key, made, .. } in made {
            // One that has none of the model in use was stored again without, or has been given one of the next already.
            let Some(of) = self.database.entry_record(key.cache, key.id)? else { continue };
            if self.database.has_vector(current, *key)? {
                let (expires, tags) = (of.entry.expires, of.entry.attributes.tags());
                let record = VectorRecord { expires, tags, embedding: made.vector.clone() };
                vectors.push(NewVector { key: *key, record, blurred: made.blurred, of });
            }
        }
        self.database.put_vectors(next.space.slot, &vectors)?;
        for NewVector { key, record, .. } in vectors {
            let row = Row { key: key.id, expiry: Expiry(record.expires.0), tags: record.tags.into() };
            next.space.memory.insert(key.cache, key.scope, row, &record.embedding);
        }
        Ok(())
    }

    fn go_on(&self) -> Result<(), StoreError> {
        if self.is_closing() { Err(StoreError::Closed) } else { Ok(()) }
    }
}
