//! A BERT encoder's weights, packed for one instruction set.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::super::description::Shape;
use super::Instructions;
use super::kernels::{Format, PANEL};
use super::linear::Linear;

/// What the width of a head must be a multiple of: attention's products take as many columns at once.
const HEAD_STEP: usize = PANEL;

/// Why this engine can't compute an encoder of that shape, if so.
pub(in super::super) fn obstacle(shape: &Shape) -> Option<String> {
    let by = |what: &str, value: usize, of: usize| {
        (value == 0 || !value.is_multiple_of(of)).then(|| format!("its {what} ({value}) isn't a multiple of {of}"))
    };
    if shape.layers == 0 || shape.heads == 0 {
        return Some("it has no layers or heads".into());
    }
    by("hidden_size", shape.hidden, shape.heads)
        .or_else(|| by("width of a head", shape.head_width(), HEAD_STEP))
        .or_else(|| by("intermediate_size", shape.intermediate, PANEL))
}

/// The largest magnitude of every input of a layer's two parts.
#[derive(Debug, Clone)]
pub(in super::super) struct Magnitudes {
    /// Of what query, key and value are made from.
    pub(in super::super) attention: Vec<f32>,
    /// Of what the feed-forward part takes.
    pub(in super::super) feed: Vec<f32>,
}

/// Scale and shift of a LayerNorm.
pub(super) struct Norm {
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

/// One layer. Attention's query comes scaled by 1 ÷ √(width of a head).
pub(super) struct Layer {
    /// What the layer's input is multiplied by before it is quantised.
    pub(super) smoothing: Vec<f32>,
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) output: Linear,
    pub(super) attention_norm: Norm,
    /// What the feed-forward part's input is multiplied by before it is quantised.
    pub(super) feed_smoothing: Vec<f32>,
    pub(super) up: Linear,
    pub(super) down: Linear,
    pub(super) output_norm: Norm,
}

/// Everything that is read during a pass and never written.
pub(in super::super) struct Weights {
    pub(super) shape: Shape,
    pub(super) instructions: Instructions,
    /// (vocabulary, hidden). Half of all weights are here, each is read once a token, and 11 bits are more than the
    /// quantised products behind them take up.
    pub(super) words: Vec<f16>,
    /// (positions, hidden), with the embedding of token type 0 added.
    pub(super) positions: Vec<f32>,
    pub(super) norm: Norm,
    pub(super) layers: Vec<Layer>,
}

impl Weights {
    /// Takes each tensor by the name that it has in PyTorch's BERT and its shape, row by row, from `tensor`, and packs it
    /// for `instructions`. `magnitudes`: one per layer.
    ///
    /// # Errors
    /// Whatever `tensor` says.
    pub(in super::super) fn pack<E>(
        shape: Shape,
        magnitudes: &[Magnitudes],
        instructions: Instructions,
        tensor: impl Fn(&str, &[usize]) -> Result<Vec<f32>, E>,
    ) -> Result<Self, E> {
        let format = instructions.format();
        let Shape { vocabulary, positions, types, hidden, .. } = shape;
        let norm = |name: &str| {
            let part = |part: &str| tensor(&format!("{name}.LayerNorm.{part}"), &[hidden]);
            Ok(Norm { scale: part("weight")?, shift: part("bias")? })
        };
        let words = halves(&tensor("embeddings.word_embeddings.weight", &[vocabulary, hidden])?);
        let mut places = tensor("embeddings.position_embeddings.weight", &[positions, hidden])?;
        let types = tensor("embeddings.token_type_embeddings.weight", &[types, hidden])?;
        for place in places.chunks_exact_mut(hidden) {
            place.iter_mut().zip(&types).for_each(|(x, y)| *x += y);
        }
        let mut packed =
            Self { shape, instructions, words, positions: places, norm: norm("embeddings")?, layers: Vec::new() };
        assert_eq!(magnitudes.len(), shape.layers, "one pair of magnitudes per layer");
        for (number, magnitudes) in magnitudes.iter().enumerate() {
            let name = |part: &str| format!("encoder.layer.{number}.{part}");
            let dense = |part: &str, outputs: usize, inputs: usize| {
                let weight = tensor(&format!("{}.weight", name(part)), &[outputs, inputs])?;
                Ok(Dense { inputs, weight, bias: tensor(&format!("{}.bias", name(part)), &[outputs])? })
            };
            let mut query = dense("attention.self.query", hidden, hidden)?;
            let mut key = dense("attention.self.key", hidden, hidden)?;
            let mut value = dense("attention.self.value", hidden, hidden)?;
            #[expect(clippy::cast_precision_loss, reason = "head widths are small")]
            query.times(1.0 / (shape.head_width() as f32).sqrt());
            let output = dense("attention.output.dense", hidden, hidden)?;
            let attention_norm = norm(&name("attention.output"))?;
            let mut up = dense("intermediate.dense", shape.intermediate, hidden)?;
            let down = dense("output.dense", hidden, shape.intermediate)?;
            let smoothing = smooth(&magnitudes.attention, &mut [&mut query, &mut key, &mut value]);
            let feed_smoothing = smooth(&magnitudes.feed, &mut [&mut up]);
            packed.layers.push(Layer {
                smoothing,
                query: query.pack(format),
                key: key.pack(format),
                value: value.pack(format),
                output: output.pack(format),
                attention_norm,
                feed_smoothing,
                up: up.pack(format),
                down: down.pack(format),
                output_norm: norm(&name("output"))?,
            });
        }
        Ok(packed)
    }
}

fn halves(numbers: &[f32]) -> Vec<f16> {
    let mut halves = vec![f16::ZERO; numbers.len()];
    halves.convert_from_f32_slice(numbers);
    halves
}

/// A product's weights before they are packed: shape (`bias.len()`, `inputs`).
struct Dense {
    inputs: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Dense {
    fn times(&mut self, factor: f32) {
        self.weight.iter_mut().chain(&mut self.bias).for_each(|x| *x *= factor);
    }

    fn pack(self, format: Format) -> Linear {
        Linear::pack(format, self.inputs, &self.weight, &self.bias)
    }
}

/// Moves magnitude from inputs, a few of which are far larger than the rest and would coarsen everybody's quantisation, to
/// the weights behind them. Returns what the inputs are to be multiplied by; multiplies the weights by the inverse.
///
/// SmoothQuant (Xiao et al. 2023, equation 4 with α = ½): per input, √(max |x| ÷ max |w|).
fn smooth(magnitudes: &[f32], products: &mut [&mut Dense]) -> Vec<f32> {
    let mut weights = vec![0.0f32; magnitudes.len()];
    for row in products.iter().flat_map(|product| product.weight.chunks_exact(product.inputs)) {
        weights.iter_mut().zip(row).for_each(|(largest, weight)| *largest = largest.max(weight.abs()));
    }
    // What is hardly ever used keeps a factor that can be divided by.
    let floor = |values: &[f32]| values.iter().fold(1e-20f32, |a, b| a.max(*b)) * 1e-3;
    let (least_input, least_weight) = (floor(magnitudes), floor(&weights));
    let factors: Vec<f32> =
        magnitudes.iter().zip(&weights).map(|(x, w)| (x.max(least_input) / w.max(least_weight)).sqrt()).collect();
    for product in products {
        for row in product.weight.chunks_exact_mut(product.inputs) {
            row.iter_mut().zip(&factors).for_each(|(weight, factor)| *weight *= factor);
        }
    }
    factors.into_iter().map(|factor| 1.0 / factor).collect()
}
