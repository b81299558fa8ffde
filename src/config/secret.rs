//! API keys in settings.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

/// An API key: written literally, or as `env:NAME` and then read from the environment when the settings are loaded, so
/// that a missing variable is found at start and not at the first request. Never printed.
#[derive(Debug, Clone)]
pub struct ApiKey(SecretString);

impl ApiKey {
    /// The key itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// A key as it is.
    ///
    /// # Errors
    /// Where it can't be sent in a header.
    pub fn new(key: &str) -> Result<Self, &'static str> {
        // A line's end that came along from a file is no part of a key.
        let key = key.trim();
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_graphic()) {
            return Err("an API key must be visible ASCII characters, at least one");
        }
        Ok(Self(key.to_owned().into()))
    }

    pub(super) fn from_env(name: &str) -> Self {
        Self(std::env::var(name).unwrap_or_default().trim().to_owned().into())
    }
}

impl<'de> Deserialize<'de> for ApiKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let key = match text.strip_prefix("env:") {
            Some(name) => std::env::var(name).map_err(|_| {
                serde::de::Error::custom(format!("the environment variable `{name}` is not set (or not UTF-8)"))
            })?,
            None => text,
        };
        Self::new(&key).map_err(serde::de::Error::custom)
    }
}
