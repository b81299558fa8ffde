//! API keys → tenants.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, header};

use crate::config;

/// The tenant of a server without configured keys; such a server listens on the loopback interface only.
pub(super) const LOCAL: &str = "local";

/// Headers that keys come in besides `Authorization`: Anthropic's clients send the first, Azure's the second.
const KEY_HEADERS: [&str; 2] = ["x-api-key", "api-key"];

/// Who may call.
pub struct Tenants {
    /// By the hash of their keys, so that looking one up takes no longer the more of it is right.
    keys: HashMap<KeyId, Arc<str>>,
    local: Arc<str>,
    /// Origins of web pages elsewhere that may call.
    allowed_origins: Vec<String>,
}

/// Names a key without telling it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct KeyId([u8; 32]);

impl KeyId {
    fn of(key: &str) -> Self {
        Self(*blake3::hash(key.as_bytes()).as_bytes())
    }

    /// What accounts call it, as no tenant is called.
    pub(super) fn account(&self) -> String {
        format!("\0key:{}", blake3::Hash::from_bytes(self.0).to_hex())
    }
}

/// Who calls.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// Whose key it is.
    pub(super) tenant: Arc<str>,
    /// The key; all callers without one share the same.
    pub(super) key: KeyId,
}

/// A key that two tenants have.
#[derive(Debug, thiserror::Error)]
#[error("tenants.{0} and tenants.{1} have an API key in common; a key must name one tenant")]
pub struct AmbiguousKey(String, String);

/// Why a caller isn't let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    /// No key.
    #[error("an API key is needed: send `Authorization: Bearer KEY`")]
    Missing,
    /// A key that names nobody.
    #[error("the API key is not known here")]
    Wrong,
    /// A page from elsewhere in this machine's browser, or a name that was made to point here.
    #[error(
        "without configured API keys only this machine is served: the Host, and the Origin of web pages, must be \
         localhost or a loopback address. To serve others, configure [tenants.NAME] api_keys"
    )]
    Elsewhere,
}

/// Whether a request was meant for this machine. Only a loopback address is listened on without keys, but every web page
/// that this machine's browser shows can send requests to it; browsers tell the page's address as `Origin`, and the name
/// that the page used as `Host`.
fn from_this_machine(headers: &HeaderMap, allowed_origins: &[String]) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let is_allowed = |origin: &str| is_loopback(origin) || allowed_origins.iter().any(|allowed| allowed == origin);
    text(header::HOST).is_none_or(is_loopback_host) && text(header::ORIGIN).is_none_or(is_allowed)
}

/// Whether a web page's origin is this machine.
pub(super) fn is_loopback(origin: &str) -> bool {
    origin.split_once("://").is_some_and(|(_, host)| is_loopback_host(host))
}

fn is_loopback_host(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Tenants {
    /// From the settings.
    ///
    /// # Errors
    /// Where two tenants have a key in common.
    pub fn new(settings: &config::Settings) -> Result<Self, AmbiguousKey> {
        let mut keys: HashMap<KeyId, Arc<str>> = HashMap::new();
        for (name, tenant) in &settings.tenants {
            let name: Arc<str> = name.as_str().into();
            for key in &tenant.api_keys {
                if let Some(other) =
                    keys.insert(KeyId::of(key.expose()), Arc::clone(&name)).filter(|other| *other != name)
                {
                    return Err(AmbiguousKey(other.to_string(), name.to_string()));
                }
            }
        }
        Ok(Self { keys, local: LOCAL.into(), allowed_origins: settings.server.allowed_origins.clone() })
    }

    /// Whether callers need no key of ours. Their credentials are then for the provider.
    pub(super) fn is_local(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whose key `headers` carry.
    pub(super) fn identify(&self, headers: &HeaderMap) -> Result<Caller, Denied> {
        if self.is_local() {
            let local = || Caller { tenant: Arc::clone(&self.local), key: KeyId([0; 32]) };
            return from_this_machine(headers, &self.allowed_origins).then(local).ok_or(Denied::Elsewhere);
        }
        let key = KeyId::of(key_in(headers)?);
        let tenant = self.keys.get(&key).ok_or(Denied::Wrong)?;
        Ok(Caller { tenant: Arc::clone(tenant), key })
    }
}

fn key_in(headers: &HeaderMap) -> Result<&str, Denied> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, key) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or(Denied::Wrong)?;
        return if scheme.eq_ignore_ascii_case("bearer") { Ok(key.trim()) } else { Err(Denied::Missing) };
    }
    let value = KEY_HEADERS.iter().find_map(|name| headers.get(*name)).ok_or(Denied::Missing)?;
    value.to_str().map(str::trim).map_err(|_| Denied::Wrong)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_pages_of_this_machine_count_as_local() {
        let local = |host: &'static str, origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            from_this_machine(&headers, &["https://app.example".to_owned()])
        };
        for (host, origin) in [
            ("127.0.0.1:8080", None),
            ("localhost", Some("http://localhost:3000")),
            ("[::1]:8080", Some("http://127.0.0.1")),
            ("localhost", Some("https://app.example")),
        ] {
            assert!(local(host, origin), "{host} {origin:?}");
        }
        for (host, origin) in [
            ("evil.example:8080", None),
            ("127.0.0.1.evil.example", None),
            ("127.0.0.1:8080", Some("https://evil.example")),
            ("localhost", Some("null")),
            ("localhost", Some("http://localhost.evil.example")),
        ] {
            assert!(!local(host, origin), "{host} {origin:?}");
        }
    }
}
