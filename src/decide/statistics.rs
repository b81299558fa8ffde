//! Rolling counts of what a cache did, from which an operator, and later a rule, sees how it does.
//!
//! Counts are kept in buckets by time: minutes for the last hour, hours for the last week, and one for all time. The time
//! is handed in, so that a test or a replay can run its own clock.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::embed::Cosine;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// How a lookup ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered by an entry of the same text.
    ExactHit,
    /// Answered by an entry of a near text.
    SemanticHit,
    /// Nothing was near enough.
    Miss,
    /// Something was, but the provider is asked all the same, so that it becomes known whether it is right.
    Audit,
    /// The cache was not asked, or could not be.
    Bypass,
}

impl Outcome {
    /// As in metrics and replies.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ExactHit => "exact_hit",
            Self::SemanticHit => "semantic_hit",
            Self::Miss => "miss",
            Self::Audit => "audit",
            Self::Bypass => "bypass",
        }
    }

    /// Whether an entry's answer was served.
    #[must_use]
    pub fn is_hit(self) -> bool {
        matches!(self, Self::ExactHit | Self::SemanticHit)
    }
}

/// One lookup, as far as statistics go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// How it ended.
    pub outcome: Outcome,
    /// The best semantic candidate's cosine, where there was one.
    pub best: Option<Cosine>,
    /// The smallest cosine that would have been served, where there is a threshold.
    pub min_cosine: Option<Cosine>,
}

/// A miss whose best candidate is at most this far below the threshold is a near miss.
const NEAR: f32 = 0.03;

/// Counts of best candidates by their cosine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram([u32; Self::BINS]);

impl Histogram {
    /// All cosines below the first bin's upper bound are counted in it.
    const LOWEST: f32 = 0.5;
    const WIDTH: f32 = 0.02;
    const BINS: usize = 26;

    fn add(&mut self, cosine: Cosine) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the bins")]
        let bin =
            (((cosine.get() - Self::LOWEST) / Self::WIDTH).floor() + 1.0).clamp(0.0, (Self::BINS - 1) as f32) as usize;
        self.0[bin] = self.0[bin].saturating_add(1);
    }

    fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(theirs);
        }
    }

    /// Pairs of a bin's lower bound and its count; the first bin reaches down to -1.
    pub fn bins(&self) -> impl Iterator<Item = (f32, u32)> {
        self.0.iter().enumerate().map(|(i, count)| {
            #[expect(clippy::cast_precision_loss, reason = "a few bins")]
            let lower = if i == 0 { -1.0 } else { Self::LOWEST + Self::WIDTH * (i - 1) as f32 };
            (lower, *count)
        })
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self([0; Self::BINS])
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    lookups: u64,
    exact_hits: u64,
    semantic_hits: u64,
    misses: u64,
    near_misses: u64,
    audits: u64,
    bypasses: u64,
    best: Histogram,
}

impl Counts {
    fn add(&mut self, seen: &Observation) {
        self.lookups += 1;
        match seen.outcome {
            Outcome::ExactHit => self.exact_hits += 1,
            Outcome::SemanticHit => self.semantic_hits += 1,
            Outcome::Miss => {
                self.misses += 1;
                let near = |best: Cosine, least: Cosine| best < least && best.get() >= least.get() - NEAR;
                let is_near = seen.best.zip(seen.min_cosine).is_some_and(|(best, least)| near(best, least));
                self.near_misses += u64::from(is_near);
            }
            Outcome::Audit => self.audits += 1,
            Outcome::Bypass => self.bypasses += 1,
        }
        if let Some(best) = seen.best {
            self.best.add(best);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.lookups += other.lookups;
        self.exact_hits += other.exact_hits;
        self.semantic_hits += other.semantic_hits;
        self.misses += other.misses;
        self.near_misses += other.near_misses;
        self.audits += other.audits;
        self.bypasses += other.bypasses;
        self.best.merge(&other.best);
    }
}

/// Buckets of one width, oldest first; only those in which something happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ring {
    width: u64,
    keep: u64,
    buckets: VecDeque<(u64, Counts)>,
}

impl Ring {
    fn new(width: u64, keep: u64) -> Self {
        Self { width, keep, buckets: VecDeque::new() }
    }

    fn add(&mut self, now: u64, seen: &Observation) {
        let start = now - now % self.width;
        // A clock that ran ahead and was set back: what it counted then would stay in every window.
        while self.buckets.back().is_some_and(|(newest, _)| *newest > start + self.width) {
            self.buckets.pop_back();
        }
        match self.buckets.back_mut() {
            // A clock that was set back goes on in the newest bucket.
            Some((newest, counts)) if *newest >= start => counts.add(seen),
            _ => {
                let mut counts = Counts::default();
                counts.add(seen);
                self.buckets.push_back((start, counts));
            }
        }
        let oldest = (start + self.width).saturating_sub(self.width * self.keep);
        while self.buckets.front().is_some_and(|(bucket, _)| *bucket < oldest) {
            self.buckets.pop_front();
        }
    }

    /// Everything in the buckets that began less than `span` before `now`.
    fn last(&self, span: u64, now: u64) -> Counts {
        let mut sum = Counts::default();
        for (_, counts) in self.buckets.iter().filter(|(start, _)| start + span > now && *start <= now) {
            sum.merge(counts);
        }
        sum
    }
}

/// The rolling statistics of one cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    minutes: Ring,
    hours: Ring,
    total: Counts,
}

