//! The published per-entry rule, which looks at the nearest entry only. For comparison with better ones.

use std::sync::Arc;

use super::{AssessmentRequest, Policy, screened};
use crate::decide::assessment::{Assessment, PolicyDecision, Verdict};
use crate::decide::knowledge::Knowledge;
use crate::decide::params::PolicyParams;
use crate::decide::prior::ModelPrior;
use crate::decide::rejection::RejectionReason;
use crate::decide::spending::Spending;

/// Each entry learns a threshold of its own, and explores by chance where it isn't sure; see
/// [`Observations`](crate::decide::Observations).
#[derive(Debug, Clone)]
pub struct PerEntryPolicy {
    /// How it is set.
    pub params: PolicyParams,
    /// For the features that other policies learn from.
    pub prior: Arc<ModelPrior>,
}

impl Policy for PerEntryPolicy {
    /// Whoever asks for fewer errors than the budget allows gets answers that this bound would have allowed, and whose own estimate is
    /// within it.
    fn assess(&self, request: &AssessmentRequest<'_>, knowledge: &Knowledge, _: &Spending) -> PolicyDecision {
        let (candidates, ruled_out) = screened(request, &self.params, knowledge, &self.prior);
        let nearest = candidates.first().filter(|_| ruled_out.first().is_some_and(Vec::is_empty));
        let observed = nearest.and_then(|nearest| Some((nearest.cosine, knowledge.observations.get(&nearest.entry)?)));
        let max_error = request.constraints.max_error_rate;
        let budget = max_error.map_or(self.params.budget.get(), |most| most.min(self.params.budget.get()));
        let explore = observed.map_or(1.0, |(cosine, observed)| observed.explore_probability(cosine, budget));
        let p = observed.and_then(|(cosine, observed)| observed.p_correct(cosine));
        let error = 1.0 - p.unwrap_or(0.0);
        let too_wrong = max_error.filter(|most| error > *most);
        let (verdict, unless_served) = match too_wrong {
            Some(max_error_rate) => {
                (Verdict::Rejected, Some(RejectionReason::OverCallersErrorRate { error, max_error_rate }))
            }
            None if request.sample > explore => (Verdict::Served, None),
            None => (Verdict::Rejected, Some(RejectionReason::Explored { probability: explore })),
        };
        let best = nearest.is_some().then_some(0);
        let p_correct = vec![p.unwrap_or(0.0); candidates.len().min(1)];
        let (raw, cut) = (p_correct.clone(), 1.0 - explore);
        let assessment = Assessment { candidates, raw, p_correct, best, cut, verdict, audit_rate: explore };
        assessment.decision(request.neighbours.len(), &ruled_out, unless_served, request.max_results)
    }

    fn params(&self) -> Option<&PolicyParams> {
        Some(&self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::policy::tests::{ANYTHING, Near, assess_with, entry};
    use crate::decide::{ErrorBudget, LookupConstraints};
    use crate::embed::Cosine;

    fn decide(near: Near, strict: bool, constraints: LookupConstraints, budget: f64) -> PolicyDecision {
        let params = PolicyParams::new(ErrorBudget::new(budget).unwrap(), 0.0, strict);
        let policy = PerEntryPolicy { params, prior: Arc::default() };
        let mut knowledge = Knowledge::default();
        for _ in 0..40 {
            let entry = entry(&format!("{} {}", near.prompt, near.cosine));
            knowledge.observations.update(entry, |observed| {
                Arc::make_mut(observed).add(Cosine::new(near.cosine), true);
            });
        }
        assess_with(&policy, &[near], constraints, 1, (&knowledge, &Spending::default(), 0.5))
    }

    #[test]
    fn an_entry_that_was_right_is_served_unless_chance_explores() {
        let served = decide(Near::default(), false, ANYTHING, 0.5);
        assert_eq!((served.served.len(), served.verdicts[0].rejections.len()), (1, 0));
        let explored = decide(Near::default(), false, ANYTHING, 0.0);
        assert!(matches!(explored.rejections[..], [RejectionReason::Explored { .. }]), "{explored:?}");
    }

    #[test]
    fn what_holds_for_other_policies_holds_here() {
        let quarantined = Near { is_quarantined: true, ..Near::default() };
        assert_eq!(decide(quarantined, false, ANYTHING, 0.5).rejections[..], [RejectionReason::Quarantined]);
        let younger = LookupConstraints { max_age_millis: Some(1), ..ANYTHING };
        let old = decide(Near { age_millis: 2, ..Near::default() }, false, younger, 0.5);
        assert_eq!(old.rejections, [RejectionReason::TooOld { age_ms: 2 }]);
        let differing = Near { prompt: "where is card 7", ..Near::default() };
        assert_eq!(decide(differing, false, ANYTHING, 0.5).served, [0]);
        let strict = decide(differing, true, ANYTHING, 0.5);
        assert!(matches!(strict.rejections[..], [RejectionReason::Differs { .. }, ..]), "{strict:?}");
        assert!(strict.served.is_empty());
    }

    #[test]
    fn a_callers_own_bound_on_errors_holds() {
        let p = decide(Near::default(), false, ANYTHING, 0.5).assessment.unwrap().best_p().unwrap();
        let bounded = |most| {
            let constraints = LookupConstraints { max_error_rate: Some(most), ..ANYTHING };
            decide(Near::default(), false, constraints, 0.5)
        };
        assert_eq!(bounded(0.5).served, [0]);
        let rejections = bounded((1.0 - p) / 2.0).rejections;
        assert!(matches!(rejections[..], [RejectionReason::OverCallersErrorRate { .. }]), "{rejections:?}");
    }
}
