//! Which answers say the same in other words.
//!
//! Each text is a class of its own at first. Where somebody found two to say the same, the later one is linked to the earlier one, with
//! all that was linked to it. So a class is a tree, and each link has what speaks for it: whoever finds two answers of one class to differ
//! doubts the weakest link between them, and when that breaks, all that hung on it leaves together.

use serde::{Deserialize, Serialize};

use super::answer::AnswerClass;
use super::bounded::BoundedMap;

/// Links, and pairs of classes of which something was said. Arbitrary.
const MAX: usize = 50_000;
/// Links from a class to its root. Arbitrary, beyond what comes to be.
const MAX_DEPTH: usize = 64;
/// Log-odds from which two classes are one: 73 %. Of 0.5 to 2, what served most where a judge errs in 4 % of the pairs.
const SAME: f32 = 1.0;
/// Log-odds from which on they are known to differ: two voices that are usually right.
const DIFFERENT: f32 = -4.0;
/// What was predicted counts no more than this, because who is asked reads the answers.
const MAX_PRIOR: f32 = 1.0;
/// What is said again and again counts no more than this.
const MAX_LOG_ODDS: f32 = 8.0;

/// The classes of a cache's answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct AnswerClasses {
    links: BoundedMap<AnswerClass, Link, MAX>,
    /// Log-odds that the classes of two roots say the same.
    odds: BoundedMap<(AnswerClass, AnswerClass), f32, MAX>,
}

/// A class is a part of another one's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Link {
    to: AnswerClass,
    /// Log-odds that they say the same.
    odds: f32,
}

/// What somebody found of two answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evidence {
    /// They say the same.
    pub(super) same: bool,
    /// How often who says so is right.
    pub(super) reliability: f64,
    /// How probable it was before that they say the same.
    pub(super) predicted: f64,
}

/// One class became a part of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) part: AnswerClass,
    pub(super) whole: AnswerClass,
}

impl AnswerClasses {
    /// The root of the class that `class` is a part of.
    pub(super) fn whole(&self, class: AnswerClass) -> AnswerClass {
        self.up_from(class).last().unwrap_or(class)
    }

    /// Whether two answers say the same, as far as that is known.
    pub(super) fn agree(&self, a: AnswerClass, b: AnswerClass) -> Option<bool> {
        let (a, b) = (self.whole(a), self.whole(b));
        if a == b {
            return Some(true);
        }
        let odds = self.odds.get(&pair(a, b)).copied().unwrap_or_default();
        (odds <= DIFFERENT).then_some(false)
    }

    /// Somebody compared `later` with `earlier`.
    pub(super) fn add(&mut self, earlier: AnswerClass, later: AnswerClass, evidence: Evidence) -> Option<Joined> {
        let (whole, part) = (self.whole(earlier), self.whole(later));
        if whole == part {
            self.doubt_or_confirm(earlier, later, evidence.weight());
            return None;
        }
        let mut sum = 0.0;
        let is_new = self.odds.get(&pair(whole, part)).is_none();
        self.odds.update(pair(whole, part), |odds| {
            let before = if is_new { evidence.prior() } else { *odds };
            *odds = (before + evidence.weight()).clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS);
            sum = *odds;
        });
        if sum < SAME {
            return None;
        }
        self.links.insert(part, Link { to: earlier, odds: sum });
        Some(Joined { part, whole })
    }

    /// Something was said of two answers of one class.
    fn doubt_or_confirm(&mut self, a: AnswerClass, b: AnswerClass, weight: f32) {
        let (from_a, from_b): (Vec<_>, Vec<_>) = (self.up_from(a).collect(), self.up_from(b).collect());
        let between = from_b.iter().filter(|class| !from_a.contains(class));
        let between = between.chain(from_a.iter().filter(|class| !from_b.contains(class)));
        let linked = between.filter_map(|class| Some((*class, *self.links.get(class)?)));
        let Some((class, link)) = linked.min_by(|(_, a), (_, b)| a.odds.total_cmp(&b.odds)) else { return };
        let odds = (link.odds + weight).min(MAX_LOG_ODDS);
        if odds < SAME {
            self.links.remove(&class);
        } else {
            self.links.insert(class, Link { odds, ..link });
        }
    }

    /// `class`, what it is linked to, and so on up to the root.
    fn up_from(&self, class: AnswerClass) -> impl Iterator<Item = AnswerClass> {
        let next = |class: &AnswerClass| self.links.get(class).map(|link| link.to);
        std::iter::successors(Some(class), next).take(MAX_DEPTH)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "log-odds are f32")]
