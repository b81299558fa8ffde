//! The baseline rule "per-entry": each entry learns a logistic curve of its own, from cosine to right or wrong.
//!
//! It follows the published rule ("vCache: Verified Semantic Prompt Caching", arXiv 2502.03771), from its formulas and
//! with its constants, for comparison with better ones. With s the cosine between a prompt and the entry's,
//!
//! ```text
//! P(right | s) = L(s; t, γ) = 1 / (1 + exp(-γ (s - t)))                    (eq. 9)
//! ```
//!
//! where t, a cosine, is where the entry is right half the time, and γ > 0, per unit of cosine, how steep the curve is.
//! An explored prompt, one that the provider is asked for, is right by definition. So no more than a share δ of *all*
//! prompts (not: of all hits) is answered wrongly if prompts are explored with a probability of at least
//!
//! ```text
//! τ = 1 - δ / (1 - P(right | s))                                           (theorem 4.1)
//! ```
//!
//! and the rule takes a bound of P(right | s) from below for it; see [`Observations::explore_probability`].
//!
//! Where the source leaves something open:
//! - Its table of variances for separable observations is known at 6 to 15, 31 and 45 to 48 observations; between, it
//!   is interpolated linearly.
//! - Separable observations have no likeliest curve: the likelihood grows with γ for ever. Newton's method stops where
//!   the mean score has fallen to the tolerance that the source gives its own optimiser, so t is about halfway between
//!   the last wrong and the first right cosine, and γ large. The same holds where the two meet in a single cosine; that
//!   isn't separable by the source's definition, so its variance comes from the curve.
//! - The curve is rounded where it is evaluated, not where its variance is computed.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::embed::Cosine;

/// Fewer observations than this, the two pseudo-observations counted, say nothing.
const FEWEST: usize = 6;

/// Mean score, per observation, at which the likelihood counts as largest.
const TOLERANCE: f64 = 1e-8;

/// Newton steps after which there is no curve. None of two million random entries took more than 28; where observations
/// aren't separable it takes about 10.
const MOST_STEPS: usize = 100;

/// Halvings of one Newton step.
const MOST_HALVINGS: i32 = 30;

/// The part of the promised gain that a step must bring.
const SUFFICIENT: f64 = 0.25;

/// The smallest steepness, per unit of cosine: an entry that is wrong more often where it is nearer has a flat curve.
const FLATTEST: f64 = 1e-6;

/// Probabilities ε that the bound of t is too low, evenly from `EPSILON` to 1 - `EPSILON`, ends included.
const GRID: usize = 50;
const EPSILON: f64 = 1e-6;

/// Standard normal quantiles at 1 - ε, for the first half of the grid. The second half is its mirror image.
const QUANTILES: [f64; GRID / 2] = [
    4.753_424_308_828,
    2.045_371_516_305,
    1.741_280_116_363,
    1.544_568_234_345,
    1.394_167_665_813,
    1.270_003_946_191,
    1.162_827_568_718,
    1.067_567_358_356,
    0.981_123_264_450,
    0.901_451_698_927,
    0.827_128_117_260,
    0.757_115_457_935,
    0.690_631_830_781,
    0.627_070_255_450,
    0.565_947_561_079,
    0.506_870_517_369,
    0.449_512_603_357,
    0.393_597_586_662,
    0.338_887_597_224,
    0.285_174_242_280,
    0.232_271_820_493,
    0.180_012_005_854,
    0.128_239_568_090,
    0.076_808_821_849,
    0.025_580_577_951,
];

/// The variance of t, in squared cosines, by the number of observations (pseudo-observations counted) where a cosine
/// separates the right from the wrong.
const SEPARABLE: [(f64, f64); 15] = [
    (6.0, 0.035_445),
    (7.0, 0.028_285),
    (8.0, 0.026_436),
    (9.0, 0.021_349),
    (10.0, 0.019_371),
    (11.0, 0.012_615),
    (12.0, 0.011_433),
    (13.0, 0.010_228),
    (14.0, 0.009_963),
    (15.0, 0.009_253),
    (31.0, 0.004_57),
    (45.0, 0.018_91),
    (46.0, 0.015_13),
    (47.0, 0.021_09),
    (48.0, 0.015_31),
];

