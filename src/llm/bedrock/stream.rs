//! Converse's streams. Their frames are read elsewhere; here they are events. They are written as server-sent ones.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::content::{block, read_block, unwrapped, wrapped};
use super::{OWN, error, reply};
use crate::llm::answer::Finish;
use crate::llm::chat::{Content, Extra, Part, Role, Seal, SealKind};
use crate::llm::error::{Malformed, ProviderError, StreamFault};
use crate::llm::event::write_sse;
use crate::llm::members::{Place, object};
use crate::llm::{Answer, Delta, Event, StreamReader, StreamWriter, Terminal, Usage};

/// How an event ends a stream. The usage follows the reason to stop.
pub(super) fn terminal(event: &Event) -> Option<Terminal> {
    match event.name.as_str() {
        "messageStop" if event.data.contains("\"malformed_") => Some(Terminal::Error),
        "messageStop" => Some(Terminal::Whole),
        "metadata" => Some(Terminal::End),
        name => name.ends_with("Exception").then_some(Terminal::Error),
    }
}

/// Reads a stream. Blocks may come by turns.
#[derive(Default)]
pub(super) struct Reader {
    has_begun: bool,
    /// Blocks that have begun and not ended, by Converse's index.
    open: BTreeMap<u64, Block>,
    parts: usize,
    calls_tools: bool,
    has_stopped: bool,
    has_metadata: bool,
    has_failed: bool,
    /// Members of the whole reply.
    extra: Map<String, Value>,
}

/// A block that isn't at its end.
struct Block {
    kind: Kind,
    /// The part's number.
    index: usize,
    /// Pieces of the seal of thoughts.
    seal: Option<Seal>,
    /// Whether a call has no input yet.
    is_empty: bool,
    /// The sources of a text.
    citations: Vec<Value>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thoughts,
    Call,
    /// What ran at the provider's, which is not the caller's to make.
    Theirs,
}

impl StreamReader for Reader {
    fn read(&mut self, event: &Event, out: &mut Vec<Delta>) -> Result<(), StreamFault> {
        if self.is_complete() {
            return Ok(());
        }
        if self.has_failed {
            return Err(StreamFault::Truncated);
        }
        self.event(event, out).inspect_err(|_| self.has_failed = true)
    }

    fn is_complete(&self) -> bool {
        self.has_stopped && self.has_metadata
    }

    fn finish(&mut self, _: &mut Vec<Delta>) -> Result<(), StreamFault> {
        if self.has_stopped && !self.has_failed { Ok(()) } else { Err(StreamFault::Truncated) }
    }
}

impl Reader {
    fn event(&mut self, event: &Event, out: &mut Vec<Delta>) -> Result<(), StreamFault> {
        let name = event.name.as_str();
        if name.ends_with("Exception") {
            return Err(StreamFault::Provider(error::read(500, Some(name), event.data.as_bytes())));
        }
        let is_content = matches!(name, "contentBlockStart" | "contentBlockDelta" | "contentBlockStop");
        if !is_content && !matches!(name, "messageStart" | "messageStop" | "metadata") {
            return Ok(());
        }
        let Ok(Value::Object(mut members)) = serde_json::from_str(&event.data) else {
            return Err(Malformed(format!("`{name}` is no JSON object")).into());
        };
        if !std::mem::replace(&mut self.has_begun, true) {
            out.push(Delta::Begin(Answer::default()));
        }
        match name {
            _ if is_content && self.has_stopped => {
                return Err(Malformed(format!("`{name}` after the end of the message")).into());
            }
            _ if is_content => self.content(name, members, out)?,
            "messageStop" if !self.has_stopped => {
                let finish = reply::finish(&mut members, self.calls_tools);
                let finish = finish.map_err(|why| StreamFault::Provider(ProviderError::new(502, why)))?;
                while let Some((&place, _)) = self.open.first_key_value() {
                    self.end(place, out);
                }
                self.has_stopped = true;
                out.push(Delta::Finish(finish));
                self.tell_extra(members, out);
            }
            "metadata" => {
                self.has_metadata = true;
                out.extend(members.shift_remove("usage").and_then(reply::usage).map(Delta::Usage));
                self.tell_extra(members, out);
            }
            _ => {}
        }
        Ok(())
    }

    fn content(&mut self, name: &str, mut members: Map<String, Value>, out: &mut Vec<Delta>) -> Result<(), Malformed> {
        let place = members.get("contentBlockIndex").and_then(Value::as_u64);
        let place = place.ok_or_else(|| Malformed(format!("`{name}` names no block")))?;
        if name == "contentBlockDelta" {
            let delta = members.shift_remove("delta").filter(Value::is_object);
            let delta = delta.ok_or_else(|| Malformed("a delta is no object".into()))?;
            return object(delta).into_iter().try_for_each(|(name, value)| self.delta(place, &name, value, out));
        }
        self.end(place, out);
        let start = members.shift_remove("start").filter(|_| name == "contentBlockStart").unwrap_or_default();
        object(start).into_iter().try_for_each(|(name, value)| self.begin(place, &name, value, out))
    }

