//! API keys → tenants.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, header};

use crate::config;

/// The tenant of a server without configured keys; such a server listens on the loopback interface only.
pub(super) const LOCAL: &str = "local";

/// Who may call.
pub struct Tenants {
    /// By the hash of their keys, so that looking one up takes no longer the more of it is right.
    keys: HashMap<[u8; 32], Arc<str>>,
    local: Arc<str>,
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
fn from_this_machine(headers: &HeaderMap) -> bool {
    let local = |authority: &str| {
        let host = match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    };
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(header::HOST).is_none_or(local);
    let origin =
        text(header::ORIGIN).is_none_or(|origin| origin.split_once("://").is_some_and(|(_, rest)| local(rest)));
    host && origin
}

impl Tenants {
    /// From the settings.
    ///
    /// # Errors
    /// Where two tenants have a key in common.
    pub fn new(settings: &config::Settings) -> Result<Self, AmbiguousKey> {
        let mut keys: HashMap<[u8; 32], Arc<str>> = HashMap::new();
        for (name, tenant) in &settings.tenants {
            let name: Arc<str> = name.as_str().into();
            for key in &tenant.api_keys {
                let hash = *blake3::hash(key.expose().as_bytes()).as_bytes();
                if let Some(other) = keys.insert(hash, Arc::clone(&name)).filter(|other| *other != name) {
                    return Err(AmbiguousKey(other.to_string(), name.to_string()));
                }
            }
        }
        Ok(Self { keys, local: LOCAL.into() })
    }

    /// Whether callers need no key of ours. Their credentials are then for the provider.
    pub(super) fn is_local(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whose key `headers` carry.
    pub(super) fn identify(&self, headers: &HeaderMap) -> Result<Arc<str>, Denied> {
        if self.is_local() {
            return if from_this_machine(headers) { Ok(Arc::clone(&self.local)) } else { Err(Denied::Elsewhere) };
        }
        let value = headers.get(header::AUTHORIZATION).ok_or(Denied::Missing)?;
        let (scheme, key) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or(Denied::Wrong)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Denied::Missing);
        }
        self.keys.get(blake3::hash(key.trim().as_bytes()).as_bytes()).cloned().ok_or(Denied::Wrong)
    }
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
            from_this_machine(&headers)
        };
        for (host, origin) in [
            ("127.0.0.1:8080", None),
            ("localhost", Some("http://localhost:3000")),
            ("[::1]:8080", Some("http://127.0.0.1")),
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
