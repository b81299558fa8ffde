//! One fixed threshold for all.

use super::{AssessmentRequest, Policy};
use crate::decide::assessment::{CandidateVerdict, PolicyDecision};
use crate::decide::comparison::Comparison;
use crate::decide::knowledge::Knowledge;
use crate::decide::neighbour::Neighbour;
use crate::decide::params::{LookupConstraints, PolicyParams};
use crate::decide::query::PromptText;
use crate::decide::rejection::{RejectionReason, Screening};
use crate::decide::spending::Spending;
use crate::embed::Cosine;

/// Serves whatever is near enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StaticThreshold {
    /// Smallest plain cosine that is served.
    pub min_cosine: Cosine,
    /// Whether candidates are rejected that differ in what cosines don't show.
    pub strict: bool,
}

impl Policy for StaticThreshold {
    fn assess(&self, request: &AssessmentRequest<'_>, _: &Knowledge, _: &Spending) -> PolicyDecision {
        let &AssessmentRequest { constraints, max_results, .. } = request;
        let screening = Screening { min_cosine: self.min_cosine(constraints), strict: self.strict, constraints };
        let query = request.query.text();
        let query = PromptText { parsed: query.parsed.filter(|_| self.strict), ..query };
        let verdict = |candidate: &Neighbour<'_>| {
            let comparison = Comparison::of(query, candidate.prompt, candidate.cosine);
            let mut rejections = screening.rejections(&comparison, candidate.state);
            if constraints.max_error_rate.is_some() {
                rejections.push(RejectionReason::NoErrorEstimate);
            }
            CandidateVerdict { p_correct: None, rejections }
        };
        let verdicts: Vec<CandidateVerdict> = request.neighbours.iter().map(verdict).collect();
        let served = (0..verdicts.len()).filter(|place| verdicts[*place].rejections.is_empty());
        let rejections = verdicts.first().map(|nearest| nearest.rejections.clone()).unwrap_or_default();
        PolicyDecision { served: served.take(max_results).collect(), verdicts, rejections, assessment: None }
    }

    fn min_cosine(&self, constraints: &LookupConstraints) -> Option<Cosine> {
        Some(constraints.min_cosine.filter(|asked| *asked > self.min_cosine).unwrap_or(self.min_cosine))
    }

    fn params(&self) -> Option<&PolicyParams> {
        None
    }

    fn ignores_texts(&self) -> bool {
        !self.strict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::policy::tests::{Near, assess};

    fn policy() -> StaticThreshold {
        StaticThreshold { min_cosine: Cosine::new(0.9), strict: false }
    }

    fn served(near: &[Near], constraints: LookupConstraints) -> Vec<usize> {
        assess(&policy(), near, constraints, 3).served
    }

    fn at(cosine: f32) -> Near {
        Near { cosine, ..Near::default() }
    }

    #[test]
    fn the_threshold_itself_is_served_and_what_is_below_is_not() {
        assert_eq!(served(&[at(0.95), at(0.9), at(0.899)], LookupConstraints::default()), [0, 1]);
    }

    #[test]
    fn a_caller_can_tighten_but_not_loosen() {
        let asked =
            |cosine| LookupConstraints { min_cosine: Some(Cosine::new(cosine)), ..LookupConstraints::default() };
        assert_eq!(served(&[at(0.96), at(0.92), at(0.85)], asked(0.95)), [0]);
        assert_eq!(served(&[at(0.96), at(0.92), at(0.85)], asked(0.5)), [0, 1]);
    }

    #[test]
    fn a_bound_that_cannot_be_estimated_is_not_promised() {
        let constraints = LookupConstraints { max_error_rate: Some(0.5), ..LookupConstraints::default() };
        assert_eq!(assess(&policy(), &[at(1.0)], constraints, 1).rejections, [RejectionReason::NoErrorEstimate]);
    }

    #[test]
    fn what_the_caller_cannot_use_is_passed_over() {
        let foreign = Near { is_deliverable: false, ..at(0.99) };
        let quarantined = Near { is_quarantined: true, ..at(0.98) };
        assert_eq!(served(&[foreign, quarantined, at(0.95)], LookupConstraints::default()), [2]);
    }
}
