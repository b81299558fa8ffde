//! A service account's key, and the tokens that are had for it.
//!
//! The account signs an assertion, which Google's token server takes for a token that is good for an hour (RFC 7523).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

/// What a token may be used for. What the account itself may do bounds it further.
pub(super) const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Where tokens are handed out, if the key file doesn't say.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// How long an assertion is good for; Google takes none with more.
const ASSERTION_SECONDS: u64 = 3600;

/// What is wrong with an account, or with what the token server says. Nothing of a key or a token is ever in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AccountError {
    /// The key file isn't JSON.
    #[error("the key file is no JSON (line {line}, column {column})")]
    NotJson {
        /// Where reading ended.
        line: usize,
        /// Where in that line.
        column: usize,
    },
    /// It isn't the key of a service account: users' credentials and others can't sign.
    #[error("the key file has no `{0}`; is it the key of a service account?")]
    Missing(&'static str),
    /// The key isn't an RSA key as Google writes them.
    #[error("the `private_key` of the key file is no RSA key of 2048 bits or more in PKCS#8 form")]
    Key,
    /// Signing failed.
    #[error("the assertion can't be signed")]
    Signing,
    /// The token server refuses.
    #[error("Google hands out no token: {0}")]
    Refused(String),
    /// The token server's reply isn't understood.
    #[error("the token server's reply is not understood: {0}")]
    Reply(&'static str),
}

/// A service account that can ask for tokens.
pub(in crate::router::credentials) struct ServiceAccount {
    client_email: String,
    key: RsaKeyPair,
    key_id: Option<String>,
    token_uri: String,
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount")
            .field("client_email", &self.client_email)
            .field("token_uri", &self.token_uri)
            .finish_non_exhaustive()
    }
}

impl ServiceAccount {
    /// Reads a key file as Google Cloud writes them.
    pub(super) fn parse(json: &str) -> Result<Self, AccountError> {
        // Only the place of an error is told: what stands there may be the key.
        let file: Value = serde_json::from_str(json)
            .map_err(|error| AccountError::NotJson { line: error.line(), column: error.column() })?;
        let text = |name: &'static str| file[name].as_str().map(str::trim).filter(|text| !text.is_empty());
        let needed = |name| text(name).ok_or(AccountError::Missing(name));
        Ok(Self {
            client_email: needed("client_email")?.to_owned(),
            key: key(needed("private_key")?)?,
            key_id: text("private_key_id").map(str::to_owned),
            token_uri: text("token_uri").unwrap_or(TOKEN_URI).to_owned(),
        })
    }

    /// Where the token is asked for.
    pub(super) fn token_uri(&self) -> &str {
        &self.token_uri
    }

    /// The signed assertion, good for an hour from `issued_at_unix` on (seconds since 1970).
    pub(super) fn assertion(&self, issued_at_unix: u64) -> Result<String, AccountError> {
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let (Some(id), Value::Object(header)) = (&self.key_id, &mut header) {
            header.insert("kid".into(), id.as_str().into());
        }
        let claims = json!({
            "iss": self.client_email,
            "scope": SCOPE,
            "aud": self.token_uri,
            "iat": issued_at_unix,
            "exp": issued_at_unix.saturating_add(ASSERTION_SECONDS),
        });
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let mut signature = vec![0; self.key.public().modulus_len()];
        // This kind of signature takes no randomness: the same assertion is always signed the same.
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| AccountError::Signing)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// The key in a PEM text.
fn key(pem: &str) -> Result<RsaKeyPair, AccountError> {
    // Keys that went through an environment variable often have their line ends spelled out.
    let pem = pem.replace("\\n", "\n");
    let body = pem
        .split_once("-----BEGIN PRIVATE KEY-----")
        .and_then(|(_, rest)| rest.split_once("-----END PRIVATE KEY-----"))
        .map(|(body, _)| body.split_whitespace().collect::<String>())
        .ok_or(AccountError::Key)?;
    let der = STANDARD.decode(body).map_err(|_| AccountError::Key)?;
    RsaKeyPair::from_pkcs8(&der).map_err(|_| AccountError::Key)
}

/// The token in the token server's reply, and for how many seconds it is good.
pub(super) fn token(reply: &[u8]) -> Result<(String, u64), AccountError> {
    let reply: Value = serde_json::from_slice(reply).map_err(|_| AccountError::Reply("it is no JSON"))?;
    let error = &reply["error"];
    if !error.is_null() {
        let told = reply["error_description"].as_str().or_else(|| error["message"].as_str());
        let why = match (error.as_str(), told) {
            (Some(code), Some(told)) => format!("{told} ({code})"),
            (Some(code), None) => code.to_owned(),
            (None, Some(told)) => told.to_owned(),
            (None, None) => "it doesn't say why".to_owned(),
        };
        return Err(AccountError::Refused(why));
    }
    let secret = reply["access_token"].as_str().unwrap_or_default();
    // It goes into a header, where anything else could not be sent.
    if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(AccountError::Reply("it has no access_token"));
    }
    let lifetime = reply["expires_in"].as_u64().ok_or(AccountError::Reply("it has no expires_in"))?;
    Ok((secret.to_owned(), lifetime))
}

