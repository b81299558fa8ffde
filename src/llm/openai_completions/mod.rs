//! OpenAI's older completions: a text, or several, that the model goes on with.
//!
//! Such a request is no conversation, so nothing is converted into this format or out of it: it goes to providers that have
//! the same API. It is read all the same, because what it asks for can be asked again. A prompt that is one text is the
//! text of a user's message; several prompts, or tokens, are one part that only this format knows. Members of the request
//! and whole choices of the reply stay in this format's own words.

mod reply;
mod request;
mod stream_reader;
mod stream_writer;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::llm::{
    Answer, Chat, Event, Format, FormatId, Frame, Malformed, ProviderError, StreamReader, StreamWriter, Terminal,
    Unsupported,
};

/// This format.
const OWN: FormatId = FormatId::OpenAiCompletions;
/// The format whose errors and end marks are the same.
const SIBLING: FormatId = FormatId::OpenAiChat;
/// What replies and the chunks of streams call themselves.
const OBJECT: &str = "text_completion";
/// The end mark of a stream.
const DONE: &str = "[DONE]";

/// OpenAI's older completions.
pub(super) struct OpenAiCompletions;

impl Format for OpenAiCompletions {
    fn id(&self) -> FormatId {
        OWN
    }

    fn path(&self, _: &str, _: bool) -> String {
        "/completions".to_owned()
    }

    fn read_request(&self, body: Value) -> Result<Chat, Unsupported> {
        request::read(body)
    }

    fn write_request(&self, chat: &Chat, model: &str) -> Result<Value, Unsupported> {
        request::write(chat, model)
    }

    fn read_reply(&self, body: Value) -> Result<Answer, Malformed> {
        reply::read(body).map_err(|why| Malformed(why.to_string()))
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
        SIBLING.format().terminal(event)
    }

    fn read_error(&self, status: u16, header: &dyn Fn(&str) -> Option<String>, body: &[u8]) -> ProviderError {
        SIBLING.format().read_error(status, header, body)
    }

    fn write_error(&self, error: &ProviderError) -> Value {
        SIBLING.format().write_error(error)
    }

    fn write_stream_error(&self, error: &ProviderError, out: &mut String) {
        SIBLING.format().write_stream_error(error, out);
    }
}
