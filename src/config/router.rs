//! Where requests go: providers, models, limits and prices.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::presets::{self, Preset};
use super::{ApiKey, ConfigError, CredentialSource, ProviderKind, Span};

/// `[providers.NAME]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Which provider it is, by name: see [`presets`](super::PRESETS). `openai` for whoever speaks OpenAI's API.
    #[serde(default, deserialize_with = "presets::by_name")]
    pub kind: Option<&'static Preset>,
    /// Address that paths such as `/chat/completions` are appended to, for example `https://api.openai.com/v1`, where it isn't
    /// the usual one of `kind`.
    pub base_url: Option<String>,
    /// The key sent to the provider, literal or `env:NAME`. Where nothing says who calls, and `base_url` isn't set either, the
    /// key is the environment variable's that is usual for `kind`.
    pub api_key: Option<ApiKey>,
    /// Several keys: each request takes one by chance, of those that the provider doesn't limit at the moment.
    #[serde(default)]
    pub api_keys: Vec<ApiKey>,
    /// The header that the key goes in, where it isn't that of the provider's kind.
    pub auth_header: Option<String>,
    /// What stands before the key there, with its space: `"Bearer "`.
    pub auth_prefix: Option<String>,
    /// Further headers that every request gets.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Parameters that every request gets that doesn't set them.
    #[serde(default)]
    pub defaults: BTreeMap<String, toml::Value>,
    /// Who calls, where it isn't said by a key.
    pub credentials: Option<CredentialSource>,
    /// Cloudflare: the account, which is part of the address.
    pub account_id: Option<String>,
    /// Azure: the resource's name, the first part of its address.
    pub resource: Option<String>,
    /// Azure: the version of its API.
    pub api_version: Option<String>,
    /// Azure: the directory (tenant) of the application or of the identity that calls.
    pub tenant_id: Option<String>,
    /// Azure: the application, or the identity where the machine has several.
    pub client_id: Option<String>,
    /// Azure: the application's secret, literal or `env:NAME`.
    pub client_secret: Option<ApiKey>,
    /// Vertex: the project.
    pub project: Option<String>,
    /// Vertex: the region, or `global`.
    pub location: Option<String>,
    /// Vertex: a service account's key file, or another credentials file of Google's such as workload identity federation's.
    pub service_account: Option<PathBuf>,
    /// Bedrock: the region, such as `eu-central-1`.
    pub region: Option<String>,
    /// Bedrock: the account's keys that requests are signed with, where there is no `api_key`; literal or `env:NAME`.
    pub access_key_id: Option<ApiKey>,
    /// See `access_key_id`.
    pub secret_access_key: Option<ApiKey>,
    /// Bedrock: belongs to keys that last for a while only.
    pub session_token: Option<ApiKey>,
    /// Time to open a connection.
    #[serde(default = "Provider::default_connect_timeout")]
    pub connect_timeout: Span,
    /// Time until the first byte of an answer's body: the first token of a stream.
    #[serde(default = "Provider::default_read_timeout")]
    pub first_byte_timeout: Span,
    /// Longest silence between two pieces of an answer.
    #[serde(default = "Provider::default_read_timeout")]
    pub read_timeout: Span,
    /// Time for a whole answer.
    #[serde(default = "Provider::default_timeout")]
    pub timeout: Span,
    /// Requests that each model of it may be working on at once; more wait, up to `queue`.
    pub max_concurrent: Option<NonZero<usize>>,
    /// Requests that may wait for that.
    #[serde(default = "Provider::default_queue")]
    pub queue: usize,
    /// OpenAI and those that speak its API: whether there is a Responses API. Where this isn't set it is tried, and a provider
    /// that answers 404 is asked for chat completions from then on.
    pub responses: Option<bool>,
    /// Whether the provider keeps the answers of its Responses API unless a request says `store: false`. Where it does, only
    /// the very same request is answered with one, because a later turn may go on from it.
    #[serde(default = "Provider::default_keeps_answers")]
    pub keeps_answers: bool,
    /// The environment variable that `api_key` is from, where the settings didn't say so.
    #[serde(skip)]
    pub key_variable: Option<&'static str>,
}

