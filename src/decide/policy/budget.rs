//! The error budget goes to the surest requests, by a probability that is learned from labels.

use std::sync::Arc;

use super::{AssessmentRequest, Policy, screened};
use crate::decide::assessment::{Assessment, PolicyDecision, Verdict};
use crate::decide::knowledge::Knowledge;
use crate::decide::params::PolicyParams;
use crate::decide::prior::ModelPrior;
use crate::decide::rejection::RejectionReason;
use crate::decide::spending::{Booked, Spending};

/// Serves the surest requests, as far as the budget goes.
#[derive(Debug, Clone)]
pub struct BudgetPolicy {
    /// How it is set.
    pub params: PolicyParams,
    /// What the model's vectors are worth before there are labels.
    pub prior: Arc<ModelPrior>,
}

impl Policy for BudgetPolicy {
    fn assess(&self, request: &AssessmentRequest<'_>, knowledge: &Knowledge, spending: &Spending) -> PolicyDecision {
        let Self { params, prior } = self;
        let (candidates, ruled_out) = screened(request, params, knowledge, prior);
        let raw: Vec<f64> =
            candidates.iter().map(|candidate| knowledge.estimator.p_correct(candidate, prior)).collect();
        let calibration = knowledge.calibration(params.tunables);
        let p_correct: Vec<f64> = raw.iter().map(|p| 1.0 - ((1.0 - p) * calibration).min(1.0)).collect();
        // Of equals, the nearest.
        let usable = (0..candidates.len()).filter(|place| ruled_out[*place].is_empty());
        let best = usable.max_by(|a, b| raw[*a].total_cmp(&raw[*b]).then(b.cmp(a)));
        let error = best.map_or(1.0, |best| 1.0 - p_correct[best]);
        let max_error = request.constraints.max_error_rate;
        let Booked { verdict, cut, audit_rate } = spending.book(error, max_error, knowledge, params, request.sample);
        let unless_served = match (verdict, max_error) {
            (Verdict::Served, _) => None,
            (Verdict::Audited, _) => Some(RejectionReason::Audited),
            (Verdict::AnswersChanged, _) => Some(RejectionReason::AnswersChanged),
            (Verdict::Rejected, Some(max_error_rate)) if error > max_error_rate => {
                Some(RejectionReason::OverCallersErrorRate { error, max_error_rate })
            }
            (Verdict::Rejected, _) => Some(RejectionReason::OverBudget { error, cut }),
        };
        let assessment = Assessment { candidates, raw, p_correct, best, cut, verdict, audit_rate };
        assessment.decision(request.neighbours.len(), &ruled_out, unless_served, request.max_results)
    }

    fn params(&self) -> Option<&PolicyParams> {
        Some(&self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::policy::tests::{ANYTHING, Near, assess, assess_with};
    use crate::decide::{ErrorBudget, LookupConstraints};

    /// A prior by which whatever is near is right, as surely as it is near.
    fn policy(budget: f64, audit_rate: f64, strict: bool) -> BudgetPolicy {
        let mut prior = ModelPrior { is_informed: true, ..ModelPrior::default() };
        (prior.coefficients.mean[0], prior.coefficients.mean[1]) = (2.0, 3.0);
        let params = PolicyParams::new(ErrorBudget::new(budget).unwrap(), audit_rate, strict);
        BudgetPolicy { params, prior: Arc::new(prior) }
    }

    fn at(cosine: f32) -> Near {
        Near { cosine, ..Near::default() }
    }

    #[test]
    fn the_surest_is_served_and_the_unsure_is_over_budget() {
        let policy = policy(0.05, 0.0, false);
        let decision = assess(&policy, &[at(0.98), Near { answer: 2, ..at(0.9) }], ANYTHING, 1);
        assert_eq!(decision.served, [0]);
        assert_eq!(decision.verdicts[1].rejections, [RejectionReason::NotTheBest]);
        let decision = assess(&policy, &[at(0.4)], ANYTHING, 1);
        assert!(matches!(decision.rejections[..], [RejectionReason::OverBudget { .. }]), "{decision:?}");
    }

    #[test]
    fn what_is_ruled_out_is_passed_over_however_sure_it_is() {
        let policy = policy(0.05, 0.0, true);
        let younger = LookupConstraints { max_age_millis: Some(10), ..ANYTHING };
        let (quarantined, old) = (Near { is_quarantined: true, ..at(0.99) }, Near { age_millis: 11, ..at(0.99) });
        let foreign = Near { is_deliverable: false, ..at(0.99) };
        let differing = Near { prompt: "where is card 7", ..at(0.99) };
        for ruled_out in [quarantined, old, foreign, differing] {
            let other = Near { answer: 2, ..at(0.97) };
            let decision = assess(&policy, &[ruled_out, other], younger, 1);
            assert_eq!(decision.served, [1], "{ruled_out:?}");
            let alone = assess(&policy, &[ruled_out], younger, 1);
            assert_eq!((alone.served.len(), alone.rejections.len()), (0, 1), "{ruled_out:?} {alone:?}");
        }
    }

    #[test]
    fn a_callers_own_bound_on_errors_holds() {
        let policy = policy(0.05, 0.0, false);
        let error = 1.0 - assess(&policy, &[at(0.98)], ANYTHING, 1).assessment.unwrap().best_p().unwrap();
        let bounded =
            |most| assess(&policy, &[at(0.98)], LookupConstraints { max_error_rate: Some(most), ..ANYTHING }, 1);
        assert_eq!(bounded(error).served, [0]);
        let max_error_rate = error / 2.0;
        assert_eq!(
            bounded(max_error_rate).rejections,
            [RejectionReason::OverCallersErrorRate { error, max_error_rate }]
        );
    }

    #[test]
    fn a_small_sample_means_an_audit() {
        let (policy, knowledge) = (policy(0.05, 0.5, false), Knowledge::default());
        let with = |sample| assess_with(&policy, &[at(0.98)], ANYTHING, 1, (&knowledge, &Spending::default(), sample));
        assert_eq!(with(0.0).rejections, [RejectionReason::Audited]);
        assert_eq!(with(0.0).assessment.unwrap().verdict, Verdict::Audited);
        assert_eq!(with(0.999).served, [0]);
    }

    #[test]
    fn of_several_results_all_are_as_sure_as_the_cut() {
        let policy = policy(0.05, 0.0, false);
        let near = [at(0.99), Near { answer: 2, ..at(0.97) }, Near { answer: 3, ..at(0.5) }];
        assert_eq!(assess(&policy, &near, ANYTHING, 3).served, [0, 1]);
        assert_eq!(assess(&policy, &near, ANYTHING, 1).served, [0]);
    }
}
