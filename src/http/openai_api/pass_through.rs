//! Every other `/v1/*` path: to a provider and back, uncached.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;

use super::chat::as_it_comes;
use super::error::ApiError;
use super::headers;
use crate::http::{App, body};
use crate::router::{Outgoing, Route};

/// Any method, any path under `/v1` that isn't ours.
///
/// The header `x-refrain-provider` says where to; else a JSON body's `model` does; else it is the default provider.
pub(in crate::http) async fn pass_through(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    app.tenants.identify(&headers)?;
    let path = uri.path_and_query().map_or(uri.path(), |all| all.as_str()).trim_start_matches("/v1");
    let named = headers.get("x-refrain-provider").and_then(|value| value.to_str().ok());
    let outgoing = Outgoing { method, path, headers: &headers, trust_credentials: app.tenants.is_local() };
    if named.is_none() && is_json(&headers) {
        let server = &app.settings.server;
        let body = body::read(body, server.max_body, server.read_timeout.0).await?;
        if let Some(model) = model_of(&body) {
            let upstream = outgoing.send(&app.router.route(&model)?, &body).await?;
            return Ok(told(upstream));
        }
        return Ok(told(outgoing.send_to(app.router.provider_for(None)?, body.into(), 1).await?));
    }
    let provider = app.router.provider_for(named)?;
    let body = reqwest::Body::wrap_stream(body.into_data_stream());
    Ok(told(outgoing.send_to(provider, body, 1).await?))
}

/// A request whose model is known, to its targets.
pub(super) async fn by_model(
    app: &App,
    path: &str,
    headers: &HeaderMap,
    routes: &[Route<'_>],
    body: &Bytes,
) -> Result<Response, ApiError> {
    let outgoing = Outgoing { method: Method::POST, path, headers, trust_credentials: app.tenants.is_local() };
    Ok(told(outgoing.send(routes, body).await?))
}

fn told(upstream: crate::router::Upstream) -> Response {
    let list = headers::forwarded(&upstream.provider, upstream.attempts);
    let mut response = as_it_comes(upstream);
    headers::set(response.headers_mut(), list);
    response
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/json"))
}

fn model_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Asked {
        model: String,
    }
    serde_json::from_slice(body).ok().map(|asked: Asked| asked.model)
}
