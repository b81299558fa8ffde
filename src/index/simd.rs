//! Products and differences of codes, in the instructions that the processor has.
#![allow(unsafe_code, reason = "SIMD: loads through pointers, prefetches, and calls that need the instructions")]

use std::sync::LazyLock;

/// Bytes that a processor fetches at once.
pub(super) const LINE: usize = 64;

/// A cache line of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u8; LINE]);

/// Instructions that this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Simd(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Plain,
}

static BEST: LazyLock<Simd> = LazyLock::new(|| Simd::available().next().unwrap_or(Simd(Set::Plain)));

impl Simd {
    /// The fastest.
    pub(super) fn best() -> Self {
        *BEST
    }

    /// Those that this processor has, fastest first.
    fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let fast = [
            (is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("popcnt")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni"))
            .then_some(Self(Set::Avx512)),
            (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt")).then_some(Self(Set::Avx2)),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let fast = [None];
        fast.into_iter().flatten().chain([Self(Set::Plain)])
    }

    /// For each row, the sum of the products of its bytes (without sign) and the query's (with sign).
    ///
    /// Rows are taken to lie anywhere in memory: all are asked for before the first is worked on.
    pub(super) fn byte_products(self, query: &[Line], rows: &[&[Line]], out: &mut [i32]) {
        assert!(rows.len() == out.len() && rows.iter().all(|row| row.len() == query.len()), "shapes agree");
        match self.0 {
            // SAFETY: the value proves the instructions.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { x86::byte_products_avx512(query, rows, out) },
            // SAFETY: the value proves the instructions.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { x86::byte_products_avx2(query, rows, out) },
            Set::Plain => plain_byte_products(query, rows, out),
        }
    }

    /// In how many bits each row of `words`, as long as the query each, differs from it.
    pub(super) fn sign_differences(self, query: &[u64], words: &[u64], out: &mut [u16]) {
        assert_eq!(words.len(), query.len() * out.len(), "shapes agree");
        match self.0 {
            // SAFETY: every processor with AVX2, let alone AVX-512, has the instruction, and `available` asked.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 | Set::Avx2 => unsafe { x86::sign_differences(query, words, out) },
            Set::Plain => plain_sign_differences(query, words, out),
        }
    }
}

fn plain_byte_products(query: &[Line], rows: &[&[Line]], out: &mut [i32]) {
    for (row, out) in rows.iter().zip(out) {
        let pairs = row.iter().zip(query).flat_map(|(row, query)| row.0.iter().zip(&query.0));
        *out = pairs.map(|(row, query)| i32::from(*row) * i32::from(query.cast_signed())).sum();
    }
}

#[inline(always)]
fn plain_sign_differences(query: &[u64], words: &[u64], out: &mut [u16]) {
    for (row, out) in words.chunks_exact(query.len()).zip(out) {
        let differing: u32 = row.iter().zip(query).map(|(row, query)| (row ^ query).count_ones()).sum();
        *out = u16::try_from(differing).unwrap_or(u16::MAX);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, _MM_HINT_T0, _mm_add_epi32, _mm_cvtsi128_si32, _mm_load_si128, _mm_prefetch, _mm_shuffle_epi32,
        _mm256_add_epi32, _mm256_castsi256_si128, _mm256_cvtepi8_epi16, _mm256_cvtepu8_epi16, _mm256_extracti128_si256,
        _mm256_madd_epi16, _mm256_setzero_si256, _mm512_add_epi32, _mm512_dpbusd_epi32, _mm512_load_si512,
        _mm512_reduce_add_epi32, _mm512_setzero_si512,
    };

    use super::{LINE, Line};

    fn prefetch(rows: &[&[Line]]) {
        for line in rows.iter().copied().flatten() {
            // SAFETY: a prefetch reads nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.0.as_ptr().cast()) };
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn byte_products_avx512(query: &[Line], rows: &[&[Line]], out: &mut [i32]) {
        prefetch(rows);
        for (row, out) in rows.iter().zip(out) {
            // Two, because each waits for its last addition.
            let mut sums = [_mm512_setzero_si512(); 2];
            for (n, (row, query)) in row.iter().zip(query).enumerate() {
                // SAFETY: a line is 64 bytes, aligned to 64.
                let (row, query) =
                    unsafe { (_mm512_load_si512(row.0.as_ptr().cast()), _mm512_load_si512(query.0.as_ptr().cast())) };
                sums[n % 2] = _mm512_dpbusd_epi32(sums[n % 2], row, query);
            }
            *out = _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1]));
        }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn byte_products_avx2(query: &[Line], rows: &[&[Line]], out: &mut [i32]) {
        const PART: usize = size_of::<__m128i>();
        prefetch(rows);
        for (row, out) in rows.iter().zip(out) {
            let mut sums = [_mm256_setzero_si256(); 2];
            for (row, query) in row.iter().zip(query) {
                for part in 0..LINE / PART {
                    // SAFETY: a line is 64 bytes, aligned to 64, and so are its quarters to 16.
                    let (row, query) = unsafe {
                        let (row, query) = (row.0.as_ptr().add(part * PART), query.0.as_ptr().add(part * PART));
                        (_mm_load_si128(row.cast()), _mm_load_si128(query.cast()))
                    };
                    // In 16 bits, because AVX2's product of bytes saturates.
                    let products = _mm256_madd_epi16(_mm256_cvtepu8_epi16(row), _mm256_cvtepi8_epi16(query));
                    sums[part % 2] = _mm256_add_epi32(sums[part % 2], products);
                }
            }
            let sum = _mm256_add_epi32(sums[0], sums[1]);
            let sum = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
            let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b01_00_11_10>(sum));
            let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b10_11_00_01>(sum));
            *out = _mm_cvtsi128_si32(sum);
        }
    }

    /// The plain code, compiled with the instruction that counts bits.
    #[target_feature(enable = "popcnt")]
    pub(super) fn sign_differences(query: &[u64], words: &[u64], out: &mut [u16]) {
        super::plain_sign_differences(query, words, out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(bytes: &[u8]) -> Vec<Line> {
        bytes.as_chunks::<LINE>().0.iter().map(|line| Line(*line)).collect()
    }

    proptest! {
        #[test]
        fn byte_products_agree_with_plain_code(
            count in 1usize..9,
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(127), Just(128), Just(255)], 10 * 8 * LINE),
        ) {
            let all = lines(&bytes);
            let query = &all[..count];
            let rows: Vec<&[Line]> = all[8..].chunks_exact(8).map(|row| &row[..count]).collect();
            let mut expected = vec![0; rows.len()];
            plain_byte_products(query, &rows, &mut expected);
            for simd in Simd::available() {
                let mut out = vec![0; rows.len()];
                simd.byte_products(query, &rows, &mut out);
                prop_assert_eq!(&out, &expected, "{:?}", simd);
            }
        }

        #[test]
        fn sign_differences_agree_with_plain_code(words in prop::collection::vec(any::<u64>(), 7 * 9)) {
            for stride in [1, 7] {
                let (query, rows) = words.split_at(stride);
                let rows = &rows[..rows.len() / stride * stride];
                let mut expected = vec![0; rows.len() / stride];
                plain_sign_differences(query, rows, &mut expected);
                for simd in Simd::available() {
                    let mut out = vec![0; expected.len()];
                    simd.sign_differences(query, rows, &mut out);
                    prop_assert_eq!(&out, &expected, "{:?}", simd);
                }
            }
        }
    }
}
