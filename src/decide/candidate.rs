//! Candidates that are weighed: what is known of each.

use serde::{Deserialize, Serialize};

use super::answer::AnswerClass;
use super::comparison::Comparison;
use super::features::{self, FEATURES, FeatureVector};
use super::neighbour::{Neighbour, nearest_of_each};
use super::query::Query;
use crate::embed::Cosine;
use crate::store::EntryId;

/// Candidates that are weighed: the nearest of each of so many different answers.
const MAX_WEIGHED: usize = 3;

/// A candidate with all that the model looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateFeatures {
    /// The candidate's place among the neighbours.
    pub place: usize,
    /// The candidate.
    pub entry: EntryId,
    /// Its answer's class.
    pub answer: AnswerClass,
    /// See [`Neighbour`].
    pub is_literal: bool,
    /// Of the two prompts.
    pub cosine: Cosine,
    /// One value for each feature.
    pub vector: Vec<f32>,
    /// See [`Comparison::is_ambiguous`].
    #[serde(rename = "unclear")]
    pub ambiguous: bool,
    /// What the two prompts say differently, by name.
    pub differences: Vec<String>,
}

impl CandidateFeatures {
    /// The features, as a model takes them.
    #[must_use]
    pub fn vector(&self) -> FeatureVector {
        let mut features = [0.0; FEATURES];
        features.iter_mut().zip(&self.vector).for_each(|(feature, value)| *feature = *value);
        features
    }

    /// Sets a feature that only what was learned tells.
    pub(super) fn set(&mut self, feature: usize, value: f32) {
        if let Some(place) = self.vector.get_mut(feature) {
            *place = value;
        }
    }
}

/// A candidate that is weighed, beside the prompt that is asked.
#[derive(Debug, Clone)]
pub struct Weighed {
    /// What is known of it, as far as it can be known without what was learned.
    pub features: CandidateFeatures,
    /// The two prompts.
    pub comparison: Comparison,
}

/// The nearest of each of the three nearest different answers. `neighbours` are nearest first; `entries` is how many the scope
/// holds. The features that are learned are missing.
#[must_use]
pub fn weigh(query: Query<'_>, neighbours: &[Neighbour<'_>], entries: usize) -> Vec<Weighed> {
    let weighed = |place: usize| {
        let candidate = &neighbours[place];
        let comparison = Comparison::of(query.text(), candidate.prompt, candidate.cosine);
        let differences = comparison.differences.unwrap_or_default();
        let features = CandidateFeatures {
            place,
            entry: candidate.entry,
            answer: candidate.answer,
            is_literal: candidate.is_literal,
            cosine: candidate.cosine,
            vector: features::of(&differences, neighbours, place, entries),
            ambiguous: comparison.is_ambiguous(),
            differences: differences.names().map(str::to_owned).collect(),
        };
        Weighed { features, comparison }
    };
    nearest_of_each(neighbours).take(MAX_WEIGHED).map(weighed).collect()
}
