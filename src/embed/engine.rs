//! What computes: candle, or an encoder of our own on the CPU.

use std::num::NonZero;

use candle_core::Device;

use super::bert::Bert;
use super::calibrate;
use super::description::Shape;
use super::encoder::{self, Encoder, EncoderError, Instructions, MAX_THREADS, PASS_TOKENS, Waker, Weights};
use super::error::ModelError;
use super::manifest::Pooling;
use super::tensors::Tensors;
use crate::config;

/// Tokens of a batch of candle's on the CPU: a few texts share the fetching of the weights, and nobody waits long for
/// those that come first.
const CPU_BATCH_TOKENS: usize = 512;
/// Tokens of a batch on a GPU, which is busy only with thousands.
const GPU_BATCH_TOKENS: usize = 16_384;

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
        settings: &config::Embedding,
        pooling: Pooling,
        shape: Shape,
        tensors: &Tensors,
    ) -> Result<Self, ModelError> {
        let device = device(settings)?;
        let Some(instructions) = instructions(settings.engine, &device, &shape)? else {
            return Bert::load(pooling, device, shape, tensors).map(Box::new).map(Self::Candle);
        };
        let magnitudes = calibrate::magnitudes(tensors, shape)?;
        let weights = Weights::pack(shape, &magnitudes, instructions, |name, shape| tensors.numbers(name, shape))?;
        let available = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = settings.threads.map_or(available, NonZero::get).min(MAX_THREADS);
        let encoder = Encoder::start(weights, threads).map(Box::new).map_err(ModelError::Threads)?;
        Ok(Self::Encoder { encoder, pooling, hidden: shape.hidden, threads })
    }

    /// Those that this processor can run, fastest first.
    pub(super) fn available() -> impl Iterator<Item = config::Engine> {
        let fast = [
            Instructions::avx512().map(|_| config::Engine::Avx512),
            Instructions::avx2().map(|_| config::Engine::Avx2),
        ];
        fast.into_iter().flatten().chain([config::Engine::Candle, config::Engine::Plain])
    }

    /// What computes, for people.
    pub(super) fn description(&self) -> String {
        match self {
            Self::Candle(bert) if bert.device().is_cuda() => "candle (cuda, 16 bits)".into(),
            Self::Candle(_) => "candle (cpu)".into(),
            Self::Encoder { encoder, threads, .. } => {
                let plural = if *threads == 1 { "" } else { "s" };
                format!("{} ({threads} thread{plural})", encoder.instructions().name())
            }
        }
    }

    /// Tokens that are computed at once, if there are so many: what suits the engine, unless the settings say something
    /// else.
    pub(super) fn batch_tokens(&self, wanted: Option<NonZero<usize>>) -> usize {
        let wanted = wanted.map(NonZero::get);
        match self {
            Self::Candle(bert) if bert.device().is_cuda() => wanted.unwrap_or(GPU_BATCH_TOKENS),
            Self::Candle(_) => wanted.unwrap_or(CPU_BATCH_TOKENS),
            Self::Encoder { .. } => wanted.map_or(PASS_TOKENS, |wanted| wanted.min(PASS_TOKENS)),
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

fn device(settings: &config::Embedding) -> Result<Device, ModelError> {
    let cuda = || {
        if cfg!(feature = "cuda") {
            Device::new_cuda(0).map_err(|error| ModelError::Device(error.to_string()))
        } else {
            Err(ModelError::Device("this program was built without `--features cuda`".into()))
        }
    };
    match (settings.device, settings.engine) {
        (config::Device::Cuda, _) => cuda(),
        (config::Device::Auto, config::Engine::Auto | config::Engine::Candle) if cfg!(feature = "cuda") => Ok(cuda()
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "the CPU embeds, because there is no GPU that could");
                Device::Cpu
            })),
        (config::Device::Auto | config::Device::Cpu, _) => Ok(Device::Cpu),
    }
}

/// What an encoder of our own would compute with; `None`: candle computes.
fn instructions(engine: config::Engine, device: &Device, shape: &Shape) -> Result<Option<Instructions>, ModelError> {
    let obstacle = if device.is_cuda() { Some("device is a GPU".into()) } else { encoder::obstacle(shape) };
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
