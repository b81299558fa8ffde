//! One provider, ready to be called.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::credentials::keys::Keys;
use super::credentials::{self, Described, Identity, Signer, Tokens};
use super::setup_error::RouterError;
use super::vertex;
use crate::config::{self, Authentication, Preset, ProviderKind};

/// The version of Azure's API that is asked where none is set.
const AZURE_VERSION: &str = "2024-10-21";
/// The version of Anthropic's API.
const ANTHROPIC_VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));

/// One provider, ready to be called.
pub struct Provider {
    pub(super) name: String,
    pub(super) kind: ProviderKind,
    pub(super) preset: &'static Preset,
    pub(super) base_url: Url,
    pub(super) keys: Arc<Keys>,
    /// Where keys go, and what stands before them.
    pub(super) auth: (HeaderName, String),
    /// Instead of keys.
    pub(super) tokens: Option<Tokens>,
    /// Signs requests, which carry no key then.
    pub(super) signer: Option<Arc<Signer>>,
    /// Whether it has no credentials of ours.
    is_for_callers: bool,
    identity: Described,
    /// That every request gets.
    pub(super) headers: HeaderMap,
    pub(super) defaults: BTreeMap<String, toml::Value>,
    pub(super) api_version: String,
    pub(super) is_default: bool,
    pub(super) client: reqwest::Client,
    /// What the client was made with.
    client_settings: (Duration, Duration),
    pub(super) first_byte_timeout: Duration,
    pub(super) timeout: Duration,
    key_texts: Vec<String>,
    /// Whether it has the Responses API, as the settings say.
    responses: Option<bool>,
    /// Whether it has been found not to have it.
    lacks_responses: AtomicBool,
    /// Whether it keeps answers, as the settings say.
    keeps_answers: bool,
}

