//! Quantised weights, packed once.

use super::kernels::{Format, Isa, PANEL, Panel, QUAD, Rows, Step};

/// `x · Wᵀ + b` with W in bytes.
///
/// Weights are symmetric: each output (and, where the [`Format`] says so, each group of inputs) has the scale that takes
/// its largest magnitude to the limit.
pub(super) struct Linear {
    inputs: usize,
    /// Steps that share scales.
    group: usize,
    /// Panel after panel, `inputs / QUAD` each.
    steps: Vec<Step>,
    /// Panel after panel, one per group each.
    scales: Vec<[f32; PANEL]>,
    /// One per panel.
    sums: Vec<[f32; PANEL]>,
    /// One per panel.
    bias: Vec<[f32; PANEL]>,
}

impl Linear {
    /// Packs `weight` of shape (`bias.len()`, `inputs`), row by row as PyTorch stores it. `inputs` is a multiple of
    /// [`QUAD`] and the outputs are one of [`PANEL`].
    pub(super) fn pack(format: Format, inputs: usize, weight: &[f32], bias: &[f32]) -> Self {
        let outputs = bias.len();
        debug_assert!(weight.len() == inputs * outputs && inputs.is_multiple_of(QUAD) && outputs.is_multiple_of(PANEL));
        let group = format.group.map_or(inputs, |group| group.min(inputs)).div_ceil(QUAD);
        let groups = inputs.div_ceil(group * QUAD);
        let panels = outputs / PANEL;
        let mut packed = Self {
            inputs,
            group,
            steps: vec![Step([0; QUAD * PANEL]); panels * inputs / QUAD],
            scales: vec![[0.0; PANEL]; panels * groups],
            sums: vec![[0.0; PANEL]; panels],
            bias: bias.as_chunks::<PANEL>().0.to_vec(),
        };
        for (output, weights) in weight.chunks_exact(inputs).enumerate() {
            let (panel, column) = (output / PANEL, output % PANEL);
            for (g, weights) in weights.chunks(group * QUAD).enumerate() {
                let scale = scale(format, weights);
                packed.scales[panel * groups + g][column] = scale;
                let steps = &mut packed.steps[panel * inputs / QUAD + g * group..];
                for (quad, step) in weights.chunks(QUAD).zip(steps) {
                    for (slot, weight) in step.0[column * QUAD..].iter_mut().zip(quad) {
                        #[expect(clippy::cast_possible_truncation, reason = "within ±127 by the choice of scale")]
                        let code = (weight / scale).round_ties_even() as i8;
                        *slot = code;
                        packed.sums[panel][column] += f32::from(code) * scale;
                    }
                }
            }
        }
        packed
    }

    /// Numbers per row that it takes.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Panels of outputs.
    pub(super) fn panels(&self) -> usize {
        self.bias.len()
    }

    /// Outputs `panel × PANEL ..` of `rows`, each row's to `out[r × stride ..]`.
    #[inline(always)]
    pub(super) fn multiply<I: Isa>(&self, isa: I, rows: Rows<'_>, panel: usize, out: &mut [f32], stride: usize) {
        let steps = self.inputs / QUAD;
        let groups = self.scales.len() / self.bias.len();
        let weights = Panel {
            steps: &self.steps[panel * steps..][..steps],
            group: self.group,
            scales: &self.scales[panel * groups..][..groups],
            sums: &self.sums[panel],
            bias: &self.bias[panel],
        };
        isa.multiply(rows, weights, out, stride);
    }
}

/// What a weight of code 1 is worth: as little as the limits allow.
fn scale(format: Format, weights: &[f32]) -> f32 {
    let mut scale = weights.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs())) / f32::from(i8::MAX);
    if let Some(limit) = format.sum_limit {
        for steps in weights.chunks(2 * QUAD) {
            let magnitude = |input: usize| steps.get(input).map_or(0.0, |weight| weight.abs());
            for half in [0, QUAD / 2] {
                let sum: f32 = [half, half + 1, half + QUAD, half + QUAD + 1].into_iter().map(magnitude).sum();
                // Each of the four may be rounded up by half a code.
                scale = scale.max(sum / (f32::from(limit) - 2.0));
            }
        }
    }
    // An output without weights keeps a scale that divides.
    if scale > 0.0 { scale } else { 1.0 }
}
