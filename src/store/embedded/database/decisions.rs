//! Decisions, for as long as there is room: RocksDB drops whole tables of the oldest.

use rocksdb::{Direction, IteratorMode, WriteBatch};

use super::{CacheKey, Database, StoreError, after, failed, family};

fn key(cache: CacheKey, name: [u8; 16]) -> Vec<u8> {
    [cache.0, name].concat()
}

impl Database {
    pub(in super::super) fn keep_decisions(
        &self,
        cache: CacheKey,
        decisions: &[([u8; 16], Vec<u8>)],
    ) -> Result<(), StoreError> {
        let family = self.family(family::DECISIONS)?;
        let mut batch = WriteBatch::default();
        for (name, decision) in decisions {
            batch.put_cf(family, key(cache, *name), decision);
        }
        if self.is_read_only() {
            return Err(StoreError::ReadOnly);
        }
        // Nobody was told that these would last.
        self.db.write(batch).map_err(failed)
    }

    pub(in super::super) fn decision(&self, cache: CacheKey, name: [u8; 16]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(self.family(family::DECISIONS)?, key(cache, name)).map_err(failed)
    }

    /// The `most` newest ones, newest first.
    pub(in super::super) fn decisions(&self, cache: CacheKey, most: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let last = key(cache, [0xff; 16]);
        let backwards = IteratorMode::From(&last, Direction::Reverse);
        let mut found = Vec::new();
        for item in self.db.iterator_cf(self.family(family::DECISIONS)?, backwards).take(most) {
            let (key, value) = item.map_err(failed)?;
            if !key.starts_with(&cache.0) {
                break;
            }
            found.push(value.into_vec());
        }
        Ok(found)
    }

    pub(in super::super) fn forget_decisions(&self, cache: CacheKey) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        let end = after(cache).map_or_else(|| vec![0xff; 33], |end| end.to_vec());
        batch.delete_range_cf(self.family(family::DECISIONS)?, cache.0.to_vec(), end);
        self.write(batch)
    }
}
