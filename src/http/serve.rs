//! Accepting connections, and ending without dropping a request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::{Request, header};
use axum::response::Response;
use futures_util::future::Either;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service, ServiceExt};

use super::{App, cors, paths, routes};
use crate::cache::FlushMode;
use crate::store::{StoreError, Timestamp};
use crate::telemetry;

/// How often expired entries are removed, and statistics and uses saved.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// A pause after accepting fails, which it does when the process runs out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: {source}; is it in use? Set server.listen to another address")]
pub struct ServeError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Takes the address that the settings name.
///
/// # Errors
/// Where it can't be had.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError { address, source })
}

/// Serves until `stop`; then accepts no more, finishes what is in flight within `server.drain_timeout`, and saves.
pub async fn serve(app: Arc<App>, listener: TcpListener, stop: CancellationToken) {
    let housekeeping = tokio::spawn(keep_house(Arc::clone(&app), stop.clone()));
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(app.settings.server.max_connections));
    let service = service(&app);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
        builder.http1().timer(TokioTimer::new()).header_read_timeout(app.settings.server.read_timeout.0);
        let connection =
            builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service.clone())).into_owned();
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            // A connection that breaks is the client's affair.
            if let Err(error) = watched.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(permit);
        });
    }
    app.ready.store(false, Ordering::Relaxed);
    drop(listener);
    let patience = app.settings.server.drain_timeout.0;
    tracing::info!(seconds = patience.as_secs(), "shutting down: finishing what is in flight");
    app.saves.close();
    let drained = async {
        graceful.shutdown().await;
        app.saves.wait().await;
        // Answers that are being compared are labels, and a fit is what came of many.
        app.caches.settle().await;
    };
    if tokio::time::timeout(patience, drained).await.is_err() {
        tracing::warn!("some requests were still in flight when server.drain_timeout ended");
    }
    if let Err(error) = housekeeping.await {
        tracing::error!(%error, "housekeeping ended badly");
    }
    if let Err(error) = app.caches.save_statistics(FlushMode::All).await {
        tracing::error!(%error, "statistics could not be saved");
    }
    if let Err(error) = app.save_usage().await {
        tracing::error!(%error, "what was used could not be saved");
    }
    if let Err(error) = app.caches.store().close().await {
        tracing::error!(%error, "the store could not be closed");
    }
    tracing::info!("stopped");
}

/// What answers a request: all routes, and for pages of other origins what lets them read the reply.
fn service(
    app: &Arc<App>,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + use<> {
    let routes = routes(Arc::clone(app)).map_request(paths::normalized::<Incoming>);
    // Around all routes at once, and only where a browser asks: others would pay for headers that they don't read.
    let for_pages = cors(&app.settings.server).layer(routes.clone());
    tower::service_fn(move |request: Request<Incoming>| {
        if request.headers().contains_key(header::ORIGIN) {
            Either::Left(for_pages.clone().oneshot(request))
        } else {
            Either::Right(routes.clone().oneshot(request))
        }
    })
}

/// The next connection, once there is room for one. `None` where accepting failed.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Replies are small and should leave at once; where it can't be set they are merely slower.
            let _ = stream.set_nodelay(true);
            Some((stream, permit))
        }
        Err(error) => {
            tracing::warn!(%error, "could not accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn save_all(app: &App) -> Result<(), StoreError> {
    app.save_usage().await?;
    app.caches.save_statistics(FlushMode::None).await?;
    app.caches.keep_within(app.settings.storage.max_learned_bytes.bytes() as u64).await?;
    app.caches.store().save_uses().await
}

async fn keep_house(app: Arc<App>, stop: CancellationToken) {
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    let mut save = tokio::time::interval(SAVE_EVERY);
    loop {
        let failed = tokio::select! {
            () = stop.cancelled() => return,
            _ = sweep.tick() => app.caches.store().sweep(Timestamp::now()).await.map(drop),
            _ = save.tick() => save_all(&app).await,
        };
        app.metrics.run_upkeep();
        if let Err(error) = failed {
            let cause = telemetry::cause(&error);
            tracing::warn!(%error, cause, "housekeeping failed; it is tried again");
        }
    }
}
