//! The calls of the cache API.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde_json::json;

use super::asked::{Named, Whole};
use super::problem::Problem;
use super::reply::{ConversationReply, EntryReply, SearchReply, SelectedReply, StatsReply};
use super::requests::{DeletionRequest, SearchRequest, read_save};
use crate::cache::{Cache, Destination};
use crate::http::App;
use crate::http::ndjson::{self, Limits};
use crate::store::EntryId;

/// Lookups of one batch that are made at once.
const LOOKUPS_AT_ONCE: usize = 16;
/// Entries that a dry run shows.
const MAX_SHOWN: usize = 100;

/// `POST /v1/caches/{cacheId}/entries/search`
pub(in crate::http) async fn search(Named(cache): Named, Whole(body): Whole) -> Result<Response, Problem> {
    let request = SearchRequest::read(&body, &cache)?;
    let found = cache.lookup(&request.lookup).await;
    Ok(Json(SearchReply::new(&found, request.explain)).into_response())
}

/// `POST /v1/caches/{cacheId}/entries/search/batch`
pub(in crate::http) async fn search_batch(Named(cache): Named, Whole(body): Whole) -> Result<Response, Problem> {
    let requests = SearchRequest::read_batch(&body)?;
    let lookup = |request: SearchRequest| {
        let cache = Arc::clone(&cache);
        async move { (cache.lookup(&request.lookup).await, request.explain) }
    };
    // So few at a time that others find room in the queue.
    let found: Vec<_> = stream::iter(requests).map(lookup).buffered(LOOKUPS_AT_ONCE).collect().await;
    let results: Vec<_> = found.iter().map(|(found, explain)| SearchReply::new(found, *explain)).collect();
    Ok(Json(json!({ "results": results })).into_response())
}

/// `POST /v1/caches/{cacheId}/conversations/search`
pub(in crate::http) async fn search_conversation(Named(cache): Named, Whole(body): Whole) -> Result<Response, Problem> {
    let (request, actual_prompt) = SearchRequest::read_conversation(&body)?;
    let found = cache.lookup(&request.lookup).await;
    let reply = SearchReply::new(&found, request.explain);
    Ok(Json(ConversationReply { actual_prompt: &actual_prompt, reply }).into_response())
}

/// `POST /v1/caches/{cacheId}/entries`
pub(in crate::http) async fn store(Named(cache): Named, Whole(body): Whole) -> Result<Response, Problem> {
    let entry = cache.save(read_save(&body, &cache)?).await?;
    Ok((StatusCode::CREATED, Json(json!({ "entryId": entry.to_string() }))).into_response())
}

/// `DELETE /v1/caches/{cacheId}/entries/{entryId}`
pub(in crate::http) async fn delete(
    Named(cache): Named,
    Path((_, entry)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    if cache.delete(entry_id(&entry)?).await? { Ok(StatusCode::NO_CONTENT) } else { Err(no_such_entry(&cache, &entry)) }
}

/// `GET /v1/caches/{cacheId}/entries/{entryId}`
pub(in crate::http) async fn entry(
    Named(cache): Named,
    Path((_, entry)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let found = cache.entry(entry_id(&entry)?).await?.ok_or_else(|| no_such_entry(&cache, &entry))?;
    Ok(Json(EntryReply::of_entry(&found)).into_response())
}

/// `DELETE /v1/caches/{cacheId}/entries`
pub(in crate::http) async fn delete_matching(Named(cache): Named, Whole(body): Whole) -> Result<Response, Problem> {
    let DeletionRequest { deletion, is_dry_run } = DeletionRequest::read(&body)?;
    if is_dry_run {
        let (count, first) = cache.would_delete(&deletion, MAX_SHOWN).await?;
        let entries: Vec<_> = first.iter().map(SelectedReply::new).collect();
        let reply = json!({
            "deletedEntriesCount": 0, "dryRun": true, "matchingEntriesCount": count, "entries": entries,
        });
        return Ok(Json(reply).into_response());
    }
    let count = cache.delete_where(&deletion).await?;
    Ok(Json(json!({ "deletedEntriesCount": count })).into_response())
}

/// `POST /v1/caches/{cacheId}/flush`
pub(in crate::http) async fn flush(Named(cache): Named) -> Result<StatusCode, Problem> {
    cache.flush().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/caches/{cacheId}/stats`
pub(in crate::http) async fn stats(Named(cache): Named) -> Result<Response, Problem> {
    Ok(Json(StatsReply::new(&cache)).into_response())
}

/// `GET /v1/caches/{cacheId}/export`
pub(in crate::http) async fn export(State(app): State<Arc<App>>, Named(cache): Named) -> Result<Response, Problem> {
    Ok(ndjson::export(Arc::clone(&app.caches), Some(cache.name().clone())))
}

/// How lines are to be taken.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ImportQuery {
    /// Whether those that don't say so are curated.
    #[serde(default)]
    curated: bool,
}

/// `POST /v1/caches/{cacheId}/import`
pub(in crate::http) async fn import(
    State(app): State<Arc<App>>,
    Named(cache): Named,
    Query(query): Query<ImportQuery>,
    body: Body,
) -> Result<Response, Problem> {
    let server = &app.settings.server;
    // What one request could store, written out: its answer may stand there twice, and with its vector.
    let limits = Limits { line: server.max_cache_body.times(4), pause: server.read_timeout.0 };
    let to = Destination::ByTenant { cache: cache.name().clone() };
    Ok(Json(ndjson::import(&app.caches, body, &to, limits, query.curated).await?).into_response())
}

/// Any other path under `/v1/caches`.
pub(in crate::http) fn no_such_path(headers: &HeaderMap) -> Response {
    Problem::not_found("the cache API has no such path").known_to(headers)
}

/// A path of the cache API, asked in a way that it doesn't answer.
pub(in crate::http) async fn wrong_method(method: Method) -> Problem {
    Problem::wrong_method(format!("this path can't be asked with {method}"))
}

pub(super) fn entry_id(text: &str) -> Result<EntryId, Problem> {
    text.parse().map_err(|error| Problem::invalid(format!("`{text}` names no entry: {error}")))
}

fn no_such_entry(cache: &Cache, entry: &str) -> Problem {
    Problem::no_entry(format!("the cache `{}` holds no entry {entry}", cache.id()))
}
