//! Writing streams.

use serde_json::{Map, Value, json};

use super::content::{self, BETWEEN_THOUGHTS, THOUGHTS};
use super::{DONE, FORMAT, OWN, STOOD_IN, merge, reply};
use crate::llm::answer::{Finish, Usage};
use crate::llm::chat::{Content, Extra, Issuer, Part, Seal};
use crate::llm::event::write_sse;
use crate::llm::members::{map, object, some};
use crate::llm::{Answer, Delta, Frame, ProviderError, StreamWriter};

/// Further members of a reply that each chunk repeats. The others stand in the last one.
const REPEATED: [&str; 2] = ["service_tier", "system_fingerprint"];

/// Writes the chunks of one stream.
#[derive(Default)]
pub(super) struct Writer {
    frame: Frame,
    /// What all chunks have in common.
    common: Map<String, Value>,
    reply_id: String,
    extra: Extra,
    parts: Vec<Told>,
    calls: usize,
    /// Characters of text so far, for annotations.
    characters: usize,
    refuses: bool,
    /// Whether thoughts were told, so that those of the next part are set apart.
    has_thought: bool,
    usage: Option<Usage>,
}

/// A part that has been told.
struct Told {
    kind: Kind,
    seal: Option<Seal>,
    extra: Extra,
}

enum Kind {
    /// Text from this character on.
    Text(usize),
    Refusal,
    /// Thoughts, and all that was told of them.
    Thoughts(String),
    /// A call, by its number, and whether its signature was told.
    Call(usize, bool),
    /// What has no place in a chunk, or is whole from the beginning.
    Nothing,
}

impl Writer {
    pub(super) fn new(frame: &Frame) -> Self {
        Self { frame: frame.clone(), ..Self::default() }
    }

    fn begin(&mut self, answer: &Answer, out: &mut String) {
        self.common = reply::write_frame(answer, &self.frame, "chat.completion.chunk");
        self.reply_id.clone_from(&answer.id);
        self.extra = answer.extra.clone();
        self.usage = answer.usage.clone();
        self.tell(json!({"role": "assistant", "content": ""}), out);
    }

    fn begin_part(&mut self, part: &Part, out: &mut String) {
        let mut kind = Kind::Nothing;
        match &part.content {
            Content::Text(_) => kind = Kind::Text(self.characters),
            Content::Refusal(_) => kind = Kind::Refusal,
            Content::Reasoning(_) => kind = Kind::Thoughts(String::new()),
            Content::ToolCall(call) => {
                let id = content::call_id(&call.id, &self.reply_id, self.calls);
                self.call(content::write_call(call, &id, part.seal.as_ref(), &part.extra), out);
                kind = Kind::Call(self.calls - 1, part.seal.is_some());
            }
            Content::Foreign(OWN, Value::Object(call)) if content::where_it_stood(part) == "tool_calls" => {
                self.call(call.clone(), out);
            }
            Content::Foreign(OWN, whole) => self.tell(json!({"content": [whole]}), out),
            _ => {}
        }
        self.parts.push(Told { kind, seal: part.seal.clone(), extra: part.extra.clone() });
        if let Content::Text(text) | Content::Refusal(text) | Content::Reasoning(text) = &part.content {
            self.grow(self.parts.len() - 1, text, out);
        }
    }

    fn call(&mut self, call: Map<String, Value>, out: &mut String) {
        let mut piece = map(json!({"index": self.calls}));
        merge(&mut piece, &call);
        self.calls += 1;
        self.tell(json!({"tool_calls": [piece]}), out);
    }

