//! Vectors in bytes: a quarter of their size, and near enough to find who is to be compared exactly.

use super::simd::{LINE, Line};

/// The byte that stands for 0.
const ZERO: u8 = 128;
/// The largest distance of a byte from [`ZERO`], either way.
const LARGEST: f32 = 127.0;

/// 1.5 · 2²³: of numbers as large as this, the last bit is worth 1.
const ROUND: f32 = 12_582_912.0;

/// Lines that the codes of a vector of `dimension` components take.
pub(super) fn lines(dimension: usize) -> usize {
    dimension.div_ceil(LINE)
}

/// Writes the codes of `vector` to `out`, whose rest stands for 0, and returns what one step of a code is worth.
pub(super) fn encode(vector: &[f32], out: &mut [Line]) -> f32 {
    let largest = vector.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let inverse = if largest > 0.0 { LARGEST / largest } else { 0.0 };
    let numbers = vector.iter().copied().chain(std::iter::repeat(0.0));
    for (code, x) in out.iter_mut().flat_map(|line| &mut line.0).zip(numbers) {
        // Adding it rounds to a whole number, which is left in the low bits.
        let [low, ..] = (x * inverse + ROUND).to_bits().to_le_bytes();
        *code = low.wrapping_add(ZERO);
    }
    largest / LARGEST
}

/// The dot product of encoded numbers and a vector, up to what codes lose.
pub(super) fn product(codes: &[Line], step: f32, vector: &[f32]) -> f32 {
    let codes = codes.iter().flat_map(|line| &line.0);
    step * codes.zip(vector).map(|(code, x)| f32::from(code.wrapping_sub(ZERO).cast_signed()) * x).sum::<f32>()
}

/// A vector that encoded ones are compared with.
pub(super) struct Query {
    /// Its codes with sign.
    pub(super) lines: Vec<Line>,
    /// What each sum of products is too large by, because the rows' codes are shifted by [`ZERO`].
    pub(super) excess: i32,
}

impl Query {
    /// Of the codes of a vector.
    pub(super) fn of(codes: &[Line]) -> Self {
        let mut query = Self { lines: Vec::new(), excess: 0 };
        query.set(codes);
        query
    }

    /// Becomes that of other codes.
    pub(super) fn set(&mut self, codes: &[Line]) {
        self.lines.clear();
        self.lines.extend_from_slice(codes);
        let mut sum = 0;
        for code in self.lines.iter_mut().flat_map(|line| &mut line.0) {
            *code = code.wrapping_sub(ZERO);
            sum += i32::from(code.cast_signed());
        }
        self.excess = sum * i32::from(ZERO);
    }

    /// Of a vector.
    pub(super) fn new(vector: &[f32]) -> Self {
        let mut codes = vec![Line([0; LINE]); lines(vector.len())];
        encode(vector, &mut codes);
        Self::of(&codes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::simd::Simd;
    use super::*;

    proptest! {
        #[test]
        fn products_of_codes_are_near_those_of_vectors(
            pairs in prop::collection::vec((-1.0f32..1.0, -1.0f32..1.0), 1..400),
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let mut codes = vec![Line([0; LINE]); lines(a.len())];
            let step = encode(&a, &mut codes);
            let query = Query::new(&b);
            let query_step = b.iter().fold(0.0f32, |largest, x| largest.max(x.abs())) / LARGEST;
            let mut out = [0];
            Simd::best().byte_products(&query.lines, &[&codes], &mut out);
            let product = (out[0] - query.excess) as f32 * step * query_step;
            let exact: f32 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
            // Each factor is off by half a step at most.
            let bound = a.len() as f32 * (0.5 * step + 0.5 * query_step + step * query_step) + 1e-4;
            prop_assert!((product - exact).abs() <= bound, "{product} {exact}");
            prop_assert!((super::product(&codes, step, &b) - exact).abs() <= bound);
        }
    }

    #[test]
    fn a_vector_of_zeros_has_a_code() {
        let mut codes = [Line([7; LINE])];
        assert_eq!(encode(&[0.0; 3], &mut codes), 0.0);
        assert_eq!(codes[0].0, [ZERO; LINE]);
    }
}
