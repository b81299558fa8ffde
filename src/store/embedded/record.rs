//! Keys and values as RocksDB holds them.
//!
//! Values begin with a version byte, followed by postcard. Keys are fixed-length parts, so that every entry of a cache, and
//! every vector of a scope, lies in one range.
//!
//! Of entries there are four versions, and of what is known of their worth two. The second one knows of tags and of curated
//! entries, the third one of vectors that are answers. In the fourth, which is the one that is written, an answer has a gist, and lies
//! apart unless it is short: what is looked at for a decision then takes some hundred bytes, however long the answers are.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::{
    Answer, AnswerGist, Attributes, CacheKey, Curation, Entry, EntryId, GistOf, ProviderVector, ScopeKey, StoreError,
    Tags, TextHash, Timestamp,
};
use super::eviction::EntryCost;
use crate::embed::Embedding;
use crate::index::Tag;

/// The version of every value's format, and further ones of those that have more.
const VERSION: u8 = 1;
const SECOND: u8 = 2;
const THIRD: u8 = 3;
const FOURTH: u8 = 4;
/// Bytes of an answer up to which it stays with its entry: a block of a table, which is the least that is read of a disk.
const SHORT: usize = 4096;

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
fn decode_first<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<(T, &'b [u8]), StoreError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => read_first(rest),
        Some((version, _)) => {
            Err(StoreError::Damaged(format!("it has format {version}, this program reads {VERSION}")))
        }
        None => Err(StoreError::Damaged("it is empty".into())),
    }
}

fn read_first<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<(T, &'b [u8]), StoreError> {
    postcard::take_from_bytes(bytes).map_err(|error| StoreError::Damaged(error.to_string()))
}

/// An entry, and what there is to know of its vectors.
#[derive(Debug)]
pub(super) struct EntryRecord<A = Answer> {
    pub(super) entry: Entry<A>,
    pub(super) vectors: AboutVectors,
}

/// An answer, as far as its entry's record has it.
#[derive(Debug, PartialEq)]
pub(super) enum InRecord {
    /// Of a version before the fourth: all of it, and no gist.
    Whole(Answer),
    /// It is short.
    Short(AnswerGist, Answer),
    /// It lies apart.
    Apart(AnswerGist),
}

impl<A> EntryRecord<A> {
    pub(super) fn with_answer<B>(self, answer: B) -> (EntryRecord<B>, A) {
        let (entry, before) = self.entry.with_answer(answer);
        (EntryRecord { entry, vectors: self.vectors }, before)
    }
}

/// An entry as all its versions begin. `R` is what there is of the answer: of the first three a [`FirstAnswer`], and of the fourth a gist
/// and, if it is short, the answer.
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
type FirstAnswer = (String, Option<String>);

/// What the second version has in addition, behind all of the first.
type More<T, C> = (T, Option<C>);

/// What the fourth version has of an answer.
type AnswerPart<R> = (AnswerGist, Option<R>);

/// An answer as it is written. Numbers of vectors are 32-bit floats, little-endian.
#[derive(Serialize)]
struct WrittenAnswer<'a> {
    text: &'a str,
    completion: Option<&'a str>,
    vector: Option<&'a ProviderVector>,
}

/// The same as it is read, without copying it.
#[derive(Deserialize)]
struct ReadAnswer<'b> {
    text: &'b str,
    completion: Option<&'b str>,
    vector: Option<ProviderVector>,
}

impl<'a> From<&'a Answer> for WrittenAnswer<'a> {
    fn from(Answer { text, completion, vector }: &'a Answer) -> Self {
        Self { text, completion: completion.as_deref(), vector: vector.as_ref() }
    }
}

impl From<ReadAnswer<'_>> for Answer {
    fn from(ReadAnswer { text, completion, vector }: ReadAnswer<'_>) -> Self {
        Self { text: text.to_owned(), completion: completion.map(str::to_owned), vector }
    }
}

/// An entry as it is written: its record, and its answer where that lies apart.
#[derive(Debug)]
pub(super) struct EncodedEntry {
    pub(super) record: Vec<u8>,
    pub(super) answer: Option<Vec<u8>>,
}

pub(super) fn encode_entry<A>(
    entry: &Entry<A>,
    answer: &Answer,
    gist: AnswerGist,
    vectors: AboutVectors,
) -> Result<EncodedEntry, StoreError> {
    let written = WrittenAnswer::from(answer);
    if answer.size() <= SHORT {
        return Ok(EncodedEntry { record: encode_part(entry, (gist, Some(written)), vectors)?, answer: None });
    }
    // By the first two it is known to belong to its entry, which may be replaced while both are read.
    let apart = encode(&(entry.created, gist.says, written))?;
    Ok(EncodedEntry { record: encode_without_answer(entry, gist, vectors)?, answer: Some(apart) })
}

/// The record of an entry whose answer lies apart.
pub(super) fn encode_without_answer<A>(
    entry: &Entry<A>,
    gist: AnswerGist,
    vectors: AboutVectors,
) -> Result<Vec<u8>, StoreError> {
    encode_part(entry, (gist, None), vectors)
}

