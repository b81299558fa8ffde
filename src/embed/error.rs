//! What can be wrong with a model, or with a text.

use std::path::PathBuf;

/// Why a model can't be used. Each message says what is wrong with which file.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Neither a directory nor a name under the models directory.
    #[error(
        "there is no embedding model `{name}`: neither a directory nor in {}. Known there: {known}", models_dir.display()
    )]
    Unknown {
        /// What the settings say.
        name: String,
        /// Where it was looked for.
        models_dir: PathBuf,
        /// The models that are there.
        known: String,
    },
    /// A file of the model isn't there.
    #[error("{} is missing; run `refrain model fetch {name}`", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The model.
        name: String,
    },
    /// The directory doesn't say how it is to be used.
    #[error(
        "{} has no manifest.toml (nor sentence-transformers' 1_Pooling/config.json), so its pooling is unknown. \
         Write one: pooling = \"mean\" or \"cls\", dimension = …, window = …", directory.display()
    )]
    NoManifest {
        /// The model's directory.
        directory: PathBuf,
    },
    /// A file can't be read.
    #[error("can't read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file isn't what it should be.
    #[error("{}: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file's contents aren't those that the manifest names.
    #[error("{} has sha256 {found}, but its manifest says {expected}; delete it and run `refrain model fetch`", path.display())]
    WrongHash {
        /// The file.
        path: PathBuf,
        /// Of the file.
        found: String,
        /// Of the manifest.
        expected: String,
    },
    /// The GPU that the settings ask for can't be used.
    #[error("the GPU can't be used: {0}")]
    Device(String),
    /// The operating system gives no thread.
    #[error("the threads that embed can't be started: {0}")]
    Threads(std::io::Error),
    /// The engine that the settings ask for can't be had.
    #[error("embedding.engine = {0}")]
    Engine(String),
    /// The loaded model fails on a probe text.
    #[error("the model in {} can't embed a probe text: {why}", directory.display())]
    Probe {
        /// The model's directory.
        directory: PathBuf,
        /// The cause.
        why: String,
    },
}

/// Why a text got no vector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// The queue is full: go on without.
    #[error("the embedding queue is full ({0} texts are waiting)")]
    Busy(usize),
    /// More tokens than are embedded.
    #[error("the text is longer than the {0} tokens that are embedded")]
    TooLong(usize),
    /// The tokenizer refuses the text, or the model sees no direction in it.
    #[error("the text can't be embedded: {0}")]
    Unfit(String),
    /// The model failed or its thread is gone.
    #[error("the embedding model failed: {0}")]
    Failed(String),
}