    fn grow(&mut self, index: usize, text: &str, out: &mut String) {
        let Some(told) = self.parts.get_mut(index).filter(|_| !text.is_empty()) else { return };
        let delta = match &mut told.kind {
            Kind::Text(_) => {
                self.characters += text.chars().count();
                json!({"content": text})
            }
            Kind::Refusal => {
                self.refuses = true;
                json!({"refusal": text})
            }
            Kind::Thoughts(all) => {
                let is_first = all.is_empty();
                all.push_str(text);
                match told.extra.member(OWN, STOOD_IN).and_then(Value::as_str) {
                    Some("content") => {
                        json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]})
                    }
                    name => {
                        let name = name.unwrap_or(THOUGHTS[0]).to_owned();
                        if std::mem::replace(&mut self.has_thought, true) && is_first {
                            self.tell(json!({&name: BETWEEN_THOUGHTS}), out);
                        }
                        json!({name: text})
                    }
                }
            }
            Kind::Call(number, _) => json!({"tool_calls": [{"index": number, "function": {"arguments": text}}]}),
            Kind::Nothing => return,
        };
        self.tell(delta, out);
    }

    fn end_part(&mut self, index: usize, seal: Option<&Seal>, extra: &Extra, out: &mut String) {
        let Some(told) = self.parts.get_mut(index) else { return };
        let seal = seal.cloned().or(told.seal.take());
        let extra = if extra.is_empty() { &told.extra } else { extra };
        let google = content::write_google_seal(seal.as_ref());
        let delta = match (&told.kind, &seal) {
            (Kind::Thoughts(text), Some(seal)) if seal.issuer == Issuer::Anthropic => {
                content::write_thinking_block(text, seal, extra).map(|block| json!({"thinking_blocks": [block]}))
            }
            (Kind::Call(number, false), _) => {
                google.map(|seal| json!({"tool_calls": [{"index": number, "extra_content": seal}]}))
            }
            (Kind::Call(..), _) => None,
            (Kind::Text(start), _) => {
                let annotations = some(content::annotations(extra, *start, self.characters));
                let delta = object(json!({"annotations": annotations, "extra_content": google}));
                some(delta).map(Value::from)
            }
            _ => google.map(|seal| json!({"extra_content": seal})),
        };
        delta.into_iter().for_each(|delta| self.tell(delta, out));
    }

    fn end(&mut self, finish: &Finish, out: &mut String) {
        let (rest, message, mut choice) = reply::split_extra(&self.extra);
        if !message.is_empty() {
            self.tell(message.into(), out);
        }
        let word = choice.shift_remove("finish_reason");
        let word = word.unwrap_or_else(|| reply::write_finish(finish, self.refuses).into());
        let mut chunk = self.chunk(json!({}), word, &choice);
        for (name, value) in rest {
            chunk.entry(name).or_insert(value);
        }
        write_sse(out, "", &chunk.into());
    }

    fn tell(&self, delta: Value, out: &mut String) {
        write_sse(out, "", &self.chunk(delta, Value::Null, &Map::new()).into());
    }

    fn chunk(&self, delta: Value, finish: Value, more: &Map<String, Value>) -> Map<String, Value> {
        let mut choice = reply::write_choice("delta", delta, finish);
        merge(&mut choice, more);
        self.around(vec![choice.into()], Value::Null)
    }

    /// Whoever asked for the usage gets it as null in all chunks but the last.
    fn around(&self, choices: Vec<Value>, usage: Value) -> Map<String, Value> {
        let mut chunk = self.common.clone();
        for name in REPEATED {
            chunk.extend(self.extra.member(OWN, name).map(|value| (name.to_owned(), value.clone())));
        }
        chunk.insert("choices".into(), choices.into());
        if self.frame.include_usage {
            chunk.insert("usage".into(), usage);
        }
        chunk
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, delta: &Delta, out: &mut String) {
        match delta {
            Delta::Begin(answer) => self.begin(answer, out),
            Delta::PartBegin { part, .. } => self.begin_part(part, out),
            Delta::PartGrow { index, text } => self.grow(*index, text, out),
            Delta::PartEnd { index, seal, extra } => self.end_part(*index, seal.as_ref(), extra, out),
            Delta::Usage(usage) => self.usage = Some(usage.clone()),
            Delta::Finish(finish) => self.end(finish, out),
            Delta::Extra(extra) => self.extra = extra.clone(),
            Delta::Lossy(_) => {}
        }
    }

    fn finish(&mut self, out: &mut String) {
        if let Some(usage) = self.usage.as_ref().filter(|_| self.frame.include_usage) {
            write_sse(out, "", &self.around(Vec::new(), reply::write_usage(usage)).into());
        }
        out.push_str(&format!("data: {DONE}\n\n"));
    }

    fn fail(&mut self, error: &ProviderError, out: &mut String) {
        write_sse(out, "", &FORMAT.write_error(error));
    }
}
