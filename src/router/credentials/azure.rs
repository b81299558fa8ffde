//! Tokens of Microsoft Entra ID, for an application or for the identity of the machine.
//!
//! Sources: "Microsoft identity platform and the OAuth 2.0 client credentials flow"; "How to use managed identities for Azure
//! resources on an Azure VM to acquire an access token"; "How to use managed identities for App Service and Azure Functions".
//! `azure_identity` 1.0 isn't used: it brings thirteen crates that nothing else here needs, for three requests.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;

use super::clients::Clients;
use super::error::CredentialError;
use super::kept::{Fetched, Source};
use crate::config::{self, ApiKey};

/// What a token is for: Azure OpenAI is one of the cognitive services.
const RESOURCE: &str = "https://cognitiveservices.azure.com";
/// Where applications get tokens, unless `AZURE_AUTHORITY_HOST` says otherwise (other countries' clouds have their own).
const AUTHORITY: &str = "https://login.microsoftonline.com";
/// Where machines do, unless `AZURE_POD_IDENTITY_AUTHORITY_HOST` says otherwise.
const METADATA: &str = "http://169.254.169.254";
/// The longest reply that can be a token.
const LONGEST: usize = 64 << 10;

/// Who asks for tokens, and where.
pub(super) struct Azure {
    who: Who,
    clients: Clients,
}

enum Who {
    /// An application with a secret.
    Application { url: String, client_id: String, secret: ApiKey },
    /// An application that trusts whoever issued the token in a file, which is read each time: it is replaced there. This is
    /// workload identity, as Kubernetes has it.
    Federated { url: String, client_id: String, file: PathBuf },
    /// What App Service, Functions and Container Apps run, by the address in `IDENTITY_ENDPOINT`.
    App { url: String, header: String, client_id: Option<String> },
    /// A virtual machine, by its metadata service.
    Machine { url: String, client_id: Option<String> },
}

impl Azure {
    /// From the settings and the variables of the environment that Azure's own libraries read, in their order: a secret, a
    /// token in a file, the machine's identity.
    pub(super) fn new(
        settings: &config::Provider,
        variable: impl Fn(&str) -> Option<String>,
        clients: Clients,
    ) -> Result<Self, CredentialError> {
        let tenant = settings.tenant_id.clone().or_else(|| variable("AZURE_TENANT_ID"));
        let client_id = settings.client_id.clone().or_else(|| variable("AZURE_CLIENT_ID"));
        let secret = match &settings.client_secret {
            Some(secret) => Some(secret.clone()),
            None => variable("AZURE_CLIENT_SECRET")
                .map(|secret| ApiKey::new(&secret))
                .transpose()
                .map_err(|_| CredentialError::settings("AZURE_CLIENT_SECRET must be visible ASCII characters"))?,
        };
        let address = |name: &str, usual: &str| {
            let set = variable(name);
            set.as_deref().unwrap_or(usual).trim_end_matches('/').to_owned()
        };
        let application = tenant.zip(client_id.clone()).map(|(tenant, client_id)| {
            (format!("{}/{tenant}/oauth2/v2.0/token", address("AZURE_AUTHORITY_HOST", AUTHORITY)), client_id)
        });
        let file = variable("AZURE_FEDERATED_TOKEN_FILE").map(PathBuf::from);
        let who = match (application, secret, file) {
            (Some((url, client_id)), Some(secret), _) => Who::Application { url, client_id, secret },
            (Some((url, client_id)), None, Some(file)) => Who::Federated { url, client_id, file },
            _ => match variable("IDENTITY_ENDPOINT").zip(variable("IDENTITY_HEADER")) {
                Some((url, header)) => Who::App { url, header, client_id },
                None => {
                    let host = address("AZURE_POD_IDENTITY_AUTHORITY_HOST", METADATA);
                    Who::Machine { url: format!("{host}/metadata/identity/oauth2/token"), client_id }
                }
            },
        };
        Ok(Self { who, clients })
    }

    fn request(&self) -> Result<reqwest::RequestBuilder, CredentialError> {
        let scope = format!("{RESOURCE}/.default");
        let of_identity = |url: &str, version: &str, client_id: &Option<String>| {
            let request = self.clients.metadata.get(url).query(&[("api-version", version), ("resource", RESOURCE)]);
            match client_id {
                Some(id) => request.query(&[("client_id", id)]),
                None => request,
            }
        };
        Ok(match &self.who {
            Who::Application { url, client_id, secret } => self.clients.outside.post(url).form(&[
                ("grant_type", "client_credentials"),
                ("scope", &scope),
                ("client_id", client_id),
                ("client_secret", secret.expose()),
            ]),
            Who::Federated { url, client_id, file } => {
                let assertion = std::fs::read_to_string(file).map_err(|error| {
                    CredentialError::settings(format!("AZURE_FEDERATED_TOKEN_FILE, {}: {error}", file.display()))
                })?;
                self.clients.outside.post(url).form(&[
                    ("grant_type", "client_credentials"),
                    ("scope", &scope),
                    ("client_id", client_id),
                    ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                    ("client_assertion", assertion.trim()),
                ])
            }
            Who::App { url, header, client_id } => {
                of_identity(url, "2019-08-01", client_id).header("x-identity-header", header)
            }
            Who::Machine { url, client_id } => of_identity(url, "2018-02-01", client_id).header("metadata", "true"),
        })
    }
}

impl Source for Azure {
    type Credential = String;

