//! `config.json`: what kind of encoder the weights are for.

use std::path::Path;

use serde::Deserialize;

use super::error::ModelError;
use super::manifest::Manifest;

/// What `config.json` says of an encoder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Tokens that it knows.
    pub(super) vocabulary: usize,
    /// Tokens of the longest input.
    pub(super) positions: usize,
    /// Token types, of which only the first is used.
    pub(super) types: usize,
    pub(super) hidden: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) intermediate: usize,
    pub(super) epsilon: f32,
    pub(super) activation: Activation,
}

impl Shape {
    pub(super) fn head_width(&self) -> usize {
        self.hidden / self.heads
    }
}

/// The activation between the two products of a layer's feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// x · Φ(x), exact.
    Gelu,
    /// The tanh approximation of it.
    GeluTanh,
    /// max(x, 0).
    Relu,
}

/// The fields that matter, by the names that Hugging Face gives them.
#[derive(Deserialize)]
struct Fields {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: ActivationName,
    max_position_embeddings: usize,
    #[serde(default, rename = "position_embedding_type")]
    _positions: Positions,
    type_vocab_size: usize,
    layer_norm_eps: f32,
}

/// An activation by the names that Hugging Face gives it.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum ActivationName {
    Gelu,
    #[serde(alias = "gelu_pytorch_tanh", alias = "gelu_fast")]
    GeluNew,
    Relu,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum Positions {
    #[default]
    Absolute,
}

#[derive(Deserialize)]
struct Kind {
    model_type: Option<String>,
}

/// The shape of the encoder that `bytes`, read from `path`, describe.
///
/// # Errors
/// Where it is no BERT, contradicts itself, or contradicts the manifest.
pub(super) fn shape(path: &Path, bytes: &[u8], manifest: &Manifest) -> Result<Shape, ModelError> {
    let malformed = |why: String| ModelError::Malformed { path: path.to_owned(), why };
    // First, because another kind's fields would be reported as missing.
    let kind: Kind = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    if let Some(kind) = kind.model_type.filter(|kind| kind != "bert") {
        return Err(malformed(format!("model_type is `{kind}`; only `bert` is supported")));
    }
    let fields: Fields = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    fields.check(manifest).map_err(malformed)?;
    Ok(fields.shape())
}

impl Fields {
    fn check(&self, manifest: &Manifest) -> Result<(), String> {
        let Self { hidden_size: hidden, num_attention_heads: heads, max_position_embeddings: positions, .. } = *self;
        let Manifest { dimension, window, .. } = *manifest;
        if hidden != dimension {
            return Err(format!("hidden_size is {hidden}, but the manifest says dimension = {dimension}"));
        }
        if positions < window {
            return Err(format!("max_position_embeddings is {positions}, but the manifest says window = {window}"));
        }
        if heads == 0 || !hidden.is_multiple_of(heads) {
            return Err(format!("hidden_size is {hidden}, which num_attention_heads ({heads}) doesn't divide"));
        }
        if self.vocab_size == 0 || self.type_vocab_size == 0 || self.intermediate_size == 0 {
            return Err("vocab_size, type_vocab_size and intermediate_size must be at least 1".into());
        }
        Ok(())
    }

    fn shape(&self) -> Shape {
        Shape {
            vocabulary: self.vocab_size,
            positions: self.max_position_embeddings,
            types: self.type_vocab_size,
            hidden: self.hidden_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            intermediate: self.intermediate_size,
            epsilon: self.layer_norm_eps,
            activation: match self.hidden_act {
                ActivationName::Gelu => Activation::Gelu,
                ActivationName::GeluNew => Activation::GeluTanh,
                ActivationName::Relu => Activation::Relu,
            },
        }
    }
}
