//! A stream of Google's events as a stream of OpenAI's chunks.

use serde_json::{Map, Value, json};

use super::error::Fault;
use super::reply::{self, Ending, Piece};
use super::{Malformed, StreamFault};

/// Makes chunks of a chat completion from the events of one stream.
///
/// Google's streams have no end mark: an answer is whole once it was said why it ended, and the last of its usage comes
/// with that or after it. So the chunk with the `finish_reason` is made in [`finish`](Self::finish), when the stream has
/// ended.
#[derive(Debug)]
pub struct Chunks {
    model: String,
    created: u64,
    include_usage: bool,
    /// The reply's id, from its first event on.
    id: Option<String>,
    calls: usize,
    usage: Option<Value>,
    ending: Option<Ending>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Something went wrong, so whatever comes now, this is no answer.
    Failed,
    Finished,
}

impl Chunks {
    /// Chunks for a caller who calls the model `model`, of an answer that began at `created` (seconds since 1970).
    /// `include_usage` is `stream_options.include_usage` of the request.
    #[must_use]
    pub fn new(model: &str, created: u64, include_usage: bool) -> Self {
        Self {
            model: model.to_owned(),
            created,
            include_usage,
            id: None,
            calls: 0,
            usage: None,
            ending: None,
            state: State::Open,
        }
    }

    /// Adds to `out` the chunks for one event with the data `data`.
    ///
    /// # Errors
    /// Where the event isn't understood or says that something has failed. No later event can mend that.
    pub fn event(&mut self, data: &str, out: &mut Vec<Value>) -> Result<(), StreamFault> {
        // Google writes neither, but what stands between may.
        if matches!(data.trim(), "" | "[DONE]") {
            return Ok(());
        }
        match self.state {
            State::Finished => return Ok(()),
            State::Failed => return Err(StreamFault::BrokenOff),
            State::Open => {}
        }
        let result = self.read(data, out);
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    fn read(&mut self, data: &str, out: &mut Vec<Value>) -> Result<(), StreamFault> {
        let event: Value =
            serde_json::from_str(data).map_err(|error| Malformed(format!("an event is no JSON ({error})")))?;
        if let Some(fault) = Fault::in_stream(&event) {
            let message = fault.message.unwrap_or_else(|| "it doesn't say why".into());
            return Err(StreamFault::Upstream { message, kind: fault.kind.into() });
        }
        let candidate = reply::candidate(&event)?;
        let pieces = candidate.map_or_else(|| Ok(Vec::new()), reply::pieces)?;
        let ending = reply::ending(&event, candidate);
        if let Some(Ending::Failed(why)) = ending {
            return Err(StreamFault::Upstream {
                message: format!("the model failed ({why})"),
                kind: "server_error".into(),
            });
        }
        let id = match &self.id {
            Some(id) => id.clone(),
            None => {
                let id = self.id.insert(reply::id(&event, self.created)).clone();
                out.push(self.chunk(json!({"role": "assistant", "content": ""}), None));
                id
            }
        };
        for piece in pieces {
            let delta = match piece {
                Piece::Text(text) => json!({"content": text}),
                Piece::Thought(text) => json!({"reasoning_content": text}),
                Piece::Call(call) => {
                    let mut tool_call = Map::new();
                    tool_call.insert("index".into(), self.calls.into());
                    if let Value::Object(members) = call.tool_call(&id, self.calls) {
                        tool_call.extend(members);
                    }
                    self.calls = self.calls.saturating_add(1);
                    json!({"tool_calls": [tool_call]})
                }
            };
            out.push(self.chunk(delta, None));
        }
        // Models have been seen to end twice. If once was for a reason other than being done, the answer isn't whole.
        if let Some(ending) = ending
            && matches!(self.ending, None | Some(Ending::Stop))
        {
            self.ending = Some(ending);
        }
        if let Some(usage) = reply::usage(&event) {
            self.usage = Some(usage);
        }
        Ok(())
    }

    /// Adds to `out` the last chunks, now that the stream has ended: the one that says why, and the usage where it was
    /// asked for and told. `data: [DONE]` is for the caller to add. Once made, they aren't made again.
    ///
    /// # Errors
    /// Where the stream isn't a whole answer.
    pub fn finish(&mut self, out: &mut Vec<Value>) -> Result<(), StreamFault> {
        match (self.state, &self.ending) {
            (State::Finished, _) => return Ok(()),
            (State::Failed, _) | (State::Open, None) => {
                self.state = State::Failed;
                return Err(StreamFault::BrokenOff);
            }
            (State::Open, Some(ending)) => {
                let reason = ending.finish_reason(self.calls > 0);
                out.push(self.chunk(json!({}), Some(reason)));
            }
        }
        self.state = State::Finished;
        if self.include_usage
            && let Some(usage) = self.usage.take()
        {
            out.push(self.envelope(Vec::new(), usage));
        }
        Ok(())
    }

    /// Whether the answer is whole: it was said why it ended, and nothing has failed. More may still come, so read on to
    /// the end of the stream where that is at hand.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.state != State::Failed && self.ending.is_some()
    }

