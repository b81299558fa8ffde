//! A streamed reply put together again.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Map, Value, json};
use sse_stream::SseByteStream;

use super::completion::{NotKept, Recording, is_blank, recording};

/// Fields of a delta whose pieces are strings to be joined.
const TEXTS: [&str; 4] = ["content", "refusal", "reasoning_content", "reasoning"];
/// The field of a stream's object that says so, and what it says of a whole reply.
const OBJECT: (&str, &str) = ("object", "chat.completion");

/// What is kept of a streamed reply, as the chat completion that it would have been without streaming.
///
/// Only a stream with its end mark `[DONE]` and without an error event is complete. A delta with a field that isn't
/// known to be joinable makes the whole not kept: better none than a wrong one.
///
/// # Errors
/// See [`NotKept`].
pub async fn record_stream(body: Bytes) -> Result<Recording, NotKept> {
    let mut events = SseByteStream::new(stream::iter([Ok::<_, Infallible>(body)]));
    let mut whole = Whole::default();
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| NotKept::Malformed(error.to_string()))?;
        if event.event.as_deref() == Some("error") {
            return Err(NotKept::Incomplete("error".into()));
        }
        match event.data.as_deref() {
            None | Some("") => {}
            Some("[DONE]") => return whole.finish(),
            Some(data) => {
                let chunk = serde_json::from_str(data).map_err(|error| NotKept::Malformed(error.to_string()))?;
                whole.add(chunk)?;
            }
        }
    }
    Err(NotKept::BrokenOff)
}

/// Whether a body that ends with `end` ends with the end mark, so that nothing more can follow: many clients close the
/// connection then, and don't wait for the provider to close its own.
#[must_use]
pub fn has_ended(end: &[u8]) -> bool {
    let event = end.trim_ascii_end();
    let blank_line = ["\n\n", "\r\n\r\n", "\r\r"].iter().any(|line| end.ends_with(line.as_bytes()));
    blank_line && (event.ends_with(b"data: [DONE]") || event.ends_with(b"data:[DONE]"))
}

/// Whether the last bytes of a stream have the end mark, or an error of the provider's, which is its end too.
#[must_use]
pub fn is_told_over(end: &[u8]) -> bool {
    let is_mark = |data: &[u8]| data == b"[DONE]";
    data_lines(end).any(is_mark) || events(end).any(|event| !is_blank(&event["error"]))
}

/// Whether the last bytes of a stream say why the answer ends.
#[must_use]
pub fn says_why(end: &[u8]) -> bool {
    let has_reason = |choice: &Value| choice["finish_reason"].is_string();
    events(end).any(|event| event["choices"].as_array().is_some_and(|choices| choices.iter().any(has_reason)))
}

fn data_lines(end: &[u8]) -> impl Iterator<Item = &[u8]> {
    end.split(|byte| matches!(byte, b'\n' | b'\r')).filter_map(|line| Some(line.strip_prefix(b"data:")?.trim_ascii()))
}

fn events(end: &[u8]) -> impl Iterator<Item = Value> {
    data_lines(end).filter_map(|data| serde_json::from_slice(data).ok())
}

/// The completion so far.
#[derive(Default)]
struct Whole {
    completion: Map<String, Value>,
    choice: Map<String, Value>,
    message: Map<String, Value>,
    tool_calls: Vec<Value>,
}

impl Whole {
    fn add(&mut self, chunk: Value) -> Result<(), NotKept> {
        let Value::Object(chunk) = chunk else { return Err(NotKept::Malformed("a chunk is no object".into())) };
        if chunk.get("error").is_some_and(|error| !is_blank(error)) {
            return Err(NotKept::Incomplete("error".into()));
        }
        for (key, value) in chunk {
            match (key.as_str(), value) {
                ("choices", Value::Array(choices)) => choices.into_iter().try_for_each(|choice| self.choice(choice))?,
                ("choices", _) => return Err(NotKept::Malformed("choices is no list".into())),
                // Padding against guessing at lengths, made anew for every chunk.
                ("obfuscation", _) => {}
                (_, value) if is_blank(&value) => {}
                (_, value) => {
                    self.completion.insert(key, value);
                }
            }
        }
        Ok(())
    }

    fn choice(&mut self, choice: Value) -> Result<(), NotKept> {
        let Value::Object(choice) = choice else { return Err(NotKept::Malformed("a choice is no object".into())) };
        if choice.get("index").and_then(Value::as_u64).unwrap_or(0) != 0 {
            return Err(NotKept::Choices(2));
        }
        for (key, value) in choice {
            match (key.as_str(), value) {
                ("delta", Value::Object(delta)) => {
                    for (key, value) in delta {
                        self.delta(key, value)?;
                    }
                }
                (_, value) if is_blank(&value) => {}
                ("logprobs", _) => return Err(NotKept::Unknown("logprobs".into())),
                (_, value) => {
                    self.choice.insert(key, value);
                }
            }
        }
        Ok(())
    }

