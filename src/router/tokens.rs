//! Tokens of a service account, made anew before they expire.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::vertex::{AccountError, ServiceAccount, Token, token, token_request};

/// How long the token's issuer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest reply that can be a token.
const LONGEST: usize = 64 << 10;

/// The tokens of one account.
pub(super) struct Tokens {
    account: ServiceAccount,
    /// Held while a new one is fetched, so that one is fetched for all who wait.
    current: tokio::sync::Mutex<Option<Token>>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("the key file can't be read: {0}")]
    File(#[from] std::io::Error),
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error("the token's issuer can't be reached: {0}")]
    Unreachable(#[from] reqwest::Error),
    #[error("the token's issuer answered with status {0}")]
    Refused(u16),
}

impl Tokens {
    pub(super) fn of_file(path: &Path) -> Result<Self, TokenError> {
        let account = ServiceAccount::parse(&std::fs::read_to_string(path)?)?;
        Ok(Self { account, current: tokio::sync::Mutex::default() })
    }

    /// A token that is good for a while.
    pub(super) async fn get(&self, client: &reqwest::Client) -> Result<String, TokenError> {
        let now = unix_now();
        let mut current = self.current.lock().await;
        if let Some(token) = current.as_ref().filter(|token| token.is_fresh(now)) {
            return Ok(token.secret().to_owned());
        }
        let body = token_request(&self.account.assertion(now)?);
        let form = "application/x-www-form-urlencoded";
        let request = client.post(self.account.token_uri()).header("content-type", form).body(body).timeout(PATIENCE);
        let reply = request.send().await.map_err(reqwest::Error::without_url)?;
        if !reply.status().is_success() {
            return Err(TokenError::Refused(reply.status().as_u16()));
        }
        let bytes = reply.bytes().await.map_err(reqwest::Error::without_url)?;
        let token = token(&bytes[..bytes.len().min(LONGEST)], unix_now())?;
        let secret = token.secret().to_owned();
        *current = Some(token);
        Ok(secret)
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
