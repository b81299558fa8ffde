//! Why a candidate isn't served. One list for all policies.

use serde::{Deserialize, Serialize};

use super::comparison::Comparison;
use super::neighbour::CandidateState;
use super::params::LookupConstraints;
use super::text::Differences;
use crate::embed::Cosine;

/// Why a candidate is not served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "guard")]
pub enum RejectionReason {
    /// The prompts are too far apart.
    BelowThreshold {
        /// Smallest plain cosine that would have been served.
        min_cosine: f32,
    },
    /// A prompt's vector misses some of what it says (it is longer than the model's window, or has words that the model
    /// doesn't know), and the two prompts don't have the same words.
    #[serde(rename = "blurredAndDifferent")]
    Ambiguous,
    /// The two prompts say something differently that cosines don't show.
    Differs {
        /// What; see [`Differences::names`].
        what: String,
    },
    /// It isn't sure enough for the error budget.
    OverBudget {
        /// The predicted probability that it is wrong.
        error: f64,
        /// The largest that is served now.
        cut: f64,
    },
    /// The caller bounds the error rate, and this candidate's estimate is above it.
    OverCallersErrorRate {
        /// The predicted probability that it is wrong; 1 where nothing is known.
        error: f64,
        /// The caller's bound.
        max_error_rate: f64,
    },
    /// It would have been served, but is checked against the provider's answer.
    Audited,
    /// It would have been served, but answers have changed of late, so that only the same text is answered.
    AnswersChanged,
    /// An answer of this entry was reported wrong.
    Quarantined,
    /// The per-entry policy explores: it asks the provider with this probability.
    Explored {
        /// From 0 to 1.
        probability: f64,
    },
    /// Another candidate is better.
    NotTheBest,
    /// The caller bounds the error rate, and this policy can't estimate it.
    NoErrorEstimate,
    /// The caller wants a younger answer.
    TooOld {
        /// The candidate's age.
        age_ms: u64,
    },
    /// The caller's API can't carry this answer.
    NotDeliverable,
    /// The two prompts differ in characters that the model doesn't read.
    #[serde(rename = "unread")]
    UnreadDiffers,
}

/// What rules candidates out whatever a policy predicts of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screening<'c> {
    /// Smallest plain cosine that is served, if there is one: the operator's or the caller's, whichever is stricter.
    pub(super) min_cosine: Option<Cosine>,
    /// Whether prompts that differ in what cosines don't show are rejected.
    pub(super) strict: bool,
    pub(super) constraints: &'c LookupConstraints,
}

impl Screening<'_> {
    /// All that rules a candidate out. Nothing else may.
    pub(super) fn rejections(&self, comparison: &Comparison, state: CandidateState) -> Vec<RejectionReason> {
        let mut reasons = Vec::new();
        if let Some(min_cosine) = self.min_cosine.filter(|min_cosine| comparison.cosine < *min_cosine) {
            reasons.push(RejectionReason::BelowThreshold { min_cosine: min_cosine.get() });
        }
        if comparison.is_ambiguous() {
            reasons.push(RejectionReason::Ambiguous);
        }
        if comparison.unread_differs {
            reasons.push(RejectionReason::UnreadDiffers);
        }
        if self.strict {
            let what = comparison.differences.iter().flat_map(Differences::names);
            reasons.extend(what.map(|what| RejectionReason::Differs { what: what.to_owned() }));
        }
        if state.is_quarantined {
            reasons.push(RejectionReason::Quarantined);
        }
        reasons.extend(self.constraints.too_old(state.age_millis));
        if !state.is_deliverable {
            reasons.push(RejectionReason::NotDeliverable);
        }
        reasons
    }
}

impl LookupConstraints {
    /// What rules out an answer of this age. Exact hits are screened by this alone.
    #[must_use]
    pub fn too_old(&self, age_millis: u64) -> Option<RejectionReason> {
        let is_too_old = self.max_age_millis.is_some_and(|max| age_millis > max);
        is_too_old.then_some(RejectionReason::TooOld { age_ms: age_millis })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(cosine: f32) -> Comparison {
        Comparison {
            cosine: Cosine::new(cosine),
            is_lossy: false,
            same_words: false,
            unread_differs: false,
            differences: None,
        }
    }

    fn screened(
        comparison: &Comparison,
        state: CandidateState,
        constraints: LookupConstraints,
    ) -> Vec<RejectionReason> {
        let min_cosine = constraints.min_cosine;
        Screening { min_cosine, strict: false, constraints: &constraints }.rejections(comparison, state)
    }

    #[test]
    fn each_reason_stands_for_one_fact() {
        use RejectionReason as Reason;
        let plain = CandidateState::default();
        assert_eq!(screened(&comparison(0.9), plain, LookupConstraints::default()), []);
        let near = LookupConstraints { min_cosine: Some(Cosine::new(0.95)), ..LookupConstraints::default() };
        assert_eq!(screened(&comparison(0.9), plain, near), [Reason::BelowThreshold { min_cosine: 0.95 }]);
        assert_eq!(screened(&comparison(0.95), plain, near), []);
        let quarantined = CandidateState { is_quarantined: true, ..plain };
        assert_eq!(screened(&comparison(0.9), quarantined, LookupConstraints::default()), [Reason::Quarantined]);
        let foreign = CandidateState { is_deliverable: false, ..plain };
        assert_eq!(screened(&comparison(0.9), foreign, LookupConstraints::default()), [Reason::NotDeliverable]);
    }

    #[test]
    fn lossy_vectors_need_the_same_words() {
        let lossy = |same_words| Comparison { is_lossy: true, same_words, ..comparison(1.0) };
        let reasons =
            |same_words| screened(&lossy(same_words), CandidateState::default(), LookupConstraints::default());
        assert_eq!(reasons(true), []);
        assert_eq!(reasons(false), [RejectionReason::Ambiguous]);
    }

    #[test]
    fn only_strict_screening_rejects_what_differs() {
        let differences = Some(Differences { numbers: true, overlap: 0.9, ..Differences::default() });
        let differing = Comparison { differences, ..comparison(1.0) };
        let reasons = |strict| {
            let constraints = LookupConstraints::default();
            let screening = Screening { min_cosine: None, strict, constraints: &constraints };
            screening.rejections(&differing, CandidateState::default())
        };
        assert_eq!(reasons(true), [RejectionReason::Differs { what: "numbers".into() }]);
        assert_eq!(reasons(false), []);
    }

    #[test]
    fn an_answer_exactly_as_old_as_allowed_is_served() {
        let younger = |max| LookupConstraints { max_age_millis: Some(max), ..LookupConstraints::default() };
        let aged = CandidateState { age_millis: 1000, ..CandidateState::default() };
        assert_eq!(screened(&comparison(1.0), aged, younger(1000)), []);
        assert_eq!(screened(&comparison(1.0), aged, younger(999)), [RejectionReason::TooOld { age_ms: 1000 }]);
    }
}
