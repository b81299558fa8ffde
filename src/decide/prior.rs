//! What a model's cosines and our features are worth before a cache has labels: made by `refrain calibrate`, kept beside the
//! model's files as `prior.json`.

use serde::{Deserialize, Serialize};

use super::features::{FEATURES, FeatureVector, Sign, TABLE};
use super::logistic::{Example, Prior, fit, information};
use super::metric::Metric;

/// Labels of a cache's own traffic that outweigh the prior.
const WORTH: f64 = 1000.0;
/// Precision of every coefficient besides: what the pairs never showed is not known to be zero.
const RIDGE: f64 = 0.3;
/// The same while the prior itself is made.
const FIRST_RIDGE: f64 = 1.0;
/// Precision that holds a coefficient at zero, and how far from it one may stray.
const HOLD: f64 = 1e9;
const HELD: f64 = 1e-3;
/// Digits behind the point of a metric's numbers.
const DIGITS: i32 = 4;
/// Precision of the coefficients where no prior is shipped with the embedding model. Arbitrary.
const WITHOUT_PRIOR: f64 = 2.0;

/// What a model's vectors are worth before there are labels.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelPrior {
    /// Of the coefficients.
    pub coefficients: Prior<FEATURES>,
    /// How prompts vary.
    pub metric: Option<Metric>,
    /// Whether the coefficients are worth serving by. Otherwise nothing near is served before the first fit.
    pub is_informed: bool,
}

impl Default for ModelPrior {
    fn default() -> Self {
        Self { coefficients: Prior::ridge(WITHOUT_PRIOR), metric: None, is_informed: false }
    }
}

/// The features' names, in the table's order.
pub fn feature_names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|feature| feature.name)
}

/// A prior as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    /// From what it was made, for people.
    made_of: String,
    /// The features' names; a prior of other features is of no use.
    features: Vec<String>,
    mean: Vec<f64>,
    /// The lower triangle of the precision, row by row.
    precision: Vec<Vec<f64>>,
    /// How prompts vary.
    metric: Option<Metric>,
}

/// Why a prior can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PriorError {
    /// It isn't what `refrain calibrate` writes.
    #[error("is no prior: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another version of Refrain made it.
    #[error("is of other features than this version looks at; make it anew with `refrain calibrate`")]
    OtherFeatures,
}

impl ModelPrior {
    /// Reads `prior.json`.
    ///
    /// # Errors
    /// See [`PriorError`].
    pub fn from_json(text: &str) -> Result<Self, PriorError> {
        let written: Written = serde_json::from_str(text)?;
        let is_square = written.precision.len() == FEATURES
            && written.precision.iter().enumerate().all(|(row, values)| values.len() == row + 1);
        let mean: [f64; FEATURES] = written.mean.try_into().map_err(|_| PriorError::OtherFeatures)?;
        let is_sound = written.metric.as_ref().is_none_or(Metric::is_sound);
        if !feature_names().eq(written.features.iter().map(String::as_str)) || !is_square || !is_sound {
            return Err(PriorError::OtherFeatures);
        }
        let mut precision = Box::new([[0.0; FEATURES]; FEATURES]);
        for (row, values) in written.precision.iter().enumerate() {
            for (column, value) in values.iter().enumerate() {
                precision[row][column] = *value;
                precision[column][row] = *value;
            }
        }
        Ok(Self { coefficients: Prior { mean, precision }, metric: written.metric, is_informed: true })
    }

    /// As `prior.json` has it.
    ///
    /// # Errors
    /// Where a number isn't finite.
    pub fn to_json(&self, made_of: &str) -> Result<String, serde_json::Error> {
        let rounded = |value: &f64| (value * 1e4).round() / 1e4;
        let rows = self.coefficients.precision.iter().enumerate();
        let written = Written {
            made_of: made_of.to_owned(),
            features: feature_names().map(str::to_owned).collect(),
            mean: self.coefficients.mean.iter().map(rounded).collect(),
            precision: rows.map(|(row, values)| values[..=row].iter().map(rounded).collect()).collect(),
            metric: self.metric.as_ref().map(|metric| metric.rounded(DIGITS)),
        };
        serde_json::to_string(&written)
    }

    /// What `sources` of other traffic let one believe of new traffic: their most probable coefficients, as firmly as
    /// 1,000 labels would (a power prior: Ibrahim and Chen 2000).
    ///
    /// Pairs were chosen by somebody, so how many of them are right, and how near those are, says nothing of traffic; what a
    /// difference is worth does (as in case-control studies: Prentice and Pyke 1979). Each source of pairs therefore has
    /// a bias and a slope of its own besides the common ones, which are forgotten afterwards.
    #[must_use]
    pub fn of_sources(sources: &[Examples], metric: Option<Metric>) -> Self {
        let mut pairs_before = 0;
        let mut all = Vec::new();
        for source in sources {
            let own = (source.kind == SourceKind::Pairs).then_some(pairs_before.min(MAX_PAIRS - 1));
            all.extend(source.examples.iter().map(|example| with_own(example, own)));
            pairs_before += usize::from(own.is_some());
        }
        let wide = fit_sensibly(&all);
        let mut mean = [0.0; FEATURES];
        mean.copy_from_slice(&wide[..FEATURES]);
        let examples: Vec<Example<FEATURES>> =
            sources.iter().flat_map(|source| source.examples.iter().copied()).collect();
        let weight: f64 = examples.iter().map(|example| f64::from(example.weight)).sum();
        let mut precision = information(&examples, &mean);
        for (row, values) in precision.iter_mut().enumerate() {
            values.iter_mut().for_each(|value| *value *= WORTH / weight.max(WORTH));
            values[row] += RIDGE;
        }
        Self { coefficients: Prior { mean, precision }, metric, is_informed: true }
    }

