//! The inner loops, once per instruction set.
//!
//! An [`Isa`] is a token that can only be had on a processor with the instructions it stands for. It brings the two
//! matrix products by hand; what happens to a row between them (`math.rs`) is plain Rust, compiled once for each. This
//! folder is the only place with `unsafe` code.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod plain;

#[cfg(target_arch = "x86_64")]
use std::ops::Range;

use super::super::description::Activation;
use super::math::{self, Extent};

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;
pub(super) use plain::Plain;

/// Columns of a panel of packed weights.
pub(super) const PANEL: usize = 32;
/// Inputs that one step of an integer product takes: four bytes are one 32-bit lane.
pub(super) const QUAD: usize = 4;
/// Columns of a tile of the float product.
pub(super) const COLUMNS: usize = 32;

/// Weights of [`QUAD`] inputs by [`PANEL`] outputs: the four of the first output, the four of the second, and so on.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Step(pub(super) [i8; QUAD * PANEL]);

/// How weights are quantised for an instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    /// The largest sum of the magnitudes of those weights whose products with codes are added in 16 bits: of two steps
    /// behind each other, the first two inputs of both, and the last two of both. `None`: there are no such sums.
    pub(super) sum_limit: Option<i8>,
    /// Inputs that share a scale per output; `None`: all of them.
    pub(super) group: Option<usize>,
}

/// Quantised rows: input `k` of row `r` is `low[r] + scale[r] × codes[r × stride + k]`.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) codes: &'a [u8],
    /// Bytes from one row to the next, a multiple of [`QUAD`].
    pub(super) stride: usize,
    /// One per row.
    pub(super) scale: &'a [f32],
    /// One per row.
    pub(super) low: &'a [f32],
}

impl<'a> Rows<'a> {
    pub(super) fn count(&self) -> usize {
        self.scale.len()
    }

    /// Rows `from .. from + count` of these.
    #[inline(always)]
    pub(super) fn slice(&self, from: usize, count: usize) -> Rows<'a> {
        Rows {
            codes: &self.codes[from * self.stride..(from + count) * self.stride],
            stride: self.stride,
            scale: &self.scale[from..from + count],
            low: &self.low[from..from + count],
        }
    }
}

/// The weights of [`PANEL`] outputs: weight `k` of output `n` is `scales[k / group][n] × steps[k / QUAD].0[n × QUAD + k % QUAD]`.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    /// Inputs ÷ [`QUAD`].
    pub(super) steps: &'a [Step],
    /// Steps that share a row of `scales`.
    pub(super) group: usize,
    /// One row per group.
    pub(super) scales: &'a [[f32; PANEL]],
    /// The sum of each output's dequantised weights.
    pub(super) sums: &'a [f32; PANEL],
    /// The bias of each output.
    pub(super) bias: &'a [f32; PANEL],
}

/// An instruction set that this processor has.
pub(super) trait Isa: Copy + Send + Sync + 'static {
    /// The weights that [`multiply`](Self::multiply) takes.
    const FORMAT: Format;

    /// `rows · panel + bias`, exact in the integers. Row `r` goes to `out[r × stride ..][.. PANEL]`.
    ///
    /// # Panics
    /// Where the shapes don't fit each other.
    fn multiply(self, rows: Rows<'_>, panel: Panel<'_>, out: &mut [f32], stride: usize);

    /// `a · b` in floats: `a` has `rows` rows of `inner` columns, `b` has `inner` rows of [`COLUMNS`] columns, and each
    /// is given with the distance from one of its rows to the next.
    ///
    /// # Panics
    /// Where the shapes don't fit each other.
    fn product(self, rows: usize, inner: usize, a: (&[f32], usize), b: (&[f32], usize), out: (&mut [f32], usize));

    /// `a × b + c`, fused where the processor can.
    fn fma(a: f32, b: f32, c: f32) -> f32;

    /// Computes nothing of use for some time, at the rate that the integer product can't exceed; returns how many
    /// multiplications it did. `None` where that isn't known.
    fn peak(self) -> Option<u64> {
        None
    }

    /// See [`math::layer_norm`].
    fn layer_norm(self, row: &mut [f32], scale: &[f32], shift: &[f32], epsilon: f32) {
        math::layer_norm::<Self>(row, scale, shift, epsilon);
    }

    /// See [`math::softmax`].
    fn softmax(self, scores: &mut [f32]) -> f32 {
        math::softmax::<Self>(scores)
    }

    /// See [`math::activate`].
    fn activate(self, activation: Activation, row: &mut [f32]) {
        math::activate::<Self>(activation, row);
    }

    /// See [`math::add`].
    fn add(self, row: &mut [f32], numbers: &[f32]) {
        math::add(row, numbers);
    }

    /// See [`math::times`].
    fn times(self, row: &[f32], factors: &[f32], out: &mut [f32]) {
        math::times(row, factors, out);
    }

    /// See [`math::extent`].
    fn extent(self, row: &[f32]) -> Extent {
        math::extent(row)
    }

    /// See [`math::quantise`].
    fn quantise(self, row: &[f32], extent: Extent, codes: &mut [u8]) {
        math::quantise(row, extent, codes);
    }
}

