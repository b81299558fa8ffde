//! Keys of an account at AWS that requests are signed with: those in the settings, or what AWS's own chain finds: variables
//! of the environment, a profile, a web identity (Kubernetes' service accounts), the container's role, the machine's.

use std::time::{Duration, SystemTime};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, Url};

use super::clients::Clients;
use super::error::{CredentialError, chain};
use super::kept::{Fetched, Kept, Source};
use super::signature::{SignatureError, sign};
use crate::config;

/// Signs requests, for one region.
pub(in crate::router) struct Signer {
    account: Account,
    region: String,
}

enum Account {
    /// In the settings.
    Fixed(Credentials),
    /// Found, and replaced before it expires.
    Found(Kept<Chain>),
}

impl Signer {
    /// None where the settings don't say for which region.
    pub(super) fn new(settings: &config::Provider, clients: Clients) -> Option<Self> {
        let region = settings.region.clone()?;
        let account = match settings.access_key_id.as_ref().zip(settings.secret_access_key.as_ref()) {
            Some((id, secret)) => {
                let session = settings.session_token.as_ref().map(|token| token.expose().to_owned());
                Account::Fixed(Credentials::new(id.expose(), secret.expose(), session, None, "settings"))
            }
            None => Account::Found(Kept::new(Chain { region: region.clone(), http: Http(clients) })),
        };
        Some(Self { account, region })
    }

    /// Waits until there are keys to sign with.
    pub(in crate::router) async fn ready(&self) -> Result<(), CredentialError> {
        match &self.account {
            Account::Fixed(_) => Ok(()),
            Account::Found(found) => found.get().await.map(drop),
        }
    }

    /// Adds the signature of a request at `now` to its headers. One that says already who calls is left alone.
    pub(in crate::router) fn sign(
        &self,
        method: &Method,
        url: &Url,
        body: &[u8],
        headers: &mut HeaderMap,
        now: SystemTime,
    ) -> Result<(), SignatureError> {
        if headers.contains_key(header::AUTHORIZATION) {
            return Ok(());
        }
        let credentials = match &self.account {
            Account::Fixed(credentials) => Some(credentials.clone()),
            Account::Found(found) => found.current(),
        };
        let credentials = credentials.ok_or_else(|| SignatureError("the credentials have expired".into()))?;
        sign(credentials, &self.region, method, url, body, headers, now)
    }
}

/// AWS's own chain.
struct Chain {
    region: String,
    http: Http,
}

impl Source for Chain {
    type Credential = Credentials;

    async fn fetch(&self) -> Result<Fetched<Credentials>, CredentialError> {
        // Made anew each time: it remembers profiles, which are files that change.
        let config = ProviderConfig::default()
            .with_behavior_version(Some(BehaviorVersion::latest()))
            .with_http_client(self.http.clone());
        let region = Region::new(self.region.clone());
        let chain = DefaultCredentialsChain::builder().configure(config).region(region).build().await;
        let credentials = chain.provide_credentials().await.map_err(|error| why(&error))?;
        let lifetime =
            credentials.expiry().map(|until| until.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO));
        Ok(Fetched { credential: credentials, lifetime })
    }
}

fn why(error: &CredentialsError) -> CredentialError {
    let said = chain(error);
    // Whether it went wrong on the way is known deep inside only.
    let mut at: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let on_the_way = std::iter::from_fn(|| {
        let now = at?;
        at = now.source();
        Some(now)
    });
    let on_the_way = on_the_way.filter_map(|error| error.downcast_ref::<ConnectorError>()).next();
    match (error, on_the_way) {
        (CredentialsError::ProviderTimedOut(_), _) => CredentialError::late(said),
        (_, Some(error)) if error.is_timeout() => CredentialError::late(said),
        (_, Some(_)) => CredentialError::unreachable(said),
        (CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_), _) => {
            CredentialError::settings(said)
        }
        _ => CredentialError::refused(said),
    }
}

/// Our own HTTP client, as AWS's libraries want it: theirs would bring another one, with another library for TLS.
#[derive(Debug, Clone)]
struct Http(Clients);

#[derive(Debug)]
struct Connector {
    clients: Clients,
    /// For a whole reply. The chain gives services of the machine a second.
    timeout: Option<Duration>,
}

impl HttpClient for Http {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let timeout = settings.read_timeout().or(settings.connect_timeout());
        SharedHttpConnector::new(Connector { clients: self.0.clone(), timeout })
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        // Services of the machine are plain HTTP, all others aren't.
        let client = if request.uri().starts_with("http:") { &self.clients.metadata } else { &self.clients.outside };
        let (client, timeout) = (client.clone(), self.timeout);
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let request = request.map(|body| body.bytes().map(<[u8]>::to_vec).unwrap_or_default());
            let mut request =
                reqwest::Request::try_from(request).map_err(|error| ConnectorError::user(error.into()))?;
            *request.timeout_mut() = timeout;
            let reply = client.execute(request).await.map_err(failed)?;
            let (status, headers) = (reply.status(), reply.headers().clone());
            let body = reply.bytes().await.map_err(failed)?;
            let mut response = HttpResponse::new(status.into(), SdkBody::from(body));
            for (name, value) in &headers {
                // A value that is no text is none that the chain reads.
                let _ = response.headers_mut().try_append(name.clone(), value.clone());
            }
            Ok(response)
        })
    }
}

fn failed(error: reqwest::Error) -> ConnectorError {
    if error.is_timeout() { ConnectorError::timeout(error.into()) } else { ConnectorError::io(error.into()) }
}
