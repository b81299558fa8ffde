//! What a chat is, and how each API says it: requests, replies, streams and errors, in both directions.
//!
//! [`Chat`] and [`Answer`] are what callers and providers mean. A [`Format`] is how one API spells that. Whatever is said in
//! one format can be said in any other by way of these, so that each format is written once and not once for each pair.
//! Everything here is pure: values in, values out. Where requests go, and what is stored, is known elsewhere.
//!
//! A new API is one folder with a [`Format`] and one line in [`FormatId::format`].

pub mod answer;
pub mod chat;
pub mod delta;
pub mod document;
pub mod embeddings;
pub mod error;
pub mod estimate;
pub mod event;
mod members;
pub mod models;
pub mod raw;
mod schema;
mod schema_check;
pub mod storable;

mod anthropic;
mod bedrock;
mod claude;
mod gemini;
mod openai;
mod openai_chat;
mod openai_completions;
mod openai_responses;

#[cfg(test)]
mod golden;

use std::sync::Arc;

use serde_json::Value;

pub use answer::{Answer, Finish, Usage};
pub use anthropic::without_unsigned_thinking;
pub use chat::{Chat, Delivery};
pub use delta::{Assembler, Delta, playback};
pub use document::{Document, without_lone_surrogates};
pub use error::{Malformed, ProviderError, StreamFault, Unsupported};
pub use event::{Event, EventFault, EventSplitter};
pub use openai_chat::with_fitting_call_ids;

/// The formats that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum FormatId {
    /// OpenAI's chat completions.
    #[default]
    OpenAiChat,
    /// OpenAI's Responses API.
    OpenAiResponses,
    /// Anthropic's messages.
    Anthropic,
    /// Google's `generateContent`.
    Gemini,
    /// Amazon's Converse.
    Bedrock,
    /// OpenAI's older completions, which are no chats: nothing is converted into them or out of them.
    OpenAiCompletions,
}

impl FormatId {
    /// Those of chats, which can all be said in one another.
    pub const ALL: [Self; 5] = [Self::OpenAiChat, Self::OpenAiResponses, Self::Anthropic, Self::Gemini, Self::Bedrock];

    /// What reads and writes it.
    #[must_use]
    pub fn format(self) -> &'static Format {
        match self {
            Self::OpenAiChat => &openai_chat::FORMAT,
            Self::OpenAiResponses => &openai_responses::FORMAT,
            Self::Anthropic => &anthropic::FORMAT,
            Self::Gemini => &gemini::FORMAT,
            Self::Bedrock => &bedrock::FORMAT,
            Self::OpenAiCompletions => &openai_completions::FORMAT,
        }
    }

    /// The format of a whole reply, as JSON: each of those that callers speak says it in a member. A reply that doesn't say is
    /// a chat completion, as some providers write them.
    #[must_use]
    pub fn of_reply(reply: &str) -> Self {
        #[derive(serde::Deserialize)]
        struct Kind<'r> {
            #[serde(borrow, default)]
            object: Option<std::borrow::Cow<'r, str>>,
            #[serde(borrow, default, rename = "type")]
            kind: Option<std::borrow::Cow<'r, str>>,
        }
        let Ok(Kind { object, kind }) = serde_json::from_str::<Kind<'_>>(reply) else { return Self::OpenAiChat };
        match (object.as_deref(), kind.as_deref()) {
            (Some("response"), _) => Self::OpenAiResponses,
            (Some("text_completion"), _) => Self::OpenAiCompletions,
            (None, Some("message")) => Self::Anthropic,
            _ => Self::OpenAiChat,
        }
    }

    /// Its name, in logs and files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai-chat",
            Self::OpenAiResponses => "openai-responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Bedrock => "bedrock",
            Self::OpenAiCompletions => "openai-completions",
        }
    }
}

/// How one API says a chat.
///
/// Reading is lossless: what has no field in [`Chat`] or [`Answer`] is kept beside it. Writing in the format in which
/// something was read gives it back; writing it in another one leaves out what has no counterpart there where the answer
/// means the same without it, and is an error that names the member where it doesn't.
///
/// A table of functions: each folder has one, as its `FORMAT`.
pub struct Format {
    path: fn(&str, bool) -> String,
    read_request: fn(Value) -> Result<Chat, Unsupported>,
    write_request: fn(&Chat, &str) -> Result<Value, Unsupported>,
    read_reply: fn(Value) -> Result<Answer, Malformed>,
    write_reply: fn(&Answer, &Frame) -> Value,
    stream_reader: fn() -> Box<dyn StreamReader>,
    stream_writer: fn(&Frame) -> Box<dyn StreamWriter>,
    terminal: fn(&Event) -> Option<Terminal>,
    read_error: fn(u16, Header<'_>, &[u8]) -> ProviderError,
    write_error: fn(&ProviderError) -> Value,
}

/// Looks up one of a reply's headers by its name in lower case.
type Header<'h> = &'h dyn Fn(&str) -> Option<String>;

impl Format {
    /// Where a chat is posted, below the provider's base address: `/chat/completions`.
    #[must_use]
    pub fn path(&self, model: &str, is_stream: bool) -> String {
        (self.path)(model, is_stream)
    }

