//! Anthropic's stream of events as OpenAI's chunks.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::completion::{annotation, arguments, finish_reason, usage};
use super::{StreamFault, upstream_fault};

/// Turns one stream's events into chunks, in turn.
///
/// A tool call's index counts calls, where Anthropic's counts blocks of all kinds. Usage is told at the very end,
/// because only the last of Anthropic's counts is final.
#[derive(Debug)]
pub struct Chunks {
    created: u64,
    include_usage: bool,
    /// Whether the message has begun.
    begun: bool,
    id: String,
    model: String,
    /// Blocks that have begun and not ended, by Anthropic's index.
    open: BTreeMap<u64, Block>,
    calls: u64,
    /// Characters of text so far, for annotations.
    characters: usize,
    usage: Map<String, Value>,
    finished: bool,
    complete: bool,
}

/// A block that isn't at its end.
#[derive(Debug)]
enum Block {
    /// Text since the character `start`, and what it cites.
    Text { start: usize, citations: Vec<Value> },
    /// The call with this index. Its input comes in pieces; where none comes, `input` is all of it.
    Call { index: u64, input: Value, in_pieces: bool },
    /// Thoughts, and what there is no place for.
    Other,
}

impl Chunks {
    /// For a stream that began at `created` (seconds since 1970) and that tells its usage or not.
    #[must_use]
    pub fn new(created: u64, include_usage: bool) -> Self {
        Self {
            created,
            include_usage,
            begun: false,
            id: String::new(),
            model: String::new(),
            open: BTreeMap::new(),
            calls: 0,
            characters: 0,
            usage: Map::new(),
            finished: false,
            complete: false,
        }
    }

    /// Adds to `out` the chunks for an event with this data. Events of types that aren't known have none.
    ///
    /// # Errors
    /// Where the event is an error or can't be read, or doesn't follow from those before. Nothing is to be expected of
    /// the stream after that.
    pub fn event(&mut self, data: &str, out: &mut Vec<Value>) -> Result<(), StreamFault> {
        let event: Value = serde_json::from_str(data).map_err(|error| StreamFault::Malformed(error.to_string()))?;
        match event["type"].as_str() {
            Some("error") => return Err(upstream_fault(&event["error"])),
            Some("message_start") => self.begin(&event["message"], out),
            Some(kind @ ("content_block_start" | "content_block_delta" | "content_block_stop" | "message_delta"))
                if !self.begun || self.complete =>
            {
                return Err(StreamFault::Malformed(format!("`{kind}` outside of a message")));
            }
            Some("content_block_start") => self.begin_block(&event, out)?,
            Some("content_block_delta") => self.delta(&event, out),
            Some("content_block_stop") => self.end_block(&event, out),
            Some("message_delta") => self.message_delta(&event, out),
            Some("message_stop") => self.end(out)?,
            Some(_) => {}
            None => return Err(StreamFault::Malformed("an event has no type".into())),
        }
        Ok(())
    }