impl Provider {
    fn default_connect_timeout() -> Span {
        Span(Duration::from_secs(5))
    }

    fn default_read_timeout() -> Span {
        Span(Duration::from_secs(300))
    }

    fn default_timeout() -> Span {
        Span(Duration::from_secs(1800))
    }

    const fn default_queue() -> usize {
        100
    }

    const fn default_keeps_answers() -> bool {
        true
    }

    /// OpenAI itself, for a start without a settings file where `OPENAI_API_KEY` is set.
    pub(super) fn openai_from_environment() -> Self {
        Self {
            kind: Some(Preset::openai()),
            base_url: Some("https://api.openai.com/v1".into()),
            api_key: Some(ApiKey::from_env("OPENAI_API_KEY")),
            api_keys: Vec::new(),
            auth_header: None,
            auth_prefix: None,
            headers: BTreeMap::new(),
            defaults: BTreeMap::new(),
            credentials: None,
            account_id: None,
            resource: None,
            api_version: None,
            tenant_id: None,
            client_id: None,
            client_secret: None,
            project: None,
            location: None,
            service_account: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            connect_timeout: Self::default_connect_timeout(),
            first_byte_timeout: Self::default_read_timeout(),
            read_timeout: Self::default_read_timeout(),
            timeout: Self::default_timeout(),
            max_concurrent: None,
            queue: Self::default_queue(),
            responses: None,
            keeps_answers: Self::default_keeps_answers(),
            key_variable: Some("OPENAI_API_KEY"),
        }
    }

    /// All its keys.
    pub fn keys(&self) -> impl Iterator<Item = &ApiKey> {
        self.api_key.iter().chain(&self.api_keys)
    }

    /// Which provider it is.
    #[must_use]
    pub fn preset(&self) -> &'static Preset {
        self.kind.unwrap_or_else(Preset::openai)
    }

    /// Which API it speaks.
    #[must_use]
    pub fn api(&self) -> ProviderKind {
        self.preset().api
    }

    /// Where it is; the name of a setting that must be set for that, where one must.
    ///
    /// # Errors
    /// Says which one.
    pub fn address(&self) -> Result<String, &'static str> {
        match &self.base_url {
            Some(url) => Ok(url.clone()),
            None if self.kind.is_none() => Err("base_url"),
            None => self.preset().address_with(|name| self.address_setting(name)),
        }
    }

    pub(super) fn address_setting(&self, name: &str) -> Option<&str> {
        let setting = match name {
            "account_id" => &self.account_id,
            "resource" => &self.resource,
            "region" => &self.region,
            "project" => &self.project,
            "location" => &self.location,
            _ => &None,
        };
        setting.as_deref()
    }

    pub(super) fn check(&self, name: &str) -> Result<(), (&'static str, String)> {
        if let Err(missing) = self.address() {
            let preset = self.preset();
            let variables = preset.address_settings.iter().find(|(setting, _)| *setting == missing);
            let or = match variables {
                Some((_, [first, ..])) => format!(", or the environment variable {first}, or base_url"),
                Some(_) => ", or base_url".into(),
                None => match Preset::named(name) {
                    Some(preset) => format!(", or kind = \"{}\"", preset.name),
                    None => ", or kind, where the provider is a known one".into(),
                },
            };
            return Err((missing, format!("must be set{or}")));
        }
        let is_address = |url: &String| {
            reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        };
        if !self.base_url.as_ref().is_none_or(is_address) {
            return Err(("base_url", "must be an http or https address, such as https://api.openai.com/v1".into()));
        }
        // They become part of the address; none may lead elsewhere.
        for name in ["account_id", "resource", "region"] {
            let is_name =
                |value: &str| value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
            if !self.address_setting(name).is_none_or(is_name) {
                return Err(("base_url", format!("{name} must be letters, digits, - and _")));
            }
        }
        self.check_settings_of_kinds()?;
        self.check_who_calls()?;
        let names = self.headers.keys().chain(&self.auth_header);
        for name in names {
            if reqwest::header::HeaderName::try_from(name.as_str()).is_err() {
                return Err(("headers", format!("`{name}` can't be the name of a header")));
            }
        }
        for (name, value) in &self.headers {
            if reqwest::header::HeaderValue::try_from(value.as_str()).is_err() {
                return Err(("headers", format!("the value of `{name}` can't be that of a header")));
            }
        }
        Ok(())
    }
}

