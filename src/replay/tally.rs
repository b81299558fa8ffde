//! What became of a trace's requests under one policy.

use crate::decide::{Outcome, Share};

/// Requests between two checkpoints.
pub const CHECKPOINT: u64 = 1000;

/// Counts over some requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All requests.
    pub requests: u64,
    /// Answered by an entry of the same text.
    pub exact: u64,
    /// Answered by an entry of a near text.
    pub semantic: u64,
    /// Answered with another group's answer.
    pub wrong: u64,
}

impl Counts {
    /// Hits of both kinds ÷ requests.
    #[must_use]
    pub fn hit_rate(&self) -> Share {
        Share::new(self.exact + self.semantic, self.requests)
    }

    /// Wrong answers ÷ requests: what an error budget bounds.
    #[must_use]
    pub fn wrong_of_requests(&self) -> Share {
        Share::new(self.wrong, self.requests)
    }

    /// Wrong answers ÷ hits.
    #[must_use]
    pub fn wrong_of_hits(&self) -> Share {
        Share::new(self.wrong, self.exact + self.semantic)
    }

    fn add(&mut self, outcome: Outcome, is_wrong: bool) {
        self.requests += 1;
        self.exact += u64::from(outcome == Outcome::ExactHit);
        self.semantic += u64::from(outcome == Outcome::SemanticHit);
        self.wrong += u64::from(is_wrong);
    }
}

/// Counts over a whole trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Of all requests.
    pub all: Counts,
    /// Of the second half, when the cache is warm.
    pub second_half: Counts,
    /// Of all requests until then, every [`CHECKPOINT`].
    pub checkpoints: Vec<Counts>,
}

impl Tally {
    /// Counts request `number`, from 0, of `length`.
    pub fn add(&mut self, number: u64, length: u64, outcome: Outcome, is_wrong: bool) {
        self.all.add(outcome, is_wrong);
        if number >= length / 2 {
            self.second_half.add(outcome, is_wrong);
        }
        if self.all.requests.is_multiple_of(CHECKPOINT) {
            self.checkpoints.push(self.all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_and_checkpoints_add_up() {
        let mut tally = Tally::default();
        for number in 0..2500 {
            let outcome = [Outcome::Miss, Outcome::SemanticHit, Outcome::ExactHit][number % 3];
            tally.add(number as u64, 2500, outcome, number % 30 == 1);
        }
        assert_eq!((tally.all.requests, tally.second_half.requests, tally.checkpoints.len()), (2500, 1250, 2));
        assert_eq!((tally.all.exact, tally.all.semantic, tally.all.wrong), (833, 833, 84));
        assert_eq!(tally.checkpoints[1].requests, 2000);
        assert!((tally.all.wrong_of_hits().value() - 84.0 / 1666.0).abs() < 1e-12);
    }
}
