//! What computes: candle, or an encoder of our own on the CPU.

use std::path::Path;

use candle_core::Device;
use candle_transformers::models::bert::{Config, HiddenAct};

use super::bert::Bert;
use super::calibrate;
use super::encoder::{Activation, Encoder, EncoderError, Instructions, PASS_TOKENS, Shape, Waker};
use super::error::ModelError;
use super::manifest::{Manifest, Pooling};
use super::tensors::Tensors;
use crate::config;

/// Threads of an encoder at most: its work isn't cut into more parts.
const MAX_THREADS: usize = 16;

/// Token ids → vectors.
pub(super) enum Engine {
    /// The reference, and what runs on GPUs.
    Candle(Box<Bert>),
    /// Quantised, for CPUs.
    Encoder { encoder: Box<Encoder>, pooling: Pooling, hidden: usize, threads: usize },
}

/// Why an engine computed nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    #[error(transparent)]
    Encoder(#[from] EncoderError),
}

impl Engine {
    /// The engine that the settings ask for, or the fastest one for this model on this machine.
    ///
    /// # Errors
    /// See [`ModelError`].
    pub(super) fn load(
        directory: &Path,
        manifest: &Manifest,
        settings: &config::Embedding,
        config: &Config,
        tensors: Tensors,
    ) -> Result<Self, ModelError> {
        check(config, manifest).map_err(|why| ModelError::Malformed { path: directory.join("config.json"), why })?;
        let device = device(settings.device)?;
        let shape = shape(config);
        let instructions = instructions(settings.engine, &device, &shape)?;
        let Some(instructions) = instructions else {
            return Bert::load(manifest.pooling, device, config, tensors).map(Box::new).map(Self::Candle);
        };
        let sizes = (config.vocab_size, config.max_position_embeddings, config.type_vocab_size);
        let magnitudes = calibrate::magnitudes(&tensors, shape, sizes)?;
        let available = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = settings.threads.map_or(available, std::num::NonZero::get).min(MAX_THREADS);
        let weights = |name: &str, shape: &[usize]| tensors.numbers(name, shape);
        let encoder = Encoder::start(shape, sizes, &magnitudes, instructions, threads, weights)?
            .map(Box::new)
            .map_err(|error| ModelError::Engine(error.to_string()))?;
        Ok(Self::Encoder { encoder, pooling: manifest.pooling, hidden: shape.hidden, threads })
    }

    /// What computes, for people.
    pub(super) fn description(&self) -> String {
        match self {
            Self::Candle(bert) => format!("candle ({})", bert.device()),
            Self::Encoder { encoder, threads, .. } => {
                let plural = if *threads == 1 { "" } else { "s" };
                format!("{} ({threads} thread{plural})", encoder.instructions().name())
            }
        }
    }

    /// Tokens that are best computed at once, if there are so many, and at most `limit`.
    pub(super) fn batch_tokens(&self, limit: usize) -> usize {
        match self {
            Self::Candle(_) => limit,
            Self::Encoder { .. } => limit.min(PASS_TOKENS),
        }
    }

    /// The encoder, unless it is candle.
    pub(super) fn encoder(&self) -> Option<&Encoder> {
        match self {
            Self::Candle(_) => None,
            Self::Encoder { encoder, .. } => Some(encoder),
        }
    }

    /// What to tell that inputs come soon.
    pub(super) fn waker(&self) -> Waker {
        self.encoder().map(Encoder::waker).unwrap_or_default()
    }

    /// One vector per input, in their order, not yet normalised.
    ///
    /// # Errors
    /// See [`EngineError`]; the inputs are not to blame.
    pub(super) fn embed(&self, inputs: &[&[u32]], batch_tokens: usize) -> Result<Vec<Vec<f32>>, EngineError> {
        match self {
            Self::Candle(bert) => Ok(bert.embed(inputs, batch_tokens)?),
            Self::Encoder { encoder, pooling, hidden, .. } => {
                let mut vectors = vec![vec![0.0; *hidden]; inputs.len()];
                let mut last = None;
                encoder.encode(inputs, |input, row| {
                    // Vectors are normalised afterwards, so a sum does for a mean.
                    if *pooling == Pooling::Mean || last != Some(input) {
                        vectors[input].iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                    }
                    last = Some(input);
                })?;
                Ok(vectors)
            }
        }
    }
}

