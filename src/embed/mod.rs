//! Text → unit vector.
//!
//! [`Embedder`] is the handle that the rest of the program holds: cheap to clone, it puts texts into a bounded queue and
//! awaits their vectors. Behind it one thread owns the tokenizer and the model and embeds what is waiting in batches.
//! Nothing outside this room knows candle; token ids leave it only to be counted and timed (`refrain bench embed`).

mod bert;
mod calibrate;
mod description;
mod dot;
mod encoder;
mod engine;
mod error;
pub mod fetch;
mod identity;
mod manifest;
mod model;
mod net;
mod queue;
mod tensors;
mod tokens;
mod vector;
mod worker;

pub use dot::dot;
pub use encoder::Columns;
pub use error::{EmbedError, ModelError};
pub use identity::{ModelDigest, ModelIdentity};
pub use manifest::{FileHash, Manifest, Pooling, Source};
pub use model::Model;
pub use tokens::Windows;
pub use vector::{Cosine, Embedding, TextEmbedding};
pub use worker::{Embedder, Prefix};
