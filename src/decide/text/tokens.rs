//! Taking a text apart into words, numbers and signs.

use super::lexicon::senses;
use super::token::{Kind, Token};

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
        tokens.push(Token::new(kind, token, is_first, senses));
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
}
