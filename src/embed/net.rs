//! A BERT encoder in candle's operations, on any device and in 32 or 16 bits.
//!
//! It computes for GPUs, gives the reference that the faster engines on the CPU are held against, and shows them how large
//! the numbers get (`calibrate.rs`). All shapes are those of a padded batch: (rows, width, …).

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use candle_nn::ops::{layer_norm, softmax_last_dim};

use super::description::{Activation, Shape};
use super::error::ModelError;
use super::tensors::Tensors;

/// What a score is lowered by where its key is padding: exp(-10,000) is 0, and the number is finite in 16 bits too.
const MASKED: f64 = -10_000.0;

pub(super) struct Net {
    shape: Shape,
    /// (vocabulary, hidden)
    words: Tensor,
    /// (positions, hidden), with the embedding of token type 0 added.
    positions: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
}

/// One layer: attention, then the feed-forward part, each with its residual and LayerNorm.
pub(super) struct Layer {
    shape: Shape,
    /// Query, key and value in one: (3 × hidden, hidden). The query comes scaled by 1 ÷ √(width of a head).
    mixer: Dense,
    attention: Dense,
    attention_norm: Norm,
    up: Dense,
    down: Dense,
    output_norm: Norm,
}

impl Net {
    /// The net of `shape` with its weights on `device` as numbers of type `dtype`.
    ///
    /// # Errors
    /// Where these are not the weights of that shape, or don't fit the device.
    pub(super) fn load(tensors: &Tensors, shape: Shape, device: &Device, dtype: DType) -> Result<Self, ModelError> {
        let weights = Weights { tensors, device, dtype };
        let table = |name: &str, rows: usize| {
            tensors.get(&format!("embeddings.{name}_embeddings.weight"), &[rows, shape.hidden])
        };
        let (words, positions) = (table("word", shape.vocabulary)?, table("position", shape.positions)?);
        let types = table("token_type", shape.types)?;
        let positions = types.narrow(0, 0, 1).and_then(|first| positions.broadcast_add(&first));
        Ok(Self {
            shape,
            words: weights.on_device(words)?,
            positions: weights.on_device(&positions.map_err(|error| tensors.mismatch(&error.to_string()))?)?,
            norm: weights.norm("embeddings", shape)?,
            layers: (0..shape.layers).map(|number| weights.layer(number, shape)).collect::<Result<_, _>>()?,
        })
    }

    /// Token ids → what the first layer takes. Shapes: (rows, width) → (rows, width, hidden).
    pub(super) fn embed(&self, ids: &Tensor) -> CandleResult<Tensor> {
        let (rows, width) = ids.dims2()?;
        let words = self.words.index_select(&ids.flatten_all()?, 0)?.reshape((rows, width, self.shape.hidden))?;
        self.norm.apply(&words.broadcast_add(&self.positions.narrow(0, 0, width)?)?)
    }

    /// First to last.
    pub(super) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Token ids → the final rows. `padding`, where some rows have any: see [`padding`]. Shapes: (rows, width) →
    /// (rows, width, hidden).
    pub(super) fn forward(&self, ids: &Tensor, padding: Option<&Tensor>) -> CandleResult<Tensor> {
        let embedded = self.embed(ids)?;
        self.layers.iter().try_fold(embedded, |x, layer| layer.feed(&layer.attend(&x, padding)?))
    }
}

/// What is added to attention's scores, from a mask of 1 for tokens and 0 for padding. Shapes: (rows, width) →
/// (rows, 1, 1, width).
pub(super) fn padding(mask: &Tensor, dtype: DType) -> CandleResult<Tensor> {
    mask.affine(-MASKED, MASKED)?.to_dtype(dtype)?.unsqueeze(1)?.unsqueeze(1)
}

impl Layer {
    /// The attention part.
    pub(super) fn attend(&self, x: &Tensor, padding: Option<&Tensor>) -> CandleResult<Tensor> {
        let Shape { hidden, heads, .. } = self.shape;
        let (rows, width, _) = x.dims3()?;
        // (rows, width, 3 × hidden) → (3, rows, heads, width, hidden ÷ heads)
        let split = self.mixer.apply(x)?.reshape((rows, width, 3, heads, hidden / heads))?;
        let split = split.permute((2, 0, 3, 1, 4))?.contiguous()?;
        let (query, key, value) = (split.get(0)?, split.get(1)?, split.get(2)?);
        let mut scores = query.matmul(&key.t()?)?;
        if let Some(padding) = padding {
            scores = scores.broadcast_add(padding)?;
        }
        let mixed = softmax_last_dim(&scores)?.matmul(&value)?.transpose(1, 2)?.reshape((rows, width, hidden))?;
        self.attention_norm.apply(&(x + self.attention.apply(&mixed)?)?)
    }

