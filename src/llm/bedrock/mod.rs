//! Amazon Bedrock's Converse API (`bedrock-runtime`, 2023-09-30).
//!
//! Signatures and the framing of streams are known elsewhere: events come here with the type of the event or exception
//! as their name.

mod content;
mod conversation;
mod error;
mod read;
mod reply;
mod stream;
#[cfg(test)]
mod tests;
mod write;
#[cfg(test)]
mod write_tests;

use serde_json::Value;

use crate::llm::{
    Answer, Chat, Event, Format, FormatId, Frame, Malformed, ProviderError, StreamReader, StreamWriter, Terminal,
    Unsupported,
};

/// Converse and ConverseStream.
pub(super) struct Bedrock;

impl Format for Bedrock {
    fn id(&self) -> FormatId {
        FormatId::Bedrock
    }

    /// The model is one segment of the path, whatever is in it: ARNs have colons and slashes.
    fn path(&self, model: &str, is_stream: bool) -> String {
        let escaped = |byte: u8| match byte {
            _ if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        let model = match model {
            // Clients take these for steps of a path, escaped or not, unless they are escaped twice.
            "." | ".." => model.replace('.', "%252E"),
            _ => model.bytes().map(escaped).collect(),
        };
        format!("/model/{model}/{}", if is_stream { "converse-stream" } else { "converse" })
    }

    fn read_request(&self, body: Value) -> Result<Chat, Unsupported> {
        read::request(body)
    }

    fn write_request(&self, chat: &Chat, model: &str) -> Result<Value, Unsupported> {
        write::request(chat, model)
    }

    fn read_reply(&self, body: Value) -> Result<Answer, Malformed> {
        reply::read(body)
    }

    fn write_reply(&self, answer: &Answer, _: &Frame) -> Value {
        reply::write(answer)
    }

    fn stream_reader(&self) -> Box<dyn StreamReader> {
        Box::new(stream::Reader::default())
    }

    fn stream_writer(&self, _: &Frame) -> Box<dyn StreamWriter> {
        Box::new(stream::Writer::default())
    }

    fn terminal(&self, event: &Event) -> Option<Terminal> {
        stream::terminal(event)
    }

    fn read_error(&self, status: u16, header: &dyn Fn(&str) -> Option<String>, body: &[u8]) -> ProviderError {
        error::read(status, header("x-amzn-errortype").as_deref(), body)
    }

    fn write_error(&self, error: &ProviderError) -> Value {
        error::write(error)
    }

    fn write_stream_error(&self, error: &ProviderError, out: &mut String) {
        error::write_event(error, out);
    }
}
