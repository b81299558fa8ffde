//! How large the numbers get that an encoder's products take.

use candle_core::{DType, Device, Tensor};

use super::description::Shape;
use super::encoder::Magnitudes;
use super::error::ModelError;
use super::net::Net;
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
pub(super) fn magnitudes(tensors: &Tensors, shape: Shape) -> Result<Vec<Magnitudes>, ModelError> {
    let net = Net::load(tensors, shape, &Device::Cpu, DType::F32)?;
    let tokens = TOKENS.min(shape.positions);
    let look = || {
        let ids = Tensor::from_vec(draw(SEQUENCES * tokens, shape.vocabulary), (SEQUENCES, tokens), &Device::Cpu)?;
        let mut found = Vec::with_capacity(shape.layers);
        let mut x = net.embed(&ids)?;
        for layer in net.layers() {
            let attended = layer.attend(&x, None)?;
            found.push(Magnitudes { attention: largest(&x)?, feed: largest(&attended)? });
            x = layer.feed(&attended)?;
        }
        Ok(found)
    };
    look().map_err(|error: candle_core::Error| tensors.mismatch(&error.to_string()))
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
