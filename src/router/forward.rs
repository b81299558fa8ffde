//! Sending a request to a provider and handing its response on as it comes.

use std::time::Instant;

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};

use super::route::{Route, RouteError};
use super::{Provider, Router, providers};
use crate::telemetry::{self, Step};

/// Headers that concern one connection, not the message (RFC 9110, section 7.6.1), or that are set anew for the next.
const HOP_BY_HOP: [HeaderName; 10] = [
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
];

/// Headers by which providers know who calls, and who pays.
const CREDENTIALS: [&str; 7] = [
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
    "openai-organization",
    "openai-project",
];

/// A request to be forwarded.
pub struct Outgoing<'o> {
    /// Its method.
    pub method: Method,
    /// The path after `/v1`, with its query: `/chat/completions`.
    pub path: &'o str,
    /// The caller's headers.
    pub headers: &'o HeaderMap,
    /// Whether the caller's own credentials may go to the provider: only where they are not keys of ours.
    pub trust_credentials: bool,
}

/// A provider's response, whatever its status.
pub struct Upstream {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, without those that concern the connection.
    pub headers: HeaderMap,
    /// Its body's length, where the provider told it.
    pub content_length: Option<usize>,
    /// Its body, as it arrives.
    pub body: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    /// Who answered.
    pub provider: String,
    /// How many were asked, this one included.
    pub attempts: u32,
}

/// No provider answered at all.
#[derive(Debug, thiserror::Error)]
#[error("provider `{provider}` {what}")]
pub struct UpstreamError {
    /// The last one that was asked.
    pub provider: String,
    /// What it did.
    pub what: &'static str,
    /// Whether it was too slow rather than unreachable.
    pub timeout: bool,
    /// How many were asked.
    pub attempts: u32,
    /// For the log.
    #[source]
    pub source: reqwest::Error,
}

/// Why a request got no answer from a provider.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It is for nobody.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Nobody answered.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

impl Outgoing<'_> {
    /// Sends `body` to where `model` lives, or to the default provider where the request names none.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send_by_model(
        &self,
        router: &Router,
        model: Option<&str>,
        body: &Bytes,
    ) -> Result<Upstream, SendError> {
        match model {
            Some(model) => Ok(self.send(&router.route(model)?, body).await?),
            None => Ok(self.send_to(router.provider_for(None)?, body.clone().into(), 1).await?),
        }
    }

    /// Sends `body` to the first of `routes` that answers well: an unreachable provider, a full one (429) or a broken one
    /// (5xx) hands over to the next. The last one's answer stands, whatever it is.
    ///
    /// # Errors
    /// Where the last one couldn't be reached. `routes` must not be empty.
    async fn send(&self, routes: &[Route<'_>], body: &Bytes) -> Result<Upstream, UpstreamError> {
        let mut attempts = 0;
        let mut routes = routes.iter().peekable();
        loop {
            let Some(route) = routes.next() else { unreachable!("a model has at least one target") };
            attempts += 1;
            let body = providers::openai::with_model(body, route.model);
            let answer = self.send_to(route.provider, body.into(), attempts).await;
            let well = match &answer {
                Ok(upstream) => !(upstream.status.is_server_error() || upstream.status.as_u16() == 429),
                Err(_) => false,
            };
            if well || routes.peek().is_none() {
                return answer;
            }
            tracing::info!(provider = route.provider.name, "trying the next target");
        }
    }

    /// Sends `body` to `provider`.
    ///
    /// # Errors
    /// Where it couldn't be reached.
    pub async fn send_to(
        &self,
        provider: &Provider,
        body: reqwest::Body,
        attempts: u32,
    ) -> Result<Upstream, UpstreamError> {
        let started = Instant::now();
        let mut url = provider.base_url.clone();
        let (path, query) = self.path.split_once('?').map_or((self.path, None), |(path, query)| (path, Some(query)));
        url.set_path(&format!("{}{path}", provider.base_url.path().trim_end_matches('/')));
        if let Some(query) = query {
            // The base address may have one of its own.
            let own = url.query().map(|own| format!("{own}&")).unwrap_or_default();
            url.set_query(Some(&format!("{own}{query}")));
        }
        let request = provider.client.request(self.method.clone(), url).headers(self.headers_for(provider)).body(body);
        match request.send().await {
            Ok(mut response) => {
                telemetry::step(Step::Upstream, started.elapsed());
                telemetry::upstream(&provider.name, Some(response.status().as_u16()));
                let mut headers = std::mem::take(response.headers_mut());
                let content_length = headers.get(header::CONTENT_LENGTH).cloned();
                remove_connection_headers(&mut headers);
                // The body isn't changed, so its length holds on the way back.
                headers.extend(content_length.iter().map(|length| (header::CONTENT_LENGTH, length.clone())));
                Ok(Upstream {
                    status: response.status(),
                    headers,
                    content_length: content_length.and_then(|length| length.to_str().ok()?.parse().ok()),
                    body: in_order(response.bytes_stream()).boxed(),
                    provider: provider.name.clone(),
                    attempts,
                })
            }
            Err(error) => {
                telemetry::upstream(&provider.name, None);
                let source = error.without_url();
                let cause = telemetry::cause(&source);
                tracing::warn!(provider = provider.name, cause, "provider did not answer");
                let what = match &source {
                    error if error.is_connect() => "can't be reached",
                    error if error.is_timeout() => "did not answer in time",
                    _ => "broke off before it answered",
                };
                let timeout = source.is_timeout() && !source.is_connect();
                Err(UpstreamError { provider: provider.name.clone(), what, timeout, attempts, source })
            }
        }
    }

    fn headers_for(&self, provider: &Provider) -> HeaderMap {
        let mut headers = self.headers.clone();
        remove_connection_headers(&mut headers);
        // Answers must be readable to be stored, and are mostly short.
        headers.remove(header::ACCEPT_ENCODING);
        headers.remove(header::CACHE_CONTROL);
        let ours: Vec<HeaderName> =
            headers.keys().filter(|name| name.as_str().starts_with("x-refrain-")).cloned().collect();
        for name in ours {
            headers.remove(name);
        }
        headers.remove(header::COOKIE);
        // The caller's own credentials are meant for one provider, and go to the default one only.
        if !self.trust_credentials || !provider.is_default || provider.key.is_some() {
            for name in CREDENTIALS {
                headers.remove(name);
            }
        }
        if let Some(key) = &provider.key
            && let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", key.expose()))
        {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        headers
    }
}

/// Lets what came before an error leave before it, as far as the caller's socket takes it at once: when a body fails, the
/// server drops what it hasn't written yet.
fn in_order<T, E>(body: impl Stream<Item = Result<T, E>>) -> impl Stream<Item = Result<T, E>> {
    body.then(async |item| {
        if item.is_err() {
            tokio::task::yield_now().await;
        }
        item
    })
}

fn remove_connection_headers(headers: &mut HeaderMap) {
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
