//! Logistic regression with a Gaussian prior.
//!
//! P(right | x) = p = 1 / (1 + exp(-b·x)). A share ε of labels is taken to say the contrary of what is so, whatever x is, so that a case is
//! labelled right with the probability q = ε + (1 − 2ε)·p (Copas 1988). Without that, a single wrong label about a case that is as good
//! as hopeless moves the coefficients more than hundreds of others, until hopeless cases are thought sure. The coefficients are those of the largest posterior density under b ~ N(mean,
//! precision⁻¹): with few labels they stay where the prior has them, with many they go where the labels are. Newton's method
//! with the expected curvature finds them (McCullagh and Nelder, Generalized Linear Models, 1989, chapters 2.5 and 4.4). Where
//! ε = 0, the posterior is concave and has one maximum; otherwise it's the one near the start.

use serde::{Deserialize, Serialize};

/// Newton steps at most; from where the last fit ended, three or four are enough.
const MAX_STEPS: usize = 25;
/// Largest change of a coefficient in one step: far from the maximum, Newton's steps are too long.
const LONGEST: f64 = 4.0;
/// Change of all coefficients below which they are found.
const FOUND: f64 = 1e-4;

/// A labelled case: what is known of it, whether it was right, and how much that counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Example<const N: usize> {
    /// The features.
    #[serde(with = "array")]
    pub features: [f32; N],
    /// The label.
    pub right: bool,
    /// 1 for an ordinary one.
    pub weight: f32,
}

/// What the coefficients are before there are labels, and how firmly.
#[derive(Debug, Clone, PartialEq)]
pub struct Prior<const N: usize> {
    /// Their mean.
    pub mean: [f64; N],
    /// The inverse of their covariance: symmetric, positive definite.
    pub precision: Box<[[f64; N]; N]>,
}

impl<const N: usize> Prior<N> {
    /// Coefficients around zero that don't depend on each other.
    #[must_use]
    pub fn ridge(precision: f64) -> Self {
        let mut matrix = Box::new([[0.0; N]; N]);
        (0..N).for_each(|i| matrix[i][i] = precision);
        Self { mean: [0.0; N], precision: matrix }
    }
}