#[cfg(test)]
mod tests {
    use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    /// Made by `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048` for these tests; it opens nothing.
    const KEY: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQC8UwqyilsmPUGS\n\
JmfTmt5Gi12QrxTBYvrxgQqgdWTpcSCbVehn822vFr4pVdYWmjh8NzLh6bKrVVny\n\
AVMQW2/bRui35UxtcZedUI6vunNcyPVLMXT/UNDmFtw8fmpcCuHnKDLMiEUe1RVX\n\
D4x6+L8FjHLemy7yyEQd0muA+pXb/IN//G6eQ8v7CuEoLU9hSsCJb+8B3it7mJPG\n\
F5qyFTWoFs6Vqj/K2PfRRNquTjlIZni/tkIfyAqVJcLbVd6GRCbHL0ZfIhbLYzKw\n\
BohDfwSnKyCZ6L5OnVd84AwE+lb4ahUNwVo2QQgrarOnsv4lYEbFtOn35sq65du5\n\
/jM2j+rPAgMBAAECggEAXWnjmIRAiktARzp9rdzX/K4Mj0QJS5PJXhngJ4+TqqfO\n\
wL5wNX/uHDdvxBkrxLJi6lqHBsBhO9Nudjhp92cjqOUXcoBu1KrPxdy7qjcWGiQk\n\
aFPz8OEpfbhBLlCWeWl8fKjX6dR+VLjliPXRfP394sa0A+997jegchp58NRbmW5f\n\
f2oy+4BlIZuBGQLXsCV8HLfgeqgF4q7tsitgtkPLYa5vQ9PS78luG45xUGMbTjyi\n\
kImmOWT+SFP177hxNwezlCiy9BZvr9loj+HmKFcGGAeZf9UAp0bJpVdOUhF0cuVx\n\
6SnJXab8u2Nw2s7ugITDo9P9nQvfihR1xpSjJFlqIQKBgQD/tojm10a/7gd3edeS\n\
02hax4EYjo9jIj46jTQdeBzPvqW4m3HrZoE7jqmCMMH8eakFipck+cirDkIIgbPL\n\
JQmbZBo10c1zwoLqSLHMlDUtYUJFahvnKTcv5X3p7WqJXuYjJJtdw1tbjM3AhCmT\n\
JFeFxABit9j6k+PhKcxQBOsQDQKBgQC8iSWEhPgw6+biUlsF5ODB6LWf11Drm48z\n\
0rnS1JFpbaH3X4fwklx6GkBFwdYbeFYPmHBsya1psOSPg0HeFgf3btRe6u//Dzr/\n\
2V91ZAaZ0vwHEhN1nr2/rAowIVQXRnd28ijlTP/9TcBakSBzKrbiZFWbjzusIe+t\n\
rfF87/ZTSwKBgQCPDVejBDXBM3Eb5p6xtfEAL/HJgh83DzYO3WWVQtejZH0jPFrL\n\
nQmY/uNXQN2U1561yeVqOw6GmzBXv++MKskoFCURjLBKHTvNwyMsVpE1NN61JHo9\n\
pHIKKnF5R2c9OEi4ykbcemiGW8vS8lyrwz3vSEoK79zDua5XDWIONeImlQKBgGoL\n\
Qfz9xZPOvDjEVcpE6F5pA+957lv3TV66wiZhxcBlF9rJ8u5PhJBxP4F8+27MCqwO\n\
8/1cmpt+EbDfBSdjgOudfPo+buspp+fMXjLrJgNTdsqLUkKwHM44eCqGNIQ68GsI\n\
3hPLcZkKKI1IX9YnSmKgSL6Mm+W/2M35roC1f/ltAoGBANM6AY+9BSBhHKd0F0o+\n\
4lsQVgtzJJpjyxnObs0wjUjvCT10h6Vm90IV8NNpdWeVX/WckpjWL9iQcqfNRtDh\n\
E/ziLr89MXpieJhDyolvye5VTjR2/dcEazUZBGwK+aKGXqYvoSVCPGY2raOO8KQM\n\
fOua7mJ+b92Nm6X70FVV49j6\n\
-----END PRIVATE KEY-----\n\
";

    fn file() -> Value {
        json!({"type": "service_account", "project_id": "p-1", "private_key_id": "k1", "private_key": KEY,
            "client_email": "a@p-1.iam.gserviceaccount.com", "token_uri": "https://token.example/t"})
    }

    fn parse(file: &Value) -> Result<ServiceAccount, AccountError> {
        ServiceAccount::parse(&file.to_string())
    }

    fn without(name: &str) -> Value {
        let mut file = file();
        file.as_object_mut().unwrap().remove(name);
        file
    }

