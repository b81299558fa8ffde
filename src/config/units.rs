//! Settings with units: `"30d"`, `"64MiB"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A length of time, written `"30d"`, `"1h 30m"`, `"250ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(|why| {
            de::Error::custom(format!("`{text}` is no length of time ({why}); write \"30d\" or \"250ms\""))
        })
    }
}

/// A number of bytes, written `"64MiB"` or as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ByteLimit(bytesize::ByteSize);

impl ByteLimit {
    /// `n` mebibytes.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(bytesize::ByteSize::mib(n))
    }

    /// So many times as much.
    #[must_use]
    pub fn times(self, n: u64) -> Self {
        Self(bytesize::ByteSize(self.0.as_u64().saturating_mul(n)))
    }

    /// The limit in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        usize::try_from(self.0.as_u64()).unwrap_or(usize::MAX)
    }
}

impl std::fmt::Display for ByteLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.display().iec())
    }
}
