//! How a cache decides which of the candidates for a prompt are served.
//!
//! Policies hold no state: what is learned belongs to the cache ([`Knowledge`], [`Spending`]), so that nothing is lost where the
//! operator chooses another one.

mod budget;
mod per_entry;
mod static_threshold;

use std::fmt::Debug;

pub use budget::BudgetPolicy;
pub use per_entry::PerEntryPolicy;
pub use static_threshold::StaticThreshold;

use super::assessment::PolicyDecision;
use super::candidate::{CandidateFeatures, Weighed, weigh};
use super::knowledge::Knowledge;
use super::neighbour::Neighbour;
use super::params::{LookupConstraints, PolicyParams};
use super::prior::ModelPrior;
use super::query::Query;
use super::rejection::{RejectionReason, Screening};
use super::spending::Spending;
use crate::embed::Cosine;

/// A prompt, and what lies near it.
#[derive(Debug, Clone, Copy)]
pub struct AssessmentRequest<'r> {
    /// The prompt.
    pub query: Query<'r>,
    /// Stored prompts near it, nearest first.
    pub neighbours: &'r [Neighbour<'r>],
    /// How many entries their scope holds.
    pub entries: usize,
    /// What the caller asks for.
    pub constraints: &'r LookupConstraints,
    /// Answers wanted at most.
    pub max_results: usize,
    /// A number from 0 to 1 that nobody can foresee.
    pub sample: f64,
}

/// How a cache decides which candidates are served.
pub trait Policy: Debug + Send + Sync {
    /// What is thought of each neighbour, which of them are served, and why not the others.
    fn assess(&self, request: &AssessmentRequest<'_>, knowledge: &Knowledge, spending: &Spending) -> PolicyDecision;

    /// The smallest plain cosine that is served: the operator's, or the caller's where that is stricter. None where the policy has no
    /// threshold and the caller asks for none.
    fn min_cosine(&self, constraints: &LookupConstraints) -> Option<Cosine> {
        constraints.min_cosine
    }

    /// How it is set, if it learns.
    fn params(&self) -> Option<&PolicyParams>;

    /// Whether it looks at nothing of texts but whether they are the same.
    fn ignores_texts(&self) -> bool {
        false
    }
}

/// The candidates that a policy with these parameters weighs, complete, and all that rules each of them out.
fn screened(
    request: &AssessmentRequest<'_>,
    params: &PolicyParams,
    knowledge: &Knowledge,
    prior: &ModelPrior,
) -> (Vec<CandidateFeatures>, Vec<Vec<RejectionReason>>) {
    let &AssessmentRequest { query, neighbours, entries, constraints, .. } = request;
    let screening = Screening { min_cosine: constraints.min_cosine, strict: params.strict, constraints };
    let screen = |Weighed { features, comparison }: Weighed| {
        let ruled_out = screening.rejections(&comparison, neighbours[features.place].state);
        (features, ruled_out)
    };
    let (mut candidates, ruled_out): (Vec<_>, Vec<_>) =
        weigh(query, neighbours, entries).into_iter().map(screen).unzip();
    knowledge.estimator.complete(&mut candidates, query, neighbours, prior);
    (candidates, ruled_out)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::decide::{AnswerClass, CandidateState, ParsedPrompt, PromptText};
    use crate::embed::Embedding;
    use crate::store::{Attributes, CacheKey, EntryId, ScopeKey, TextHash};

    /// A candidate, as far as a test cares.
    #[derive(Debug, Clone, Copy)]
    pub(in crate::decide) struct Near {
        pub(in crate::decide) cosine: f32,
        pub(in crate::decide) prompt: &'static str,
        pub(in crate::decide) answer: u64,
        pub(in crate::decide) age_millis: u64,
        pub(in crate::decide) is_quarantined: bool,
        pub(in crate::decide) is_deliverable: bool,
    }

    impl Default for Near {
        fn default() -> Self {
            Self {
                cosine: 0.95,
                prompt: "where is my card",
                answer: 1,
                age_millis: 0,
                is_quarantined: false,
                is_deliverable: true,
            }
        }
    }

    /// A caller that asks for nothing beyond the cache's policy.
    pub(in crate::decide) const ANYTHING: LookupConstraints =
        LookupConstraints { min_cosine: None, max_error_rate: None, max_age_millis: None };

    pub(in crate::decide) fn entry(text: &str) -> EntryId {
        EntryId::new(ScopeKey::new(CacheKey::new("t", "c"), &[0; 32]), TextHash::of(text), &Attributes::default())
    }

    /// What a policy makes of candidates for "where is the card", with what was learned.
    pub(in crate::decide) fn assess_with(
        policy: &dyn Policy,
        near: &[Near],
        constraints: LookupConstraints,
        max_results: usize,
        (knowledge, spending, sample): (&Knowledge, &Spending, f64),
    ) -> PolicyDecision {
        let asked = Embedding::normalised(vec![1.0, 0.0]).unwrap();
        let vector = |near: &Near| {
            let beside = (1.0 - near.cosine * near.cosine).max(0.0).sqrt();
            Embedding::normalised(vec![near.cosine, beside]).unwrap()
        };
        let vectors: Vec<Embedding> = near.iter().map(vector).collect();
        let neighbours: Vec<Neighbour<'_>> = near
            .iter()
            .zip(&vectors)
            .map(|(near, vector)| Neighbour {
                entry: entry(&format!("{} {}", near.prompt, near.cosine)),
                prompt: PromptText { text: near.prompt, parsed: None, is_lossy: false },
                vector,
                cosine: Cosine::new(near.cosine),
                answer: AnswerClass(near.answer),
                is_literal: true,
                state: CandidateState {
                    age_millis: near.age_millis,
                    is_quarantined: near.is_quarantined,
                    is_deliverable: near.is_deliverable,
                },
            })
            .collect();
        let prompt = ParsedPrompt::of("where is the card");
        let query = Query::new(&prompt, &asked);
        let entries = neighbours.len();
        let request = AssessmentRequest {
            query,
            neighbours: &neighbours,
            entries,
            constraints: &constraints,
            max_results,
            sample,
        };
        policy.assess(&request, knowledge, spending)
    }

    /// The same with nothing learned, and no chance of an audit.
    pub(in crate::decide) fn assess(
        policy: &dyn Policy,
        near: &[Near],
        constraints: LookupConstraints,
        max_results: usize,
    ) -> PolicyDecision {
        let nothing = (&Knowledge::default(), &Spending::default(), 0.999);
        assess_with(policy, near, constraints, max_results, nothing)
    }
}
