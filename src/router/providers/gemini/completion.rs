//! A whole reply as a chat completion.

use serde_json::{Map, Value, json};

use super::Malformed;
use super::reply::{self, Ending, Piece};

/// OpenAI's chat completion for Google's `reply`. `model` is how the caller calls the model, and `created` the time in
/// seconds since 1970.
///
/// A prompt that was blocked is a completion without content and with the `finish_reason` `content_filter`.
///
/// # Errors
/// Where the reply isn't one complete answer that can be told in full, or the model has failed.
pub fn completion(reply: &Value, model: &str, created: u64) -> Result<Value, Malformed> {
    let candidate = reply::candidate(reply)?;
    let id = reply::id(reply, created);
    let has_calls;
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    {
        let (mut content, mut thoughts, mut calls) = (None::<String>, String::new(), Vec::new());
        for piece in candidate.map_or_else(|| Ok(Vec::new()), reply::pieces)? {
            match piece {
                Piece::Text(text) => content.get_or_insert_default().push_str(text),
                Piece::Thought(text) => thoughts.push_str(text),
                Piece::Call(call) => calls.push(call.tool_call(&id, calls.len())),
            }
        }
        has_calls = !calls.is_empty();
        message.insert("content".into(), content.into());
        message.insert("refusal".into(), Value::Null);
        if !thoughts.is_empty() {
            message.insert("reasoning_content".into(), thoughts.into());
        }
        if has_calls {
            message.insert("tool_calls".into(), calls.into());
        }
    }
    let finish_reason = match reply::ending(reply, candidate) {
        Some(Ending::Failed(why)) => return Err(Malformed(format!("the model failed ({why})"))),
        Some(ending) => ending.finish_reason(has_calls),
        None if candidate.is_some() => return Err(Malformed("its answer has no finishReason".into())),
        None => return Err(Malformed("it has no answer".into())),
    };
    let mut completion = json!({
        "id": format!("chatcmpl-{id}"),
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason}],
    });
    if let (Some(usage), Value::Object(completion)) = (reply::usage(reply), &mut completion) {
        completion.insert("usage".into(), usage);
    }
    Ok(completion)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(parts: Value, reason: &str) -> Value {
        json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": 0}],
            "responseId": "r1", "modelVersion": "gemini-2.5-flash-001"})
    }

    fn choice(reply: &Value) -> Value {
        completion(reply, "m", 7).unwrap()["choices"][0].clone()
    }

    #[test]
    fn a_text_with_thoughts_and_usage() {
        let mut reply = reply(
            json!([{"text": "Let me think.", "thought": true}, {"text": "Gr\u{fc}ezi "}, {"text": "\u{1f44b}"}]),
            "STOP",
        );
        reply["usageMetadata"] = json!({"promptTokenCount": 4, "candidatesTokenCount": 3, "thoughtsTokenCount": 5,
            "totalTokenCount": 12});
        assert_eq!(
            completion(&reply, "fast", 1_700_000_000).unwrap(),
            json!({"id": "chatcmpl-r1", "object": "chat.completion", "created": 1_700_000_000, "model": "fast",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": "Gr\u{fc}ezi \u{1f44b}", "refusal": null,
                    "reasoning_content": "Let me think."}, "logprobs": null, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 4, "completion_tokens": 8, "total_tokens": 12,
                    "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 5}}})
        );
    }

    #[test]
    fn calls_have_ids_and_keep_their_signatures() {
        let reply = reply(
            json!([{"functionCall": {"name": "f", "args": {"a": [1]}}, "thoughtSignature": "c2ln"},
                {"functionCall": {"id": "own", "name": "g"}}]),
            "STOP",
        );
        assert_eq!(
            choice(&reply),
            json!({"index": 0, "finish_reason": "tool_calls", "logprobs": null, "message": {
                "role": "assistant", "content": null, "refusal": null, "tool_calls": [
                    {"id": "call_r1_0", "type": "function", "function": {"name": "f", "arguments": "{\"a\":[1]}"},
                        "extra_content": {"google": {"thought_signature": "c2ln"}}},
                    {"id": "own", "type": "function", "function": {"name": "g", "arguments": "{}"}}]}})
        );
    }

    #[test]
    fn endings_have_openais_words() {
        let text = json!([{"text": "a"}]);
        let call = json!([{"functionCall": {"name": "f"}}]);
        for (parts, reason, expected) in [
            (&text, "STOP", "stop"),
            (&call, "STOP", "tool_calls"),
            (&text, "MAX_TOKENS", "length"),
            (&call, "MAX_TOKENS", "length"),
            (&text, "SAFETY", "content_filter"),
            (&call, "RECITATION", "content_filter"),
            (&text, "OTHER", "content_filter"),
        ] {
            assert_eq!(choice(&reply(parts.clone(), reason))["finish_reason"], expected, "{reason}");
        }
    }

    #[test]
    fn what_was_blocked_is_a_completion_without_content() {
        let blocked =
            json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 2}});
        assert_eq!(
            completion(&blocked, "m", 7).unwrap(),
            json!({"id": "chatcmpl-7", "object": "chat.completion", "created": 7, "model": "m",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": null, "refusal": null}, "logprobs": null,
                    "finish_reason": "content_filter"}],
                "usage": {"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2,
                    "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}})
        );
        let filtered = json!({"candidates": [{"finishReason": "SAFETY", "safetyRatings": []}]});
        assert_eq!(choice(&filtered)["message"]["content"], Value::Null);
    }

    #[test]
    fn an_empty_answer_has_no_content_and_no_usage_is_made_up() {
        for parts in [json!([]), json!([{"text": ""}]), json!(null)] {
            let completion = completion(&reply(parts, "STOP"), "m", 7).unwrap();
            assert_eq!(completion["choices"][0]["message"]["content"], Value::Null);
            assert_eq!(completion.get("usage"), None);
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for reply in [
            json!({}),
            json!([]),
            json!(null),
            json!("x"),
            json!({"candidates": []}),
            json!({"candidates": [], "promptFeedback": {}}),
            json!({"candidates": [{"content": {"parts": [{"text": "a"}]}}]}),
            json!({"candidates": {"a": 1}}),
            json!({"error": {"message": "x"}}),
            reply(json!([{"inlineData": {}}]), "STOP"),
            reply(json!([{"text": "a"}]), "MALFORMED_FUNCTION_CALL"),
        ] {
            assert!(completion(&reply, "m", 7).is_err(), "{reply}");
        }
    }
}
