//! OpenAI's chunks as Anthropic's stream of events.

use serde_json::{Value, json};

use super::super::{Malformed, StreamFault, upstream_fault};
use super::reply::{call_id, frame, input, stop_reason, text, thoughts, usage};

/// An event's name, and its data.
pub(super) type Event = (&'static str, Value);

/// Turns one stream's chunks into events, in turn.
///
/// Anthropic's blocks follow one another, where OpenAI's calls of tools may grow side by side. A call is told as it
/// comes until another one, or text, begins; that one has its turn as soon as the arguments before it are whole, and
/// until then it is kept back, with pings for its pieces. What is still kept back at the end is told there.
#[derive(Debug)]
pub struct Events {
    id: String,
    model: String,
    begun: bool,
    done: bool,
    /// The index of the block that is open, or of the next one.
    block: u64,
    open: Option<Open>,
    calls: Vec<Call>,
    /// Text that came in the middle of a call.
    held: String,
    refused: bool,
    finish_reason: Option<String>,
    usage: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    Call(usize),
}

/// A call of a tool, as far as it is known.
#[derive(Debug, Default)]
struct Call {
    index: u64,
    id: String,
    name: String,
    arguments: String,
    told: bool,
}

impl Call {
    /// Whether nothing is missing from the arguments. A look at the last letter saves most of the reading.
    fn is_whole(&self) -> bool {
        self.arguments.trim_end().ends_with('}') && input(&self.arguments.as_str().into()).is_some()
    }
}

impl Events {
    /// For a stream of `model`, which is told where the provider doesn't name its own.
    #[must_use]
    pub fn new(model: &str) -> Self {
        Self {
            id: String::new(),
            model: model.to_owned(),
            begun: false,
            done: false,
            block: 0,
            open: None,
            calls: Vec::new(),
            held: String::new(),
            refused: false,
            finish_reason: None,
            usage: Value::Null,
        }
    }

    /// Adds to `out` the events for a chunk. Those before the first choice, and those with usage alone, have none.
    ///
    /// # Errors
    /// Where the chunk is an error or can't be read, or goes on with a call that was at its end. Nothing is to be
    /// expected of the stream after that.
    pub fn chunk(&mut self, chunk: &Value, out: &mut Vec<Event>) -> Result<(), StreamFault> {
        if !chunk.is_object() {
            return Err(StreamFault::Malformed("a chunk is no object".into()));
        }
        if !chunk["error"].is_null() {
            return Err(upstream_fault(&chunk["error"]));
        }
        for (name, place) in [("id", &mut self.id), ("model", &mut self.model)] {
            if let Some(given) = chunk[name].as_str().filter(|given| !given.is_empty()) {
                given.clone_into(place);
            }
        }
        if chunk["usage"].is_object() {
            self.usage = chunk["usage"].clone();
        }
        let mut choices = chunk["choices"].as_array().into_iter().flatten();
        let Some(choice) = choices.find(|choice| choice["index"].as_u64().unwrap_or(0) == 0) else { return Ok(()) };
        if !self.done {
            self.choice(choice, out)?;
        }
        Ok(())
    }

    /// Adds to `out` the events at the end of the stream, `[DONE]`.
    ///
    /// # Errors
    /// Where the answer wasn't at its end, or calls a tool with what is no JSON object.
    pub fn finish(&mut self, out: &mut Vec<Event>) -> Result<(), StreamFault> {
        if self.done {
            return Ok(());
        }
        let finish = self.finish_reason.clone().ok_or(StreamFault::BrokenOff)?;
        let stop_reason = stop_reason(&finish, !self.calls.is_empty(), self.refused)
            .map_err(|Malformed(why)| StreamFault::Malformed(why))?;
        let cut_off = finish == "length";
        let is_sound = |call: &Call| !call.name.is_empty() && input(&call.arguments.as_str().into()).is_some();
        if let Some(call) = self.calls.iter().find(|call| !is_sound(call) && !cut_off) {
            let why = format!("the call of the tool `{}` has no name or no JSON object as arguments", call.name);
            return Err(StreamFault::Malformed(why));
        }
        self.close(out);
        self.text("", out);
        for position in 0..self.calls.len() {
            if self.calls.get(position).is_some_and(|call| !call.told && is_sound(call)) {
                self.open_call(position, out);
            }
        }
        self.close(out);
        self.done = true;
        out.extend(end(stop_reason, usage(&self.usage)));
        Ok(())
    }

    fn choice(&mut self, choice: &Value, out: &mut Vec<Event>) -> Result<(), StreamFault> {
        if !self.begun {
            self.begun = true;
            out.push(start(&self.id, &self.model, usage(&self.usage)));
        }
        let delta = &choice["delta"];
        self.thought(thoughts(delta), out);
        self.text(&text(&delta["content"]), out);
        if let Some(refusal) = delta["refusal"].as_str().filter(|refusal| !refusal.is_empty()) {
            self.refused = true;
            self.text(refusal, out);
        }
        for piece in delta["tool_calls"].as_array().into_iter().flatten() {
            self.tool_call(piece, out)?;
        }
        if let Some(finish_reason) = choice["finish_reason"].as_str() {
            self.finish_reason = Some(finish_reason.to_owned());
        }
        Ok(())
    }

    fn thought(&mut self, piece: &str, out: &mut Vec<Event>) {
        // Thoughts in the middle of a call are no part of the answer, and have no place there.
        if piece.is_empty() || self.is_within_call() {
            return;
        }
        let block = json!({"type": "thinking", "thinking": "", "signature": ""});
        self.open(Open::Thinking, block, out);
        out.push(block_delta(self.block, json!({"type": "thinking_delta", "thinking": piece})));
    }

    fn text(&mut self, piece: &str, out: &mut Vec<Event>) {
        if piece.is_empty() && self.held.is_empty() {
            return;
        }
        if self.is_within_call() {
            if !piece.is_empty() {
                self.held.push_str(piece);
                out.push(ping());
            }
            return;
        }
        let text = std::mem::take(&mut self.held) + piece;
        self.open(Open::Text, json!({"type": "text", "text": ""}), out);
        out.push(block_delta(self.block, json!({"type": "text_delta", "text": text})));
    }

    fn tool_call(&mut self, piece: &Value, out: &mut Vec<Event>) -> Result<(), StreamFault> {
        let told = out.len();
        let position = self.position(piece);
        let is_open = self.open == Some(Open::Call(position));
        let Some(call) = self.calls.get_mut(position) else { return Ok(()) };
        for (place, given) in [(&mut call.id, &piece["id"]), (&mut call.name, &piece["function"]["name"])] {
            if place.is_empty() {
                given.as_str().unwrap_or_default().clone_into(place);
            }
        }
        let more = match &piece["function"]["arguments"] {
            Value::String(more) => more.clone(),
            Value::Null => String::new(),
            whole => whole.to_string(),
        };
        call.arguments.push_str(&more);
        if is_open {
            if !more.is_empty() {
                out.push(input_delta(self.block, &more));
            }
        } else if call.told && !more.trim().is_empty() {
            return Err(StreamFault::Malformed("a tool call goes on after its end".into()));
        }
        self.advance(out);
        if out.len() == told {
            out.push(ping());
        }
        Ok(())
    }

    /// Which call a piece belongs to; one that is new has been added. Some providers give several calls the same index,
    /// so ids count for more.
    fn position(&mut self, piece: &Value) -> usize {
        let id = piece["id"].as_str().unwrap_or_default();
        let index = piece["index"].as_u64();
        let same_id = self.calls.iter().rposition(|call| !id.is_empty() && call.id == id);
        let same_index = || {
            let last = self.calls.iter().enumerate().rfind(|(_, call)| index.is_none_or(|index| call.index == index));
            last.filter(|(_, call)| id.is_empty() || call.id.is_empty()).map(|(position, _)| position)
        };
        same_id.or_else(same_index).unwrap_or_else(|| {
            let index = index.unwrap_or(self.calls.len() as u64);
            self.calls.push(Call { index, ..Call::default() });
            self.calls.len() - 1
        })
    }

    /// Goes over to the next calls, as far as those before are whole.
    fn advance(&mut self, out: &mut Vec<Event>) {
        while let Some(next) = self.calls.iter().position(|call| !call.told) {
            if self.is_within_call() || self.calls.get(next).is_none_or(|call| call.name.is_empty()) {
                return;
            }
            self.open_call(next, out);
        }
    }

    /// Whether a call is open that isn't whole.
    fn is_within_call(&self) -> bool {
        match self.open {
            Some(Open::Call(position)) => self.calls.get(position).is_some_and(|call| !call.is_whole()),
            _ => false,
        }
    }

    fn open_call(&mut self, position: usize, out: &mut Vec<Event>) {
        let Some(call) = self.calls.get_mut(position) else { return };
        call.told = true;
        let id = call_id(&call.id, &self.id, position);
        let block = json!({"type": "tool_use", "id": id, "name": call.name, "input": {}});
        let arguments = call.arguments.clone();
        self.open(Open::Call(position), block, out);
        if !arguments.is_empty() {
            out.push(input_delta(self.block, &arguments));
        }
    }

    /// Opens a block, unless it is open.
    fn open(&mut self, kind: Open, block: Value, out: &mut Vec<Event>) {
        if self.open != Some(kind) {
            self.close(out);
            self.open = Some(kind);
            out.push(block_start(self.block, block));
        }
    }

    fn close(&mut self, out: &mut Vec<Event>) {
        if self.open.take().is_some() {
            out.push(block_stop(self.block));
            self.block += 1;
        }
    }
}

pub(super) fn start(id: &str, model: &str, usage: Value) -> Event {
    let mut message = frame(id, model);
    message.insert("content".into(), json!([]));
    message.insert("stop_reason".into(), Value::Null);
    message.insert("stop_sequence".into(), Value::Null);
    message.insert("usage".into(), usage);
    ("message_start", json!({"type": "message_start", "message": message}))
}

pub(super) fn block_start(index: u64, block: Value) -> Event {
    ("content_block_start", json!({"type": "content_block_start", "index": index, "content_block": block}))
}

pub(super) fn block_delta(index: u64, delta: Value) -> Event {
    ("content_block_delta", json!({"type": "content_block_delta", "index": index, "delta": delta}))
}

fn input_delta(index: u64, piece: &str) -> Event {
    block_delta(index, json!({"type": "input_json_delta", "partial_json": piece}))
}

pub(super) fn block_stop(index: u64) -> Event {
    ("content_block_stop", json!({"type": "content_block_stop", "index": index}))
}

fn ping() -> Event {
    ("ping", json!({"type": "ping"}))
}

pub(super) fn end(stop_reason: &str, usage: Value) -> [Event; 2] {
    let delta = json!({"stop_reason": stop_reason, "stop_sequence": null});
    [
        ("message_delta", json!({"type": "message_delta", "delta": delta, "usage": usage})),
        ("message_stop", json!({"type": "message_stop"})),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(delta: Value) -> Value {
        json!({"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "gpt-x",
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]})
    }

    fn finish(reason: &str) -> Value {
        let mut chunk = chunk(json!({}));
        chunk["choices"][0]["finish_reason"] = reason.into();
        chunk
    }

    fn counts() -> Value {
        json!({"id": "c1", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}})
    }

    /// The first piece of a call, and a further one.
    fn call(index: u64, id: &str, name: &str, arguments: &str) -> Value {
        chunk(json!({"tool_calls": [{"index": index, "id": id, "type": "function",
                "function": {"name": name, "arguments": arguments}}]}))
    }

    fn more(index: u64, arguments: &str) -> Value {
        chunk(json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}))
    }

    fn told(chunks: &[Value]) -> Result<Vec<Event>, StreamFault> {
        let (mut events, mut out) = (Events::new("alias"), Vec::new());
        for chunk in chunks {
            events.chunk(chunk, &mut out)?;
        }
        events.finish(&mut out)?;
        assert!(out.iter().all(|(name, data)| data["type"] == *name));
        Ok(out)
    }

    /// What happens to blocks, in short: `0+text`, `0:words`, `0.` and `ping`.
    fn script(events: &[Event]) -> Vec<String> {
        let short = |(name, data): &Event| {
            let index = &data["index"];
            match *name {
                "content_block_start" => Some(format!("{index}+{}", data["content_block"]["type"].as_str().unwrap())),
                "content_block_delta" => {
                    let delta = &data["delta"];
                    let text = ["text", "thinking", "partial_json"].iter().find_map(|name| delta[*name].as_str());
                    Some(format!("{index}:{}", text.unwrap()))
                }
                "content_block_stop" => Some(format!("{index}.")),
                "ping" => Some("ping".into()),
                _ => None,
            }
        };
        events.iter().filter_map(short).collect()
    }

    #[test]
    fn thoughts_and_text() {
        let usage = |input: u64, output: u64| {
            json!({"input_tokens": input, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                "output_tokens": output})
        };
        let events = told(&[
            json!({"id": "", "model": "", "choices": [], "prompt_filter_results": []}),
            chunk(json!({"role": "assistant", "content": ""})),
            chunk(json!({"reasoning_content": "Hm."})),
            chunk(json!({"content": "Gr\u{fc}"})),
            chunk(json!({"content": "ezi"})),
            finish("stop"),
            counts(),
        ])
        .unwrap();
        let expected = [
            json!({"type": "message_start", "message": {"id": "msg_c1", "type": "message", "role": "assistant", "model": "gpt-x",
                "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage(0, 0)}}),
            json!({"type": "content_block_start", "index": 0,
                "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Gr\u{fc}"}}),
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "ezi"}}),
            json!({"type": "content_block_stop", "index": 1}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": usage(9, 4)}),
            json!({"type": "message_stop"}),
        ];
        assert_eq!(events.into_iter().map(|(_, data)| data).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn calls_in_turn_are_told_as_they_come() {
        let events = told(&[
            chunk(json!({"role": "assistant", "content": "Let me."})),
            call(0, "a", "f", ""),
            more(0, "{\"x\":"),
            more(0, "1}"),
            call(1, "b", "g", "{}"),
            finish("tool_calls"),
        ])
        .unwrap();
        let expected =
            ["0+text", "0:Let me.", "0.", "1+tool_use", "1:{\"x\":", "1:1}", "1.", "2+tool_use", "2:{}", "2."];
        assert_eq!(script(&events), expected);
        assert_eq!(events[4].1["content_block"], json!({"type": "tool_use", "id": "a", "name": "f", "input": {}}));
        assert_eq!(events[events.len() - 2].1["delta"]["stop_reason"], "tool_use");
    }

    #[test]
    fn calls_side_by_side_wait_for_their_turn() {
        let events = told(&[
            call(0, "a", "f", "{\"x\":"),
            call(1, "b", "g", "{\"y\":"),
            chunk(json!({"content": "And", "reasoning": "Hm."})),
            more(1, "2}"),
            more(0, "1}"),
            chunk(json!({"content": " so."})),
            finish("tool_calls"),
        ])
        .unwrap();
        let pings = ["ping", "ping", "ping"];
        let calls = ["0:1}", "0.", "1+tool_use", "1:{\"y\":2}", "1.", "2+text", "2:And so.", "2."];
        assert_eq!(script(&events), [&["0+tool_use", "0:{\"x\":"], &pings[..], &calls[..]].concat());
    }

    #[test]
    fn what_never_gets_its_turn_is_told_at_the_end() {
        let events = told(&[
            call(0, "a", "f", ""),
            call(1, "b", "g", "{}"),
            chunk(json!({"content": "Well."})),
            finish("tool_calls"),
        ])
        .unwrap();
        let expected = ["0+tool_use", "ping", "ping", "0.", "1+text", "1:Well.", "1.", "2+tool_use", "2:{}", "2."];
        assert_eq!(script(&events), expected);
    }

    #[test]
    fn calls_that_share_an_index_or_have_none_are_told_apart() {
        let no_index = |piece: Value| chunk(json!({"tool_calls": [piece]}));
        for chunks in [
            vec![call(0, "a", "f", "{}"), call(0, "b", "g", "{}"), call(0, "b", "g", "")],
            vec![
                no_index(json!({"id": "a", "function": {"name": "f", "arguments": "{"}})),
                no_index(json!({"function": {"arguments": "}"}})),
                no_index(json!({"id": "b", "function": {"name": "g", "arguments": {}}})),
            ],
        ] {
            let events = told(&[chunks, vec![finish("stop")]].concat()).unwrap();
            let starts: Vec<&Value> =
                events.iter().map(|(_, data)| &data["content_block"]["id"]).filter(|id| id.is_string()).collect();
            assert_eq!(starts, ["a", "b"]);
            assert_eq!(events[events.len() - 2].1["delta"]["stop_reason"], "tool_use");
        }
    }

    #[test]
    fn a_refusal_is_text_with_a_reason() {
        let events = told(&[chunk(json!({"refusal": "No."})), finish("stop")]).unwrap();
        assert_eq!(script(&events), ["0+text", "0:No.", "0."]);
        assert_eq!(events[4].1["delta"]["stop_reason"], "refusal");
    }

    #[test]
    fn an_empty_answer_and_a_nameless_model() {
        let mut bare = finish("stop");
        bare["id"] = Value::Null;
        bare["model"] = Value::Null;
        bare["choices"][0]["delta"] = json!({"content": null});
        let events = told(&[bare]).unwrap();
        assert_eq!(script(&events), Vec::<String>::new());
        assert_eq!(events[0].1["message"]["model"], "alias");
    }

    #[test]
    fn a_call_that_the_limit_cut_off_ends_the_answer_all_the_same() {
        let events = told(&[call(0, "a", "f", "{\"x\":"), call(1, "b", "g", "{\"y\""), finish("length")]).unwrap();
        assert_eq!(script(&events), ["0+tool_use", "0:{\"x\":", "ping", "0."]);
        assert_eq!(events[events.len() - 2].1["delta"]["stop_reason"], "max_tokens");
    }

    #[test]
    fn a_stream_cut_anywhere_does_not_pretend() {
        let chunks = [
            chunk(json!({"role": "assistant", "content": "a"})),
            call(0, "a", "f", "{\"x\":"),
            call(1, "b", "g", "{}"),
            more(0, "1}"),
            finish("tool_calls"),
            counts(),
        ];
        for cut in 0..4 {
            let (mut events, mut out) = (Events::new("m"), Vec::new());
            chunks[..cut].iter().for_each(|chunk| events.chunk(chunk, &mut out).unwrap());
            let so_far = out.len();
            assert_eq!(events.finish(&mut out), Err(StreamFault::BrokenOff));
            assert_eq!(out.len(), so_far, "{cut}");
        }
        for cut in 5..=6 {
            assert_eq!(told(&chunks[..cut]).unwrap().last().unwrap().0, "message_stop");
        }
    }

    #[test]
    fn nothing_follows_the_end() {
        let (mut events, mut out) = (Events::new("m"), Vec::new());
        events.chunk(&finish("stop"), &mut out).unwrap();
        events.finish(&mut out).unwrap();
        let length = out.len();
        events.chunk(&chunk(json!({"content": "late"})), &mut out).unwrap();
        events.finish(&mut out).unwrap();
        assert_eq!(out.len(), length);
    }

    #[test]
    fn errors_and_rubbish_are_faults() {
        let fault = told(&[json!({"error": {"message": "boom", "type": "server_error", "code": 500}})]).unwrap_err();
        assert_eq!(fault, StreamFault::Upstream("boom".into(), "server_error".into()));
        let fault = told(&[json!({"error": "boom"})]).unwrap_err();
        assert_eq!(fault, StreamFault::Upstream("boom".into(), "api_error".into()));
        for chunks in [
            vec![json!(5)],
            vec![json!([])],
            vec![call(0, "a", "f", "{}"), call(1, "b", "g", ""), more(0, "{}"), finish("tool_calls")],
            vec![call(0, "a", "f", "{oops"), finish("tool_calls")],
            vec![call(0, "a", "", "{}"), finish("tool_calls")],
            vec![finish("error")],
        ] {
            assert!(matches!(told(&chunks), Err(StreamFault::Malformed(_))), "{chunks:?}");
        }
        for rubbish in [
            json!({}),
            json!({"choices": 5}),
            json!({"choices": [5, {"index": 1}]}),
            json!({"choices": [{"delta": 5}]}),
        ] {
            assert_eq!(told(&[rubbish]), Err(StreamFault::BrokenOff));
        }
    }
}
