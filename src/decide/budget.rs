//! Which error is still worth serving: the budget goes to the surest requests.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// A bound on wrong answers ÷ requests.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct ErrorBudget(f64);

impl ErrorBudget {
    /// None where it isn't between 0 and 0.5.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=0.5).contains(&share).then_some(Self(share))
    }

    /// Wrong answers ÷ requests.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

/// Share of the budget that predictions may spend: they are estimates, and the budget is to hold at any time, not on average.
const SAFETY: f64 = 0.85;
/// Requests that the cut is made from.
const WINDOW: usize = 1000;
/// The cut is made anew after so many.
const EVERY: u32 = 20;
/// Requests beyond those seen whose budget may be spent in advance, so that the first sure hit of all is served.
const ADVANCE: f64 = 25.0;
/// An answer that is more likely wrong than this is never served, whatever the budget: nobody wants coins tossed.
const CEILING: f64 = 0.23;
/// Nor is one that is more likely wrong than this multiple of the budget: whoever wants few wrong answers doesn't want them all from a
/// few wild guesses.
const WILD: f64 = 4.6;

/// The rolling account of one budget.
///
/// Over a window of the predicted errors e of all requests, the cut κ is the largest with mean(e·\[e ≤ κ\]) ≤ δ·[`SAFETY`]. Of all
/// ways to spend the same expected error, this one serves the most requests (the argument of Neyman and Pearson). Beside it a ledger of what was
/// really served in the window keeps a change of traffic from spending more before the cut has followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Account {
    /// Predicted error of each request in the window, and whether it was served.
    window: VecDeque<(f32, bool)>,
    spent: f64,
    cut: f32,
    since_cut: u32,
}

impl Default for Account {
    fn default() -> Self {
        Self { window: VecDeque::new(), spent: 0.0, cut: 0.0, since_cut: EVERY }
    }
}

impl Account {
    /// The largest predicted error that is served now.
    #[must_use]
    pub(super) fn cut(&self) -> f64 {
        f64::from(self.cut)
    }

    /// Whether a request with this predicted error is within the budget.
    #[must_use]
    pub(super) fn affords(&self, error: f64, budget: ErrorBudget) -> bool {
        let allowed = budget.get() * SAFETY * (self.len() + ADVANCE);
        error <= self.cut() && self.spent + error <= allowed
    }

    /// Makes the cut anew if that is due. Call it before a request is judged.
    pub(super) fn keep_up(&mut self, budget: ErrorBudget) {
        if self.since_cut < EVERY && !self.window.is_empty() {
            return;
        }
        self.since_cut = 0;
        let mut errors: Vec<f32> = self.window.iter().map(|(error, _)| *error).collect();
        errors.sort_unstable_by(f32::total_cmp);
        let mut left = budget.get() * SAFETY * (self.len() + ADVANCE);
        let ceiling = CEILING.min(WILD * budget.get());
        // What would be affordable beyond all that was seen.
        #[expect(clippy::cast_possible_truncation, reason = "an error needs no more than f32")]
        let mut cut = ceiling as f32;
        for error in errors {
            left -= f64::from(error);
            if left < 0.0 {
                cut = cut.min(error);
                break;
            }
        }
        self.cut = cut;
    }

    /// A request ended: with this predicted error of its best candidate, served or not.
    pub(super) fn book(&mut self, error: f64, served: bool) {
        #[expect(clippy::cast_possible_truncation, reason = "an error needs no more than f32")]
        self.window.push_back((error as f32, served));
        self.spent += if served { error } else { 0.0 };
        if self.window.len() > WINDOW
            && let Some((error, true)) = self.window.pop_front()
        {
            self.spent = (self.spent - f64::from(error)).max(0.0);
        }
        self.since_cut += 1;
    }

    #[expect(clippy::cast_precision_loss, reason = "a window's length")]
    fn len(&self) -> f64 {
        self.window.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn budget(share: f64) -> ErrorBudget {
        ErrorBudget::new(share).unwrap()
    }

    fn run(errors: impl Iterator<Item = f64>, share: f64) -> (f64, usize, usize) {
        let mut account = Account::default();
        let (mut spent, mut served, mut all) = (0.0, 0, 0);
        for error in errors {
            account.keep_up(budget(share));
            let serves = account.affords(error, budget(share));
            account.book(error, serves);
            spent += if serves { error } else { 0.0 };
            served += usize::from(serves);
            all += 1;
        }
        (spent, served, all)
    }

    #[test]
    fn a_sure_hit_is_served_first_of_all_and_a_coin_toss_never() {
        assert_eq!(run([0.01].into_iter(), 0.02).1, 1);
        assert_eq!(run(std::iter::repeat_n(0.45, 5000), 0.05).1, 0);
        assert_eq!(run(std::iter::repeat_n(0.0, 100), 0.0).1, 100);
        assert_eq!(run(std::iter::repeat_n(0.001, 100), 0.0).1, 0);
    }

    #[test]
    fn the_budget_goes_to_the_surest() {
        let mixed = || (0..4000).map(|n| [0.005, 0.9, 0.06, 0.95][n % 4]);
        let (_, served, _) = run(mixed(), 0.005);
        // The sure quarter costs 0.00125 a request, so three quarters of the rest of the budget go to those at 0.06.
        assert!((1000..2000).contains(&served), "{served}");
        let (_, served, _) = run(mixed(), 0.05);
        assert!(served > 1900, "{served}");
    }

    proptest! {
        #[test]
        fn what_is_spent_stays_within_the_budget(
            errors in prop::collection::vec(0.0f64..1.0, 1..3000), share in 0.001f64..0.3, power in 1.0f64..6.0
        ) {
            let (spent, _, all) = run(errors.into_iter().map(|error| error.powf(power)), share);
            #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
            let allowed = share * SAFETY * (all as f64 + 2.0 * ADVANCE);
            prop_assert!(spent <= allowed * 1.001, "{} of {}", spent, allowed);
        }
    }
}
