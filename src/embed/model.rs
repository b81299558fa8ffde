//! A model directory, checked and loaded.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::description;
use super::encoder::Waker;
use super::engine::Engine;
use super::error::{EmbedError, ModelError};
use super::identity::{ModelDigest, ModelIdentity};
use super::manifest::Manifest;
use super::tensors::Tensors;
use super::tokens::{Tokens, Windows};
use super::vector::TextEmbedding;
use crate::config;

/// A loaded embedding model.
pub struct Model {
    tokens: Tokens,
    engine: Engine,
    identity: ModelIdentity,
    manifest: Manifest,
    /// Of the longest text that is embedded.
    max_tokens: usize,
    batch_tokens: usize,
}

impl Model {
    /// The directory of `name`: itself where it is one, else its namesake in `models_dir`.
    ///
    /// # Errors
    /// [`ModelError::Unknown`], with the names that would have worked.
    pub fn directory(name: &str, models_dir: &Path) -> Result<PathBuf, ModelError> {
        let named = models_dir.join(name);
        if named.is_dir() {
            return Ok(named);
        }
        let direct = PathBuf::from(name);
        if direct.is_dir() {
            return Ok(direct);
        }
        let known = Self::list(models_dir).join(", ");
        Err(ModelError::Unknown {
            name: name.to_owned(),
            models_dir: models_dir.to_owned(),
            known: if known.is_empty() { "none".into() } else { known },
        })
    }