/// The functions of `math.rs`, compiled for `$features`; `self` must prove them. `extent` is the instruction set's own:
/// what compilers make of minima and maxima takes longer than the quantising that they are for.
#[cfg(target_arch = "x86_64")]
macro_rules! rows_compiled_for {
    ($features:literal) => {
        rows_compiled_for! {
            $features;
            fn layer_norm(row: &mut [f32], scale: &[f32], shift: &[f32], epsilon: f32) = math::layer_norm::<Token>;
            fn softmax(scores: &mut [f32]) -> f32 = math::softmax::<Token>;
            fn activate(activation: Activation, row: &mut [f32]) = math::activate::<Token>;
            fn add(row: &mut [f32], numbers: &[f32]) = math::add;
            fn times(row: &[f32], factors: &[f32], out: &mut [f32]) = math::times;
            fn extent(row: &[f32]) -> Extent = extent;
            fn quantise(row: &[f32], extent: Extent, codes: &mut [u8]) = math::quantise;
        }
    };
    ($features:literal; $(fn $name:ident($($argument:ident: $of:ty),*) $(-> $result:ty)? = $function:expr;)*) => {
        $(
            #[inline(always)]
            fn $name(self, $($argument: $of),*) $(-> $result)? {
                #[target_feature(enable = $features)]
                fn compiled($($argument: $of),*) $(-> $result)? {
                    $function($($argument),*)
                }
                // SAFETY: `self` proves the instructions.
                unsafe { compiled($($argument),*) }
            }
        )*
    };
}

/// `rows` rows in runs of at most `most`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn tiles(rows: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(most).map(move |from| from..rows.min(from + most))
}

/// Rounds of [`Isa::peak`]: some milliseconds.
#[cfg(target_arch = "x86_64")]
const PEAK_ROUNDS: u64 = 1 << 20;

/// Asserts what [`Isa::multiply`]'s unchecked accesses rely on.
#[inline(always)]
fn check_multiply(rows: Rows<'_>, panel: Panel<'_>, out: &[f32], stride: usize) {
    let count = rows.count();
    assert!(count > 0 && rows.low.len() == count && rows.codes.len() >= count * rows.stride);
    assert!(panel.steps.len() * QUAD <= rows.stride);
    assert!(panel.group > 0 && panel.scales.len() * panel.group >= panel.steps.len());
    assert!(stride >= PANEL && out.len() >= (count - 1) * stride + PANEL);
}

/// Asserts what [`Isa::product`]'s unchecked accesses rely on.
#[inline(always)]
fn check_product(rows: usize, inner: usize, a: (&[f32], usize), b: (&[f32], usize), out: (&[f32], usize)) {
    assert!(rows > 0 && inner > 0);
    assert!(a.1 >= inner && a.0.len() >= (rows - 1) * a.1 + inner);
    assert!(b.1 >= COLUMNS && b.0.len() >= (inner - 1) * b.1 + COLUMNS);
    assert!(out.1 >= COLUMNS && out.0.len() >= (rows - 1) * out.1 + COLUMNS);
}

