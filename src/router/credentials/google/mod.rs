//! Tokens of Google's cloud: of a service account's key, or of Google's application default credentials.

mod account;

use std::path::Path;
use std::time::{Duration, SystemTime};

use google_cloud_auth::credentials::{
    AccessTokenCredentials, Builder, external_account, external_account_authorized_user, impersonated, user_account,
};
use parking_lot::Mutex;
use serde_json::Value;

use super::clients::Clients;
use super::error::{CredentialError, chain};
use super::kept::{Fetched, Source};
use account::{ServiceAccount, token};

/// For how long a token of Google's library is taken for good: it keeps and renews them itself, four minutes before they end,
/// and doesn't say when that is.
const OF_LIBRARY: Duration = Duration::from_secs(20);
/// The longest reply that can be a token.
const LONGEST: usize = 64 << 10;

/// Who asks for tokens.
pub(in crate::router::credentials) enum Google {
    /// A service account whose key is here.
    Account { account: Box<ServiceAccount>, clients: Clients },
    /// Whatever Google's library knows.
    Library {
        /// A credentials file; none for the application default credentials: the file in `GOOGLE_APPLICATION_CREDENTIALS`, the
        /// one that `gcloud auth application-default login` leaves, the metadata server.
        file: Option<Value>,
        /// Made when it is needed first, because it starts a task, and anew after it was refused, because that task ends then.
        made: Mutex<Option<AccessTokenCredentials>>,
    },
}

impl Google {
    pub(super) fn new(file: Option<&Path>, clients: Clients) -> Result<Self, CredentialError> {
        let Some(path) = file else { return Ok(Self::Library { file: None, made: Mutex::default() }) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| CredentialError::settings(format!("the key file can't be read: {error}")))?;
        let file: Option<Value> = serde_json::from_str(&text).ok();
        let kind = file.as_ref().and_then(|file| file["type"].as_str());
        match kind {
            Some(
                "external_account"
                | "authorized_user"
                | "impersonated_service_account"
                | "external_account_authorized_user",
            ) => Ok(Self::Library { file, made: Mutex::default() }),
            _ => {
                let account =
                    ServiceAccount::parse(&text).map_err(|error| CredentialError::settings(error.to_string()))?;
                Ok(Self::Account { account: Box::new(account), clients })
            }
        }
    }
}

impl Source for Google {
    type Credential = String;

    async fn fetch(&self) -> Result<Fetched<String>, CredentialError> {
        match self {
            Self::Account { account, clients } => of_account(account, clients).await,
            Self::Library { file, made } => of_library(file.as_ref(), made).await,
        }
    }
}

async fn of_account(account: &ServiceAccount, clients: &Clients) -> Result<Fetched<String>, CredentialError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let assertion = account.assertion(now).map_err(|error| CredentialError::settings(error.to_string()))?;
    let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    let form = [("grant_type", grant), ("assertion", &assertion)];
    let reply = clients.outside.post(account.token_uri()).form(&form).send().await.map_err(CredentialError::sending)?;
    let status = reply.status();
    let bytes = reply.bytes().await.map_err(CredentialError::sending)?;
    match token(&bytes[..bytes.len().min(LONGEST)]) {
        Ok((credential, seconds)) if status.is_success() => {
            Ok(Fetched { credential, lifetime: Some(Duration::from_secs(seconds)) })
        }
        Err(error) if status.is_success() => Err(CredentialError::reply(error.to_string())),
        Err(error) => Err(CredentialError::refused(format!("no token, status {status}: {error}"))),
        Ok(_) => Err(CredentialError::refused(format!("no token, status {status}"))),
    }
}

async fn of_library(
    file: Option<&Value>,
    made: &Mutex<Option<AccessTokenCredentials>>,
) -> Result<Fetched<String>, CredentialError> {
    let credentials = match made.lock().clone() {
        Some(credentials) => credentials,
        None => made_of(file)?,
    };
    *made.lock() = Some(credentials.clone());
    match credentials.access_token().await {
        Ok(token) => Ok(Fetched { credential: token.token, lifetime: Some(OF_LIBRARY) }),
        Err(error) if error.is_transient() => Err(CredentialError::unreachable(chain(&error))),
        Err(error) => {
            *made.lock() = None;
            Err(CredentialError::refused(chain(&error)))
        }
    }
}

fn made_of(file: Option<&Value>) -> Result<AccessTokenCredentials, CredentialError> {
    let built = match file {
        None => Builder::default().with_scopes([account::SCOPE]).build_access_token_credentials(),
        Some(file) => {
            let json = file.clone();
            match file["type"].as_str() {
                Some("authorized_user") => user_account::Builder::new(json).build_access_token_credentials(),
                Some("impersonated_service_account") => {
                    impersonated::Builder::new(json).with_scopes([account::SCOPE]).build_access_token_credentials()
                }
                Some("external_account_authorized_user") => {
                    external_account_authorized_user::Builder::new(json).build_access_token_credentials()
                }
                _ => {
                    external_account::Builder::new(json).with_scopes([account::SCOPE]).build_access_token_credentials()
                }
            }
        }
    };
    built.map_err(|error| CredentialError::settings(chain(&error)))
}
