//! OpenAI's chat completions, and the dialects of those who offer the same API.

mod content;
mod read_request;
mod reply;
mod stream_reader;
mod stream_writer;
#[cfg(test)]
mod tests;
mod write_request;

use serde_json::{Map, Value};

use crate::llm::chat::Extra;
use crate::llm::{Format, FormatId, openai};

pub use write_request::with_fitting_call_ids;

/// This format.
const OWN: FormatId = FormatId::OpenAiChat;
/// The member of an [`Extra`] that tells in which member of its message a part stood, where that
/// isn't the usual one. JSON's members have no such name.
const STOOD_IN: &str = "$member";
/// The end mark of a stream.
const DONE: &str = "[DONE]";

/// OpenAI's chat completions.
pub(super) const FORMAT: Format = Format {
    path: |_, _| "/chat/completions".to_owned(),
    read_request: read_request::read,
    write_request: write_request::write,
    read_reply: reply::read,
    write_reply: reply::write,
    stream_reader: || Box::<stream_reader::Reader>::default(),
    stream_writer: |frame| Box::new(stream_writer::Writer::new(frame)),
    terminal: stream_reader::terminal,
    read_error: |status, _, body| openai::read_error(status, body),
    write_error: |error| openai::write_error(error, None),
};

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
