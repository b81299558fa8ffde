//! What is known of single entries and answers beyond what the pool knows of their like.
//!
//! A record is the surprise in its labels: how much more often it was right than was predicted, as a change of log-odds. It is
//! one step of Newton's method for a random intercept u ~ N(0, 1/[`DOUBT`]) of a logistic model,
//! u = Σ(y - p) / (Σ p(1 - p) + [`DOUBT`]), so that one label moves it little and many move it as far as they say (Breslow and
//! Clayton 1993, penalised quasi-likelihood).

use serde::{Deserialize, Serialize};

use super::answer::AnswerClass;
use super::bounded::BoundedMap;
use crate::store::EntryId;

/// Information that a record must gather before it weighs half.
const DOUBT: f64 = 1.0;
/// The same for answers, which more labels are about.
const DOUBT_OF_ANSWERS: f64 = 2.0;
/// Records that are kept of each kind; the oldest go first.
const MAX_RECORDS: usize = 50_000;

/// The records of a cache.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Records {
    entries: Table<EntryId>,
    answers: Table<AnswerClass>,
}

type Table<K> = BoundedMap<K, Record, MAX_RECORDS>;

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    surprise: f32,
    information: f32,
}

impl Record {
    /// In log-odds; 0 where nothing is known.
    fn log_odds(record: Option<&Self>, doubt: f64) -> f64 {
        record.map_or(0.0, |record| f64::from(record.surprise) / (f64::from(record.information) + doubt))
    }

    fn add(&mut self, surprise: f64, information: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "sums of numbers below 1")]
        let (surprise, information) = (surprise as f32, information as f32);
        self.surprise += surprise;
        self.information += information;
    }
}

impl Records {
    /// Of entries, and of answers; the oldest first.
    pub(super) fn new(
        entries: impl Iterator<Item = (EntryId, Record)>,
        answers: impl Iterator<Item = (AnswerClass, Record)>,
    ) -> Self {
        Self { entries: entries.collect(), answers: answers.collect() }
    }

    /// How much better the entry is than its like, in log-odds; 0 where nothing is known.
    #[must_use]
    pub(super) fn of_entry(&self, entry: &EntryId) -> f64 {
        Record::log_odds(self.entries.get(entry), DOUBT)
    }

    /// The same of all entries with this answer together.
    #[must_use]
    pub(super) fn of_answer(&self, answer: &AnswerClass) -> f64 {
        Record::log_odds(self.answers.get(answer), DOUBT_OF_ANSWERS)
    }

    /// What is known of `part` is known of `whole` from now on.
    pub(super) fn join(&mut self, part: AnswerClass, whole: AnswerClass) {
        if let Some(Record { surprise, information }) = self.answers.remove(&part) {
            self.answers.update(whole, |record| {
                record.surprise += surprise;
                record.information += information;
            });
        }
    }

    /// An answer that was predicted to be right with the probability `predicted` was right, or wasn't.
    pub(super) fn add(&mut self, entry: EntryId, answer: AnswerClass, predicted: f64, right: bool, weight: f64) {
        let p = predicted.clamp(1e-4, 1.0 - 1e-4);
        let (surprise, information) = (weight * (f64::from(u8::from(right)) - p), weight * p * (1.0 - p));
        self.entries.update(entry, |record| record.add(surprise, information));
        self.answers.update(answer, |record| record.add(surprise, information));
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
}