/// What is known of one entry: at which cosines its answer was right, and at which it was wrong.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Observations(VecDeque<Observed>);

/// One label.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Observed {
    /// The cosine in thousandths: it is rounded to three decimals.
    thousandths: i16,
    /// Whether the entry's answer was right at it.
    right: bool,
}

impl Observations {
    /// How many are kept, the newest ones.
    pub const MOST: usize = 256;

    /// Adds that the entry's answer was `right`, or wasn't, for a prompt at `cosine`. The oldest makes room where there
    /// are [`MOST`](Self::MOST).
    pub fn add(&mut self, cosine: Cosine, right: bool) {
        while self.0.len() >= Self::MOST {
            self.0.pop_front();
        }
        #[expect(clippy::cast_possible_truncation, reason = "a cosine is at most 1")]
        let thousandths = (f64::from(cosine.get()) * 1000.0).round_ties_even() as i16;
        self.0.push_back(Observed { thousandths, right });
    }

    /// The number of labels that are kept. The two pseudo-observations that every entry is born with don't count.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The probability τ with which a prompt at `cosine` is explored, so that at most `budget`, a share of all prompts,
    /// is answered wrongly. 1 while there are fewer than four labels or no curve fits them; may come out as 0 or less:
    /// always served.
    ///
    /// 1 - `budget` / (1 - α) is enough with any lower bound α of P(right | s); of a grid of bounds the largest counts
    /// (arXiv 2502.03771, theorem 4.1 and algorithm 1). With z the standard normal quantile,
    ///
    /// ```text
    /// t'(ε) = clip(t + z(1-ε) · sd(t), 0, 1)        not below the true t with probability 1 - ε
    /// α(ε) = (1 - ε) · L(s; t'(ε), γ)
    /// τ = min over ε of 1 - budget / (1 - α(ε))     ε = 1e-6 ... 1 - 1e-6, 50 evenly spaced; rounded to 5 decimals
    /// ```
    ///
    /// A `budget` is clamped to 0 to 1; not a number is 0. Fits the curve anew each time: about 10 µs of 10 labels,
    /// 170 µs of as many as are kept.
    #[must_use]
    pub fn explore_probability(&self, cosine: Cosine, budget: f64) -> f64 {
        let Some(fit) = self.fit() else {
            return 1.0;
        };
        let budget = if budget.is_nan() { 0.0 } else { budget.clamp(0.0, 1.0) };
        // τ falls as α grows, so the largest α gives the smallest τ. It is at most 1 - EPSILON: nothing divides by 0.
        let sure = fit.lower_bounds(cosine).fold(0.0, f64::max);
        rounded(1.0 - budget / (1.0 - sure), 1e5)
    }

    /// The plain estimate L(s; t, γ) of the probability that the answer is right at `cosine` (arXiv 2502.03771, eq. 9),
    /// without regard to how sure the curve is. `None` while there are fewer than four labels or no curve fits them.
    #[must_use]
    pub fn p_correct(&self, cosine: Cosine) -> Option<f64> {
        self.fit().map(|fit| fit.curve.at(f64::from(cosine.get())))
    }

    /// The entry's curve, `None` at cold start.
    fn fit(&self) -> Option<Fit> {
        let labels =
            self.0.iter().map(|seen| Point { cosine: f64::from(seen.thousandths) / 1000.0, right: seen.right });
        // The pseudo-observations: what has nothing in common is wrong, the same is right. They are never displaced.
        let born = [Point { cosine: 0.0, right: false }, Point { cosine: 1.0, right: true }];
        let points: Vec<Point> = born.into_iter().chain(labels).collect();
        if points.len() < FEWEST { None } else { Fit::of(&points) }
    }
}