fn encode_part<A>(
    entry: &Entry<A>,
    answer: AnswerPart<WrittenAnswer<'_>>,
    vectors: AboutVectors,
) -> Result<Vec<u8>, StoreError> {
    let Entry { id, scope, fingerprint, prompt, attributes, created, expires, tags, curation, .. } = entry;
    let (id, scope, fingerprint, created, expires) = (*id, *scope, *fingerprint, *created, *expires);
    let first = FirstEntry { id, scope, fingerprint, prompt, answer, attributes, created, expires };
    let more: More<&Tags, &Curation> = (tags, curation.as_ref());
    encode_as(FOURTH, &(first, vectors, more))
}

/// An entry with all that its record has.
pub(super) fn decode_entry(bytes: &[u8]) -> Result<EntryRecord<InRecord>, StoreError> {
    let as_read = |(gist, answer): AnswerPart<ReadAnswer<'_>>| match answer {
        Some(answer) => InRecord::Short(gist, answer.into()),
        None => InRecord::Apart(gist),
    };
    decode_as(bytes, as_read, InRecord::Whole)
}

/// An entry with the gist of its answer, which `gist_of` finds out where its record has none.
pub(super) fn decode_gist(bytes: &[u8], gist_of: GistOf) -> Result<EntryRecord<AnswerGist>, StoreError> {
    decode_as(bytes, |(gist, _)| gist, |answer| gist_of(&answer))
}

