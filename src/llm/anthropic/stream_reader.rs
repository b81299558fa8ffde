//! Streams from an Anthropic provider.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{OWN, block, error, reply};
use crate::llm::chat::{Content, Extra, Part, Seal, SealKind};
use crate::llm::members::{Place, merge};
use crate::llm::{Delta, Event, Malformed, StreamFault, StreamReader, Terminal};

/// Whether an event ends a stream.
pub(super) fn terminal(event: &Event) -> Option<Terminal> {
    let may_be = |kind: &&str| match event.name.as_str() {
        "" | "message" => event.data.contains(kind),
        name => name == *kind,
    };
    ["message_stop", "message_delta", "error"].iter().find(|kind| may_be(kind))?;
    let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
    match kind_of(event, &data)? {
        "message_stop" => Some(Terminal::End),
        "message_delta" if data["delta"]["stop_reason"].is_string() => Some(Terminal::Whole),
        "error" => Some(Terminal::Error),
        _ => None,
    }
}

/// What kind of an event it is; proxies leave out the name or the type.
fn kind_of<'e>(event: &'e Event, data: &'e Value) -> Option<&'e str> {
    let name = if data["error"].is_null() { event.name.as_str() } else { "error" };
    data["type"].as_str().or(Some(name)).filter(|kind| !kind.is_empty())
}

/// Reads a stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    has_begun: bool,
    has_finished: bool,
    is_complete: bool,
    /// Blocks that have begun and not ended, by Anthropic's index.
    open: BTreeMap<u64, Block>,
    /// How many parts have begun.
    parts: usize,
    usage: Map<String, Value>,
    extra: Map<String, Value>,
}

#[derive(Debug)]
enum Block {
    /// The part of this number, whose members are still told. A call's arguments are all of them where none come in
    /// pieces.
    Part { index: usize, arguments: Option<String>, signature: String, extra: Map<String, Value> },
    /// One that only Anthropic has. It is told once it is whole, so its input is kept until then.
    Foreign { whole: Value, input: String },
}

