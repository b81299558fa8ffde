//! Errors: of whole replies, and as events of a stream.

use std::time::Duration;

use serde_json::{Value, json};

use crate::llm::ProviderError;

/// The status of an error in a stream that tells nothing of its kind.
const IN_STREAM: u16 = 502;

/// Reads the body of a refusal.
pub(super) fn read(status: u16, body: &[u8]) -> ProviderError {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    told(status, &parsed).unwrap_or_else(|| ProviderError::unreadable(status, body))
}

/// An error that came as an event of a stream, flat or as an `error` object, or in a response that failed.
pub(super) fn of_event(event: &Value) -> ProviderError {
    let place = [&event["response"]["error"], &event["error"], event].into_iter().find(|place| !place.is_null());
    let mut error = told(IN_STREAM, &json!({"error": place}))
        .unwrap_or_else(|| ProviderError::new(IN_STREAM, "the provider doesn't say why"));
    let kind = place.and_then(|place| place["type"].as_str()).unwrap_or_default();
    let told = [&event["status"], &event["status_code"], &event["error"]["code"]].into_iter().find_map(Value::as_u64);
    let told = told.and_then(|status| u16::try_from(status).ok()).filter(|status| (400..600).contains(status));
    error.status = told.unwrap_or(match error.code.as_deref().unwrap_or_default() {
        code if code.contains("rate_limit") || code.contains("quota") => 429,
        "server_is_overloaded" | "slow_down" => 503,
        "server_error" | "vector_store_timeout" => 500,
        code if code.starts_with("invalid_") || code.starts_with("context_length") || code.contains("image") => 400,
        _ if kind == "invalid_request_error" => 400,
        _ => IN_STREAM,
    });
    error
}

/// What `body` says of an error, in the shapes that servers of this API use.
fn told(status: u16, body: &Value) -> Option<ProviderError> {
    let error = &body["error"];
    let places = [&error["message"], error, &body["message"], &body["detail"], &body["detail"][0]["msg"]];
    let message = places.into_iter().find_map(|place| place.as_str().filter(|message| !message.trim().is_empty()))?;
    let text = |name: &str| error[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let (code, param) = (text("code"), text("param"));
    Some(ProviderError { status, message: message.to_owned(), code, param, retry_after: wait(message) })
}

/// The time in a message like `Please try again in 1m2.5s.`, or `… in 857ms.`.
fn wait(message: &str) -> Option<Duration> {
    let mut rest = message.split_once("try again in ")?.1;
    let mut seconds = 0.0;
    while let Some(end) = rest.find(|c: char| !c.is_ascii_digit() && c != '.') {
        let (number, unit) = rest.split_at(end);
        let unit_of = |(name, _): &(&str, f64)| unit.starts_with(name);
        let found = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)].into_iter().find(unit_of);
        let (Ok(number), Some((name, size))) = (number.parse::<f64>(), found) else { break };
        seconds += number * size;
        rest = unit.get(name.len()..)?;
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|wait| !wait.is_zero())
}

/// Writes an error's body.
pub(super) fn write(error: &ProviderError) -> Value {
    let (kind, usual_code) = match error.status {
        401 => ("authentication_error", Some("invalid_api_key")),
        403 => ("permission_error", None),
        404 => ("not_found_error", None),
        408 | 424 | 500.. => ("server_error", Some("server_error")),
        429 => ("rate_limit_error", Some("rate_limit_exceeded")),
        _ => ("invalid_request_error", None),
    };
    let code = error.code.as_deref().or(usual_code);
    json!({"error": {"message": error.message, "type": kind, "param": error.param, "code": code}})
}
