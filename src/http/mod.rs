//! HTTP: the cache API, the OpenAI-compatible API, and what operators need. The only room that knows axum.

mod access_log;
mod admin;
mod auth;
mod body;
mod cache_api;
pub mod control;
mod judge;
pub mod live;
mod llm_api;
pub mod ndjson;
mod paths;
pub mod reload;
mod serve;
mod traces;
mod usage;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router as Routes;
use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::task::TaskTracker;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer, ExposeHeaders};

use crate::cache::Caches;
use crate::config::{Server, Settings};
use crate::router::{Limits, Usage};
use access_log::AccessLog;
use arc_swap::ArcSwap;
pub use auth::{AmbiguousKey, Tenants};
use live::{Live, Source};
pub use serve::{ServeError, listen, serve};

/// How long a browser remembers what it may ask.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

/// What every handler may use.
pub struct App {
    /// As loaded and checked at the start: what a running program can't change is read from here.
    pub settings: Arc<Settings>,
    /// What it can.
    live: ArcSwap<Live>,
    /// Where that is read from again.
    source: Source,
    /// All caches.
    pub caches: Arc<Caches>,
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// Saves that go on behind replies; a shutdown waits for them.
    pub saves: TaskTracker,
    /// Whether new requests are welcome; false from the moment a shutdown begins.
    pub ready: AtomicBool,
    /// Calls to providers under way that others may join.
    flights: Arc<llm_api::SingleFlight>,
    /// What keys and models have used of late.
    limits: InUse,
    /// What was used in all.
    usage: Usage,
    access_log: AccessLog,
    traces: traces::Traces,
}

/// What was used of late, by whom limits are for.
#[derive(Default)]
struct InUse {
    keys: Limits<auth::KeyId>,
    models: Limits<String>,
}

impl App {
    /// With nothing under way. `usage` is what was used before, as it was saved.
    pub fn new(live: Live, source: Source, caches: Arc<Caches>, metrics: PrometheusHandle) -> Self {
        Self {
            settings: Arc::clone(&live.settings),
            live: ArcSwap::from_pointee(live),
            source,
            caches,
            metrics,
            saves: TaskTracker::new(),
            ready: true.into(),
            flights: Arc::default(),
            limits: InUse::default(),
            usage: Usage::default(),
            access_log: AccessLog::default(),
            traces: traces::Traces::default(),
        }
    }

    /// What goes on behind requests: spans are sent, and the caches may ask a model whether two answers say the same, as soon as the
    /// settings say where and which.
    pub fn go_on_behind(self: &Arc<Self>) {
        traces::Traces::send(self);
        self.caches.judged_by(Arc::new(judge::ModelJudge::new(self)));
    }

    /// The settings of now, with what is made of them.
    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }
}

/// All paths.
fn routes(app: Arc<App>) -> Routes {
    Routes::new()
        .route("/healthz", get(admin::healthz))
        .route("/readyz", get(admin::readyz))
        .route("/metrics", get(admin::metrics))
        .nest("/v1/caches", cache_routes())
        .route("/v1/usage", get(usage::usage))
        .route("/v1/reload", post(admin::reload))
        .route("/v1/chat/completions", post(llm_api::chat_completions).fallback(elsewhere))
        .route("/v1/responses", post(llm_api::responses).fallback(elsewhere))
        .route("/v1/responses/{*rest}", any(llm_api::kept_response))
        .route("/v1/completions", post(llm_api::completions).fallback(elsewhere))
        .route("/v1/messages", post(llm_api::messages))
        .route("/v1/messages/count_tokens", post(llm_api::count_tokens))
        .route("/v1/embeddings", post(llm_api::embeddings))
        .route("/v1/models", get(llm_api::models))
        .route("/v1/models/{*model}", get(llm_api::model).fallback(elsewhere))
        .route("/v1/{*rest}", any(elsewhere))
        .fallback(llm_api::no_such_path)
        .method_not_allowed_fallback(llm_api::wrong_method)
        .with_state(app)
}

/// Pages of which origins may read replies: those of this machine where no key is needed, and those that the settings name.
fn cors(server: &Server) -> CorsLayer {
    let allowed = server.allowed_origins.clone();
    let allows = move |origin: &HeaderValue, _: &Parts| {
        origin.to_str().is_ok_and(|origin| allowed.iter().any(|allowed| allowed == origin) || auth::is_loopback(origin))
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allows))
        .allow_methods(AllowMethods::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(ExposeHeaders::any())
        .vary([header::ORIGIN])
        .max_age(PREFLIGHT_AGE)
}

/// What no route above names, under `/v1`: other providers' paths pass through, but there are no other cache paths.
async fn elsewhere(state: State<Arc<App>>, method: Method, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    if uri.path().starts_with("/v1/caches/") {
        return cache_api::no_such_path(&headers);
    }
    llm_api::pass_through(state, method, uri, headers, body).await.into_response()
}

/// The cache API, which has errors of its own shape.
fn cache_routes() -> Routes<Arc<App>> {
    Routes::new()
        .route("/", get(cache_api::list).post(cache_api::create))
        .route("/{cache}/entries", post(cache_api::store).delete(cache_api::delete_matching))
        .route("/{cache}/entries/search", post(cache_api::search))
        .route("/{cache}/entries/search/batch", post(cache_api::search_batch))
        .route("/{cache}/conversations/search", post(cache_api::search_conversation))
        .route("/{cache}/entries/{entry}", delete(cache_api::delete).get(cache_api::entry))
        .route("/{cache}/flush", post(cache_api::flush))
        .route("/{cache}", get(cache_api::show).put(cache_api::tune).patch(cache_api::patch).delete(cache_api::remove))
        .route("/{cache}/undo", post(cache_api::undo))
        .route("/{cache}/feedback", post(cache_api::feedback))
        .route("/{cache}/simulate", post(cache_api::simulate))
        .route("/{cache}/decisions/{decision}", get(cache_api::decision))
        .route("/{cache}/stats", get(cache_api::stats))
        .route("/{cache}/export", get(cache_api::export))
        .route("/{cache}/import", post(cache_api::import))
        .method_not_allowed_fallback(cache_api::wrong_method)
        .layer(axum::middleware::from_fn(cache_api::with_known_types))
}
