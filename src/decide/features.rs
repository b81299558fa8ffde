//! What a rule may look at.

use super::text::{Differences, Parsed};
use crate::embed::Cosine;

/// A prompt, or a candidate's prompt.
#[derive(Debug, Clone, Copy)]
pub struct Text<'t> {
    /// As it was written.
    pub text: &'t str,
    /// Taken apart, where the rule wants to know what two texts say differently.
    pub parsed: Option<&'t Parsed>,
    /// Whether its vector misses some of what it says.
    pub blurred: bool,
}

/// What is known about a prompt and a candidate for its answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Features {
    /// Of the angle between the two prompts' vectors.
    pub cosine: Cosine,
    /// Whether either vector misses some of what its prompt says.
    pub blurred: bool,
    /// Whether they have the same words in the same order, whatever their case, spaces and punctuation. Only known of
    /// blurred ones.
    pub same_words: bool,
    /// What they say differently. Only known where the query was taken apart.
    pub differences: Option<Differences>,
}

impl Features {
    /// Of `query` and a `candidate` whose vectors are at `cosine`.
    #[must_use]
    pub fn of(query: Text<'_>, candidate: Text<'_>, cosine: Cosine) -> Self {
        let blurred = query.blurred || candidate.blurred;
        let same_words = blurred && words(query.text).eq(words(candidate.text));
        let differences = query.parsed.map(|parsed| match candidate.parsed {
            Some(other) => Differences::between(parsed, other),
            None => Differences::between(parsed, &Parsed::new(candidate.text)),
        });
        Self { cosine, blurred, same_words, differences }
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

    fn features(a: &str, b: &str, blurred: bool) -> Features {
        Features::of(
            Text { text: a, blurred, parsed: None },
            Text { text: b, blurred: false, parsed: None },
            Cosine::ONE,
        )
    }

    #[test]
    fn words_are_the_same_whatever_stands_between_them() {
        assert!(features("Who  paid,\nthen?", "who paid then", true).same_words);
        assert!(!features("Who paid then?", "Who paid when?", true).same_words);
        assert!(!features("Who paid 10?", "Who paid 100?", true).same_words);
        assert!(!features("What does \u{1f346} mean?", "What does \u{1f996} mean?", true).same_words);
        assert!(!features("\u{732b}\u{5403}\u{4ec0}\u{4e48}", "\u{72d7}\u{5403}\u{4ec0}\u{4e48}", true).same_words);
        assert!(!features("a b", "ab", true).same_words);
        assert!(!features("a b", "a b c", true).same_words);
    }

    #[test]
    fn one_blurred_prompt_makes_a_pair_blurred() {
        assert!(features("a", "b", true).blurred && !features("a", "b", false).blurred);
    }
}
