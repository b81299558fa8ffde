//! What happens to one row between two products: plain Rust in lanes, always inlined into a function that is compiled for
//! some instructions (see [`Isa`]).

use super::super::description::Activation;
use super::kernels::Isa;

/// Numbers that are folded side by side.
const LANES: usize = 16;

/// The lowest and the highest number of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Extent {
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Extent {
    /// That of no numbers.
    pub(super) const NONE: Self = Self { low: f32::INFINITY, high: f32::NEG_INFINITY };

    pub(super) fn with(self, other: Self) -> Self {
        Self { low: least(self.low, other.low), high: most(self.high, other.high) }
    }

    /// What a row between these is quantised with: a code is that many scales above `low`.
    pub(super) fn scale(self) -> f32 {
        (self.high - self.low) / 255.0
    }
}

/// eˣ for x ≤ 88, within 2 units in the last place; 0 below -87.
///
/// Cody and Waite: x = n · ln 2 + r with |r| ≤ ln 2 ÷ 2; e^r by its Taylor polynomial, 2ⁿ through the exponent's bits.
#[inline(always)]
pub(super) fn exp<I: Isa>(x: f32) -> f32 {
    // Adding 1.5 · 2²³ rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = most(x, -87.0);
    let shifted = I::fma(clamped, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = I::fma(n, -LN2_LOW, I::fma(n, -LN2_HIGH, clamped));
    let mut e = 1.0 / 720.0;
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        e = I::fma(e, r, coefficient);
    }
    let scaled = f32::from_bits(e.to_bits().wrapping_add(shifted.to_bits() << 23));
    if x < -87.0 { 0.0 } else { scaled }
}

/// The activation of every number of `row`.
#[inline(always)]
pub(super) fn activate<I: Isa>(activation: Activation, row: &mut [f32]) {
    match activation {
        Activation::Gelu => row.iter_mut().for_each(|x| *x = gelu::<I>(*x)),
        Activation::GeluTanh => row.iter_mut().for_each(|x| *x = gelu_tanh::<I>(*x)),
        Activation::Relu => row.iter_mut().for_each(|x| *x = most(*x, 0.0)),
    }
}

/// x · Φ(x), with erf after Abramowitz and Stegun 7.1.26 (absolute error below 1.5 · 10⁻⁷).
#[inline(always)]
fn gelu<I: Isa>(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / I::fma(0.327_591_1, z, 1.0);
    let mut series = 1.061_405_4;
    for coefficient in [-1.453_152, 1.421_413_8, -0.284_496_72, 0.254_829_6] {
        series = I::fma(series, t, coefficient);
    }
    let tail = 0.5 * series * t * exp::<I>(-z * z);
    x * if x < 0.0 { tail } else { 1.0 - tail }
}

/// x ÷ (1 + e^(−2u)) with u = √(2/π) · (x + 0.044715 x³), which is x · (1 + tanh u) ÷ 2.
#[inline(always)]
fn gelu_tanh<I: Isa>(x: f32) -> f32 {
    let u = 0.797_884_6 * I::fma(0.044_715 * x * x, x, x);
    x / (1.0 + exp::<I>(least(-2.0 * u, 88.0)))
}

/// Normalises `row` in place to mean 0 and variance 1, then scales and shifts it.
#[inline(always)]
pub(super) fn layer_norm<I: Isa>(row: &mut [f32], scale: &[f32], shift: &[f32], epsilon: f32) {
    #[expect(clippy::cast_precision_loss, reason = "row lengths are far below 2^24")]
    let count = row.len() as f32;
    let mean = sum(row, |x| x) / count;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / count;
    let inverse = 1.0 / (variance + epsilon).sqrt();
    for ((x, scale), shift) in row.iter_mut().zip(scale).zip(shift) {
        *x = I::fma((*x - mean) * inverse, *scale, *shift);
    }
}

/// Replaces scores by their softmax, not yet divided by the sum, which is returned.
#[inline(always)]
pub(super) fn softmax<I: Isa>(scores: &mut [f32]) -> f32 {
    let largest = fold(scores, f32::NEG_INFINITY, |x| x, most);
    for score in &mut *scores {
        *score = exp::<I>(*score - largest);
    }
    sum(scores, |x| x)
}

/// Adds `numbers` to `row`.
#[inline(always)]
pub(super) fn add(row: &mut [f32], numbers: &[f32]) {
    row.iter_mut().zip(numbers).for_each(|(x, y)| *x += y);
}

/// `row × factors`, to `out`.
#[inline(always)]
pub(super) fn times(row: &[f32], factors: &[f32], out: &mut [f32]) {
    out.iter_mut().zip(row).zip(factors).for_each(|((out, x), factor)| *out = x * factor);
}