impl Default for Statistics {
    fn default() -> Self {
        Self { minutes: Ring::new(MINUTE, 60), hours: Ring::new(HOUR, 7 * 24), total: Counts::default() }
    }
}

/// Counts of one window as they are shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowSummary {
    /// All lookups, bypasses included.
    pub lookups: u64,
    /// Answered by an entry of the same text.
    pub exact_hits: u64,
    /// Answered by an entry of a near text.
    pub semantic_hits: u64,
    /// Answered by nothing.
    pub misses: u64,
    /// Misses whose best candidate was within 0.03 below the threshold.
    pub near_misses: u64,
    /// Would-be hits that went to the provider, to be checked.
    pub audits: u64,
    /// Lookups that the cache had no say in.
    pub bypasses: u64,
    /// Hits ÷ lookups; 0 where there were none.
    pub hit_rate: f64,
    /// Best candidates' cosines: `[lower bound, count]`, empty bins omitted.
    pub best_cosine: Vec<(f32, u32)>,
}

/// What is shown of a cache's statistics.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The last five minutes, by the minute.
    pub last5_minutes: WindowSummary,
    /// The last hour, by the minute.
    pub last_hour: WindowSummary,
    /// The last day, by the hour.
    pub last_day: WindowSummary,
    /// The last week, by the hour.
    pub last_week: WindowSummary,
    /// Since the cache exists.
    pub total: WindowSummary,
}

impl Statistics {
    /// Counts a lookup that ended at `now`, in milliseconds since 1970.
    pub fn observe(&mut self, now: u64, seen: &Observation) {
        self.minutes.add(now, seen);
        self.hours.add(now, seen);
        self.total.add(seen);
    }

    /// The counts as of `now`.
    #[must_use]
    pub fn summary(&self, now: u64) -> Summary {
        Summary {
            last5_minutes: summary(&self.minutes.last(5 * MINUTE, now)),
            last_hour: summary(&self.minutes.last(HOUR, now)),
            last_day: summary(&self.hours.last(24 * HOUR, now)),
            last_week: summary(&self.hours.last(7 * 24 * HOUR, now)),
            total: summary(&self.total),
        }
    }
}

fn summary(counts: &Counts) -> WindowSummary {
    let hits = counts.exact_hits + counts.semantic_hits;
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no 2^53 precision")]
    let hit_rate = hits as f64 / counts.lookups.max(1) as f64;
    WindowSummary {
        lookups: counts.lookups,
        exact_hits: counts.exact_hits,
        semantic_hits: counts.semantic_hits,
        misses: counts.misses,
        near_misses: counts.near_misses,
        audits: counts.audits,
        bypasses: counts.bypasses,
        hit_rate,
        best_cosine: counts.best.bins().filter(|(_, count)| *count > 0).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(outcome: Outcome, best: f32) -> Observation {
        Observation { outcome, best: Some(Cosine::new(best)), min_cosine: Some(Cosine::new(0.9)) }
    }

    #[test]
    fn windows_roll_and_the_total_stays() {
        let mut statistics = Statistics::default();
        let start = 1_000 * HOUR;
        statistics.observe(start, &seen(Outcome::SemanticHit, 0.95));
        statistics.observe(start + 30 * MINUTE, &seen(Outcome::Miss, 0.88));
        let at = |minutes: u64| statistics.summary(start + minutes * MINUTE);
        assert_eq!((at(30).last_hour.lookups, at(30).last5_minutes.lookups), (2, 1));
        assert_eq!(at(61).last_hour.lookups, 1);
        assert_eq!((at(200).last_hour.lookups, at(200).last_day.lookups), (0, 2));
        assert_eq!((at(30 * 24 * 60).last_week.lookups, at(30 * 24 * 60).total.lookups), (0, 2));
    }

    #[test]
    fn a_near_miss_is_a_miss_just_below_the_threshold() {
        let mut statistics = Statistics::default();
        for (outcome, best) in [
            (Outcome::Miss, 0.88),
            (Outcome::Miss, 0.86),
            (Outcome::Miss, 0.93), // refused for another reason than its cosine
            (Outcome::SemanticHit, 0.91),
        ] {
            statistics.observe(5, &seen(outcome, best));
        }
        let total = statistics.summary(5).total;
        assert_eq!((total.misses, total.near_misses, total.semantic_hits), (3, 1, 1));
        assert!((total.hit_rate - 0.25).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn every_lookup_is_counted_once_and_memory_is_bounded(
            steps in prop::collection::vec((0u64..100 * HOUR, -1.0f32..=1.0, 0usize..5), 0..300)
        ) {
            let outcomes = [Outcome::ExactHit, Outcome::SemanticHit, Outcome::Miss, Outcome::Audit, Outcome::Bypass];
            let mut statistics = Statistics::default();
            for (now, best, outcome) in &steps {
                statistics.observe(*now, &seen(outcomes[*outcome], *best));
            }
            let total = statistics.summary(0).total;
            prop_assert_eq!(total.lookups, steps.len() as u64);
            let sum = total.exact_hits + total.semantic_hits + total.misses + total.audits + total.bypasses;
            prop_assert_eq!(sum, total.lookups);
            prop_assert_eq!(total.best_cosine.iter().map(|(_, count)| u64::from(*count)).sum::<u64>(), total.lookups);
            prop_assert!(statistics.minutes.buckets.len() <= 61 && statistics.hours.buckets.len() <= 7 * 24 + 1);
        }
    }
}