    /// `p` is padding, against who guesses words by their length.
    fn tell_extra(&mut self, members: Map<String, Value>, out: &mut Vec<Delta>) {
        self.extra.extend(members.into_iter().filter(|(name, value)| name != "p" && !value.is_null()));
        if !self.extra.is_empty() {
            out.push(Delta::Extra(Extra::new(OWN, self.extra.clone())));
        }
    }

    fn begin(&mut self, place: u64, name: &str, value: Value, out: &mut Vec<Delta>) -> Result<(), Malformed> {
        match name {
            "toolUse" if value["type"] != "server_tool_use" => {
                let start = json!({"toolUse": value});
                let mut part = read_block(start, &Place::ROOT.name("start"), Role::Assistant)?;
                if let Content::ToolCall(call) = &mut part.content {
                    call.arguments.clear();
                }
                self.calls_tools = true;
                self.open(place, Kind::Call, Some(part), out);
            }
            "toolUse" | "toolResult" => {
                self.open(place, Kind::Theirs, None, out);
                out.push(Delta::Lossy(name.to_owned()));
            }
            "reasoningContent" | "text" => {}
            other => out.push(Delta::Lossy(other.to_owned())),
        }
        Ok(())
    }

    /// The block at `place`, which begins with `part` unless it is open as this kind.
    fn open(&mut self, place: u64, kind: Kind, part: Option<Part>, out: &mut Vec<Delta>) -> &mut Block {
        if self.open.get(&place).is_none_or(|block| block.kind != kind) {
            self.end(place, out);
        }
        let index = self.parts;
        self.open.entry(place).or_insert_with(|| {
            if let Some(part) = part {
                self.parts += 1;
                out.push(Delta::PartBegin { index, part });
            }
            Block { kind, index, seal: None, is_empty: true, citations: Vec::new() }
        })
    }

    fn delta(&mut self, place: u64, name: &str, value: Value, out: &mut Vec<Delta>) -> Result<(), Malformed> {
        match name {
            "text" => {
                let text = value.as_str().ok_or_else(|| Malformed("a text is no string".into()))?;
                self.grow(place, Kind::Text, text, out);
            }
            "reasoningContent" => {
                self.grow(place, Kind::Thoughts, value["text"].as_str().unwrap_or_default(), out);
                let signature = value["signature"].as_str().map(|text| (SealKind::Signature, Some(text.to_owned())));
                let redacted = value["redactedContent"].as_str().map(|bytes| (SealKind::Encrypted, unwrapped(bytes)));
                for (kind, sealed) in signature.into_iter().chain(redacted) {
                    let Some(sealed) = sealed else {
                        out.push(Delta::Lossy("redactedContent".into()));
                        continue;
                    };
                    let thoughts = Part::new(Content::Reasoning(String::new()));
                    let block = self.open(place, Kind::Thoughts, Some(thoughts), out);
                    match &mut block.seal {
                        Some(seal) => seal.value.push_str(&sealed),
                        seal => *seal = Seal::of_claude(kind, sealed),
                    }
                }
            }
            "toolUse" => {
                let piece = value["input"].as_str().ok_or_else(|| Malformed("a call's input is no string".into()))?;
                let block =
                    self.open.get_mut(&place).filter(|block| !matches!(block.kind, Kind::Text | Kind::Thoughts));
                let block = block.ok_or_else(|| Malformed("the input of a call that hasn't begun".into()))?;
                if block.kind == Kind::Call && !piece.is_empty() {
                    block.is_empty = false;
                    out.push(Delta::PartGrow { index: block.index, text: piece.to_owned() });
                }
            }
            "citation" => {
                self.open(place, Kind::Text, Some(Part::text("")), out).citations.push(value);
            }
            "toolResult" => {}
            // Handed on without it, and never stored.
            other => out.push(Delta::Lossy(other.to_owned())),
        }
        Ok(())
    }

    fn grow(&mut self, place: u64, kind: Kind, text: &str, out: &mut Vec<Delta>) {
        if text.is_empty() {
            return;
        }
        let empty = if kind == Kind::Text { Content::Text(String::new()) } else { Content::Reasoning(String::new()) };
        let index = self.open(place, kind, Some(Part::new(empty)), out).index;
        out.push(Delta::PartGrow { index, text: text.to_owned() });
    }

    fn end(&mut self, place: u64, out: &mut Vec<Delta>) {
        let Some(Block { kind, index, seal, is_empty, citations }) = self.open.remove(&place) else { return };
        let mut extra = Map::new();
        match kind {
            // A call without any input has an object without members.
            Kind::Call if is_empty => out.push(Delta::PartGrow { index, text: "{}".into() }),
            Kind::Text if !citations.is_empty() => drop(extra.insert("citations".into(), citations.into())),
            Kind::Theirs => return,
            _ => {}
        }
        out.push(Delta::PartEnd { index, seal, extra: Extra::new(OWN, extra) });
    }
}

