//! Bedrock's errors as OpenAI's.

use serde_json::{Value, json};

/// How much of a body is told that isn't Bedrock's error object.
const MOST: usize = 500;
/// What Bedrock and the models behind it say of a conversation that is too long.
const TOO_LONG: [&str; 4] =
    ["Input is too long", "prompt is too long", "exceed context limit", "too many total text bytes"];

/// OpenAI's error object for a reply with the status `status` that isn't 200. `kind` is what its header
/// `x-amzn-errortype` says.
#[must_use]
pub fn error(status: u16, kind: Option<&str>, body: &[u8]) -> Value {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let fault = Fault::read(status, kind, &parsed);
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

/// What an error says.
pub(super) struct Fault {
    pub(super) message: Option<String>,
    /// OpenAI's word for this kind of error.
    pub(super) kind: &'static str,
    /// The name of AWS's exception, unless clients look for a code of OpenAI's.
    code: Option<String>,
}

impl Fault {
    /// Reads an error's body; `kind` names the exception, or else the body does.
    pub(super) fn read(status: u16, kind: Option<&str>, body: &Value) -> Self {
        // AWS's front doors write it large, and what stands between may have the shape of others.
        let told = body["message"].as_str().or_else(|| body["Message"].as_str());
        let told = told.or_else(|| body["error"]["message"].as_str()).or_else(|| body["originalMessage"].as_str());
        let message = told.map(str::trim).filter(|message| !message.is_empty()).map(str::to_owned);
        let name = kind.and_then(exception).or_else(|| body["__type"].as_str().and_then(exception));
        let kind = openai_kind(status, name.as_deref().unwrap_or_default());
        let is_too_long = message.as_deref().is_some_and(|text| TOO_LONG.iter().any(|words| text.contains(words)));
        // Agents shorten their history when they see this code.
        let code = if kind == "invalid_request_error" && is_too_long {
            Some("context_length_exceeded".to_owned())
        } else {
            name
        };
        Self { message, kind, code }
    }
}

/// The name of an exception, which may have an address after it and a namespace before, and in streams begins small.
fn exception(kind: &str) -> Option<String> {
    let name = kind.split(':').next().unwrap_or_default();
    let name = name.rsplit('#').next().unwrap_or_default().trim();
    let mut letters = name.chars();
    let first = letters.next()?;
    Some(first.to_ascii_uppercase().to_string() + letters.as_str())
}

fn openai_kind(status: u16, exception: &str) -> &'static str {
    match exception {
        "ThrottlingException" | "TooManyRequestsException" | "ServiceQuotaExceededException" => "rate_limit_error",
        "AccessDeniedException" => "permission_error",
        // AWS answers these with 403 as well.
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException"
        | "ExpiredTokenException" => "authentication_error",
        "ResourceNotFoundException" | "UnknownOperationException" => "not_found_error",
        "ValidationException" | "SerializationException" => "invalid_request_error",
        // Some have statuses that put the blame on the caller.
        "InternalServerException"
        | "ModelErrorException"
        | "ModelNotReadyException"
        | "ModelStreamErrorException"
        | "ModelTimeoutException"
        | "ServiceUnavailableException" => "server_error",
        _ => match status {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            408 | 424 | 500.. => "server_error",
            _ => "invalid_request_error",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, kind: Option<&str>, body: &str) -> (String, String, Value) {
        let error = error(status, kind, body.as_bytes());
        assert_eq!(error["error"]["param"], Value::Null);
        let text = |name: &str| error["error"][name].as_str().unwrap().to_owned();
        (text("message"), text("type"), error["error"]["code"].clone())
    }

    #[test]
    fn an_exception_has_a_kind_and_its_name_is_the_code() {
        for (status, name, kind) in [
            (400, "ValidationException", "invalid_request_error"),
            (403, "AccessDeniedException", "permission_error"),
            (403, "UnrecognizedClientException", "authentication_error"),
            (403, "ExpiredTokenException", "authentication_error"),
            (404, "ResourceNotFoundException", "not_found_error"),
            (408, "ModelTimeoutException", "server_error"),
            (424, "ModelErrorException", "server_error"),
            (429, "ThrottlingException", "rate_limit_error"),
            (429, "ModelNotReadyException", "server_error"),
            (500, "InternalServerException", "server_error"),
            (503, "ServiceUnavailableException", "server_error"),
        ] {
            let expected = ("x".to_owned(), kind.to_owned(), json!(name));
            let header = format!("{name}:http://internal.amazon.com/coral/com.amazon.bedrock/");
            assert_eq!(told(status, Some(name), r#"{"message": "x"}"#), expected);
            assert_eq!(told(status, Some(&header), r#"{"Message": " x "}"#), expected);
            let body = json!({"__type": format!("com.amazon.coral.service#{name}"), "message": "x"});
            assert_eq!(told(status, None, &body.to_string()), expected);
        }
    }

    #[test]
    fn statuses_tell_where_no_exception_does() {
        for (status, kind) in [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (403, "permission_error"),
            (404, "not_found_error"),
            (424, "server_error"),
            (429, "rate_limit_error"),
            (503, "server_error"),
        ] {
            let body = r#"{"type": "error", "error": {"type": "y", "message": "x"}}"#;
            assert_eq!(told(status, None, body), ("x".into(), kind.into(), Value::Null));
            assert_eq!(told(status, Some("NewException"), body), ("x".into(), kind.into(), json!("NewException")));
        }
    }

    #[test]
    fn a_conversation_that_is_too_long_has_openais_code() {
        for message in [
            "Input is too long for requested model.",
            "The model returned the following errors: prompt is too long: 9 tokens > 8 maximum",
            "input length and `max_tokens` exceed context limit: 9 + 1 > 8",
        ] {
            let (_, kind, code) = told(400, Some("ValidationException"), &json!({"message": message}).to_string());
            assert_eq!((kind.as_str(), code), ("invalid_request_error", json!("context_length_exceeded")));
        }
    }

    #[test]
    fn bodies_of_any_form_are_told() {
        let nothing = "the provider answered with status 502";
        for body in ["", "  ", "<html>Bad gateway</html>", "{}", "[]", "{\"message\": \"\"}", "{\"message\": 5}"] {
            assert_eq!(told(502, Some(""), body), (nothing.into(), "server_error".into(), Value::Null), "{body}");
        }
        assert_eq!(told(502, None, " upstream gone \n").0, "upstream gone");
        assert_eq!(told(502, None, &"\u{fc}".repeat(9_000)).0.chars().count(), MOST);
        assert!(error(502, None, b"\xff\xfe")["error"]["message"].is_string());
    }

    #[test]
    fn names_in_streams_begin_small() {
        let fault = Fault::read(500, Some("throttlingException"), &json!({"message": "slow down"}));
        assert_eq!((fault.message.as_deref(), fault.kind), (Some("slow down"), "rate_limit_error"));
        let fault = Fault::read(500, Some("modelStreamErrorException"), &json!({"originalMessage": "gone"}));
        assert_eq!((fault.message.as_deref(), fault.kind), (Some("gone"), "server_error"));
    }
}
