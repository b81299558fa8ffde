//! An answer played back as Anthropic's stream of events.

use serde_json::{Value, json};

use super::super::Malformed;
use super::reply::reply;
use super::stream::{Event, block_delta, block_start, block_stop, end, start};

/// Bytes in one delta of an answer that is played back, about; cut between words where there are any.
const PIECE: usize = 24;
/// Deltas of one block, about, at most: those of a long one are longer.
const PIECES: usize = 400;

/// The events that a stream with this answer would have had.
///
/// # Errors
/// Where `completion` is no whole answer.
pub fn stream_events(completion: &Value) -> Result<Vec<Event>, Malformed> {
    let message = reply(completion)?;
    let name = |field: &str| message[field].as_str().unwrap_or_default();
    let mut counts = message["usage"].clone();
    if let Value::Object(counts) = &mut counts {
        counts.insert("output_tokens".into(), 0.into());
    }
    let mut events = vec![start(name("id"), name("model"), counts)];
    for (index, block) in (0..).zip(message["content"].as_array().into_iter().flatten()) {
        play(index, block, &mut events);
    }
    let stop_reason = message["stop_reason"].as_str().unwrap_or_default();
    events.extend(end(stop_reason, message["usage"].clone()));
    Ok(events)
}

/// The events of one block.
fn play(index: u64, block: &Value, events: &mut Vec<Event>) {
    let text = |name: &str| block[name].as_str().unwrap_or_default().to_owned();
    let (empty, whole, kind, field) = match block["type"].as_str() {
        Some("thinking") => {
            let empty = json!({"type": "thinking", "thinking": "", "signature": ""});
            (empty, text("thinking"), "thinking_delta", "thinking")
        }
        Some("tool_use") => {
            let empty = json!({"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}});
            (empty, block["input"].to_string(), "input_json_delta", "partial_json")
        }
        _ => (json!({"type": "text", "text": ""}), text("text"), "text_delta", "text"),
    };
    events.push(block_start(index, empty));
    for piece in pieces(&whole) {
        events.push(block_delta(index, json!({"type": kind, field: piece})));
    }
    events.push(block_stop(index));
}

/// A text in pieces that end where a word does.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let size = PIECE.max(text.len() / PIECES);
    let mut rest = text;
    std::iter::from_fn(move || {
        let cut = rest.char_indices().find(|(at, c)| *at >= 2 * size || (*at >= size && c.is_whitespace()));
        let (piece, after) = rest.split_at_checked(cut.map_or(rest.len(), |(at, _)| at))?;
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::Chunks;
    use super::super::Events;
    use super::*;

    fn completion(message: Value, finish_reason: &str) -> Value {
        json!({"id": "msg_1", "object": "chat.completion", "created": 5, "model": "gpt-x",
            "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason}],
            "usage": {"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 37,
                "prompt_tokens_details": {"cached_tokens": 20}}})
    }

    fn completions() -> Vec<Value> {
        let calls = json!([
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}]);
        vec![
            completion(
                json!({"role": "assistant", "content": "A few words, and then some more of them, \u{fc}ber alles."}),
                "stop",
            ),
            completion(
                json!({"role": "assistant", "content": "\u{1f44b}".repeat(9000), "reasoning_content": "Hm. ".repeat(50)}),
                "length",
            ),
            completion(json!({"role": "assistant", "content": null, "tool_calls": calls}), "tool_calls"),
            completion(
                json!({"role": "assistant", "content": "Let me.", "reasoning_content": "Hm.", "tool_calls": calls}),
                "tool_calls",
            ),
            completion(json!({"role": "assistant", "content": null}), "content_filter"),
            completion(json!({"role": "assistant", "content": ""}), "stop"),
        ]
    }

    fn to_chunks(events: &[Event]) -> Vec<Value> {
        let (mut chunks, mut out) = (Chunks::new(5, true), Vec::new());
        for (name, data) in events {
            assert_eq!(data["type"], *name);
            chunks.event(&data.to_string(), &mut out).unwrap();
        }
        assert!(chunks.is_complete());
        out
    }

    /// Text, thoughts, calls and the reason to stop that chunks come to.
    fn joined(chunks: &[Value]) -> (String, String, Vec<[String; 3]>, Value) {
        let (mut text, mut thoughts, mut calls) = (String::new(), String::new(), Vec::<[String; 3]>::new());
        let mut finish = Value::Null;
        for choice in chunks.iter().map(|chunk| &chunk["choices"][0]) {
            let delta = &choice["delta"];
            text.push_str(delta["content"].as_str().unwrap_or_default());
            thoughts.push_str(delta["reasoning_content"].as_str().unwrap_or_default());
            for piece in delta["tool_calls"].as_array().into_iter().flatten() {
                let index = usize::try_from(piece["index"].as_u64().unwrap()).unwrap();
                calls.resize(calls.len().max(index + 1), <[String; 3]>::default());
                for (place, part) in calls[index].iter_mut().zip([
                    &piece["id"],
                    &piece["function"]["name"],
                    &piece["function"]["arguments"],
                ]) {
                    place.push_str(part.as_str().unwrap_or_default());
                }
            }
            if !choice["finish_reason"].is_null() {
                finish = choice["finish_reason"].clone();
            }
        }
        (text, thoughts, calls, finish)
    }

    #[test]
    fn an_answer_played_back_is_the_same_answer() {
        for whole in completions() {
            let out = to_chunks(&stream_events(&whole).unwrap());
            let message = &whole["choices"][0]["message"];
            let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
            let calls = message["tool_calls"].as_array().into_iter().flatten();
            let calls = calls
                .map(|call| {
                    [&call["id"], &call["function"]["name"], &call["function"]["arguments"]]
                        .map(|part| part.as_str().unwrap().to_owned())
                })
                .collect();
            assert_eq!(
                joined(&out),
                (text("content"), text("reasoning_content"), calls, whole["choices"][0]["finish_reason"].clone())
            );
            assert_eq!(out.last().unwrap()["usage"], whole["usage"]);
        }
    }

    #[test]
    fn a_stream_there_and_back_is_the_same_stream() {
        for whole in completions() {
            let chunks = to_chunks(&stream_events(&whole).unwrap());
            let (mut events, mut out) = (Events::new("alias"), Vec::new());
            chunks.iter().for_each(|chunk| events.chunk(chunk, &mut out).unwrap());
            events.finish(&mut out).unwrap();
            assert_eq!(joined(&to_chunks(&out)), joined(&chunks));
        }
    }

    #[test]
    fn playing_back_goes_piece_by_piece_and_refuses_rubbish() {
        let events = stream_events(&completions()[0]).unwrap();
        let names: Vec<&str> = events.iter().map(|(name, _)| *name).collect();
        let (start, delta, stop) = ("content_block_start", "content_block_delta", "content_block_stop");
        assert_eq!(names, ["message_start", start, delta, delta, stop, "message_delta", "message_stop"]);
        assert_eq!(events[2].1["delta"], json!({"type": "text_delta", "text": "A few words, and then some"}));
        assert_eq!(events[3].1["delta"]["text"], " more of them, \u{fc}ber alles.");
        assert_eq!(events[0].1["message"]["usage"]["input_tokens"], 10);
        assert!(stream_events(&completions()[1]).unwrap().len() < PIECES + 50);
        assert!(stream_events(&json!({"choices": []})).is_err());
    }

    #[test]
    fn pieces_come_to_the_whole() {
        for text in ["", "a", &"word ".repeat(1000), &"\u{4e2d}".repeat(1000), &" ".repeat(100), &"x".repeat(100_000)] {
            assert_eq!(pieces(text).collect::<String>(), text);
            assert!(pieces(text).count() <= PIECES + 1);
        }
    }
}