impl Provider {
    /// What is set is a setting of this kind of provider.
    fn check_settings_of_kinds(&self) -> Result<(), (&'static str, String)> {
        use ProviderKind::{Azure, Bedrock, Vertex};
        let is_cloudflare = self.preset().name == "cloudflare";
        let of_others = [
            ("resource", self.resource.is_some(), self.api() == Azure, "azure"),
            ("api_version", self.api_version.is_some(), self.api() == Azure, "azure"),
            ("tenant_id", self.tenant_id.is_some(), self.api() == Azure, "azure"),
            ("client_id", self.client_id.is_some(), self.api() == Azure, "azure"),
            ("client_secret", self.client_secret.is_some(), self.api() == Azure, "azure"),
            ("project", self.project.is_some(), self.api() == Vertex, "vertex"),
            ("location", self.location.is_some(), self.api() == Vertex, "vertex"),
            ("service_account", self.service_account.is_some(), self.api() == Vertex, "vertex"),
            ("region", self.region.is_some(), self.api() == Bedrock, "bedrock"),
            ("access_key_id", self.access_key_id.is_some(), self.api() == Bedrock, "bedrock"),
            ("secret_access_key", self.secret_access_key.is_some(), self.api() == Bedrock, "bedrock"),
            ("session_token", self.session_token.is_some(), self.api() == Bedrock, "bedrock"),
            ("account_id", self.account_id.is_some(), is_cloudflare, "cloudflare"),
        ];
        match of_others.iter().find(|(_, is_set, is_its, _)| *is_set && !is_its) {
            Some((name, _, _, kind)) => Err((name, format!("is a setting of kind = \"{kind}\""))),
            None => Ok(()),
        }
    }
}

/// `[models.ALIAS]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Those whose conditions hold are tried until one answers.
    pub targets: Vec<Target>,
    /// Which is tried first.
    #[serde(default)]
    pub strategy: Strategy,
    /// Which stored answers may serve.
    #[serde(default)]
    pub answers_by: AnswersBy,
    /// Requests for this model, and their tokens, that all callers together may have a minute.
    pub requests_per_minute: Option<NonZero<u32>>,
    /// See `requests_per_minute`.
    pub tokens_per_minute: Option<NonZero<u32>>,
}

/// Which stored answers may serve a request for an alias.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswersBy {
    /// Those of every target that the alias has had.
    #[default]
    Alias,
    /// Those of the target that would be asked now.
    Target,
    /// Those of the first target, whatever it has been; those of each other one only while that one would be asked.
    AliasWithoutFallbacks,
}

/// In which order targets are tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// As they are written.
    #[default]
    Order,
    /// By chance, the likelier the heavier.
    Weight,
    /// Those first that have answered soonest of late; one in twenty requests tries another one first.
    Latency,
}

/// One model of one provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// A name under `[providers]`.
    pub provider: String,
    /// The provider's name of the model; Azure's of the deployment.
    pub model: String,
    /// How often it is tried first, against the others' weights.
    #[serde(default = "Target::default_weight")]
    pub weight: f64,
    /// Only requests of which all this is true go there.
    #[serde(default)]
    pub when: Conditions,
    /// Parameters for requests that don't set them.
    #[serde(default)]
    pub defaults: BTreeMap<String, toml::Value>,
    /// Parameters that requests get whatever they set.
    #[serde(default)]
    pub overrides: BTreeMap<String, toml::Value>,
    /// Between which numbers parameters are kept.
    #[serde(default)]
    pub clamp: BTreeMap<String, Clamp>,
}

