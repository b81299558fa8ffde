//! `refrain serve`: puts the rooms together.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::CommandError;
use crate::cache::Caches;
use crate::config::Settings;
use crate::embed::{Embedder, Model};
use crate::http::{self, App, Tenants, control};
use crate::router::Router;
use crate::store::embedded::{EmbeddedStore, OpenOptions};
use crate::telemetry;

/// What is still running on blocking threads after everything else has ended is given up after this.
const LAST_WAIT: Duration = Duration::from_secs(2);

pub(super) fn run(settings: Settings) -> Result<(), CommandError> {
    telemetry::install_logs(&settings.log)?;
    install_tls();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("http").build()?;
    let result = runtime.block_on(serve(settings));
    runtime.shutdown_timeout(LAST_WAIT);
    result
}

/// rustls asks for a default implementation of its cryptography, once per process.
pub(super) fn install_tls() {
    // An error only says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

async fn serve(settings: Settings) -> Result<(), CommandError> {
    // First what fails fast.
    let metrics = telemetry::install_metrics()?;
    let tenants = Tenants::new(&settings)?;
    let router = Router::new(&settings)?;
    let listener = http::listen(settings.server.listen).await?;

    let settings = Arc::new(settings);
    let caches = open(&settings).await?;
    let stop = CancellationToken::new();
    serve_control(&settings, &caches, &stop);
    let app =
        Arc::new(App { settings, caches, router, tenants, metrics, saves: TaskTracker::new(), ready: true.into() });

    tokio::spawn(stop_on_signal(stop.clone()));
    tracing::info!(address = %listener.local_addr()?, "listening");
    http::serve(app, listener, stop).await;
    Ok(())
}

/// The model, the store, and the caches in it.
pub(super) async fn open(settings: &Arc<Settings>) -> Result<Arc<Caches>, CommandError> {
    let model = load_model(settings).await?;
    let store = open_store(settings, &model).await?;
    let embedder = Embedder::start(model, &settings.embedding)?;
    Ok(Arc::new(Caches::open(Arc::clone(settings), Arc::new(store), embedder).await?))
}

/// Lets commands ask this server. Without, it serves as well.
fn serve_control(settings: &Settings, caches: &Arc<Caches>, stop: &CancellationToken) {
    match control::listen(&settings.storage.path) {
        Ok(listener) => drop(tokio::spawn(control::serve(Arc::clone(caches), listener, stop.clone()))),
        Err(error) => {
            tracing::warn!(%error, "commands such as `refrain backup` can't reach this server");
        }
    }
}

async fn load_model(settings: &Arc<Settings>) -> Result<Model, CommandError> {
    let settings = Arc::clone(settings);
    let model = tokio::task::spawn_blocking(move || Model::load(&settings.embedding)).await??;
    let identity = model.identity();
    tracing::info!(
        model = identity.name,
        dimension = identity.dimension,
        engine = model.engine(),
        "loaded the embedding model"
    );
    Ok(model)
}

async fn open_store(settings: &Settings, model: &Model) -> Result<EmbeddedStore, CommandError> {
    let identity = model.identity().clone();
    let options = OpenOptions {
        path: settings.storage.path.clone(),
        durability: settings.storage.durability,
        most_bytes: settings.storage.max_bytes.bytes() as u64,
    };
    let open = move || EmbeddedStore::open(&options, &identity);
    Ok(tokio::task::spawn_blocking(open).await??)
}

/// SIGINT (Ctrl-C) and SIGTERM (service managers, containers).
async fn stop_on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "SIGTERM can't be listened for");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    stop.cancel();
}
