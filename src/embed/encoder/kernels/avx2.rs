//! AVX2 and FMA. Without VNNI, products of bytes are added in 16 bits first. So that four of them always fit (255 × 128 <
//! 2¹⁵), weights are scaled by what four of them sum up to, which is seldom four times the largest, and for every 128 inputs
//! anew.
#![allow(
    unsafe_code,
    reason = "SIMD: unaligned loads and stores through pointers, and calls that need the instructions"
)]

use std::arch::x86_64::{
    __m256, __m256i, _mm256_add_epi16, _mm256_add_epi32, _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_max_ps, _mm256_min_ps, _mm256_set1_epi8,
    _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_storeu_ps,
};
use std::hint::black_box;

use super::{Activation, Avx2 as Token, Extent, math};
use super::{
    COLUMNS, Format, Isa, PANEL, PEAK_ROUNDS, Panel, QUAD, Rows, Step, check_multiply, check_product,
    rows_compiled_for, tiles,
};

/// Columns of one register.
const LANES: usize = 8;
/// Rows of a tile: 4 × 2 accumulators, two registers of weights, one of codes and three to work in.
const TILE_ROWS: usize = 4;
/// Rows of a tile of the float product: 2 × 4 accumulators, four registers of the right side and one of the left.
const FLOAT_ROWS: usize = 2;

/// Proof that this processor has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx2(());

impl Avx2 {
    pub(in super::super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

impl Isa for Avx2 {
    const FORMAT: Format = Format { sum_limit: Some(127), group: Some(128) };

    #[inline(always)]
    fn multiply(self, rows: Rows<'_>, panel: Panel<'_>, out: &mut [f32], stride: usize) {
        check_multiply(rows, panel, out, stride);
        for tile_rows in tiles(rows.count(), TILE_ROWS) {
            let (from, count) = (tile_rows.start, tile_rows.len());
            let (rows, out) = (rows.slice(from, count), &mut out[from * stride..]);
            for half in 0..2 {
                // SAFETY: `self` proves the instructions; the shapes were asserted above, for all rows and so for these.
                unsafe {
                    match count {
                        1 => tile::<1>(rows, panel, half, out, stride),
                        2 => tile::<2>(rows, panel, half, out, stride),
                        3 => tile::<3>(rows, panel, half, out, stride),
                        _ => tile::<TILE_ROWS>(rows, panel, half, out, stride),
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn product(self, rows: usize, inner: usize, a: (&[f32], usize), b: (&[f32], usize), out: (&mut [f32], usize)) {
        check_product(rows, inner, a, b, (&*out.0, out.1));
        for tile_rows in tiles(rows, FLOAT_ROWS) {
            let (from, count) = (tile_rows.start, tile_rows.len());
            let a = (&a.0[from * a.1..], a.1);
            let out = (&mut out.0[from * out.1..], out.1);
            // SAFETY: `self` proves the instructions; the shapes were asserted above, for all rows and so for these.
            unsafe {
                match count {
                    1 => float_tile::<1>(inner, a, b, out),
                    _ => float_tile::<FLOAT_ROWS>(inner, a, b, out),
                }
            }
        }
    }

    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    fn peak(self) -> Option<u64> {
        // SAFETY: `self` proves the instructions.
        Some(unsafe { peak() })
    }

    rows_compiled_for!("avx2,fma");
}

/// Products of registers and their sums, nothing else.
#[target_feature(enable = "avx2,fma")]
fn peak() -> u64 {
    // Enough to hide that each product waits for the sum before it.
    const CHAINS: usize = 12;
    let (operand, ones) = (_mm256_set1_epi8(1), _mm256_set1_epi16(1));
    let mut sums = [black_box(_mm256_set1_epi8(1)); CHAINS];
    for _ in 0..PEAK_ROUNDS {
        for sum in &mut sums {
            let products = _mm256_madd_epi16(_mm256_maddubs_epi16(*sum, operand), ones);
            *sum = _mm256_add_epi32(*sum, products);
        }
    }
    black_box(sums);
    PEAK_ROUNDS * (CHAINS * LANES * QUAD) as u64
}

/// `ROWS` rows by the first or second half of a panel.
///
/// # Safety
/// What [`check_multiply`] asserts holds of `ROWS` rows; `half` is 0 or 1.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const ROWS: usize>(rows: Rows<'_>, panel: Panel<'_>, half: usize, out: &mut [f32], stride: usize) {
    let ones = _mm256_set1_epi16(1);
    // Worked out before the loop, which has no instruction to spare.
    let starts: [usize; ROWS] = std::array::from_fn(|row| row * rows.stride);
    let mut codes = rows.codes.as_ptr();
    let column = |values: &[f32; PANEL], part: usize| {
        // SAFETY: half × 16 + part × 8 + 8 ≤ PANEL floats.
        unsafe { _mm256_loadu_ps(values.as_ptr().add((half * 2 + part) * LANES)) }
    };
    let mut totals: [[__m256; 2]; ROWS] = [[_mm256_setzero_ps(); 2]; ROWS];
    for (steps, scales) in panel.steps.chunks(panel.group).zip(panel.scales) {
        let mut sums: [[__m256i; 2]; ROWS] = [[_mm256_setzero_si256(); 2]; ROWS];
        // SAFETY: the k-th step reads bytes k × QUAD .. + QUAD of the row, which has `stride` of them, because
        // steps × QUAD ≤ stride, and `codes` has ROWS rows.
        let quad = |codes: *const u8| _mm256_set1_epi32(unsafe { codes.cast::<i32>().read_unaligned() });
        let weights = |step: &Step, part: usize| {
            // SAFETY: a step is 128 bytes, and half × 64 + part × 32 + 32 ≤ 128.
            unsafe { _mm256_loadu_si256(step.0.as_ptr().add(half * 64 + part * 32).cast()) }
        };
        let (pairs, last) = steps.as_chunks::<2>();
        for [first, second] in pairs {
            for (sums, start) in sums.iter_mut().zip(starts) {
                let quads = [quad(codes.wrapping_add(start)), quad(codes.wrapping_add(start + QUAD))];
                for (part, sum) in sums.iter_mut().enumerate() {
                    let products = _mm256_add_epi16(
                        _mm256_maddubs_epi16(quads[0], weights(first, part)),
                        _mm256_maddubs_epi16(quads[1], weights(second, part)),
                    );
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products, ones));
                }
            }
            codes = codes.wrapping_add(2 * QUAD);
        }
        for step in last {
            for (sums, start) in sums.iter_mut().zip(starts) {
                let quad = quad(codes.wrapping_add(start));
                for (part, sum) in sums.iter_mut().enumerate() {
                    let products = _mm256_maddubs_epi16(quad, weights(step, part));
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products, ones));
                }
            }
            codes = codes.wrapping_add(QUAD);
        }
        for part in 0..2 {
            let scale = column(scales, part);
            for (totals, sums) in totals.iter_mut().zip(&sums) {
                totals[part] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[part]), scale, totals[part]);
            }
        }
    }
    for part in 0..2 {
        let (sum, bias) = (column(panel.sums, part), column(panel.bias, part));
        for (row, totals) in totals.iter().enumerate() {
            let low = _mm256_fmadd_ps(_mm256_set1_ps(rows.low[row]), sum, bias);
            let total = _mm256_fmadd_ps(totals[part], _mm256_set1_ps(rows.scale[row]), low);
            // SAFETY: row × stride + PANEL ≤ out.len() for the last row and so for all.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr().add(row * stride + (half * 2 + part) * LANES), total) }
        }
    }
}

