//! Words, numbers and signs.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::LazyLock;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// As it was written.
    pub(super) text: String,
    /// In lower case, apostrophes all alike.
    pub(super) lower: String,
    /// Whether a sentence may begin with it.
    pub(super) is_first: bool,
    /// Whether it says something of its own.
    pub(super) is_content: bool,
    /// Bytes of `lower` that are its stem.
    stem: usize,
    /// Of the stem.
    pub(super) hash: u64,
}

impl Token {
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
const FUNCTION_WORDS: [&str; 96] = [
    "a", "about", "am", "an", "and", "any", "are", "as", "at", "be", "been", "being", "but", "by", "can", "could", "d",
    "did", "do", "does", "doing", "for", "from", "get", "give", "had", "has", "have", "he", "her", "here", "him",
    "his", "how", "i", "i'd", "i'm", "if", "in", "into", "is", "it", "it's", "its", "just", "let", "ll", "m", "may",
    "me", "might", "my", "of", "on", "or", "our", "please", "s", "shall", "she", "should", "so", "some", "such",
    "tell", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "to", "up",
    "us", "was", "we", "were", "what", "what's", "when", "where", "which", "who", "why", "will", "with", "would",
    "you", "your", "way", "show",
];

/// Whether a token says something of its own.
fn is_content(kind: Kind, lower: &str) -> bool {
    static WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| FUNCTION_WORDS.into_iter().collect());
    kind != Kind::Sign && !WORDS.contains(lower)
}

/// FNV-1a (Fowler, Noll, Vo): the same in all versions of this program, because hashes are kept.
fn hash(stem: &str) -> u64 {
    stem.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn is_sign(c: char) -> bool {
    matches!(c, '$' | '€' | '£' | '¥' | '₹' | '%' | '°')
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '\u{2019}')
}

/// The tokens of a text, in their order.
pub(super) fn split(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
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
        let lower = token.to_lowercase().replace('\u{2019}', "'");
        let stem = stem(&lower);
        let (is_content, hash, stem) = (is_content(kind, &lower), hash(stem), stem.len());
        tokens.push(Token { kind, text: token.into(), lower, is_first, is_content, stem, hash });
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

/// The stems of a text, each once: hashes of them, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stems(Box<[u64]>);

impl Stems {
    /// Of the tokens that count.
    pub(super) fn of(tokens: &[Token], counts: impl Fn(&Token) -> bool) -> Self {
        let mut stems: Vec<u64> = tokens.iter().filter(|token| counts(token)).map(|token| token.hash).collect();
        stems.sort_unstable();
        stems.dedup();
        Self(stems.into())
    }

    /// Those that both have ÷ those that either has; 1 where there are none.
    pub(super) fn overlap(&self, other: &Self) -> f32 {
        let (mut a, mut b, mut both) = (&*self.0, &*other.0, 0usize);
        while let ([first, rest_a @ ..], [second, rest_b @ ..]) = (a, b) {
            match first.cmp(second) {
                Ordering::Less => a = rest_a,
                Ordering::Greater => b = rest_b,
                Ordering::Equal => {
                    both += 1;
                    (a, b) = (rest_a, rest_b);
                }
            }
        }
        let either = self.0.len() + other.0.len() - both;
        #[expect(clippy::cast_precision_loss, reason = "a share of words")]
        let share = both as f32 / either.max(1) as f32;
        if either == 0 { 1.0 } else { share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_words_and_signs_are_told_apart() {
        let tokens = split("Don\u{2019}t pay $1,000.50 on 2024-01-05, GPT-4 said. OK?");
        let texts: Vec<&str> = tokens.iter().map(|token| token.lower.as_str()).collect();
        assert_eq!(texts, ["don't", "pay", "$", "1,000.50", "on", "2024-01-05", "gpt-4", "said", "ok"]);
        let first: Vec<&str> = tokens.iter().filter(|token| token.is_first).map(|token| token.text.as_str()).collect();
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