    /// The feed-forward part.
    pub(super) fn feed(&self, x: &Tensor) -> CandleResult<Tensor> {
        let inner = self.up.apply(x)?;
        let inner = match self.shape.activation {
            Activation::Gelu => inner.gelu_erf(),
            Activation::GeluTanh => inner.gelu(),
            Activation::Relu => inner.relu(),
        };
        self.output_norm.apply(&(x + self.down.apply(&inner?)?)?)
    }
}

struct Dense {
    /// (outputs, inputs)
    weight: Tensor,
    /// (outputs)
    bias: Tensor,
}

impl Dense {
    /// (rows, width, inputs) → (rows, width, outputs), as one product of matrices.
    fn apply(&self, x: &Tensor) -> CandleResult<Tensor> {
        let (rows, width, inputs) = x.dims3()?;
        let product = x.reshape((rows * width, inputs))?.matmul(&self.weight.t()?)?;
        product.broadcast_add(&self.bias)?.reshape((rows, width, ()))
    }
}

struct Norm {
    scale: Tensor,
    shift: Tensor,
    epsilon: f32,
}

impl Norm {
    fn apply(&self, x: &Tensor) -> CandleResult<Tensor> {
        layer_norm(x, &self.scale, &self.shift, self.epsilon)
    }
}

/// Where weights come from, and as what.
struct Weights<'t> {
    tensors: &'t Tensors,
    device: &'t Device,
    dtype: DType,
}

impl Weights<'_> {
    fn on_device(&self, tensor: &Tensor) -> Result<Tensor, ModelError> {
        let placed = tensor.to_dtype(self.dtype).and_then(|tensor| tensor.to_device(self.device));
        placed.map_err(|error| ModelError::Device(format!("the weights don't fit onto it: {error}")))
    }

    fn norm(&self, name: &str, shape: Shape) -> Result<Norm, ModelError> {
        let part = |part: &str| self.on_device(self.tensors.get(&format!("{name}.LayerNorm.{part}"), &[shape.hidden])?);
        Ok(Norm { scale: part("weight")?, shift: part("bias")?, epsilon: shape.epsilon })
    }

    fn layer(&self, number: usize, shape: Shape) -> Result<Layer, ModelError> {
        let Shape { hidden, intermediate, .. } = shape;
        let name = |part: &str| format!("encoder.layer.{number}.{part}");
        let parts = |part: &str, outputs: usize, inputs: usize| {
            let weight = self.tensors.get(&format!("{}.weight", name(part)), &[outputs, inputs])?;
            Ok::<_, ModelError>((weight, self.tensors.get(&format!("{}.bias", name(part)), &[outputs])?))
        };
        let dense = |part: &str, outputs: usize, inputs: usize| {
            let (weight, bias) = parts(part, outputs, inputs)?;
            Ok::<_, ModelError>(Dense { weight: self.on_device(weight)?, bias: self.on_device(bias)? })
        };
        let mixer = || {
            let of = |part: &str| parts(&format!("attention.self.{part}"), hidden, hidden);
            let ((query, query_bias), (key, key_bias), (value, value_bias)) = (of("query")?, of("key")?, of("value")?);
            #[expect(clippy::cast_precision_loss, reason = "head widths are small")]
            let scale = 1.0 / (shape.head_width() as f64).sqrt();
            let joined =
                |query: &Tensor, key: &Tensor, value: &Tensor| Tensor::cat(&[&(query * scale)?, key, value], 0);
            let said = |error: candle_core::Error| self.tensors.mismatch(&error.to_string());
            Ok::<_, ModelError>(Dense {
                weight: self.on_device(&joined(query, key, value).map_err(said)?)?,
                bias: self.on_device(&joined(query_bias, key_bias, value_bias).map_err(said)?)?,
            })
        };
        Ok(Layer {
            shape,
            mixer: mixer()?,
            attention: dense("attention.output.dense", hidden, hidden)?,
            attention_norm: self.norm(&name("attention.output"), shape)?,
            up: dense("intermediate.dense", intermediate, hidden)?,
            down: dense("output.dense", hidden, intermediate)?,
            output_norm: self.norm(&name("output"), shape)?,
        })
    }
}
