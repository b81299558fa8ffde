//! Which error is still worth serving: the budget goes to the surest requests.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::params::ErrorBudget;
use super::tunables::AllocationTunables;

/// Spends one budget over a rolling window of requests.
///
/// Over the predicted errors e of all requests in the window, the cut κ is the largest with mean(e·\[e ≤ κ\]) ≤ δ·safety. Of all
/// ways to spend the same expected error, this one serves the most requests (the argument of Neyman and Pearson). Beside it a ledger of what was
/// really served in the window keeps a change of traffic from spending more before the cut has followed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct BudgetAllocator {
    /// Predicted error of each request in the window, and whether it was served.
    window: VecDeque<(f32, bool)>,
    spent: f64,
    cut: f32,
    since_cut: u32,
    /// What the cut was made for. Not stored: it is made anew after a restart.
    #[serde(skip)]
    cut_for: Option<ErrorBudget>,
}

impl BudgetAllocator {
    /// The largest predicted error that is served now.
    #[must_use]
    pub(super) fn cut(&self) -> f64 {
        f64::from(self.cut)
    }

    /// Whether a request with this predicted error is within the budget.
    #[must_use]
    pub(super) fn affords(&self, error: f64, budget: ErrorBudget, tunables: &AllocationTunables) -> bool {
        error <= self.cut() && self.spent + error <= self.allowed(budget, tunables)
    }

    /// Makes the cut anew if that is due. Call it before a request is judged. `calibration` is what predicted errors had to be multiplied
    /// by to come true.
    pub(super) fn update_cut(
        &mut self,
        budget: ErrorBudget,
        calibration: impl FnOnce() -> f64,
        tunables: &AllocationTunables,
    ) {
        let is_for_this = self.cut_for == Some(budget);
        if is_for_this && self.since_cut < tunables.cut_every && !self.window.is_empty() {
            return;
        }
        (self.since_cut, self.cut_for) = (0, Some(budget));
        let mut errors: Vec<f32> = self.window.iter().map(|(error, _)| *error).collect();
        errors.sort_unstable_by(f32::total_cmp);
        let mut left = self.allowed(budget, tunables);
        let ceiling = ceiling(budget, calibration(), tunables);
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
    pub(super) fn record(&mut self, error: f64, served: bool, tunables: &AllocationTunables) {
        #[expect(clippy::cast_possible_truncation, reason = "an error needs no more than f32")]
        self.window.push_back((error as f32, served));
        self.spent += if served { error } else { 0.0 };
        if self.window.len() > tunables.window
            && let Some((error, true)) = self.window.pop_front()
        {
            self.spent = (self.spent - f64::from(error)).max(0.0);
        }
        self.since_cut += 1;
    }

    /// Expected wrong answers that the requests of the window allow.
    #[expect(clippy::cast_precision_loss, reason = "a window's length")]
    fn allowed(&self, budget: ErrorBudget, tunables: &AllocationTunables) -> f64 {
        budget.get() * tunables.safety * (self.window.len() as f64 + tunables.advance)
    }
}

/// The largest predicted error that is served, whatever the sum: a low one where predictions were too good, up to a higher one where they
/// come true.
fn ceiling(budget: ErrorBudget, calibration: f64, tunables: &AllocationTunables) -> f64 {
    let cautious = tunables.cautious_ceiling.min(tunables.cautious_of_budget * budget.get());
    let trusting = tunables.ceiling.min(tunables.ceiling_of_root * budget.get().sqrt());
    let (trusted, doubted) = tunables.trusted;
    let trust = ((doubted - calibration) / (doubted - trusted)).clamp(0.0, 1.0);
    cautious + trust * (trusting - cautious).max(0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decide::tunables::Tunables;

    fn budget(share: f64) -> ErrorBudget {
        ErrorBudget::new(share).unwrap()
    }

    fn run(errors: impl Iterator<Item = f64>, share: f64) -> (f64, usize, usize) {
        let tunables = &Tunables::shipped().allocation;
        let mut allocator = BudgetAllocator::default();
        let (mut spent, mut served, mut all) = (0.0, 0, 0);
        for error in errors {
            allocator.update_cut(budget(share), || 1.0, tunables);
            let serves = allocator.affords(error, budget(share), tunables);
            allocator.record(error, serves, tunables);
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
    fn another_budget_counts_from_the_next_request_on() {
        let tunables = &Tunables::shipped().allocation;
        let mut allocator = BudgetAllocator::default();
        let mut serves = |error, share| {
            allocator.update_cut(budget(share), || 1.0, tunables);
            let serves = allocator.affords(error, budget(share), tunables);
            allocator.record(error, serves, tunables);
            serves
        };
        let error = tunables.ceiling_of_root * 0.01f64.sqrt() * 1.1;
        assert!(serves(error, 0.05));
        assert!(!serves(error, 0.01), "it is above the ceiling of this one");
        assert!(serves(error, 0.05));
    }

    #[test]
    fn doubtful_guesses_are_served_only_where_predictions_come_true() {
        let tunables = &Tunables::shipped().allocation;
        let (trusted, doubted) = tunables.trusted;
        let of = |share, calibration| ceiling(budget(share), calibration, tunables);
        for share in [0.001, 0.01, 0.02, 0.05, 0.2] {
            let (high, middle, low) = (of(share, trusted), of(share, (trusted + doubted) / 2.0), of(share, doubted));
            assert!(high >= middle && middle >= low, "{share}: {high} {middle} {low}");
            assert!((low - (4.6 * share).min(0.23)).abs() < 1e-9, "{low}");
        }
        assert!(of(0.01, 1.0) > 2.0 * of(0.01, 5.0));
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
            let tunables = Tunables::shipped().allocation;
            #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
            let allowed = share * tunables.safety * (all as f64 + 2.0 * tunables.advance);
            prop_assert!(spent <= allowed * 1.001, "{} of {}", spent, allowed);
        }
    }
}
