//! The calls of the cache API.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;

use super::problem::Problem;
use super::reply::{EntryReply, SearchReply, StatsReply};
use super::requests::{SearchRequest, read_deletion, read_save};
use crate::cache::{Cache, Destination};
use crate::http::ndjson::{self, Limits};
use crate::http::{App, body};
use crate::store::EntryId;

/// `POST /v1/caches/{cacheId}/entries/search`
pub(in crate::http) async fn search(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let tenant = app.live().tenants.identify(&headers)?.tenant;
    let cache = app.caches.get(&tenant, &id)?;
    let request = SearchRequest::read(&read(&app, body).await?, &cache)?;
    let found = cache.lookup(&request.lookup).await;
    Ok(Json(SearchReply::new(&found, request.explain)).into_response())
}

/// `POST /v1/caches/{cacheId}/entries`
pub(in crate::http) async fn store(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let tenant = app.live().tenants.identify(&headers)?.tenant;
    let cache = app.caches.get(&tenant, &id)?;
    let entry = cache.save(read_save(&read(&app, body).await?, &cache)?).await?;
    Ok((StatusCode::CREATED, Json(json!({ "entryId": entry.to_string() }))).into_response())
}

/// `DELETE /v1/caches/{cacheId}/entries/{entryId}`
pub(in crate::http) async fn delete(
    State(app): State<Arc<App>>,
    Path((id, entry)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let cache = existing(&app, &headers, &id)?;
    if cache.delete(entry_id(&entry)?).await? { Ok(StatusCode::NO_CONTENT) } else { Err(no_such_entry(&id, &entry)) }
}

/// `GET /v1/caches/{cacheId}/entries/{entryId}`
pub(in crate::http) async fn entry(
    State(app): State<Arc<App>>,
    Path((id, entry)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let cache = existing(&app, &headers, &id)?;
    let found = cache.entry(entry_id(&entry)?).await?.ok_or_else(|| no_such_entry(&id, &entry))?;
    Ok(Json(EntryReply::of_entry(&found)).into_response())
}

/// `DELETE /v1/caches/{cacheId}/entries`
pub(in crate::http) async fn delete_matching(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let cache = existing(&app, &headers, &id)?;
    let attributes = read_deletion(&read(&app, body).await?)?;
    let count = cache.delete_matching(&attributes).await?;
    Ok(Json(json!({ "deletedEntriesCount": count })).into_response())
}

/// `POST /v1/caches/{cacheId}/flush`
pub(in crate::http) async fn flush(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    existing(&app, &headers, &id)?.flush().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/caches`
pub(in crate::http) async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Problem> {
    let tenant = app.live().tenants.identify(&headers)?.tenant;
    let caches: Vec<_> = app.caches.list(&tenant).into_iter().map(|id| json!({ "cacheId": id })).collect();
    Ok(Json(json!({ "caches": caches })).into_response())
}

/// `GET /v1/caches/{cacheId}/stats`
pub(in crate::http) async fn stats(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let cache = existing(&app, &headers, &id)?;
    Ok(Json(StatsReply::new(&cache)).into_response())
}

/// `GET /v1/caches/{cacheId}/export`
pub(in crate::http) async fn export(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let cache = existing(&app, &headers, &id)?;
    Ok(ndjson::export(Arc::clone(&app.caches), Some(cache.name().clone())))
}

/// `POST /v1/caches/{cacheId}/import`
pub(in crate::http) async fn import(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let cache = existing(&app, &headers, &id)?;
    let server = &app.settings.server;
    // What one request could store, written out: its answer may stand there twice, and with its vector.
    let limits = Limits { line: server.max_cache_body.times(4), pause: server.read_timeout.0 };
    let to = Destination::ByTenant { cache: cache.name().clone() };
    Ok(Json(ndjson::import(&app.caches, body, &to, limits).await?).into_response())
}

/// Any other path under `/v1/caches`.
pub(in crate::http) fn no_such_path() -> Problem {
    Problem::not_found("the cache API has no such path")
}

/// A path of the cache API, asked in a way that it doesn't answer.
pub(in crate::http) async fn wrong_method(method: Method) -> Problem {
    Problem::wrong_method(format!("this path can't be asked with {method}"))
}

/// The caller's cache; an unknown one is an empty one where caches may spring into being.
pub(super) fn existing(app: &App, headers: &HeaderMap, id: &str) -> Result<Arc<Cache>, Problem> {
    let tenant = app.live().tenants.identify(headers)?.tenant;
    Ok(app.caches.get(&tenant, id)?)
}

pub(super) fn entry_id(text: &str) -> Result<EntryId, Problem> {
    text.parse().map_err(|error| Problem::invalid(format!("`{text}` names no entry: {error}")))
}

fn no_such_entry(cache: &str, entry: &str) -> Problem {
    Problem::not_found(format!("the cache `{cache}` holds no entry {entry}"))
}

pub(super) async fn read(app: &App, body: Body) -> Result<Bytes, Problem> {
    let server = &app.settings.server;
    Ok(body::read(body, server.max_cache_body, server.read_timeout.0).await?)
}
