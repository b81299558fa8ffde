//! Amazon Bedrock's Converse API (`bedrock-runtime`, 2023-09-30), to and from OpenAI's chat completions.
//!
//! Everything here is pure: bytes and JSON in, JSON out, times handed in. Signatures and the framing of streams are the
//! caller's, who hands in what is in the frames.

mod completion;
mod conversation;
mod error;
mod maker;
mod media;
mod path;
mod reply;
mod request;
mod schema;
mod stream;
mod tools;

pub use completion::completion;
pub use error::error;
pub use path::path;
pub use request::request;
pub use stream::Chunks;

pub use super::fault::{Malformed, StreamFault, Unconvertible};

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn messages_say_where_and_why() {
        let error = Unconvertible::new("n", "only one answer can be asked for");
        assert_eq!(error.to_string(), "`n` can't be sent to this model: only one answer can be asked for");
        assert_eq!(StreamFault::from(Malformed("x".into())).to_string(), "the provider's reply is not understood: x");
    }

    /// `value` with each of its nodes in turn replaced by each of some odd values.
    fn spoilt(value: &Value) -> Vec<Value> {
        let mut all = vec![
            json!(null),
            json!(true),
            json!(-1.5),
            json!(u64::MAX),
            json!("\u{fc}{"),
            json!([[5]]),
            json!({"": {}}),
        ];
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    for other in spoilt(item) {
                        let mut items = items.clone();
                        items[index] = other;
                        all.push(items.into());
                    }
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    for other in spoilt(member) {
                        let mut members = members.clone();
                        members.insert(name.clone(), other);
                        all.push(members.into());
                    }
                }
            }
            _ => {}
        }
        all
    }

    #[test]
    fn whatever_comes_nothing_panics() {
        let chat = json!({
            "max_tokens": 5, "temperature": 1, "top_p": 0.5, "top_k": 3, "stop": ["a"], "reasoning_effort": "low",
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": [{"type": "text", "text": "t"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "file", "file": {"filename": "f", "file_data": "data:application/pdf;base64,AAAA"}}]},
                {"role": "assistant", "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "a", "content": "r"},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}}, "additionalModelRequestFields": {"a": 1},
            "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
        });
        for chat in spoilt(&chat) {
            let _ = request(&chat, "us.anthropic.claude-sonnet-4-5-20250929-v1:0");
        }
        let reply = json!({"output": {"message": {"content": [{"reasoningContent": {"reasoningText": {"text": "h"}}},
            {"text": "a"}, {"citationsContent": {"content": [{"text": "b"}]}},
            {"toolUse": {"toolUseId": "t", "name": "f", "input": {"x": 1}}}]}},
            "stopReason": "tool_use", "usage": {"inputTokens": 1}});
        for reply in spoilt(&reply) {
            let _ = completion(&reply, "m", 7);
            let _ = error(500, Some("\u{fc}:#"), reply.to_string().as_bytes());
        }
        for (kind, event) in [
            (
                "contentBlockStart",
                json!({"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}}),
            ),
            ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"toolUse": {"input": "{"}}})),
            ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "h"}}})),
            ("contentBlockStop", json!({"contentBlockIndex": 0})),
            ("messageStop", json!({"stopReason": "end_turn"})),
            ("metadata", json!({"usage": {"inputTokens": 1}})),
            ("throttlingException", json!({"message": "m"})),
        ] {
            for event in spoilt(&event) {
                let (mut chunks, mut made) = (Chunks::new("m", 7, true), Vec::new());
                let _ = chunks.event(kind, &event.to_string(), &mut made);
                let _ = chunks.finish(&mut made);
            }
        }
    }
}