    async fn fetch(&self) -> Result<Fetched<String>, CredentialError> {
        let reply = self.request()?.send().await.map_err(CredentialError::sending)?;
        let status = reply.status().as_u16();
        let bytes = reply.bytes().await.map_err(CredentialError::sending)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        token(status, &bytes[..bytes.len().min(LONGEST)], now)
    }
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    access_token: String,
    /// Seconds, as a number or as text.
    expires_in: Option<Value>,
    /// Seconds since 1970, likewise; App Service says only this.
    expires_on: Option<Value>,
    error: Option<Value>,
    error_description: Option<String>,
}

/// The token in a reply that came at `now`, which is since 1970.
fn token(status: u16, reply: &[u8], now: Duration) -> Result<Fetched<String>, CredentialError> {
    let read: Result<Reply, _> = serde_json::from_slice(reply);
    if status != 200 {
        let why = read.ok().and_then(|reply| {
            let error = reply.error?;
            let code = error.as_str().map(str::to_owned).unwrap_or_else(|| error.to_string());
            // Only its first line says why; others are numbers of traces.
            let told = reply.error_description.as_deref().and_then(|told| told.lines().next()).unwrap_or_default();
            Some(format!("{code} {told}"))
        });
        let why = why.unwrap_or_default();
        return Err(CredentialError::refused(format!("no token, status {status} {why}").trim_end().to_owned()));
    }
    let reply = read.map_err(|_| CredentialError::reply("the reply to a request for a token isn't JSON"))?;
    // It goes into a header, where anything else could not be sent.
    if reply.access_token.is_empty() || !reply.access_token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(CredentialError::reply("the reply to a request for a token has no access_token"));
    }
    let seconds = |value: &Option<Value>| match value {
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    let lifetime = seconds(&reply.expires_in)
        .or_else(|| seconds(&reply.expires_on).map(|until| until.saturating_sub(now.as_secs())))
        .ok_or_else(|| CredentialError::reply("the reply to a request for a token doesn't say when it expires"))?;
    Ok(Fetched { credential: reply.access_token, lifetime: Some(Duration::from_secs(lifetime)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(settings: &str, variables: &[(&str, &str)]) -> Who {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings: config::Provider = toml::from_str(&format!("kind = \"azure\"\n{settings}")).unwrap();
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
        Azure::new(&settings, variable, Clients::new().unwrap()).unwrap().who
    }

    #[test]
    fn what_is_set_says_who_asks() {
        let in_settings = "tenant_id = \"t\"\nclient_id = \"c\"\nclient_secret = \"s\"";
        let file = [("AZURE_TENANT_ID", "t2"), ("AZURE_CLIENT_ID", "c2"), ("AZURE_FEDERATED_TOKEN_FILE", "/f")];
        assert!(matches!(
            who(in_settings, &file),
            Who::Application { url, client_id, secret }
                if url == "https://login.microsoftonline.com/t/oauth2/v2.0/token" && client_id == "c" && secret.expose() == "s"
        ));
        let elsewhere =
            [file[0], file[1], ("AZURE_CLIENT_SECRET", "s2"), ("AZURE_AUTHORITY_HOST", "https://login.example/")];
        assert!(
            matches!(who("", &elsewhere), Who::Application { url, .. } if url == "https://login.example/t2/oauth2/v2.0/token")
        );
        assert!(
            matches!(who("", &file), Who::Federated { client_id, file, .. } if client_id == "c2" && file.ends_with("f"))
        );
        let app = [("IDENTITY_ENDPOINT", "http://127.0.0.1:1/t"), ("IDENTITY_HEADER", "h"), file[1]];
        assert!(matches!(who("", &app), Who::App { client_id: Some(id), .. } if id == "c2"));
        assert!(matches!(
            who("client_id = \"c\"", &[]),
            Who::Machine { url, client_id: Some(id) } if url.starts_with("http://169.254.169.254/metadata/") && id == "c"
        ));
        assert!(matches!(who("", &[file[2]]), Who::Machine { client_id: None, .. }), "a file without an application");
    }

    #[test]
    fn replies_are_tokens_or_say_why_not() {
        let now = Duration::from_secs(1000);
        let good = |reply: &str| token(200, reply.as_bytes(), now).unwrap();
        let of = |seconds| Fetched { credential: "t".to_owned(), lifetime: Some(Duration::from_secs(seconds)) };
        assert_eq!(good(r#"{"access_token":"t","expires_in":3599}"#), of(3599));
        assert_eq!(good(r#"{"access_token":"t","expires_in":"86399","expires_on":"1"}"#), of(86399));
        assert_eq!(good(r#"{"access_token":"t","expires_on":"1600"}"#), of(600));
        assert_eq!(good(r#"{"access_token":"t","expires_on":"1"}"#), of(0));
        for reply in [
            "",
            "<html>",
            "{}",
            r#"{"access_token":"","expires_in":5}"#,
            r#"{"access_token":"a\nb","expires_in":5}"#,
            r#"{"access_token":"t"}"#,
        ] {
            let error = token(200, reply.as_bytes(), now).unwrap_err();
            assert_eq!(error.for_callers(), "whoever issues them gave no usable reply", "{reply}");
        }
        let refusal =
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret.\r\nTrace ID: x"}"#;
        let error = token(401, refusal.as_bytes(), now).unwrap_err();
        assert_eq!(error.to_string(), "no token, status 401 invalid_client AADSTS7000215: Invalid client secret.");
        assert_eq!(error.for_callers(), "whoever issues them refused");
        assert_eq!(token(400, b"<html>", now).unwrap_err().to_string(), "no token, status 400");
    }
}