    /// The names of the models in `models_dir`, sorted.
    #[must_use]
    pub fn list(models_dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(models_dir).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter(|entry| entry.path().join(Manifest::FILE).is_file())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// Loads the model that the settings name, and embeds a probe text, so that whatever is wrong with it is found at
    /// start.
    ///
    /// # Errors
    /// See [`ModelError`].
    pub fn load(settings: &config::Embedding) -> Result<Self, ModelError> {
        let directory = Self::directory(&settings.model, &settings.models_dir)?;
        let name = directory.file_name().map_or_else(|| settings.model.clone(), |n| n.to_string_lossy().into_owned());
        for file in Manifest::REQUIRED {
            let path = directory.join(file);
            if !path.is_file() {
                return Err(ModelError::Missing { path, name });
            }
        }
        let manifest = Manifest::of_directory(&directory)?;
        let files = Files::read(&directory, &manifest)?;
        let digest = files.digest(&manifest);
        let tokens = Tokens::parse(&directory.join("tokenizer.json"), &files.tokenizer, &manifest, digest.clone())?;
        let identity = ModelIdentity { name, dimension: manifest.dimension, digest };
        let config_path = directory.join("config.json");
        let shape = description::shape(&config_path, &files.config, &manifest)?;
        if let Some(why) = tokens.beyond(shape.vocabulary) {
            return Err(ModelError::Malformed { path: config_path, why });
        }
        let tensors = Tensors::parse(&directory.join("model.safetensors"), &files.weights)?;
        drop(files);
        let engine = Engine::load(settings, manifest.pooling, shape, &tensors)?;
        let batch_tokens = engine.batch_tokens(settings.batch_tokens);
        let model = Self { tokens, engine, identity, manifest, max_tokens: settings.max_tokens, batch_tokens };
        model.embed("probe").map_err(|why| ModelError::Probe { directory, why: why.to_string() })?;
        Ok(model)
    }

    /// Which model this is.
    #[must_use]
    pub fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    /// How it is used.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The engines that this processor can run, fastest first.
    pub fn engines() -> impl Iterator<Item = config::Engine> {
        Engine::available()
    }

    /// What computes, for people: the engine, and where it runs.
    #[must_use]
    pub fn engine(&self) -> String {
        self.engine.description()
    }

    /// Tokens that are best computed at once, if there are so many.
    #[must_use]
    pub fn batch_tokens(&self) -> usize {
        self.batch_tokens
    }

    /// `text` as the model takes it.
    ///
    /// # Errors
    /// [`EmbedError::TooLong`], or that the tokenizer refuses it.
    pub fn windows(&self, text: &str) -> Result<Windows, EmbedError> {
        catch(|| self.tokens.windows(text, self.max_tokens))
    }

    /// Multiplications per second that the engine's instructions allow on its threads, as measured now, and how many its
    /// products with weights take per token. `None` for candle, and where it isn't known.
    #[must_use]
    pub fn peak(&self) -> Option<(f64, usize)> {
        let encoder = self.engine.encoder()?;
        Some((encoder.peak()?, encoder.multiplications()))
    }

    /// What to tell that inputs come soon.
    pub(super) fn waker(&self) -> Waker {
        self.engine.waker()
    }

    /// One vector per input, in their order, not yet normalised. Inputs are [`windows`](Self::windows) or like them:
    /// tokens of the vocabulary, at least one, at most as many as a window has.
    ///
    /// # Errors
    /// [`EmbedError::Failed`]; such inputs are not to blame.
    pub fn encode(&self, inputs: &[&[u32]]) -> Result<Vec<Vec<f32>>, EmbedError> {
        self.engine.embed(inputs, self.batch_tokens).map_err(|error| EmbedError::Failed(error.to_string()))
    }

    /// Embeds one text, at once and on this thread.
    ///
    /// # Errors
    /// See [`EmbedError`].
    pub fn embed(&self, text: &str) -> Result<TextEmbedding, EmbedError> {
        let windows = self.windows(text)?;
        let inputs: Vec<&[u32]> = windows.inputs().collect();
        let vectors = self.encode(&inputs)?;
        windows.pool(vectors)
    }

    /// Embeds many prompts, with the prefix that they get, at once and on this thread.
    ///
    /// # Errors
    /// For each text, see [`EmbedError`].
    pub fn embed_prompts(&self, prompts: &[&str]) -> Vec<Result<TextEmbedding, EmbedError>> {
        let windows: Vec<_> = prompts.iter().map(|prompt| self.windows(&self.manifest.prompt(prompt))).collect();
        let inputs: Vec<&[u32]> = windows.iter().flatten().flat_map(Windows::inputs).collect();
        let mut vectors = self.encode_each(&inputs).into_iter();
        let pooled = windows.into_iter().map(|windows| {
            let windows = windows?;
            let its: Vec<_> = vectors.by_ref().take(windows.inputs().len()).collect();
            windows.pool(its.into_iter().collect::<Result<_, _>>()?)
        });
        pooled.collect()
    }

    /// One vector per input, as [`encode`](Self::encode) makes them. Where all together fail, each is tried alone, so that
    /// only the guilty one fails.
    pub(super) fn encode_each(&self, inputs: &[&[u32]]) -> Vec<Result<Vec<f32>, EmbedError>> {
        let error = match catch(|| self.encode(inputs)) {
            Ok(vectors) => return vectors.into_iter().map(Ok).collect(),
            Err(error) => error,
        };
        tracing::error!(%error, inputs = inputs.len(), "embedding failed");
        if inputs.len() == 1 {
            return vec![Err(error)];
        }
        inputs.iter().flat_map(|input| self.encode_each(&[input])).collect()
    }
}

/// A panic in a model or tokenizer must cost its text, not all embedding until the next start.
fn catch<T>(work: impl FnOnce() -> Result<T, EmbedError>) -> Result<T, EmbedError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(EmbedError::Failed("it panicked".into())))
}

/// The files of a model that its vectors depend on.
struct Files {
    weights: Vec<u8>,
    tokenizer: Vec<u8>,
    config: Vec<u8>,
}

impl Files {
    /// Reads each once, and checks those that the manifest has a hash of.
    fn read(directory: &Path, manifest: &Manifest) -> Result<Self, ModelError> {
        let [weights, tokenizer, config] = Manifest::REQUIRED.map(|file| {
            let path = directory.join(file);
            let bytes = std::fs::read(&path).map_err(|source| ModelError::Read { path: path.clone(), source })?;
            if let Some(expected) = manifest.files.get(file) {
                super::fetch::verify_bytes(&path, &bytes, expected)?;
            }
            Ok(bytes)
        });
        Ok(Self { weights: weights?, tokenizer: tokenizer?, config: config? })
    }

    /// A digest of everything that decides what vector a text gets. Engines aren't part of it: their vectors of one text
    /// are alike enough to be compared.
    fn digest(&self, manifest: &Manifest) -> ModelDigest {
        let mut hasher = blake3::Hasher::new();
        for bytes in [&self.weights, &self.tokenizer, &self.config] {
            hasher.update(blake3::hash(bytes).as_bytes());
        }
        hasher.update(format!("{:?} {} {:?}", manifest.pooling, manifest.window, manifest.query_prefix).as_bytes());
        ModelDigest::new(&hasher.finalize().to_hex())
    }
}
