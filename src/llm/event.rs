//! An event of a stream, however it was framed.

use std::fmt::Write;

use serde_json::Value;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// Its name, where the framing gives one.
    pub name: String,
    /// What it says; JSON but for end marks.
    pub data: String,
}

/// Writes a server-sent event. Events of formats that don't name theirs have an empty name.
pub fn write_sse(out: &mut String, name: &str, data: &Value) {
    // Writing to a string can't fail.
    let _ =
        if name.is_empty() { write!(out, "data: {data}\n\n") } else { write!(out, "event: {name}\ndata: {data}\n\n") };
}
