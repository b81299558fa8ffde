//! Anthropic's Messages API, seen from OpenAI's chat completions: a request on its way to an Anthropic provider, and
//! what comes back. [`messages`] is the other way about: callers who speak Anthropic's API to providers who speak
//! OpenAI's.
//!
//! Everything here is pure: values in, values out. What has no counterpart is dropped where the answer means the same
//! without it, and is an error with a sentence for the caller where it doesn't.

mod completion;
mod conversation;
mod error;
pub mod messages;
mod record;
mod request;
mod stream;

use std::fmt::Display;

use serde_json::Value;

pub use completion::completion;
pub use error::error;
pub use record::{has_ended, is_told_over, record, record_stream};
pub use request::request;
pub use stream::Chunks;

/// A request that can't be said in the other API. The sentence is for the caller, and names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unconvertible(String);

/// A reply that isn't what the provider's API promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the provider's reply can't be read: {0}")]
pub struct Malformed(String);

/// Why a stream can't be told any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    /// The provider says so itself, in an event: its message, and its type of the error.
    #[error("the provider broke off: {0}")]
    Upstream(String, String),
    /// It isn't what the provider's API promises.
    #[error("the provider's stream can't be read: {0}")]
    Malformed(String),
    /// It ended, and nothing in it said that the answer had.
    #[error("the provider's stream ended before its answer did")]
    BrokenOff,
}

fn unconvertible(field: impl Display, why: impl Display) -> Unconvertible {
    Unconvertible(format!("`{field}` {why}"))
}

/// The error that an event or a chunk tells of.
fn upstream_fault(error: &Value) -> StreamFault {
    let message = error["message"].as_str().or(error.as_str()).unwrap_or("it doesn't say why");
    let kind = error["type"].as_str().unwrap_or("api_error");
    StreamFault::Upstream(error::shortened(message), kind.to_owned())
}

/// What stands for a schema where a function takes nothing.
fn empty_schema() -> Value {
    serde_json::json!({"type": "object", "properties": {}})
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `value` with each of its nodes in turn replaced by each of some odd values, or followed by it.
    fn spoilt(value: &Value) -> Vec<Value> {
        let odd = [
            json!(null),
            json!(true),
            json!(-1.5),
            json!(u64::MAX),
            json!(""),
            json!("\u{fc}{"),
            json!([]),
            json!([[5]]),
            json!({}),
            json!({"type": "x"}),
        ];
        let mut all = odd.to_vec();
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
        let schema = json!({"type": "object", "properties": {"a": {"items": {"type": "object"}}}});
        let chat = json!({
            "model": "m", "max_tokens": 5, "temperature": 1, "top_p": 0.5, "stop": ["a"], "user": "u", "stream": true,
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": [
                    {"type": "text", "text": "t", "cache_control": {}},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "file", "file": {"filename": "f", "file_data": "data:application/pdf;base64,AAAA"}}]},
                {"role": "assistant", "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "a", "content": "r"},
                {"role": "assistant", "content": "c "},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "parallel_tool_calls": false,
            "tool_choice": {"type": "function", "function": {"name": "f"}}, "reasoning_effort": "low", "metadata": {},
            "thinking": {"type": "enabled", "budget_tokens": 7}, "output_config": {},
            "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
        });
        for chat in spoilt(&chat) {
            if let Ok(body) = request(&chat, "m") {
                let _ = messages::to_chat(&body);
            }
        }
        let anthropic = request(&chat, "m").unwrap();
        for body in spoilt(&anthropic) {
            let _ = messages::to_chat(&body);
        }
        let message = json!({"id": "msg_1", "model": "m", "stop_reason": "end_turn", "usage": {"input_tokens": 1}, "content": [
            {"type": "thinking", "thinking": "t"}, {"type": "text", "text": "a", "citations": [{"url": "u"}]},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}]});
        for message in spoilt(&message) {
            if let Ok(completion) = completion(&message, 5) {
                let _ = messages::reply(&completion);
            }
            let _ = error(500, message.to_string().as_bytes());
        }
        for completion in spoilt(&completion(&message, 5).unwrap()) {
            let _ = messages::reply(&completion);
            let _ = messages::stream_events(&completion);
        }
    }

    #[test]
    fn whatever_a_stream_says_nothing_panics() {
        let whole = json!({"id": "c", "model": "m", "usage": {"prompt_tokens": 1}, "choices": [{"finish_reason": "stop",
            "message": {"content": "a", "reasoning": "b", "tool_calls": [
                {"id": "a", "function": {"name": "f", "arguments": "{\"x\":1}"}}, {"id": "b", "function": {"name": "g"}}]}}]});
        let events: Vec<Value> = messages::stream_events(&whole).unwrap().into_iter().map(|(_, event)| event).collect();
        let play = |events: &[Value]| {
            let (mut chunks, mut out) = (Chunks::new(5, true), Vec::new());
            for event in events {
                let _ = chunks.event(&event.to_string(), &mut out);
            }
            out
        };
        let chunks = play(&events);
        let play_back = |chunks: &[Value]| {
            let (mut events, mut out) = (messages::Events::new("m"), Vec::new());
            for chunk in chunks {
                let _ = events.chunk(chunk, &mut out);
            }
            events.finish(&mut out).map(|()| out)
        };
        assert!(play_back(&chunks).is_ok());
        for events in spoilt(&events.into()) {
            play(events.as_array().map_or(&[], Vec::as_slice));
        }
        for chunks in spoilt(&chunks.into()) {
            let _ = play_back(chunks.as_array().map_or(&[], Vec::as_slice));
        }
    }
}
