//! What a policy thinks of the candidates for one prompt.

use serde::{Deserialize, Serialize};

use super::candidate::CandidateFeatures;
use super::features::FEATURES;
use super::rejection::RejectionReason;

/// What a policy decides about the neighbours of a prompt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicyDecision {
    /// Of each neighbour, in their order.
    pub verdicts: Vec<CandidateVerdict>,
    /// The places of those that are served, best first.
    pub served: Vec<usize>,
    /// What spoke against the best candidate, or against the nearest where all were ruled out.
    pub rejections: Vec<RejectionReason>,
    /// What it went by, if it learns: labels that come later are about this.
    pub assessment: Option<Assessment>,
}

/// What a policy thinks of one candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateVerdict {
    /// The probability that the candidate's answer is right, where the policy estimates one.
    pub p_correct: Option<f64>,
    /// What spoke against it; served if nothing did.
    #[serde(rename = "guards")]
    pub rejections: Vec<RejectionReason>,
}

/// How a question about near candidates ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The best candidate's answer is served.
    Served,
    /// It would have been, but goes to the provider so that it is known whether it's right.
    Audited,
    /// It would have been, but answers are known to have changed.
    #[serde(rename = "Alarmed")]
    AnswersChanged,
    /// It isn't sure enough.
    #[serde(rename = "Refused")]
    Rejected,
}

impl Verdict {
    /// Whether the best candidate was sure enough to be served.
    #[must_use]
    pub fn would_hit(self) -> bool {
        self != Self::Rejected
    }
}

/// An assessment of near candidates by a policy that learns, with all that went into it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// The nearest of each answer, nearest first.
    #[serde(rename = "evidence")]
    pub candidates: Vec<CandidateFeatures>,
    /// P(correct) of each, before calibration.
    pub raw: Vec<f64>,
    /// P(correct) of each.
    pub p_correct: Vec<f64>,
    /// The place of the best among these, unless all were ruled out.
    pub best: Option<usize>,
    /// The largest error that was served.
    pub cut: f64,
    /// How it ended.
    #[serde(rename = "ending")]
    pub verdict: Verdict,
    /// With what probability it was audited, if it was sure enough.
    pub audit_rate: f64,
}

impl Assessment {
    /// What it takes in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of_candidate = size_of::<CandidateFeatures>() + FEATURES * size_of::<f32>() + 2 * size_of::<f64>();
        size_of::<Self>() + self.candidates.len() * of_candidate
    }

    /// The best candidate.
    #[must_use]
    pub fn best(&self) -> Option<&CandidateFeatures> {
        self.candidates.get(self.best?)
    }

    /// With what probability it was known beforehand that its label would be asked for.
    #[must_use]
    pub fn label_chance(&self) -> f64 {
        match self.verdict {
            Verdict::Served | Verdict::Audited => self.audit_rate,
            Verdict::AnswersChanged | Verdict::Rejected => 1.0,
        }
    }

    /// The probability that the best candidate's answer is right.
    #[must_use]
    pub fn best_p(&self) -> Option<f64> {
        self.p_correct.get(self.best?).copied()
    }

    /// What became of each of `neighbours` neighbours. `ruled_out` says of each weighed candidate what speaks against it whatever
    /// is predicted of it, and `unless_served` why the best one isn't served. Of several answers that are wanted, the others have to
    /// be as sure as the first.
    pub(super) fn decision(
        self,
        neighbours: usize,
        ruled_out: &[Vec<RejectionReason>],
        unless_served: Option<RejectionReason>,
        max_results: usize,
    ) -> PolicyDecision {
        let mut decision = PolicyDecision::default();
        for place in 0..neighbours {
            let weighed = self.candidates.iter().position(|candidate| candidate.place == place);
            let weighed = weighed.and_then(|weighed| Some((weighed, *self.p_correct.get(weighed)?)));
            let is_best = weighed.is_some_and(|(weighed, _)| Some(weighed) == self.best);
            let is_further = |(weighed, p): (usize, f64)| {
                let is_sure = max_results > 1 && self.verdict == Verdict::Served && 1.0 - p <= self.cut;
                is_sure && ruled_out[weighed].is_empty()
            };
            let rejections = match weighed {
                Some((weighed, _)) if is_best || self.best.is_none() => {
                    ruled_out[weighed].iter().chain(unless_served.iter().filter(|_| is_best)).cloned().collect()
                }
                Some(weighed) if is_further(weighed) => Vec::new(),
                _ => vec![RejectionReason::NotTheBest],
            };
            if is_best || (self.best.is_none() && place == 0) {
                decision.rejections.clone_from(&rejections);
            }
            if rejections.is_empty() && decision.served.len() < max_results {
                decision.served.push(place);
            }
            decision.verdicts.push(CandidateVerdict { p_correct: weighed.map(|(_, p)| p), rejections });
        }
        decision.assessment = Some(self);
        decision
    }
}
