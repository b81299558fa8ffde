//! OpenAI's chat completions, and the dialects of those who offer the same API.

mod content;
mod error;
mod read_request;
mod reply;
mod stream_reader;
mod stream_writer;
#[cfg(test)]
mod tests;
mod write_request;

use serde_json::{Map, Value};

use crate::llm::chat::Extra;
use crate::llm::{
    Answer, Chat, Event, Format, FormatId, Frame, Malformed, ProviderError, StreamReader, StreamWriter, Terminal,
    Unsupported,
};

/// This format.
const OWN: FormatId = FormatId::OpenAiChat;
/// The member of an [`Extra`] that tells in which member of its message a part stood, where that
/// isn't the usual one. JSON's members have no such name.
const STOOD_IN: &str = "$member";
/// The end mark of a stream.
const DONE: &str = "[DONE]";

/// OpenAI's chat completions.
pub(super) struct OpenAiChat;

impl Format for OpenAiChat {
    fn id(&self) -> FormatId {
        OWN
    }

    fn path(&self, _: &str, _: bool) -> String {
        "/chat/completions".to_owned()
    }

    fn read_request(&self, body: Value) -> Result<Chat, Unsupported> {
        read_request::read(body)
    }

    fn write_request(&self, chat: &Chat, model: &str) -> Result<Value, Unsupported> {
        write_request::write(chat, model)
    }

    fn read_reply(&self, body: Value) -> Result<Answer, Malformed> {
        if error::is_told(&body["error"]) {
            return Err(Malformed(format!("it is an error: {}", error::in_stream(&body["error"]).message)));
        }
        reply::read(body).map_err(|why| Malformed(why.to_string()))
    }

    fn write_reply(&self, answer: &Answer, frame: &Frame) -> Value {
        reply::write(answer, frame)
    }

    fn stream_reader(&self) -> Box<dyn StreamReader> {
        Box::new(stream_reader::Reader::default())
    }

    fn stream_writer(&self, frame: &Frame) -> Box<dyn StreamWriter> {
        Box::new(stream_writer::Writer::new(frame))
    }

    fn terminal(&self, event: &Event) -> Option<Terminal> {
        let data = event.data.trim();
        if data == DONE {
            return Some(Terminal::End);
        }
        if event.name == "error" {
            return Some(Terminal::Error);
        }
        // Within a text the quotes would have backslashes before them.
        let says_why = data
            .split("\"finish_reason\"")
            .skip(1)
            .any(|rest| rest.trim_start().strip_prefix(':').is_some_and(|value| value.trim_start().starts_with('"')));
        if !says_why && !data.contains("\"error\"") {
            return None;
        }
        let chunk: Value = serde_json::from_str(data).ok()?;
        if error::is_told(&chunk["error"]) {
            return Some(Terminal::Error);
        }
        match chunk["choices"].as_array()?.iter().find_map(|choice| choice["finish_reason"].as_str())? {
            "error" => Some(Terminal::Error),
            _ => Some(Terminal::Whole),
        }
    }

    fn read_error(&self, status: u16, _: &dyn Fn(&str) -> Option<String>, body: &[u8]) -> ProviderError {
        error::read(status, body)
    }

    fn write_error(&self, error: &ProviderError) -> Value {
        error::write(error)
    }

    fn write_stream_error(&self, error: &ProviderError, out: &mut String) {
        crate::llm::event::write_sse(out, "", &error::write(error));
    }
}

/// The members of an object that say something.
fn object(value: Value) -> Map<String, Value> {
    let Value::Object(mut members) = value else { return Map::new() };
    members.retain(|_, value| !value.is_null());
    members
}

/// A list, where there is anything in it.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// A text, where it says anything.
fn some_text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Adds members of this format to an object.
fn merge_extra(object: &mut Map<String, Value>, extra: &Extra) {
    extra.of(OWN).into_iter().for_each(|more| merge(object, more));
}

/// Adds members to an object, below those that it has already: what they say counts.
fn merge(object: &mut Map<String, Value>, more: &Map<String, Value>) {
    for (name, value) in more.iter().filter(|(name, _)| *name != STOOD_IN) {
        match (object.get_mut(name), value) {
            (Some(Value::Object(object)), Value::Object(more)) => merge(object, more),
            (Some(present), _) if !present.is_null() => {}
            _ => {
                object.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Whether a member says nothing.
fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(Value::is_null),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
