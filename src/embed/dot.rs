//! The dot product of two vectors, in the instructions that the processor has.
#![allow(unsafe_code, reason = "SIMD: loads through pointers, and calls that need the instructions")]

use std::sync::LazyLock;

type Dot = fn(&[f32], &[f32]) -> f32;

static BEST: LazyLock<Dot> = LazyLock::new(|| available().next().unwrap_or(plain));

/// The dot product of two slices.
///
/// # Panics
/// Where they aren't of equal length.
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "lengths agree");
    BEST(a, b)
}

/// What this processor can do, fastest first.
fn available() -> impl Iterator<Item = Dot> {
    #[cfg(target_arch = "x86_64")]
    let fast: [Option<Dot>; 2] = [
        // SAFETY: the processor has the instructions.
        is_x86_feature_detected!("avx512f").then_some(|a, b| unsafe { x86::dot_avx512(a, b) }),
        // SAFETY: the processor has the instructions.
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"))
            .then_some(|a, b| unsafe { x86::dot_avx2(a, b) }),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let fast: [Option<Dot>; 0] = [];
    fast.into_iter().flatten().chain([plain as Dot])
}

/// In eight independent sums, which the compiler turns into lanes of whatever all processors have.
fn plain(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum::<f32>() + rest(a_rest, b_rest)
}

/// What fills no register.
#[inline(always)]
fn rest(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm512_add_ps,
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_reduce_add_ps, _mm512_setzero_ps,
    };

    use super::rest;

    /// Four sums, because each waits for its last addition.
    const SUMS: usize = 4;

    #[target_feature(enable = "avx512f")]
    pub(super) fn dot_avx512(a: &[f32], b: &[f32]) -> f32 {
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
        let mut sums = [_mm512_setzero_ps(); SUMS];
        for (n, (a, b)) in a.iter().zip(b).enumerate() {
            // SAFETY: both are 16 numbers long.
            let (a, b) = unsafe { (_mm512_loadu_ps(a.as_ptr()), _mm512_loadu_ps(b.as_ptr())) };
            sums[n % SUMS] = _mm512_fmadd_ps(a, b, sums[n % SUMS]);
        }
        let sum = _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
        _mm512_reduce_add_ps(sum) + rest(a_rest, b_rest)
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn dot_avx2(a: &[f32], b: &[f32]) -> f32 {
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
        let mut sums = [_mm256_setzero_ps(); SUMS];
        for (n, (a, b)) in a.iter().zip(b).enumerate() {
            // SAFETY: both are 8 numbers long.
            let (a, b) = unsafe { (_mm256_loadu_ps(a.as_ptr()), _mm256_loadu_ps(b.as_ptr())) };
            sums[n % SUMS] = _mm256_fmadd_ps(a, b, sums[n % SUMS]);
        }
        let sum = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
        let mut lanes = [0.0f32; 8];
        // SAFETY: there is room for 8.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), sum) };
        lanes.iter().sum::<f32>() + rest(a_rest, b_rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_instructions_say_the_same(pairs in prop::collection::vec((-1.0f32..1.0, -1.0f32..1.0), 0..700)) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let exact: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            for (place, dot) in available().enumerate() {
                prop_assert!((f64::from(dot(&a, &b)) - exact).abs() < 1e-4, "{}", place);
            }
        }
    }
}
