//! Which of a caller's headers reach a provider, and what is put to them.

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::credentials::CredentialError;
use super::credentials::keys::KeySlot;
use super::outgoing::Outgoing;
use super::provider::Provider;
use super::sample::sample;

/// Headers that concern one connection, not the message (RFC 9110, section 7.6.1), or that are set anew for the next.
const HOP_BY_HOP: [HeaderName; 11] = [
    HeaderName::from_static("keep-alive"),
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    header::CONTENT_LENGTH,
    // It was answered already.
    header::EXPECT,
];

/// Headers by which providers know who calls, and who pays.
const CREDENTIALS: [HeaderName; 7] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("ocp-apim-subscription-key"),
    HeaderName::from_static("openai-organization"),
    HeaderName::from_static("openai-project"),
];

impl Outgoing<'_> {
    /// The headers for a provider, and which of its keys they carry.
    pub(super) async fn headers_for(
        &self,
        provider: &Provider,
    ) -> Result<(HeaderMap, Option<KeySlot>), CredentialError> {
        let mut headers = self.headers.clone();
        remove_connection_headers(&mut headers);
        // Answers must be readable to be stored, and are mostly short. Some providers compress unless they are told not to.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.remove(header::CACHE_CONTROL);
        let ours: Vec<HeaderName> =
            headers.keys().filter(|name| name.as_str().starts_with("x-refrain-")).cloned().collect();
        for name in ours {
            headers.remove(name);
        }
        headers.remove(header::COOKIE);
        // The caller's own credentials are meant for one provider, and go to the default one only.
        if !self.trust_credentials || !provider.wants_credentials() {
            for name in &CREDENTIALS {
                headers.remove(name);
            }
        }
        for (name, value) in &provider.headers {
            // What a caller says of the version of an API that it speaks counts.
            let is_version = matches!(name.as_str(), "anthropic-version" | "anthropic-beta");
            if is_version && headers.contains_key(name) {
                continue;
            }
            headers.insert(name.clone(), value.clone());
        }
        let taken = provider.keys.take(sample(), Instant::now());
        let secret = match (&taken, &provider.tokens) {
            (Some((_, key)), _) => Some(key.expose().to_owned()),
            (None, Some(tokens)) => Some(tokens.get().await?),
            (None, None) => None,
        };
        if let Some(signer) = &provider.signer {
            signer.ready().await?;
        }
        if let Some((name, value)) = secret.and_then(|secret| provider.authorization(&secret)) {
            headers.insert(name, value);
        }
        Ok((headers, taken.map(|(taken, _)| taken)))
    }
}

/// Takes out what concerns one connection.
pub(super) fn remove_connection_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}
