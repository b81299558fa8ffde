//! Names.

use super::token::{Kind, Token};

/// Share of capitalised words from which capitals say nothing: titles, and people who shout.
const TITLE: f32 = 0.6;

/// Hashes of the stems of the names in a prompt, as far as they are told by letters mixed with digits or capitals, which is in
/// any language, and with those that capitals tell where it is English (German has them everywhere).
pub(super) struct Names {
    pub(super) in_any_language: Vec<u64>,
    pub(super) in_english: Vec<u64>,
}

impl Names {
    pub(super) fn of(tokens: &[Token<'_>]) -> Self {
        let words = || tokens.iter().filter(|token| token.kind == Kind::Word);
        let capitals = words().filter(|token| is_capitalised(token)).count();
        #[expect(clippy::cast_precision_loss, reason = "a share of words")]
        let are_names = (capitals as f32) < TITLE * words().count() as f32;
        let (mut in_any_language, mut in_english) = (Vec::new(), Vec::new());
        for token in words() {
            let is_mixed = is_mixed(token);
            in_any_language.extend(is_mixed.then_some(token.hash));
            in_english.extend((is_mixed || (are_names && is_named_by_capital(token))).then_some(token.hash));
        }
        Self { in_any_language, in_english }
    }
}

/// Whether each of two prompts has a name, of its `names`, that isn't among the stems of the other. Stems are in their order.
pub(super) fn differ(names: [&[u64]; 2], stems: [&[u64]; 2]) -> bool {
    let lacks = |stems: &[u64], names: &[u64]| names.iter().any(|name| stems.binary_search(name).is_err());
    lacks(stems[1], names[0]) && lacks(stems[0], names[1])
}

fn is_named_by_capital(token: &Token<'_>) -> bool {
    let is_i = matches!(token.lower.as_ref(), "i" | "i'm" | "i'd" | "i'll" | "i've");
    is_capitalised(token) && !token.is_first && !is_i && !token.senses.date.is_some_and(|name| name.is_plain)
}

fn is_capitalised(token: &Token<'_>) -> bool {
    token.text.chars().next().is_some_and(char::is_uppercase)
}

/// GPT-4, iPhone, utf8, `snake_case`: not an ordinary word.
fn is_mixed(token: &Token<'_>) -> bool {
    let mut rest = token.text.chars().skip(1);
    let mut has_inner_capital = || rest.any(char::is_uppercase) && token.text.chars().any(char::is_lowercase);
    let has = |from: usize, is: fn(&u8) -> bool| token.text.as_bytes()[from..].iter().any(is);
    has(0, u8::is_ascii_digit) || has(1, |byte| *byte == b'_') || (token.has_capitals() && has_inner_capital())
}

#[cfg(test)]
mod tests {
    use super::super::sorted;
    use super::super::tokens::split;
    use super::*;

    #[test]
    fn other_names_differ_and_further_ones_do_not() {
        let differ = |a: &str, b: &str| {
            let both = [split(a), split(b)];
            let names = both.each_ref().map(|tokens| Names::of(tokens).in_english);
            let stems = both.each_ref().map(|tokens| sorted(tokens.iter().map(|token| token.hash)));
            differ(names.each_ref().map(Vec::as_slice), stems.each_ref().map(Vec::as_slice))
        };
        assert!(differ("Who was the first king of Spain?", "Who was the first king of France?"));
        assert!(differ("is gpt-4 good", "is gpt-3 good") && differ("what is an iPhone", "what is a MacBook"));
        assert!(!differ("Is Paris nice?", "Is it nice in paris?") && !differ("WHAT IS IT", "WHAT WAS THAT"));
        assert!(!differ("What did I say?", "What did Tom say?"));
    }
}
