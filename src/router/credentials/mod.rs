//! How a provider learns who calls: keys of ours, or what the machine's identity in the provider's cloud is good for.
//!
//! What expires is kept, and replaced before it does, by one task at a time ([`kept`]). One file a kind: [`keys`] for keys
//! from the settings, [`aws`] (with [`signature`]), [`azure`], [`google`].

mod aws;
mod azure;
mod clients;
mod error;
mod google;
mod kept;
pub(super) mod keys;
mod signature;

use std::sync::Arc;

use crate::config::{self, Authentication, ProviderKind};

pub(super) use aws::Signer;
use azure::Azure;
use clients::Clients;
pub(super) use error::CredentialError;
use google::Google;
use kept::Kept;

/// What a provider is called with, besides keys.
#[derive(Clone)]
pub(super) enum Identity {
    /// A token, instead of a key.
    Tokens(Tokens),
    /// A signature.
    Signer(Arc<Signer>),
}

/// Tokens that expire.
#[derive(Clone)]
pub(super) struct Tokens(Issued);

/// By whom.
#[derive(Clone)]
enum Issued {
    Azure(Arc<Kept<Azure>>),
    Google(Arc<Kept<Google>>),
}

impl Tokens {
    /// One that is good for a while.
    pub(super) async fn get(&self) -> Result<String, CredentialError> {
        match &self.0 {
            Issued::Azure(tokens) => tokens.get().await,
            Issued::Google(tokens) => tokens.get().await,
        }
    }
}

/// What the settings say of a provider's identity, to know whether it has changed.
pub(super) type Described = Vec<Option<String>>;

/// All that an identity is made of.
pub(super) fn described(settings: &config::Provider) -> Described {
    let secret = |key: &Option<config::ApiKey>| key.as_ref().map(|key| key.expose().to_owned());
    vec![
        Some(format!("{:?} {:?}", settings.api(), settings.authentication())),
        settings.tenant_id.clone(),
        settings.client_id.clone(),
        secret(&settings.client_secret),
        settings.service_account.as_ref().and_then(|path| std::fs::read_to_string(path).ok()),
        settings.region.clone(),
        secret(&settings.access_key_id),
        secret(&settings.secret_access_key),
        secret(&settings.session_token),
    ]
}

/// The identity that a provider is called with; none where it is called with keys, or with what the caller sent.
pub(super) fn identity(settings: &config::Provider) -> Result<Option<Identity>, CredentialError> {
    if settings.authentication() != Authentication::Identity {
        return Ok(None);
    }
    let clients = Clients::new().map_err(|error| CredentialError::settings(error.to_string()))?;
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    Ok(match settings.api() {
        ProviderKind::Azure => {
            let azure = Azure::new(settings, variable, clients)?;
            Some(Identity::Tokens(Tokens(Issued::Azure(Arc::new(Kept::new(azure))))))
        }
        ProviderKind::Vertex => {
            let google = Google::new(settings.service_account.as_deref(), clients)?;
            Some(Identity::Tokens(Tokens(Issued::Google(Arc::new(Kept::new(google))))))
        }
        ProviderKind::Bedrock => Signer::new(settings, clients).map(|signer| Identity::Signer(Arc::new(signer))),
        ProviderKind::Openai | ProviderKind::Anthropic | ProviderKind::Gemini => None,
    })
}
