//! What the commands ask a running server, over a socket in the data directory: whoever may open that file may ask.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router as Routes};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use super::auth::LOCAL;
use crate::cache::{CacheError, Caches, Imported, Line, Reembedded};
use crate::config::DEFAULT_CACHE;
use crate::store::{CacheName, Position};
use crate::telemetry;

/// The socket's name in the data directory.
const SOCKET: &str = "control.sock";
/// The header of an export that tells how many entries there are, about.
pub const ENTRIES: &str = "x-refrain-entries";
/// Lines that are exported or imported in one go.
const LINES: usize = 512;
/// Bytes of the longest line that is imported.
const MAX_LINE: usize = 64 << 20;

/// Where a server with its data in `directory` can be asked.
#[must_use]
pub fn socket(directory: &Path) -> PathBuf {
    directory.join(SOCKET)
}

/// Where a backup is wanted.
#[derive(Debug, Serialize, Deserialize)]
pub struct BackupRequest {
    /// An absolute path to a directory that doesn't exist.
    pub directory: PathBuf,
}

/// Which model all vectors are to be made anew with.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReembedRequest {
    /// The model's directory, an absolute path.
    pub model: PathBuf,
}

/// Takes the socket in a data directory. Only whoever has the store open may do so: what is there is then of a process that
/// is gone.
///
/// # Errors
/// The operating system's.
pub fn listen(directory: &Path) -> std::io::Result<UnixListener> {
    let path = socket(directory);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until `stop`.
pub async fn serve(caches: Arc<Caches>, listener: UnixListener, stop: CancellationToken) {
    let routes = Routes::new()
        .route("/backup", post(backup))
        .route("/export", get(export))
        .route("/import", post(import))
        .route("/reembed", post(reembed))
        .with_state(caches);
    let ended = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = ended {
        tracing::error!(%error, "commands can't be answered any more");
    }
}

/// What went wrong, as a sentence.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

impl From<CacheError> for Failure {
    fn from(error: CacheError) -> Self {
        // Whoever runs commands may know the cause.
        let cause = telemetry::cause(&error);
        let what = error.to_string();
        let text = if cause == what { what } else { format!("{what}: {cause}") };
        Self(StatusCode::INTERNAL_SERVER_ERROR, text)
    }
}

async fn backup(State(caches): State<Arc<Caches>>, Json(request): Json<BackupRequest>) -> Result<StatusCode, Failure> {
    let directory = request.directory;
    if !directory.is_absolute() || directory.exists() {
        let why = format!("{} must be an absolute path of a directory that doesn't exist yet", directory.display());
        return Err(Failure(StatusCode::BAD_REQUEST, why));
    }
    caches.save_statistics().await.map_err(CacheError::from)?;
    caches.store().backup(&directory).await.map_err(CacheError::from)?;
    tracing::info!(directory = %directory.display(), "made a backup");
    Ok(StatusCode::NO_CONTENT)
}

/// Which cache is meant: of an export the only one, of an import the one for lines that name none.
fn named(query: &HashMap<String, String>) -> Option<CacheName> {
    let (tenant, cache) = (query.get("tenant"), query.get("cache"));
    let or = |name: Option<&String>, default: &str| name.map_or_else(|| default.to_owned(), Clone::clone);
    (tenant.is_some() || cache.is_some()).then(|| CacheName { tenant: or(tenant, LOCAL), id: or(cache, DEFAULT_CACHE) })
}

async fn export(State(caches): State<Arc<Caches>>, Query(query): Query<HashMap<String, String>>) -> Response {
    let only = named(&query);
    let count = caches.entries(only.as_ref());
    let pages = stream::try_unfold((caches, only, None), |(caches, only, after)| async move {
        let page = page(&caches, only.as_ref(), after).await?;
        Ok::<_, CacheError>(page.map(|(lines, position)| (lines, (caches, only, Some(position)))))
    });
    let pages = pages.inspect_err(|error| {
        tracing::error!(cause = telemetry::cause(error), "an export broke off");
    });
    ([(ENTRIES, count.to_string())], Body::from_stream(pages)).into_response()
}

async fn page(
    caches: &Arc<Caches>,
    only: Option<&CacheName>,
    after: Option<Position>,
) -> Result<Option<(Bytes, Position)>, CacheError> {
    let Some((lines, position)) = caches.export(only, after, LINES).await? else { return Ok(None) };
    let written = tokio::task::spawn_blocking(move || {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, &line)?;
            text.push(b'\n');
        }
        Ok::<_, serde_json::Error>(Bytes::from(text))
    });
    match written.await {
        Ok(Ok(text)) => Ok(Some((text, position))),
        Ok(Err(error)) => Err(CacheError::Transfer(error.into())),
        Err(error) => Err(CacheError::Transfer(error.into())),
    }
}

