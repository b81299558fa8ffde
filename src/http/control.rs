//! What the commands ask a running server, over a socket in the data directory: whoever may open that file may ask.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router as Routes};
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use super::auth::LOCAL;
use super::ndjson::{self, ImportError, Limits};
use crate::cache::{CacheError, Caches, Destination, FlushMode, Imported, Reembedded};
use crate::config::{ByteLimit, DEFAULT_CACHE};
use crate::store::CacheName;
use crate::telemetry;

/// The socket's name in the data directory.
const SOCKET: &str = "control.sock";
/// Bytes of a socket's path at most.
const LONGEST: usize = 107;
/// Whoever can ask here has time.
const LIMITS: Limits = Limits { line: ByteLimit::mib(64), pause: Duration::MAX };

/// Where a server can be asked.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    /// Open for as long as the path goes by it.
    _directory: Option<File>,
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

impl Socket {
    /// The one in a directory: of the server whose data are there.
    ///
    /// # Errors
    /// The operating system's.
    pub fn of(directory: &Path) -> std::io::Result<Self> {
        let path = directory.join(SOCKET);
        if path.as_os_str().len() <= LONGEST {
            return Ok(Self { path, _directory: None });
        }
        // Linux shows an open directory under a short name too.
        let directory = File::open(directory)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()));
        Ok(Self { path, _directory: Some(directory) })
    }

    /// Where to connect to.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes it. Only whoever has the store open may do so: what is there is then of a process that is gone.
    ///
    /// # Errors
    /// The operating system's.
    pub fn listen(&self) -> std::io::Result<UnixListener> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&self.path)?;
        std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    }
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

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Broken(why) => Self(StatusCode::BAD_REQUEST, why),
            ImportError::Cache(error) => error.into(),
        }
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
    caches.save_statistics(FlushMode::All).await.map_err(CacheError::from)?;
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
    ndjson::export(caches, named(&query))
}

async fn import(
    State(caches): State<Arc<Caches>>,
    Query(query): Query<HashMap<String, String>>,
    body: Body,
) -> Result<Json<Imported>, Failure> {
    let default = named(&query).unwrap_or_else(|| CacheName { tenant: LOCAL.into(), id: DEFAULT_CACHE.into() });
    let is_curated = query.get("curated").is_some_and(|value| value == "true");
    Ok(Json(ndjson::import(&caches, body, &Destination::ByOperator { default }, LIMITS, is_curated).await?))
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
