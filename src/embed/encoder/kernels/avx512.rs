//! AVX-512 with VNNI: 64 multiplications of bytes per instruction.
#![allow(
    unsafe_code,
    reason = "SIMD: unaligned loads and stores through pointers, and calls that need the instructions"
)]

use std::arch::x86_64::{
    __m512, __m512i, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_reduce_max_ps, _mm512_reduce_min_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_storeu_ps,
};
use std::hint::black_box;

use super::{Activation, Avx512 as Token, Extent, math};
use super::{
    COLUMNS, Format, Isa, PANEL, PEAK_ROUNDS, Panel, QUAD, Rows, check_multiply, check_product, rows_compiled_for,
    tiles,
};

/// Columns of one register.
const LANES: usize = 16;
/// Rows of a tile: 8 × 2 integer accumulators hide the latency of the dot product and leave room for the operands.
const TILE_ROWS: usize = 8;

/// Proof that this processor has AVX-512 F, BW, DQ, VL and VNNI.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx512(());

impl Avx512 {
    pub(in super::super) fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        all.then_some(Self(()))
    }
}

impl Isa for Avx512 {
    const FORMAT: Format = Format { sum_limit: None, group: None };

    #[inline(always)]
    fn multiply(self, rows: Rows<'_>, panel: Panel<'_>, out: &mut [f32], stride: usize) {
        check_multiply(rows, panel, out, stride);
        assert!(panel.group >= panel.steps.len(), "one scale per output");
        for tile_rows in tiles(rows.count(), TILE_ROWS) {
            let (from, count) = (tile_rows.start, tile_rows.len());
            let (rows, out) = (rows.slice(from, count), &mut out[from * stride..]);
            // SAFETY: `self` proves the instructions; the shapes were asserted above, for all rows and so for these.
            unsafe {
                match count {
                    1 => tile::<1>(rows, panel, out, stride),
                    2 => tile::<2>(rows, panel, out, stride),
                    3 => tile::<3>(rows, panel, out, stride),
                    4 => tile::<4>(rows, panel, out, stride),
                    5 => tile::<5>(rows, panel, out, stride),
                    6 => tile::<6>(rows, panel, out, stride),
                    7 => tile::<7>(rows, panel, out, stride),
                    _ => tile::<TILE_ROWS>(rows, panel, out, stride),
                }
            }
        }
    }

    #[inline(always)]
    fn product(self, rows: usize, inner: usize, a: (&[f32], usize), b: (&[f32], usize), out: (&mut [f32], usize)) {
        check_product(rows, inner, a, b, (&*out.0, out.1));
        for tile_rows in tiles(rows, TILE_ROWS) {
            let (from, count) = (tile_rows.start, tile_rows.len());
            let a = (&a.0[from * a.1..], a.1);
            let out = (&mut out.0[from * out.1..], out.1);
            // SAFETY: `self` proves the instructions; the shapes were asserted above, for all rows and so for these.
            unsafe {
                match count {
                    1 => float_tile::<1>(inner, a, b, out),
                    2 => float_tile::<2>(inner, a, b, out),
                    3 => float_tile::<3>(inner, a, b, out),
                    4 => float_tile::<4>(inner, a, b, out),
                    5 => float_tile::<5>(inner, a, b, out),
                    6 => float_tile::<6>(inner, a, b, out),
                    7 => float_tile::<7>(inner, a, b, out),
                    _ => float_tile::<TILE_ROWS>(inner, a, b, out),
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

    rows_compiled_for!("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma");
}

/// Dot products of registers, nothing else.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
fn peak() -> u64 {
    const CHAINS: usize = 2 * TILE_ROWS;
    let operand = black_box(_mm512_set1_epi32(0x0101_0101));
    let mut sums = [_mm512_setzero_si512(); CHAINS];
    for _ in 0..PEAK_ROUNDS {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, operand, operand);
        }
    }
    black_box(sums);
    PEAK_ROUNDS * (CHAINS * LANES * QUAD) as u64
}

/// `ROWS` rows by one panel.
///
/// # Safety
/// What [`check_multiply`] asserts holds of `ROWS` rows, and the panel has one group.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn tile<const ROWS: usize>(rows: Rows<'_>, panel: Panel<'_>, out: &mut [f32], stride: usize) {
    let mut sums: [[__m512i; 2]; ROWS] = [[_mm512_setzero_si512(); 2]; ROWS];
    // Worked out before the loop, which has no instruction to spare.
    let starts: [usize; ROWS] = std::array::from_fn(|row| row * rows.stride);
    let mut codes = rows.codes.as_ptr();
    for step in panel.steps {
        let weights = step.0.as_ptr();
        // SAFETY: a step is 128 bytes.
        let weights: [__m512i; 2] =
            unsafe { [_mm512_loadu_si512(weights.cast()), _mm512_loadu_si512(weights.add(64).cast())] };
        for (sums, start) in sums.iter_mut().zip(starts) {
            // SAFETY: the k-th step reads bytes k × QUAD .. + QUAD of the row, which has `stride` of them, because
            // steps × QUAD ≤ stride, and `codes` has ROWS rows.
            let quad = _mm512_set1_epi32(unsafe { codes.add(start).cast::<i32>().read_unaligned() });
            sums[0] = _mm512_dpbusd_epi32(sums[0], quad, weights[0]);
            sums[1] = _mm512_dpbusd_epi32(sums[1], quad, weights[1]);
        }
        codes = codes.wrapping_add(QUAD);
    }
    for half in 0..2 {
        let at = |values: &[f32; PANEL]| {
            // SAFETY: half × 16 + 16 ≤ PANEL floats.
            unsafe { _mm512_loadu_ps(values.as_ptr().add(half * LANES)) }
        };
        let (scale, sum, bias) = (at(&panel.scales[0]), at(panel.sums), at(panel.bias));
        for (row, sums) in sums.iter().enumerate() {
            let low = _mm512_fmadd_ps(_mm512_set1_ps(rows.low[row]), sum, bias);
            let total = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[half]), scale);
            let total = _mm512_fmadd_ps(total, _mm512_set1_ps(rows.scale[row]), low);
            // SAFETY: row × stride + PANEL ≤ out.len() for the last row and so for all.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr().add(row * stride + half * LANES), total) }
        }
    }
}

