//! `GET /v1/models`: the settings' models, the local embedding model, and what the providers list.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::error::ApiError;
use super::head::Head;
use super::relay::told;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::live::Live;
use crate::router::{Outgoing, Provider};

/// A provider that doesn't list its models within this time is left out.
const PATIENCE: Duration = Duration::from_secs(3);
/// Providers that are asked at the same time.
const AT_ONCE: usize = 8;

/// `GET /v1/models`
pub(in crate::http) async fn models(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, ApiError> {
    let live = app.live();
    let caller = live.tenants.identify(&headers)?;
    let mut models = BTreeMap::new();
    let asked: Vec<_> =
        live.router.providers().map(|provider| of_provider(&live, &caller, provider, &headers)).collect();
    let lists: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    for model in lists.into_iter().flatten() {
        models.insert(model["id"].as_str().unwrap_or_default().to_owned(), model);
    }
    for id in live.router.aliases().chain([app.caches.embedder().identity().name.as_str()]) {
        models.insert(id.to_owned(), own_model(id));
    }
    let data: Vec<Value> = models.into_values().collect();
    Ok(axum::Json(json!({"object": "list", "data": data})).into_response())
}

/// `GET /v1/models/{model}`: one of those that the list shows.
pub(in crate::http) async fn model(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let live = app.live();
    let caller = live.tenants.identify(&headers)?;
    if live.router.aliases().any(|alias| alias == id) || app.caches.embedder().identity().name == id {
        return Ok(axum::Json(own_model(&id)).into_response());
    }
    let path = uri.path().strip_prefix("/v1").unwrap_or(uri.path());
    let (provider, path) = match id.split_once('/').and_then(|(name, rest)| Some((live.router.provider(name)?, rest))) {
        Some((provider, rest)) => (provider, Cow::Owned(format!("/models/{rest}"))),
        None => (live.router.provider_for(None)?, Cow::Borrowed(path)),
    };
    let outgoing = outgoing(&live, &caller, &path, &headers);
    let upstream = outgoing.send_to(provider, reqwest::Body::default()).await?;
    let (head, body) = Head::of(upstream);
    Ok(told(head, body))
}

/// A model of ours, as OpenAI tells one.
fn own_model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": 0, "owned_by": "refrain"})
}

fn outgoing<'o>(live: &Live, caller: &'o Caller, path: &'o str, headers: &'o HeaderMap) -> Outgoing<'o> {
    Outgoing {
        method: Method::GET,
        path,
        headers,
        tenant: &caller.tenant,
        chat: None,
        trust_credentials: live.tenants.is_local(),
        is_repeatable: true,
    }
}

/// A provider's models by the names that they are asked for here; none where it doesn't tell.
async fn of_provider(live: &Live, caller: &Caller, provider: &Provider, headers: &HeaderMap) -> Vec<Value> {
    let listed = tokio::time::timeout(PATIENCE, list(live, caller, provider, headers)).await.ok().flatten();
    let prefix = if live.router.is_default(provider) { String::new() } else { format!("{}/", provider.name()) };
    let named = |mut model: Value| {
        let id = format!("{prefix}{}", model["id"].as_str()?);
        model["id"] = id.into();
        Some(model)
    };
    listed.unwrap_or_default().into_iter().filter_map(named).collect()
}

async fn list(live: &Live, caller: &Caller, provider: &Provider, headers: &HeaderMap) -> Option<Vec<Value>> {
    let upstream = outgoing(live, caller, "/models", headers).send_to(provider, reqwest::Body::default()).await.ok()?;
    let body: BytesMut = upstream.body.try_collect().await.ok()?;
    let list: Value = serde_json::from_slice(&body).ok()?;
    // Google names them `models/NAME`.
    let of_google = |model: &Value| {
        let id = model["name"].as_str()?.trim_start_matches("models/");
        Some(json!({"id": id, "object": "model", "created": 0, "owned_by": "google"}))
    };
    let others = || list["models"].as_array().map(|models| models.iter().filter_map(of_google).collect());
    list["data"].as_array().cloned().or_else(others)
}
