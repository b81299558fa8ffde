//! Keys and values as RocksDB holds them.
//!
//! Values begin with a version byte, followed by postcard. Keys are fixed-length parts, so that every entry of a cache, and
//! every vector of a scope, lies in one range.
//!
//! Of entries there are three versions, and of what is known of their worth two. The second one knows of tags and of curated
//! entries, the third one of vectors that are answers. What has neither is still written in the first, so that a program of
//! before reads it too.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::{
    Answer, Attributes, CacheKey, Curation, Entry, EntryId, ProviderVector, ScopeKey, StoreError, Tags, TextHash,
    Timestamp,
};
use super::eviction::EntryCost;
use crate::embed::Embedding;
use crate::index::Tag;

/// The version of every value's format, and further ones of those that have more.
const VERSION: u8 = 1;
const SECOND: u8 = 2;
const THIRD: u8 = 3;

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    encode_as(VERSION, value)
}

fn encode_as<T: Serialize>(version: u8, value: &T) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(value, vec![version]).map_err(|error| StoreError::Failed(error.into()))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    Ok(decode_first(bytes)?.0)
}

/// A value, and the bytes behind it.
fn decode_first<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), StoreError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => read_first(rest),
        Some((version, _)) => {
            Err(StoreError::Damaged(format!("it has format {version}, this program reads {VERSION}")))
        }
        None => Err(StoreError::Damaged("it is empty".into())),
    }
}

fn read_first<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), StoreError> {
    postcard::take_from_bytes(bytes).map_err(|error| StoreError::Damaged(error.to_string()))
}

/// An entry, and what there is to know of its vectors.
#[derive(Debug)]
pub(super) struct EntryRecord {
    pub(super) entry: Entry,
    pub(super) vectors: AboutVectors,
}

/// An entry as its first version has it; what the others have in addition follows it.
#[derive(Serialize, Deserialize)]
struct FirstEntry<P, R, A> {
    id: EntryId,
    scope: ScopeKey,
    fingerprint: [u8; 32],
    prompt: P,
    answer: R,
    attributes: A,
    created: Timestamp,
    expires: Timestamp,
}

/// An answer as the first version has it.
type FirstAnswer<T, C> = (T, Option<C>);

type ReadEntry = FirstEntry<String, FirstAnswer<String, String>, Attributes>;

/// What the second version has in addition, behind all of the first.
type More<T, C> = (T, Option<C>);

/// The third version has a vector behind all of the second. Its numbers are 32-bit floats, little-endian.
pub(super) fn encode_entry(entry: &Entry, vectors: AboutVectors) -> Result<Vec<u8>, StoreError> {
    let Entry { id, scope, fingerprint, prompt, answer, attributes, created, expires, tags, curation } = entry;
    let (id, scope, fingerprint, created, expires) = (*id, *scope, *fingerprint, *created, *expires);
    let Answer { text, completion, vector } = answer;
    let answer: FirstAnswer<&str, &str> = (text, completion.as_deref());
    let first = FirstEntry { id, scope, fingerprint, prompt, answer, attributes, created, expires };
    let more: More<&Tags, &Curation> = (tags, curation.as_ref());
    match vector {
        Some(vector) => encode_as(THIRD, &(first, vectors, more, vector)),
        None if tags.is_empty() && curation.is_none() => encode(&(first, vectors)),
        None => encode_as(SECOND, &(first, vectors, more)),
    }
}

pub(super) fn decode_entry(bytes: &[u8]) -> Result<EntryRecord, StoreError> {
    type Read = (ReadEntry, AboutVectors, More<Tags, Curation>, Option<ProviderVector>);
    let (first, vectors, (tags, curation), vector): Read = match bytes.split_first() {
        Some((&THIRD, rest)) => {
            let (first, vectors, more, vector) = read_first(rest)?.0;
            (first, vectors, more, Some(vector))
        }
        Some((&SECOND, rest)) => {
            let (first, vectors, more) = read_first(rest)?.0;
            (first, vectors, more, None)
        }
        _ => {
            let (first, vectors) = decode(bytes)?;
            (first, vectors, More::default(), None)
        }
    };
    let FirstEntry { id, scope, fingerprint, prompt, answer: (text, completion), attributes, created, expires } = first;
    let answer = Answer { text, completion, vector };
    let entry = Entry { id, scope, fingerprint, prompt, answer, attributes, created, expires, tags, curation };
    Ok(EntryRecord { entry, vectors })
}

/// What an entry takes and has saved as its first version has it.
#[derive(Serialize, Deserialize)]
struct FirstRecord {
    bytes: u32,
    cost_millis: u32,
    uses: u32,
    stripe: u8,
}

pub(super) fn encode_record(record: &EntryCost) -> Result<Vec<u8>, StoreError> {
    let EntryCost { bytes, cost_millis, uses, stripe, is_pinned } = *record;
    let first = FirstRecord { bytes, cost_millis, uses, stripe };
    if is_pinned { encode_as(SECOND, &(first, is_pinned)) } else { encode(&first) }
}

