//! How far the vectors of all entries have been made anew.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::error::OpenError;
use crate::embed::ModelError;
use crate::store::StoreError;

/// What is said where it ends because the server does.
pub const INTERRUPTED: &str = "the server has ended; what was made is kept, and the next time goes on with it";

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum Reembedded {
    /// So many vectors of about so many are made; when all are, their graphs are linked.
    #[serde(rename_all = "camelCase")]
    Running {
        /// Made.
        done: u64,
        /// To be made.
        all: u64,
    },
    /// The new model's vectors are searched.
    Finished {
        /// The model.
        model: String,
    },
    /// It has ended, and what was made is kept for the next time.
    Failed {
        /// A sentence.
        why: String,
    },
}

/// A call of [`Caches::reembed`](super::Caches::reembed).
pub(super) struct Reembedding {
    /// The model's directory.
    pub(super) model: PathBuf,
    pub(super) state: watch::Receiver<Reembedded>,
}

/// Why vectors can't be made anew.
#[derive(Debug, thiserror::Error)]
pub enum ReembedError {
    /// One at a time.
    #[error("the vectors are being made anew with the model in {} already", .0.display())]
    UnderWay(PathBuf),
    /// The model can't be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A cache could not work with it.
    #[error(transparent)]
    Threshold(#[from] OpenError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system gives no thread.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The model isn't the one that it was when its vectors were made.
    #[error("the model's files were replaced meanwhile; begin again")]
    Changed,
    /// A thread ended before it was done.
    #[error("it ended unexpectedly")]
    Ended,
}