    fn delta(&mut self, key: String, value: Value) -> Result<(), NotKept> {
        match (key.as_str(), value) {
            (_, value) if is_blank(&value) => Ok(()),
            ("role", role) => {
                self.message.insert(key, role);
                Ok(())
            }
            (text, Value::String(piece)) if TEXTS.contains(&text) => {
                match self.message.entry(key).or_insert_with(|| "".into()) {
                    Value::String(so_far) => so_far.push_str(&piece),
                    other => *other = piece.into(),
                }
                Ok(())
            }
            ("tool_calls", Value::Array(calls)) => calls.iter().try_for_each(|call| self.tool_call(call)),
            _ => Err(NotKept::Unknown(key)),
        }
    }

    /// A piece of a tool call: the first has id, type and name, and all have a part of the arguments.
    fn tool_call(&mut self, piece: &Value) -> Result<(), NotKept> {
        let index = piece["index"].as_u64().and_then(|index| usize::try_from(index).ok());
        let index = index.unwrap_or(self.tool_calls.len().saturating_sub(1));
        if index > self.tool_calls.len() {
            return Err(NotKept::Malformed("a tool call is missing".into()));
        }
        if index == self.tool_calls.len() {
            self.tool_calls.push(json!({"id": "", "type": "function", "function": {"name": "", "arguments": ""}}));
        }
        let call = &mut self.tool_calls[index];
        // Some providers give several calls the same index; joined they would be one call that nobody made.
        once(&mut call["id"], &piece["id"])?;
        once(&mut call["function"]["name"], &piece["function"]["name"])?;
        if let Some(kind) = piece["type"].as_str() {
            call["type"] = kind.into();
        }
        if let (Some(more), Value::String(so_far)) =
            (piece["function"]["arguments"].as_str(), &mut call["function"]["arguments"])
        {
            so_far.push_str(more);
        }
        if call["type"] == "function" {
            Ok(())
        } else {
            Err(NotKept::Unknown("a tool call that is no function".into()))
        }
    }

    fn finish(self) -> Result<Recording, NotKept> {
        let Self { mut completion, mut choice, mut message, tool_calls } = self;
        message.entry("role").or_insert_with(|| "assistant".into());
        message.entry("content").or_insert(Value::Null);
        if !tool_calls.is_empty() {
            message.insert("tool_calls".into(), tool_calls.into());
        }
        choice.insert("index".into(), 0.into());
        choice.insert("message".into(), message.into());
        completion.insert(OBJECT.0.into(), OBJECT.1.into());
        completion.insert("choices".into(), vec![Value::from(choice)].into());
        let completion = Value::from(completion);
        recording(&completion, completion.to_string())
    }
}

