//! A prompt that is asked.

use super::answer::AnswerClass;
use super::text::Parsed;
use super::token_set::TokenSet;
use crate::embed::Embedding;

/// A prompt, or a candidate's prompt.
#[derive(Debug, Clone, Copy)]
pub struct PromptText<'t> {
    /// As it was written.
    pub text: &'t str,
    /// Parsed, where the policy wants to know what two texts say differently.
    pub parsed: Option<&'t Parsed>,
    /// Whether its vector misses some of what it says.
    pub is_lossy: bool,
}

/// A prompt, parsed once for all that want to know something of it. That needs no vector, and can be done while one is made.
#[derive(Debug, Clone)]
pub struct ParsedPrompt<'t> {
    text: &'t str,
    parsed: Parsed,
    tokens: TokenSet,
}

impl<'t> ParsedPrompt<'t> {
    /// Parses a text.
    #[must_use]
    pub fn of(text: &'t str) -> Self {
        Self::parsed(text, Parsed::new(text))
    }

    /// Of a text that is parsed already.
    #[must_use]
    pub fn parsed(text: &'t str, parsed: Parsed) -> Self {
        let tokens = TokenSet::of(&parsed);
        Self { text, parsed, tokens }
    }
}

/// A prompt that is asked.
#[derive(Debug, Clone, Copy)]
pub struct Query<'q> {
    /// What it says.
    pub prompt: &'q ParsedPrompt<'q>,
    /// Where it lies.
    pub vector: &'q Embedding,
    /// Whether that misses some of what it says.
    pub is_lossy: bool,
}

impl<'q> Query<'q> {
    /// A prompt whose vector misses nothing.
    #[must_use]
    pub fn new(prompt: &'q ParsedPrompt<'q>, vector: &'q Embedding) -> Self {
        Self { prompt, vector, is_lossy: false }
    }

    /// Its text.
    #[must_use]
    pub fn text(self) -> PromptText<'q> {
        PromptText { text: self.prompt.text, parsed: Some(&self.prompt.parsed), is_lossy: self.is_lossy }
    }

    pub(super) fn tokens(self) -> &'q TokenSet {
        &self.prompt.tokens
    }
}

/// A prompt and what the provider answered it.
#[derive(Debug, Clone, Copy)]
pub struct AnsweredQuery<'q> {
    /// The prompt.
    pub query: Query<'q>,
    /// The class of that answer.
    pub answer: AnswerClass,
}
