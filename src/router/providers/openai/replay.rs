//! A stored answer played back.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::completion::is_blank;
use crate::store::Answer;

/// How a caller wants an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// One JSON document.
    Whole,
    /// Events, without usage.
    Stream,
    /// Events, the last of which tells the usage.
    StreamWithUsage,
}

/// Bytes of text in one delta, about; cut between words where there are any.
const PIECE: usize = 24;
/// Deltas of one text, about, at most: those of a long one are longer.
const PIECES: usize = 400;
/// What of a completion every chunk repeats; the rest, providers' own, is told with the whole answer only.
const FRAME: [&str; 5] = ["id", "created", "model", "system_fingerprint", "service_tier"];

/// The test of whether an answer can be delivered so.
#[must_use]
pub fn deliverable(delivery: Delivery) -> fn(&Answer) -> bool {
    match delivery {
        Delivery::Whole | Delivery::Stream => |_| true,
        // Whoever asks for the usage counts on it, so an answer without one doesn't serve.
        Delivery::StreamWithUsage => |answer| parsed(answer).is_some_and(|whole| !is_blank(&whole["usage"])),
    }
}

/// The stored completion as it was, or one made from an answer that is only text: without usage, because nobody
/// generated it for a request. `id` and `created` (seconds) and `model` are for the latter.
#[must_use]
pub fn completion(answer: &Answer, id: &str, created: u64, model: &str) -> Bytes {
    match &answer.completion {
        Some(completion) => Bytes::from(completion.clone()),
        None => from_text(&answer.text, id, created, model).to_string().into(),
    }
}

/// The answer as the events of a stream, end mark included.
#[must_use]
pub fn stream(answer: &Answer, include_usage: bool, id: &str, created: u64, model: &str) -> Vec<Bytes> {
    let whole = parsed(answer).unwrap_or_else(|| from_text(&answer.text, id, created, model));
    let chunks = Chunks::of(&whole, include_usage);
    let message = &whole["choices"][0]["message"];
    let mut deltas = vec![json!({"role": message["role"].as_str().unwrap_or("assistant"), "content": ""})];
    for field in ["reasoning_content", "reasoning", "content"] {
        let text = message[field].as_str().unwrap_or_default();
        deltas.extend(pieces(text).map(|piece| json!({field: piece})));
    }
    for (index, call) in message["tool_calls"].as_array().into_iter().flatten().enumerate() {
        deltas.extend(tool_call_deltas(index, call));
    }
    let finish = whole["choices"][0]["finish_reason"].clone();
    let mut events: Vec<Value> = deltas.into_iter().map(|delta| chunks.with(delta, Value::Null)).collect();
    events.push(chunks.with(json!({}), finish));
    if include_usage {
        // A text that somebody wrote took no tokens.
        let none = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0});
        events.push(chunks.usage(if is_blank(&whole["usage"]) { &none } else { &whole["usage"] }));
    }
    events
        .iter()
        .map(|event| Bytes::from(format!("data: {event}\n\n")))
        .chain([Bytes::from_static(b"data: [DONE]\n\n")])
        .collect()
}

fn parsed(answer: &Answer) -> Option<Value> {
    serde_json::from_str(answer.completion.as_deref()?).ok()
}

fn from_text(text: &str, id: &str, created: u64, model: &str) -> Value {
    json!({
        "id": format!("chatcmpl-{id}"),
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": null},
            "logprobs": null,
            "finish_reason": "stop",
        }],
    })
}

/// What all chunks of a stream have in common.
struct Chunks {
    frame: Map<String, Value>,
    include_usage: bool,
}

impl Chunks {
    fn of(whole: &Value, include_usage: bool) -> Self {
        let members = whole.as_object().into_iter().flatten();
        let repeated = members.filter(|(name, _)| FRAME.contains(&name.as_str()));
        let mut frame: Map<String, Value> = repeated.map(|(name, value)| (name.clone(), value.clone())).collect();
        frame.insert("object".into(), "chat.completion.chunk".into());
        Self { frame, include_usage }
    }

