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

use crate::llm::{Format, FormatId, openai_chat};

/// This format.
const OWN: FormatId = FormatId::OpenAiCompletions;
/// What replies and the chunks of streams call themselves.
const OBJECT: &str = "text_completion";
/// The end mark of a stream.
const DONE: &str = "[DONE]";

/// OpenAI's older completions, whose errors and end marks are those of chat completions.
pub(super) const FORMAT: Format = Format {
    path: |_, _| "/completions".to_owned(),
    read_request: request::read,
    write_request: request::write,
    read_reply: |body| Ok(reply::read(body)?),
    write_reply: reply::write,
    stream_reader: || Box::<stream_reader::Reader>::default(),
    stream_writer: |frame| Box::new(stream_writer::Writer::new(frame)),
    ..openai_chat::FORMAT
};
