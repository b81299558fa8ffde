//! Forwarding: model aliases, targets, and the providers behind them.
//!
//! The router forwards; it doesn't reinterpret. What it doesn't know passes through. Only [`providers`] know wire
//! formats.

mod forward;
pub mod providers;
mod route;

use std::collections::BTreeMap;

use crate::config::{ApiKey, Settings};
use reqwest::Url;

pub use forward::{Outgoing, SendError, Upstream, UpstreamError};
pub use route::{Route, RouteError};

/// All providers, and which model goes where.
pub struct Router {
    providers: BTreeMap<String, Provider>,
    aliases: BTreeMap<String, Vec<(String, String)>>,
    default_provider: Option<String>,
}

/// One provider, ready to be called.
pub struct Provider {
    name: String,
    base_url: Url,
    key: Option<ApiKey>,
    is_default: bool,
    client: reqwest::Client,
}

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
}

impl Router {
    /// From checked settings. Needs a TLS provider to be installed.
    ///
    /// # Errors
    /// See [`RouterError`].
    pub fn new(settings: &Settings) -> Result<Self, RouterError> {
        let only = settings.providers.keys().next().filter(|_| settings.providers.len() == 1);
        let default_provider = settings.router.default_provider.as_ref().or(only).cloned();
        let mut providers = BTreeMap::new();
        for (name, provider) in &settings.providers {
            let base_url = Url::parse(&provider.base_url)
                .ok()
                .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
                .ok_or_else(|| RouterError::Url { provider: name.clone() })?;
            let client = reqwest::Client::builder()
                .connect_timeout(provider.connect_timeout.0)
                .read_timeout(provider.read_timeout.0)
                .redirect(reqwest::redirect::Policy::none())
                .tcp_nodelay(true)
                .build()
                .map_err(|source| RouterError::Client { provider: name.clone(), source })?;
            let (key, is_default) = (provider.api_key.clone(), default_provider.as_ref() == Some(name));
            providers.insert(name.clone(), Provider { name: name.clone(), base_url, key, is_default, client });
        }
        let pair = |target: &crate::config::Target| (target.provider.clone(), target.model.clone());
        let aliases = settings
            .models
            .iter()
            .map(|(alias, model)| (alias.clone(), model.targets.iter().map(pair).collect()))
            .collect();
        Ok(Self { providers, aliases, default_provider })
    }

    /// The providers, by name.
    pub fn providers(&self) -> impl Iterator<Item = &Provider> {
        self.providers.values()
    }

    /// The model names that the settings define.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        self.aliases.keys().map(String::as_str)
    }
}

impl Provider {
    /// Its name in the settings.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}
