//! Writing streams.

use serde_json::{Map, Value, json};

use super::{DONE, FORMAT, reply};
use crate::llm::answer::{Finish, Usage};
use crate::llm::chat::Content;
use crate::llm::event::write_sse;
use crate::llm::{Answer, Delta, Frame, ProviderError, StreamWriter};

/// Writes the chunks of one stream.
pub(super) struct Writer {
    frame: Frame,
    /// What all chunks have in common.
    common: Map<String, Value>,
    /// Those that came in this format. None: the parts of an answer that came in another one are the only choice.
    choices: Option<Vec<Value>>,
    usage: Option<Usage>,
}

impl Writer {
    pub(super) fn new(frame: &Frame) -> Self {
        Self { frame: frame.clone(), common: Map::new(), choices: None, usage: None }
    }

    fn begin(&mut self, answer: &Answer, out: &mut String) {
        self.common = reply::write_frame(answer, &self.frame);
        self.common.extend(reply::others(&answer.extra));
        self.choices = reply::choices(&answer.extra);
        self.usage.clone_from(&answer.usage);
        if !self.is_plain() {
            for choice in self.choices.iter().flatten() {
                let mut piece = choice.clone();
                piece["finish_reason"] = Value::Null;
                self.tell(piece, out);
            }
        }
    }

    /// Whether the one choice is nothing but its text, which is then told in pieces. Others are told whole.
    fn is_plain(&self) -> bool {
        self.choices.as_ref().is_none_or(|choices| matches!(choices.as_slice(), [one] if one["logprobs"].is_null()))
    }

    fn grow(&self, text: &str, out: &mut String) {
        if self.is_plain() && !text.is_empty() {
            self.tell(reply::write_choice(text, None), out);
        }
    }

    /// Why each choice ended, with all else that is known of it.
    fn end(&self, finish: &Finish, out: &mut String) {
        let Some(choices) = &self.choices else { return self.tell(reply::write_choice("", Some(finish)), out) };
        for choice in choices {
            let mut last = choice.clone();
            last["text"] = "".into();
            last["logprobs"] = Value::Null;
            self.tell(last, out);
        }
    }

    fn tell(&self, choice: Value, out: &mut String) {
        let mut chunk = self.common.clone();
        chunk.insert("choices".into(), vec![choice].into());
        write_sse(out, "", &chunk.into());
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, delta: &Delta, out: &mut String) {
        match delta {
            Delta::Begin(answer) => self.begin(answer, out),
            Delta::PartBegin { part, .. } => {
                if let Content::Text(text) = &part.content {
                    self.grow(text, out);
                }
            }
            Delta::PartGrow { text, .. } => self.grow(text, out),
            Delta::Usage(usage) => self.usage = Some(usage.clone()),
            Delta::Finish(finish) => self.end(finish, out),
            Delta::PartEnd { .. } | Delta::Extra(_) | Delta::Lossy(_) => {}
        }
    }

    fn finish(&mut self, out: &mut String) {
        if let Some(usage) = self.usage.as_ref().filter(|_| self.frame.include_usage) {
            let mut chunk = self.common.clone();
            chunk.insert("choices".into(), json!([]));
            chunk.insert("usage".into(), reply::write_usage(usage));
            write_sse(out, "", &chunk.into());
        }
        out.push_str(&format!("data: {DONE}\n\n"));
    }

    fn fail(&mut self, error: &ProviderError, out: &mut String) {
        write_sse(out, "", &FORMAT.write_error(error));
    }
}
