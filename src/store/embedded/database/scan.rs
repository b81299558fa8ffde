//! Reading a column family from end to end, damaged or not.

use rocksdb::{ColumnFamily, DB, DBRawIterator, ReadOptions};

use super::super::super::StoreError;
use super::failed;

/// Bytes at the end of a key that the first step over damage leaves alone. Ids are hashes: this is one in four billion of
/// those that a scope could have, and each further step is 256 times as wide.
const FINE: usize = 12;
/// Bytes that a key is taken to have where none has been read yet.
const KEY: usize = 64;

/// Bytes that are asked of the disk at once.
const READ_AHEAD: usize = 2 << 20;

/// The rows of a column family, in the order of their keys. Where a block is damaged, one error takes the place of what it
/// held, and of some of what follows.
pub(super) struct Scan<'d> {
    rows: DBRawIterator<'d>,
    /// The key before what comes next.
    last: Vec<u8>,
    /// Nothing behind the last damage could be reached.
    is_over: bool,
}

impl<'d> Scan<'d> {
    pub(super) fn new(db: &'d DB, family: &ColumnFamily) -> Self {
        let mut options = ReadOptions::default();
        options.set_readahead_size(READ_AHEAD);
        // What is read once must not drive out what is read again and again.
        options.fill_cache(false);
        let mut rows = db.raw_iterator_cf_opt(family, options);
        rows.seek_to_first();
        Self { rows, last: vec![0; KEY], is_over: false }
    }
}

/// Goes on behind what can't be read, which follows the key `last`. Tells whether anything could be reached there.
pub(super) fn skip(rows: &mut DBRawIterator<'_>, last: &mut Vec<u8>) -> bool {
    loop {
        for place in (0..last.len().saturating_sub(FINE)).rev() {
            let Some(next) = after(last, place) else { return false };
            rows.seek(&next);
            if rows.valid() || rows.status().is_ok() {
                return true;
            }
            if place == 0 {
                *last = next;
            }
        }
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<(Vec<u8>, Vec<u8>), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((key, value)) = self.rows.item() {
            let row = (key.to_vec(), value.to_vec());
            self.last.clone_from(&row.0);
            self.rows.next();
            return Some(Ok(row));
        }
        if self.is_over {
            return None;
        }
        let damage = self.rows.status().err()?;
        self.is_over = !skip(&mut self.rows, &mut self.last);
        Some(Err(failed(damage)))
    }
}

/// The first key after all that begin as `key` does up to and with the byte at `place`.
fn after(key: &[u8], place: usize) -> Option<Vec<u8>> {
    let mut next = key[..=place].to_vec();
    while let Some(last) = next.pop() {
        if let Some(larger) = last.checked_add(1) {
            next.push(larger);
            next.resize(key.len(), 0);
            return Some(next);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_after_a_prefix_carries() {
        assert_eq!(after(&[1, 2, 3, 4], 3), Some(vec![1, 2, 3, 5]));
        assert_eq!(after(&[1, 2, 3, 4], 1), Some(vec![1, 3, 0, 0]));
        assert_eq!(after(&[1, 255, 255, 4], 2), Some(vec![2, 0, 0, 0]));
        assert_eq!(after(&[255, 255], 1), None);
    }
}
