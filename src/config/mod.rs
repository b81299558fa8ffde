//! Typed settings: one TOML file, every key also as an environment variable.
//!
//! Whatever is wrong with a settings file is found when it is loaded, and said with the key and its line. The rest of
//! the program only ever sees [`Settings`] that passed [`check`](Settings::check).

mod cache;
mod credentials;
mod load;
mod presets;
mod router;
mod secret;
mod units;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

pub use cache::{CacheSettings, PolicyName, Reliability};
pub use credentials::{Authentication, CredentialSource};
pub use load::{ConfigError, load};
pub use presets::{ChatQuirks, PRESETS, Preset, ProviderKind};
pub use router::{
    AccessLog, AnswersBy, Clamp, Conditions, Judge, Model, Price, Provider, Router, Strategy, Target, Traces,
};
pub use secret::ApiKey;
pub use units::{ByteLimit, Span};

/// The name of the cache that is used when a request names none, and whose settings every cache inherits.
pub const DEFAULT_CACHE: &str = "default";

/// Everything an operator can set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where and how HTTP is served.
    pub server: Server,
    /// Where entries live.
    pub storage: Storage,
    /// The embedding model.
    pub embedding: Embedding,
    /// What is logged, and how.
    pub log: Log,
    /// Per-cache settings; `default` holds for every cache that isn't named, and for every key that a named one omits.
    pub caches: BTreeMap<String, CacheSettings>,
    /// Who may call, by API key. None configured: one local tenant, loopback only.
    pub tenants: BTreeMap<String, Tenant>,
    /// The providers that requests are forwarded to.
    pub providers: BTreeMap<String, Provider>,
    /// What users ask for, mapped to providers' models.
    pub models: BTreeMap<String, Model>,
    /// What models cost, by the provider's name of them, or by `provider/model`.
    pub prices: BTreeMap<String, Price>,
    /// Who says whether two answers say the same.
    pub judge: Option<Judge>,
    /// Forwarding.
    pub router: Router,
    /// A line for each request.
    pub access_log: AccessLog,
    /// Where spans go.
    pub traces: Option<Traces>,
}

/// `[server]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Largest request body of the OpenAI-compatible API, which may carry images.
    pub max_body: ByteLimit,
    /// Largest request body of the cache API.
    pub max_cache_body: ByteLimit,
    /// Time a client may take to send a request's head, and again for its body.
    pub read_timeout: Span,
    /// Connections served at once; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// How long a shutdown waits for requests in flight.
    pub drain_timeout: Span,
    /// Whether a cache springs into being on its first store. Otherwise only configured caches exist.
    pub create_caches: bool,
    /// Whether replies tell the best candidate's cosine (`x-refrain-cosine`).
    pub expose_cosine: bool,
    /// Origins of web pages that may call and read replies, such as `https://app.example`. Pages of this machine always may.
    pub allowed_origins: Vec<String>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_body: ByteLimit::mib(64),
            max_cache_body: ByteLimit::mib(4),
            read_timeout: Span(Duration::from_secs(30)),
            max_connections: 10_000,
            drain_timeout: Span(Duration::from_secs(30)),
            create_caches: true,
            expose_cosine: true,
            allowed_origins: Vec::new(),
        }
    }
}

/// `[storage]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// The database's directory; made when it is missing.
    pub path: PathBuf,
    /// What an acknowledged store survives.
    pub durability: Durability,
    /// What all entries together may take on disk, before compression. Beyond, those that are worth least go. Their vectors are
    /// in memory as well, so this bounds memory too.
    pub max_bytes: ByteLimit,
    /// What all caches together may hold in memory of what they have learned and decided. Beyond, the caches that were used least
    /// lately keep theirs on disk until they are used again.
    pub max_learned_bytes: ByteLimit,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            path: PathBuf::from("data"),
            durability: Durability::Buffered,
            max_bytes: ByteLimit::mib(4096),
            max_learned_bytes: ByteLimit::mib(512),
        }
    }
}

/// What an acknowledged store survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// The process being killed, but not the machine losing power.
    Buffered,
    /// The machine losing power.
    Fsync,
}

/// `[embedding]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Embedding {
    /// A name under `models_dir`, or a directory.
    pub model: String,
    /// Where models are looked for, each in a directory of its name.
    pub models_dir: PathBuf,
    /// Which processor computes.
    pub device: Device,
    /// What computes on it.
    pub engine: Engine,
    /// Threads of the engines in bytes; where nothing is said, one per processor. More than 16 are as good as 16.
    pub threads: Option<NonZero<usize>>,
    /// Texts that may wait to be embedded; when it is full, requests go on without the cache.
    pub queue: usize,
    /// Tokens of the longest text that is still embedded; longer prompts are matched exactly only.
    pub max_tokens: usize,
    /// Tokens of one batch, if not what suits the engine: 256 for those in bytes, which gain nothing from more, 512 for
    /// candle on a CPU and 16,384 on a GPU.
    pub batch_tokens: Option<NonZero<usize>>,
    /// Bytes of recent embeddings that are remembered.
    pub memo: ByteLimit,
}

