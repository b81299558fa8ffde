//! One HTTP exchange with a provider.

use bytes::Bytes;
use futures_util::stream::StreamExt;
use reqwest::header::{self, HeaderMap};
use tokio::time::Instant;

use super::error::UpstreamError;
use super::headers::remove_connection_headers;
use super::outgoing::Outgoing;
use super::pieces::BodyError;
use super::plan;
use super::provider::Provider;
use super::reply::{Upstream, Used, is_kind};
use crate::telemetry::{self, Step};

/// What is said of a provider that no connection could be made to: nothing has reached it.
pub(super) const UNREACHABLE: &str = "can't be reached";

/// What came before a failure leaves first, as far as the caller's socket takes it at once: a failure ends the connection.
async fn after_what_came(piece: Result<Bytes, BodyError>) -> Result<Bytes, BodyError> {
    if piece.is_err() {
        tokio::task::yield_now().await;
    }
    piece
}

impl Outgoing<'_> {
    /// Sends a body as it comes to `provider`, once.
    ///
    /// # Errors
    /// Where it couldn't be reached.
    pub async fn send_to(&self, provider: &Provider, body: reqwest::Body) -> Result<Upstream, UpstreamError> {
        if provider.signer.is_some() {
            // A signature covers all of a body, which would have to be here.
            return Err(provider.error("takes signed chats only", false, None));
        }
        let (mut headers, _) = self.headers_for(provider).await.map_err(|error| provider.no_credentials(&error))?;
        // A body that is passed on as it comes has the length that its sender gave it.
        headers.extend(self.headers.get(header::CONTENT_LENGTH).map(|length| (header::CONTENT_LENGTH, length.clone())));
        self.exchange(provider, &plan::at(provider, self.path, None), body, headers).await
    }

    /// Sends, and waits for the head of the reply.
    pub(super) async fn exchange(
        &self,
        provider: &Provider,
        path: &str,
        body: reqwest::Body,
        headers: HeaderMap,
    ) -> Result<Upstream, UpstreamError> {
        let started = Instant::now();
        let request = provider.client.request(self.method.clone(), provider.url(path));
        let sending = request.headers(headers).body(body).timeout(provider.timeout).send();
        let response = match tokio::time::timeout(provider.first_byte_timeout, sending).await {
            Ok(response) => response,
            Err(_) => {
                telemetry::upstream(&provider.name, None);
                return Err(provider.error("did not answer in time", true, None));
            }
        };
        match response {
            Ok(mut response) => {
                telemetry::step(Step::Upstream, started.elapsed());
                telemetry::upstream(&provider.name, Some(response.status().as_u16()));
                let mut headers = std::mem::take(response.headers_mut());
                let content_length = headers.get(header::CONTENT_LENGTH).cloned();
                remove_connection_headers(&mut headers);
                // The body isn't changed, so its length holds on the way back.
                headers.extend(content_length.iter().map(|length| (header::CONTENT_LENGTH, length.clone())));
                let broken = |error: reqwest::Error| BodyError::Broken(error.without_url());
                Ok(Upstream {
                    status: response.status(),
                    is_stream: is_kind(&headers, "text/event-stream"),
                    headers,
                    content_length: content_length.and_then(|length| length.to_str().ok()?.parse().ok()),
                    body: response.bytes_stream().map(move |piece| piece.map_err(broken)).then(after_what_came).boxed(),
                    progress: std::sync::Arc::default(),
                    provider: provider.name.clone(),
                    model: None,
                    failed_attempts: Vec::new(),
                    used: Used::default(),
                    flaw: None,
                })
            }
            Err(error) => {
                telemetry::upstream(&provider.name, None);
                let source = error.without_url();
                let cause = telemetry::cause(&source);
                tracing::warn!(provider = provider.name, cause, "provider did not answer");
                let what = match &source {
                    error if error.is_connect() => UNREACHABLE,
                    error if error.is_timeout() => "did not answer in time",
                    _ => "broke off before it answered",
                };
                let timeout = source.is_timeout() && !source.is_connect();
                Err(provider.error(what, timeout, Some(BodyError::Broken(source))))
            }
        }
    }
}