/// P(right | x) for coefficients `b` and features `x`.
#[must_use]
pub fn probability<const N: usize>(b: &[f64; N], x: &[f32; N]) -> f64 {
    sigmoid(b.iter().zip(x).map(|(b, x)| b * f64::from(*x)).sum())
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// The most probable coefficients after `examples`, of whose labels the share `mislabelled` (from 0, below 0.5) is wrong, looked for
/// from `start`.
#[must_use]
pub fn fit<const N: usize>(examples: &[Example<N>], mislabelled: f64, prior: &Prior<N>, start: &[f64; N]) -> [f64; N] {
    let mut b = *start;
    let mut curvature = Box::new([[0.0; N]; N]);
    for _ in 0..MAX_STEPS {
        let gradient = derivatives(examples, mislabelled, prior, &b, &mut curvature);
        let Some(step) = solve(&mut curvature, gradient) else { break };
        let longest = step.iter().fold(0.0f64, |longest, change| longest.max(change.abs()));
        if !longest.is_finite() {
            break;
        }
        let scale = if longest > LONGEST { LONGEST / longest } else { 1.0 };
        b.iter_mut().zip(step).for_each(|(b, change)| *b += scale * change);
        if longest < FOUND {
            break;
        }
    }
    b
}

/// The curvature (negative second derivatives) of the log posterior at `prior`'s weight and `examples`: what a prior that is
/// worth these examples, none of them mislabelled, has as its precision. Symmetric.
#[must_use]
pub fn information<const N: usize>(examples: &[Example<N>], b: &[f64; N]) -> Box<[[f64; N]; N]> {
    let mut curvature = Box::new([[0.0; N]; N]);
    derivatives(examples, 0.0, &Prior::ridge(0.0), b, &mut curvature);
    for row in 0..N {
        for column in 0..row {
            curvature[column][row] = curvature[row][column];
        }
    }
    curvature
}

/// First derivatives of the log posterior at `b`, and the lower triangle of its expected curvature.
fn derivatives<const N: usize>(
    examples: &[Example<N>],
    mislabelled: f64,
    prior: &Prior<N>,
    b: &[f64; N],
    curvature: &mut [[f64; N]; N],
) -> [f64; N] {
    let mut gradient = [0.0; N];
    curvature.clone_from(&prior.precision);
    let away: [f64; N] = std::array::from_fn(|place| b[place] - prior.mean[place]);
    for (gradient, row) in gradient.iter_mut().zip(prior.precision.iter()) {
        *gradient = -row.iter().zip(&away).map(|(precision, away)| precision * away).sum::<f64>();
    }
    for Example { features, right, weight } in examples {
        let x = features.map(f64::from);
        let p = sigmoid(b.iter().zip(&x).map(|(b, x)| b * x).sum());
        let says_right = mislabelled + (1.0 - 2.0 * mislabelled) * p;
        // How much a label says about b·x: as it does anywhere else where nothing is mislabelled, and next to nothing where p is beyond ε.
        let slope = (1.0 - 2.0 * mislabelled) * p * (1.0 - p);
        let telling = slope / (says_right * (1.0 - says_right)).max(f64::MIN_POSITIVE);
        let residual = f64::from(*weight) * telling * (f64::from(u8::from(*right)) - says_right);
        let information = f64::from(*weight) * telling * slope;
        for row in 0..N {
            // Most differences are absent from most cases.
            if x[row] == 0.0 {
                continue;
            }
            gradient[row] += residual * x[row];
            let by = information * x[row];
            for (sum, x) in curvature[row][..=row].iter_mut().zip(&x) {
                *sum += by * x;
            }
        }
    }
    gradient
}

/// Solves `matrix` · x = `right`, of a symmetric positive definite matrix whose lower triangle is given, by Cholesky's
/// decomposition, which replaces it. None where it isn't positive definite.
fn solve<const N: usize>(matrix: &mut [[f64; N]; N], right: [f64; N]) -> Option<[f64; N]> {
    for row in 0..N {
        for column in 0..=row {
            let known: f64 = (0..column).map(|k| matrix[row][k] * matrix[column][k]).sum();
            let rest = matrix[row][column] - known;
            if row != column {
                matrix[row][column] = rest / matrix[column][column];
            } else if rest > 1e-12 {
                matrix[row][row] = rest.sqrt();
            } else {
                return None;
            }
        }
    }
    let mut x = right;
    for row in 0..N {
        let known: f64 = (0..row).map(|k| matrix[row][k] * x[k]).sum();
        x[row] = (x[row] - known) / matrix[row][row];
    }
    for row in (0..N).rev() {
        let known: f64 = (row + 1..N).map(|k| matrix[k][row] * x[k]).sum();
        x[row] = (x[row] - known) / matrix[row][row];
    }
    Some(x)
}

/// Arrays of any length, which serde knows up to 32 only.
mod array {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer, const N: usize>(array: &[f32; N], to: S) -> Result<S::Ok, S::Error> {
        array.as_slice().serialize(to)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>, const N: usize>(from: D) -> Result<[f32; N], D::Error> {
        let values = Vec::<f32>::deserialize(from)?;
        let length = values.len();
        values.try_into().map_err(|_| D::Error::custom(format!("{length} features instead of {N}")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::draws::draws;
    use super::*;

    fn examples(b: [f64; 3], count: usize) -> Vec<Example<3>> {
        let mut draws = draws();
        let mut next = || draws.next().unwrap_or_default();
        let one = |_| {
            #[expect(clippy::cast_possible_truncation, reason = "features are f32")]
            let features = [1.0, (next() * 4.0 - 2.0) as f32, (next() * 2.0 - 1.0) as f32];
            Example { features, right: next() < probability(&b, &features), weight: 1.0 }
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn what_made_the_labels_is_found() {
        let made_by = [0.5, 2.0, -1.0];
        let found = fit(&examples(made_by, 20_000), 0.0, &Prior::ridge(0.01), &[0.0; 3]);
        for (made, found) in made_by.iter().zip(found) {
            assert!((made - found).abs() < 0.1, "{made} {found}");
        }
    }

    #[test]
    fn wrong_labels_about_hopeless_cases_do_not_make_them_sure() {
        let mut examples = examples([0.0, 4.0, 0.0], 2000);
        // Far beyond all others, and said to be right a few times though they aren't.
        let hopeless = |n: u32| Example { features: [1.0, -8.0, 0.0], right: n == 0, weight: 1.0 };
        examples.extend((0..60).map(|n| hopeless(n % 12)));
        let found = |mislabelled| fit(&examples, mislabelled, &Prior::ridge(0.1), &[0.0, 1.0, 0.0])[1];
        assert!(found(0.0) < 3.1, "one label in four hundred flattens the curve: {}", found(0.0));
        assert!((found(0.03) - 4.0).abs() < 0.6, "{}", found(0.03));
    }

    #[test]
    fn flipped_labels_are_seen_through() {
        let made_by = [0.5, 2.0, -1.0];
        let mut draws = draws().skip(77);
        let mut flipped = examples(made_by, 20_000);
        flipped.iter_mut().for_each(|example| example.right ^= draws.next().unwrap() < 0.05);
        let found = fit(&flipped, 0.05, &Prior::ridge(0.01), &[0.0; 3]);
        for (made, found) in made_by.iter().zip(found) {
            assert!((made - found).abs() < 0.15, "{made} {found}");
        }
    }

    #[test]
    fn without_labels_the_prior_stays_and_few_move_it_little() {
        let prior = Prior { mean: [1.0, -1.0, 3.0], ..Prior::ridge(50.0) };
        assert_eq!(fit(&[], 0.0, &prior, &[0.0; 3]).map(|b| (b * 1e6).round() / 1e6), prior.mean);
        let moved = fit(&examples([-3.0, 0.0, 0.0], 10), 0.0, &prior, &prior.mean);
        assert!(moved[0] < 1.0 && moved[0] > 0.7, "{moved:?}");
    }

    #[test]
    fn the_start_does_not_matter() {
        let examples = examples([1.0, -4.0, 0.3], 500);
        let from = |start| fit(&examples, 0.0, &Prior::ridge(1.0), &start);
        for (a, b) in from([0.0; 3]).into_iter().zip(from([9.0, 9.0, -9.0])) {
            assert!((a - b).abs() < 1e-3, "{a} {b}");
        }
    }

    #[test]
    fn information_is_what_a_prior_of_these_examples_has() {
        let examples = examples([0.2, 1.0, 0.0], 3000);
        let b = fit(&examples, 0.0, &Prior::ridge(1e-6), &[0.0; 3]);
        let prior = Prior { mean: b, precision: information(&examples, &b) };
        let more = self::examples([0.2, 1.0, 0.0], 6000);
        let all = fit(&more, 0.0, &Prior::ridge(1e-6), &b);
        let second_half = fit(&more[3000..], 0.0, &prior, &b);
        for (all, updated) in all.iter().zip(second_half) {
            assert!((all - updated).abs() < 0.03, "{all} {updated}");
        }
    }

    proptest! {
        #[test]
        fn labels_of_any_kind_leave_the_coefficients_finite(
            cases in prop::collection::vec((prop::array::uniform3(-9.0f32..9.0), any::<bool>(), 0.0f32..20.0), 0..60)
        ) {
            let examples: Vec<_> =
                cases.into_iter().map(|(features, right, weight)| Example { features, right, weight }).collect();
            for mislabelled in [0.0, 0.03, 0.4] {
                let b = fit(&examples, mislabelled, &Prior::ridge(0.3), &[0.0; 3]);
                prop_assert!(b.iter().all(|b| b.is_finite()));
            }
        }
    }
}
