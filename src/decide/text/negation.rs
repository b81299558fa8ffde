//! Negation.

use super::token::Token;

/// Words that negate.
pub(super) const NEGATORS: [&str; 17] = [
    "not", "no", "never", "none", "nothing", "nobody", "nowhere", "neither", "nor", "without", "cannot", "unable",
    "cant", "dont", "wont", "doesnt", "isnt",
];

/// Whether a prompt is negated.
pub(super) fn is_negated(tokens: &[Token<'_>]) -> bool {
    tokens.iter().enumerate().any(|(at, token)| {
        let only = tokens.get(at + 1).is_some_and(|next| next.is("only") || next.is("just"));
        token.lower.ends_with("n't") || (token.senses.negates && !only)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tokens::split;
    use super::*;

    #[test]
    fn negation_counts_however_it_is_said() {
        let differs = |a: &str, b: &str| is_negated(&split(a)) != is_negated(&split(b));
        assert!(differs("is it safe", "isn't it safe") && differs("with sugar", "without sugar"));
        assert!(!differs("I can't go", "I'm unable to go") && !differs("don\u{2019}t go", "never go"));
        assert!(!differs("it is not only cheap", "it is cheap"));
    }
}