/// Whether the configuration is one that the manifest can be right about.
fn check(config: &Config, manifest: &Manifest) -> Result<(), String> {
    if let Some(kind) = &config.model_type
        && kind != "bert"
    {
        return Err(format!("model_type is `{kind}`; only `bert` is supported"));
    }
    if config.hidden_size != manifest.dimension {
        let (hidden, dimension) = (config.hidden_size, manifest.dimension);
        return Err(format!("hidden_size is {hidden}, but the manifest says dimension = {dimension}"));
    }
    if config.max_position_embeddings < manifest.window {
        let (positions, window) = (config.max_position_embeddings, manifest.window);
        return Err(format!("max_position_embeddings is {positions}, but the manifest says window = {window}"));
    }
    if config.num_attention_heads == 0 || !config.hidden_size.is_multiple_of(config.num_attention_heads) {
        let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
        return Err(format!("hidden_size is {hidden}, which num_attention_heads ({heads}) doesn't divide"));
    }
    if config.vocab_size == 0 || config.type_vocab_size == 0 {
        return Err("vocab_size and type_vocab_size must be at least 1".into());
    }
    Ok(())
}

fn shape(config: &Config) -> Shape {
    #[expect(clippy::cast_possible_truncation, reason = "an epsilon")]
    let epsilon = config.layer_norm_eps as f32;
    Shape {
        hidden: config.hidden_size,
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        intermediate: config.intermediate_size,
        epsilon,
        activation: match config.hidden_act {
            HiddenAct::Gelu => Activation::Gelu,
            HiddenAct::GeluApproximate => Activation::GeluTanh,
            HiddenAct::Relu => Activation::Relu,
        },
    }
}

fn device(wanted: config::Device) -> Result<Device, ModelError> {
    let cuda = || {
        if cfg!(feature = "cuda") {
            Device::new_cuda(0).map_err(|error| ModelError::Device(error.to_string()))
        } else {
            Err(ModelError::Device("this program was built without `--features cuda`".into()))
        }
    };
    match wanted {
        config::Device::Cpu => Ok(Device::Cpu),
        config::Device::Cuda => cuda(),
        config::Device::Auto => Ok(cuda().unwrap_or(Device::Cpu)),
    }
}

/// What an encoder of our own would compute with; `None`: candle computes.
fn instructions(engine: config::Engine, device: &Device, shape: &Shape) -> Result<Option<Instructions>, ModelError> {
    let obstacle = if device.is_cuda() { Some("device is a GPU".into()) } else { shape.obstacle() };
    let here = |instructions: Option<Instructions>, needed: &str| {
        let why = |why: &str| ModelError::Engine(format!("{}, but {why}", engine.name()));
        match &obstacle {
            Some(obstacle) => Err(why(&format!("the model or device doesn't suit it: {obstacle}"))),
            None => instructions.map(Some).ok_or_else(|| why(&format!("this processor lacks {needed}"))),
        }
    };
    match engine {
        config::Engine::Candle => Ok(None),
        config::Engine::Avx512 => here(Instructions::avx512(), "AVX-512 with VNNI"),
        config::Engine::Avx2 => here(Instructions::avx2(), "AVX2 and FMA"),
        config::Engine::Plain => here(Some(Instructions::plain()), ""),
        config::Engine::Auto => {
            if let Some(obstacle) = &obstacle
                && !device.is_cuda()
            {
                tracing::info!(obstacle, "candle embeds, because the faster engine can't compute this model");
            }
            Ok(Instructions::best().filter(|_| obstacle.is_none()))
        }
    }
}
