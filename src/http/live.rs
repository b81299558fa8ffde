//! What may change while the program runs: the settings, and what is made of them.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::auth::{AmbiguousKey, Tenants};
use crate::cache::OpenError;
use crate::config::{ConfigError, Settings};
use crate::router::{Router, RouterError};

/// Settings with what is made of them. A request keeps those that it began with.
pub struct Live {
    /// As loaded and checked.
    pub settings: Arc<Settings>,
    /// All providers.
    pub router: Router,
    /// Who may call.
    pub tenants: Tenants,
}

/// Where settings are read from.
pub struct Source {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// One at a time.
    pub(super) reading: Mutex<()>,
}

/// Why settings can't take the place of those before.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// They can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// See [`RouterError`].
    #[error(transparent)]
    Router(#[from] RouterError),
    /// See [`AmbiguousKey`].
    #[error(transparent)]
    Tenants(#[from] AmbiguousKey),
    /// A cache can't be as they say.
    #[error(transparent)]
    Caches(#[from] OpenError),
}

/// What came of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// Sections that have changed and count from now on.
    pub changed: Vec<&'static str>,
    /// Sections that have changed and count only after a restart.
    pub after_restart: Vec<&'static str>,
}

impl Source {
    /// Of a file.
    #[must_use]
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file, reading: Mutex::default() }
    }
}

impl Live {
    /// Of settings; connections and what is known of providers are taken over from `before`.
    ///
    /// # Errors
    /// See [`ReloadError`].
    pub fn new(settings: Arc<Settings>, before: Option<&Self>) -> Result<Self, ReloadError> {
        let router = Router::new(&settings, before.map(|before| &before.router))?;
        Ok(Self { router, tenants: Tenants::new(&settings)?, settings })
    }
}

/// A section of the settings, and how it is written down.
type Section = (&'static str, fn(&Settings) -> String);

/// Which sections differ, as far as they can be shown: a change of nothing but keys counts, but isn't told.
pub(super) fn compared(before: &Settings, after: &Settings) -> Reloaded {
    let differ = |of: fn(&Settings) -> String| of(before) != of(after);
    let live: [Section; 9] = [
        ("caches", |settings| shown(&settings.caches)),
        ("providers", |settings| shown(&settings.providers)),
        ("models", |settings| shown(&settings.models)),
        ("prices", |settings| shown(&settings.prices)),
        ("judge", |settings| shown(&settings.judge)),
        ("router", |settings| shown(&settings.router)),
        ("tenants", |settings| shown(&settings.tenants)),
        ("access_log", |settings| shown(&settings.access_log)),
        ("traces", |settings| shown(&settings.traces)),
    ];
    let fixed: [Section; 4] = [
        ("server", |settings| shown(&settings.server)),
        ("storage", |settings| shown(&settings.storage)),
        ("embedding", |settings| shown(&settings.embedding)),
        ("log", |settings| shown(&settings.log)),
    ];
    Reloaded {
        changed: live.into_iter().filter(|(_, of)| differ(*of)).map(|(name, _)| name).collect(),
        after_restart: fixed.into_iter().filter(|(_, of)| differ(*of)).map(|(name, _)| name).collect(),
    }
}

fn shown(section: &dyn std::fmt::Debug) -> String {
    format!("{section:?}")
}