pub(super) fn decode_record(bytes: &[u8]) -> Result<EntryCost, StoreError> {
    let (FirstRecord { bytes, cost_millis, uses, stripe }, is_pinned) = match bytes.split_first() {
        Some((&SECOND, rest)) => read_first(rest)?.0,
        _ => (decode(bytes)?, false),
    };
    Ok(EntryCost { bytes, cost_millis, uses, stripe, is_pinned })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AboutVectors {
    /// Whether it should have one, whether or not it could be made so far.
    pub(super) wanted: bool,
    /// Where it is lossy, which depends on the model.
    pub(super) lossy: Slots,
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// An entry and a record of its worth as the program before the second version wrote them.
    const OLD_ENTRY: &str = "0101010101010101010101010101010101020202020202020202020202020202020202020202020202020202020202020203\
        030303030303030303030303030303030303030303030303030303030303030d5768617420697320527573743f0b41206c616e67756167652e01027b\
        7d01046c616e6702656e80d095ffbc3180a0f1c2b134010001";
    const OLD_RECORD: &str = "01bc05d209053f";

    fn bytes(digits: &str) -> Vec<u8> {
        let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
        pairs.collect()
    }

    fn entry() -> (Entry, AboutVectors) {
        let entry = Entry {
            id: EntryId([1; 16]),
            scope: ScopeKey([2; 32]),
            fingerprint: [3; 32],
            prompt: "What is Rust?".into(),
            answer: Answer { text: "A language.".into(), completion: Some("{}".into()), vector: None },
            attributes: Attributes::new(BTreeMap::from([("lang".to_owned(), "en".to_owned())])),
            created: Timestamp(1_700_000_000_000),
            expires: Timestamp(1_800_000_000_000),
            tags: Tags::default(),
            curation: None,
        };
        (entry, AboutVectors { wanted: true, lossy: Slots { a: false, b: true } })
    }

    const RECORD: EntryCost = EntryCost { bytes: 700, cost_millis: 1234, uses: 5, stripe: 63, is_pinned: false };

    #[test]
    fn what_the_version_before_wrote_is_read() {
        let read = decode_entry(&bytes(OLD_ENTRY)).unwrap();
        assert_eq!((read.entry, read.vectors), entry());
        assert_eq!(decode_record(&bytes(OLD_RECORD)).unwrap(), RECORD);
    }

    #[test]
    fn what_needs_no_second_version_is_written_as_before() {
        let (entry, vectors) = entry();
        assert_eq!(encode_entry(&entry, vectors).unwrap(), bytes(OLD_ENTRY));
        assert_eq!(encode_record(&RECORD).unwrap(), bytes(OLD_RECORD));
    }

    #[test]
    fn tags_and_curation_come_back() {
        let (plain, vectors) = entry();
        let curation = Curation { models: vec!["m".into()], system: Some(String::new()), namespace: None };
        let tags = Tags::new(["docs".to_owned(), "v1".to_owned()]);
        for (tags, curation) in
            [(tags.clone(), None), (Tags::default(), Some(curation.clone())), (tags, Some(curation))]
        {
            let entry = Entry { tags, curation, ..plain.clone() };
            let written = encode_entry(&entry, vectors).unwrap();
            assert_eq!(written[0], SECOND);
            let read = decode_entry(&written).unwrap();
            assert_eq!((read.entry, read.vectors), (entry, vectors));
        }
        let pinned = EntryCost { is_pinned: true, ..RECORD };
        assert_eq!(decode_record(&encode_record(&pinned).unwrap()).unwrap(), pinned);
    }

    #[test]
    fn a_vector_that_is_an_answer_comes_back_in_four_bytes_a_number() {
        let (plain, vectors) = entry();
        for dimension in [0_u16, 1, 1536] {
            let components = (0..dimension).map(|n| f32::from(n) / 7.0 - 3.0).collect();
            let vector = ProviderVector { model: "text-embedding-3-small".into(), tokens: 7, components };
            let answer = Answer { text: String::new(), completion: None, vector: Some(vector) };
            let entry = Entry { answer, ..plain.clone() };
            let written = encode_entry(&entry, vectors).unwrap();
            assert_eq!(written[0], THIRD);
            assert!(written.len() < 4 * usize::from(dimension) + 250, "{}", written.len());
            let read = decode_entry(&written).unwrap();
            assert_eq!((read.entry, read.vectors), (entry, vectors));
        }
    }

    #[test]
    fn the_third_version_is_the_second_and_a_vector() {
        let (plain, vectors) = entry();
        let vector = ProviderVector { model: "m".into(), tokens: 7, components: vec![1.0, -0.5] };
        let entry = Entry { answer: Answer { vector: Some(vector), ..plain.answer.clone() }, ..plain };
        let written = bytes(&format!("03{}0000016d07020000803f000000bf", OLD_ENTRY.strip_prefix("01").unwrap()));
        assert_eq!(encode_entry(&entry, vectors).unwrap(), written);
        assert_eq!(decode_entry(&written).unwrap().entry, entry);
    }

    #[test]
    fn later_versions_are_refused() {
        assert!(matches!(decode_entry(&[4, 0]), Err(StoreError::Damaged(_))));
        assert!(matches!(decode_record(&[]), Err(StoreError::Damaged(_))));
    }
}