/// An observation as the fit sees it.
#[derive(Debug, Clone, Copy)]
struct Point {
    cosine: f64,
    right: bool,
}

/// The logistic curve L.
#[derive(Debug, Clone, Copy)]
struct Curve {
    /// t: the cosine at which the answer is right half the time, from 0 to 1.
    threshold: f64,
    /// γ: per unit of cosine, not negative.
    steepness: f64,
}

impl Curve {
    /// The probability of being right at `cosine` (eq. 9).
    fn at(self, cosine: f64) -> f64 {
        1.0 / (1.0 + (-self.steepness * (cosine - self.threshold)).exp())
    }
}

/// A curve, and how sure it is.
#[derive(Debug, Clone, Copy)]
struct Fit {
    /// Rounded to three decimals.
    curve: Curve,
    /// The standard deviation of its threshold, in cosines.
    deviation: f64,
}

impl Fit {
    /// The likeliest curve (eq. 10, printed there as the least likely one). `None` if it isn't found.
    fn of(points: &[Point]) -> Option<Self> {
        let (line, state) = Line::likeliest(points)?;
        let steepness = line.slope.max(FLATTEST);
        let threshold = -line.intercept / steepness;
        let variance = separable_variance(points).unwrap_or_else(|| {
            // The delta method, g'Σg with g = (-1/γ, b/γ²) and Σ the inverse of X'WX, b the intercept, written about
            // the mean cosine: so nothing cancels where all weight is on cosines that are close to each other.
            (1.0 / state.weight + (state.mean - threshold).powi(2) / state.spread) / (steepness * steepness)
        });
        let curve = Curve { threshold: rounded(threshold.clamp(0.0, 1.0), 1e3), steepness: rounded(steepness, 1e3) };
        let deviation = variance.sqrt();
        (curve.threshold.is_finite() && curve.steepness.is_finite() && deviation.is_finite())
            .then_some(Self { curve, deviation })
    }

    /// Lower bounds α of the probability of being right at `cosine`, one for each ε of the grid.
    fn lower_bounds(self, cosine: Cosine) -> impl Iterator<Item = f64> {
        let cosine = f64::from(cosine.get());
        grid().map(move |(epsilon, quantile)| {
            let threshold = (self.curve.threshold + quantile * self.deviation).clamp(0.0, 1.0);
            (1.0 - epsilon) * Curve { threshold, ..self.curve }.at(cosine)
        })
    }
}

/// Each ε with the standard normal quantile at 1 - ε.
fn grid() -> impl Iterator<Item = (f64, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let epsilon = |at: usize| EPSILON + at as f64 * (1.0 - 2.0 * EPSILON) / (GRID - 1) as f64;
    let quantiles = QUANTILES.iter().copied().chain(QUANTILES.iter().rev().map(|quantile| -quantile));
    quantiles.enumerate().map(move |(at, quantile)| (epsilon(at), quantile))
}

/// The tabled variance of t where every right cosine is larger than every wrong one. `None` where they overlap.
fn separable_variance(points: &[Point]) -> Option<f64> {
    let of = |right| points.iter().filter(move |point| point.right == right).map(|point| point.cosine);
    let (first_right, last_wrong) =
        (of(true).fold(f64::INFINITY, f64::min), of(false).fold(f64::NEG_INFINITY, f64::max));
    (first_right > last_wrong).then(|| tabled_variance(points.len()))
}

/// The table's value for a number of observations, between its lines by linear interpolation, beyond its ends as there.
fn tabled_variance(observations: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let observations = observations as f64;
    let mut below = SEPARABLE[0];
    for above in SEPARABLE {
        if observations <= above.0 {
            // Both are the first line where there are as few as it has, or fewer.
            let share = if above.0 > below.0 { (observations - below.0) / (above.0 - below.0) } else { 0.0 };
            return below.1 + share * (above.1 - below.1);
        }
        below = above;
    }
    below.1
}