/// Between which numbers `row` lies.
#[inline(always)]
pub(super) fn extent(row: &[f32]) -> Extent {
    let low = fold(row, f32::INFINITY, |x| x, least);
    Extent { low, high: fold(row, f32::NEG_INFINITY, |x| x, most) }
}

/// Quantises `row`, which lies within `extent`, to bytes.
#[inline(always)]
pub(super) fn quantise(row: &[f32], extent: Extent, codes: &mut [u8]) {
    // Adding 2²³ rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 8_388_608.0;
    let scale = extent.scale();
    let inverse = if scale > f32::MIN_POSITIVE { 1.0 / scale } else { 0.0 };
    for (code, x) in codes.iter_mut().zip(row) {
        #[expect(clippy::cast_possible_truncation, reason = "the low byte is the code")]
        let low_byte = ((x - extent.low) * inverse + ROUND).to_bits() as u8;
        *code = low_byte;
    }
}

/// The smaller one; unlike `f32::min`, one instruction.
#[inline(always)]
fn least(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// The larger one; unlike `f32::max`, one instruction.
#[inline(always)]
fn most(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[inline(always)]
fn sum(row: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    fold(row, 0.0, of, |a, b| a + b)
}

/// Folds in [`LANES`] independent lanes, because floats don't reassociate by themselves.
#[inline(always)]
fn fold(row: &[f32], start: f32, of: impl Fn(f32) -> f32, with: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = with(*lane, of(x));
        }
    }
    let total = lanes.into_iter().fold(start, &with);
    rest.iter().fold(total, |total, &x| with(total, of(x)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::kernels::Plain;
    use super::*;

    /// erf by its Maclaurin series (A&S 7.1.5) for small arguments; beyond 4 it is 1 in all digits that count here.
    fn erf(x: f64) -> f64 {
        if x.abs() > 4.0 {
            return x.signum();
        }
        let mut term = x;
        let mut sum = x;
        for n in 1..100 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    proptest! {
        #[test]
        fn exp_is_exact_to_the_last_places(x in -87.0f32..88.0) {
            let exact = f64::from(x).exp();
            prop_assert!((f64::from(exp::<Plain>(x)) / exact - 1.0).abs() < 4e-7);
        }

        #[test]
        fn activations_are_what_they_are_called(x in -12.0f32..12.0) {
            let of = |activation| {
                let mut row = [x];
                activate::<Plain>(activation, &mut row);
                f64::from(row[0])
            };
            let exact = f64::from(x);
            prop_assert!((of(Activation::Gelu) - exact * 0.5 * (1.0 + erf(exact / 2f64.sqrt()))).abs() < 2e-6);
            let u = (2.0 / std::f64::consts::PI).sqrt() * (exact + 0.044_715 * exact.powi(3));
            prop_assert!((of(Activation::GeluTanh) - 0.5 * exact * (1.0 + u.tanh())).abs() < 2e-6);
            prop_assert_eq!(of(Activation::Relu), exact.max(0.0));
        }

        #[test]
        fn layer_norm_has_mean_0_and_variance_1(row in prop::collection::vec(-100.0f32..100.0, 2..200)) {
            let mut normed = row.clone();
            layer_norm::<Plain>(&mut normed, &vec![1.0; row.len()], &vec![0.0; row.len()], 1e-12);
            let count = row.len() as f64;
            let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
            let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / count;
            for (x, y) in row.iter().zip(&normed) {
                prop_assert!(((f64::from(*x) - mean) / variance.sqrt() - f64::from(*y)).abs() < 1e-3);
            }
        }

        #[test]
        fn codes_are_within_half_a_step(row in prop::collection::vec(-50.0f32..50.0, 1..200)) {
            let mut codes = vec![0; row.len()];
            let extent = extent(&row);
            quantise(&row, extent, &mut codes);
            let (low, scale) = (extent.low, extent.scale());
            for (x, code) in row.iter().zip(codes) {
                prop_assert!((low + scale * f32::from(code) - x).abs() <= scale * 0.501 + 1e-5);
            }
        }

        #[test]
        fn softmax_sums_up(scores in prop::collection::vec(-300.0f32..300.0, 1..100)) {
            let mut weights = scores.clone();
            let sum = softmax::<Plain>(&mut weights);
            let largest = scores.iter().copied().fold(f32::MIN, f32::max);
            let exact: f64 = scores.iter().map(|x| f64::from(x - largest).exp()).sum();
            prop_assert!((f64::from(sum) / exact - 1.0).abs() < 1e-5);
            prop_assert!(weights.iter().all(|weight| (0.0..=1.000_001).contains(weight)));
        }
    }

    #[test]
    fn a_row_without_range_is_its_low_end() {
        let mut codes = [9; 3];
        let extent = extent(&[2.5; 3]);
        quantise(&[2.5; 3], extent, &mut codes);
        assert_eq!((extent.low, extent.scale(), codes), (2.5, 0.0, [0; 3]));
    }
}
