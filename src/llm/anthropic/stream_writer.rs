//! Streams to callers.

use serde_json::{Map, Value, json};

use super::{OWN, block, error, reply};
use crate::llm::answer::{Answer, Finish, Usage};
use crate::llm::chat::{Content, Part, Seal, SealKind};
use crate::llm::event::write_sse;
use crate::llm::members::merge;
use crate::llm::{Delta, Frame, ProviderError, StreamWriter};

/// Writes a stream.
///
/// Anthropic's blocks follow one another, where parts may grow by turns. Text is told as it comes, and goes on in a new
/// block where something else came between. A call is told until another part begins; that one has its turn as soon as
/// the arguments before it are whole, and until then it is kept back, with pings for its pieces. What is still kept
/// back at the end is told there.
#[derive(Debug, Default)]
pub(super) struct Writer {
    frame: Frame,
    id: String,
    has_begun: bool,
    parts: Vec<Pending>,
    /// The part whose block is open.
    open: Option<usize>,
    /// The index of the block that is open, or of the next one.
    block: usize,
    finish: Finish,
    usage: Option<Usage>,
    late: Map<String, Value>,
}

/// A part as far as it is known; of its texts only a call's arguments.
#[derive(Debug)]
struct Pending {
    part: Part,
    /// Text that is not told yet.
    held: String,
    is_told: bool,
    has_ended: bool,
}

impl Pending {
    /// Whether nothing is missing from a call. A look at the last letter saves most of the reading.
    fn is_whole(&self) -> bool {
        match &self.part.content {
            Content::ToolCall(call) => call.arguments.trim_end().ends_with('}') && call.input().is_some(),
            _ => true,
        }
    }

    /// Whether a block for it may begin. At the end of the stream, half a call may not.
    fn waits(&self, end: Option<&Finish>) -> bool {
        match &self.part.content {
            Content::ToolCall(_) => !self.is_told && end.is_none_or(|finish| reply::is_told(&self.part, finish)),
            Content::Text(_) | Content::Refusal(_) | Content::Reasoning(_) => {
                !self.held.is_empty() || !self.is_told && self.part.claudes_seal().is_some()
            }
            _ => !self.is_told,
        }
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, delta: &Delta, out: &mut String) {
        let before = out.len();
        match delta {
            Delta::Begin(answer) => self.begin(answer, out),
            Delta::PartBegin { index, part } if *index == self.parts.len() => {
                let held = part.emptied().1;
                self.parts.push(Pending { part: part.clone(), held, is_told: false, has_ended: false });
            }
            Delta::PartGrow { index, text } => {
                if let Some(pending) = self.parts.get_mut(*index) {
                    pending.held.push_str(text);
                    if let Content::ToolCall(call) = &mut pending.part.content {
                        call.arguments.push_str(text);
                    }
                }
            }
            Delta::PartEnd { index, seal, extra } => {
                if let Some(pending) = self.parts.get_mut(*index) {
                    pending.part.end(seal.clone(), extra.clone());
                    pending.has_ended = true;
                }
            }
            Delta::Usage(usage) => self.usage = Some(usage.clone()),
            Delta::Finish(finish) => self.finish = finish.clone(),
            Delta::Extra(extra) => self.late = extra.members(OWN),
            Delta::PartBegin { .. } | Delta::Lossy(_) => {}
        }
        self.advance(false, out);
        if out.len() == before && matches!(delta, Delta::PartGrow { .. }) {
            write_sse(out, "ping", &json!({"type": "ping"}));
        }
    }

    fn finish(&mut self, out: &mut String) {
        self.begin(&Answer::default(), out);
        self.advance(true, out);
        let context = self.late.shift_remove("context_management");
        let mut delta = reply::stop(&self.finish, self.parts.iter().map(|pending| &pending.part));
        delta.as_object_mut().into_iter().for_each(|delta| merge(delta, &self.late));
        let mut event =
            json!({"type": "message_delta", "delta": delta, "usage": reply::write_usage(self.usage.as_ref())});
        if let Some(context) = context {
            event["context_management"] = context;
        }
        write_sse(out, "message_delta", &event);
        write_sse(out, "message_stop", &json!({"type": "message_stop"}));
    }

