//! What goes wrong inside a cache.

use crate::embed::EmbedError;
use crate::store::StoreError;
use crate::telemetry;

/// What went wrong inside the cache. The caller's request goes on without it.
pub(super) enum Trouble {
    Store(StoreError),
    Embed(EmbedError),
    Slow,
}

impl Trouble {
    /// Counts and logs it; returns what the caller may know.
    pub(super) fn report(self, cache: &str) -> String {
        let (part, error): (_, Box<dyn std::error::Error>) = match self {
            Self::Store(error @ (StoreError::Loading | StoreError::OtherModel)) => ("loading", error.into()),
            Self::Store(error) => ("store", error.into()),
            Self::Embed(EmbedError::Busy(n)) => ("embed_queue", EmbedError::Busy(n).into()),
            Self::Embed(error) => ("embed", error.into()),
            Self::Slow => ("slow", "the cache did not answer in time".into()),
        };
        telemetry::degraded(part);
        let cause = telemetry::cause(error.as_ref());
        if part == "loading" {
            // Known, and over soon.
            tracing::debug!(cache, part, %error, "lookup went on without the cache");
        } else {
            tracing::warn!(cache, part, %error, cause, "lookup went on without the cache");
        }
        error.to_string()
    }
}
