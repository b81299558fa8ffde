//! `refrain serve`: puts the rooms together.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::CommandError;
use crate::cache::{Caches, gist_of};
use crate::config::{self, Settings};
use crate::embed::{Embedder, Model, ModelIdentity};
use crate::http::control::{self, Socket};
use crate::http::live::{self, Live};
use crate::http::reload;
use crate::http::{self, App};
use crate::store::Store;
use crate::store::embedded::{EmbeddedStore, OpenError, OpenOptions};
use crate::telemetry;

/// What is to become of vectors that another model made than the settings name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vectors {
    /// There must be none.
    OfTheModel,
    /// They serve until they have been made anew.
    Reembed,
}

/// What is still running on blocking threads after everything else has ended is given up after this.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// `file` is where the settings are from.
pub(super) fn run(settings: Settings, file: Option<PathBuf>, vectors: Vectors) -> Result<(), CommandError> {
    telemetry::install_logs(&settings.log)?;
    install_tls();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("http").build()?;
    let result = runtime.block_on(serve(settings, file, vectors));
    runtime.shutdown_timeout(LAST_WAIT);
    result
}

/// rustls asks for a default implementation of its cryptography, once per process.
pub(super) fn install_tls() {
    // An error only says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

async fn serve(settings: Settings, file: Option<PathBuf>, vectors: Vectors) -> Result<(), CommandError> {
    // First what fails fast.
    let metrics = telemetry::install_metrics()?;
    let settings = Arc::new(settings);
    let live = Live::new(Arc::clone(&settings), None)?;
    let listener = http::listen(settings.server.listen).await?;

    let Opened { caches, reembed } = open(&settings, vectors).await?;
    if reembed {
        caches.reembed(settings.embedding.clone())?;
    }
    let stop = CancellationToken::new();
    serve_control(&settings, &caches, &stop);
    let recalled = Arc::clone(&caches);
    tokio::spawn(async move { recalled.recall_decisions().await });
    let app = Arc::new(App::new(live, live::Source::new(file), caches, metrics));
    app.restore_usage().await;
    app.go_on_behind();
    tokio::spawn(reload::watch(Arc::clone(&app), stop.clone()));

    tokio::spawn(stop_on_signal(stop.clone()));
    tracing::info!(address = %listener.local_addr()?, "listening");
    http::serve(app, listener, stop).await;
    Ok(())
}

/// Caches, ready for lookups.
pub(super) struct Opened {
    pub(super) caches: Arc<Caches>,
    /// Whether their vectors are another model's than the settings name.
    pub(super) reembed: bool,
}

/// The model, the store, and the caches in it.
pub(super) async fn open(settings: &Arc<Settings>, vectors: Vectors) -> Result<Opened, CommandError> {
    let model = load_model(&settings.embedding).await?;
    let named = model.identity().digest.clone();
    let (store, model, reembed) = match open_store(settings, model.identity()).await {
        Err(OpenError::Model { found, wanted, .. }) if vectors == Vectors::Reembed => {
            let store = open_store(settings, &found).await?;
            let expecting = {
                let store = Arc::clone(&store);
                tokio::task::spawn_blocking(move || store.expect_model(&wanted))
            };
            expecting.await??;
            (store, model_before(settings, &found).await.unwrap_or(model), true)
        }
        store => (store?, model, false),
    };
    let embedder = Embedder::start(model, &settings.embedding)?;
    let caches = Arc::new(Caches::open(Arc::clone(settings), named, store, embedder).await?);
    Ok(Opened { caches, reembed })
}

/// The model that made the vectors, if it is still there.
async fn model_before(settings: &Settings, found: &ModelIdentity) -> Option<Model> {
    let embedding = config::Embedding { model: found.name.clone(), ..settings.embedding.clone() };
    let why = match load_model(&embedding).await {
        Ok(model) if model.identity().digest == found.digest => return Some(model),
        Ok(_) => "it was changed".to_owned(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(
        model = found.name,
        why,
        "the model before can't be used: until all vectors are new, only exact texts are found"
    );
    None
}

/// Lets commands ask this server. Without, it serves as well.
fn serve_control(settings: &Settings, caches: &Arc<Caches>, stop: &CancellationToken) {
    match Socket::of(&settings.storage.path).and_then(|socket| socket.listen()) {
        Ok(listener) => drop(tokio::spawn(control::serve(Arc::clone(caches), listener, stop.clone()))),
        Err(error) => {
            tracing::warn!(%error, "commands such as `refrain backup` can't reach this server");
        }
    }
}

async fn load_model(settings: &config::Embedding) -> Result<Model, CommandError> {
    let settings = settings.clone();
    let model = tokio::task::spawn_blocking(move || Model::load(&settings)).await??;
    let identity = model.identity();
    tracing::info!(
        model = identity.name,
        dimension = identity.dimension,
        engine = model.engine(),
        "loaded the embedding model"
    );
    Ok(model)
}

async fn open_store(settings: &Settings, model: &ModelIdentity) -> Result<Arc<EmbeddedStore>, OpenError> {
    let model = model.clone();
    let options = OpenOptions {
        path: settings.storage.path.clone(),
        durability: settings.storage.durability,
        max_bytes: settings.storage.max_bytes.bytes() as u64,
        gist_of,
    };
    let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(&options, &model)).await;
    opened.map_err(|error| OpenError::Io(error.into()))?.map(Arc::new)
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
