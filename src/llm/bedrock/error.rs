//! Bedrock's errors.

use serde_json::{Value, json};

use crate::llm::error::{CONTEXT_TOO_LONG, ProviderError};

/// What Bedrock and the models behind it say of a conversation that is too long.
const TOO_LONG: [&str; 4] =
    ["Input is too long", "prompt is too long", "exceed context limit", "too many total text bytes"];
/// Exceptions by the statuses that fit them. AWS's own are others for some: they put the blame on the caller where the
/// model failed, and don't tell a wrong key from a missing permission. The first of a status is written.
const EXCEPTIONS: [(u16, &[&str]); 9] = [
    (400, &["ValidationException", "SerializationException"]),
    (
        401,
        &[
            "UnrecognizedClientException",
            "InvalidSignatureException",
            "IncompleteSignatureException",
            "MissingAuthenticationTokenException",
            "ExpiredTokenException",
        ],
    ),
    (403, &["AccessDeniedException"]),
    (404, &["ResourceNotFoundException", "UnknownOperationException"]),
    (429, &["ThrottlingException", "TooManyRequestsException", "ServiceQuotaExceededException"]),
    (500, &["InternalServerException"]),
    (502, &["ModelErrorException", "ModelStreamErrorException"]),
    (503, &["ServiceUnavailableException", "ModelNotReadyException"]),
    (504, &["ModelTimeoutException"]),
];

/// Reads an error's body. `kind` names the exception, or else the body does.
pub(super) fn read(status: u16, kind: Option<&str>, body: &[u8]) -> ProviderError {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    // AWS's front doors write it large, and what stands between may have the shape of others.
    let told = [&parsed["message"], &parsed["Message"], &parsed["error"]["message"], &parsed["originalMessage"]];
    let told = told.into_iter().find_map(Value::as_str).map(str::trim).filter(|message| !message.is_empty());
    let message = told.map_or_else(|| ProviderError::of_text(status, body).message, str::to_owned);
    let name = kind.and_then(exception).or_else(|| parsed["__type"].as_str().and_then(exception));
    let known = EXCEPTIONS.iter().find(|(_, names)| name.as_deref().is_some_and(|name| names.contains(&name)));
    let status = match (known, status) {
        (Some((fitting, _)), _) => *fitting,
        (None, 408) => 504,
        (None, 424) => 502,
        (None, status) => status,
    };
    let is_too_long = matches!(status, 400 | 413) && TOO_LONG.iter().any(|words| message.contains(words));
    let code = if is_too_long { Some(CONTEXT_TOO_LONG.to_owned()) } else { name };
    ProviderError { code, ..ProviderError::new(status, message) }
}

/// The name of an exception, which may have an address after it and a namespace before, and in streams begins small.
fn exception(kind: &str) -> Option<String> {
    let name = kind.split(':').next().unwrap_or_default();
    let name = name.rsplit('#').next().unwrap_or_default().trim();
    let mut letters = name.chars();
    let first = letters.next()?;
    Some(first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// An error's body. Clients look for the name in the headers first and then in the body.
pub(super) fn write(error: &ProviderError) -> Value {
    let fitting = EXCEPTIONS.iter().rfind(|(status, _)| *status <= error.status).and_then(|(_, names)| names.first());
    let name = error.code.as_deref().filter(|code| code.ends_with("Exception")).or(fitting.copied());
    json!({"__type": name.unwrap_or("InternalServerException"), "message": error.message})
}