    /// Reads a request.
    ///
    /// # Errors
    /// Where it isn't one: its field and what is wrong with it.
    pub fn read_request(&self, body: Value) -> Result<Chat, Unsupported> {
        (self.read_request)(body)
    }

    /// Writes a request for `model`, which is the provider's name of it.
    ///
    /// # Errors
    /// Where the chat asks for what this API can't do.
    pub fn write_request(&self, chat: &Chat, model: &str) -> Result<Value, Unsupported> {
        (self.write_request)(chat, model)
    }

    /// Reads a whole reply.
    ///
    /// # Errors
    /// Where it isn't one answer.
    pub fn read_reply(&self, body: Value) -> Result<Answer, Malformed> {
        (self.read_reply)(body)
    }

    /// Writes a whole reply.
    #[must_use]
    pub fn write_reply(&self, answer: &Answer, frame: &Frame) -> Value {
        (self.write_reply)(answer, frame)
    }

    /// Reads a stream.
    #[must_use]
    pub fn stream_reader(&self) -> Box<dyn StreamReader> {
        (self.stream_reader)()
    }

    /// Writes a stream, as server-sent events.
    #[must_use]
    pub fn stream_writer(&self, frame: &Frame) -> Box<dyn StreamWriter> {
        (self.stream_writer)(frame)
    }

    /// Whether `event` ends a stream, and how. Called for each event of a stream that passes through, so it must not parse
    /// what it needn't.
    #[must_use]
    pub fn terminal(&self, event: &Event) -> Option<Terminal> {
        (self.terminal)(event)
    }

    /// Reads a refusal's body.
    pub fn read_error(&self, status: u16, header: Header<'_>, body: &[u8]) -> ProviderError {
        (self.read_error)(status, header, body)
    }

    /// Writes an error's body.
    #[must_use]
    pub fn write_error(&self, error: &ProviderError) -> Value {
        (self.write_error)(error)
    }
}

/// What a reply says beside the answer, where the answer doesn't say it itself.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// The reply's id.
    pub id: String,
    /// The model that was asked for.
    pub model: String,
    /// Now, in seconds since 1970.
    pub created: u64,
    /// Whether the caller of a stream wants to know its usage, in formats that tell it only then.
    pub include_usage: bool,
    /// The request, where a reply repeats parts of it.
    pub chat: Option<Arc<Chat>>,
}

impl Frame {
    /// The id of a reply with this answer.
    fn id_of<'a>(&'a self, answer: &'a Answer) -> &'a str {
        if answer.id.is_empty() { &self.id } else { &answer.id }
    }

    /// The model that such a reply names.
    fn model_of<'a>(&'a self, answer: &'a Answer) -> &'a str {
        if answer.model.is_empty() { &self.model } else { &answer.model }
    }
}

/// A name as one segment of a path, whatever is in it, so that none leads elsewhere.
#[must_use]
pub fn path_segment(name: &str) -> String {
    let escaped = |byte: u8| match byte {
        _ if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    match name {
        // Clients take these for steps of a path, escaped or not, unless they are escaped twice.
        "." | ".." => name.replace('.', "%252E"),
        _ => name.bytes().map(escaped).collect(),
    }
}

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// With the answer's end mark: nothing follows.
    End,
    /// The answer is whole, and an end mark or its usage may follow.
    Whole,
    /// With an error.
    Error,
}

/// Reads the events of one stream.
pub trait StreamReader: Send {
    /// The next event.
    ///
    /// # Errors
    /// Where it isn't understood, or is the provider's error. What came before it in `out` holds.
    fn read(&mut self, event: &Event, out: &mut Vec<Delta>) -> Result<(), StreamFault>;

    /// Whether the end mark has come: nothing that follows matters.
    fn is_complete(&self) -> bool;

    /// The stream has ended.
    ///
    /// # Errors
    /// [`StreamFault::Truncated`] where the answer hadn't.
    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), StreamFault>;
}

/// Writes the events of one stream.
pub trait StreamWriter: Send {
    /// Writes what there is to say of a step.
    fn write(&mut self, delta: &Delta, out: &mut String);

    /// Writes the end, end mark included.
    fn finish(&mut self, out: &mut String);

    /// Writes an error as the last event, in place of the end.
    fn fail(&mut self, error: &ProviderError, out: &mut String);
}
