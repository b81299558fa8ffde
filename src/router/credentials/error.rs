//! Why there are no credentials, and whose fault that is.

/// Why there are no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(in crate::router) struct CredentialError {
    whose: Whose,
    /// For the log. Nothing secret is in it.
    why: String,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// The operator's: something that must be set or be there isn't.
    Settings,
    /// The issuer's, or the network's.
    Unreachable,
    /// The issuer's too: it hasn't answered.
    Late,
    /// The issuer says no.
    Refused,
    /// The issuer's reply is none.
    Reply,
}

impl CredentialError {
    pub(super) fn settings(why: impl Into<String>) -> Self {
        Self { whose: Whose::Settings, why: why.into() }
    }

    pub(super) fn unreachable(why: impl Into<String>) -> Self {
        Self { whose: Whose::Unreachable, why: why.into() }
    }

    pub(super) fn refused(why: impl Into<String>) -> Self {
        Self { whose: Whose::Refused, why: why.into() }
    }

    pub(super) fn reply(why: impl Into<String>) -> Self {
        Self { whose: Whose::Reply, why: why.into() }
    }

    pub(super) fn late(why: impl Into<String>) -> Self {
        Self { whose: Whose::Late, why: why.into() }
    }

    /// A request to an issuer failed on the way.
    pub(super) fn sending(error: reqwest::Error) -> Self {
        let whose = if error.is_timeout() { Whose::Late } else { Whose::Unreachable };
        let error = error.without_url();
        Self { whose, why: format!("whoever issues the token can't be reached: {}", chain(&error)) }
    }

    /// What callers may know of it: names and addresses of the operator's cloud are none of their business.
    pub(in crate::router) fn for_callers(&self) -> &'static str {
        match self.whose {
            Whose::Settings => "none were found",
            Whose::Unreachable => "whoever issues them can't be reached",
            Whose::Late => "whoever issues them didn't answer in time",
            Whose::Refused => "whoever issues them refused",
            Whose::Reply => "whoever issues them gave no usable reply",
        }
    }
}

/// What an error says, and all that led to it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut at = error;
    while let Some(source) = at.source() {
        let why = source.to_string();
        // Some say their cause themselves.
        if !said.ends_with(&why) {
            said = format!("{said}: {why}");
        }
        at = source;
    }
    said
}
