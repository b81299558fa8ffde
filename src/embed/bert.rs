//! The plain candle engine: BERT on padded batches, in fp32. Its mask overflows in 16 bits, where nothing but NaN would come out.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};

use super::error::ModelError;
use super::manifest::Pooling;
use super::tensors::{Tensors, mismatch};

pub(super) struct Bert {
    model: BertModel,
    device: Device,
    pooling: Pooling,
    pad: u32,
}

impl Bert {
    pub(super) fn load(
        pooling: Pooling,
        device: Device,
        config: &Config,
        tensors: Tensors,
    ) -> Result<Self, ModelError> {
        let pad = u32::try_from(config.pad_token_id).ok().filter(|pad| (*pad as usize) < config.vocab_size);
        let pad = pad.ok_or_else(|| tensors.mismatch(&format!("pad_token_id {} is no token", config.pad_token_id)))?;
        let (path, tensors) = tensors.into_parts();
        let weights = VarBuilder::from_tensors(tensors, DType::F32, &device);
        // The names come without a prefix, whatever kind of model they were taken from.
        let config = Config { model_type: None, ..config.clone() };
        let model = BertModel::load(weights, &config).map_err(|error| mismatch(&path, &error.to_string()))?;
        Ok(Self { model, device, pooling, pad })
    }

    pub(super) fn device(&self) -> &'static str {
        if self.device.is_cuda() { "cuda" } else { "cpu" }
    }

    /// One vector per input, in their order, not yet normalised. Inputs of similar length share a forward pass of at
    /// most `batch_tokens` tokens, padding included (an input longer than that goes alone).
    pub(super) fn embed(&self, inputs: &[&[u32]], batch_tokens: usize) -> candle_core::Result<Vec<Vec<f32>>> {
        let mut order: Vec<usize> = (0..inputs.len()).collect();
        order.sort_by_key(|&i| inputs[i].len());
        let mut vectors = vec![Vec::new(); inputs.len()];
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            // Sorted by length, so the longest of the first n is the n-th.
            let fits = |n: usize| inputs[rest[n - 1]].len() * n <= batch_tokens;
            let size = (1..=rest.len()).take_while(|&n| n == 1 || fits(n)).count();
            let (batch, later) = rest.split_at(size);
            let rows: Vec<&[u32]> = batch.iter().map(|&i| inputs[i]).collect();
            for (&i, vector) in batch.iter().zip(self.forward(&rows)?) {
                vectors[i] = vector;
            }
            rest = later;
        }
        Ok(vectors)
    }

    /// One padded forward pass. Shapes: ids and mask (rows, width); hidden (rows, width, dimension).
    fn forward(&self, rows: &[&[u32]]) -> candle_core::Result<Vec<Vec<f32>>> {
        let width = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let mut ids = Vec::with_capacity(rows.len() * width);
        let mut mask = Vec::with_capacity(rows.len() * width);
        for row in rows {
            let padding = width - row.len();
            ids.extend_from_slice(row);
            ids.extend(std::iter::repeat_n(self.pad, padding));
            mask.extend(std::iter::repeat_n(1.0f32, row.len()));
            mask.extend(std::iter::repeat_n(0.0f32, padding));
        }
        let shape = (rows.len(), width);
        let ids = Tensor::from_vec(ids, shape, &self.device)?;
        let mask = Tensor::from_vec(mask, shape, &self.device)?;
        let hidden = self.model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let pooled = match self.pooling {
            Pooling::Cls => hidden.narrow(1, 0, 1)?.squeeze(1)?,
            Pooling::Mean => {
                let weights = mask.unsqueeze(2)?;
                hidden.broadcast_mul(&weights)?.sum(1)?.broadcast_div(&mask.sum_keepdim(1)?)?
            }
        };
        pooled.to_vec2()
    }
}
