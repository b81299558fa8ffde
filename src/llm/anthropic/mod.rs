//! Anthropic's Messages API, version 2023-06-01.

mod block;
mod error;
mod read_request;
mod reply;
mod stream_reader;
mod stream_writer;
mod thinking;
mod turns;
mod write_request;

use serde_json::{Map, Value};

use super::chat::Extra;
use super::event::write_sse;
use super::{
    Answer, Chat, Event, Format, FormatId, Frame, Malformed, ProviderError, StreamReader, StreamWriter, Terminal,
    Unsupported,
};

pub use turns::without_unsigned_thinking;

/// Anthropic's messages.
pub(super) struct Anthropic;

impl Format for Anthropic {
    fn id(&self) -> FormatId {
        FormatId::Anthropic
    }

    fn path(&self, _: &str, _: bool) -> String {
        "/messages".to_owned()
    }

    fn read_request(&self, body: Value) -> Result<Chat, Unsupported> {
        read_request::read_request(body)
    }

    fn write_request(&self, chat: &Chat, model: &str) -> Result<Value, Unsupported> {
        write_request::write_request(chat, model)
    }

    fn read_reply(&self, body: Value) -> Result<Answer, Malformed> {
        reply::read_reply(body)
    }

    fn write_reply(&self, answer: &Answer, frame: &Frame) -> Value {
        reply::write_reply(answer, frame)
    }

    fn stream_reader(&self) -> Box<dyn StreamReader> {
        Box::<stream_reader::Reader>::default()
    }

    fn stream_writer(&self, frame: &Frame) -> Box<dyn StreamWriter> {
        Box::new(stream_writer::Writer::new(frame.clone()))
    }

    fn terminal(&self, event: &Event) -> Option<Terminal> {
        stream_reader::terminal(event)
    }

    fn read_error(&self, status: u16, _: &dyn Fn(&str) -> Option<String>, body: &[u8]) -> ProviderError {
        error::read(status, body)
    }

    fn write_error(&self, error: &ProviderError) -> Value {
        error::write(error)
    }

    fn write_stream_error(&self, error: &ProviderError, out: &mut String) {
        write_sse(out, "error", &error::write(error));
    }
}

/// `object` without nulls and with the members that only Anthropic has. Where those have a `type`, they are all of it.
/// Of other formats' members only marks for the prompt cache mean anything here; callers spell them as Anthropic does.
fn with_extra(mut object: Value, extra: &Extra) -> Value {
    let Some(members) = object.as_object_mut() else { return object };
    members.retain(|_, value| !value.is_null());
    match extra.get() {
        Some((FormatId::Anthropic, own)) if own.contains_key("type") => members.clone_from(own),
        Some((FormatId::Anthropic, own)) => merge(members, own),
        Some((_, others)) => {
            let mark = others.get_key_value("cache_control");
            members.extend(mark.map(|(name, mark)| (name.clone(), mark.clone())));
        }
        None => {}
    }
    object
}

/// Adds `more` to `members`. Objects with the same name are merged, unless the new one has a `type` and so is whole.
fn merge(members: &mut Map<String, Value>, more: &Map<String, Value>) {
    for (name, value) in more {
        match (members.get_mut(name), value) {
            (Some(Value::Object(inner)), Value::Object(more)) if !more.contains_key("type") => merge(inner, more),
            _ => drop(members.insert(name.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests;
