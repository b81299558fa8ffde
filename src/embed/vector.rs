//! Unit vectors and the angle between two.

use std::sync::Arc;

use super::dot::dot;
use super::identity::ModelDigest;

/// A vector of length 1, so that the dot product of two is their cosine. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding(Arc<[f32]>);

impl Embedding {
    /// Scales `values` to length 1. `None` where that is impossible: not finite, or all zero.
    #[must_use]
    pub fn normalised(mut values: Vec<f32>) -> Option<Self> {
        let norm = values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        if !norm.is_finite() || norm <= f64::EPSILON {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "f32 is the precision of embeddings")]
        let scale = (1.0 / norm) as f32;
        for x in &mut values {
            *x *= scale;
        }
        Some(Self(values.into()))
    }

    /// Components that are known to be of length 1. `None` where they aren't.
    #[must_use]
    pub fn unit(values: impl Iterator<Item = f32>) -> Option<Self> {
        /// What rounding may change the square of a length by.
        const ROUNDING: f32 = 1e-3;
        let values: Arc<[f32]> = values.collect();
        ((dot(&values, &values) - 1.0).abs() < ROUNDING).then_some(Self(values))
    }

    /// Its components.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// The number of components.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.0.len()
    }

    /// The cosine of the angle to `other`, which must have the same dimension.
    #[must_use]
    pub fn cosine(&self, other: &Self) -> Cosine {
        Cosine::new(dot(&self.0, &other.0))
    }
}

/// The plain cosine of an angle, between -1 and 1.
///
/// The LangCache API speaks of the *normalised* cosine (1 + cos) / 2 instead; it is converted at that API's border, by
/// [`normalised`](Self::normalised) and [`from_normalised`](Self::from_normalised), and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
pub struct Cosine(f32);

impl Cosine {
    /// The largest, between a vector and itself.
    pub const ONE: Self = Self(1.0);

    /// Clamps what rounding pushed out of range; NaN becomes the smallest, so that it never matches.
    #[must_use]
    pub fn new(value: f32) -> Self {
        if value.is_nan() { Self(-1.0) } else { Self(value.clamp(-1.0, 1.0)) }
    }

    /// As a plain number.
    #[must_use]
    pub fn get(self) -> f32 {
        self.0
    }

    /// (1 + cos) / 2, between 0 and 1.
    #[must_use]
    pub fn normalised(self) -> f32 {
        f32::midpoint(1.0, self.0)
    }

    /// The plain cosine of a normalised one.
    #[must_use]
    pub fn from_normalised(value: f32) -> Self {
        Self::new(2.0 * value - 1.0)
    }
}

/// What the embedder makes of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct TextEmbedding {
    /// The text's vector; of a text longer than the model's window, the mean of its windows' vectors.
    pub vector: Embedding,
    /// Whether the vector misses some of what the text says, so that it can find neighbours but not judge them: the mean of
    /// several windows blurs what sets two texts apart, and words that the vocabulary lacks (many scripts and emoji) are all
    /// the same to the model.
    pub lossy: bool,
    /// The text's length in tokens, special ones not counted.
    pub tokens: usize,
    /// Which model made it: it can be compared with this model's vectors only.
    pub model: ModelDigest,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_normalised_vector_has_length_one(values in prop::collection::vec(-1e3f32..1e3, 1..50)) {
            if let Some(unit) = Embedding::normalised(values) {
                prop_assert!((unit.cosine(&unit).get() - 1.0).abs() < 1e-5);
                prop_assert_eq!(Embedding::unit(unit.as_slice().iter().copied()), Some(unit));
            }
        }

        #[test]
        fn the_two_scales_of_similarity_convert_both_ways(value in -1.0f32..=1.0) {
            let cosine = Cosine::new(value);
            prop_assert!((Cosine::from_normalised(cosine.normalised()).get() - value).abs() < 1e-6);
        }
    }

    #[test]
    fn what_has_no_direction_is_no_embedding() {
        for values in [vec![0.0; 4], vec![f32::NAN, 1.0], vec![f32::INFINITY, 1.0], vec![]] {
            assert_eq!(Embedding::unit(values.iter().copied()), None);
            assert_eq!(Embedding::normalised(values), None);
        }
    }
}
