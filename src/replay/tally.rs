//! What became of a trace's requests under one policy.

use crate::cache::{Considered, Decision};
use crate::decide::{Outcome, Share};
use crate::store::EntryId;

/// Requests between two checkpoints.
pub const CHECKPOINT: u64 = 1000;
/// Bins of predicted probabilities, and of cosines.
const BINS: usize = 40;

/// Counts over some requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All requests.
    pub requests: u64,
    /// Answered by an entry of the same text.
    pub exact: u64,
    /// Answered by an entry of a near text.
    pub semantic: u64,
    /// Would-be hits that the provider was asked for.
    pub audits: u64,
    /// Answered with another group's answer.
    pub wrong: u64,
}

/// What was seen of one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// How its lookup ended.
    pub outcome: Outcome,
    /// Whether the answer that was served was right, where one was.
    pub served: Option<bool>,
    /// The best candidate's cosine, the probability that was predicted for it, and whether it was right; of rules that predict.
    pub best: Option<(f32, f64, bool)>,
    /// The nearest candidate's cosine, and whether it was right.
    pub nearest: Option<(f32, bool)>,
}

/// Those of a bin that were right, of all, and what was predicted for all of them together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bin {
    /// How many were right.
    pub right: Share,
    /// Sum of the predictions.
    pub predicted: f64,
}

/// Counts over a whole trace.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Of all requests.
    pub all: Counts,
    /// Of the second half, when the cache is warm.
    pub second_half: Counts,
    /// Of all requests until then, every [`CHECKPOINT`].
    pub checkpoints: Vec<Counts>,
    /// By predicted probability, from 0 to 1.
    pub calibration: Vec<Bin>,
    /// By the nearest candidate's cosine, from 0 to 1.
    pub cosines: Vec<Share>,
    /// The requests after which the alarm sounded.
    pub alarms: Vec<u64>,
    /// Of all decisions in their order; see [`Digest`].
    pub digest: Digest,
}

/// A hash of decisions: builds with equal ones decide alike, bit by bit.
#[derive(Debug, Clone, Default)]
pub struct Digest(blake3::Hasher);

impl Digest {
    /// Adds how a decision ended, what it predicted, and what it thought of each candidate. Names of reasons don't count.
    pub fn add(&mut self, decision: &Decision, served: Option<EntryId>) {
        self.text(decision.outcome.name());
        self.number(decision.p_correct);
        self.text(&served.map(|entry| entry.to_string()).unwrap_or_default());
        for Considered { entry, cosine, verdict, curated } in &decision.candidates {
            self.text(&entry.to_string());
            self.number(Some(f64::from(cosine.get())));
            self.number(verdict.p_correct);
            self.0.update(&[u8::from(*curated), u8::try_from(verdict.rejections.len()).unwrap_or(u8::MAX)]);
        }
    }

    fn text(&mut self, text: &str) {
        self.0.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }

    fn number(&mut self, number: Option<f64>) {
        self.0.update(&number.map_or(u64::MAX, f64::to_bits).to_le_bytes());
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.finalize().to_hex().get(..32).unwrap_or_default().fmt(f)
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            all: Counts::default(),
            second_half: Counts::default(),
            checkpoints: Vec::new(),
            calibration: vec![Bin::default(); BINS],
            cosines: vec![Share::default(); BINS],
            alarms: Vec::new(),
            digest: Digest::default(),
        }
    }
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
        self.audits += u64::from(outcome == Outcome::Audit);
        self.wrong += u64::from(is_wrong);
    }
}

impl Tally {
    /// Counts request `number`, from 0, of `length`.
    pub fn add(&mut self, number: u64, length: u64, seen: &Seen) {
        let is_wrong = seen.served == Some(false);
        self.all.add(seen.outcome, is_wrong);
        if number >= length / 2 {
            self.second_half.add(seen.outcome, is_wrong);
        }
        if self.all.requests.is_multiple_of(CHECKPOINT) {
            self.checkpoints.push(self.all);
        }
        if let Some((_, predicted, right)) = seen.best
            && let Some(bin) = self.calibration.get_mut(bin(predicted))
        {
            bin.right = count(bin.right, right);
            bin.predicted += predicted;
        }
        if let Some((cosine, right)) = seen.nearest
            && let Some(share) = self.cosines.get_mut(bin(f64::from(cosine)))
        {
            *share = count(*share, right);
        }
    }

    /// Lower bounds of the bins.
    #[expect(clippy::cast_precision_loss, reason = "a few bins")]
    #[must_use]
    pub fn bounds(number: usize) -> (f64, f64) {
        (number as f64 / BINS as f64, (number + 1) as f64 / BINS as f64)
    }
}

fn count(share: Share, right: bool) -> Share {
    Share::new(share.some + u64::from(right), share.all + 1)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "clamped to the bins"
)]
fn bin(value: f64) -> usize {
    (value * BINS as f64).clamp(0.0, BINS as f64 - 1.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_and_checkpoints_add_up() {
        let mut tally = Tally::default();
        for number in 0..2500 {
            let outcome = [Outcome::Miss, Outcome::SemanticHit, Outcome::ExactHit, Outcome::Audit][number % 4];
            let served = outcome.is_hit().then_some(number % 40 != 1);
            let best = Some((0.91, 0.97, number % 40 != 1));
            tally.add(number as u64, 2500, &Seen { outcome, served, best, nearest: Some((0.91, true)) });
        }
        assert_eq!((tally.all.requests, tally.second_half.requests, tally.checkpoints.len()), (2500, 1250, 2));
        assert_eq!((tally.all.exact, tally.all.semantic, tally.all.audits, tally.all.wrong), (625, 625, 625, 63));
        assert_eq!(tally.checkpoints[1].requests, 2000);
        assert!((tally.all.wrong_of_hits().value() - 63.0 / 1250.0).abs() < 1e-12);
        assert_eq!(tally.calibration[38].right, Share::new(2500 - 63, 2500));
        assert_eq!(tally.cosines[36].all, 2500);
    }
}
