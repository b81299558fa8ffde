//! How far apart two prompts are for the traffic that they come from.
//!
//! Prompts that have one answer differ too, more in some directions than in others: that is phrasing, not meaning. The cosine is
//! therefore taken of vectors less the mean of all, in the metric of the covariance Σ *within* answers, shrunk towards a multiple of the
//! unit matrix: that of Fisher's discriminant (1936; Ledoit and Wolf 2004 for the shrinkage). Of Σ the [`RANK`] main axes are known one
//! by one, and the others by their mean variance.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::scatter::Scatter;
use crate::embed::{Columns, dot};

/// Axes along which prompts vary most, of which each has a variance of its own.
const RANK: usize = 64;
/// What is added to each variance, of the mean of all of them: few prompts don't tell how little they vary in a direction.
const SHRINKAGE: f32 = 0.3;
/// Prompts of a cache that count as much as all those that a prior was made of.
const WORTH: f32 = 200.0;
/// Steps towards the axes. Those that are still mixed then have nearly the same variance, so that it doesn't matter.
const STEPS: usize = 8;

/// A metric for vectors of some dimension.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Variation", into = "Variation")]
pub struct Metric {
    of: Variation,
    /// For each axis, what a product has too much of along it where all directions are taken to vary alike.
    too_much: Vec<f32>,
    axes: Arc<Columns>,
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        // All else follows from it.
        self.of == other.of
    }
}

/// How vectors of some dimension vary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Variation {
    mean: Vec<f32>,
    /// Unit vectors at right angles to each other.
    axes: Vec<Vec<f32>>,
    /// Along each axis.
    variances: Vec<f32>,
    /// Along any other direction.
    rest: f32,
}

impl Metric {
    /// The metric of `own` prompts, and of those that `prior` was made of. None where there are too few. `last` is what it was
    /// before: it won't have changed much.
    #[must_use]
    pub fn of(own: &Scatter, prior: Option<&Self>, last: Option<&Self>) -> Option<Self> {
        let dimension = own.mean.len();
        let prior = prior.map(|prior| &prior.of).filter(|prior| prior.mean.len() == dimension);
        if dimension == 0 || (prior.is_none() && own.within < WORTH) {
            return None;
        }
        let (mean, covariance) = pooled(own, prior);
        let rank = RANK.min(dimension);
        let last = last.map(|last| &last.of).filter(|last| last.mean.len() == dimension && last.axes.len() == rank);
        let near = last.or(prior);
        let start = near.map_or_else(|| anywhere(dimension), |near| near.axes.clone());
        let axes = main_axes(&covariance, start.into_iter().take(rank).collect());
        let variances: Vec<f32> = axes.iter().map(|axis| dot(axis, &times(&covariance, axis)).max(0.0)).collect();
        let trace: f32 = covariance.iter().enumerate().map(|(place, row)| row[place]).sum();
        #[expect(clippy::cast_precision_loss, reason = "a dimension")]
        let others = (dimension - axes.len()).max(1) as f32;
        let rest = ((trace - variances.iter().sum::<f32>()) / others).max(f32::MIN_POSITIVE);
        Some(Variation { mean, axes, variances, rest }.into())
    }

    /// The plain cosine.
    #[must_use]
    pub fn plain(dimension: usize) -> Self {
        Variation { mean: vec![0.0; dimension], axes: Vec::new(), variances: Vec::new(), rest: 1.0 }.into()
    }

    /// Whether all is there, finite, and of one dimension.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let Variation { mean, axes, variances, rest } = &self.of;
        let is_finite = |values: &Vec<f32>| values.iter().all(|value| value.is_finite());
        !mean.is_empty()
            && axes.len() == variances.len()
            && axes.iter().all(|axis| axis.len() == mean.len() && is_finite(axis))
            && is_finite(mean)
            && variances.iter().all(|variance| variance.is_finite() && *variance >= 0.0)
            && rest.is_finite()
            && *rest > 0.0
    }

    /// The same with `digits` behind the point, for people's files.
    #[must_use]
    pub fn rounded(&self, digits: i32) -> Self {
        let scale = 10f32.powi(digits);
        let round = |value: &f32| (value * scale).round() / scale;
        let all = |values: &Vec<f32>| values.iter().map(round).collect::<Vec<f32>>();
        // Variances are small.
        let fine = |value: &f32| (value * scale * 1e3).round() / (scale * 1e3);
        Variation {
            mean: all(&self.of.mean),
            axes: self.of.axes.iter().map(all).collect(),
            variances: self.of.variances.iter().map(fine).collect(),
            rest: fine(&self.of.rest),
        }
        .into()
    }

    /// Whether it is for vectors of this dimension.
    #[must_use]
    pub fn fits(&self, dimension: usize) -> bool {
        self.of.mean.len() == dimension
    }

    /// The cosines of the angles between the first of some vectors, which stand one after the other, and each of the others.
    pub(super) fn cosines_with_first(&self, mut vectors: Vec<f32>) -> Vec<f32> {
        let (dimension, width) = (self.of.mean.len(), self.axes.width());
        for vector in vectors.chunks_mut(dimension) {
            vector.iter_mut().zip(&self.of.mean).for_each(|(value, mean)| *value -= mean);
        }
        let along = self.axes.times(&vectors);
        let seen =
            |at: usize| Seen { away: &vectors[at * dimension..][..dimension], along: &along[at * width..][..width] };
        let length = |of: Seen<'_>| self.product(of, of).max(0.0).sqrt();
        let Some(others) = (vectors.len() / dimension).checked_sub(1) else { return Vec::new() };
        let (first, of_first) = (seen(0), length(seen(0)));
        let cosine = |other: Seen<'_>| {
            let lengths = of_first * length(other);
            if lengths > f32::MIN_POSITIVE { (self.product(first, other) / lengths).clamp(-1.0, 1.0) } else { 0.0 }
        };
        (1..=others).map(|at| cosine(seen(at))).collect()
    }

    /// a·(Σ + λ)⁻¹·b, times the variance along the directions that are no axis: what is left of the plain product where an axis varies
    /// more than those.
    fn product(&self, a: Seen<'_>, b: Seen<'_>) -> f32 {
        let along = self.too_much.iter().zip(a.along.iter().zip(b.along));
        dot(a.away, b.away) - along.map(|(too_much, (a, b))| too_much * a * b).sum::<f32>()
    }
}