    /// Whether the message is at its end, so that nothing follows.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    fn begin(&mut self, message: &Value, out: &mut Vec<Value>) {
        if self.begun {
            return;
        }
        self.begun = true;
        self.id = message["id"].as_str().unwrap_or_default().to_owned();
        self.model = message["model"].as_str().unwrap_or_default().to_owned();
        self.count(&message["usage"]);
        self.tell(json!({"role": "assistant", "content": ""}), out);
    }

    fn begin_block(&mut self, event: &Value, out: &mut Vec<Value>) -> Result<(), StreamFault> {
        let block = &event["content_block"];
        let open = match block["type"].as_str() {
            Some("text") => {
                let start = self.characters;
                self.text(&block["text"], out);
                Block::Text { start, citations: Vec::new() }
            }
            Some("thinking") => {
                self.thought(&block["thinking"], out);
                Block::Other
            }
            Some("tool_use") => {
                let (Some(id), Some(name)) = (block["id"].as_str(), block["name"].as_str()) else {
                    return Err(StreamFault::Malformed("a tool_use block has no id or no name".into()));
                };
                let index = self.calls;
                self.calls += 1;
                let function = json!({"name": name, "arguments": ""});
                let call = json!({"index": index, "id": id, "type": "function", "function": function});
                self.tell(json!({"tool_calls": [call]}), out);
                Block::Call { index, input: block["input"].clone(), in_pieces: false }
            }
            _ => Block::Other,
        };
        self.open.insert(event["index"].as_u64().unwrap_or(0), open);
        Ok(())
    }

    fn delta(&mut self, event: &Value, out: &mut Vec<Value>) {
        let delta = &event["delta"];
        match delta["type"].as_str() {
            Some("text_delta") => self.text(&delta["text"], out),
            Some("thinking_delta") => self.thought(&delta["thinking"], out),
            Some("input_json_delta") => {
                let piece = delta["partial_json"].as_str().unwrap_or_default();
                // Tools that run at Anthropic have input too, and are not the caller's to call.
                if let Some(Block::Call { index, in_pieces, .. }) = self.block(event)
                    && !piece.is_empty()
                {
                    *in_pieces = true;
                    let index = *index;
                    self.arguments(index, piece, out);
                }
            }
            Some("citations_delta") => {
                if let Some(Block::Text { citations, .. }) = self.block(event) {
                    citations.push(delta["citation"].clone());
                }
            }
            _ => {}
        }
    }

    fn end_block(&mut self, event: &Value, out: &mut Vec<Value>) {
        match self.open.remove(&event["index"].as_u64().unwrap_or(0)) {
            Some(Block::Call { index, input, in_pieces: false }) => self.arguments(index, &arguments(&input), out),
            Some(Block::Text { start, citations }) => {
                let end = self.characters;
                let annotations: Vec<Value> =
                    citations.iter().filter_map(|citation| annotation(citation, start, end)).collect();
                if !annotations.is_empty() {
                    self.tell(json!({"annotations": annotations}), out);
                }
            }
            _ => {}
        }
    }

    fn message_delta(&mut self, event: &Value, out: &mut Vec<Value>) {
        self.count(&event["usage"]);
        if let Some(stop_reason) = event["delta"]["stop_reason"].as_str()
            && !self.finished
        {
            self.finished = true;
            out.push(self.chunk(json!({}), finish_reason(stop_reason).into()));
        }
    }

    fn end(&mut self, out: &mut Vec<Value>) -> Result<(), StreamFault> {
        if self.complete {
            return Ok(());
        }
        if !self.finished {
            return Err(StreamFault::Malformed("the message ends without a stop_reason".into()));
        }
        self.complete = true;
        if self.include_usage {
            let mut chunk = self.frame();
            chunk.insert("choices".into(), json!([]));
            chunk.insert("usage".into(), usage(&self.usage.clone().into()).unwrap_or_default());
            out.push(chunk.into());
        }
        Ok(())
    }

    fn block(&mut self, event: &Value) -> Option<&mut Block> {
        self.open.get_mut(&event["index"].as_u64().unwrap_or(0))
    }

    fn text(&mut self, text: &Value, out: &mut Vec<Value>) {
        if let Some(text) = text.as_str().filter(|text| !text.is_empty()) {
            self.characters += text.chars().count();
            self.tell(json!({"content": text}), out);
        }
    }

    fn thought(&self, thought: &Value, out: &mut Vec<Value>) {
        if let Some(thought) = thought.as_str().filter(|thought| !thought.is_empty()) {
            self.tell(json!({"reasoning_content": thought}), out);
        }
    }

    fn arguments(&self, index: u64, piece: &str, out: &mut Vec<Value>) {
        self.tell(json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}), out);
    }

    /// Takes over counts; each is of the whole message so far, so the last one stands.
    fn count(&mut self, usage: &Value) {
        for (name, count) in usage.as_object().into_iter().flatten().filter(|(_, count)| count.is_u64()) {
            self.usage.insert(name.clone(), count.clone());
        }
    }

    fn tell(&self, delta: Value, out: &mut Vec<Value>) {
        out.push(self.chunk(delta, Value::Null));
    }

    fn chunk(&self, delta: Value, finish_reason: Value) -> Value {
        let mut chunk = self.frame();
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
        chunk.insert("choices".into(), json!([choice]));
        if self.include_usage {
            chunk.insert("usage".into(), Value::Null);
        }
        chunk.into()
    }

    fn frame(&self) -> Map<String, Value> {
        let mut frame = Map::new();
        frame.insert("id".into(), self.id.as_str().into());
        frame.insert("object".into(), "chat.completion.chunk".into());
        frame.insert("created".into(), self.created.into());
        frame.insert("model".into(), self.model.as_str().into());
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Value {
        json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
            "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 10, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 0, "output_tokens": 1}}})
    }

    fn block(index: u64, block: Value) -> Value {
        json!({"type": "content_block_start", "index": index, "content_block": block})
    }

    fn delta(index: u64, delta: Value) -> Value {
        json!({"type": "content_block_delta", "index": index, "delta": delta})
    }

    fn block_stop(index: u64) -> Value {
        json!({"type": "content_block_stop", "index": index})
    }

    fn end(stop_reason: &str) -> [Value; 2] {
        [
            json!({"type": "message_delta", "delta": {"stop_reason": stop_reason, "stop_sequence": null},
                "usage": {"output_tokens": 9}}),
            json!({"type": "message_stop"}),
        ]
    }

    fn text_stream() -> Vec<Value> {
        let mut events = vec![
            start(),
            block(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
            delta(0, json!({"type": "thinking_delta", "thinking": "Hm."})),
            delta(0, json!({"type": "signature_delta", "signature": "s"})),
            block_stop(0),
            json!({"type": "ping"}),
            block(1, json!({"type": "text", "text": ""})),
            delta(1, json!({"type": "text_delta", "text": "Gr\u{fc}"})),
            delta(1, json!({"type": "text_delta", "text": "ezi"})),
            json!({"type": "unheard_of", "index": {}}),
            block_stop(1),
        ];
        events.extend(end("end_turn"));
        events
    }

    fn chunks(events: &[Value], include_usage: bool) -> Result<(Vec<Value>, bool), StreamFault> {
        let (mut chunks, mut out) = (Chunks::new(5, include_usage), Vec::new());
        for event in events {
            chunks.event(&event.to_string(), &mut out)?;
        }
        Ok((out, chunks.is_complete()))
    }

    fn deltas(events: &[Value]) -> Vec<Value> {
        chunks(events, false).unwrap().0.iter().map(|chunk| chunk["choices"][0]["delta"].clone()).collect()
    }

    #[test]
    fn a_text_with_thoughts() {
        let chunk = |delta: Value, finish_reason: Value| {
            json!({"id": "msg_1", "object": "chat.completion.chunk", "created": 5, "model": "claude-x",
                "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]})
        };
        let expected = vec![
            chunk(json!({"role": "assistant", "content": ""}), json!(null)),
            chunk(json!({"reasoning_content": "Hm."}), json!(null)),
            chunk(json!({"content": "Gr\u{fc}"}), json!(null)),
            chunk(json!({"content": "ezi"}), json!(null)),
            chunk(json!({}), json!("stop")),
        ];
        assert_eq!(chunks(&text_stream(), false).unwrap(), (expected, true));
    }

    #[test]
    fn usage_is_told_once_at_the_end_and_null_before() {
        let (chunks, _) = chunks(&text_stream(), true).unwrap();
        let (last, others) = chunks.split_last().unwrap();
        assert!(others.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
        assert_eq!(last["choices"], json!([]));
        let usage = json!({"prompt_tokens": 14, "completion_tokens": 9, "total_tokens": 23,
            "prompt_tokens_details": {"cached_tokens": 4}});
        assert_eq!(last["usage"], usage);
    }

    #[test]
    fn calls_are_counted_apart_from_other_blocks() {
        let piece = |text: &str| json!({"type": "input_json_delta", "partial_json": text});
        let mut events = vec![
            start(),
            block(0, json!({"type": "text", "text": "Let me."})),
            block_stop(0),
            block(1, json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})),
            delta(1, piece("{\"query\":1}")),
            block_stop(1),
            block(2, json!({"type": "tool_use", "id": "a", "name": "f", "input": {}})),
            delta(2, piece("")),
            delta(2, piece("{\"x\":")),
            delta(2, piece("1}")),
            block_stop(2),
            block(3, json!({"type": "tool_use", "id": "b", "name": "g", "input": {}})),
            delta(3, piece("")),
            block_stop(3),
            block(4, json!({"type": "tool_use", "id": "c", "name": "h", "input": {"y": 2}})),
            block_stop(4),
        ];
        events.extend(end("tool_use"));
        let call = |index: u64, id: &str, name: &str| {
            json!({"tool_calls": [{"index": index, "id": id, "type": "function",
                "function": {"name": name, "arguments": ""}}]})
        };
        let more =
            |index: u64, piece: &str| json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]});
        assert_eq!(
            deltas(&events),
            [
                json!({"role": "assistant", "content": ""}),
                json!({"content": "Let me."}),
                call(0, "a", "f"),
                more(0, "{\"x\":"),
                more(0, "1}"),
                call(1, "b", "g"),
                more(1, "{}"),
                call(2, "c", "h"),
                more(2, "{\"y\":2}"),
                json!({}),
            ]
        );
        let (chunks, _) = chunks(&events, false).unwrap();
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
    }

    #[test]
    fn cited_pages_become_annotations_once_their_text_is_told() {
        let mut events = vec![
            start(),
            block(0, json!({"type": "text", "text": "\u{e9}: "})),
            block_stop(0),
            block(1, json!({"type": "text", "text": "", "citations": []})),
            delta(1, json!({"type": "citations_delta", "citation": {"url": "https://a", "title": "A"}})),
            delta(1, json!({"type": "text_delta", "text": "hot"})),
            block_stop(1),
        ];
        events.extend(end("end_turn"));
        let cited = json!({"start_index": 3, "end_index": 6, "url": "https://a", "title": "A"});
        assert_eq!(deltas(&events)[3], json!({"annotations": [{"type": "url_citation", "url_citation": cited}]}));
    }

    #[test]
    fn a_stream_cut_anywhere_is_not_complete() {
        let events = text_stream();
        let (whole, _) = chunks(&events, true).unwrap();
        for cut in 0..events.len() {
            let (chunks, complete) = chunks(&events[..cut], true).unwrap();
            assert!(!complete && whole.starts_with(&chunks), "{cut}");
        }
    }

    #[test]
    fn errors_and_rubbish_are_faults() {
        let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
        let fault = chunks(&[start(), overloaded], false).unwrap_err();
        assert_eq!(fault, StreamFault::Upstream("Overloaded".into(), "overloaded_error".into()));
        let bare = chunks(&[json!({"type": "error"})], false).unwrap_err();
        assert_eq!(bare, StreamFault::Upstream("it doesn't say why".into(), "api_error".into()));
        let stop = json!({"type": "message_stop"});
        for events in [
            vec![json!(5)],
            vec![json!({})],
            vec![delta(0, json!({"type": "text_delta", "text": "a"}))],
            vec![stop.clone()],
            vec![start(), stop],
            vec![start(), block(0, json!({"type": "tool_use", "name": "f"}))],
            [text_stream(), vec![delta(1, json!({"type": "text_delta", "text": "a"}))]].concat(),
        ] {
            assert!(matches!(chunks(&events, false), Err(StreamFault::Malformed(_))), "{events:?}");
        }
        for data in ["", "{oops", "[DONE]", "\u{0}"] {
            assert!(matches!(Chunks::new(5, false).event(data, &mut Vec::new()), Err(StreamFault::Malformed(_))));
        }
    }

    #[test]
    fn odd_events_change_nothing() {
        let mut events = text_stream();
        events.insert(1, start());
        events.insert(2, block(9, json!({"type": "hologram"})));
        events.insert(3, delta(9, json!({"type": "hologram_delta"})));
        events.insert(4, delta(9, json!({"type": "input_json_delta", "partial_json": "{"})));
        events.insert(5, delta(77, json!({"type": "text_delta", "text": 5})));
        events.insert(6, block_stop(77));
        let [again, stop] = end("max_tokens");
        events.insert(events.len() - 1, again);
        events.push(stop);
        assert_eq!(chunks(&events, true), chunks(&text_stream(), true));
    }
}