impl StreamReader for Reader {
    fn read(&mut self, event: &Event, out: &mut Vec<Delta>) -> Result<(), StreamFault> {
        let text = event.data.trim();
        if self.is_complete || text.is_empty() || text == "[DONE]" {
            return Ok(());
        }
        let mut data: Value = match serde_json::from_str(text) {
            Ok(data @ Value::Object(_)) => data,
            _ if event.name == "error" => json!({"error": text}),
            Ok(_) => return Err(Malformed("an event is no object".into()).into()),
            Err(why) => return Err(Malformed(why.to_string()).into()),
        };
        let index = data["index"].as_u64().unwrap_or(0);
        match kind_of(event, &data).unwrap_or_default() {
            "error" => return Err(StreamFault::Provider(error::read_event(&data))),
            "message_start" if !self.has_begun => self.begin(data["message"].take(), out),
            kind @ ("content_block_start" | "content_block_delta" | "content_block_stop" | "message_delta")
                if !self.has_begun =>
            {
                return Err(Malformed(format!("`{kind}` before the message begins")).into());
            }
            "content_block_start" => {
                let begun = self.begin_block(data["content_block"].take(), out)?;
                let displaced = self.open.insert(index, begun);
                self.end_block(displaced, out);
            }
            "content_block_delta" => self.grow(index, &data["delta"], out),
            "content_block_stop" => {
                let block = self.open.remove(&index);
                self.end_block(block, out);
            }
            "message_delta" => self.end_message(data, out),
            "message_stop" if !self.has_finished => {
                return Err(Malformed("the message ends without a `stop_reason`".into()).into());
            }
            "message_stop" => self.is_complete = true,
            _ => {}
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn finish(&mut self, _: &mut Vec<Delta>) -> Result<(), StreamFault> {
        if self.has_finished { Ok(()) } else { Err(StreamFault::Truncated) }
    }
}

impl Reader {
    fn begin(&mut self, message: Value, out: &mut Vec<Delta>) {
        self.has_begun = true;
        let answer = reply::head(message);
        self.usage = answer.usage.as_ref().and_then(|usage| usage.raw_of(OWN)).cloned().unwrap_or_default();
        self.extra = answer.extra.members(OWN);
        out.push(Delta::Begin(answer));
    }

    fn begin_block(&mut self, block: Value, out: &mut Vec<Delta>) -> Result<Block, Malformed> {
        let mut part = block::read(block, &Place::ROOT.name("content_block"))?;
        let arguments = match &mut part.content {
            Content::Foreign(_, whole) => return Ok(Block::Foreign { whole: whole.take(), input: String::new() }),
            Content::ToolCall(call) => Some(std::mem::take(&mut call.arguments)),
            _ => None,
        };
        let signature = part.seal.take_if(|seal| seal.kind == SealKind::Signature).map(|seal| seal.value);
        let extra = part.extra.members(OWN);
        let index = self.begin_part(part, out);
        Ok(Block::Part { index, arguments, signature: signature.unwrap_or_default(), extra })
    }

    fn begin_part(&mut self, part: Part, out: &mut Vec<Delta>) -> usize {
        let index = self.parts;
        self.parts += 1;
        out.push(Delta::PartBegin { index, part });
        index
    }

    fn grow(&mut self, index: u64, delta: &Value, out: &mut Vec<Delta>) {
        let kind = delta["type"].as_str().unwrap_or("delta");
        let text = |name: &str| delta[name].as_str().unwrap_or_default();
        match (kind, self.open.get_mut(&index)) {
            ("text_delta", Some(Block::Part { index, .. })) => grow(*index, text("text"), out),
            ("thinking_delta", Some(Block::Part { index, .. })) => grow(*index, text("thinking"), out),
            ("signature_delta", Some(Block::Part { signature, .. })) => signature.push_str(text("signature")),
            ("input_json_delta", Some(Block::Part { index, arguments, .. })) => {
                arguments.take_if(|_| !text("partial_json").is_empty());
                grow(*index, text("partial_json"), out);
            }
            ("input_json_delta", Some(Block::Foreign { input, .. })) => input.push_str(text("partial_json")),
            ("citations_delta", Some(Block::Part { extra, .. })) => {
                let citations = extra.entry("citations").or_insert_with(|| json!([]));
                citations.as_array_mut().into_iter().for_each(|all| all.push(delta["citation"].clone()));
            }
            _ => out.push(Delta::Lossy(kind.to_owned())),
        }
    }

    fn end_block(&mut self, block: Option<Block>, out: &mut Vec<Delta>) {
        let (index, seal, extra): (usize, Option<Seal>, _) = match block {
            Some(Block::Part { index, arguments, signature, extra }) => {
                grow(index, arguments.as_deref().unwrap_or_default(), out);
                (index, Seal::of_claude(SealKind::Signature, signature), extra)
            }
            Some(Block::Foreign { mut whole, input }) => {
                match (serde_json::from_str::<Value>(&input), whole.as_object_mut()) {
                    (Ok(input), Some(members)) => drop(members.insert("input".into(), input)),
                    _ if input.is_empty() => {}
                    _ => out.push(Delta::Lossy("input_json_delta".into())),
                }
                (self.begin_part(Part::new(Content::Foreign(OWN, whole)), out), None, Map::new())
            }
            None => return,
        };
        out.push(Delta::PartEnd { index, seal, extra: Extra::new(OWN, extra) });
    }

    /// Why the message ended, what it used (each count is of the whole message so far), and members that came late.
    fn end_message(&mut self, event: Value, out: &mut Vec<Delta>) {
        let Value::Object(mut members) = event else { return };
        members.shift_remove("type");
        let usage = members.shift_remove("usage");
        if let Some(Value::Object(mut delta)) = members.shift_remove("delta") {
            let sequence = delta.shift_remove("stop_sequence").unwrap_or_default();
            if let Some(Value::String(reason)) = delta.shift_remove("stop_reason")
                && !std::mem::replace(&mut self.has_finished, true)
            {
                for block in std::mem::take(&mut self.open).into_values() {
                    self.end_block(Some(block), out);
                }
                out.push(Delta::Finish(reply::finish(&reason, &sequence)));
            }
            members.append(&mut delta);
        }
        if let Some(Value::Object(mut counts)) = usage {
            counts.retain(|_, count| !count.is_null());
            merge(&mut self.usage, &counts);
            out.push(Delta::Usage(reply::usage(self.usage.clone())));
        }
        members.retain(|_, value| !value.is_null());
        if !members.is_empty() {
            self.extra.append(&mut members);
            out.push(Delta::Extra(Extra::new(OWN, self.extra.clone())));
        }
    }
}

fn grow(index: usize, text: &str, out: &mut Vec<Delta>) {
    if !text.is_empty() {
        out.push(Delta::PartGrow { index, text: text.to_owned() });
    }
}
