//! Google's errors, `google.rpc.Status`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::llm::error::{CONTEXT_TOO_LONG, ProviderError};

/// Reads the body of a reply with this status.
pub(super) fn read(status: u16, body: &[u8]) -> ProviderError {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    object(status, &parsed).unwrap_or_else(|| ProviderError::of_text(status, body))
}

/// An error in the place of a reply or of an event. Its status is in it, because the reply's is 200.
pub(super) fn in_body(body: &Value) -> Option<ProviderError> {
    let code = only(body)["error"]["code"].as_u64();
    object(code.and_then(|code| u16::try_from(code).ok()).unwrap_or(500), body)
}

/// The one object of a body: where a stream was asked for, errors come in a list.
fn only(body: &Value) -> &Value {
    body.get(0).unwrap_or(body)
}

fn object(status: u16, body: &Value) -> Option<ProviderError> {
    let body = only(body);
    let error = body.get("error").filter(|error| !error.is_null())?;
    // The servers that hand out tokens write errors as OAuth has them: `{"error": "…", "error_description": "…"}`.
    let message = error["message"].as_str().or_else(|| body["error_description"].as_str()).or_else(|| error.as_str());
    let message = message.map(str::trim).filter(|message| !message.is_empty()).unwrap_or_default();
    let mut told = match message {
        "" => ProviderError::of_text(status, b""),
        message => ProviderError::new(status, message),
    };
    told.code = error["status"].as_str().or_else(|| error.as_str()).map(str::to_owned);
    // These two have no code of their own, and clients look for OpenAI's.
    if message.contains("API key not valid") {
        told.code = Some("invalid_api_key".into());
        told.status = 401;
    } else if status == 400 && message.contains("token count") && message.contains("exceeds the maximum") {
        told.code = Some(CONTEXT_TOO_LONG.into());
    }
    for detail in error["details"].as_array().into_iter().flatten() {
        let kind = detail["@type"].as_str().unwrap_or_default();
        if kind.ends_with("google.rpc.RetryInfo") {
            told.retry_after = seconds(&detail["retryDelay"]);
        } else if kind.ends_with("google.rpc.BadRequest") {
            told.param = detail["fieldViolations"][0]["field"].as_str().map(str::to_owned);
        }
    }
    Some(told)
}

/// A duration such as `"17s"`.
fn seconds(delay: &Value) -> Option<Duration> {
    let seconds: f64 = delay.as_str()?.trim().strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Writes an error's body.
pub(super) fn write(error: &ProviderError) -> Value {
    let of_google = |detail: &str| format!("type.googleapis.com/google.rpc.{detail}");
    let mut details = Vec::new();
    let status = match error.code.as_deref().filter(|code| !code.is_empty()) {
        Some(code) if code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') => code,
        code => {
            details.extend(code.map(|code| json!({"@type": of_google("ErrorInfo"), "reason": code})));
            match error.status {
                401 => "UNAUTHENTICATED",
                403 => "PERMISSION_DENIED",
                404 => "NOT_FOUND",
                409 => "ABORTED",
                429 => "RESOURCE_EXHAUSTED",
                501 => "UNIMPLEMENTED",
                503 | 529 => "UNAVAILABLE",
                504 => "DEADLINE_EXCEEDED",
                ..=499 => "INVALID_ARGUMENT",
                _ => "INTERNAL",
            }
        }
    };
    if let Some(field) = &error.param {
        let violations = json!([{"field": field, "description": error.message}]);
        details.push(json!({"@type": of_google("BadRequest"), "fieldViolations": violations}));
    }
    if let Some(wait) = error.retry_after {
        let delay = format!("{}s", wait.as_secs_f64());
        details.push(json!({"@type": of_google("RetryInfo"), "retryDelay": delay}));
    }
    let mut body = json!({"code": error.status, "message": error.message, "status": status});
    if !details.is_empty() {
        body["details"] = details.into();
    }
    json!({"error": body})
}