impl Target {
    const fn default_weight() -> f64 {
        1.0
    }
}

/// What must be true of a request.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conditions {
    /// Headers with their values.
    pub headers: BTreeMap<String, String>,
    /// Fields of the body with their values.
    pub fields: BTreeMap<String, toml::Value>,
    /// The caller is one of these tenants.
    pub tenants: Vec<String>,
    /// The prompt has at least so many tokens, about (four bytes each).
    pub min_tokens: Option<usize>,
    /// The prompt has at most so many tokens, about.
    pub max_tokens: Option<usize>,
}

/// Between which numbers a parameter is kept.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clamp {
    /// At least.
    pub min: Option<f64>,
    /// At most.
    pub max: Option<f64>,
}

/// `[prices."MODEL"]`: what a provider's model costs, in dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Of a prompt.
    pub input: f64,
    /// Of an answer.
    pub output: f64,
    /// Of what the provider had cached of a prompt; like `input` where it isn't set.
    pub cached_input: Option<f64>,
}

/// `[router]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Router {
    /// Where models that no alias names go. May be omitted where there is only one provider.
    pub default_provider: Option<String>,
    /// How often a target is tried before the next one is.
    pub attempts: NonZero<u32>,
    /// For how long after a request has come it is still tried again.
    pub retry_for: Span,
    /// Failures in a row after which a target's circuit opens.
    pub failures: NonZero<u32>,
    /// For how long it is open at first; then one request tries it, and each time that fails it's twice as long, up to a
    /// minute or what is set here.
    pub recovery: Span,
}

impl Default for Router {
    fn default() -> Self {
        Self {
            default_provider: None,
            attempts: NonZero::<u32>::MIN.saturating_add(1),
            retry_for: Span(Duration::from_secs(30)),
            failures: NonZero::<u32>::MIN.saturating_add(4),
            recovery: Span(Duration::from_secs(5)),
        }
    }
}

/// `[judge]`: a model that says whether two answers say the same, where nothing else tells.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judge {
    /// As a request would name it.
    pub model: String,
    /// How often it is asked a minute at most.
    #[serde(default = "Judge::default_per_minute")]
    pub requests_per_minute: NonZero<u32>,
    /// How often it is asked a day (UTC) at most.
    #[serde(default = "Judge::default_per_day")]
    pub requests_per_day: u32,
    /// How long it may take.
    #[serde(default = "Judge::default_timeout")]
    pub timeout: Span,
}

impl Judge {
    const fn default_per_minute() -> NonZero<u32> {
        NonZero::<u32>::MIN.saturating_add(29)
    }

    const fn default_per_day() -> u32 {
        5000
    }

    const fn default_timeout() -> Span {
        Span(Duration::from_secs(30))
    }
}

/// `[traces]`: spans, sent to an OpenTelemetry collector.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// Its address, to which `/v1/traces` is appended (OTLP over HTTP, in JSON).
    pub endpoint: String,
    /// The share of traces that begin here which are sent, from 0 to 1; callers' own traces say so themselves.
    #[serde(default = "Traces::default_sample")]
    pub sample: f64,
    /// Headers that it wants.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

impl Traces {
    const fn default_sample() -> f64 {
        1.0
    }

    fn check(&self) -> Result<(), String> {
        let url = reqwest::Url::parse(&self.endpoint);
        if !url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            return Err("endpoint must be an http or https address, such as http://127.0.0.1:4318".into());
        }
        if !(0.0..=1.0).contains(&self.sample) {
            return Err("sample must be between 0 and 1".into());
        }
        Ok(())
    }
}