/// `ROWS` rows by [`COLUMNS`] columns.
///
/// # Safety
/// What [`check_product`] asserts holds of `ROWS` rows.
#[target_feature(enable = "avx2,fma")]
unsafe fn float_tile<const ROWS: usize>(
    inner: usize,
    a: (&[f32], usize),
    b: (&[f32], usize),
    out: (&mut [f32], usize),
) {
    const PARTS: usize = COLUMNS / LANES;
    let mut sums: [[__m256; PARTS]; ROWS] = [[_mm256_setzero_ps(); PARTS]; ROWS];
    for k in 0..inner {
        let mut right = [_mm256_setzero_ps(); PARTS];
        for (part, right) in right.iter_mut().enumerate() {
            // SAFETY: k < inner, and b has COLUMNS floats from k × its stride.
            *right = unsafe { _mm256_loadu_ps(b.0.as_ptr().add(k * b.1 + part * LANES)) };
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: row < ROWS and k < inner lie in a.
            let left = _mm256_set1_ps(unsafe { *a.0.as_ptr().add(row * a.1 + k) });
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = _mm256_fmadd_ps(left, right, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        for (part, sum) in sums.iter().enumerate() {
            // SAFETY: out has COLUMNS floats from row × its stride.
            unsafe { _mm256_storeu_ps(out.0.as_mut_ptr().add(row * out.1 + part * LANES), *sum) }
        }
    }
}

/// Between which numbers `row` lies; four registers each, so that none waits for another.
#[target_feature(enable = "avx2,fma")]
fn extent(row: &[f32]) -> Extent {
    const CHAINS: usize = 4;
    let (chunks, rest) = row.as_chunks::<{ CHAINS * LANES }>();
    let mut low = [_mm256_set1_ps(f32::INFINITY); CHAINS];
    let mut high = [_mm256_set1_ps(f32::NEG_INFINITY); CHAINS];
    for chunk in chunks {
        for part in 0..CHAINS {
            // SAFETY: a chunk is CHAINS × LANES floats.
            let numbers = unsafe { _mm256_loadu_ps(chunk.as_ptr().add(part * LANES)) };
            low[part] = _mm256_min_ps(low[part], numbers);
            high[part] = _mm256_max_ps(high[part], numbers);
        }
    }
    let low = _mm256_min_ps(_mm256_min_ps(low[0], low[1]), _mm256_min_ps(low[2], low[3]));
    let high = _mm256_max_ps(_mm256_max_ps(high[0], high[1]), _mm256_max_ps(high[2], high[3]));
    let (mut lows, mut highs) = ([0.0; LANES], [0.0; LANES]);
    // SAFETY: both arrays have LANES floats.
    unsafe {
        _mm256_storeu_ps(lows.as_mut_ptr(), low);
        _mm256_storeu_ps(highs.as_mut_ptr(), high);
    }
    let ends = Extent { low: math::extent(&lows).low, high: math::extent(&highs).high };
    ends.with(math::extent(rest))
}
