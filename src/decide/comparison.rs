//! Two prompts side by side.

use super::query::PromptText;
use super::text::{Differences, Parsed};
use super::unread;
use crate::embed::Cosine;

/// Two prompts side by side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Of the angle between the two prompts' vectors.
    pub cosine: Cosine,
    /// Whether either vector misses some of what its prompt says.
    pub is_lossy: bool,
    /// Whether they have the same words in the same order, whatever their case, spaces and punctuation. Only known of lossy
    /// ones.
    pub same_words: bool,
    /// Whether they differ in what isn't read of them.
    pub unread_differs: bool,
    /// What they say differently. Only known where the query was parsed.
    pub differences: Option<Differences>,
}

impl Comparison {
    /// Of `query` and a `candidate` whose vectors are at `cosine`.
    #[must_use]
    pub fn of(query: PromptText<'_>, candidate: PromptText<'_>, cosine: Cosine) -> Self {
        let is_lossy = query.is_lossy || candidate.is_lossy;
        let same_words = is_lossy && words(query.text).eq(words(candidate.text));
        let differences = query.parsed.map(|parsed| match candidate.parsed {
            Some(other) => Differences::between(parsed, other),
            None => Differences::between(parsed, &Parsed::new(candidate.text)),
        });
        let unread_differs = unread::differ(query.text, candidate.text);
        Self { cosine, is_lossy, same_words, unread_differs, differences }
    }

    /// Whether the vectors miss something and the words differ: nobody knows then how alike the prompts are.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        self.is_lossy && !self.same_words
    }
}

/// What stands between spaces and punctuation, in lower case. Symbols and emoji are words, or parts of them.
fn words(text: &str) -> impl Iterator<Item = String> {
    let between = |c: char| {
        c.is_whitespace() || c.is_ascii_punctuation() || matches!(c, '\u{2000}'..='\u{206f}' | '\u{3000}'..='\u{303f}')
    };
    text.split(between).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(a: &str, b: &str, is_lossy: bool) -> Comparison {
        let text = |text, is_lossy| PromptText { text, is_lossy, parsed: None };
        Comparison::of(text(a, is_lossy), text(b, false), Cosine::ONE)
    }

    #[test]
    fn words_are_the_same_whatever_stands_between_them() {
        let same_words = |a, b| compared(a, b, true).same_words;
        assert!(same_words("Who  paid,\nthen?", "who paid then"));
        assert!(!same_words("Who paid then?", "Who paid when?"));
        assert!(!same_words("Who paid 10?", "Who paid 100?"));
        assert!(!same_words("What does \u{1f346} mean?", "What does \u{1f996} mean?"));
        assert!(!same_words("\u{732b}\u{5403}\u{4ec0}\u{4e48}", "\u{72d7}\u{5403}\u{4ec0}\u{4e48}"));
        assert!(!same_words("a b", "ab"));
        assert!(!same_words("a b", "a b c"));
    }

    #[test]
    fn one_lossy_vector_makes_a_pair_lossy() {
        assert!(compared("a", "b", true).is_lossy && !compared("a", "b", false).is_lossy);
    }
}
