//! Asking the server that has the data open, whichever that is.

use std::sync::Arc;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::CommandError;
use super::serve::{self, Vectors};
use crate::config::Settings;
use crate::http::control::{self, Socket};

/// The server at the other end of the data directory's socket.
pub(super) struct Control {
    client: Client,
    /// The client goes by its path.
    _socket: Socket,
}

/// Runs `command` with the running server, or, where none runs, with one that lives as long as the command.
pub(super) fn with_server(
    settings: Settings,
    vectors: Vectors,
    command: impl AsyncFnOnce(&Control) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    serve::install_tls();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        // Where there is no such directory, no server runs either.
        if let Ok(socket) = Socket::of(&settings.storage.path)
            && UnixStream::connect(socket.path()).await.is_ok()
        {
            return command(&Control::new(socket)?).await;
        }
        let caches = serve::open(&Arc::new(settings.clone()), vectors).await?.caches;
        let stop = CancellationToken::new();
        // Not beside the data, which may be where nothing can be written.
        let folder = tempfile::tempdir()?;
        let socket = Socket::of(folder.path())?;
        let serving = tokio::spawn(control::serve(Arc::clone(&caches), socket.listen()?, stop.clone()));
        let done = command(&Control::new(socket)?).await;
        stop.cancel();
        serving.await?;
        caches.store().close().await?;
        done
    })
}

impl Control {
    fn new(socket: Socket) -> Result<Self, CommandError> {
        Ok(Self { client: Client::builder().unix_socket(socket.path()).build()?, _socket: socket })
    }

    pub(super) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("http://refrain{path}"))
    }

    pub(super) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("http://refrain{path}"))
    }
}

/// Sends a request; what the server says is wrong is the error.
pub(super) async fn send(request: RequestBuilder) -> Result<Response, CommandError> {
    let response = request.send().await?;
    if response.status() < StatusCode::BAD_REQUEST {
        return Ok(response);
    }
    Err(response.text().await?.into())
}
