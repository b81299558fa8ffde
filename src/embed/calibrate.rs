//! How large the numbers get that an encoder's products take.

use candle_core::{D, Tensor};
use candle_nn::ops::{layer_norm, softmax_last_dim};

use super::encoder::{Activation, Magnitudes, Shape};
use super::error::ModelError;
use super::tensors::Tensors;

/// Sequences that are looked at.
const SEQUENCES: usize = 16;
/// Tokens of each.
const TOKENS: usize = 32;

/// The largest magnitude of every input of each layer's two parts, over sequences of tokens drawn from the whole
/// vocabulary. Which inputs are large is a matter of the weights much more than of the text: on MiniLM, such sequences do
/// as well as real prompts. Always the same for the same weights.
///
/// # Errors
/// Where the weights aren't those of such an encoder.
pub(super) fn magnitudes(
    tensors: &Tensors,
    shape: Shape,
    (vocabulary, positions, types): (usize, usize, usize),
) -> Result<Vec<Magnitudes>, ModelError> {
    let tokens = TOKENS.min(positions);
    let ids = draw(SEQUENCES * tokens, vocabulary);
    let words = tensors.get("embeddings.word_embeddings.weight", &[vocabulary, shape.hidden])?;
    let places = tensors.get("embeddings.position_embeddings.weight", &[positions, shape.hidden])?;
    let types = tensors.get("embeddings.token_type_embeddings.weight", &[types, shape.hidden])?;
    let embedded = || {
        let ids = Tensor::from_vec(ids, SEQUENCES * tokens, words.device())?;
        let words = words.index_select(&ids, 0)?.reshape((SEQUENCES, tokens, shape.hidden))?;
        words.broadcast_add(&places.narrow(0, 0, tokens)?)?.broadcast_add(&types.narrow(0, 0, 1)?)
    };
    let said = |error: candle_core::Error| tensors.mismatch(&error.to_string());
    let net = Net { tensors, shape };
    let mut x = net.norm(&embedded().map_err(said)?, "embeddings")?;
    let mut found = Vec::with_capacity(shape.layers);
    for layer in 0..shape.layers {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let attention = largest(&x).map_err(said)?;
        let mixed = net.attention(&x, &name("attention.self"))?;
        let mixed = net.dense(&mixed, &name("attention.output.dense"), shape.hidden)?;
        x = net.norm(&(x + mixed).map_err(said)?, &name("attention.output"))?;
        found.push(Magnitudes { attention, feed: largest(&x).map_err(said)? });
        let inner = net.dense(&x, &name("intermediate.dense"), shape.intermediate)?;
        let inner = match shape.activation {
            Activation::Gelu => inner.gelu_erf(),
            Activation::GeluTanh => inner.gelu(),
            Activation::Relu => inner.relu(),
        };
        let inner = net.dense(&inner.map_err(said)?, &name("output.dense"), shape.hidden)?;
        x = net.norm(&(x + inner).map_err(said)?, &name("output"))?;
    }
    Ok(found)
}

/// `count` token ids, spread over the vocabulary by a linear congruential generator (Knuth's MMIX constants).
fn draw(count: usize, vocabulary: usize) -> Vec<u32> {
    let mut state = 0u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % vocabulary.max(1) as u64) as u32
    };
    (0..count).map(|_| next()).collect()
}

/// (sequences, tokens, inputs) → the largest magnitude per input.
fn largest(x: &Tensor) -> candle_core::Result<Vec<f32>> {
    x.abs()?.flatten_to(1)?.max(0)?.to_vec1()
}

/// BERT's parts on (sequences, tokens, numbers) without padding.
struct Net<'t> {
    tensors: &'t Tensors,
    shape: Shape,
}

impl Net<'_> {
    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor, ModelError> {
        let part = |part: &str| self.tensors.get(&format!("{name}.LayerNorm.{part}"), &[self.shape.hidden]);
        layer_norm(x, part("weight")?, part("bias")?, self.shape.epsilon)
            .map_err(|error| self.tensors.mismatch(&error.to_string()))
    }

    fn dense(&self, x: &Tensor, name: &str, outputs: usize) -> Result<Tensor, ModelError> {
        let said = |error: candle_core::Error| self.tensors.mismatch(&error.to_string());
        let inputs = x.dim(D::Minus1).map_err(said)?;
        let weight = self.tensors.get(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = self.tensors.get(&format!("{name}.bias"), &[outputs])?;
        let product = || x.contiguous()?.broadcast_matmul(&weight.t()?)?.broadcast_add(bias);
        product().map_err(said)
    }

    fn attention(&self, x: &Tensor, name: &str) -> Result<Tensor, ModelError> {
        let Shape { hidden, heads, .. } = self.shape;
        let query = self.dense(x, &format!("{name}.query"), hidden)?;
        let key = self.dense(x, &format!("{name}.key"), hidden)?;
        let value = self.dense(x, &format!("{name}.value"), hidden)?;
        let mix = || {
            let (sequences, tokens, _) = x.dims3()?;
            let split =
                |x: Tensor| x.reshape((sequences, tokens, heads, hidden / heads))?.transpose(1, 2)?.contiguous();
            let (query, key, value) = (split(query)?, split(key)?, split(value)?);
            #[expect(clippy::cast_precision_loss, reason = "head widths are small")]
            let scores = (query.matmul(&key.t()?)? / ((hidden / heads) as f64).sqrt())?;
            softmax_last_dim(&scores)?.matmul(&value)?.transpose(1, 2)?.reshape((sequences, tokens, hidden))
        };
        mix().map_err(|error: candle_core::Error| self.tensors.mismatch(&error.to_string()))
    }
}