/// Takes over a text that a tool call has once; a different second one belongs to another call.
fn once(place: &mut Value, piece: &Value) -> Result<(), NotKept> {
    match piece.as_str() {
        None | Some("") => Ok(()),
        Some(text) if *place == text => Ok(()),
        Some(text) if *place == "" => {
            *place = text.into();
            Ok(())
        }
        Some(_) => Err(NotKept::Malformed("several tool calls share an index".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn kept(events: &[Value]) -> Result<Recording, NotKept> {
        let mut text: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        text.push_str("data: [DONE]\n\n");
        read(&text).await
    }

    async fn read(text: &str) -> Result<Recording, NotKept> {
        record_stream(Bytes::copy_from_slice(text.as_bytes())).await
    }

    fn chunk(delta: Value) -> Value {
        json!({"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": null, "logprobs": null}]})
    }

    fn end(reason: &str) -> Value {
        json!({"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m",
            "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    }

    #[tokio::test]
    async fn pieces_become_the_whole_with_reasoning_and_usage() {
        let usage = json!({"id": "c1", "choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}});
        let recording = kept(&[
            chunk(json!({"role": "assistant", "content": ""})),
            chunk(json!({"reasoning_content": "Let "})),
            chunk(json!({"reasoning_content": "me."})),
            chunk(json!({"content": "Gr\u{fc}ezi "})),
            chunk(json!({"content": "\u{1f44b}\n"})),
            end("stop"),
            usage,
        ])
        .await
        .unwrap();
        assert_eq!(recording.answer.text, "Gr\u{fc}ezi \u{1f44b}\n");
        let completion: Value = serde_json::from_str(&recording.answer.completion.unwrap()).unwrap();
        assert_eq!(completion["choices"][0]["message"]["reasoning_content"], "Let me.");
        assert_eq!(completion["choices"][0]["finish_reason"], "stop");
        assert_eq!((&completion["object"], &completion["created"]), (&json!("chat.completion"), &json!(7)));
        assert_eq!(completion["usage"]["total_tokens"], 5);
    }

    #[tokio::test]
    async fn tool_calls_are_joined_by_index() {
        let call = |index: u64, rest: Value| {
            let mut call = rest;
            call["index"] = index.into();
            chunk(json!({"tool_calls": [call]}))
        };
        let recording = kept(&[
            call(0, json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}})),
            call(0, json!({"function": {"arguments": "{\"x\":"}})),
            call(1, json!({"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}})),
            call(0, json!({"function": {"arguments": "1}"}})),
            end("tool_calls"),
        ])
        .await
        .unwrap();
        assert!(recording.calls_tools);
        let completion: Value = serde_json::from_str(&recording.answer.completion.unwrap()).unwrap();
        let calls = &completion["choices"][0]["message"]["tool_calls"];
        assert_eq!(calls[0]["function"], json!({"name": "f", "arguments": "{\"x\":1}"}));
        assert_eq!(calls[1]["id"], "b");
    }

    #[tokio::test]
    async fn calls_that_cannot_be_told_apart_are_not_kept() {
        let call = |id: &str, name: &str| {
            chunk(
                json!({"tool_calls": [{"index": 0, "id": id, "type": "function", "function": {"name": name, "arguments": "{}"}}]}),
            )
        };
        let kept = kept(&[call("a", "f"), call("b", "g"), end("tool_calls")]).await;
        assert!(matches!(kept, Err(NotKept::Malformed(_))), "{kept:?}");
    }

    #[tokio::test]
    async fn what_is_not_whole_or_not_understood_is_not_kept() {
        let text = chunk(json!({"content": "a"}));
        assert_eq!(kept(std::slice::from_ref(&text)).await, Err(NotKept::Incomplete("missing".into())));
        assert_eq!(kept(&[text.clone(), end("length")]).await, Err(NotKept::Incomplete("length".into())));
        assert_eq!(
            kept(&[text.clone(), json!({"error": {"message": "x"}})]).await,
            Err(NotKept::Incomplete("error".into()))
        );
        assert_eq!(
            kept(&[chunk(json!({"hologram": [1]})), end("stop")]).await,
            Err(NotKept::Unknown("hologram".into()))
        );
        let mut second = text.clone();
        second["choices"][0]["index"] = 1.into();
        assert_eq!(kept(&[text.clone(), second, end("stop")]).await, Err(NotKept::Choices(2)));
        for end_mark in ["", "data: [DON", "data: [DONE]"] {
            let broken = format!("data: {text}\n\ndata: {}\n\n{end_mark}", end("stop"));
            assert_eq!(read(&broken).await, Err(NotKept::BrokenOff), "{end_mark}");
        }
        assert!(matches!(read("data: {oops\n\n").await, Err(NotKept::Malformed(_))));
    }

    #[test]
    fn the_end_mark_ends_a_stream() {
        let ended = |text: &str| has_ended(text.as_bytes());
        assert!(ended("data: {}\n\ndata: [DONE]\n\n") && ended("data:[DONE]\r\n\r\n"));
        assert!(!ended("data: [DONE]") && !ended("data: [DONE]\n") && !ended(""));
        assert!(!ended("data: {\"content\": \"data: [DONE]\"}\n\n"));
    }

    #[test]
    fn what_an_answer_says_is_not_its_end() {
        let told = |text: &str| is_told_over(text.as_bytes());
        assert!(told("data: {}\n\ndata: [DONE]\n\n") && told("data: {\"error\": {\"message\": \"no\"}}\n\n"));
        assert!(told("or\": 1}\r\n\r\ndata:[DONE]\r\n: and a comment\r\n"));
        let says = |content: &str| format!("data: {}\n\n", chunk(json!({"content": content})));
        assert!(!told(&says("[DONE]")) && !told(&says("\"error\"")) && !told("data: {\"error\": null}\n\n"));
        assert!(says_why(format!("data: {}\n\n", end("stop")).as_bytes()));
        assert!(!says_why(says("\"finish_reason\": \"stop\"").as_bytes()));
    }

    #[tokio::test]
    async fn line_ends_and_comments_of_all_kinds_are_read() {
        let (a, b) = (chunk(json!({"content": "hi"})), end("stop"));
        for end_of_line in ["\n", "\r\n", "\r"] {
            let text = format!(": ping|data: {a}||data: {b}||data: [DONE]||").replace('|', end_of_line);
            assert_eq!(read(&text).await.unwrap().answer.text, "hi", "{end_of_line:?}");
        }
    }
}
