//! Clients for those who issue credentials.

use std::time::Duration;

/// How long a connection to whoever issues tokens may take to open. Metadata services are on the same machine.
const CONNECT: Duration = Duration::from_secs(3);

/// Clients for those who issue credentials.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    /// For services on the internet: through the proxy, where the environment names one.
    pub(super) outside: reqwest::Client,
    /// For services of the machine, which no proxy reaches.
    pub(super) metadata: reqwest::Client,
}

impl Clients {
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        let client = || reqwest::Client::builder().connect_timeout(CONNECT).redirect(reqwest::redirect::Policy::none());
        Ok(Self { outside: client().build()?, metadata: client().no_proxy().build()? })
    }
}