async fn import(
    State(caches): State<Arc<Caches>>,
    Query(query): Query<HashMap<String, String>>,
    body: Body,
) -> Result<Json<Imported>, Failure> {
    let default = named(&query).unwrap_or_else(|| CacheName { tenant: LOCAL.into(), id: DEFAULT_CACHE.into() });
    let mut all = Imported::default();
    // While some lines are stored, the next are read already.
    let mut batches =
        Batches::new(body).stream().map(|batch| tokio::task::spawn_blocking(move || parse(batch?))).buffered(2);
    while let Some(batch) = batches.next().await {
        let broken = |why: String| Failure(StatusCode::BAD_REQUEST, why);
        let (lines, refused) = batch.map_err(|error| broken(error.to_string()))?.map_err(broken)?;
        for (number, why) in refused {
            all.refuse(number, why);
        }
        let imported = caches.import(lines, &default).await?;
        all.stored += imported.stored;
        all.expired += imported.expired;
        imported.why.into_iter().for_each(|(number, why)| all.refuse(number, why));
    }
    Ok(Json(all))
}

/// Tells how far it is, one [`Reembedded`] a line, until it has ended. It goes on where nobody listens.
async fn reembed(State(caches): State<Arc<Caches>>, Json(request): Json<ReembedRequest>) -> Result<Response, Failure> {
    let settings = caches.embedding_settings(&request.model);
    let state = caches.reembed(settings).map_err(|error| Failure(StatusCode::CONFLICT, error.to_string()))?;
    let lines = stream::unfold((state, true, false), |(mut state, is_first, has_ended)| async move {
        if has_ended || !is_first && state.changed().await.is_err() {
            return None;
        }
        let now = state.borrow_and_update().clone();
        let mut line = serde_json::to_vec(&now).ok()?;
        line.push(b'\n');
        let has_ended = !matches!(now, Reembedded::Running { .. });
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(line)), (state, false, has_ended)))
    });
    Ok(Body::from_stream(lines).into_response())
}

type Batch = Vec<(u64, Bytes)>;
type Parsed = (Vec<(u64, Line)>, Vec<(u64, String)>);

fn parse(batch: Batch) -> Result<Parsed, String> {
    let (mut lines, mut refused) = (Vec::new(), Vec::new());
    for (number, line) in batch {
        match Line::read(&line) {
            Ok(line) => lines.push((number, line)),
            Err(why) => refused.push((number, why)),
        }
    }
    Ok((lines, refused))
}

/// A body's lines, some at a time, numbered from 1; empty ones are left out.
struct Batches {
    body: axum::body::BodyDataStream,
    rest: BytesMut,
    /// Bytes of `rest` that are known to have no line's end.
    seen: usize,
    number: u64,
    is_over: bool,
}

impl Batches {
    fn new(body: Body) -> Self {
        Self { body: body.into_data_stream(), rest: BytesMut::new(), seen: 0, number: 0, is_over: false }
    }

    fn stream(self) -> impl futures_util::Stream<Item = Result<Batch, String>> {
        Box::pin(stream::try_unfold(self, |mut batches| async move {
            let batch = batches.next().await?;
            Ok((!batch.is_empty()).then_some((batch, batches)))
        }))
    }

    async fn next(&mut self) -> Result<Batch, String> {
        let mut batch = Vec::new();
        while batch.len() < LINES {
            let end = self.rest[self.seen..].iter().position(|byte| *byte == b'\n').map(|at| self.seen + at);
            let line = match end {
                Some(end) => self.rest.split_to(end + 1).freeze(),
                None if self.is_over => self.rest.split().freeze(),
                None => {
                    self.seen = self.rest.len();
                    self.read_on().await?;
                    continue;
                }
            };
            self.seen = 0;
            if line.is_empty() {
                break;
            }
            self.number += 1;
            if !line.trim_ascii().is_empty() {
                batch.push((self.number, line));
            }
        }
        Ok(batch)
    }

    async fn read_on(&mut self) -> Result<(), String> {
        if self.rest.len() > MAX_LINE {
            return Err(format!("line {} is longer than {MAX_LINE} bytes", self.number + 1));
        }
        match self.body.next().await {
            Some(Ok(piece)) => self.rest.extend_from_slice(&piece),
            Some(Err(error)) => return Err(format!("the import broke off in line {}: {error}", self.number + 1)),
            None => self.is_over = true,
        }
        Ok(())
    }
}
