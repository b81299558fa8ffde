//! A model directory, checked and loaded.

use std::path::{Path, PathBuf};

use super::bert::Bert;
use super::error::ModelError;
use super::manifest::{Manifest, read_json};
use super::tokens::{Tokens, Windows};
use super::vector::TextEmbedding;
use crate::config;

/// Which model made a vector: vectors of different identities can't be compared.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ModelIdentity {
    /// The model's directory name.
    pub name: String,
    /// Components of its embeddings.
    pub dimension: usize,
    /// blake3 of weights, tokenizer, config and of what the manifest says about using them.
    pub digest: String,
}

/// A loaded embedding model.
pub struct Model {
    tokens: Tokens,
    bert: Bert,
    identity: ModelIdentity,
    manifest: Manifest,
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
        let digest = digest(&directory, &manifest)?;
        let identity = ModelIdentity { name, dimension: manifest.dimension, digest };
        let tokens = Tokens::load(&directory, &manifest)?;
        let bert = Bert::load(&directory, &manifest, settings.device, read_json(&directory.join("config.json"))?)?;
        let model = Self { tokens, bert, identity, manifest };
        model
            .embed(&["probe"], settings.max_tokens, settings.batch_tokens)
            .map_err(|why| why.to_string())
            .and_then(|mut made| made.pop().flatten().ok_or_else(|| "its vector is zero or not finite".to_owned()))
            .map_err(|why| ModelError::Probe { directory, why })?;
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

    /// What computes, for the log: `cpu` or `cuda`.
    #[must_use]
    pub fn device(&self) -> &'static str {
        self.bert.device()
    }

    /// Embeds `texts`, one result each and in their order; `None` for a text of more than `max_tokens` tokens, or
    /// without any direction.
    ///
    /// # Errors
    /// Whatever candle says; the texts are not to blame.
    pub(super) fn embed(
        &self,
        texts: &[&str],
        max_tokens: usize,
        batch_tokens: usize,
    ) -> Result<Vec<Option<TextEmbedding>>, candle_core::Error> {
        let windowed: Vec<_> = texts.iter().map(|text| self.tokens.windows(text, max_tokens)).collect();
        let inputs: Vec<&[u32]> = windowed.iter().flatten().flat_map(Windows::inputs).collect();
        let mut vectors = self.bert.embed(&inputs, batch_tokens)?.into_iter();
        Ok(windowed
            .into_iter()
            .map(|text| {
                let text = text?;
                let windows: Vec<Vec<f32>> = vectors.by_ref().take(text.len()).collect();
                text.pool(windows)
            })
            .collect())
    }
}

/// A digest of everything that decides what vector a text gets. Checks the manifest's own hashes on the way.
fn digest(directory: &Path, manifest: &Manifest) -> Result<String, ModelError> {
    let mut hasher = blake3::Hasher::new();
    for file in Manifest::REQUIRED {
        let path = directory.join(file);
        if let Some(expected) = manifest.files.get(file) {
            super::fetch::verify(&path, expected)?;
        }
        let bytes = std::fs::read(&path).map_err(|source| ModelError::Read { path, source })?;
        hasher.update(blake3::hash(&bytes).as_bytes());
    }
    hasher.update(format!("{:?} {} {:?}", manifest.pooling, manifest.window, manifest.query_prefix).as_bytes());
    Ok(hasher.finalize().to_hex().to_string())
}
