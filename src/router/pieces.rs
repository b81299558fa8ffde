//! A reply's body as it arrives.

use bytes::Bytes;
use futures_util::stream::BoxStream;

/// A body's pieces as they arrive.
pub type Pieces = BoxStream<'static, Result<Bytes, BodyError>>;

/// Why a body can't be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The provider broke off, or went silent.
    #[error("the provider broke off its answer")]
    Broken(#[source] reqwest::Error),
    /// It can't be decompressed.
    #[error("the provider's answer can't be decompressed")]
    Compressed(#[source] std::io::Error),
    /// It isn't what the provider's API says.
    #[error("the provider's answer is not understood: {0}")]
    Malformed(String),
}

impl BodyError {
    /// Whether the provider was too slow.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Broken(error) if error.is_timeout())
    }
}
