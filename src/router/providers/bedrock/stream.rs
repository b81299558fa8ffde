//! A stream of Converse's events as a stream of OpenAI's chunks.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::completion::id_and_name;
use super::error::Fault;
use super::{Malformed, StreamFault, reply};

/// Makes chunks of a chat completion from the events of one stream.
///
/// A call's index counts calls, where Converse's counts blocks of all kinds, and blocks may come by turns. The usage comes
/// after the reason to stop, so the stream has to be read to its end.
#[derive(Debug)]
pub struct Chunks {
    model: String,
    created: u64,
    include_usage: bool,
    has_begun: bool,
    /// Blocks of calls that have begun and not ended, by Converse's index.
    open: BTreeMap<u64, Block>,
    calls: u64,
    usage: Option<Value>,
    /// Whether it was said why the answer ended.
    has_stopped: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Something went wrong, so whatever comes now, this is no answer.
    Failed,
    Finished,
}

/// A block that isn't at its end.
#[derive(Debug, Clone, Copy)]
enum Block {
    /// The call with this index, and whether any of its input has come.
    Call { index: u64, has_input: bool },
    /// A call that ran at the provider's, which is not the caller's to make.
    Theirs,
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
            has_begun: false,
            open: BTreeMap::new(),
            calls: 0,
            usage: None,
            has_stopped: false,
            state: State::Open,
        }
    }

    /// Adds to `made` the chunks for one event of the type `kind`, or exception of that type, with the payload `data`.
    /// Types that aren't known have none.
    ///
    /// # Errors
    /// Where the event isn't understood or says that something has failed. No later event can mend that.
    pub fn event(&mut self, kind: &str, data: &str, made: &mut Vec<Value>) -> Result<(), StreamFault> {
        match self.state {
            State::Finished => return Ok(()),
            State::Failed => return Err(StreamFault::BrokenOff),
            State::Open => {}
        }
        let result = self.read(kind, data, made);
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    /// Adds to `made` the last chunk, now that the stream has ended: the usage, where it was asked for and told.
    /// `data: [DONE]` is for the caller to add. Once made, it isn't made again.
    ///
    /// # Errors
    /// Where the stream isn't a whole answer.
    pub fn finish(&mut self, made: &mut Vec<Value>) -> Result<(), StreamFault> {
        match self.state {
            State::Finished => return Ok(()),
            State::Open if self.has_stopped => self.state = State::Finished,
            State::Open | State::Failed => {
                self.state = State::Failed;
                return Err(StreamFault::BrokenOff);
            }
        }
        if self.include_usage
            && let Some(usage) = self.usage.take()
        {
            made.push(self.envelope(Vec::new(), usage));
        }
        Ok(())
    }

    fn read(&mut self, kind: &str, data: &str, made: &mut Vec<Value>) -> Result<(), StreamFault> {
        if kind.ends_with("Exception") {
            // Whatever the payload, something has failed.
            let fault = Fault::read(500, Some(kind), &serde_json::from_str(data).unwrap_or_default());
            let message = fault.message.unwrap_or_else(|| format!("it doesn't say why ({kind})"));
            return Err(StreamFault::Upstream { message, kind: fault.kind.into() });
        }
        let is_content = matches!(kind, "contentBlockStart" | "contentBlockDelta" | "contentBlockStop");
        if !is_content && !matches!(kind, "messageStart" | "messageStop" | "metadata") {
            return Ok(());
        }
        if is_content && self.has_stopped {
            return Err(Malformed(format!("`{kind}` after the end of the message")).into());
        }
        let event: Value =
            serde_json::from_str(data).map_err(|error| Malformed(format!("an event is no JSON ({error})")))?;
        if !event.is_object() {
            return Err(Malformed("an event is no object".into()).into());
        }
        if !self.has_begun {
            self.has_begun = true;
            self.tell(json!({"role": "assistant", "content": ""}), made);
        }
        match kind {
            "contentBlockStart" => self.begin_block(&event, made)?,
            "contentBlockDelta" => self.delta(&event, made)?,
            "contentBlockStop" => {
                if let Some(block) = self.open.remove(&place(&event)?) {
                    self.end_block(block, made);
                }
            }
            "messageStop" => self.stop(&event, made)?,
            "metadata" => self.usage = reply::usage(&event["usage"]).or(self.usage.take()),
            _ => {}
        }
        Ok(())
    }

    fn begin_block(&mut self, event: &Value, made: &mut Vec<Value>) -> Result<(), Malformed> {
        let start = &event["start"];
        if !start["image"].is_null() {
            return Err(Malformed("a block of type `image` has no counterpart".into()));
        }
        let call = &start["toolUse"];
        if call.is_null() {
            return Ok(());
        }
        let block = if call["type"] == "server_tool_use" {
            Block::Theirs
        } else {
            let (id, name) = id_and_name(call)?;
            let index = self.calls;
            self.calls = self.calls.saturating_add(1);
            let function = json!({"name": name, "arguments": ""});
            let call = json!({"index": index, "id": id, "type": "function", "function": function});
            self.tell(json!({"tool_calls": [call]}), made);
            Block::Call { index, has_input: false }
        };
        if let Some(before) = self.open.insert(place(event)?, block) {
            self.end_block(before, made);
        }
        Ok(())
    }

    fn delta(&mut self, event: &Value, made: &mut Vec<Value>) -> Result<(), Malformed> {
        let delta = event["delta"].as_object().ok_or_else(|| Malformed("a delta is no object".into()))?;
        let Some((name, value)) = delta.iter().find(|(_, value)| !value.is_null()) else { return Ok(()) };
        match name.as_str() {
            "text" => {
                let text = value.as_str().ok_or_else(|| Malformed("a text is no string".into()))?;
                if !text.is_empty() {
                    self.tell(json!({"content": text}), made);
                }
            }
            // Signatures and what is encrypted come here as well.
            "reasoningContent" => {
                if let Some(text) = value["text"].as_str().filter(|text| !text.is_empty()) {
                    self.tell(json!({"reasoning_content": text}), made);
                }
            }
            "toolUse" => {
                let piece = value["input"].as_str().ok_or_else(|| Malformed("a call's input is no string".into()))?;
                match self.open.get_mut(&place(event)?) {
                    Some(Block::Call { index, has_input }) if !piece.is_empty() => {
                        *has_input = true;
                        let index = *index;
                        self.arguments(index, piece, made);
                    }
                    Some(_) => {}
                    None => return Err(Malformed("the input of a call that hasn't begun".into())),
                }
            }
            "citation" | "toolResult" => {}
            // Half an answer that looks whole would be worse than none.
            other => return Err(Malformed(format!("a delta of type `{other}` has no counterpart"))),
        }
        Ok(())
    }

    /// A call without any input has an object without members.
    fn end_block(&self, block: Block, made: &mut Vec<Value>) {
        if let Block::Call { index, has_input: false } = block {
            self.arguments(index, "{}", made);
        }
    }

    fn stop(&mut self, event: &Value, made: &mut Vec<Value>) -> Result<(), StreamFault> {
        if self.has_stopped {
            return Ok(());
        }
        let why = event["stopReason"].as_str().ok_or_else(|| Malformed("the message ends without a reason".into()))?;
        let Some(reason) = reply::finish_reason(why, self.calls > 0) else {
            return Err(StreamFault::Upstream { message: reply::failure(why), kind: "server_error".into() });
        };
        for (_, block) in std::mem::take(&mut self.open) {
            self.end_block(block, made);
        }
        self.has_stopped = true;
        made.push(self.chunk(json!({}), Some(reason)));
        Ok(())
    }

    fn arguments(&self, index: u64, piece: &str, made: &mut Vec<Value>) {
        self.tell(json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}), made);
    }

    fn tell(&self, delta: Value, made: &mut Vec<Value>) {
        made.push(self.chunk(delta, None));
    }

    fn chunk(&self, delta: Value, finish_reason: Option<&str>) -> Value {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
        self.envelope(vec![choice], Value::Null)
    }

    fn envelope(&self, choices: Vec<Value>, usage: Value) -> Value {
        let mut chunk = json!({
            "id": reply::id(self.created),
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

/// Which block an event is about.
fn place(event: &Value) -> Result<u64, Malformed> {
    event["contentBlockIndex"].as_u64().ok_or_else(|| Malformed("an event names no block".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Event = (&'static str, Value);

    fn begin() -> Event {
        ("messageStart", json!({"role": "assistant", "p": "abcd"}))
    }

    fn block(index: u64, start: Value) -> Event {
        ("contentBlockStart", json!({"contentBlockIndex": index, "start": start}))
    }

    fn call(index: u64, id: &str) -> Event {
        block(index, json!({"toolUse": {"toolUseId": id, "name": "f"}}))
    }

    fn delta(index: u64, delta: Value) -> Event {
        ("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta, "p": "ab"}))
    }

    fn input(index: u64, piece: &str) -> Event {
        delta(index, json!({"toolUse": {"input": piece}}))
    }

    fn end(index: u64) -> Event {
        ("contentBlockStop", json!({"contentBlockIndex": index}))
    }

    fn stop(reason: &str) -> Event {
        ("messageStop", json!({"stopReason": reason}))
    }

    fn metadata() -> Event {
        let usage = json!({"inputTokens": 4, "outputTokens": 3, "totalTokens": 9, "cacheReadInputTokens": 2});
        ("metadata", json!({"usage": usage, "metrics": {"latencyMs": 1}}))
    }

    fn text_stream() -> Vec<Event> {
        vec![
            begin(),
            block(0, json!({"reasoningContent": {}})),
            delta(0, json!({"reasoningContent": {"text": "Hm."}})),
            delta(0, json!({"reasoningContent": {"signature": "s"}})),
            end(0),
            delta(1, json!({"text": "Gr\u{fc}ezi "})),
            delta(1, json!({"text": ""})),
            ("somethingNew", json!(5)),
            delta(1, json!({"text": "\u{1f44b}"})),
            delta(1, json!({"citation": {"title": "A"}})),
            end(1),
            stop("end_turn"),
            metadata(),
        ]
    }

    fn all(events: &[Event], include_usage: bool) -> Result<Vec<Value>, StreamFault> {
        let (mut chunks, mut made) = (Chunks::new("m", 7, include_usage), Vec::new());
        for (kind, data) in events {
            chunks.event(kind, &data.to_string(), &mut made)?;
        }
        chunks.finish(&mut made)?;
        Ok(made)
    }

    fn deltas(events: &[Event]) -> Vec<Value> {
        all(events, false).unwrap().iter().map(|chunk| chunk["choices"][0]["delta"].clone()).collect()
    }

    fn begun(index: u64, id: &str) -> Value {
        json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": "f", "arguments": ""}}]})
    }

    fn more(index: u64, piece: &str) -> Value {
        json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    }

    #[test]
    fn a_text_with_thoughts_and_usage() {
        let chunk = |choices: Value, usage: Value| {
            json!({"id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": choices,
                "usage": usage})
        };
        let delta = |delta: Value, reason: Value| {
            let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason});
            chunk(json!([choice]), Value::Null)
        };
        assert_eq!(
            all(&text_stream(), true).unwrap(),
            [
                delta(json!({"role": "assistant", "content": ""}), Value::Null),
                delta(json!({"reasoning_content": "Hm."}), Value::Null),
                delta(json!({"content": "Gr\u{fc}ezi "}), Value::Null),
                delta(json!({"content": "\u{1f44b}"}), Value::Null),
                delta(json!({}), json!("stop")),
                chunk(
                    json!([]),
                    json!({"prompt_tokens": 6, "completion_tokens": 3, "total_tokens": 9,
                        "prompt_tokens_details": {"cached_tokens": 2}})
                ),
            ]
        );
        let without = all(&text_stream(), false).unwrap();
        assert_eq!(without.len(), 5);
        assert!(without.iter().all(|chunk| chunk.get("usage").is_none()));
    }

    #[test]
    fn calls_are_counted_apart_from_other_blocks_and_may_come_by_turns() {
        let events = [
            begin(),
            delta(0, json!({"text": "Let me."})),
            end(0),
            block(1, json!({"toolUse": {"toolUseId": "s", "name": "search", "type": "server_tool_use"}})),
            input(1, "{\"q\":1}"),
            end(1),
            call(2, "a"),
            call(5, "b"),
            input(5, "{\"y\""),
            input(2, ""),
            input(2, "{\"x\":"),
            input(5, ":2}"),
            end(5),
            input(2, "1}"),
            end(2),
            call(6, "c"),
            end(6),
            call(7, "d"),
            stop("tool_use"),
        ];
        assert_eq!(
            deltas(&events),
            [
                json!({"role": "assistant", "content": ""}),
                json!({"content": "Let me."}),
                begun(0, "a"),
                begun(1, "b"),
                more(1, "{\"y\""),
                more(0, "{\"x\":"),
                more(1, ":2}"),
                more(0, "1}"),
                begun(2, "c"),
                more(2, "{}"),
                begun(3, "d"),
                more(3, "{}"),
                json!({}),
            ]
        );
        let made = all(&events, true).unwrap();
        // Usage that wasn't told is not made up.
        assert_eq!(made.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
    }

    #[test]
    fn endings() {
        for (reason, expected) in
            [("max_tokens", "length"), ("guardrail_intervened", "content_filter"), ("stop_sequence", "stop")]
        {
            let made =
                all(&[begin(), delta(0, json!({"text": "a"})), metadata(), stop(reason), stop("end_turn")], true);
            let made = made.unwrap();
            assert_eq!(made[made.len() - 2]["choices"][0]["finish_reason"], expected);
            assert_eq!(made[made.len() - 1]["usage"]["total_tokens"], 9);
        }
        assert_eq!(deltas(&[stop("end_turn")]), [json!({"role": "assistant", "content": ""}), json!({})]);
    }

    #[test]
    fn a_stream_that_breaks_off_anywhere_is_an_error() {
        let events = text_stream();
        let whole = all(&events, true).unwrap();
        let stop = events.len() - 2;
        for cut in 0..=stop {
            let (mut chunks, mut made) = (Chunks::new("m", 7, true), Vec::new());
            for (kind, data) in &events[..cut] {
                chunks.event(kind, &data.to_string(), &mut made).unwrap();
            }
            let before = made.len();
            assert!(whole.starts_with(&made));
            assert_eq!(chunks.finish(&mut made), Err(StreamFault::BrokenOff), "{cut}");
            assert_eq!(chunks.finish(&mut made), Err(StreamFault::BrokenOff));
            assert_eq!(made.len(), before);
        }
        // What comes after the reason to stop is the usage only.
        assert_eq!(all(&events[..=stop], true).unwrap(), whole[..whole.len() - 1]);
    }

    #[test]
    fn exceptions_end_a_stream() {
        for (kind, data, message, expected) in [
            ("throttlingException", "{\"message\":\"slow down\"}", "slow down", "rate_limit_error"),
            ("modelStreamErrorException", "{\"message\":\"x\",\"originalStatusCode\":500}", "x", "server_error"),
            ("internalServerException", "oops", "it doesn't say why (internalServerException)", "server_error"),
            ("serviceUnavailableException", "{\"message\":\"x\"}", "x", "server_error"),
            ("validationException", "{\"message\":\"x\"}", "x", "invalid_request_error"),
            (
                "messageStop",
                "{\"stopReason\":\"malformed_tool_use\"}",
                "the model failed (malformed_tool_use)",
                "server_error",
            ),
        ] {
            let (mut chunks, mut made) = (Chunks::new("m", 7, false), Vec::new());
            chunks.event("contentBlockDelta", &delta(0, json!({"text": "a"})).1.to_string(), &mut made).unwrap();
            let fault = StreamFault::Upstream { message: message.into(), kind: expected.into() };
            assert_eq!(chunks.event(kind, data, &mut made), Err(fault));
            let before = made.len();
            assert_eq!(
                chunks.event("messageStop", "{\"stopReason\":\"end_turn\"}", &mut made),
                Err(StreamFault::BrokenOff)
            );
            assert_eq!((chunks.finish(&mut made), made.len()), (Err(StreamFault::BrokenOff), before));
        }
    }

    #[test]
    fn events_that_are_not_understood_are_errors() {
        for (kind, data) in [
            ("messageStart", "oops"),
            ("messageStart", ""),
            ("messageStart", "[]"),
            ("messageStop", "{}"),
            ("contentBlockDelta", "{\"contentBlockIndex\":0}"),
            ("contentBlockDelta", "{\"contentBlockIndex\":0,\"delta\":{\"text\":5}}"),
            ("contentBlockDelta", "{\"contentBlockIndex\":0,\"delta\":{\"image\":{}}}"),
            ("contentBlockDelta", "{\"contentBlockIndex\":0,\"delta\":{\"toolUse\":{\"input\":\"{\"}}}"),
            ("contentBlockStart", "{\"contentBlockIndex\":0,\"start\":{\"image\":{\"format\":\"png\"}}}"),
            ("contentBlockStart", "{\"contentBlockIndex\":0,\"start\":{\"toolUse\":{\"name\":\"f\"}}}"),
            ("contentBlockStart", "{\"start\":{\"toolUse\":{\"toolUseId\":\"a\",\"name\":\"f\"}}}"),
            ("contentBlockStop", "{}"),
        ] {
            let (mut chunks, mut made) = (Chunks::new("m", 7, false), Vec::new());
            assert!(matches!(chunks.event(kind, data, &mut made), Err(StreamFault::Malformed(_))), "{kind} {data}");
        }
        let mut late = text_stream();
        late.push(delta(1, json!({"text": "b"})));
        assert!(matches!(all(&late, false), Err(StreamFault::Malformed(_))));
    }

    #[test]
    fn finishing_twice_tells_once_and_nothing_follows() {
        let (mut chunks, mut made) = (Chunks::new("m", 7, true), Vec::new());
        for (kind, data) in text_stream() {
            chunks.event(kind, &data.to_string(), &mut made).unwrap();
        }
        chunks.finish(&mut made).unwrap();
        let whole = made.len();
        chunks.finish(&mut made).unwrap();
        chunks.event("contentBlockDelta", "oops", &mut made).unwrap();
        assert_eq!((whole, made.len()), (6, 6));
    }
}