    fn with(&self, delta: Value, finish_reason: Value) -> Value {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
        let usage = self.include_usage.then_some(Value::Null);
        self.chunk(vec![choice], usage)
    }

    fn usage(&self, usage: &Value) -> Value {
        self.chunk(Vec::new(), Some(usage.clone()))
    }

    fn chunk(&self, choices: Vec<Value>, usage: Option<Value>) -> Value {
        let mut chunk = self.frame.clone();
        chunk.insert("choices".into(), choices.into());
        if let Some(usage) = usage {
            chunk.insert("usage".into(), usage);
        }
        chunk.into()
    }
}

/// Cuts `text` after a space once a piece is long enough, and never within a character.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let size = PIECE.max(text.len() / PIECES);
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let ends = rest.char_indices().map(|(at, c)| (at + c.len_utf8(), c));
        let end = ends.into_iter().find(|(end, c)| *end >= size && c.is_whitespace() || *end >= 4 * size);
        let (piece, later) = rest.split_at(end.map_or(rest.len(), |(end, _)| end));
        rest = later;
        Some(piece)
    })
}

fn tool_call_deltas(index: usize, call: &Value) -> [Value; 2] {
    let function = &call["function"];
    [
        json!({"tool_calls": [{"index": index, "id": call["id"], "type": "function",
            "function": {"name": function["name"], "arguments": ""}}]}),
        json!({"tool_calls": [{"index": index, "function": {"arguments": function["arguments"]}}]}),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::completion::record;
    use super::super::stream::record_stream;
    use super::*;

    fn message() -> impl Strategy<Value = Value> {
        let text = prop_oneof![Just(Value::Null), "[a-z \u{e9}\u{1f600}\"\n]{1,200}".prop_map(Value::from)];
        let call = ("[a-z]{1,5}", "[{}:a\" ]{0,30}").prop_map(|(name, arguments)| {
            json!({"id": format!("call_{name}"), "type": "function", "function": {"name": name, "arguments": arguments}})
        });
        (text.clone(), text, prop::collection::vec(call, 0..3)).prop_map(|(content, reasoning, calls)| {
            let mut message = json!({"role": "assistant", "content": content});
            if !is_blank(&reasoning) {
                message["reasoning_content"] = reasoning;
            }
            if !calls.is_empty() {
                message["tool_calls"] = calls.into();
            }
            message
        })
    }

    proptest! {
        /// Stored from a whole reply, played back as a stream, and stored again from that: the same answer.
        #[test]
        fn a_stream_tells_the_whole(message in message(), usage in any::<bool>()) {
            let mut whole = json!({"id": "x", "object": "chat.completion", "created": 5, "model": "m", "system_fingerprint": "fp",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]});
            if usage {
                whole["usage"] = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
            }
            let Ok(first) = record(whole.to_string().as_bytes()) else { return Ok(()) };
            prop_assert!(deliverable(Delivery::Stream)(&first.answer));
            prop_assert_eq!(deliverable(Delivery::StreamWithUsage)(&first.answer), usage);
            let events = stream(&first.answer, usage, "id", 1, "m");
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let second = runtime.block_on(record_stream(events.concat().into())).unwrap();
            let again: Value = serde_json::from_str(second.answer.completion.as_deref().unwrap()).unwrap();
            prop_assert_eq!(again, whole);
            prop_assert_eq!(second.answer.text, first.answer.text);
        }

        #[test]
        fn pieces_make_up_the_text(text in "\\PC{0,300}") {
            prop_assert_eq!(pieces(&text).collect::<String>(), text.as_str());
            prop_assert!(pieces(&text).all(|piece| !piece.is_empty()));
        }
    }

    #[test]
    fn a_plain_text_becomes_a_completion() {
        let answer = Answer { text: "Paris".into(), completion: None };
        let whole: Value = serde_json::from_slice(&completion(&answer, "7", 9, "m")).unwrap();
        assert_eq!(whole["choices"][0]["message"]["content"], "Paris");
        assert!(deliverable(Delivery::Stream)(&answer) && !deliverable(Delivery::StreamWithUsage)(&answer));
    }
}
