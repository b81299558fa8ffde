//! What each decision changes: how much of the budget is spent, and how doubtful hits are in the mean.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::allocator::BudgetAllocator;
use super::assessment::Verdict;
use super::auditor::MeanDoubt;
use super::knowledge::Knowledge;
use super::params::PolicyParams;
use super::tunables::Tunables;

/// The account of a cache's budget. Decisions are booked one after the other, because what one spends the next can't; that takes
/// less than a microsecond, and now and then as long as the window takes to sort.
#[derive(Debug)]
pub struct Spending(Mutex<SpendingState>);

/// The same as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpendingState {
    pub(super) allocator: BudgetAllocator,
    pub(super) mean_doubt: MeanDoubt,
}

impl Default for SpendingState {
    fn default() -> Self {
        Self { allocator: BudgetAllocator::default(), mean_doubt: MeanDoubt::new(&Tunables::shipped().audit) }
    }
}

impl Default for Spending {
    fn default() -> Self {
        Self::from(SpendingState::default())
    }
}

impl From<SpendingState> for Spending {
    fn from(state: SpendingState) -> Self {
        Self(Mutex::new(state))
    }
}

/// What was decided, and what it was decided by.
pub(super) struct Booked {
    pub(super) verdict: Verdict,
    pub(super) cut: f64,
    pub(super) audit_rate: f64,
}

impl Spending {
    /// The largest predicted error that is served now.
    #[must_use]
    pub fn cut(&self) -> f64 {
        self.0.lock().allocator.cut()
    }

    /// As it is stored.
    #[must_use]
    pub fn state(&self) -> SpendingState {
        self.0.lock().clone()
    }

    /// From now on it is as it was stored.
    pub fn restore(&self, state: SpendingState) {
        *self.0.lock() = state;
    }

    /// Decides about a best candidate with this predicted error, 1 where there is none, and books it. `sample` is a number from 0 to
    /// 1 that nobody can foresee; it decides whether a would-be hit is audited.
    pub(super) fn book(
        &self,
        error: f64,
        max_error: Option<f64>,
        knowledge: &Knowledge,
        params: &PolicyParams,
        sample: f64,
    ) -> Booked {
        let Tunables { allocation, audit, .. } = params.tunables;
        let SpendingState { allocator, mean_doubt } = &mut *self.0.lock();
        allocator.update_cut(params.budget, || knowledge.calibration(params.tunables), allocation);
        let cut = allocator.cut();
        let audit_rate = knowledge.auditor.chance(error, knowledge.usual_audits(params), *mean_doubt, audit);
        let is_affordable = allocator.affords(error, params.budget, allocation);
        let verdict = if !is_affordable || max_error.is_some_and(|most| error > most) {
            Verdict::Rejected
        } else if knowledge.drift.is_alarmed() {
            Verdict::AnswersChanged
        } else if sample < audit_rate {
            Verdict::Audited
        } else {
            Verdict::Served
        };
        allocator.record(error, verdict == Verdict::Served, allocation);
        if verdict.would_hit() {
            mean_doubt.add(error, audit);
        }
        Booked { verdict, cut, audit_rate }
    }

    /// What was known of hits is of another time.
    pub(super) fn forget_doubt(&self) {
        self.0.lock().mean_doubt = SpendingState::default().mean_doubt;
    }
}
