//! What a rule may look at.

use crate::embed::Cosine;

/// A prompt, or a candidate's prompt.
#[derive(Debug, Clone, Copy)]
pub struct Text<'t> {
    /// As it was written.
    pub text: &'t str,
    /// Windows that its vector is the mean of.
    pub windows: usize,
}

/// What is known about a prompt and a candidate for its answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Features {
    /// Of the angle between the two prompts' vectors.
    pub cosine: Cosine,
    /// Whether either is longer than the model's window.
    pub long: bool,
    /// Whether they have the same words in the same order, whatever their case, spaces and punctuation. Only known of
    /// long prompts.
    pub same_words: bool,
}

impl Features {
    /// Of `query` and a `candidate` whose vectors are at `cosine`.
    #[must_use]
    pub fn of(query: Text<'_>, candidate: Text<'_>, cosine: Cosine) -> Self {
        let long = query.windows > 1 || candidate.windows > 1;
        Self { cosine, long, same_words: long && words(query.text).eq(words(candidate.text)) }
    }
}

/// Runs of letters and digits, in lower case.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(a: &str, b: &str, windows: usize) -> Features {
        Features::of(Text { text: a, windows }, Text { text: b, windows: 1 }, Cosine::ONE)
    }

    #[test]
    fn words_are_the_same_whatever_stands_between_them() {
        assert!(features("Who  paid,\nthen?", "who paid then", 2).same_words);
        assert!(!features("Who paid then?", "Who paid when?", 2).same_words);
        assert!(!features("Who paid 10?", "Who paid 100?", 2).same_words);
        assert!(!features("a b", "ab", 2).same_words);
        assert!(!features("a b", "a b c", 2).same_words);
    }

    #[test]
    fn one_long_prompt_makes_a_pair_long() {
        assert!(features("a", "b", 2).long && !features("a", "b", 1).long);
    }
}
