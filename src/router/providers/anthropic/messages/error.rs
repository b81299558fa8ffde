//! Errors as Anthropic writes them.

use serde_json::{Value, json};

/// The error body for a reply with this status.
#[must_use]
pub fn error(status: u16, message: &str) -> Value {
    json!({"type": "error", "error": {"type": super::super::error::kind(status), "message": message}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_follows_from_the_status() {
        assert_eq!(
            error(429, "Slow down"),
            json!({"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down"}})
        );
        for (status, kind) in [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (403, "permission_error"),
            (404, "not_found_error"),
            (413, "request_too_large"),
            (422, "invalid_request_error"),
            (500, "api_error"),
            (502, "api_error"),
            (503, "overloaded_error"),
            (529, "overloaded_error"),
        ] {
            assert_eq!(error(status, "")["error"]["type"], kind, "{status}");
        }
    }
}
