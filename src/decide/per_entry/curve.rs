//! The logistic curve of one entry, and how sure it is.

use super::likelihood::{Line, Point};
use crate::embed::Cosine;

/// The smallest steepness, per unit of cosine: an entry that is wrong more often where it is nearer has a flat curve.
const FLATTEST: f64 = 1e-6;

/// Probabilities ε that the bound of t is too low, evenly from `EPSILON` to 1 - `EPSILON`, ends included.
pub(super) const GRID: usize = 50;
pub(super) const EPSILON: f64 = 1e-6;

/// Standard normal quantiles at 1 - ε, for the first half of the grid. The second half is its mirror image.
pub(super) const QUANTILES: [f64; GRID / 2] = [
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

/// The logistic curve L.
#[derive(Debug, Clone, Copy)]
pub(super) struct Curve {
    /// t: the cosine at which the answer is right half the time, from 0 to 1.
    pub(super) threshold: f64,
    /// γ: per unit of cosine, not negative.
    pub(super) steepness: f64,
}

impl Curve {
    /// The probability of being right at `cosine` (eq. 9).
    pub(super) fn at(self, cosine: f64) -> f64 {
        1.0 / (1.0 + (-self.steepness * (cosine - self.threshold)).exp())
    }
}

/// A curve, and how sure it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fit {
    /// Rounded to three decimals.
    pub(super) curve: Curve,
    /// The standard deviation of its threshold, in cosines.
    pub(super) deviation: f64,
}

impl Fit {
    /// The likeliest curve (eq. 10, printed there as the least likely one). `None` if it isn't found.
    pub(super) fn of(points: &[Point]) -> Option<Self> {
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
    pub(super) fn lower_bounds(self, cosine: Cosine) -> impl Iterator<Item = f64> {
        let cosine = f64::from(cosine.get());
        grid().map(move |(epsilon, quantile)| {
            let threshold = (self.curve.threshold + quantile * self.deviation).clamp(0.0, 1.0);
            (1.0 - epsilon) * Curve { threshold, ..self.curve }.at(cosine)
        })
    }
}

/// Each ε with the standard normal quantile at 1 - ε.
pub(super) fn grid() -> impl Iterator<Item = (f64, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let epsilon = |at: usize| EPSILON + at as f64 * (1.0 - 2.0 * EPSILON) / (GRID - 1) as f64;
    let quantiles = QUANTILES.iter().copied().chain(QUANTILES.iter().rev().map(|quantile| -quantile));
    quantiles.enumerate().map(move |(at, quantile)| (epsilon(at), quantile))
}

/// The tabled variance of t where every right cosine is larger than every wrong one. `None` where they overlap.
pub(super) fn separable_variance(points: &[Point]) -> Option<f64> {
    let of = |right| points.iter().filter(move |point| point.right == right).map(|point| point.cosine);
    let (first_right, last_wrong) =
        (of(true).fold(f64::INFINITY, f64::min), of(false).fold(f64::NEG_INFINITY, f64::max));
    (first_right > last_wrong).then(|| tabled_variance(points.len()))
}

/// The table's value for a number of observations, between its lines by linear interpolation, beyond its ends as there.
pub(super) fn tabled_variance(observations: usize) -> f64 {
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

/// To a decimal place, ties to even, as the source does it. `scale` is 10 to the number of decimals.
pub(super) fn rounded(value: f64, scale: f64) -> f64 {
    (value * scale).round_ties_even() / scale
}