/// The log odds of being right as a line in the cosine.
#[derive(Debug, Clone, Copy)]
struct Line {
    intercept: f64,
    slope: f64,
}

/// The negative log likelihood at a line, with its derivatives.
#[derive(Debug, Clone, Copy)]
struct State {
    loss: f64,
    /// The score: its negative derivative by the intercept, and by the slope.
    score: (f64, f64),
    /// The sum of the weights p (1 - p), the weighted mean cosine, and the weighted sum of squares about it: together
    /// the second derivative.
    weight: f64,
    mean: f64,
    spread: f64,
}

impl Line {
    /// The line that makes `points` likeliest, without a penalty, by Newton's method; and the state there.
    fn likeliest(points: &[Point]) -> Option<(Self, State)> {
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let tolerance = TOLERANCE * points.len() as f64;
        let mut line = Self { intercept: 0.0, slope: 0.0 };
        let mut state = line.state(points);
        for _ in 0..MOST_STEPS {
            let (by_intercept, by_slope) = state.score;
            if by_intercept.abs().max(by_slope.abs()) <= tolerance {
                return Some((line, state));
            }
            // About the mean cosine the second derivative is diagonal.
            let slope = (by_slope - state.mean * by_intercept) / state.spread;
            let intercept = by_intercept / state.weight - slope * state.mean;
            if !slope.is_finite() || !intercept.is_finite() {
                return None;
            }
            // A full step can overshoot, and then leave only one cosine with any weight. So it is halved until the
            // likelihood grows by a good part of what the score promises (Armijo).
            let promised = by_intercept * intercept + by_slope * slope;
            (line, state) = (0..MOST_HALVINGS).find_map(|halvings| {
                let part = 0.5f64.powi(halvings);
                let next = Self { intercept: line.intercept + part * intercept, slope: line.slope + part * slope };
                let there = next.state(points);
                // Close to the end, rounding may hide that it grew.
                let rounding = 1e-12 * (1.0 + state.loss);
                (there.loss <= state.loss - SUFFICIENT * part * promised + rounding).then_some((next, there))
            })?;
        }
        None
    }

    /// The log odds of being right at `cosine`.
    fn at(self, cosine: f64) -> f64 {
        self.intercept + self.slope * cosine
    }

    fn state(self, points: &[Point]) -> State {
        let mut state = State { loss: 0.0, score: (0.0, 0.0), weight: 0.0, mean: 0.0, spread: 0.0 };
        for point in points {
            let odds = self.at(point.cosine);
            let (sign, margin) = if point.right { (1.0, odds) } else { (-1.0, -odds) };
            // Of the smaller exponential, so that nothing overflows and probabilities near 0 keep their digits.
            let small = (-margin.abs()).exp();
            let missed = if margin > 0.0 { small } else { 1.0 } / (1.0 + small);
            state.loss += (-margin).max(0.0) + small.ln_1p();
            state.score.0 += sign * missed;
            state.score.1 += sign * missed * point.cosine;
            let weight = weight(odds);
            state.weight += weight;
            state.mean += weight * point.cosine;
        }
        state.mean /= state.weight;
        for point in points {
            state.spread += weight(self.at(point.cosine)) * (point.cosine - state.mean).powi(2);
        }
        state
    }
}

/// p (1 - p) at log odds.
fn weight(odds: f64) -> f64 {
    let small = (-odds.abs()).exp();
    small / (1.0 + small).powi(2)
}

