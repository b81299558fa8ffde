//! HTTP: the cache API, the OpenAI-compatible API, and what operators need. The only room that knows axum.

mod admin;
mod auth;
mod body;
mod cache_api;
pub mod control;
pub mod ndjson;
mod openai_api;
mod serve;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router as Routes;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::task::TaskTracker;

use crate::cache::Caches;
use crate::config::Settings;
use crate::router::Router;
pub use auth::{AmbiguousKey, Tenants};
pub use serve::{ServeError, listen, serve};

/// What every handler may use.
pub struct App {
    /// As loaded and checked.
    pub settings: Arc<Settings>,
    /// All caches.
    pub caches: Arc<Caches>,
    /// All providers.
    pub router: Router,
    /// Who may call.
    pub tenants: Tenants,
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// Saves that go on behind replies; a shutdown waits for them.
    pub saves: TaskTracker,
    /// Whether new requests are welcome; false from the moment a shutdown begins.
    pub ready: AtomicBool,
}

/// All paths.
fn routes(app: Arc<App>) -> Routes {
    Routes::new()
        .route("/healthz", get(admin::healthz))
        .route("/readyz", get(admin::readyz))
        .route("/metrics", get(admin::metrics))
        .nest("/v1/caches", cache_routes())
        .route("/v1/chat/completions", post(openai_api::chat))
        .route("/v1/embeddings", post(openai_api::embeddings))
        .route("/v1/models", get(openai_api::models))
        .route("/v1/{*rest}", any(elsewhere))
        .fallback(openai_api::no_such_path)
        .method_not_allowed_fallback(openai_api::wrong_method)
        .with_state(app)
}

/// What no route above names, under `/v1`: other providers' paths pass through, but there are no other cache paths.
async fn elsewhere(state: State<Arc<App>>, method: Method, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    if uri.path().starts_with("/v1/caches/") {
        return cache_api::no_such_path().into_response();
    }
    openai_api::pass_through(state, method, uri, headers, body).await.into_response()
}

/// The cache API, which has errors of its own shape.
fn cache_routes() -> Routes<Arc<App>> {
    Routes::new()
        .route("/", get(cache_api::list))
        .route("/{cache}/entries", post(cache_api::store).delete(cache_api::delete_matching))
        .route("/{cache}/entries/search", post(cache_api::search))
        .route("/{cache}/entries/{entry}", delete(cache_api::delete).get(cache_api::entry))
        .route("/{cache}/flush", post(cache_api::flush))
        .route("/{cache}", get(cache_api::show).put(cache_api::tune))
        .route("/{cache}/undo", post(cache_api::undo))
        .route("/{cache}/feedback", post(cache_api::feedback))
        .route("/{cache}/simulate", post(cache_api::simulate))
        .route("/{cache}/decisions/{decision}", get(cache_api::decision))
        .route("/{cache}/stats", get(cache_api::stats))
        .route("/{cache}/export", get(cache_api::export))
        .route("/{cache}/import", post(cache_api::import))
        .method_not_allowed_fallback(cache_api::wrong_method)
}
