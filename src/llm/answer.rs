//! A model's answer, whoever's API it came through.

use serde_json::{Map, Value};

use super::FormatId;
use super::chat::{Content, Extra, Part};

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// The provider's id of it; empty where it gives none.
    pub id: String,
    /// The model that answered; empty where the provider doesn't say.
    pub model: String,
    /// When, in seconds since 1970; none where the format doesn't say.
    pub created: Option<u64>,
    /// What it says, in order: thoughts, texts, calls of tools.
    pub parts: Vec<Part>,
    /// Why it ended.
    pub finish: Finish,
    /// What it used, where the provider tells.
    pub usage: Option<Usage>,
    /// Further members of the reply, in its format's own words.
    pub extra: Extra,
    /// A member of the reply that was not understood and may be lost. Such an answer is handed on and never stored.
    pub lossy: Option<String>,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Finish {
    /// The model was done.
    #[default]
    Stop,
    /// One of the caller's stop sequences came: this one, where the provider tells.
    StopSequence(Option<String>),
    /// The model calls tools and waits for their results.
    ToolCalls,
    /// The limit of tokens was reached; the answer is cut.
    Length,
    /// The provider's filter withheld the answer or a part of it.
    ContentFilter,
    /// The model refuses.
    Refusal,
    /// Another reason, in the format's own word. Never taken for a whole answer.
    Other(FormatId, String),
}

/// What an answer used. Counts that aren't told are zero.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Usage {
    /// Tokens of the prompt, those read from and written to the provider's own cache included.
    pub input: u64,
    /// Of these, read from the provider's cache.
    pub cached_input: u64,
    /// Of these, written to it.
    pub cache_write: u64,
    /// Tokens of the answer, thoughts included.
    pub output: u64,
    /// Of these, thoughts.
    pub reasoning: u64,
    /// The object that tells it, as it came. The same format is given it again.
    pub raw: Option<(FormatId, Map<String, Value>)>,
}

impl Usage {
    /// The object that tells it, where it came in `format`.
    #[must_use]
    pub fn raw_of(&self, format: FormatId) -> Option<&Map<String, Value>> {
        self.raw.as_ref().filter(|(of, _)| *of == format).map(|(_, members)| members)
    }
}

impl Answer {
    /// An answer that is only text: nobody generated it for a request, so it has no usage.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self { parts: vec![Part::text(text)], ..Self::default() }
    }

    /// Its texts, joined.
    #[must_use]
    pub fn text(&self) -> String {
        self.parts.iter().filter_map(Part::as_text).collect()
    }

    /// Whether it calls tools.
    #[must_use]
    pub fn calls_tools(&self) -> bool {
        self.parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)))
    }
}
