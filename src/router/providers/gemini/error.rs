//! Google's errors as OpenAI's.

use std::time::Duration;

use serde_json::{Value, json};

/// How much of a body is told that isn't Google's error object.
const MOST: usize = 500;

/// OpenAI's error object for a reply with the status `status` that isn't 200.
#[must_use]
pub fn error(status: u16, body: &[u8]) -> Value {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let fault = Fault::read(status, parsed.as_ref().map_or(&Value::Null, only));
    let message = fault.message.unwrap_or_else(|| {
        let text: String = String::from_utf8_lossy(body).trim().chars().take(MOST).collect();
        // A page of HTML, or JSON of a shape that isn't known, would tell a caller nothing.
        if text.is_empty() || text.starts_with(['<', '{', '[']) {
            format!("the provider answered with status {status}")
        } else {
            text
        }
    });
    json!({"error": {"message": message, "type": fault.kind, "param": null, "code": fault.code}})
}

/// How long Google asks to wait before the next try, if it does.
#[must_use]
pub fn retry_delay(body: &[u8]) -> Option<Duration> {
    let parsed: Value = serde_json::from_slice(body).ok()?;
    let details = only(&parsed)["error"]["details"].as_array()?;
    let info = details.iter().find(|detail| {
        let kind = detail["@type"].as_str().unwrap_or_default();
        kind.ends_with("google.rpc.RetryInfo")
    })?;
    let seconds: f64 = info["retryDelay"].as_str()?.trim().strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The one object of a body: where a stream was asked for, Google's errors come in a list.
fn only(body: &Value) -> &Value {
    body.get(0).unwrap_or(body)
}

/// What an error object says.
pub(super) struct Fault {
    pub(super) message: Option<String>,
    /// OpenAI's word for this kind of error.
    pub(super) kind: &'static str,
    code: Option<String>,
}

impl Fault {
    /// Reads the object that `error` is a member of.
    pub(super) fn read(status: u16, body: &Value) -> Self {
        let error = &body["error"];
        // The servers that hand out tokens write errors as OAuth has them.
        let told = error["message"].as_str().or_else(|| body["error_description"].as_str()).or_else(|| error.as_str());
        let message = told.map(str::trim).filter(|message| !message.is_empty()).map(str::to_owned);
        let text = message.as_deref().unwrap_or_default();
        let code = error["status"].as_str().or_else(|| error.as_str()).map(str::to_owned);
        // These two are told by their words only, and clients look for OpenAI's codes.
        if text.contains("API key not valid") {
            return Self { message, kind: "authentication_error", code: Some("invalid_api_key".into()) };
        }
        if status == 400 && text.contains("token count") && text.contains("exceeds the maximum") {
            return Self { message, kind: "invalid_request_error", code: Some("context_length_exceeded".into()) };
        }
        Self { message, kind: kind(status), code }
    }

    /// Reads an event of a stream, if it is an error: its status is in it, because the reply's was 200.
    pub(super) fn in_stream(event: &Value) -> Option<Self> {
        let body = only(event);
        let error = body.get("error").filter(|error| !error.is_null())?;
        let status = error["code"].as_u64().and_then(|code| u16::try_from(code).ok());
        Some(Self::read(status.unwrap_or(500), body))
    }
}

fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: &str = r#"{"error": {"code": 429, "message": "You exceeded your quota.", "status": "RESOURCE_EXHAUSTED",
        "details": [{"@type": "type.googleapis.com/google.rpc.QuotaFailure"},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17s"}]}}"#;

    fn told(status: u16, body: &str) -> (String, String, Value) {
        let error = error(status, body.as_bytes());
        assert_eq!(error["error"]["param"], Value::Null);
        let text = |name: &str| error["error"][name].as_str().unwrap().to_owned();
        (text("message"), text("type"), error["error"]["code"].clone())
    }

    #[test]
    fn an_error_keeps_its_message_and_code() {
        let expected =
            ("You exceeded your quota.".to_owned(), "rate_limit_error".to_owned(), json!("RESOURCE_EXHAUSTED"));
        assert_eq!(told(429, QUOTA), expected);
        assert_eq!(told(429, &format!("[{QUOTA}]")), expected);
    }

    #[test]
    fn kinds_follow_the_status() {
        for (status, kind) in [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (403, "permission_error"),
            (404, "not_found_error"),
            (409, "invalid_request_error"),
            (500, "server_error"),
            (503, "server_error"),
        ] {
            assert_eq!(told(status, r#"{"error": {"message": "x"}}"#), ("x".into(), kind.into(), Value::Null));
        }
    }

    #[test]
    fn codes_that_clients_look_for_are_openais() {
        let (_, kind, code) = told(
            400,
            r#"{"error": {"message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"}}"#,
        );
        assert_eq!((kind.as_str(), code), ("authentication_error", json!("invalid_api_key")));
        let (_, kind, code) = told(
            400,
            r#"{"error": {"message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048575).",
                "status": "INVALID_ARGUMENT"}}"#,
        );
        assert_eq!((kind.as_str(), code), ("invalid_request_error", json!("context_length_exceeded")));
    }

    #[test]
    fn bodies_of_any_form_are_told() {
        let nothing = "the provider answered with status 502";
        for body in
            ["", "  ", "<html>Bad gateway</html>", "{}", "[]", "{\"error\": {}}", "{\"error\": {\"message\": \"\"}}"]
        {
            assert_eq!(told(502, body), (nothing.into(), "server_error".into(), Value::Null), "{body}");
        }
        assert_eq!(told(502, " upstream gone \n").0, "upstream gone");
        assert_eq!(told(502, &"\u{fc}".repeat(9_000)).0.chars().count(), MOST);
        assert!(error(502, b"\xff\xfe")["error"]["message"].is_string());
        assert_eq!(
            told(400, r#"{"error": "invalid_grant", "error_description": "Account not found"}"#),
            ("Account not found".into(), "invalid_request_error".into(), json!("invalid_grant"))
        );
    }

    #[test]
    fn waits_are_read() {
        assert_eq!(retry_delay(QUOTA.as_bytes()), Some(Duration::from_secs(17)));
        assert_eq!(retry_delay(format!("[{QUOTA}]").as_bytes()), Some(Duration::from_secs(17)));
        for (delay, expected) in [
            ("0.5s", Some(Duration::from_millis(500))),
            ("0s", Some(Duration::ZERO)),
            ("-1s", None),
            ("1e400s", None),
            ("NaNs", None),
            ("17", None),
            ("s", None),
            ("", None),
        ] {
            assert_eq!(retry_delay(QUOTA.replace("17s", delay).as_bytes()), expected, "{delay}");
        }
        for body in ["", "{}", "[]", "{\"error\": {\"details\": 5}}", "{\"error\": {\"details\": [5]}}", "oops"] {
            assert_eq!(retry_delay(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn errors_are_found_in_streams() {
        let fault = Fault::in_stream(&serde_json::from_str(QUOTA).unwrap()).unwrap();
        assert_eq!((fault.message.as_deref(), fault.kind), (Some("You exceeded your quota."), "rate_limit_error"));
        assert_eq!(Fault::in_stream(&json!([{"error": {}}])).unwrap().kind, "server_error");
        assert_eq!(Fault::in_stream(&json!({"error": {"code": 1_000_000}})).unwrap().kind, "server_error");
        for none in [json!({"candidates": []}), json!({"error": null}), json!([]), json!("x")] {
            assert!(Fault::in_stream(&none).is_none(), "{none}");
        }
    }
}
