//! Google's `generateContent`, of the Gemini API and of Vertex AI alike.

mod error;
mod parts;
mod read;
mod reply;
mod schema;
mod stream;
#[cfg(test)]
mod tests;
mod write;

use serde_json::{Map, Value};

use super::members::{Members, Place};
use super::{Format, FormatId, Unsupported, path_segment};

/// This format.
const OWN: FormatId = FormatId::Gemini;

/// Google's `generateContent`.
pub(super) const FORMAT: Format = Format {
    path,
    read_request: read::chat,
    write_request: write::request,
    read_reply: reply::read,
    write_reply: reply::write,
    stream_reader: || Box::<stream::Reader>::default(),
    stream_writer: |frame| Box::new(stream::Writer::new(frame)),
    terminal: stream::terminal,
    read_error: |status, _, body| error::read(status, body),
    write_error: error::write,
};

/// The model is one segment, whatever is in its name, so that no name leads to another path. `models/gemini-…`, as
/// Google's list of models has it, means `gemini-…`.
fn path(model: &str, is_stream: bool) -> String {
    let model = path_segment(model.strip_prefix("models/").unwrap_or(model));
    format!("/models/{model}{}", if is_stream { ":streamGenerateContent?alt=sse" } else { ":generateContent" })
}

/// The members of one of Google's own objects, with their names in camel case: the API takes snake case too.
fn open(value: Value, place: Place<'_>) -> Result<Members<'_>, Unsupported> {
    let Value::Object(members) = value else { return Members::of(value, place) };
    let mut named = Map::new();
    for (name, value) in members {
        let words = name.split('_').enumerate().map(|(i, word)| match word.chars().next().filter(|_| i > 0) {
            Some(first) => first.to_uppercase().chain(word.chars().skip(1)).collect(),
            None => word.to_owned(),
        });
        let camel: String = words.collect();
        if named.insert(camel, value).is_some() {
            return Err(place.name(&name).wrong("is given twice"));
        }
    }
    Members::of(named.into(), place)
}

/// The object `name`, which stays among the members that only this format knows as well, so that it goes out as it
/// came.
fn copy_of<'p>(members: &mut Members<'_>, name: &str, place: Place<'p>) -> Result<Option<Members<'p>>, Unsupported> {
    let Some(value) = members.take(name) else { return Ok(None) };
    let object = open(value, place)?.into_map();
    members.put_back(name, object.clone().into());
    Members::of(object.into(), place).map(Some)
}

/// The id of the call number `index`, where Google gives it none. `seed` tells the reply that it is in. At most 40
/// characters, which is what OpenAI takes.
fn call_id(seed: &str, index: usize) -> String {
    let allowed = seed.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    format!("call_{}_{index}", allowed.take(24).collect::<String>())
}