/// `ROWS` rows by [`COLUMNS`] columns.
///
/// # Safety
/// What [`check_product`] asserts holds of `ROWS` rows.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn float_tile<const ROWS: usize>(
    inner: usize,
    a: (&[f32], usize),
    b: (&[f32], usize),
    out: (&mut [f32], usize),
) {
    const { assert!(COLUMNS == 2 * LANES) };
    let mut sums: [[__m512; 2]; ROWS] = [[_mm512_setzero_ps(); 2]; ROWS];
    for k in 0..inner {
        // SAFETY: k < inner, and b has COLUMNS floats from k × its stride.
        let right: [__m512; 2] = unsafe {
            let right = b.0.as_ptr().add(k * b.1);
            [_mm512_loadu_ps(right), _mm512_loadu_ps(right.add(LANES))]
        };
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: row < ROWS and k < inner lie in a.
            let left = _mm512_set1_ps(unsafe { *a.0.as_ptr().add(row * a.1 + k) });
            sums[0] = _mm512_fmadd_ps(left, right[0], sums[0]);
            sums[1] = _mm512_fmadd_ps(left, right[1], sums[1]);
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        // SAFETY: out has COLUMNS floats from row × its stride.
        unsafe {
            let out = out.0.as_mut_ptr().add(row * out.1);
            _mm512_storeu_ps(out, sums[0]);
            _mm512_storeu_ps(out.add(LANES), sums[1]);
        }
    }
}

/// Between which numbers `row` lies; two registers each, so that none waits for another.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
fn extent(row: &[f32]) -> Extent {
    let (pairs, rest) = row.as_chunks::<{ 2 * LANES }>();
    let mut low = [_mm512_set1_ps(f32::INFINITY); 2];
    let mut high = [_mm512_set1_ps(f32::NEG_INFINITY); 2];
    for pair in pairs {
        for half in 0..2 {
            // SAFETY: a pair is 2 × LANES floats.
            let numbers = unsafe { _mm512_loadu_ps(pair.as_ptr().add(half * LANES)) };
            low[half] = _mm512_min_ps(low[half], numbers);
            high[half] = _mm512_max_ps(high[half], numbers);
        }
    }
    let low = _mm512_reduce_min_ps(_mm512_min_ps(low[0], low[1]));
    let high = _mm512_reduce_max_ps(_mm512_max_ps(high[0], high[1]));
    Extent { low, high }.with(math::extent(rest))
}
