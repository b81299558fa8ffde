//! Reading a column family from end to end, damaged or not.

use rocksdb::{ColumnFamily, DB, DBRawIterator, ReadOptions};

use super::super::super::StoreError;
use super::failed;
use crate::telemetry;

/// Bytes at the end of a key that the first step over damage leaves alone. Ids are hashes: this is one in four billion of
/// those that a scope could have, and each further step is twice as wide.
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
        Self::from(db, family, &[])
    }

    /// Those with `first` and behind.
    pub(super) fn from(db: &'d DB, family: &ColumnFamily, first: &[u8]) -> Self {
        let mut options = ReadOptions::default();
        options.set_readahead_size(READ_AHEAD);
        // What is read once must not drive out what is read again and again.
        options.fill_cache(false);
        let mut rows = db.raw_iterator_cf_opt(family, options);
        rows.seek(first);
        let mut last = first.to_vec();
        last.resize(KEY.max(first.len()), 0);
        Self { rows, last, is_over: false }
    }
}

/// What was met that can't be read.
#[derive(Default)]
pub(super) struct Damage {
    times: u64,
    last: Option<StoreError>,
}

impl Damage {
    /// What could be read.
    pub(super) fn sort_out<T>(&mut self, read: Result<T, StoreError>) -> Option<T> {
        read.inspect_err(|_| self.times += 1).map_err(|error| self.last = Some(error)).ok()
    }

    /// Says so, where anything was.
    pub(super) fn report(self) {
        if let Self { times, last: Some(error) } = self {
            telemetry::degraded("unreadable");
            tracing::error!(times, cause = telemetry::cause(&error), "some entries are unreadable, and are left out");
        }
    }
}

/// Goes on behind what can't be read, which follows the key `last`. Tells whether anything could be reached there.
pub(super) fn skip(rows: &mut DBRawIterator<'_>, last: &mut Vec<u8>) -> bool {
    loop {
        for place in (0..last.len().saturating_sub(FINE)).rev() {
            for bit in 0..8 {
                let Some(next) = after(last, place, 1 << bit) else { return false };
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

/// The first key after all that begin as `key` does up to and with the byte at `place`, or so many times as far.
fn after(key: &[u8], place: usize, times: u8) -> Option<Vec<u8>> {
    let mut next = key[..=place].to_vec();
    let mut more = times;
    for byte in next.iter_mut().rev() {
        let (sum, carries) = byte.overflowing_add(more);
        *byte = sum;
        more = u8::from(carries);
    }
    next.resize(key.len(), 0);
    (more == 0).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_after_a_prefix_carries() {
        assert_eq!(after(&[1, 2, 3, 4], 3, 1), Some(vec![1, 2, 3, 5]));
        assert_eq!(after(&[1, 2, 3, 4], 1, 1), Some(vec![1, 3, 0, 0]));
        assert_eq!(after(&[1, 255, 255, 4], 2, 1), Some(vec![2, 0, 0, 0]));
        assert_eq!(after(&[1, 200, 3], 1, 128), Some(vec![2, 72, 0]));
        assert_eq!(after(&[255, 255], 1, 1), None);
    }
}