    fn decoded(part: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn an_assertion_says_who_and_for_how_long_and_is_signed() {
        let account = parse(&file()).unwrap();
        let assertion = account.assertion(1_700_000_000).unwrap();
        let parts: Vec<&str> = assertion.split('.').collect();
        assert_eq!(parts.len(), 3);
        assert_eq!(decoded(parts[0]), json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
        assert_eq!(
            decoded(parts[1]),
            json!({"iss": "a@p-1.iam.gserviceaccount.com", "scope": "https://www.googleapis.com/auth/cloud-platform",
                "aud": "https://token.example/t", "iat": 1_700_000_000, "exp": 1_700_003_600})
        );
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, account.key.public_key().as_ref());
        let signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
        public.verify(format!("{}.{}", parts[0], parts[1]).as_bytes(), &signature).unwrap();
        assert!(public.verify(parts[0].as_bytes(), &signature).is_err());
        assert_eq!(account.assertion(1_700_000_000).unwrap(), assertion);
        assert!(account.assertion(u64::MAX).is_ok());
    }

    #[test]
    fn what_a_file_leaves_out_is_known() {
        let account = parse(&without("token_uri")).unwrap();
        assert_eq!(account.token_uri(), "https://oauth2.googleapis.com/token");
        let assertion = parse(&without("private_key_id")).unwrap().assertion(0).unwrap();
        assert_eq!(decoded(assertion.split('.').next().unwrap()), json!({"alg": "RS256", "typ": "JWT"}));
    }

    #[test]
    fn a_key_with_its_line_ends_spelled_out_is_read() {
        let mut file = file();
        file["private_key"] = KEY.replace('\n', "\\n").into();
        assert!(parse(&file).is_ok());
        file["private_key"] = KEY.replace('\n', "\r\n").into();
        assert!(parse(&file).is_ok());
    }

    #[test]
    fn what_is_no_key_file_is_refused_and_not_told() {
        assert_eq!(parse(&without("client_email")).unwrap_err(), AccountError::Missing("client_email"));
        assert_eq!(parse(&without("private_key")).unwrap_err(), AccountError::Missing("private_key"));
        assert_eq!(parse(&json!([])).unwrap_err(), AccountError::Missing("client_email"));
        let authorized_user = json!({"type": "authorized_user", "client_id": "x", "refresh_token": "y"});
        assert_eq!(parse(&authorized_user).unwrap_err(), AccountError::Missing("client_email"));
        for rubbish in ["", "s3cret", "{\"private_key\": s3cret}"] {
            let error = ServiceAccount::parse(rubbish).unwrap_err();
            assert!(matches!(error, AccountError::NotJson { .. }));
            assert!(!format!("{error} {error:?}").contains("s3cret"));
        }
        let (head, rest) = KEY.split_once('\n').unwrap();
        let cut = format!("{head}\n{}", &rest[64..]);
        for key in [
            "s3cret",
            KEY.trim_end_matches(['-', '\n']),
            &cut,
            &KEY.replace("PRIVATE", "RSA PRIVATE"),
            &KEY.replace('M', "!"),
        ] {
            let mut file = file();
            file["private_key"] = key.into();
            assert_eq!(parse(&file).unwrap_err(), AccountError::Key);
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let shown = format!("{:?}", parse(&file()).unwrap());
        assert!(shown.contains("a@p-1.iam") && !shown.contains("PRIVATE") && !shown.contains("RsaKeyPair"), "{shown}");
    }

    #[test]
    fn a_reply_has_a_token_and_its_life() {
        let reply = json!({"access_token": "ya29.x", "expires_in": 3599, "token_type": "Bearer"});
        assert_eq!(token(reply.to_string().as_bytes()), Ok(("ya29.x".to_owned(), 3599)));
    }

    #[test]
    fn replies_without_a_token_are_errors() {
        let refused = |why: &str| Err(AccountError::Refused(why.to_owned()));
        for (reply, expected) in [
            (
                r#"{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}"#,
                refused("Invalid JWT Signature. (invalid_grant)"),
            ),
            (r#"{"error": "invalid_grant"}"#, refused("invalid_grant")),
            (r#"{"error": {"code": 403, "message": "no"}}"#, refused("no")),
            (r#"{"error": {}}"#, refused("it doesn't say why")),
            ("<html>", Err(AccountError::Reply("it is no JSON"))),
            ("", Err(AccountError::Reply("it is no JSON"))),
            ("[]", Err(AccountError::Reply("it has no access_token"))),
            (r#"{"access_token": "", "expires_in": 5}"#, Err(AccountError::Reply("it has no access_token"))),
            (r#"{"access_token": "a\nb", "expires_in": 5}"#, Err(AccountError::Reply("it has no access_token"))),
            (r#"{"access_token": "a"}"#, Err(AccountError::Reply("it has no expires_in"))),
            (r#"{"access_token": "a", "expires_in": -5}"#, Err(AccountError::Reply("it has no expires_in"))),
        ] {
            assert_eq!(token(reply.as_bytes()), expected, "{reply}");
        }
    }
}
