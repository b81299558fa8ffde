//! How prompts vary, as they come.

use std::collections::HashMap;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use super::centres::Mean;

/// Prompts that are remembered; then older ones begin to count less. Arbitrary.
const REMEMBERED: f32 = 10_000.0;

/// The mean of prompts' vectors, and how those vary that have one answer, as they come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scatter {
    pub(super) count: f32,
    pub(super) mean: Vec<f32>,
    /// Of how many the products are.
    pub(super) within: f32,
    /// Sums of products of deviations from the mean of an answer's prompts: the lower triangle, row by row.
    pub(super) products: Vec<f32>,
}

impl Scatter {
    /// One more prompt.
    pub fn add(&mut self, vector: &[f32]) {
        self.fit(vector.len());
        self.count = (self.count + 1.0).min(REMEMBERED);
        self.mean.iter_mut().zip(vector).for_each(|(mean, value)| *mean += (value - *mean) / self.count);
    }

    /// A prompt lies so far `away` from the mean of `others` that have its answer (Welford 1962).
    pub fn add_within(&mut self, away: &[f32], others: f32) {
        self.fit(away.len());
        if self.within >= REMEMBERED {
            self.within /= 2.0;
            self.products.iter_mut().for_each(|sum| *sum /= 2.0);
        }
        self.within += 1.0;
        let counts = others / (others + 1.0);
        let mut rest = self.products.as_mut_slice();
        for (row, value) in away.iter().enumerate() {
            let (sums, others) = rest.split_at_mut(row + 1);
            let by = counts * value;
            sums.iter_mut().zip(away).for_each(|(sum, value)| *sum += by * value);
            rest = others;
        }
    }

    /// Many prompts, of which those with one key have one answer.
    pub fn add_answered<'v, K: Eq + Hash>(&mut self, prompts: impl Iterator<Item = (K, &'v [f32])>) {
        let mut answers: HashMap<K, Mean> = HashMap::new();
        for (answer, vector) in prompts {
            let others = answers.entry(answer).or_default();
            if let Some((away, count)) = others.away(vector) {
                self.add_within(&away, count);
            }
            others.add(vector, 1.0);
        }
    }

    fn fit(&mut self, dimension: usize) {
        if self.mean.len() != dimension {
            let products = vec![0.0; dimension * (dimension + 1) / 2];
            *self = Self { count: 0.0, mean: vec![0.0; dimension], within: 0.0, products };
        }
    }
}