/// Writes a stream. Many clients take one block at a time, so a part that grows while another one is open waits.
#[derive(Default)]
pub(super) struct Writer {
    parts: Vec<Waiting>,
    /// Parts that are told to their end.
    told: usize,
    finish: Finish,
    usage: Option<Usage>,
    extra: Extra,
}

/// A part, and the events that wait to be told.
struct Waiting {
    index: usize,
    part: Part,
    events: String,
    has_ended: bool,
}

impl Waiting {
    fn say(&mut self, name: &str, member: &str, value: &Value) {
        write_sse(&mut self.events, name, &json!({"contentBlockIndex": self.index, member: value}));
    }

    fn grow(&mut self, text: &str) {
        let delta = match &self.part.content {
            _ if text.is_empty() => return,
            Content::Text(_) | Content::Refusal(_) => json!({"text": text}),
            Content::Reasoning(_) => json!({"reasoningContent": {"text": text}}),
            Content::ToolCall(_) => json!({"toolUse": {"input": text}}),
            _ => return,
        };
        self.say("contentBlockDelta", "delta", &delta);
    }

    fn begin(&mut self) {
        match self.part.content.clone() {
            Content::Text(text) | Content::Refusal(text) | Content::Reasoning(text) => self.grow(&text),
            Content::ToolCall(call) => {
                let told = json!({"toolUseId": call.id, "name": call.name, "type": "tool_use"});
                self.say("contentBlockStart", "start", &block("toolUse", told, &self.part.extra));
                self.grow(&call.arguments);
            }
            // What ran at the provider's is told in whole replies alone.
            _ => self.has_ended = true,
        }
    }

    fn end(&mut self, seal: Option<Seal>, extra: Extra) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        self.part.end(seal, extra);
        let told = self.part.claudes_seal().map(|Seal { kind, value, .. }| match kind {
            SealKind::Signature => json!({"signature": value}),
            SealKind::Encrypted => json!({"redactedContent": wrapped(value)}),
        });
        if let (Some(told), Content::Reasoning(_)) = (told, &self.part.content) {
            self.say("contentBlockDelta", "delta", &json!({"reasoningContent": told}));
        }
        let citations = self.part.extra.member(OWN, "citations").and_then(Value::as_array).cloned();
        for citation in citations.into_iter().flatten() {
            self.say("contentBlockDelta", "delta", &json!({"citation": citation}));
        }
        write_sse(&mut self.events, "contentBlockStop", &json!({"contentBlockIndex": self.index}));
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, delta: &Delta, out: &mut String) {
        match delta {
            Delta::Begin(answer) => {
                write_sse(out, "messageStart", &json!({"role": "assistant"}));
                self.usage.clone_from(&answer.usage);
                self.extra.clone_from(&answer.extra);
            }
            Delta::PartBegin { index, part } => {
                let mut waiting =
                    Waiting { index: *index, part: part.clone(), events: String::new(), has_ended: false };
                waiting.begin();
                self.parts.push(waiting);
            }
            Delta::PartGrow { index, text } => {
                if let Some(part) = self.parts.get_mut(*index) {
                    part.grow(text);
                }
            }
            Delta::PartEnd { index, seal, extra } => {
                if let Some(part) = self.parts.get_mut(*index) {
                    part.end(seal.clone(), extra.clone());
                }
            }
            Delta::Usage(usage) => self.usage = Some(usage.clone()),
            Delta::Finish(finish) => self.finish = finish.clone(),
            Delta::Extra(extra) => self.extra = extra.clone(),
            Delta::Lossy(_) => {}
        }
        while let Some(part) = self.parts.get_mut(self.told) {
            out.push_str(&std::mem::take(&mut part.events));
            if !part.has_ended {
                break;
            }
            self.told += 1;
        }
    }

    fn finish(&mut self, out: &mut String) {
        for part in self.parts.iter_mut().skip(self.told) {
            part.end(None, Extra::default());
            out.push_str(&part.events);
        }
        let mut rest = self.extra.members(OWN);
        rest.shift_remove("output");
        let mut stop = json!({"stopReason": reply::stop_reason(&self.finish)});
        for name in ["stopReason", "additionalModelResponseFields"] {
            if let Some(value) = rest.shift_remove(name) {
                stop[name] = value;
            }
        }
        write_sse(out, "messageStop", &stop);
        let mut metadata = json!({"usage": reply::write_usage(self.usage.as_ref()), "metrics": {"latencyMs": 0}});
        rest.into_iter().for_each(|(name, value)| metadata[name] = value);
        write_sse(out, "metadata", &metadata);
    }

    /// As an exception, of which streams have few.
    fn fail(&mut self, error: &ProviderError, out: &mut String) {
        let name = match error.status {
            429 => "throttlingException",
            503 => "serviceUnavailableException",
            502 | 504 => "modelStreamErrorException",
            400..=499 => "validationException",
            _ => "internalServerException",
        };
        write_sse(out, name, &json!({"message": error.message}));
    }
}
