//! What operators and their machines ask.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::App;
use super::live::Reloaded;

/// The process runs.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Requests are welcome.
pub(super) async fn readyz(State(app): State<Arc<App>>) -> (StatusCode, String) {
    if !app.ready.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n".into());
    }
    // What was lost makes a cache careful, and the server no less ready.
    let mut said = "ready\n".to_owned();
    for (name, why) in app.caches.distrusted() {
        said.push_str(&format!("the cache `{}` of `{}` answers equal texts only: {why}\n", name.id, name.tenant));
    }
    (StatusCode::OK, said)
}

/// All metrics in the Prometheus text format. They name caches but no prompts and no keys.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> ([(HeaderName, &'static str); 1], String) {
    app.caches.embedder().report_queue();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render())
}

/// `POST /v1/reload`: reads the settings again. Whoever may call a server without keys may; with keys, a SIGHUP or a change of
/// the file does the same.
pub(super) async fn reload(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let live = app.live();
    let told =
        |status: StatusCode, what: &str| (status, Json(json!({"reloaded": false, "error": what}))).into_response();
    if let Err(denied) = live.tenants.identify(&headers) {
        return told(StatusCode::UNAUTHORIZED, &denied.to_string());
    }
    if !live.tenants.is_local() {
        return told(
            StatusCode::FORBIDDEN,
            "tenants can't reload the settings; send the process a SIGHUP, or change the file",
        );
    }
    match tokio::task::spawn_blocking(move || app.reload().map_err(|error| error.to_string())).await {
        Ok(Ok(Reloaded { changed, after_restart })) => {
            Json(json!({"reloaded": true, "changed": changed, "afterRestart": after_restart})).into_response()
        }
        Ok(Err(why)) => told(StatusCode::UNPROCESSABLE_ENTITY, &why),
        Err(error) => {
            tracing::error!(%error, "reading the settings again ended badly");
            told(StatusCode::INTERNAL_SERVER_ERROR, "the settings could not be read")
        }
    }
}