fn decode_as<A>(
    bytes: &[u8],
    of_part: impl FnOnce(AnswerPart<ReadAnswer<'_>>) -> A,
    of_whole: impl FnOnce(Answer) -> A,
) -> Result<EntryRecord<A>, StoreError> {
    type First<R> = FirstEntry<String, R, Attributes>;
    type Further = More<Tags, Curation>;
    type Before = (First<FirstAnswer>, AboutVectors, Further, Option<ProviderVector>);
    if let Some((&FOURTH, rest)) = bytes.split_first() {
        let (first, vectors, further): (First<AnswerPart<ReadAnswer<'_>>>, _, _) = read_first(rest)?.0;
        return Ok(record_of(first, vectors, further, of_part));
    }
    let (first, vectors, further, vector): Before = match bytes.split_first() {
        Some((&THIRD, rest)) => {
            let (first, vectors, further, vector) = read_first(rest)?.0;
            (first, vectors, further, Some(vector))
        }
        Some((&SECOND, rest)) => {
            let (first, vectors, further) = read_first(rest)?.0;
            (first, vectors, further, None)
        }
        _ => {
            let (first, vectors) = decode(bytes)?;
            (first, vectors, Further::default(), None)
        }
    };
    let of_first = |(text, completion)| of_whole(Answer { text, completion, vector });
    Ok(record_of(first, vectors, further, of_first))
}

fn record_of<R, A>(
    first: FirstEntry<String, R, Attributes>,
    vectors: AboutVectors,
    (tags, curation): More<Tags, Curation>,
    as_read: impl FnOnce(R) -> A,
) -> EntryRecord<A> {
    let FirstEntry { id, scope, fingerprint, prompt, answer, attributes, created, expires } = first;
    let answer = as_read(answer);
    let entry = Entry { id, scope, fingerprint, prompt, answer, attributes, created, expires, tags, curation };
    EntryRecord { entry, vectors }
}

/// Whether an answer that lies apart can be read.
pub(super) fn check_answer(bytes: &[u8]) -> Result<(), StoreError> {
    decode_first::<(Timestamp, u64, ReadAnswer<'_>)>(bytes).map(drop)
}

/// An answer that lies apart; none where it isn't `entry`'s, which has been replaced since.
pub(super) fn decode_answer<A>(bytes: &[u8], entry: &Entry<A>, gist: AnswerGist) -> Result<Option<Answer>, StoreError> {
    let (created, says, answer): (Timestamp, u64, ReadAnswer<'_>) = decode_first(bytes)?.0;
    Ok((created == entry.created && says == gist.says).then(|| answer.into()))
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

    const GIST: AnswerGist =
        AnswerGist { says: 0x0102_0304_0506_0708, is_literal: true, has_text: true, has_usage: false };

    /// The same entry as builds before wrote it, in the first version that could.
    fn written_before(entry: &Entry, vectors: AboutVectors) -> Vec<u8> {
        let Entry { id, scope, fingerprint, prompt, answer, attributes, created, expires, tags, curation } =
            entry.clone();
        let Answer { text, completion, vector } = answer;
        let answer: FirstAnswer = (text, completion);
        let is_second = !tags.is_empty() || curation.is_some();
        let first = FirstEntry { id, scope, fingerprint, prompt, answer, attributes, created, expires };
        match vector {
            Some(vector) => encode_as(THIRD, &(first, vectors, (tags, curation), vector)),
            None if is_second => encode_as(SECOND, &(first, vectors, (tags, curation))),
            None => encode(&(first, vectors)),
        }
        .unwrap()
    }

    /// An entry with tags, with a curation, with both, with a vector for its answer, and plain.
    fn kinds() -> Vec<(Entry, AboutVectors)> {
        let (plain, vectors) = entry();
        let curation = Curation { models: vec!["m".into()], system: Some(String::new()), namespace: None };
        let tags = Tags::new(["docs".to_owned(), "v1".to_owned()]);
        let vector = |dimension: u16| {
            let components = (0..dimension).map(|n| f32::from(n) / 7.0 - 3.0).collect();
            let vector = ProviderVector { model: "text-embedding-3-small".into(), tokens: 7, components };
            Entry { answer: Answer { vector: Some(vector), ..Answer::default() }, ..plain.clone() }
        };
        let entries = vec![
            plain.clone(),
            Entry { tags: tags.clone(), ..plain.clone() },
            Entry { curation: Some(curation.clone()), ..plain.clone() },
            Entry { tags, curation: Some(curation), ..plain.clone() },
            vector(0),
            vector(1),
            vector(1536),
            Entry { answer: Answer { text: "word ".repeat(1000), ..plain.answer.clone() }, ..plain.clone() },
            Entry { answer: Answer { completion: Some("word ".repeat(1000)), ..plain.answer.clone() }, ..plain },
        ];
        entries.into_iter().map(|entry| (entry, vectors)).collect()
    }

    #[test]
    fn what_builds_before_wrote_is_read() {
        let (plain, vectors) = entry();
        assert_eq!(written_before(&plain, vectors), bytes(OLD_ENTRY));
        let vector = ProviderVector { model: "m".into(), tokens: 7, components: vec![1.0, -0.5] };
        let with_vector = Entry { answer: Answer { vector: Some(vector), ..plain.answer.clone() }, ..plain };
        let third = bytes(&format!("03{}0000016d07020000803f000000bf", OLD_ENTRY.strip_prefix("01").unwrap()));
        assert_eq!(written_before(&with_vector, vectors), third);
        for (entry, vectors) in kinds() {
            let read = decode_entry(&written_before(&entry, vectors)).unwrap();
            let (record, answer) = read.with_answer(entry.answer.clone());
            assert_eq!((record.entry, record.vectors, answer), (entry.clone(), vectors, InRecord::Whole(entry.answer)));
        }
        assert_eq!(decode_record(&bytes(OLD_RECORD)).unwrap(), RECORD);
        assert_eq!(encode_record(&RECORD).unwrap(), bytes(OLD_RECORD));
    }

    #[test]
    fn short_answers_stay_with_their_entry_and_long_ones_lie_apart() {
        for (entry, vectors) in kinds() {
            let EncodedEntry { record, answer } = encode_entry(&entry, &entry.answer, GIST, vectors).unwrap();
            let read = decode_entry(&record).unwrap();
            let is_long = entry.answer.size() > SHORT;
            let (read, in_record) = read.with_answer(entry.answer.clone());
            assert_eq!((&read.entry, read.vectors), (&entry, vectors));
            let expected = if is_long { InRecord::Apart(GIST) } else { InRecord::Short(GIST, entry.answer.clone()) };
            assert_eq!((in_record, answer.is_some()), (expected, is_long));
            let Some(answer) = answer else { continue };
            assert!(record.len() < 300 && answer.len() < entry.answer.size() + 100, "{}", record.len());
            assert_eq!(record, encode_without_answer(&entry, GIST, vectors).unwrap());
            assert_eq!(decode_answer(&answer, &entry, GIST).unwrap().as_ref(), Some(&entry.answer));
            // Of an entry that was replaced meanwhile it says nothing.
            let later = Entry { created: Timestamp(entry.created.0 + 1), ..entry.clone() };
            assert_eq!(decode_answer(&answer, &later, GIST).unwrap(), None);
            assert_eq!(decode_answer(&answer, &entry, AnswerGist { says: 1, ..GIST }).unwrap(), None);
            assert!(decode_answer(&answer[..answer.len() - 1], &entry, GIST).is_err());
        }
    }

    #[test]
    fn what_is_written_now_will_be_read() {
        let (plain, vectors) = entry();
        let EncodedEntry { record, .. } = encode_entry(&plain, &plain.answer, GIST, vectors).unwrap();
        let (before, after) = OLD_ENTRY.split_once("0b41206c").unwrap();
        let (answer, after) = after.split_once("7b").unwrap();
        let (_, after) = after.split_once("7d").unwrap();
        let gist = "888e98a8c0e0808101010100";
        let fourth = format!("04{}{gist}010b41206c{answer}7b7d00{after}0000", before.strip_prefix("01").unwrap());
        assert_eq!(record, bytes(&fourth));
    }

    #[test]
    fn pins_come_back() {
        let pinned = EntryCost { is_pinned: true, ..RECORD };
        assert_eq!(decode_record(&encode_record(&pinned).unwrap()).unwrap(), pinned);
    }

    #[test]
    fn later_versions_are_refused() {
        assert!(matches!(decode_entry(&[5, 0]), Err(StoreError::Damaged(_))));
        assert!(matches!(decode_record(&[]), Err(StoreError::Damaged(_))));
    }
}
