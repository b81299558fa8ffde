//! What whole replies and streams have in common.

use serde_json::{Value, json};

/// The id of a reply. Bedrock gives none in its bodies, so it is made of the time.
pub(super) fn id(created: u64) -> String {
    format!("chatcmpl-{created}")
}

/// OpenAI's word for why the model stopped; nothing where it has failed, which is no answer that was cut or filtered:
/// asking again may well succeed. A reason that isn't known is told as `length`: nobody takes such an answer for a whole
/// one.
pub(super) fn finish_reason(stop_reason: &str, has_calls: bool) -> Option<&'static str> {
    match stop_reason {
        // Some models say that they are done where they have called something.
        "end_turn" | "stop_sequence" if has_calls => Some("tool_calls"),
        "end_turn" | "stop_sequence" => Some("stop"),
        "tool_use" => Some("tool_calls"),
        "guardrail_intervened" | "content_filtered" | "refusal" => Some("content_filter"),
        "malformed_model_output" | "malformed_tool_use" => None,
        _ => Some("length"),
    }
}

/// What is said of a model that has failed.
pub(super) fn failure(stop_reason: &str) -> String {
    format!("the model failed ({stop_reason})")
}

/// OpenAI's usage, if it is told. Bedrock counts what it read from its cache and wrote to it apart, OpenAI all together.
pub(super) fn usage(usage: &Value) -> Option<Value> {
    usage.is_object().then(|| {
        let count = |name: &str| usage[name].as_u64().unwrap_or(0);
        let cached = count("cacheReadInputTokens");
        let prompt = count("inputTokens").saturating_add(cached).saturating_add(count("cacheWriteInputTokens"));
        let completion = count("outputTokens");
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt.saturating_add(completion),
            "prompt_tokens_details": {"cached_tokens": cached},
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_to_stop() {
        for (stop_reason, expected) in [
            ("end_turn", Some("stop")),
            ("stop_sequence", Some("stop")),
            ("tool_use", Some("tool_calls")),
            ("max_tokens", Some("length")),
            ("model_context_window_exceeded", Some("length")),
            ("guardrail_intervened", Some("content_filter")),
            ("content_filtered", Some("content_filter")),
            ("malformed_model_output", None),
            ("malformed_tool_use", None),
            ("unheard_of", Some("length")),
        ] {
            assert_eq!(finish_reason(stop_reason, false), expected, "{stop_reason}");
        }
        assert_eq!(finish_reason("end_turn", true), Some("tool_calls"));
        assert_eq!(finish_reason("max_tokens", true), Some("length"));
    }

    #[test]
    fn usage_counts_what_was_cached() {
        let told = json!({"inputTokens": 10, "outputTokens": 7, "totalTokens": 40, "cacheReadInputTokens": 20,
            "cacheWriteInputTokens": 3, "cacheDetails": []});
        assert_eq!(
            usage(&told),
            Some(json!({"prompt_tokens": 33, "completion_tokens": 7, "total_tokens": 40,
                "prompt_tokens_details": {"cached_tokens": 20}}))
        );
        let most = usage(&json!({"inputTokens": u64::MAX, "outputTokens": 1, "cacheReadInputTokens": null})).unwrap();
        assert_eq!(most["total_tokens"], u64::MAX);
        assert_eq!((usage(&Value::Null), usage(&json!(5))), (None, None));
    }
}