/// A vector as a [`Metric`] sees it.
#[derive(Debug, Clone, Copy)]
struct Seen<'v> {
    /// Less the mean.
    away: &'v [f32],
    /// Along each axis.
    along: &'v [f32],
}

impl From<Variation> for Metric {
    fn from(of: Variation) -> Self {
        let added = of.added();
        let usual = of.rest + added;
        let too_much = of.variances.iter().map(|variance| 1.0 - usual / (variance + added)).collect();
        Self { axes: Arc::new(Columns::new(&of.axes)), of, too_much }
    }
}

impl From<Metric> for Variation {
    fn from(metric: Metric) -> Self {
        metric.of
    }
}

impl Variation {
    fn covariance(&self, row: usize, column: usize) -> f32 {
        let along = self.axes.iter().zip(&self.variances);
        let of_axes: f32 = along.map(|(axis, variance)| (variance - self.rest) * axis[row] * axis[column]).sum();
        if row == column { of_axes + self.rest } else { of_axes }
    }

    /// λ.
    fn added(&self) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "a dimension")]
        let (all, others) = (self.mean.len() as f32, self.mean.len().saturating_sub(self.axes.len()) as f32);
        SHRINKAGE * (self.variances.iter().sum::<f32>() + others * self.rest) / all
    }
}

type Matrix = Vec<Vec<f32>>;

/// Mean, and covariance within answers, of `own` prompts together with those of `prior`.
fn pooled(own: &Scatter, prior: Option<&Variation>) -> (Vec<f32>, Matrix) {
    let worth = prior.map_or(0.0, |_| WORTH);
    let of_prior = prior.map_or(own.mean.as_slice(), |prior| prior.mean.as_slice());
    let mine = own.count / (own.count + worth).max(1.0);
    let mean = own.mean.iter().zip(of_prior).map(|(own, prior)| prior + mine * (own - prior)).collect();
    let within = (own.within + worth).max(1.0);
    let mut sums = own.products.as_slice();
    let of_row = |row: usize| -> Vec<f32> {
        let (products, others) = sums.split_at(row + 1);
        sums = others;
        let of_column = |(column, product): (usize, &f32)| {
            (product + worth * prior.map_or(0.0, |prior| prior.covariance(row, column))) / within
        };
        products.iter().enumerate().map(of_column).collect()
    };
    let lower: Matrix = (0..own.mean.len()).map(of_row).collect();
    let at = |row: usize, column: usize| if column <= row { lower[row][column] } else { lower[column][row] };
    let covariance = (0..lower.len()).map(|row| (0..lower.len()).map(|column| at(row, column)).collect()).collect();
    (mean, covariance)
}

/// The axes of largest variance, by orthogonal iteration (Bauer 1957) from `start`.
fn main_axes(covariance: &Matrix, start: Matrix) -> Matrix {
    let mut axes = start;
    for _ in 0..STEPS {
        axes = axes.iter().map(|axis| times(covariance, axis)).collect();
        make_orthonormal(&mut axes);
    }
    axes
}

fn times(matrix: &Matrix, vector: &[f32]) -> Vec<f32> {
    matrix.iter().map(|row| dot(row, vector)).collect()
}

/// Gram and Schmidt's, one vector after the other. What is left of nothing is left out.
fn make_orthonormal(vectors: &mut Matrix) {
    let mut done: Matrix = Vec::with_capacity(vectors.len());
    for mut vector in vectors.drain(..) {
        let before = dot(&vector, &vector).sqrt();
        for other in &done {
            let by = dot(other, &vector);
            vector.iter_mut().zip(other).for_each(|(value, other)| *value -= by * other);
        }
        let length = dot(&vector, &vector).sqrt();
        if length > before * 1e-4 && length > f32::MIN_POSITIVE {
            vector.iter_mut().for_each(|value| *value /= length);
            done.push(vector);
        }
    }
    *vectors = done;
}

