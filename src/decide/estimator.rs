//! The probability that a candidate's answer is right.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::answer::AnswerClass;
use super::candidate::CandidateFeatures;
use super::centres::Centres;
use super::features::{ANSWER_RECORD, CENTRE, CENTRE_MARGIN, FEATURES, RECORD, WORDS, WORDS_MARGIN};
use super::logistic::probability;
use super::metric::Metric;
use super::neighbour::{Neighbour, nearest_of_each};
use super::prior::ModelPrior;
use super::query::Query;
use super::records::Records;
use crate::embed::Embedding;

/// Different answers, nearest first, that are compared with each other: those that are weighed, and some rivals more.
const MAX_RIVALS: usize = 6;
/// Cosine, in the metric of the traffic, of the farthest rival centre that counts, and where there is none.
const FAR_CENTRE: f32 = 0.3;
/// Prompts that are nearer to a centre than this, or by so much nearer than to any other, are as good as one by that measure: what they
/// differ in has to be seen elsewhere.
const NEAR_CENTRE: f32 = 0.75;
const WIDE_MARGIN: f32 = 0.25;
/// Words that speak more for an answer than this, or so much more than for any other, could not be clearer.
const CLEAR_WORDS: f32 = 3.0;
const CLEAR_MARGIN: f32 = 2.0;

/// A logistic model of a candidate's features, and what is known of entries and answers, from which some of these are made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Estimator {
    /// None before the first fit.
    pub(super) coefficients: Option<Vec<f64>>,
    /// Of the prompts' scatter at the last fit.
    pub(super) metric: Option<Arc<Metric>>,
    pub(super) records: Records,
    pub(super) centres: Centres,
}

impl Estimator {
    /// Puts in the features that are learned. The candidates are among `neighbours`.
    pub(super) fn complete(
        &self,
        candidates: &mut [CandidateFeatures],
        query: Query<'_>,
        neighbours: &[Neighbour<'_>],
        prior: &ModelPrior,
    ) {
        let nearest: Vec<&Neighbour<'_>> =
            nearest_of_each(neighbours).take(MAX_RIVALS).map(|place| &neighbours[place]).collect();
        let answers: Vec<AnswerClass> = nearest.iter().map(|neighbour| neighbour.answer).collect();
        let by_centre = self.by_centre(query.vector, &nearest, prior);
        let by_word = self.centres.by_words(&answers, query.tokens());
        for candidate in candidates {
            let (entry, answer) = (candidate.entry, candidate.answer);
            #[expect(clippy::cast_possible_truncation, reason = "features are f32")]
            let (record, answer_record) =
                (self.records.of_entry(&entry) as f32, self.records.of_answer(&answer) as f32);
            candidate.set(RECORD, record);
            candidate.set(ANSWER_RECORD, answer_record);
            let (own, rival) = against_rivals(answer, &answers, &by_centre);
            let rival = rival.map_or(FAR_CENTRE, |rival| rival.max(FAR_CENTRE));
            candidate.set(CENTRE, (own.min(NEAR_CENTRE) - 0.5) * 4.0);
            candidate.set(CENTRE_MARGIN, (own - rival).min(WIDE_MARGIN) * 5.0);
            let (own, rival) = against_rivals(answer, &answers, &by_word);
            let margin = rival.map_or(0.0, |rival| own - rival.max(0.0));
            candidate.set(WORDS, own.clamp(-CLEAR_WORDS, CLEAR_WORDS) / 2.0);
            candidate.set(WORDS_MARGIN, margin.clamp(-CLEAR_MARGIN, CLEAR_MARGIN));
        }
    }

    /// The cosine between the prompt and the centre of each answer, of which `nearest` are the nearest prompts.
    fn by_centre(&self, query: &Embedding, nearest: &[&Neighbour<'_>], prior: &ModelPrior) -> Vec<f32> {
        let metrics = [self.metric.as_deref(), prior.metric.as_ref()].into_iter().flatten();
        let plain;
        let metric = if let Some(metric) = { metrics }.find(|metric| metric.fits(query.dimension())) {
            metric
        } else {
            plain = Metric::plain(query.dimension());
            &plain
        };
        let mut vectors = Vec::with_capacity((1 + nearest.len()) * query.dimension());
        vectors.extend_from_slice(query.as_slice());
        nearest.iter().for_each(|near| vectors.extend(self.centres.of(&near.answer, near.vector.as_slice())));
        metric.cosines_with_first(vectors)
    }

    /// P(correct) of a candidate that is complete, before calibration; 0 where nothing is known.
    pub(super) fn p_correct(&self, candidate: &CandidateFeatures, prior: &ModelPrior) -> f64 {
        self.coefficients(prior).map_or(0.0, |coefficients| probability(&coefficients, &candidate.vector()))
    }

    /// Those of the last fit, else the prior's.
    pub(super) fn coefficients(&self, prior: &ModelPrior) -> Option<[f64; FEATURES]> {
        let fitted = self.coefficients.as_ref().and_then(|fitted| fitted.as_slice().try_into().ok());
        fitted.or(prior.is_informed.then_some(prior.coefficients.mean))
    }
}

/// What an answer scores, and what the best of the others does.
fn against_rivals(answer: AnswerClass, answers: &[AnswerClass], scores: &[f32]) -> (f32, Option<f32>) {
    let all = || answers.iter().zip(scores);
    let own = all().find(|(other, _)| **other == answer).map_or(0.0, |(_, score)| *score);
    (own, all().filter(|(other, _)| **other != answer).map(|(_, score)| *score).max_by(f32::total_cmp))
}
