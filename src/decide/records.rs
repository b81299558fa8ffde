//! What is known of single entries and answers beyond what the pool knows of their like.
//!
//! A record is the surprise in its labels: how much more often it was right than was predicted, as a change of log-odds. It is
//! one step of Newton's method for a random intercept u ~ N(0, 1/[`DOUBT`]) of a logistic model,
//! u = Σ(y - p) / (Σ p(1 - p) + [`DOUBT`]), so that one label moves it little and many move it as far as they say (Breslow and
//! Clayton 1993, penalised quasi-likelihood).

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use super::answer::AnswerClass;
use super::evidence::{Evidence, RECORDS};
use crate::store::EntryId;

/// Information that a record must gather before it weighs half.
const DOUBT: f64 = 1.0;
/// The same for answers, which more labels are about.
const DOUBT_OF_ANSWERS: f64 = 2.0;
/// Records that are kept of each kind; the oldest go first.
const MOST: usize = 50_000;

/// The records of a cache.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Records {
    entries: Table<EntryId>,
    answers: Table<AnswerClass>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Record {
    surprise: f32,
    information: f32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Table<K: Eq + Hash> {
    records: HashMap<K, Record>,
    by_age: VecDeque<K>,
}

impl<K: Eq + Hash> Default for Table<K> {
    fn default() -> Self {
        Self { records: HashMap::new(), by_age: VecDeque::new() }
    }
}

impl<K: Copy + Eq + Hash> Table<K> {
    fn of(&self, key: &K, doubt: f64) -> f64 {
        let record = self.records.get(key).copied().unwrap_or_default();
        f64::from(record.surprise) / (f64::from(record.information) + doubt)
    }

    fn add(&mut self, key: K, surprise: f64, information: f64) {
        let Self { records, by_age } = self;
        let record = records.entry(key).or_insert_with(|| {
            by_age.push_back(key);
            Record::default()
        });
        #[expect(clippy::cast_possible_truncation, reason = "sums of numbers below 1")]
        let (surprise, information) = (surprise as f32, information as f32);
        record.surprise += surprise;
        record.information += information;
        if by_age.len() > MOST
            && let Some(oldest) = by_age.pop_front()
        {
            records.remove(&oldest);
        }
    }
}

impl Records {
    /// How much better the entry is than its like, in log-odds; 0 where nothing is known.
    #[must_use]
    pub(super) fn of_entry(&self, entry: &EntryId) -> f64 {
        self.entries.of(entry, DOUBT)
    }

    /// The same of all entries with this answer together.
    #[must_use]
    pub(super) fn of_answer(&self, answer: &AnswerClass) -> f64 {
        self.answers.of(answer, DOUBT_OF_ANSWERS)
    }

    /// Puts both into a candidate's features.
    pub(super) fn fill(&self, evidence: &mut Evidence) {
        #[expect(clippy::cast_possible_truncation, reason = "features are f32")]
        let known = [self.of_entry(&evidence.entry) as f32, self.of_answer(&evidence.answer) as f32];
        evidence.put(RECORDS, known);
    }

    /// An answer that was predicted to be right with the probability `predicted` was right, or wasn't.
    pub(super) fn add(&mut self, entry: EntryId, answer: AnswerClass, predicted: f64, right: bool, weight: f64) {
        let p = predicted.clamp(1e-4, 1.0 - 1e-4);
        let (surprise, information) = (weight * (f64::from(u8::from(right)) - p), weight * p * (1.0 - p));
        self.entries.add(entry, surprise, information);
        self.answers.add(answer, surprise, information);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Attributes, CacheKey, ScopeKey, TextHash};

    fn entry(text: &str) -> EntryId {
        EntryId::new(ScopeKey::new(CacheKey::new("t", "c"), &[0; 32]), TextHash::of(text), &Attributes::default())
    }

    #[test]
    fn a_record_follows_its_labels_and_doubts_single_ones() {
        let mut records = Records::default();
        let (good, bad, answer) = (entry("good"), entry("bad"), AnswerClass(1));
        records.add(bad, answer, 0.9, false, 1.0);
        let once = records.of_entry(&bad);
        assert!((-1.0..-0.7).contains(&once), "{once}");
        for _ in 0..10 {
            records.add(bad, answer, 0.9, false, 1.0);
            records.add(good, answer, 0.9, true, 1.0);
        }
        assert!(records.of_entry(&bad) < -4.0 && records.of_entry(&good) > 0.4);
        assert!(records.of_answer(&answer) < 0.0);
        assert_eq!(records.of_entry(&entry("unknown")), 0.0);
    }

    #[test]
    fn the_oldest_records_make_room() {
        let mut table = Table::default();
        (0..=MOST as u64).for_each(|key| table.add(key, 1.0, 0.1));
        assert_eq!((table.records.len(), table.of(&0, 1.0)), (MOST, 0.0));
        assert!(table.of(&1, 1.0) > 0.5);
    }
}
