//! Why the router can't be made.

use crate::config::ConfigError;

/// Why the router can't be made.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// The HTTP client can't be set up.
    #[error("providers.{provider}: {source}")]
    Client {
        /// The provider.
        provider: String,
        /// The cause.
        source: reqwest::Error,
    },
    /// The address isn't one.
    #[error("providers.{provider}.base_url must be an http or https address, such as https://api.openai.com/v1")]
    Url {
        /// The provider.
        provider: String,
    },
    /// What the settings say of who calls can't be used.
    #[error("no credentials for provider `{provider}`: {why}")]
    Credentials {
        /// The provider.
        provider: String,
        /// Why not.
        why: String,
    },
    /// A setting can't be used.
    #[error(transparent)]
    Setting(#[from] ConfigError),
}
