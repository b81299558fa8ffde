//! The candle engine: BERT on padded batches, in 32-bit floats on the CPU, where it is the reference, and in 16 bits on
//! GPUs.

use candle_core::{D, DType, Device, Tensor};

use super::description::Shape;
use super::error::ModelError;
use super::manifest::Pooling;
use super::net::{self, Net};
use super::tensors::Tensors;

/// What fills up the shorter rows of a batch: any token does, because nobody looks at it.
const FILLER: u32 = 0;

pub(super) struct Bert {
    net: Net,
    device: Device,
    dtype: DType,
    pooling: Pooling,
}

impl Bert {
    /// # Errors
    /// As [`Net::load`].
    pub(super) fn load(pooling: Pooling, device: Device, shape: Shape, tensors: &Tensors) -> Result<Self, ModelError> {
        let dtype = if device.is_cuda() { DType::F16 } else { DType::F32 };
        Self::of_type(pooling, device, dtype, shape, tensors)
    }

    fn of_type(
        pooling: Pooling,
        device: Device,
        dtype: DType,
        shape: Shape,
        tensors: &Tensors,
    ) -> Result<Self, ModelError> {
        Ok(Self { net: Net::load(tensors, shape, &device, dtype)?, device, dtype, pooling })
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
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
        let shape = (rows.len(), width);
        let filled =
            rows.iter().flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(FILLER, width - row.len())));
        let ids = Tensor::from_iter(filled, &self.device)?.reshape(shape)?;
        let mask = if rows.iter().all(|row| row.len() == width) {
            None
        } else {
            let ones = |row: &&[u32]| [(1.0f32, row.len()), (0.0, width - row.len())];
            let numbers = rows.iter().flat_map(ones).flat_map(|(number, count)| std::iter::repeat_n(number, count));
            Some(Tensor::from_iter(numbers, &self.device)?.reshape(shape)?)
        };
        let padding = mask.as_ref().map(|mask| net::padding(mask, self.dtype)).transpose()?;
        let hidden = self.net.forward(&ids, padding.as_ref())?;
        let pooled = match (self.pooling, mask) {
            (Pooling::Cls, _) => hidden.narrow(1, 0, 1)?.squeeze(1)?.to_dtype(DType::F32)?,
            (Pooling::Mean, None) => hidden.to_dtype(DType::F32)?.mean(1)?,
            (Pooling::Mean, Some(mask)) => {
                // (rows, 1, width) × (rows, width, dimension)
                let share = mask.broadcast_div(&mask.sum_keepdim(D::Minus1)?)?.unsqueeze(1)?;
                share.matmul(&hidden.to_dtype(DType::F32)?)?.squeeze(1)?
            }
        };
        pooled.to_vec2()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::manifest::Manifest;
    use super::*;

    /// What runs on GPUs, computed here: 16 bits must do, padding included.
    #[test]
    fn sixteen_bits_give_the_vectors_of_thirty_two() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/all-MiniLM-L6-v2");
        let [weights, _, config] = Manifest::REQUIRED.map(|file| std::fs::read(directory.join(file)).unwrap());
        let manifest = Manifest::of_directory(&directory).unwrap();
        let shape = super::super::description::shape(&directory, &config, &manifest).unwrap();
        let tensors = Tensors::parse(&directory, &weights).unwrap();
        let inputs: Vec<Vec<u32>> = [3, 3, 16, 70].map(|length| (0..length).map(|n| 1996 + 137 * n).collect()).to_vec();
        let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
        for pooling in [Pooling::Mean, Pooling::Cls] {
            let embed = |dtype: DType, batch_tokens: usize| {
                let bert = Bert::of_type(pooling, Device::Cpu, dtype, shape, &tensors).unwrap();
                bert.embed(&inputs, batch_tokens).unwrap()
            };
            let reference = embed(DType::F32, 1);
            for (half, reference) in embed(DType::F16, 1000).into_iter().zip(reference) {
                let normalised = |vector| super::super::vector::Embedding::normalised(vector).unwrap();
                let cosine = normalised(half).cosine(&normalised(reference)).get();
                assert!(cosine > 0.9999, "{cosine}");
            }
        }
    }
}
