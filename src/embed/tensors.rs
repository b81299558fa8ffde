//! The weights file, checked.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use super::error::ModelError;

/// What checkpoints of a BERT with a head on it put before the encoder's names.
const PREFIX: &str = "bert.";

/// The tensors of a `model.safetensors`, all of them finite 32-bit floats, by their names in PyTorch's BERT.
pub(super) struct Tensors {
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
}

impl Tensors {
    /// The tensors in `bytes`, which were read from `path`.
    ///
    /// # Errors
    /// Where they are no safetensors file, or hold numbers of another type, or some that aren't finite.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ModelError> {
        let malformed = |why: String| ModelError::Malformed { path: path.to_owned(), why };
        let all = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)
            .map_err(|error| malformed(format!("not a whole safetensors file: {error}")))?;
        let mut tensors = HashMap::with_capacity(all.len());
        for (name, tensor) in all {
            match tensor.dtype() {
                DType::F32 => {
                    if !is_finite(&tensor).map_err(|error| malformed(error.to_string()))? {
                        return Err(malformed(format!(
                            "tensor `{name}` has numbers that are infinite or not a number"
                        )));
                    }
                    tensors.insert(modern_name(&name), tensor);
                }
                // Checkpoints carry position ids and the like, which are never asked for.
                DType::U8 | DType::U32 | DType::I16 | DType::I32 | DType::I64 => {}
                other => {
                    let why =
                        format!("tensor `{name}` is of type {}; weights must be 32-bit floats (F32)", other.as_str());
                    return Err(malformed(why));
                }
            }
        }
        Ok(Self { path: path.to_owned(), tensors })
    }

    /// The tensor `name`, which must have `shape`.
    ///
    /// # Errors
    /// Where it isn't there or has another shape.
    pub(super) fn get(&self, name: &str, shape: &[usize]) -> Result<&Tensor, ModelError> {
        let tensor = self.tensors.get(name).ok_or_else(|| self.mismatch(&format!("it has no tensor `{name}`")))?;
        if tensor.dims() != shape {
            return Err(self.mismatch(&format!("tensor `{name}` has shape {:?} instead of {shape:?}", tensor.dims())));
        }
        Ok(tensor)
    }

    /// The numbers of tensor `name`, row by row.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(super) fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let tensor = self.get(name, shape)?;
        tensor.flatten_all().and_then(|flat| flat.to_vec1()).map_err(|error| self.mismatch(&error.to_string()))
    }

    /// That these aren't the weights that `config.json` describes.
    pub(super) fn mismatch(&self, why: &str) -> ModelError {
        let why = format!("not the weights that config.json describes: {why}");
        ModelError::Malformed { path: self.path.clone(), why }
    }
}

/// A tensor's name as PyTorch writes it today: without a prefix, and LayerNorms not in TensorFlow's words.
fn modern_name(name: &str) -> String {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
}

fn is_finite(tensor: &Tensor) -> candle_core::Result<bool> {
    Ok(tensor.flatten_all()?.to_vec1::<f32>()?.iter().all(|x| x.is_finite()))
}
