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

use crate::llm::{Format, FormatId, path_segment};

/// This format.
const OWN: FormatId = FormatId::Bedrock;

/// Converse and ConverseStream.
pub(super) const FORMAT: Format = Format {
    path: |model, is_stream| {
        // Names may be ARNs, which have colons and slashes.
        format!("/model/{}/{}", path_segment(model), if is_stream { "converse-stream" } else { "converse" })
    },
    read_request: read::request,
    write_request: write::request,
    read_reply: reply::read,
    write_reply: |answer, _| reply::write(answer),
    stream_reader: || Box::<stream::Reader>::default(),
    stream_writer: |_| Box::<stream::Writer>::default(),
    terminal: stream::terminal,
    read_error: |status, header, body| error::read(status, header("x-amzn-errortype").as_deref(), body),
    write_error: error::write,
};
