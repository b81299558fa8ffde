//! Requests that are signed, with AWS's Signature Version 4, rather than carrying a key.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{self, SignableBody, SignableRequest, SigningSettings};
use aws_sigv4::sign::v4;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

/// The service that signatures are for.
const SERVICE: &str = "bedrock";

/// Why a request can't be signed.
#[derive(Debug, thiserror::Error)]
#[error("the request can't be signed")]
pub(in crate::router) struct SignatureError(#[source] pub(super) Box<dyn std::error::Error + Send + Sync>);

/// Adds the signature of a request at `now` to its headers.
pub(super) fn sign(
    credentials: Credentials,
    region: &str,
    method: &Method,
    url: &Url,
    body: &[u8],
    headers: &mut HeaderMap,
    now: SystemTime,
) -> Result<(), SignatureError> {
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| SignatureError(error.into()))?
        .into();
    // Of the headers only this one says what is asked; others may be changed on the way.
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let signed = kind.map(|kind| (header::CONTENT_TYPE.as_str(), kind)).into_iter();
    let request = SignableRequest::new(method.as_str(), url.as_str(), signed, SignableBody::Bytes(body));
    let made = request.and_then(|request| http_request::sign(request, &parameters));
    let (instructions, _) = made.map_err(|error| SignatureError(error.into()))?.into_parts();
    for made in instructions.into_parts().0 {
        let mut value = HeaderValue::try_from(made.value()).map_err(|error| SignatureError(error.into()))?;
        value.set_sensitive(made.sensitive());
        headers.insert(HeaderName::from_static(made.name()), value);
    }
    Ok(())
}
