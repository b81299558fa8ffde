//! Errors.

use serde_json::{Value, json};

use crate::llm::error::{CONTEXT_TOO_LONG, ProviderError};

/// Anthropic's types of errors, and the status that each comes with.
const KINDS: [(&str, u16); 12] = [
    ("invalid_request_error", 400),
    ("authentication_error", 401),
    ("billing_error", 402),
    ("permission_error", 403),
    ("not_found_error", 404),
    ("request_too_large", 413),
    ("invalid_request_error", 422),
    ("rate_limit_error", 429),
    ("api_error", 500),
    ("overloaded_error", 529),
    ("overloaded_error", 503),
    ("timeout_error", 504),
];
/// What Anthropic says where a conversation is too long. Agents shorten their history when they read it.
const TOO_LONG: &str = "prompt is too long";

/// Reads a body. Its `code` is the word that clients look for, or Anthropic's type where the status doesn't say it.
pub(super) fn read(status: u16, body: &[u8]) -> ProviderError {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &parsed["error"];
    let told = error["message"].as_str().or(error.as_str()).or(parsed["message"].as_str());
    let mut read = match told.filter(|message| !message.trim().is_empty()) {
        Some(message) => ProviderError::new(status, message),
        None => ProviderError::unreadable(status, body),
    };
    read.code = match error["type"].as_str().unwrap_or_default() {
        "authentication_error" => Some("invalid_api_key".into()),
        "rate_limit_error" => Some("rate_limit_exceeded".into()),
        "invalid_request_error" if read.message.contains(TOO_LONG) => Some(CONTEXT_TOO_LONG.into()),
        kind => (!kind.is_empty() && kind != kind_of(status)).then(|| kind.to_owned()),
    };
    read
}

/// Reads an event of a stream. Its status follows from the type of the error.
pub(super) fn read_event(event: &Value) -> ProviderError {
    let kind = event["error"]["type"].as_str();
    let status = KINDS.iter().find(|(known, _)| Some(*known) == kind).map_or(500, |(_, status)| *status);
    read(status, event.to_string().as_bytes())
}

fn kind_of(status: u16) -> &'static str {
    KINDS.iter().find(|(_, known)| *known == status).map_or("api_error", |(kind, _)| kind)
}

/// Writes a body.
pub(super) fn write(error: &ProviderError) -> Value {
    let code = error.code.as_deref().unwrap_or_default();
    let is_own = KINDS.iter().any(|(kind, _)| *kind == code);
    let kind = if is_own { code } else { kind_of(error.status) };
    let is_too_long = code == CONTEXT_TOO_LONG && !error.message.contains(TOO_LONG);
    let message = if is_too_long { format!("{TOO_LONG}: {}", error.message) } else { error.message.clone() };
    json!({"type": "error", "error": {"type": kind, "message": message}})
}
