//! Keys and values as RocksDB holds them.
//!
//! Values begin with a version byte, followed by postcard. Keys are fixed-length parts, so that every entry of a cache, and
//! every vector of a scope, lies in one range.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::{CacheKey, Entry, EntryId, ScopeKey, StoreError, TextHash, Timestamp};
use crate::embed::Embedding;
use crate::index::Tag;

/// The version of every value's format.
const VERSION: u8 = 1;

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(value, vec![VERSION]).map_err(|error| StoreError::Failed(error.into()))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    Ok(decode_first(bytes)?.0)
}

/// A value, and the bytes behind it.
fn decode_first<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), StoreError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            postcard::take_from_bytes(rest).map_err(|error| StoreError::Damaged(error.to_string()))
        }
        Some((version, _)) => {
            Err(StoreError::Damaged(format!("it has format {version}, this program reads {VERSION}")))
        }
        None => Err(StoreError::Damaged("it is empty".into())),
    }
}

/// An entry, and what there is to know of its vectors.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EntryRecord {
    pub(super) entry: Entry,
    pub(super) vectors: AboutVectors,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AboutVectors {
    /// Whether it should have one, whether or not it could be made so far.
    pub(super) wanted: bool,
    /// Where it is blurred, which depends on the model.
    pub(super) blurred: Slots,
}

/// One of the two families that vectors may be in. While all are made anew with another model, both are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Slot {
    A,
    B,
}

impl Slot {
    pub(super) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Some slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Slots {
    a: bool,
    b: bool,
}

impl Slots {
    /// None but `slot`, and that only `if_so`.
    pub(super) fn only(slot: Slot, if_so: bool) -> Self {
        Self::default().with(slot, if_so)
    }

    /// These, and `slot` if and only if `there`.
    pub(super) fn with(self, slot: Slot, there: bool) -> Self {
        match slot {
            Slot::A => Self { a: there, ..self },
            Slot::B => Self { b: there, ..self },
        }
    }

    pub(super) fn has(self, slot: Slot) -> bool {
        match slot {
            Slot::A => self.a,
            Slot::B => self.b,
        }
    }
}

/// cache ‖ id
pub(super) fn entry_key(cache: CacheKey, id: EntryId) -> [u8; 32] {
    join(&[&cache.0, &id.0])
}

pub(super) fn read_entry_key(bytes: &[u8]) -> Result<(CacheKey, EntryId), StoreError> {
    let part = |range| bytes.get(range).ok_or_else(|| StoreError::Damaged("an entry's key is too short".into()));
    Ok((CacheKey(fixed(part(0..16)?)?), EntryId(fixed(part(16..32)?)?)))
}

/// cache ‖ scope ‖ text
pub(super) fn exact_key(cache: CacheKey, scope: ScopeKey, text: TextHash) -> [u8; 80] {
    join(&[&cache.0, &scope.0, &text.0])
}

/// cache ‖ scope ‖ id
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct VectorKey {
    pub(super) cache: CacheKey,
    pub(super) scope: ScopeKey,
    pub(super) id: EntryId,
}

impl VectorKey {
    pub(super) fn bytes(self) -> [u8; 64] {
        join(&[&self.cache.0, &self.scope.0, &self.id.0])
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        let part = |range| bytes.get(range).ok_or_else(|| StoreError::Damaged("a vector's key is too short".into()));
        Ok(Self {
            cache: CacheKey(fixed(part(0..16)?)?),
            scope: ScopeKey(fixed(part(16..48)?)?),
            id: EntryId(fixed(part(48..64)?)?),
        })
    }
}

/// expiry, big-endian so that the soonest comes first ‖ cache ‖ id
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExpiryKey {
    pub(super) at: Timestamp,
    pub(super) cache: CacheKey,
    pub(super) id: EntryId,
}

impl ExpiryKey {
    pub(super) fn bytes(self) -> [u8; 40] {
        join(&[&self.at.0.to_be_bytes(), &self.cache.0, &self.id.0])
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        let part = |range| bytes.get(range).ok_or_else(|| StoreError::Damaged("an expiry's key is too short".into()));
        Ok(Self {
            at: Timestamp(u64::from_be_bytes(fixed(part(0..8)?)?)),
            cache: CacheKey(fixed(part(8..24)?)?),
            id: EntryId(fixed(part(24..40)?)?),
        })
    }
}

/// cache ‖ scope ‖ generation ‖ part, both big-endian; part 0 is the head
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GraphKey {
    pub(super) cache: CacheKey,
    pub(super) scope: ScopeKey,
    pub(super) generation: u64,
    pub(super) part: u32,
}

impl GraphKey {
    pub(super) fn bytes(self) -> [u8; 60] {
        join(&[&self.cache.0, &self.scope.0, &self.generation.to_be_bytes(), &self.part.to_be_bytes()])
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        let part = |range| bytes.get(range).ok_or_else(|| StoreError::Damaged("a graph's key is too short".into()));
        Ok(Self {
            cache: CacheKey(fixed(part(0..16)?)?),
            scope: ScopeKey(fixed(part(16..48)?)?),
            generation: u64::from_be_bytes(fixed(part(48..56)?)?),
            part: u32::from_be_bytes(fixed(part(56..60)?)?),
        })
    }
}

/// A vector with what the index must know about it.
pub(super) struct VectorRecord {
    pub(super) expires: Timestamp,
    pub(super) tags: Vec<Tag>,
    pub(super) embedding: Embedding,
}

/// What is known about a vector, and behind it the components, little-endian: millions of these are read at start.
pub(super) fn encode_vector(expires: Timestamp, tags: &[Tag], vector: &Embedding) -> Result<Vec<u8>, StoreError> {
    let mut value = encode(&(expires, tags))?;
    value.extend(vector.as_slice().iter().flat_map(|x| x.to_le_bytes()));
    Ok(value)
}

pub(super) fn decode_vector(bytes: &[u8]) -> Result<VectorRecord, StoreError> {
    let ((expires, tags), components) = decode_first(bytes)?;
    let (components, rest) = components.as_chunks();
    let embedding = Embedding::unit(components.iter().map(|x| f32::from_le_bytes(*x)));
    match embedding {
        Some(embedding) if rest.is_empty() => Ok(VectorRecord { expires, tags, embedding }),
        _ => Err(StoreError::Damaged("a vector is none of length 1".into())),
    }
}

fn join<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut key = [0; N];
    let mut at = 0;
    for part in parts {
        key[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    debug_assert_eq!(at, N);
    key
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Damaged("a key has the wrong length".into()))
}