/// `[access_log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLog {
    /// `"stdout"`, or a file that lines are appended to. Nothing is written where it isn't set.
    pub to: Option<String>,
    /// The share of requests that get a line, from 0 to 1; those that fail always do.
    pub sample: f64,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { to: None, sample: 1.0 }
    }
}

/// Whether requests to this address would come back to us.
fn is_ours(address: &reqwest::Url, listen: std::net::SocketAddr) -> bool {
    let is_here = matches!(address.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    is_here
        && address.scheme() == "http"
        && listen.port() != 0
        && address.port_or_known_default() == Some(listen.port())
}

/// What no type can express of all this together.
pub(super) fn check(settings: &super::Settings) -> Result<(), ConfigError> {
    let invalid = |key: String, why: String| Err(ConfigError::Invalid { key, why });
    let known = || settings.providers.keys().cloned().collect::<Vec<_>>().join(", ");
    for (alias, model) in &settings.models {
        if model.targets.is_empty() {
            return invalid(format!("models.{alias}.targets"), "needs at least one target".into());
        }
        for target in &model.targets {
            let key = format!("models.{alias}.targets");
            if !settings.providers.contains_key(&target.provider) {
                let name = &target.provider;
                let why = format!("there is no provider `{name}`; add [providers.{name}] or name one of: {}", known());
                return invalid(key, why);
            }
            if !(target.weight.is_finite() && target.weight >= 0.0) {
                return invalid(key, "a weight must be a number from 0 on".into());
            }
            if let Some(name) = target.clamp.iter().find(|(_, clamp)| clamp.min > clamp.max && clamp.max.is_some()) {
                return invalid(key, format!("clamp.{}: min is above max", name.0));
            }
        }
    }
    if let Some(name) = &settings.router.default_provider
        && !settings.providers.contains_key(name)
    {
        return invalid("router.default_provider".into(), format!("there is no provider `{name}`"));
    }
    for (name, provider) in &settings.providers {
        let address = provider.address().ok().and_then(|address| reqwest::Url::parse(&address).ok());
        if address.is_some_and(|address| is_ours(&address, settings.server.listen)) {
            let why = "this is where Refrain itself listens; change one of them (base_url, server.listen)";
            return invalid(format!("providers.{name}.base_url"), why.into());
        }
        provider
            .check(name)
            .map_err(|(key, why)| ConfigError::Invalid { key: format!("providers.{name}.{key}"), why })?;
    }
    for (model, price) in &settings.prices {
        let all = [Some(price.input), Some(price.output), price.cached_input];
        if all.into_iter().flatten().any(|price| !price.is_finite() || price < 0.0) {
            return invalid(format!("prices.{model}"), "prices must be numbers from 0 on".into());
        }
    }
    if let Some(Err(why)) = settings.traces.as_ref().map(Traces::check) {
        return invalid("traces".into(), why);
    }
    if !(0.0..=1.0).contains(&settings.access_log.sample) {
        return invalid("access_log.sample".into(), "must be between 0 and 1".into());
    }
    for (name, tenant) in &settings.tenants {
        let bounds =
            [("dollars_per_month", tenant.dollars_per_month), ("key_dollars_per_month", tenant.key_dollars_per_month)];
        for (key, most) in bounds {
            if most.is_some_and(|most| !most.is_finite() || most < 0.0) {
                return invalid(format!("tenants.{name}.{key}"), "must be a number from 0 on".into());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_asks_itself() {
        let listen = "127.0.0.1:8080".parse().unwrap();
        let is_ours = |url: &str| is_ours(&url.parse().unwrap(), listen);
        assert!(is_ours("http://127.0.0.1:8080/v1") && is_ours("http://localhost:8080/v1"));
        assert!(
            !is_ours("http://127.0.0.1:8081/v1")
                && !is_ours("https://api.openai.com/v1")
                && !is_ours("http://10.0.0.1:8080")
        );
    }
}
