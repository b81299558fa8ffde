//! A prompt that is asked.

use super::answer::AnswerClass;
use super::features::Text;
use super::text::Parsed;
use super::words::Wording;
use crate::embed::Embedding;

/// A prompt, read once for all that want to know something of it. That needs no vector, and can be done while one is made.
#[derive(Debug, Clone)]
pub struct Reading<'t> {
    text: &'t str,
    parsed: Parsed,
    wording: Wording,
}

impl<'t> Reading<'t> {
    /// Takes a text apart.
    #[must_use]
    pub fn of(text: &'t str) -> Self {
        Self::parsed(text, Parsed::new(text))
    }

    /// Of a text that is taken apart already.
    #[must_use]
    pub fn parsed(text: &'t str, parsed: Parsed) -> Self {
        let wording = Wording::of(&parsed);
        Self { text, parsed, wording }
    }
}

/// A prompt that is asked.
#[derive(Debug, Clone, Copy)]
pub struct Query<'q> {
    /// What it says.
    pub reading: &'q Reading<'q>,
    /// Where it lies.
    pub vector: &'q Embedding,
    /// Whether that misses some of what it says.
    pub blurred: bool,
}

impl<'q> Query<'q> {
    /// A prompt whose vector misses nothing.
    #[must_use]
    pub fn new(reading: &'q Reading<'q>, vector: &'q Embedding) -> Self {
        Self { reading, vector, blurred: false }
    }

    /// What a rule may look at that judges by texts.
    #[must_use]
    pub fn text(self) -> Text<'q> {
        Text { text: self.reading.text, parsed: Some(&self.reading.parsed), blurred: self.blurred }
    }

    pub(super) fn wording(self) -> &'q Wording {
        &self.reading.wording
    }
}

/// A prompt and what the provider answered it.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'q> {
    /// The prompt.
    pub query: Query<'q>,
    /// The class of that answer.
    pub answer: AnswerClass,
}
