//! Reading the settings again while the program runs.

use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::App;
use super::live::{Live, ReloadError, Reloaded, compared};
use crate::config::{self, Settings};
use crate::telemetry;

/// An editor writes a file in several steps; only when nothing has happened for so long is it read.
const SETTLED: Duration = Duration::from_millis(200);

impl App {
    /// Reads the settings again. Requests in flight end with those that they began with; settings that can't be used leave
    /// those before in force, and that is logged and counted.
    ///
    /// # Errors
    /// See [`ReloadError`].
    pub fn reload(&self) -> Result<Reloaded, ReloadError> {
        let _one_at_a_time = self.source.reading.lock();
        let reloaded = self.read_again();
        match &reloaded {
            Ok(Reloaded { changed, after_restart }) => {
                tracing::info!(?changed, ?after_restart, "the settings were read again");
                if !after_restart.is_empty() {
                    tracing::warn!(sections = ?after_restart, "these changed settings count only after a restart");
                }
            }
            Err(error) => tracing::error!(%error, "the settings can't be used; those before stay in force"),
        }
        telemetry::reloaded(reloaded.is_ok());
        reloaded
    }

    fn read_again(&self) -> Result<Reloaded, ReloadError> {
        let settings = config::load(self.source.file.as_deref(), std::env::vars())?;
        let before = self.live();
        // Who may be reached from elsewhere was checked for the address that is listened on.
        let listen = self.settings.server.listen;
        let checked = Settings { server: config::Server { listen, ..settings.server.clone() }, ..settings };
        checked.check()?;
        let reloaded = compared(&before.settings, &checked);
        let live = Live::new(Arc::new(checked), Some(&before))?;
        self.caches.reconfigure(&live.settings)?;
        self.live.store(Arc::new(live));
        Ok(reloaded)
    }
}

/// Reads the settings again whenever their file changes, or a SIGHUP comes. What changes after this returns is seen, even before
/// the future is polled.
pub fn watch(app: Arc<App>, stop: CancellationToken) -> impl Future<Output = ()> {
    let changed = Arc::new(Notify::new());
    let watcher = app.source.file.as_ref().and_then(|file| {
        watcher(file, Arc::clone(&changed))
            .inspect_err(|error| tracing::warn!(%error, "changes of the settings can't be watched"))
            .ok()
    });
    let hangups = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
    async move {
        let _watcher = watcher;
        let mut hangups = match hangups {
            Ok(signal) => signal,
            Err(error) => return tracing::warn!(%error, "SIGHUP can't be listened for"),
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = hangups.recv() => {}
                () = changed.notified() => {
                    while tokio::time::timeout(SETTLED, changed.notified()).await.is_ok() {}
                }
            }
            let app = Arc::clone(&app);
            if let Err(error) = tokio::task::spawn_blocking(move || drop(app.reload())).await {
                tracing::error!(%error, "reading the settings again ended badly");
            }
        }
    }
}

/// Watches the directory, because editors, and Kubernetes, put another file in the old one's place.
fn watcher(file: &std::path::Path, changed: Arc<Notify>) -> notify::Result<notify::RecommendedWatcher> {
    let name = file.file_name().map(std::ffi::OsStr::to_owned);
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or_else(|| std::path::Path::new(".")).to_owned();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        let concerns = event.paths.iter().any(|path| path.file_name() == name.as_deref() || is_link_swap(path));
        if concerns && !event.kind.is_access() {
            changed.notify_one();
        }
    })?;
    watcher.watch(&directory, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Kubernetes changes a mounted file by changing the link `..data` beside it.
fn is_link_swap(path: &std::path::Path) -> bool {
    path.file_name().is_some_and(|name| name == "..data")
}