/// Directions that no covariance can be expected to know.
fn anywhere(dimension: usize) -> Matrix {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        #[expect(clippy::cast_precision_loss, reason = "24 bits")]
        let value = (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        value
    };
    (0..RANK).map(|_| (0..dimension).map(|_| next()).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors that vary much along the first direction, less along the second, little elsewhere, around (1, 1, …).
    fn vectors(count: usize) -> Matrix {
        let spreads = [3.0, 1.5, 0.2, 0.2, 0.2, 0.2];
        let mut state = 7u64;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..count).map(|_| spreads.iter().map(|spread| 1.0 + spread * draw()).collect()).collect()
    }

    /// Of vectors that all have one answer.
    fn scatter(vectors: &[Vec<f32>]) -> Scatter {
        let mut scatter = Scatter::default();
        vectors.iter().for_each(|vector| scatter.add(vector));
        scatter.add_answered(vectors.iter().map(|vector| ((), vector.as_slice())));
        scatter
    }

    fn cosine(metric: &Metric, a: &[f32], b: &[f32]) -> f32 {
        metric.cosines_with_first([a, b].concat())[0]
    }

    fn of(vectors: &[Vec<f32>]) -> Metric {
        Metric::of(&scatter(vectors), None, None).unwrap()
    }

    #[test]
    fn where_prompts_of_one_answer_vary_a_difference_tells_less() {
        let metric = of(&vectors(2000));
        let asked = [3.0, 2.0, 1.3, 1.0, 1.0, 1.0];
        let elsewhere_along_the_first = cosine(&metric, &asked, &[1.5, 2.0, 1.3, 1.0, 1.0, 1.0]);
        let other_in_the_third = cosine(&metric, &asked, &[3.0, 2.0, 0.7, 1.0, 1.0, 1.0]);
        assert!(elsewhere_along_the_first > other_in_the_third);
        assert!((cosine(&metric, &asked, &asked) - 1.0).abs() < 1e-4);
    }

    #[test]
    fn products_are_those_of_the_inverse_covariance() {
        let vectors = vectors(2000);
        let metric = of(&vectors);
        // Directions don't depend on each other, so that the inverse is nearly diagonal.
        let variance = |place: usize| {
            let mean = vectors.iter().map(|vector| vector[place]).sum::<f32>() / 2000.0;
            vectors.iter().map(|vector| (vector[place] - mean).powi(2)).sum::<f32>() / 2000.0
        };
        let variances: Vec<f32> = (0..6).map(variance).collect();
        let added = SHRINKAGE * variances.iter().sum::<f32>() / 6.0;
        let (a, b) = ([2.0, 0.0, 1.1, 0.9, 1.2, 1.0], [1.5, 1.5, 0.9, 1.1, 1.1, 1.0]);
        let product = |a: &[f32; 6], b: &[f32; 6]| -> f32 {
            (0..6).map(|at| (a[at] - metric.of.mean[at]) * (b[at] - metric.of.mean[at]) / (variances[at] + added)).sum()
        };
        let expected = product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt();
        let found = cosine(&metric, &a, &b);
        assert!((expected - found).abs() < 0.03, "{expected} {found}");
    }

    #[test]
    fn a_prior_counts_until_there_are_prompts_of_its_own() {
        let prior = of(&vectors(2000));
        let turned: Matrix = vectors(4000).iter().map(|vector| vector.iter().rev().copied().collect()).collect();
        let first = |metric: &Metric| metric.of.axes[0].iter().map(|value| value.abs()).collect::<Vec<_>>();
        let few = Metric::of(&scatter(&turned[..20]), Some(&prior), None).unwrap();
        assert!(first(&few)[0] > 0.9, "{:?}", few.of.axes[0]);
        let many = Metric::of(&scatter(&turned), Some(&prior), Some(&few)).unwrap();
        assert!(first(&many)[5] > 0.9, "{:?}", many.of.axes[0]);
        assert_eq!(Metric::of(&scatter(&turned[..20]), None, None), None);
    }

    #[test]
    fn vectors_of_another_dimension_begin_anew_and_equal_ones_do_no_harm() {
        let mut scatter = scatter(&vectors(300));
        (0..300).for_each(|_| {
            scatter.add(&[1.0, 0.0]);
            scatter.add_within(&[0.0, 0.0], 1.0);
        });
        let metric = Metric::of(&scatter, None, None).unwrap();
        assert!(cosine(&metric, &[1.0, 0.0], &[0.0, 1.0]).is_finite());
        assert!(cosine(&metric, &[1.0, 0.0], &[1.0, 0.0]).is_finite());
        assert!(metric.is_sound());
    }
}
