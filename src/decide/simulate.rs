//! What recorded decisions would have come to under other budgets or thresholds.

use serde::Serialize;

use super::allocator::BudgetAllocator;
use super::params::ErrorBudget;
use super::share::{Sample, Share};
use super::tunables::Tunables;

/// One recorded decision, as far as that matters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recorded {
    /// The nearest candidate's cosine, where there was one.
    pub cosine: Option<f32>,
    /// The predicted error of the best candidate, where the rule predicts.
    pub error: Option<f64>,
    /// Whether the same text was answered: under any rule.
    pub exact: bool,
    /// Whether it was sure enough to be served then. Of these, audits are labelled, and speak for the others.
    pub would_hit: bool,
    /// With what probability its label was asked for.
    pub chance: f64,
    /// Whether the best candidate was right, where a fresh answer told. What was served is not labelled by chance, so
    /// what its readers say is left out.
    pub label: Option<bool>,
}

/// What another setting would have come to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outlook {
    /// The budget, or the threshold, that is assumed.
    pub at: f64,
    /// Requests.
    pub requests: u64,
    /// Those that would have been answered from the cache.
    pub hits: u64,
    /// Hits ÷ requests.
    pub hit_rate: f64,
    /// Its 95 % interval.
    pub hit_rate_interval: (f64, f64),
    /// Wrong answers ÷ requests as far as labels tell, or none where there are none.
    pub wrong_of_requests: Option<f64>,
    /// Its 95 % interval; from 0 to the hit rate where there are no labels.
    pub wrong_interval: (f64, f64),
    /// Labels that this rests on.
    pub labels: u64,
}

/// What each budget would have come to, requests in the order in which they came. `calibration` is what predicted errors have to be
/// multiplied by now: see [`LearnerStatus`](super::LearnerStatus).
#[must_use]
pub fn under_budgets(recorded: &[Recorded], budgets: &[ErrorBudget], calibration: f64) -> Vec<Outlook> {
    let outlook = |budget: &ErrorBudget| {
        let tunables = &Tunables::shipped().allocation;
        let mut allocator = BudgetAllocator::default();
        let served = |one: &Recorded| {
            if one.exact {
                return true;
            }
            let error = one.error.unwrap_or(1.0);
            allocator.update_cut(*budget, || calibration, tunables);
            let serves = allocator.affords(error, *budget, tunables);
            allocator.record(error, serves, tunables);
            serves
        };
        outlook(budget.get(), recorded, served)
    };
    budgets.iter().map(outlook).collect()
}

/// What each fixed threshold, a plain cosine, would have come to.
#[must_use]
pub fn under_thresholds(recorded: &[Recorded], thresholds: &[f32]) -> Vec<Outlook> {
    let outlook = |threshold: &f32| {
        let served = |one: &Recorded| one.exact || one.cosine.is_some_and(|cosine| cosine >= *threshold);
        outlook(f64::from(*threshold), recorded, served)
    };
    thresholds.iter().map(outlook).collect()
}

/// Requests of one kind that would be served: how many, and what their labels say.
#[derive(Default)]
struct Stratum {
    served: u64,
    labelled: Sample,
}

impl Stratum {
    fn add(&mut self, chance: f64, label: Option<bool>) {
        self.served += 1;
        if let Some(right) = label {
            self.labelled.add(chance, !right);
        }
    }

    fn labels(&self) -> u64 {
        self.labelled.drawn().all
    }

    /// Wrong answers among those served: as many as labels say, at least, at most.
    #[expect(clippy::cast_precision_loss, reason = "counts of decisions")]
    fn wrong(&self) -> (f64, f64, f64) {
        let (low, high) = self.labelled.interval();
        let served = self.served as f64;
        (served * self.labelled.value(), served * low, served * high)
    }
}

/// Those that were sure are labelled by chance, in audits, and the others always: two strata, each with its own share.
#[expect(clippy::cast_precision_loss, reason = "counts of decisions")]
fn outlook(at: f64, recorded: &[Recorded], mut served: impl FnMut(&Recorded) -> bool) -> Outlook {
    let (mut hits, mut sure, mut unsure) = (0, Stratum::default(), Stratum::default());
    for one in recorded {
        if !served(one) {
            continue;
        }
        hits += 1;
        if !one.exact {
            if one.would_hit { &mut sure } else { &mut unsure }.add(one.chance, one.label);
        }
    }
    let requests = recorded.len() as u64;
    let all = (requests as f64).max(1.0);
    let ((a, a_low, a_high), (b, b_low, b_high)) = (sure.wrong(), unsure.wrong());
    let unknown = [&sure, &unsure].into_iter().any(|stratum| stratum.served > 0 && stratum.labels() == 0);
    let hit_rate = Share::new(hits, requests);
    Outlook {
        at,
        requests,
        hits,
        hit_rate: hit_rate.value(),
        hit_rate_interval: hit_rate.interval(),
        wrong_of_requests: (!unknown).then_some((a + b) / all),
        wrong_interval: ((a_low + b_low) / all, (a_high + b_high) / all),
        labels: sure.labels() + unsure.labels(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded() -> Vec<Recorded> {
        // Of four: one exact, one sure and audited now and then, one refused and right half the time, one hopeless.
        let one = |n: usize| {
            let (exact, cosine, error, would_hit, label) = match n % 4 {
                0 => (true, None, None, false, None),
                1 => (false, Some(0.95), Some(0.01), true, (n % 40 == 1).then_some(n % 400 != 1)),
                2 => (false, Some(0.85), Some(0.15), false, Some(n % 20 != 2)),
                _ => (false, Some(0.5), Some(0.95), false, Some(false)),
            };
            Recorded { cosine, error, exact, would_hit, chance: if would_hit { 0.1 } else { 1.0 }, label }
        };
        (0..4000).map(one).collect()
    }

    #[test]
    fn thresholds_serve_what_is_near_and_labels_say_how_wrong_that_is() {
        let [strict, middle, loose] = under_thresholds(&recorded(), &[0.9, 0.8, 0.4])[..] else { panic!() };
        assert_eq!((strict.hits, middle.hits, loose.hits), (2000, 3000, 4000));
        // A tenth of the audits was wrong, a fifth of what was refused at 0.85.
        assert!((strict.wrong_of_requests.unwrap() - 0.025).abs() < 1e-9, "{strict:?}");
        assert!((middle.wrong_of_requests.unwrap() - 0.075).abs() < 1e-9, "{middle:?}");
        assert!(loose.wrong_of_requests.unwrap() > 0.3);
        assert!(strict.wrong_interval.0 < 0.025 && strict.wrong_interval.1 > 0.025);
    }

    #[test]
    fn larger_budgets_serve_more() {
        let budgets = [0.0, 0.01, 0.04].map(|share| ErrorBudget::new(share).unwrap());
        let hits: Vec<u64> = under_budgets(&recorded(), &budgets, 1.0).iter().map(|outlook| outlook.hits).collect();
        assert_eq!(hits[0], 1000);
        assert!(hits[1] > 1900 && hits[1] < 2400 && hits[2] > hits[1] + 300, "{hits:?}");
    }

    #[test]
    fn without_labels_nothing_is_claimed() {
        let (cosine, error) = (Some(0.9), Some(0.01));
        let bare = [Recorded { cosine, error, exact: false, would_hit: true, chance: 0.1, label: None }];
        let outlook = under_thresholds(&bare, &[0.5])[0];
        assert_eq!((outlook.wrong_of_requests, outlook.wrong_interval), (None, (0.0, 1.0)));
        assert_eq!(under_thresholds(&[], &[0.5])[0].hit_rate, 0.0);
    }
}
