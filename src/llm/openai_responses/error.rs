//! Errors: of whole replies, and as events of a stream.

use std::time::Duration;

use serde_json::Value;

use crate::llm::ProviderError;
use crate::llm::openai::{self, IN_STREAM};

/// Reads the body of a refusal.
pub(super) fn read(status: u16, body: &[u8]) -> ProviderError {
    with_wait(openai::read_error(status, body))
}

/// An error that came as an event of a stream, flat or as an `error` object, or in a response that failed.
pub(super) fn of_event(event: &Value) -> ProviderError {
    let places = [&event["response"]["error"], &event["error"], event];
    let place = places.into_iter().find(|place| !place.is_null()).unwrap_or(event);
    let error = openai::error_in_stream(place);
    let told = openai::status_in(event).or_else(|| openai::status_in(&event["error"]));
    let status = told.unwrap_or(match error.code.as_deref().unwrap_or_default() {
        code if code.contains("rate_limit") || code.contains("quota") => 429,
        "server_is_overloaded" | "slow_down" => 503,
        "server_error" | "vector_store_timeout" => 500,
        code if code.starts_with("invalid_") || code.starts_with("context_length") || code.contains("image") => 400,
        _ if place["type"] == "invalid_request_error" => 400,
        _ => IN_STREAM,
    });
    with_wait(ProviderError { status, ..error })
}

fn with_wait(error: ProviderError) -> ProviderError {
    ProviderError { retry_after: wait(&error.message), ..error }
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