impl Default for Embedding {
    fn default() -> Self {
        Self {
            model: "all-MiniLM-L6-v2".into(),
            models_dir: PathBuf::from("models"),
            device: Device::Auto,
            engine: Engine::Auto,
            threads: None,
            queue: 256,
            max_tokens: 2048,
            batch_tokens: None,
            memo: ByteLimit::mib(16),
        }
    }
}

/// Which processor computes embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// A GPU when the program was built for one and one is there, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The first NVIDIA GPU, or an error.
    Cuda,
}

/// What computes embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The fastest that the processor and the model allow: `Avx512`, else `Avx2`, else `Candle`.
    Auto,
    /// In bytes, with AVX-512 and VNNI.
    Avx512,
    /// In bytes, with AVX2.
    Avx2,
    /// In bytes, on any processor; slow, to compare with.
    Plain,
    /// candle: in 32-bit floats on a CPU, the reference; in 16-bit ones on a GPU.
    Candle,
}

impl Engine {
    /// All that there are.
    pub const ALL: [Self; 5] = [Self::Auto, Self::Avx512, Self::Avx2, Self::Plain, Self::Candle];

    /// As the settings call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Plain => "plain",
            Self::Candle => "candle",
        }
    }
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,refrain::store=debug`.
    pub level: String,
    /// Lines for people or JSON for machines.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// The shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line per event.
    Text,
    /// One JSON object per event.
    Json,
}

/// `[tenants.NAME]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tenant {
    /// The tenant's keys, each literal or `env:NAME`.
    pub api_keys: Vec<ApiKey>,
    /// Requests that each key may make a minute.
    pub requests_per_minute: Option<NonZero<u32>>,
    /// Tokens that each key may use a minute, of prompts and answers together.
    pub tokens_per_minute: Option<NonZero<u32>>,
    /// Dollars that providers may cost all keys together in a calendar month (UTC).
    pub dollars_per_month: Option<f64>,
    /// The same for each key by itself.
    pub key_dollars_per_month: Option<f64>,
}

impl Settings {
    /// The settings of the cache called `id`: its own keys, else those of `[caches.default]`, else built-in ones.
    #[must_use]
    pub fn cache(&self, id: &str) -> CacheSettings {
        let base = self.caches.get(DEFAULT_CACHE).cloned().unwrap_or_default();
        match self.caches.get(id) {
            Some(own) if id != DEFAULT_CACHE => own.clone().over(&base),
            _ => base,
        }
    }

    /// What `provider`'s `model` costs: a price for both, else for the model wherever it is.
    #[must_use]
    pub fn price(&self, provider: &str, model: &str) -> Option<&Price> {
        if self.prices.is_empty() {
            return None;
        }
        self.prices.get(&format!("{provider}/{model}")).or_else(|| self.prices.get(model))
    }

    /// What no type can express: references that must resolve, ranges, and who may be served where.
    ///
    /// # Errors
    /// A sentence that names the key and says what to do.
    pub fn check(&self) -> Result<(), ConfigError> {
        let invalid = |key: String, why: String| Err(ConfigError::Invalid { key, why });
        if !self.server.listen.ip().is_loopback() && self.tenants.is_empty() {
            return invalid(
                "server.listen".into(),
                format!(
                    "{} can be reached from other machines, but no API keys are configured, so anybody could read and \
                     fill the cache. Add keys ([tenants.NAME] api_keys = [\"env:NAME_KEY\"]) or listen on 127.0.0.1",
                    self.server.listen
                ),
            );
        }
        for (name, tenant) in &self.tenants {
            if tenant.api_keys.is_empty() {
                return invalid(format!("tenants.{name}.api_keys"), "a tenant needs at least one API key".into());
            }
        }
        router::check(self)?;
        for (id, cache) in &self.caches {
            cache.check().map_err(|(key, why)| ConfigError::Invalid { key: format!("caches.{id}.{key}"), why })?;
        }
        if self.embedding.queue == 0 || self.embedding.max_tokens == 0 {
            return invalid("embedding".into(), "queue and max_tokens must be at least 1".into());
        }
        if self.server.max_connections == 0 {
            return invalid("server.max_connections".into(), "must be at least 1".into());
        }
        Ok(())
    }
}