impl Evidence {
    fn weight(self) -> f32 {
        let reliability = self.reliability.clamp(0.5, 0.99);
        let weight = (reliability / (1.0 - reliability)).ln() as f32;
        if self.same { weight } else { -weight }
    }

    fn prior(self) -> f32 {
        let predicted = self.predicted.clamp(0.01, 0.99);
        ((predicted / (1.0 - predicted)).ln() as f32).clamp(-MAX_PRIOR, MAX_PRIOR)
    }
}

fn pair(a: AnswerClass, b: AnswerClass) -> (AnswerClass, AnswerClass) {
    (a.min(b), a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: AnswerClass = AnswerClass(1);
    const B: AnswerClass = AnswerClass(2);
    const C: AnswerClass = AnswerClass(3);
    const D: AnswerClass = AnswerClass(4);

    fn says(same: bool, predicted: f64) -> Evidence {
        Evidence { same, reliability: 0.95, predicted }
    }

    #[test]
    fn what_was_found_to_agree_is_one_transitively() {
        let mut classes = AnswerClasses::default();
        assert_eq!((classes.agree(A, A), classes.agree(A, B)), (Some(true), None));
        assert_eq!(classes.add(A, B, says(true, 0.5)), Some(Joined { part: B, whole: A }));
        assert_eq!(classes.add(C, D, says(true, 0.5)), Some(Joined { part: D, whole: C }));
        assert_eq!(classes.agree(B, D), None);
        assert_eq!(classes.add(B, D, says(true, 0.5)), Some(Joined { part: C, whole: A }));
        assert!([B, C, D].into_iter().all(|class| classes.whole(class) == A));
        assert_eq!(classes.add(B, C, says(true, 0.5)), None, "nothing is new");
    }

    #[test]
    fn a_surprise_by_who_often_errs_needs_a_second_voice() {
        let mut classes = AnswerClasses::default();
        let surprise = Evidence { reliability: 0.8, ..says(true, 0.1) };
        assert_eq!(classes.add(A, B, surprise), None);
        assert_eq!(classes.agree(A, B), None);
        assert!(classes.add(A, B, surprise).is_some());
        // Nor does one voice part what may be one for all that comes later.
        classes.add(A, C, says(false, 0.5));
        assert_eq!(classes.agree(B, C), None);
        classes.add(B, C, says(false, 0.5));
        assert_eq!(classes.agree(A, C), Some(false));
    }

    #[test]
    fn the_weakest_link_breaks_and_what_hung_on_it_leaves_together() {
        let mut classes = AnswerClasses::default();
        // B doesn't belong to A, but was once mistaken for it; C and D are the same as B.
        classes.add(A, B, says(true, 0.4));
        classes.add(B, C, says(true, 0.8));
        classes.add(C, D, says(true, 0.8));
        assert_eq!(classes.whole(D), A);
        classes.add(A, D, says(false, 0.5));
        assert_eq!([B, C, D].map(|class| classes.whole(class)), [B; 3]);
        assert_eq!(classes.whole(A), A);
    }

    #[test]
    fn what_is_confirmed_holds() {
        let mut classes = AnswerClasses::default();
        classes.add(A, B, says(true, 0.5));
        classes.add(A, B, says(true, 0.5));
        classes.add(A, B, says(false, 0.5));
        assert_eq!(classes.agree(A, B), Some(true));
    }

    #[test]
    fn a_circle_ends() {
        let mut classes = AnswerClasses::default();
        for (from, to) in [(A, B), (B, A)] {
            classes.links.insert(from, Link { to, odds: 3.0 });
        }
        classes.whole(A);
        classes.add(A, B, says(false, 0.5));
    }
}
