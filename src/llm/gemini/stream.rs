//! Streams. Google's have no end mark: an answer is whole once it was said why it ended, and its usage comes with
//! that or after it.

use serde_json::{Map, Value, json};

use super::reply::{self, Response, content, envelope, name_call, part_of};
use super::{OWN, error};
use crate::llm::chat::{Content, Extra, Part, Seal};
use crate::llm::event::write_sse;
use crate::llm::{
    Answer, Delta, Event, Frame, Malformed, ProviderError, StreamFault, StreamReader, StreamWriter, Terminal, Usage,
};

/// Members of a candidate of which the last ones count, where several events have them. Others can't be joined.
const LAST_COUNTS: [&str; 5] = ["safetyRatings", "tokenCount", "avgLogprobs", "finishMessage", "content"];

/// Whether an event ends a stream. Within a text, a quotation mark is escaped, so that none of these words is found
/// there.
pub(super) fn terminal(event: &Event) -> Option<Terminal> {
    let is_there = |name: &str| event.data.contains(name);
    if !is_there("\"finishReason\"") && !is_there("\"blockReason\"") && !is_there("\"error\"") {
        return None;
    }
    let told: Value = serde_json::from_str(&event.data).ok()?;
    if error::in_body(&told).is_some() {
        return Some(Terminal::Error);
    }
    let response = Response::read(told).ok()?;
    response.end.map(|_| if response.failure.is_some() { Terminal::Error } else { Terminal::Whole })
}

/// Reads the events of one stream.
#[derive(Default)]
pub(super) struct Reader {
    state: State,
    /// See [`Response::seed`].
    seed: String,
    /// How many parts and calls there were.
    parts: usize,
    calls: usize,
    /// Whether the last part is a text that may go on, and if so, whether it is a thought.
    open: Option<bool>,
    end: Option<String>,
    usage: Option<Usage>,
    extra: Map<String, Value>,
}

#[derive(Default, PartialEq)]
enum State {
    #[default]
    New,
    Begun,
    /// Whatever comes now, this is no answer.
    Failed,
    Finished,
}

impl StreamReader for Reader {
    fn read(&mut self, event: &Event, out: &mut Vec<Delta>) -> Result<(), StreamFault> {
        // Google writes neither, but what stands between may.
        if matches!(event.data.trim(), "" | "[DONE]") || self.state == State::Finished {
            return Ok(());
        }
        if self.state == State::Failed {
            return Err(StreamFault::Truncated);
        }
        self.event(&event.data, out).inspect_err(|_| self.state = State::Failed)
    }

    fn is_complete(&self) -> bool {
        false
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), StreamFault> {
        match self.end.take() {
            _ if self.state == State::Finished => Ok(()),
            Some(end) if self.state == State::Begun => {
                self.close(None, out);
                let finish = reply::finish(end, self.calls > 0, &mut self.extra);
                out.push(Delta::Extra(Extra::new(OWN, std::mem::take(&mut self.extra))));
                out.push(Delta::Finish(finish));
                self.state = State::Finished;
                Ok(())
            }
            _ => {
                self.state = State::Failed;
                Err(StreamFault::Truncated)
            }
        }
    }
}

impl Reader {
    fn event(&mut self, data: &str, out: &mut Vec<Delta>) -> Result<(), StreamFault> {
        let told = serde_json::from_str(data).map_err(|why| Malformed(format!("an event is no JSON ({why})")))?;
        if let Some(error) = error::in_body(&told) {
            return Err(StreamFault::Provider(error));
        }
        let response = Response::read(told)?;
        if let Some(failure) = response.failure {
            return Err(StreamFault::Provider(ProviderError::new(502, failure)));
        }
        if self.state == State::New {
            (self.state, self.seed) = (State::Begun, response.seed);
            let (id, model) = (response.id, response.model);
            out.push(Delta::Begin(Answer { id, model, usage: response.usage.clone(), ..Answer::default() }));
        } else if response.usage.is_some() && response.usage != self.usage {
            out.extend(response.usage.clone().map(Delta::Usage));
        }
        self.usage = response.usage.or(self.usage.take());
        out.extend(response.lossy.map(Delta::Lossy));
        response.parts.into_iter().for_each(|part| self.part(part, out));
        // Models have been seen to end twice. If once was for a reason other than being done, the answer isn't whole.
        if self.end.as_deref().is_none_or(|end| end == "STOP") {
            self.end = response.end.or(self.end.take());
        }
        for (name, value) in response.extra {
            match (self.extra.get_mut(&name), value) {
                (Some(Value::Object(before)), Value::Object(candidate)) if name == "candidate" => {
                    for (name, value) in candidate {
                        let before = before.insert(name.clone(), value.clone());
                        if before.is_some_and(|before| before != value) && !LAST_COUNTS.contains(&&*name) {
                            out.push(Delta::Lossy(name));
                        }
                    }
                }
                (_, value) => _ = self.extra.insert(name, value),
            }
        }
        Ok(())
    }

