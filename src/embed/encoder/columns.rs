//! Products of some vectors with all columns of a matrix, in bytes as the encoder's.

use std::fmt;
use std::sync::LazyLock;

use super::kernels::{Isa, PANEL, QUAD, Rows};
use super::linear::Linear;
use super::{Instructions, Set};

static INSTRUCTIONS: LazyLock<Instructions> =
    LazyLock::new(|| Instructions::best().unwrap_or_else(Instructions::plain));

/// A matrix that is multiplied with from the left, packed for that: a quarter of what it takes in floats.
pub struct Columns {
    /// Numbers in a column; the packed ones are longer by some zeros.
    rows: usize,
    packed: Option<Linear>,
}

impl fmt::Debug for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Columns").field("rows", &self.rows).field("width", &self.width()).finish()
    }
}

impl Columns {
    /// Of columns of equal length.
    #[must_use]
    pub fn new(columns: &[Vec<f32>]) -> Self {
        let rows = columns.first().map_or(0, Vec::len);
        let (inputs, outputs) = (rows.next_multiple_of(QUAD), columns.len().next_multiple_of(PANEL));
        let mut weights = vec![0.0; inputs * outputs];
        for (weights, column) in weights.chunks_mut(inputs.max(1)).zip(columns) {
            weights.iter_mut().zip(column).for_each(|(weight, value)| *weight = *value);
        }
        let pack = || Linear::pack(INSTRUCTIONS.format(), inputs, &weights, &vec![0.0; outputs]);
        Self { rows, packed: (rows > 0).then(pack) }
    }

    /// Numbers in a row of what [`times`](Self::times) returns: at least one for each column; zeros follow.
    #[must_use]
    pub fn width(&self) -> usize {
        self.packed.as_ref().map_or(0, |packed| packed.panels() * PANEL)
    }

    /// The products of vectors, which stand one after the other, with each column: a row of [`width`](Self::width) numbers for
    /// each. They are off by a thousandth of the product of the lengths, at most about.
    ///
    /// # Panics
    /// Where the vectors aren't as long as the columns.
    #[must_use]
    pub fn times(&self, vectors: &[f32]) -> Vec<f32> {
        let Some(packed) = &self.packed else { return Vec::new() };
        assert_eq!(vectors.len() % self.rows, 0, "whole vectors");
        match INSTRUCTIONS.0 {
            _ if vectors.is_empty() => Vec::new(),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(isa) => times(isa, vectors.chunks_exact(self.rows), packed),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(isa) => times(isa, vectors.chunks_exact(self.rows), packed),
            Set::Plain(isa) => times(isa, vectors.chunks_exact(self.rows), packed),
        }
    }
}

fn times<'v, I: Isa>(isa: I, vectors: impl ExactSizeIterator<Item = &'v [f32]>, packed: &Linear) -> Vec<f32> {
    let (stride, width, count) = (packed.inputs(), packed.panels() * PANEL, vectors.len());
    let (mut codes, mut scale, mut low) = (vec![0; count * stride], vec![0.0; count], vec![0.0; count]);
    for (row, vector) in vectors.enumerate() {
        let extent = isa.extent(vector);
        isa.quantise(vector, extent, &mut codes[row * stride..][..vector.len()]);
        (scale[row], low[row]) = (extent.scale(), extent.low);
    }
    let rows = Rows { codes: &codes, stride, scale: &scale, low: &low };
    let mut products = vec![0.0; count * width];
    for panel in 0..packed.panels() {
        packed.multiply(isa, rows, panel, &mut products[panel * PANEL..], width);
    }
    products
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::embed::dot;

    proptest! {
        #[test]
        fn products_are_dot_products(rows in 1usize..400, columns in 0usize..70, count in 0usize..12, seed: u64) {
            let mut state = seed | 1;
            let mut number = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
            };
            let columns: Vec<Vec<f32>> = (0..columns).map(|_| (0..rows).map(|_| number()).collect()).collect();
            let vectors: Vec<f32> = (0..count * rows).map(|_| number()).collect();
            let packed = Columns::new(&columns);
            let products = packed.times(&vectors);
            prop_assert_eq!(products.len(), count * packed.width());
            for (vector, products) in vectors.chunks(rows).zip(products.chunks(packed.width().max(1))) {
                for (column, product) in columns.iter().zip(products) {
                    let lengths = (dot(vector, vector) * dot(column, column)).sqrt();
                    prop_assert!((dot(vector, column) - product).abs() < 0.03 * lengths + 1e-4);
                }
                prop_assert!(products[columns.len().min(products.len())..].iter().all(|zero| zero.abs() < 1e-6));
            }
        }
    }
}
