//! Decisions whose question a provider was asked: its answer is their label.
//!
//! They have room of their own. Were they kept among all decisions, hits by the thousand would push them out before their
//! answer is here.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::decision::DecisionId;
use crate::decide::Assessment;
use crate::store::{ScopeKey, TextHash, Timestamp};

/// What one takes, about.
const BYTES: usize = 1 << 10;
/// Decisions that wait at once, of one cache. Arbitrary: at 1,800 misses a second, answers may take
/// ten seconds in the mean.
const MAX_AWAITED: usize = 20_000;
/// How long an answer is waited for: as long as a provider's call may take by default. What is older was never stored.
const LIFETIME_MILLIS: u64 = 30 * 60 * 1000;

/// Places of those that no longer wait, before they are given up; arbitrary.
const SPARE: usize = 1000;

/// What was asked.
type Question = (ScopeKey, TextHash);

struct Waiting {
    id: DecisionId,
    assessment: Arc<Assessment>,
    since: Timestamp,
}

/// The decisions of one cache that wait for an answer.
#[derive(Default)]
pub(super) struct AwaitedLabels {
    waiting: HashMap<Question, Waiting>,
    /// In the order in which they came. One that was asked again or answered since stands here for nothing.
    by_age: VecDeque<(DecisionId, Question)>,
}

impl AwaitedLabels {
    /// Waits for the answer to `question`. Returns how many others are no longer waited for, because there are too many.
    pub(super) fn add(
        &mut self,
        question: Question,
        id: DecisionId,
        assessment: Arc<Assessment>,
        now: Timestamp,
    ) -> usize {
        self.waiting.insert(question, Waiting { id, assessment, since: now });
        self.by_age.push_back((id, question));
        // One that waits long at the front keeps those behind it that no longer do.
        if self.by_age.len() > 2 * self.waiting.len() + SPARE {
            self.by_age.retain(|(id, question)| self.waiting.get(question).is_some_and(|waiting| waiting.id == *id));
        }
        let mut lost = 0;
        while let Some((id, question)) = self.by_age.front().copied() {
            let waits = self.waiting.get(&question).filter(|waiting| waiting.id == id);
            let is_old = waits.is_some_and(|waiting| now.since(waiting.since) > LIFETIME_MILLIS);
            let is_one_too_many = waits.is_some() && self.waiting.len() > MAX_AWAITED;
            if waits.is_some() && !is_old && !is_one_too_many {
                break;
            }
            if is_old || is_one_too_many {
                self.waiting.remove(&question);
            }
            lost += usize::from(is_one_too_many && !is_old);
            self.by_age.pop_front();
        }
        lost
    }

    /// The decision after which the provider was asked this; each is given once.
    pub(super) fn take(&mut self, question: Question) -> Option<(DecisionId, Arc<Assessment>)> {
        self.waiting.remove(&question).map(|waiting| (waiting.id, waiting.assessment))
    }

    /// What they take in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.waiting.len() * BYTES
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.by_age.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Verdict;
    use crate::store::CacheKey;

    fn assessment() -> Arc<Assessment> {
        let (candidates, raw, p_correct) = (Vec::new(), Vec::new(), Vec::new());
        let (best, cut, verdict, audit_rate) = (None, 0.0, Verdict::Rejected, 0.0);
        Arc::new(Assessment { candidates, raw, p_correct, best, cut, verdict, audit_rate })
    }

    fn question(n: usize) -> Question {
        (ScopeKey::new(CacheKey::new("t", "c"), &[0; 32]), TextHash::of(&n.to_string()))
    }

    fn id() -> DecisionId {
        uuid::Uuid::now_v7().simple().to_string().parse().unwrap()
    }

    #[test]
    fn each_is_given_once_and_asking_again_takes_its_place() {
        let mut awaited = AwaitedLabels::default();
        let (first, second) = (id(), id());
        awaited.add(question(0), first, assessment(), Timestamp(0));
        awaited.add(question(0), second, assessment(), Timestamp(1));
        assert_eq!(awaited.take(question(0)).map(|(id, _)| id), Some(second));
        assert!(awaited.take(question(0)).is_none());
    }

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let mut awaited = AwaitedLabels::default();
        let lost = |awaited: &mut AwaitedLabels, n| awaited.add(question(n), id(), assessment(), Timestamp(0));
        assert_eq!((0..MAX_AWAITED).map(|n| lost(&mut awaited, n)).sum::<usize>(), 0);
        // What was answered leaves its room.
        assert!(awaited.take(question(0)).is_some());
        assert_eq!(lost(&mut awaited, MAX_AWAITED), 0);
        assert_eq!(lost(&mut awaited, MAX_AWAITED + 1), 1);
        assert!(awaited.take(question(1)).is_none() && awaited.take(question(2)).is_some());
    }

    #[test]
    fn what_is_never_answered_goes_after_a_while_and_is_no_loss() {
        let mut awaited = AwaitedLabels::default();
        awaited.add(question(0), id(), assessment(), Timestamp(0));
        assert_eq!(awaited.add(question(1), id(), assessment(), Timestamp(LIFETIME_MILLIS)), 0);
        assert_eq!(awaited.waiting.len(), 2);
        assert_eq!(awaited.add(question(2), id(), assessment(), Timestamp(LIFETIME_MILLIS + 1)), 0);
        assert!(awaited.take(question(0)).is_none() && awaited.take(question(1)).is_some());
        assert_eq!((awaited.waiting.len(), awaited.by_age.len()), (1, 2));
    }

    #[test]
    fn questions_that_are_asked_over_and_over_take_no_room() {
        let mut awaited = AwaitedLabels::default();
        // Behind one that is never answered.
        awaited.add(question(7), id(), assessment(), Timestamp(0));
        for n in 0..3 * MAX_AWAITED {
            awaited.add(question(n % 7), id(), assessment(), Timestamp(0));
            awaited.take(question(n % 7));
        }
        assert!(awaited.waiting.len() == 1 && awaited.by_age.len() <= SPARE + 4);
    }
}
