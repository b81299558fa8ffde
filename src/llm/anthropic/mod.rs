//! Anthropic's Messages API, version 2023-06-01.

mod block;
mod error;
mod read_request;
mod reply;
mod stream_reader;
mod stream_writer;
mod turns;
mod write_request;

use serde_json::Value;

use super::chat::Extra;
use super::members::merge;
use super::{Format, FormatId};

/// This format.
const OWN: FormatId = FormatId::Anthropic;

pub use turns::without_unsigned_thinking;

/// Anthropic's messages.
pub(super) const FORMAT: Format = Format {
    path: |_, _| "/messages".to_owned(),
    read_request: read_request::read,
    write_request: write_request::write,
    read_reply: reply::read,
    write_reply: reply::write,
    stream_reader: || Box::<stream_reader::Reader>::default(),
    stream_writer: |frame| Box::new(stream_writer::Writer::new(frame)),
    terminal: stream_reader::terminal,
    read_error: |status, _, body| error::read(status, body),
    write_error: error::write,
};

/// `object` without nulls and with the members that only Anthropic has. Where those have a `type`, they are all of it.
/// Of other formats' members only marks for the prompt cache mean anything here; callers spell them as Anthropic does.
fn with_extra(mut object: Value, extra: &Extra) -> Value {
    let Some(members) = object.as_object_mut() else { return object };
    members.retain(|_, value| !value.is_null());
    match extra.get() {
        Some((OWN, own)) if own.contains_key("type") => members.clone_from(own),
        Some((OWN, own)) => merge(members, own),
        Some((_, others)) => {
            let mark = others.get_key_value("cache_control");
            members.extend(mark.map(|(name, mark)| (name.clone(), mark.clone())));
        }
        None => {}
    }
    object
}

#[cfg(test)]
mod tests;