    fn chunk(&self, delta: Value, finish_reason: Option<&str>) -> Value {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
        self.envelope(vec![choice], Value::Null)
    }

    fn envelope(&self, choices: Vec<Value>, usage: Value) -> Value {
        let mut chunk = json!({
            "id": format!("chatcmpl-{}", self.id.as_deref().unwrap_or_default()),
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        // Whoever asked for usage gets it as null in all chunks but the last.
        if let (true, Value::Object(chunk)) = (self.include_usage, &mut chunk) {
            chunk.insert("usage".into(), usage);
        }
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(parts: Value) -> Value {
        json!({"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0}], "responseId": "r1",
            "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4}})
    }

    fn last(parts: Value, reason: &str) -> Value {
        let mut event = event(parts);
        event["candidates"][0]["finishReason"] = reason.into();
        event["usageMetadata"] = json!({"promptTokenCount": 4, "candidatesTokenCount": 3, "totalTokenCount": 7});
        event
    }

    fn all(events: &[Value], include_usage: bool) -> Result<Vec<Value>, StreamFault> {
        let (mut chunks, mut out) = (Chunks::new("m", 7, include_usage), Vec::new());
        for event in events {
            chunks.event(&event.to_string(), &mut out)?;
        }
        chunks.finish(&mut out)?;
        Ok(out)
    }

    /// The deltas of all chunks, and the last finish_reason.
    fn told(events: &[Value]) -> (Vec<Value>, Value) {
        let out = all(events, false).unwrap();
        let deltas = out.iter().map(|chunk| chunk["choices"][0]["delta"].clone()).collect();
        (deltas, out.last().unwrap()["choices"][0]["finish_reason"].clone())
    }

    #[test]
    fn a_whole_stream() {
        let events = [
            event(json!([{"text": "Hm.", "thought": true}])),
            event(json!([{"text": "Gr\u{fc}ezi "}])),
            last(json!([{"text": "\u{1f44b}"}, {"text": "", "thoughtSignature": "x"}]), "STOP"),
        ];
        let chunk = |choices: Value, usage: Value| {
            json!({"id": "chatcmpl-r1", "object": "chat.completion.chunk", "created": 7, "model": "m",
            "choices": choices, "usage": usage})
        };
        let delta = |delta: Value, reason: Value| {
            let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason});
            chunk(json!([choice]), Value::Null)
        };
        assert_eq!(
            all(&events, true).unwrap(),
            [
                delta(json!({"role": "assistant", "content": ""}), Value::Null),
                delta(json!({"reasoning_content": "Hm."}), Value::Null),
                delta(json!({"content": "Gr\u{fc}ezi "}), Value::Null),
                delta(json!({"content": "\u{1f44b}"}), Value::Null),
                delta(json!({}), json!("stop")),
                chunk(
                    json!([]),
                    json!({"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7,
                        "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}})
                ),
            ]
        );
        let without = all(&events, false).unwrap();
        assert_eq!(without.len(), 5);
        assert!(without.iter().all(|chunk| chunk.get("usage").is_none()));
    }

    #[test]
    fn calls_are_numbered_through_the_stream() {
        let (deltas, reason) = told(&[
            event(json!([{"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}])),
            last(
                json!([{"functionCall": {"name": "f"}}, {"functionCall": {"id": "own", "name": "g", "args": {}}}]),
                "STOP",
            ),
        ]);
        assert_eq!(
            deltas,
            [
                json!({"role": "assistant", "content": ""}),
                json!({"tool_calls": [{"index": 0, "id": "call_r1_0", "type": "function",
                    "function": {"name": "f", "arguments": "{\"a\":1}"},
                    "extra_content": {"google": {"thought_signature": "c2ln"}}}]}),
                json!({"tool_calls": [{"index": 1, "id": "call_r1_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}),
                json!({"tool_calls": [{"index": 2, "id": "own", "type": "function", "function": {"name": "g", "arguments": "{}"}}]}),
                json!({}),
            ]
        );
        assert_eq!(reason, "tool_calls");
    }

    #[test]
    fn endings() {
        let text = json!([{"text": "a"}]);
        assert_eq!(told(&[last(text.clone(), "MAX_TOKENS")]).1, "length");
        assert_eq!(told(&[last(text.clone(), "SAFETY")]).1, "content_filter");
        assert_eq!(told(&[last(text.clone(), "STOP"), last(json!([]), "STOP")]).1, "stop");
        assert_eq!(told(&[last(text.clone(), "STOP"), last(json!([]), "SAFETY")]).1, "content_filter");
        assert_eq!(told(&[last(text.clone(), "MAX_TOKENS"), last(json!([]), "STOP")]).1, "length");
        let blocked = json!({"promptFeedback": {"blockReason": "OTHER"}});
        let (deltas, reason) = told(&[blocked]);
        assert_eq!((deltas.len(), reason), (2, json!("content_filter")));
    }

    #[test]
    fn what_comes_after_the_ending_still_counts() {
        let usage = json!({"usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 9}});
        let out = all(&[last(json!([{"text": "a"}]), "STOP"), event(json!([{"text": "b"}])), usage], true).unwrap();
        let contents: Vec<_> =
            out.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(contents, ["", "a", "b"]);
        assert_eq!(out.last().unwrap()["usage"]["total_tokens"], 9);
    }

    #[test]
    fn usage_is_not_made_up() {
        let mut event = last(json!([{"text": "a"}]), "STOP");
        event.as_object_mut().unwrap().remove("usageMetadata");
        let out = all(&[event], true).unwrap();
        assert!(out.iter().all(|chunk| chunk["usage"].is_null() && !chunk["choices"].as_array().unwrap().is_empty()));
    }

    #[test]
    fn a_stream_without_an_id_has_one_id_all_the_same() {
        let first = json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}]}}]});
        let out = all(&[first, last(json!([]), "STOP")], false).unwrap();
        assert!(out.iter().all(|chunk| chunk["id"] == "chatcmpl-7"), "{out:?}");
        assert_eq!(out[1]["choices"][0]["delta"]["tool_calls"][0]["id"], "call_7_0");
    }

    #[test]
    fn a_stream_that_breaks_off_anywhere_is_an_error() {
        let events = [event(json!([{"text": "a"}])), event(json!([{"text": "b"}])), last(json!([]), "STOP")];
        for cut in 0..events.len() {
            let (mut chunks, mut out) = (Chunks::new("m", 7, true), Vec::new());
            for event in &events[..cut] {
                chunks.event(&event.to_string(), &mut out).unwrap();
            }
            assert!(!chunks.is_complete());
            let before = out.len();
            assert_eq!(chunks.finish(&mut out), Err(StreamFault::BrokenOff), "{cut}");
            assert_eq!(chunks.finish(&mut out), Err(StreamFault::BrokenOff));
            assert_eq!(out.len(), before);
        }
        // Within an event, every cut but the empty one is malformed.
        let text = events[2].to_string();
        for cut in 1..text.len() {
            let (mut chunks, mut out) = (Chunks::new("m", 7, true), Vec::new());
            assert!(matches!(chunks.event(&text[..cut], &mut out), Err(StreamFault::Malformed(_))), "{cut}");
            assert_eq!((chunks.finish(&mut out), out), (Err(StreamFault::BrokenOff), Vec::new()));
        }
    }

    #[test]
    fn errors_within_a_stream_end_it() {
        for (fault, message, kind) in [
            (
                json!({"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}),
                "slow down",
                "rate_limit_error",
            ),
            (json!([{"error": {"code": 503, "message": "overloaded"}}]), "overloaded", "server_error"),
            (json!({"error": {}}), "it doesn't say why", "server_error"),
            (last(json!([]), "MALFORMED_FUNCTION_CALL"), "the model failed (MALFORMED_FUNCTION_CALL)", "server_error"),
        ] {
            let (mut chunks, mut out) = (Chunks::new("m", 7, false), Vec::new());
            chunks.event(&last(json!([{"text": "a"}]), "STOP").to_string(), &mut out).unwrap();
            assert!(chunks.is_complete());
            let expected = StreamFault::Upstream { message: message.into(), kind: kind.into() };
            assert_eq!(chunks.event(&fault.to_string(), &mut out), Err(expected));
            assert!(!chunks.is_complete());
            assert_eq!(chunks.event(&last(json!([]), "STOP").to_string(), &mut out), Err(StreamFault::BrokenOff));
            assert_eq!(chunks.finish(&mut out), Err(StreamFault::BrokenOff));
        }
    }

    #[test]
    fn events_that_are_not_understood_are_errors() {
        for data in [
            "oops",
            "[]",
            "5",
            "null",
            "{\"candidates\": 5}",
            "{\"candidates\": [{\"content\": {\"parts\": [{\"inlineData\": {}}]}}]}",
        ] {
            let (mut chunks, mut out) = (Chunks::new("m", 7, false), Vec::new());
            assert!(matches!(chunks.event(data, &mut out), Err(StreamFault::Malformed(_))), "{data}");
        }
    }

    #[test]
    fn finishing_twice_tells_once_and_nothing_follows() {
        let (mut chunks, mut out) = (Chunks::new("m", 7, true), Vec::new());
        for data in ["", " \n", "[DONE]", &last(json!([{"text": "a"}]), "STOP").to_string(), "[DONE]"] {
            chunks.event(data, &mut out).unwrap();
        }
        chunks.finish(&mut out).unwrap();
        let whole = out.len();
        chunks.finish(&mut out).unwrap();
        chunks.event(&event(json!([{"text": "b"}])).to_string(), &mut out).unwrap();
        assert_eq!((whole, out.len()), (4, 4));
        assert!(chunks.is_complete());
    }
}