    /// An example from features and a label.
    #[must_use]
    pub fn example(features: FeatureVector, right: bool, weight: f32) -> Example<FEATURES> {
        Example { features, right, weight }
    }
}

/// Labelled cases of one source.
#[derive(Debug, Clone)]
pub struct Examples {
    /// How they came to be.
    pub kind: SourceKind,
    /// The cases.
    pub examples: Vec<Example<FEATURES>>,
}

/// How labelled cases came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// A cache met them, one after the other.
    Traffic,
    /// Somebody put them together.
    Pairs,
}

/// Features that each source of pairs has a coefficient of its own for.
const OWN: [&str; 2] = ["bias", "cosine"];
/// Sources of pairs that are told apart.
const MAX_PAIRS: usize = 4;
const WIDE: usize = FEATURES + OWN.len() * MAX_PAIRS;

/// The features of an example, and once more those of its source's own.
fn with_own(example: &Example<FEATURES>, own: Option<usize>) -> Example<WIDE> {
    let mut features = [0.0; WIDE];
    features[..FEATURES].copy_from_slice(&example.features);
    if let Some(source) = own {
        for (place, name) in OWN.iter().enumerate() {
            let feature = feature_names().position(|known| known == *name).unwrap_or_default();
            features[FEATURES + source * OWN.len() + place] = example.features[feature];
        }
    }
    Example { features, right: example.right, weight: example.weight }
}

/// The most probable coefficients of which none says that likeness speaks against a candidate, or a difference for it: those that
/// would are held at zero, one after the other.
fn fit_sensibly(examples: &[Example<WIDE>]) -> [f64; WIDE] {
    let mut prior = Prior::ridge(FIRST_RIDGE);
    loop {
        let mean = fit(examples, 0.0, &prior, &[0.0; WIDE]);
        let senseless = |place: &usize| match TABLE[*place].sign {
            Sign::For => -mean[*place],
            Sign::Against => mean[*place],
            Sign::Neither => 0.0,
        };
        let worst =
            (0..FEATURES).max_by(|a, b| senseless(a).total_cmp(&senseless(b))).filter(|at| senseless(at) > HELD);
        let Some(worst) = worst else { return mean };
        prior.precision[worst][worst] = HOLD;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: SourceKind, examples: Vec<Example<FEATURES>>) -> ModelPrior {
        ModelPrior::of_sources(&[Examples { kind, examples }], None)
    }

    fn made() -> ModelPrior {
        let example = |n: usize| {
            let mut features = [0.0; FEATURES];
            (features[0], features[1]) = (1.0, (n % 20) as f32 / 10.0 - 1.0);
            ModelPrior::example(features, n % 20 > 9 || n.is_multiple_of(7), 1.0)
        };
        of(SourceKind::Traffic, (0..4000).map(example).collect())
    }

    #[test]
    fn what_is_written_reads_back() {
        let made = made();
        let read = ModelPrior::from_json(&made.to_json("a test").unwrap()).unwrap();
        assert!(read.is_informed && read.coefficients.mean[1] > 1.0);
        for (row, values) in made.coefficients.precision.iter().enumerate() {
            for (column, value) in values.iter().enumerate() {
                assert!((value - read.coefficients.precision[row][column]).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn likeness_never_speaks_against_a_candidate() {
        let overlap = feature_names().position(|name| name == "overlap").unwrap();
        let example = |n: usize| {
            let mut features = [0.0; FEATURES];
            (features[0], features[overlap]) = (1.0, (n % 20) as f32 / 10.0 - 1.0);
            ModelPrior::example(features, n % 20 < 9, 1.0)
        };
        let prior = of(SourceKind::Traffic, (0..2000).map(example).collect());
        assert!(prior.coefficients.mean[overlap].abs() < 2e-3, "{:?}", prior.coefficients.mean);
    }

    #[test]
    fn a_prior_of_other_features_or_none_at_all_is_refused() {
        let text = made().to_json("a test").unwrap();
        let other = text.replacen("cosine", "sine", 1);
        assert!(matches!(ModelPrior::from_json(&other), Err(PriorError::OtherFeatures)));
        assert!(matches!(ModelPrior::from_json("{}"), Err(PriorError::Malformed(_))));
    }
}