impl Provider {
    /// From checked settings. Connections and what is known of keys are taken over from `before`, where they are the same.
    pub(super) fn new(
        name: &str,
        settings: &config::Provider,
        is_default: bool,
        before: Option<&Self>,
    ) -> Result<Self, RouterError> {
        let url = || RouterError::Url { provider: name.to_owned() };
        let base_url = address(settings)
            .and_then(|address| Url::parse(&address).ok())
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(url)?;
        let client_settings = (settings.connect_timeout.0, settings.read_timeout.0);
        let client = match before.filter(|before| before.client_settings == client_settings) {
            Some(before) => before.client.clone(),
            None => reqwest::Client::builder()
                .connect_timeout(client_settings.0)
                .read_timeout(client_settings.1)
                .redirect(reqwest::redirect::Policy::none())
                .tcp_nodelay(true)
                .build()
                .map_err(|source| RouterError::Client { provider: name.to_owned(), source })?,
        };
        let key_texts: Vec<String> = settings.keys().map(|key| key.expose().to_owned()).collect();
        let keys = match before.filter(|before| before.key_texts == key_texts) {
            Some(before) => Arc::clone(&before.keys),
            None => Arc::new(Keys::new(settings.keys().cloned().collect())),
        };
        let described = credentials::described(settings);
        let (tokens, signer) = match before.filter(|before| before.identity == described) {
            Some(before) => (before.tokens.clone(), before.signer.clone()),
            None => match credentials::identity(settings)
                .map_err(|why| RouterError::Credentials { provider: name.to_owned(), why: why.to_string() })?
            {
                Some(Identity::Tokens(tokens)) => (Some(tokens), None),
                Some(Identity::Signer(signer)) => (None, Some(signer)),
                None => (None, None),
            },
        };
        let mut headers = HeaderMap::new();
        if settings.api() == ProviderKind::Anthropic {
            headers.insert(ANTHROPIC_VERSION.0, ANTHROPIC_VERSION.1);
        }
        for (name, value) in &settings.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()))
            {
                headers.insert(name, value);
            }
        }
        Ok(Self {
            name: name.to_owned(),
            kind: settings.api(),
            preset: settings.preset(),
            base_url,
            keys,
            auth: auth(settings),
            tokens,
            signer,
            is_for_callers: settings.authentication() == Authentication::Caller,
            identity: described,
            headers,
            defaults: settings.defaults.clone(),
            api_version: settings.api_version.clone().unwrap_or_else(|| AZURE_VERSION.into()),
            is_default,
            client,
            client_settings,
            first_byte_timeout: settings.first_byte_timeout.0,
            timeout: settings.timeout.0,
            key_texts,
            // Where it is known to have one it is tried all the same: what is known may be out of date.
            responses: settings.responses.or(settings.preset().responses.filter(|has| !has)),
            lacks_responses: AtomicBool::new(
                before.is_some_and(|before| before.lacks_responses.load(Ordering::Relaxed)),
            ),
            keeps_answers: settings.keeps_answers,
        })
    }

    /// Its name in the settings.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which API it speaks.
    #[must_use]
    pub fn kind(&self) -> ProviderKind {
        self.kind
    }

    /// What is known of it by its name.
    #[must_use]
    pub fn preset(&self) -> &'static Preset {
        self.preset
    }

    /// Whether it is asked for responses as callers ask: OpenAI's API has them, and many that speak it do.
    pub(super) fn speaks_responses(&self) -> bool {
        match (self.kind, self.responses) {
            (ProviderKind::Openai | ProviderKind::Azure, None) => !self.lacks_responses.load(Ordering::Relaxed),
            (ProviderKind::Openai | ProviderKind::Azure, Some(has)) => has,
            _ => false,
        }
    }

    /// Whether nobody knows yet.
    pub(super) fn may_lack_responses(&self) -> bool {
        self.responses.is_none() && self.speaks_responses()
    }

    /// It has been found not to have them: it is asked for chat completions from now on.
    pub(super) fn found_without_responses(&self) {
        tracing::info!(provider = self.name, "it has no Responses API; it is asked for chat completions instead");
        self.lacks_responses.store(true, Ordering::Relaxed);
    }

    /// Whether it keeps the answers that it gives in the Responses API.
    pub(super) fn keeps_answers(&self) -> bool {
        self.keeps_answers && self.speaks_responses()
    }

    /// The address of a path, which may have a query.
    pub(super) fn url(&self, path: &str) -> Url {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let mut url = self.base_url.clone();
        url.set_path(&format!("{}{path}", self.base_url.path().trim_end_matches('/')));
        if let Some(query) = query {
            // The base address may have one of its own.
            let own = url.query().map(|own| format!("{own}&")).unwrap_or_default();
            url.set_query(Some(&format!("{own}{query}")));
        }
        url
    }

    /// Whether the caller's own credentials are of use: the provider has none of ours.
    pub(super) fn wants_credentials(&self) -> bool {
        self.is_default && self.is_for_callers
    }

    /// The header that says who calls.
    pub(super) fn authorization(&self, secret: &str) -> Option<(HeaderName, HeaderValue)> {
        let mut value = HeaderValue::try_from(format!("{}{secret}", self.auth.1)).ok()?;
        value.set_sensitive(true);
        Some((self.auth.0.clone(), value))
    }
}

/// Where a provider is: `base_url`, or what follows from its kind and other settings.
fn address(settings: &config::Provider) -> Option<String> {
    match (settings.api(), &settings.base_url, &settings.project, &settings.location) {
        // Some locations have hosts of their own.
        (ProviderKind::Vertex, None, Some(project), Some(location)) => Some(vertex::base_url(project, location)),
        _ => settings.address().ok(),
    }
}

/// Where a provider wants its key.
fn auth(settings: &config::Provider) -> (HeaderName, String) {
    let usual = match settings.api() {
        ProviderKind::Openai | ProviderKind::Vertex | ProviderKind::Bedrock => (header::AUTHORIZATION, "Bearer "),
        ProviderKind::Azure if settings.authentication() == Authentication::Identity => {
            (header::AUTHORIZATION, "Bearer ")
        }
        ProviderKind::Azure => (HeaderName::from_static("api-key"), ""),
        ProviderKind::Anthropic => (HeaderName::from_static("x-api-key"), ""),
        ProviderKind::Gemini => (HeaderName::from_static("x-goog-api-key"), ""),
    };
    let set = settings.auth_header.as_deref().and_then(|name| HeaderName::try_from(name).ok());
    let prefix = match (&settings.auth_prefix, &set) {
        (Some(prefix), _) => prefix.clone(),
        // Another header has no reason to begin as the usual one does, unless it's that very header.
        (None, Some(name)) if *name != header::AUTHORIZATION => String::new(),
        (None, Some(_)) => "Bearer ".into(),
        (None, None) => usual.1.into(),
    };
    (set.unwrap_or(usual.0), prefix)
}
