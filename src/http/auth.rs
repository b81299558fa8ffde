//! API keys → tenants.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::{HeaderMap, header};

use crate::config;

/// The tenant of a server without configured keys; such a server listens on the loopback interface only.
const LOCAL: &str = "local";

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
            return Ok(Arc::clone(&self.local));
        }
        let value = headers.get(header::AUTHORIZATION).ok_or(Denied::Missing)?;
        let (scheme, key) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or(Denied::Wrong)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Denied::Missing);
        }
        self.keys.get(blake3::hash(key.trim().as_bytes()).as_bytes()).cloned().ok_or(Denied::Wrong)
    }
}
