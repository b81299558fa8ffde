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

use crate::llm::{Format, FormatId, openai};

const OWN: FormatId = FormatId::OpenAiResponses;

/// OpenAI's Responses API.
pub(super) const FORMAT: Format = Format {
    path: |_, _| "/responses".to_owned(),
    read_request: request::read,
    write_request: write_request::write,
    read_reply: reply::read,
    write_reply: reply::write,
    stream_reader: || Box::<stream_reader::Reader>::default(),
    stream_writer: |frame| Box::new(stream_writer::Writer::new(frame)),
    terminal: stream_reader::terminal,
    read_error: |status, _, body| error::read(status, body),
    write_error: |error| openai::write_error(error, Some("server_error")),
};
