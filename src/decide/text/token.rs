//! A word, a number or a sign.

use std::borrow::Cow;

use super::hash::Hash;
use super::senses::Senses;

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
    /// Of a piece of a prompt. `senses` tells those of the word in lower case that has a hash.
    pub(super) fn new(kind: Kind, text: &'t str, is_first: bool, senses: impl Fn(u64) -> Senses) -> Self {
        let is_lower = text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
        let lower =
            if is_lower { Cow::Borrowed(text) } else { Cow::Owned(text.to_lowercase().replace('\u{2019}', "'")) };
        let (stem, ending) = lower.as_bytes().split_at(stem(&lower).len());
        let of_stem = Hash::START.then(stem);
        let senses = senses(of_stem.then(ending).get());
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

#[cfg(test)]
mod tests {
    use super::*;

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