/// To a decimal place, ties to even, as the source does it. `scale` is 10 to the number of decimals.
fn rounded(value: f64, scale: f64) -> f64 {
    (value * scale).round_ties_even() / scale
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn observed(labels: impl IntoIterator<Item = (f32, bool)>) -> Observations {
        let mut observations = Observations::default();
        for (cosine, right) in labels {
            observations.add(Cosine::new(cosine), right);
        }
        observations
    }

    /// Right and wrong overlap between 0.86 and 0.87.
    fn overlapping() -> Observations {
        observed([(0.8, false), (0.84, false), (0.86, true), (0.87, false), (0.9, true), (0.93, true)])
    }

    /// The standard normal distribution's share below `z`, by Simpson's rule.
    fn below(z: f64) -> f64 {
        let steps = 2000;
        let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let width = z / f64::from(steps);
        let weighted = |at: i32| {
            let weight = if at == 0 || at == steps { 1.0 } else { f64::from(2 + at % 2 * 2) };
            weight * density(f64::from(at) * width)
        };
        0.5 + (0..=steps).map(weighted).sum::<f64>() * width / 3.0
    }

    #[test]
    fn quantiles_are_those_of_the_grid() {
        assert_eq!(grid().count(), GRID);
        for (epsilon, quantile) in grid() {
            assert!((below(quantile) - (1.0 - epsilon)).abs() < 1e-11, "{epsilon} {quantile}");
        }
        assert!((grid().map(|(epsilon, _)| epsilon).fold(0.0, f64::max) - (1.0 - 1e-6)).abs() < 1e-12);
    }

    #[test]
    fn a_fit_is_what_forty_digits_say() {
        // By root finding and the plain matrix formula, in 40 digits, outside this crate.
        let fit = overlapping().fit().unwrap();
        assert_eq!((fit.curve.threshold, fit.curve.steepness), (0.866, 78.316));
        assert!((fit.deviation - 0.015_837_742_51).abs() < 1e-9, "{}", fit.deviation);
        for (cosine, budget, tau) in [
            (0.82, 0.02, 0.97970),
            (0.82, 0.2, 0.79698),
            (0.88, 0.05, 0.91279),
            (0.95, 0.02, 0.46414),
            (0.95, 0.05, -0.33965),
            (0.99, 0.02, 0.05478),
        ] {
            let got = overlapping().explore_probability(Cosine::new(cosine), budget);
            assert!((got - tau).abs() < 2.1e-5, "{cosine} {budget}: {got} {tau}");
        }
        let p = overlapping().p_correct(Cosine::new(0.88)).unwrap();
        assert!((p - 0.749_589_471).abs() < 1e-6, "{p}");
    }

    #[test]
    fn a_poor_curve_has_a_wide_bound() {
        // Wrong where it is near, right where it is far: also from outside this crate.
        let labels = [(0.6, true), (0.65, true), (0.7, true), (0.75, true), (0.95, false), (0.9, false), (0.97, false)];
        let fit = observed(labels).fit().unwrap();
        assert_eq!((fit.curve.threshold, fit.curve.steepness), (0.179, 0.41));
        assert!((fit.deviation - 3.458_386_795).abs() < 1e-6, "{}", fit.deviation);
        assert!((observed(labels).explore_probability(Cosine::new(0.9), 0.05) - 0.90201).abs() < 1e-9);
    }

    #[test]
    fn a_falling_curve_is_flat() {
        let observations = observed([[(-0.9, true); 4], [(1.0, false); 4]].concat());
        assert_eq!(observations.fit().unwrap().curve.steepness, 0.0);
        assert_eq!(observations.p_correct(Cosine::ONE), Some(0.5));
    }

    #[test]
    fn a_threshold_is_a_cosine_from_zero_to_one() {
        let fit = observed([(-0.5, true), (0.2, true), (0.5, true), (0.9, true), (0.9, true)]).fit().unwrap();
        assert!(fit.curve.threshold == 0.0 && fit.curve.steepness > 0.0, "{fit:?}");
    }

    #[test]
    fn an_entry_that_is_always_wrong_has_a_curve() {
        // Full Newton steps run away from most of these.
        for (cosine, labels) in [(0.95, 4), (0.988, 42), (0.999, 47), (0.996, 256)] {
            let curve = observed((0..labels).map(|_| (cosine, false))).fit().unwrap().curve;
            // A hair less than the cosine itself: it is an f32.
            assert!((f64::from(cosine) - 1e-6..=1.0).contains(&curve.threshold), "{curve:?}");
            assert!(curve.at(f64::from(cosine) - 0.01) < 1e-3, "{curve:?}");
        }
    }

    #[test]
    fn a_known_curve_is_recovered() {
        let truth = Curve { threshold: 0.85, steepness: 40.0 };
        // A linear congruential generator: cosines even from 0.7 to 1, labels as the curve has it.
        let mut state = 12345u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from((state >> 32) as u32) / f64::from(u32::MAX)
        };
        let (mut thresholds, mut steepnesses, mut covered) = (0.0, 0.0, 0);
        for _ in 0..100 {
            let labels: Vec<_> = (0..256)
                .map(|_| {
                    let cosine = 0.7 + 0.3 * uniform();
                    (cosine as f32, uniform() < truth.at(cosine))
                })
                .collect();
            let fit = observed(labels).fit().unwrap();
            thresholds += fit.curve.threshold / 100.0;
            steepnesses += fit.curve.steepness / 100.0;
            covered += u32::from((fit.curve.threshold - truth.threshold).abs() < 1.96 * fit.deviation);
        }
        assert!((thresholds - 0.85).abs() < 0.002, "{thresholds}");
        assert!((steepnesses - 40.0).abs() < 3.0, "{steepnesses}");
        // What the deviation promises: 95 of 100, give or take two standard deviations.
        assert!((90..=99).contains(&covered), "{covered}");
    }

    #[test]
    fn separable_observations_use_the_table() {
        let fit = observed([(0.8, false), (0.81, false), (0.9, true), (0.91, true)]).fit().unwrap();
        assert!((fit.deviation.powi(2) - 0.035_445).abs() < 1e-12, "{}", fit.deviation);
        // Halfway, and steep.
        assert!((fit.curve.threshold - 0.855).abs() < 0.003 && fit.curve.steepness > 200.0, "{fit:?}");
        // One wrong label at, or beyond, a right one is enough not to.
        let fit = observed([(0.8, false), (0.9, false), (0.9, true), (0.91, true)]).fit().unwrap();
        assert!((fit.deviation.powi(2) - 0.035_445).abs() > 1e-3, "{}", fit.deviation);
        let fit = observed([(0.8, false), (0.905, false), (0.9, true), (0.91, true)]).fit().unwrap();
        assert!((fit.deviation.powi(2) - 0.035_445).abs() > 1e-3, "{}", fit.deviation);
    }

    #[test]
    fn the_table_is_interpolated_and_ends() {
        for (observations, variance) in
            [(6, 0.035_445), (15, 0.009_253), (23, 0.006_911_5), (31, 0.004_57), (38, 0.011_74), (48, 0.015_31)]
        {
            assert!((tabled_variance(observations) - variance).abs() < 1e-12, "{observations}");
        }
        assert_eq!((tabled_variance(258), tabled_variance(0)), (0.015_31, 0.035_445));
    }

    #[test]
    fn a_narrow_gap_and_a_tie_still_have_a_curve() {
        let gap = observed([(0.9, false), (0.901, true)].repeat(100));
        assert!((0.9..=0.901).contains(&gap.fit().unwrap().curve.threshold));
        let tie = observed([(0.9, false), (0.9, true)].repeat(100));
        assert_eq!(tie.fit().unwrap().curve.threshold, 0.9);
        assert!(tie.p_correct(Cosine::new(0.5)).unwrap() < 1e-3);
    }

    #[test]
    fn cold_start_explores_always() {
        for labels in 0..4 {
            let observations = observed((0..labels).map(|_| (0.9, true)));
            assert_eq!(observations.explore_probability(Cosine::ONE, 1.0), 1.0);
            assert_eq!(observations.p_correct(Cosine::ONE), None);
        }
        let observations = observed([(0.9, true); 4]);
        assert!(observations.explore_probability(Cosine::ONE, 0.05) < 1.0);
        assert!(observations.p_correct(Cosine::ONE).unwrap() > 0.9);
    }

    #[test]
    fn right_labels_near_by_lower_the_probability_of_exploring_and_wrong_ones_raise_it() {
        let explore = |more: usize, right| {
            let mut observations = overlapping();
            for _ in 0..more {
                observations.add(Cosine::new(0.9), right);
            }
            observations.explore_probability(Cosine::new(0.9), 0.02)
        };
        let right: Vec<_> = [0, 5, 20, 100].into_iter().map(|more| explore(more, true)).collect();
        assert!(right.is_sorted_by(|few, many| few > many), "{right:?}");
        assert!(explore(5, false) > explore(0, false));
    }

    #[test]
    fn without_a_budget_everything_is_explored() {
        for budget in [0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(overlapping().explore_probability(Cosine::new(0.95), budget), 1.0);
        }
        // A hopeless prompt is served with the budget's probability.
        let wrong = observed([(0.9, false), (0.92, false), (0.94, false), (0.96, true), (0.98, true)]);
        assert!((wrong.explore_probability(Cosine::new(0.1), 0.05) - 0.95).abs() < 1e-3);
    }

    #[test]
    fn the_newest_are_kept_to_three_decimals() {
        let mut observations = observed([(0.9, false); 300]);
        assert_eq!(observations.len(), Observations::MOST);
        for _ in 0..Observations::MOST {
            observations.add(Cosine::new(0.800_49), true);
        }
        assert_eq!(observations, observed([(0.8, true); 256]));
        assert!(!observations.is_empty() && Observations::default().is_empty());
        let text = serde_json::to_string(&observations).unwrap();
        assert_eq!(serde_json::from_str::<Observations>(&text).unwrap(), observations);
    }

    proptest! {
        #[test]
        fn anything_gives_a_probability_that_falls_with_the_cosine_and_the_budget(
            // Few distinct cosines, so that ties and gaps of all kinds come up, or any at all.
            labels in prop_oneof![
                prop::collection::vec(((895i16..905).prop_map(|at| f32::from(at) / 1000.0), any::<bool>()), 0..40),
                prop::collection::vec((any::<f32>(), any::<bool>()), 0..300),
                // Many of the same.
                prop::collection::vec(((-1.0f32..=1.0, any::<bool>()), 1usize..100), 0..5).prop_map(|runs| {
                    runs.into_iter().flat_map(|(label, times)| std::iter::repeat_n(label, times)).collect()
                }),
                (0.5f32..1.0, prop::collection::vec(0.0f32..=1.0, 0..300))
                    .prop_map(|(threshold, cosines)| cosines.into_iter().map(|at| (at, at > threshold)).collect()),
            ],
            cosines in (any::<f32>(), any::<f32>()),
            budgets in (any::<f64>(), 0.0f64..0.2),
        ) {
            let observations = observed(labels);
            // A curve is always found: not finding one would be hidden as a cold start.
            prop_assert_eq!(observations.fit().is_some(), observations.len() >= 4);
            let (one, other) = (Cosine::new(cosines.0), Cosine::new(cosines.1));
            let (far, near) = if one < other { (one, other) } else { (other, one) };
            for budget in [budgets.0, budgets.1] {
                let (far, near) =
                    (observations.explore_probability(far, budget), observations.explore_probability(near, budget));
                prop_assert!(near.is_finite() && far.is_finite() && near <= far && far <= 1.0, "{} {}", near, far);
            }
            let of_budget = |budget| observations.explore_probability(near, budget);
            prop_assert!(of_budget(budgets.1) <= of_budget(budgets.1 / 2.0) && of_budget(0.0) == 1.0);
            if let (Some(far), Some(near)) = (observations.p_correct(far), observations.p_correct(near)) {
                prop_assert!((0.0..=1.0).contains(&far) && (0.0..=1.0).contains(&near) && far <= near);
            }
        }
    }
}