#[cfg(target_arch = "x86_64")]
use rows_compiled_for;

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use proptest::prelude::*;

    use super::super::linear::Linear;
    use super::*;

    #[derive(Debug)]
    struct Case {
        inputs: usize,
        rows: usize,
        codes: Vec<u8>,
        scale: Vec<f32>,
        low: Vec<f32>,
        weight: Vec<f32>,
        bias: Vec<f32>,
    }

    /// Codes and weights at their extremes as often as between them: sums that could overflow do.
    fn cases() -> impl Strategy<Value = Case> {
        (1usize..100, 1usize..20).prop_flat_map(|(quads, rows)| {
            let inputs = quads * QUAD;
            let code = prop_oneof![Just(0u8), Just(255), any::<u8>()];
            let weight = prop_oneof![Just(-1.0f32), Just(1.0), -1.0f32..1.0];
            (
                prop::collection::vec(code, rows * inputs),
                prop::collection::vec(0.0f32..2.0, rows),
                prop::collection::vec(-3.0f32..3.0, rows),
                prop::collection::vec(weight, PANEL * inputs),
                prop::collection::vec(-1.0f32..1.0, PANEL),
            )
                .prop_map(move |(codes, scale, low, weight, bias)| Case {
                    inputs,
                    rows,
                    codes,
                    scale,
                    low,
                    weight,
                    bias,
                })
        })
    }

    fn agree<I: Isa>(isa: I, case: &Case) {
        let linear = Linear::pack(I::FORMAT, case.inputs, &case.weight, &case.bias);
        let rows = Rows { codes: &case.codes, stride: case.inputs, scale: &case.scale, low: &case.low };
        let stride = PANEL + 3;
        let (mut plain, mut fast) = (vec![7.0; case.rows * stride], vec![7.0; case.rows * stride]);
        linear.multiply(Plain, rows, 0, &mut plain, stride);
        linear.multiply(isa, rows, 0, &mut fast, stride);
        for (n, (x, y)) in plain.iter().zip(&fast).enumerate() {
            assert!((x - y).abs() <= 1e-5 * (case.inputs as f32) * 10.0, "{n}: {x} {y}");
        }
        // The result of rounded weights is near that of the weights: each is off by at most half a code.
        let coarsest = I::FORMAT.sum_limit.map_or(127.0, |limit| (f32::from(limit) - 2.0) / 4.0);
        for row in 0..case.rows {
            for output in 0..PANEL {
                let weights = &case.weight[output * case.inputs..][..case.inputs];
                let codes = &case.codes[row * case.inputs..][..case.inputs];
                let number = |code: &u8| case.low[row] + case.scale[row] * f32::from(*code);
                let exact: f32 = codes.iter().zip(weights).map(|(code, weight)| number(code) * weight).sum();
                let size: f32 = codes.iter().map(|code| number(code).abs()).sum();
                let made = fast[row * stride + output] - case.bias[output];
                assert!((made - exact).abs() <= size * 0.6 / coarsest + 1e-2, "{made} {exact}");
            }
        }
    }

    fn floats_agree<I: Isa>(isa: I, rows: usize, inner: usize, numbers: &[f32]) {
        let (a_stride, b_stride, out_stride) = (inner + 1, COLUMNS + 5, COLUMNS + 2);
        let a = &numbers[..rows * a_stride];
        let b = &numbers[a.len()..][..inner * b_stride];
        let (mut plain, mut fast) = (vec![7.0; rows * out_stride], vec![7.0; rows * out_stride]);
        Plain.product(rows, inner, (a, a_stride), (b, b_stride), (&mut plain, out_stride));
        isa.product(rows, inner, (a, a_stride), (b, b_stride), (&mut fast, out_stride));
        assert!(plain.iter().zip(&fast).all(|(x, y)| (x - y).abs() < 1e-4), "{plain:?} {fast:?}");
    }

    proptest! {
        #[test]
        fn multiply_agrees_with_plain_code(case in cases()) {
            if let Some(isa) = Avx512::detect() {
                agree(isa, &case);
            }
            if let Some(isa) = Avx2::detect() {
                agree(isa, &case);
            }
            agree(Plain, &case);
        }

        #[test]
        fn product_agrees_with_plain_code(
            rows in 1usize..20,
            inner in 1usize..80,
            numbers in prop::collection::vec(-1.0f32..1.0, 20 * 81 + 80 * (COLUMNS + 5)),
        ) {
            if let Some(isa) = Avx512::detect() {
                floats_agree(isa, rows, inner, &numbers);
            }
            if let Some(isa) = Avx2::detect() {
                floats_agree(isa, rows, inner, &numbers);
            }
        }
    }
}
