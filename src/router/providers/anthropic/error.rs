//! An Anthropic provider's error, in OpenAI's shape.

use serde_json::{Value, json};

/// Characters of a body that is no error message, at most: enough to recognise a proxy's page by.
const SHOWN: usize = 300;
/// Characters of an error message in a stream, at most.
const LONG: usize = 500;

/// The error object for a reply with this status and body. Anthropic's type stays; `code` is OpenAI's word for it,
/// where there is one that clients look for.
#[must_use]
pub fn error(status: u16, body: &[u8]) -> Value {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &parsed["error"];
    let told = error["message"].as_str().or(error.as_str()).or(parsed["message"].as_str());
    let message = match told {
        Some(message) if !message.trim().is_empty() => message.to_owned(),
        _ => unreadable(status, body),
    };
    let kind = error["type"].as_str().filter(|kind| !kind.is_empty()).unwrap_or(kind(status));
    let code = code(kind, &message);
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

/// Anthropic's type of an error with this status.
pub(super) fn kind(status: u16) -> &'static str {
    match status {
        400 | 422 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        _ => "api_error",
    }
}

/// A message as far as it is worth passing on.
pub(super) fn shortened(message: &str) -> String {
    first(message, LONG)
}

fn code(kind: &str, message: &str) -> Option<&'static str> {
    match kind {
        "authentication_error" => Some("invalid_api_key"),
        "rate_limit_error" => Some("rate_limit_exceeded"),
        // Agents shorten their history when they see this code.
        "invalid_request_error" if message.contains("prompt is too long") => Some("context_length_exceeded"),
        _ => None,
    }
}

fn unreadable(status: u16, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut words: Vec<&str> = Vec::new();
    let mut length = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        length += word.len();
        words.push(word);
        if length > SHOWN * 4 {
            break;
        }
    }
    if words.is_empty() {
        format!("the provider answered with status {status} and no explanation")
    } else {
        format!("the provider answered with status {status} and: {}", first(&words.join(" "), SHOWN))
    }
}

fn first(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}\u{2026}", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, body: &str) -> Value {
        error(status, body.as_bytes())["error"].clone()
    }

    #[test]
    fn the_message_and_the_type_are_the_providers() {
        let body = r#"{"type":"error","error":{"type":"rate_limit_error","message":"Slow down"},"request_id":"req_1"}"#;
        assert_eq!(
            error(429, body.as_bytes()),
            json!({"error": {"message": "Slow down", "type": "rate_limit_error", "param": null, "code": "rate_limit_exceeded"}})
        );
        let long = r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}"#;
        assert_eq!(told(400, long)["code"], "context_length_exceeded");
        let key = r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#;
        assert_eq!(told(401, key)["code"], "invalid_api_key");
    }

    #[test]
    fn other_shapes_are_read_as_far_as_they_go() {
        assert_eq!(told(500, r#"{"error": "boom"}"#)["message"], "boom");
        assert_eq!(told(404, r#"{"message": "no such path"}"#)["message"], "no such path");
        assert_eq!(told(404, r#"{"message": "no such path"}"#)["type"], "not_found_error");
        assert_eq!(told(529, r#"{"error": {"message": ""}}"#)["type"], "overloaded_error");
    }

    #[test]
    fn rubbish_gives_a_sentence_with_the_status_and_is_cut() {
        assert_eq!(told(502, "")["message"], "the provider answered with status 502 and no explanation");
        let page = told(502, "<html>\r\n\t<b>Bad\u{0}Gateway</b>");
        assert_eq!(page["message"], "the provider answered with status 502 and: <html> <b>Bad Gateway</b>");
        assert_eq!((&page["type"], &page["code"]), (&json!("api_error"), &Value::Null));
        for rubbish in ["x".repeat(100_000), "\u{1f44b} ".repeat(9000), format!("[\"{}\"]", "y".repeat(9000))] {
            let message = told(503, &rubbish)["message"].as_str().unwrap().to_owned();
            assert!(message.contains("503") && message.chars().count() < 500, "{message}");
        }
        assert!(error(500, &[0xff, 0xfe, 0x00])["error"]["message"].as_str().unwrap().contains("500"));
    }
}
