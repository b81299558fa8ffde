//! OpenAI's Responses API.
//!
//! A conversation is a flat list of items: messages, reasoning, calls and their outputs. What the model said in one
//! turn is several items, which become the parts of one message here. The members of an item that have no field stand
//! in the extra of its first part, see [`items`].

mod error;
mod items;
mod reply;
mod request;
mod stream_reader;
mod stream_writer;
mod write_request;

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::llm::{
    Answer, Chat, Event, Format, FormatId, Frame, Malformed, ProviderError, StreamReader, StreamWriter, Terminal,
    Unsupported,
};

const ID: FormatId = FormatId::OpenAiResponses;

/// OpenAI's Responses API.
pub(super) struct OpenAiResponses;

impl Format for OpenAiResponses {
    fn id(&self) -> FormatId {
        ID
    }

    fn path(&self, _: &str, _: bool) -> String {
        "/responses".into()
    }

    fn read_request(&self, body: Value) -> Result<Chat, Unsupported> {
        request::read(body)
    }

    fn write_request(&self, chat: &Chat, model: &str) -> Result<Value, Unsupported> {
        write_request::write(chat, model)
    }

    fn read_reply(&self, body: Value) -> Result<Answer, Malformed> {
        reply::read(body)
    }

    fn write_reply(&self, answer: &Answer, frame: &Frame) -> Value {
        reply::write(answer, frame)
    }

    fn stream_reader(&self) -> Box<dyn StreamReader> {
        Box::<stream_reader::Reader>::default()
    }

    fn stream_writer(&self, frame: &Frame) -> Box<dyn StreamWriter> {
        Box::new(stream_writer::Writer::new(frame))
    }

    fn terminal(&self, event: &Event) -> Option<Terminal> {
        match event.name.as_str() {
            "" | "message" => {}
            name => return ending(name),
        }
        // In the text of an answer these would stand with backslashes before their quotes.
        let marks = ["\"response.completed\"", "\"response.incomplete\"", "\"response.done\"", "\"response.failed\""];
        if !marks.iter().chain(["\"error\"", "\"response.cancelled\""].iter()).any(|mark| event.data.contains(mark)) {
            return None;
        }
        let data: Value = serde_json::from_str(&event.data).ok()?;
        ending(data["type"].as_str().unwrap_or_default()).or((!data["error"].is_null()).then_some(Terminal::Error))
    }

    fn read_error(&self, status: u16, _: &dyn Fn(&str) -> Option<String>, body: &[u8]) -> ProviderError {
        error::read(status, body)
    }

    fn write_error(&self, error: &ProviderError) -> Value {
        error::write(error)
    }

    fn write_stream_error(&self, error: &ProviderError, out: &mut String) {
        error::write_event(error, out);
    }
}

/// How an event of this type ends a stream, if it does.
fn ending(kind: &str) -> Option<Terminal> {
    match kind {
        "response.completed" | "response.incomplete" | "response.done" => Some(Terminal::End),
        "response.failed" | "response.cancelled" | "error" => Some(Terminal::Error),
        _ => None,
    }
}