    fn fail(&mut self, error: &ProviderError, out: &mut String) {
        write_sse(out, "error", &error::write(error));
    }
}

impl Writer {
    /// For a stream in `frame`.
    pub(super) fn new(frame: &Frame) -> Self {
        Self { id: frame.id.clone(), frame: frame.clone(), ..Self::default() }
    }

    fn begin(&mut self, answer: &Answer, out: &mut String) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        if !answer.id.is_empty() {
            self.id.clone_from(&answer.id);
        }
        self.usage.clone_from(&answer.usage);
        let mut usage = reply::write_usage(answer.usage.as_ref());
        usage["output_tokens"] = 0.into();
        let message = reply::message(answer, &self.frame, Vec::new(), &Value::Null, &usage);
        write_sse(out, "message_start", &json!({"type": "message_start", "message": message}));
    }

    /// Tells what can be told.
    fn advance(&mut self, is_end: bool, out: &mut String) {
        loop {
            let end = is_end.then_some(&self.finish);
            let others = self.parts.iter().enumerate().filter(|(index, _)| Some(*index) != self.open);
            let next = others.into_iter().find(|(_, pending)| pending.waits(end)).map(|(index, _)| index);
            if let Some(open) = self.open
                && let Some(pending) = self.parts.get_mut(open)
            {
                let text = std::mem::take(&mut pending.held);
                let is_done = pending.has_ended || is_end || next.is_some() && pending.is_whole();
                self.grow(open, &text, out);
                if !is_done {
                    return;
                }
                self.close(open, out);
            }
            let Some(next) = next else { return };
            self.begin_block(next, out);
        }
    }

    fn begin_block(&mut self, index: usize, out: &mut String) {
        let Some(pending) = self.parts.get_mut(index) else { return };
        pending.is_told = true;
        let (mut part, _) = pending.part.emptied();
        part.seal.take_if(|seal| seal.kind == SealKind::Signature);
        let Some(mut block) = block::told(&part, &self.id, index) else { return };
        if let Some(members) = block.as_object_mut().filter(|_| matches!(part.content, Content::Text(_))) {
            members.shift_remove("citations");
        }
        // Clients take a tool's input from what follows only.
        if let Some(input) = block.get_mut("input").filter(|_| matches!(part.content, Content::Foreign(..))) {
            pending.held = std::mem::replace(input, json!({})).to_string();
        }
        self.open = Some(index);
        self.event("content_block_start", "content_block", block, out);
    }

    fn grow(&self, index: usize, text: &str, out: &mut String) {
        let Some(pending) = self.parts.get(index).filter(|_| !text.is_empty()) else { return };
        let (kind, name) = match &pending.part.content {
            Content::Reasoning(_) => ("thinking_delta", "thinking"),
            Content::ToolCall(_) | Content::Foreign(..) => ("input_json_delta", "partial_json"),
            _ => ("text_delta", "text"),
        };
        self.event("content_block_delta", "delta", json!({"type": kind, name: text}), out);
    }

    fn close(&mut self, index: usize, out: &mut String) {
        let Some(Pending { part, .. }) = self.parts.get(index) else { return };
        let citations = part.extra.member(OWN, "citations").and_then(Value::as_array);
        for citation in citations.into_iter().flatten() {
            self.event("content_block_delta", "delta", json!({"type": "citations_delta", "citation": citation}), out);
        }
        if let Some(Seal { kind: SealKind::Signature, value, .. }) = part.claudes_seal() {
            let delta = json!({"type": "signature_delta", "signature": value});
            self.event("content_block_delta", "delta", delta, out);
        }
        write_sse(out, "content_block_stop", &json!({"type": "content_block_stop", "index": self.block}));
        self.block += 1;
        self.open = None;
    }

    fn event(&self, kind: &str, name: &str, value: Value, out: &mut String) {
        write_sse(out, kind, &json!({"type": kind, "index": self.block, name: value}));
    }
}