    fn part(&mut self, mut part: Part, out: &mut Vec<Delta>) {
        let (is_thought, text) = match &mut part.content {
            Content::Text(text) => (Some(false), std::mem::take(text)),
            Content::Reasoning(text) => (Some(true), std::mem::take(text)),
            Content::ToolCall(call) => (None, std::mem::take(&mut call.arguments)),
            _ => (None, String::new()),
        };
        if is_thought.is_some() && text.is_empty() && part.seal.is_none() && part.extra.is_empty() {
            return;
        }
        let goes_on = is_thought.is_some() && is_thought == self.open && part.extra.is_empty();
        let (seal, extra) = (part.seal.clone(), part.extra.clone());
        if !goes_on {
            self.close(None, out);
            name_call(&mut part, &self.seed, &mut self.calls);
            out.push(Delta::PartBegin { index: self.parts, part });
            self.parts += 1;
        }
        let index = self.parts.saturating_sub(1);
        if !text.is_empty() {
            out.push(Delta::PartGrow { index, text });
        }
        self.open = is_thought;
        if is_thought.is_none() {
            out.push(Delta::PartEnd { index, seal, extra });
        } else if seal.is_some() {
            self.close(seal, out);
        }
    }

    /// Ends the part that is open, if one is.
    fn close(&mut self, seal: Option<Seal>, out: &mut Vec<Delta>) {
        if self.open.take().is_some() {
            out.push(Delta::PartEnd { index: self.parts.saturating_sub(1), seal, extra: Extra::default() });
        }
    }
}

/// Writes the events of one stream. Parts that grow by turns are told one after the other, and calls when they are
/// whole.
pub(super) struct Writer {
    frame: Frame,
    /// The answer so far, but for its parts.
    answer: Answer,
    parts: Vec<Growing>,
    /// How many parts, and how many calls, are told.
    told: usize,
    calls: usize,
}

struct Growing {
    /// The part, with the text that isn't told yet.
    part: Part,
    is_whole: bool,
}

impl Writer {
    pub(super) fn new(frame: &Frame) -> Self {
        Self { frame: frame.clone(), answer: Answer::default(), parts: Vec::new(), told: 0, calls: 0 }
    }

    /// Tells what can be told.
    fn tell(&mut self, out: &mut String) {
        while let Some(growing) = self.parts.get_mut(self.told) {
            let part = &mut growing.part;
            let told = match &mut part.content {
                Content::Text(text) | Content::Refusal(text) | Content::Reasoning(text) if !growing.is_whole => {
                    if text.is_empty() {
                        return;
                    }
                    let text = std::mem::take(text);
                    let thought = matches!(part.content, Content::Reasoning(_)).then_some(true);
                    Some(thought.map_or_else(|| json!({"text": text}), |is| json!({"text": text, "thought": is})))
                }
                _ if !growing.is_whole => return,
                _ => part_of(part, &self.answer.id, &mut self.calls),
            };
            if growing.is_whole {
                self.told += 1;
            }
            if let Some(told) = told {
                let event = envelope(&self.answer, &self.frame, content(vec![told]));
                write_sse(out, "", &event.into());
            }
        }
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, delta: &Delta, out: &mut String) {
        match delta {
            Delta::Begin(begun) => self.answer = Answer { parts: Vec::new(), ..begun.clone() },
            Delta::PartBegin { part, .. } => self.parts.push(Growing { part: part.clone(), is_whole: false }),
            Delta::PartGrow { index, text } => {
                if let Some(growing) = self.parts.get_mut(*index) {
                    growing.part.grow(text);
                }
            }
            Delta::PartEnd { index, seal, extra } => {
                if let Some(growing) = self.parts.get_mut(*index) {
                    growing.is_whole = true;
                    growing.part.end(seal.clone(), extra.clone());
                }
            }
            Delta::Usage(usage) => self.answer.usage = Some(usage.clone()),
            Delta::Finish(finish) => self.answer.finish = finish.clone(),
            Delta::Extra(extra) => self.answer.extra = extra.clone(),
            Delta::Lossy(_) => {}
        }
        self.tell(out);
    }

    fn finish(&mut self, out: &mut String) {
        self.parts.iter_mut().for_each(|growing| growing.is_whole = true);
        self.tell(out);
        write_sse(out, "", &reply::write(&self.answer, &self.frame));
    }

    fn fail(&mut self, error: &ProviderError, out: &mut String) {
        write_sse(out, "", &error::write(error));
    }
}
