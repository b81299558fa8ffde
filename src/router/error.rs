//! Why a request got no answer, and who was asked.

use std::time::Duration;

use super::credentials::CredentialError;
use super::pieces::BodyError;
use super::provider::Provider;
use super::route::RouteError;
use crate::llm::Unsupported;

/// An attempt that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAttempt {
    /// The provider.
    pub provider: String,
    /// What it did, in a word or its status.
    pub what: String,
}

/// No provider answered at all.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.message())]
pub struct UpstreamError {
    /// The last one that was asked.
    pub provider: String,
    /// What it did.
    pub what: &'static str,
    /// Whether it was too slow rather than unreachable.
    pub timeout: bool,
    /// Whether it wasn't asked, because there were no credentials to ask it with; `what` is why, then.
    pub is_without_credentials: bool,
    /// All that were asked.
    pub failed_attempts: Vec<FailedAttempt>,
    /// For the log.
    #[source]
    pub source: Option<BodyError>,
}

impl UpstreamError {
    fn message(&self) -> String {
        let Self { provider, what, .. } = self;
        match self.is_without_credentials {
            true => format!("no credentials for provider `{provider}`: {what}"),
            false => format!("provider `{provider}` {what}"),
        }
    }
}

/// Why a request got no answer from a provider.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It is for nobody.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Nobody answered.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// It can't be said in the provider's API.
    #[error("the model's provider can't take this request: {0}")]
    Unsupported(#[from] Unsupported),
    /// All that could answer have failed of late, or want to be left alone.
    #[error("every provider of this model has failed of late or is limited; try again in {} s", wait.as_secs().max(1))]
    CircuitOpen {
        /// Until the first of them may be tried again.
        wait: Duration,
        /// Whether that is because of a limit.
        is_limit: bool,
        /// All that were asked.
        failed_attempts: Vec<FailedAttempt>,
    },
    /// The tenant, or the key, has cost as much this month as it may.
    #[error("{whose} budget of {most} dollars a month is used up; what the cache holds is still answered")]
    Spent {
        /// The tenant's, or the key's.
        whose: &'static str,
        /// Dollars a month.
        most: f64,
    },
    /// The call ended in a way that it shouldn't.
    #[error("the call to the provider ended unexpectedly")]
    Ended,
    /// As many requests wait already as may.
    #[error("as many requests for this model are under way, and wait, as the settings allow")]
    Full {
        /// All that were asked.
        failed_attempts: Vec<FailedAttempt>,
    },
}

impl Provider {
    pub(super) fn error(&self, what: &'static str, timeout: bool, source: Option<BodyError>) -> UpstreamError {
        let (provider, failed_attempts) = (self.name.clone(), Vec::new());
        UpstreamError { provider, what, timeout, is_without_credentials: false, failed_attempts, source }
    }

    /// Nobody could say who calls.
    pub(super) fn no_credentials(&self, error: &CredentialError) -> UpstreamError {
        tracing::error!(provider = self.name, %error, "no credentials for a provider");
        UpstreamError { is_without_credentials: true, ..self.error(error.for_callers(), false, None) }
    }
}

impl SendError {
    pub(super) fn with(self, all: Vec<FailedAttempt>) -> Self {
        match self {
            Self::Upstream(error) => Self::Upstream(UpstreamError { failed_attempts: all, ..error }),
            Self::Full { .. } => Self::Full { failed_attempts: all },
            Self::CircuitOpen { wait, is_limit, .. } => Self::CircuitOpen { wait, is_limit, failed_attempts: all },
            Self::Route(_) | Self::Unsupported(_) | Self::Spent { .. } | Self::Ended => self,
        }
    }

    /// Those that were asked in vain.
    #[must_use]
    pub fn failed_attempts(&self) -> &[FailedAttempt] {
        match self {
            Self::Upstream(UpstreamError { failed_attempts, .. })
            | Self::Full { failed_attempts }
            | Self::CircuitOpen { failed_attempts, .. } => failed_attempts,
            Self::Route(_) | Self::Unsupported(_) | Self::Spent { .. } | Self::Ended => &[],
        }
    }
}
