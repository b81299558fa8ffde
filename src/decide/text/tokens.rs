//! Words, numbers and signs.

use std::borrow::Cow;

use super::hash::Hash;
use super::lexicon::{self, Senses};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Begins with a letter; digits, apostrophes and underscores may follow.
    Word,
    /// Digits, with what may stand between them: 1,000.50, 12:30, 2024-01-05.
    Number,
    /// A currency sign, a percent or degree sign.
    Sign,
}

/// A piece of a prompt that means something.
#[derive(Debug, Clone)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    /// As it was written.
    pub(super) text: &'t str,
    /// In lower case, apostrophes all alike.
    pub(super) lower: Cow<'t, str>,
    /// Whether a sentence may begin with it.
    pub(super) is_first: bool,
    pub(super) senses: Senses,
    /// Bytes of `lower` that are its stem.
    stem: usize,
    /// Of the stem.
    pub(super) hash: u64,
}

impl<'t> Token<'t> {
    fn new(kind: Kind, text: &'t str, is_first: bool) -> Self {
        let is_lower = text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
        let lower =
            if is_lower { Cow::Borrowed(text) } else { Cow::Owned(text.to_lowercase().replace('\u{2019}', "'")) };
        let (stem, ending) = lower.as_bytes().split_at(stem(&lower).len());
        let of_stem = Hash::START.then(stem);
        let senses = lexicon::senses(of_stem.then(ending).get());
        Self { kind, text, is_first, senses, stem: stem.len(), hash: of_stem.get(), lower }
    }

    /// Whether it may have capitals.
    pub(super) fn has_capitals(&self) -> bool {
        matches!(self.lower, Cow::Owned(_))
    }

    /// Whether it says something of its own.
    pub(super) fn is_content(&self) -> bool {
        self.kind != Kind::Sign && !self.senses.is_function
    }

    /// Whether it is the word `word`, which is in lower case.
    pub(super) fn is(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.lower == word
    }

    /// Without the endings that English puts to a word: good enough to see that two forms belong together.
    pub(super) fn stem(&self) -> &str {
        &self.lower[..self.stem]
    }
}

/// A word without its ending.
pub(super) fn stem(word: &str) -> &str {
    let word = word.strip_suffix("'s").unwrap_or(word);
    for ending in ["ing", "ed", "es", "s", "e"] {
        if let Some(rest) = word.strip_suffix(ending).filter(|rest| rest.chars().count() >= 3 && !rest.ends_with('s')) {
            return rest;
        }
    }
    word
}

/// Words that hold a sentence together and say little.
pub(super) const FUNCTION_WORDS: [&str; 96] = [
    "a", "about", "am", "an", "and", "any", "are", "as", "at", "be", "been", "being", "but", "by", "can", "could", "d",
    "did", "do", "does", "doing", "for", "from", "get", "give", "had", "has", "have", "he", "her", "here", "him",
    "his", "how", "i", "i'd", "i'm", "if", "in", "into", "is", "it", "it's", "its", "just", "let", "ll", "m", "may",
    "me", "might", "my", "of", "on", "or", "our", "please", "s", "shall", "she", "should", "so", "some", "such",
    "tell", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "to", "up",
    "us", "was", "we", "were", "what", "what's", "when", "where", "which", "who", "why", "will", "with", "would",
    "you", "your", "way", "show",
];

fn is_sign(c: char) -> bool {
    matches!(c, '$' | '€' | '£' | '¥' | '₹' | '%' | '°')
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '\u{2019}')
}

/// The tokens of a text, in their order.
pub(super) fn split(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::with_capacity(text.len() / 5);
    let mut is_first = true;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (kind, length) = if c.is_ascii_digit() {
            (Kind::Number, number(rest))
        } else if c.is_alphanumeric() || c == '_' {
            (Kind::Word, word(rest))
        } else if is_sign(c) {
            (Kind::Sign, c.len_utf8())
        } else {
            is_first |= matches!(c, '.' | '!' | '?' | ':' | '\n' | '"' | '\u{201c}' | '`' | '-' | '*');
            rest = &rest[c.len_utf8()..];
            continue;
        };
        let (token, after) = rest.split_at(length);
        tokens.push(Token::new(kind, token, is_first));
        is_first = false;
        rest = after;
    }
    tokens
}

/// Bytes of the word that `text` begins with.
fn word(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        let goes_on = c.is_alphanumeric()
            || c == '_'
            || (is_apostrophe(c) && next.is_some_and(char::is_alphabetic))
            || (c == '-' && next.is_some_and(|next| next.is_ascii_digit()));
        if !goes_on {
            return at;
        }
    }
    text.len()
}

/// Bytes of the number that `text` begins with.
fn number(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        let goes_on = c.is_ascii_digit()
            || (matches!(c, '.' | ',' | ':' | '/' | '-') && next.is_some_and(|next| next.is_ascii_digit()));
        if !goes_on {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_words_and_signs_are_told_apart() {
        let tokens = split("Don\u{2019}t pay $1,000.50 on 2024-01-05, GPT-4 said. OK?");
        let texts: Vec<&str> = tokens.iter().map(|token| token.lower.as_ref()).collect();
        assert_eq!(texts, ["don't", "pay", "$", "1,000.50", "on", "2024-01-05", "gpt-4", "said", "ok"]);
        let first: Vec<&str> = tokens.iter().filter(|token| token.is_first).map(|token| token.text).collect();
        assert_eq!(first, ["Don\u{2019}t", "OK"]);
    }

    #[test]
    fn forms_of_a_word_have_one_stem() {
        for (a, b) in
            [("file", "files"), ("walked", "walking"), ("box", "boxes"), ("dog", "dog's"), ("enable", "enabled")]
        {
            assert_eq!(stem(a), stem(b), "{a} {b}");
        }
        assert_ne!(stem("class"), stem("clas"));
    }
}
