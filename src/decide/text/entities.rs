//! Names.

use std::collections::BTreeSet;

use super::dates;
use super::tokens::{Kind, Token};

/// Share of capitalised words from which capitals say nothing: titles, and people who shout.
const TITLE: f32 = 0.6;

/// Whether each of two prompts names something that the other doesn't. Names are told by their capitals where the prompts
/// are English (German has them everywhere), and by letters mixed with digits or capitals in any language.
pub(super) fn differ((a, mine): (&[Token], &Names), (b, theirs): (&[Token], &Names), in_english: bool) -> bool {
    let lacks = |tokens: &[Token], name: &String| !tokens.iter().any(|token| token.stem() == name);
    mine.of(in_english).iter().any(|name| lacks(b, name)) && theirs.of(in_english).iter().any(|name| lacks(a, name))
}

/// The names in a prompt, by their stems.
#[derive(Debug, Clone)]
pub(super) struct Names {
    in_any_language: BTreeSet<String>,
    in_english: BTreeSet<String>,
}

impl Names {
    pub(super) fn in_text(tokens: &[Token]) -> Self {
        Self { in_any_language: names(tokens, false), in_english: names(tokens, true) }
    }

    fn of(&self, in_english: bool) -> &BTreeSet<String> {
        if in_english { &self.in_english } else { &self.in_any_language }
    }
}

fn names(tokens: &[Token], in_english: bool) -> BTreeSet<String> {
    let words = || tokens.iter().filter(|token| token.kind == Kind::Word);
    #[expect(clippy::cast_precision_loss, reason = "a share of words")]
    let capitals = words().filter(|token| is_capitalised(token)).count() as f32 / words().count().max(1) as f32;
    let by_capitals = in_english && capitals < TITLE;
    let is_name = |token: &&Token| {
        let is_i = matches!(token.lower.as_str(), "i" | "i'm" | "i'd" | "i'll" | "i've");
        let is_capital = is_capitalised(token) && !token.is_first && !is_i && !dates::is_name(token);
        is_mixed(token) || (by_capitals && is_capital)
    };
    words().filter(is_name).map(|token| token.stem().to_owned()).collect()
}

fn is_capitalised(token: &Token) -> bool {
    token.text.chars().next().is_some_and(char::is_uppercase)
}

/// GPT-4, iPhone, utf8, `snake_case`: not an ordinary word.
fn is_mixed(token: &Token) -> bool {
    let mut rest = token.text.chars().skip(1);
    let has_digit = token.text.chars().any(|c| c.is_ascii_digit());
    let has_inner_capital = rest.clone().any(char::is_uppercase) && token.text.chars().any(char::is_lowercase);
    has_digit || has_inner_capital || rest.any(|c| c == '_')
}

#[cfg(test)]
mod tests {
    use super::super::tokens::split;
    use super::*;

    #[test]
    fn other_names_differ_and_further_ones_do_not() {
        let differ = |a: &str, b: &str| {
            let (a, b) = (split(a), split(b));
            differ((&a, &Names::in_text(&a)), (&b, &Names::in_text(&b)), true)
        };
        assert!(differ("Who was the first king of Spain?", "Who was the first king of France?"));
        assert!(differ("is gpt-4 good", "is gpt-3 good") && differ("what is an iPhone", "what is a MacBook"));
        assert!(!differ("Is Paris nice?", "Is it nice in paris?") && !differ("WHAT IS IT", "WHAT WAS THAT"));
        assert!(!differ("What did I say?", "What did Tom say?"));
    }
}
