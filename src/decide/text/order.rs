//! The same words in another order.

use super::token::Token;

/// Where one of these stands, an order of things matters: from A to B, A into B, A over B, A for B, A before B.
pub(super) const DIRECTIONS: [&str; 17] = [
    "to", "from", "into", "than", "over", "by", "vs", "versus", "minus", "against", "for", "before", "after", "with",
    "then", "that", "in",
];

/// Whether a prompt has a word that gives what stands beside it a direction.
pub(super) fn is_directed(tokens: &[Token<'_>]) -> bool {
    tokens.iter().any(|token| token.senses.directs)
}

/// The words that say something of a prompt, by hashes of their stems, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order<'p> {
    pub(super) content: &'p [u64],
    pub(super) is_directed: bool,
}

impl Order<'_> {
    /// Whether two prompts have the same words that say something, in an order that may turn the meaning: two parts have changed
    /// places around a verb or a direction.
    pub(super) fn differs(self, other: Self) -> bool {
        let (x, y) = (self.content, other.content);
        if x.len() != y.len() {
            return false;
        }
        let start = x.iter().zip(y).take_while(|(x, y)| x == y).count();
        let end = x[start..].iter().rev().zip(y[start..].iter().rev()).take_while(|(x, y)| x == y).count();
        let between = exchanged(&x[start..x.len() - end], &y[start..y.len() - end]);
        // Parts that changed places, with others between them or a direction: a list is the same in any order.
        between.is_some_and(|between| between > 0 || (self.is_directed && other.is_directed))
    }
}

/// The number of words between two parts of `x` that have changed places in `y`, the most where there are several such.
fn exchanged(x: &[u64], y: &[u64]) -> Option<usize> {
    /// Longer parts aren't looked for.
    const LONGEST: usize = 8;
    let length = x.len();
    if length < 2 || length != y.len() {
        return None;
    }
    let parts = (1..length.min(LONGEST + 1))
        .flat_map(|first| (1..=(length - first).min(LONGEST)).map(move |last| (first, last)));
    let is_exchange = |(first, last): &(usize, usize)| {
        let between = length - first - last;
        x[..*first] == y[length - first..]
            && x[length - last..] == y[..*last]
            && x[*first..first + between] == y[*last..last + between]
    };
    parts.filter(is_exchange).map(|(first, last)| length - first - last).max()
}

#[cfg(test)]
mod tests {
    use super::super::tokens::split;
    use super::*;

    #[test]
    fn who_does_what_to_whom_matters_and_lists_do_not() {
        let differs = |a: &str, b: &str| {
            let both = [split(a), split(b)];
            let content = both.each_ref().map(|tokens| {
                tokens.iter().filter(|token| token.is_content()).map(|token| token.hash).collect::<Vec<u64>>()
            });
            let order = |at: usize| Order { content: &content[at], is_directed: is_directed(&both[at]) };
            order(0).differs(order(1))
        };
        assert!(differs("convert dollars to euros", "convert euros to dollars"));
        assert!(
            differs("does Tom love Ann", "does Ann love Tom")
                && differs("is tea better than coffee", "is coffee better than tea")
        );
        assert!(differs("trade gems for gold", "trade gold for gems"));
        assert!(differs("copy it from my laptop to a remote server", "copy it from a remote server to my laptop"));
        assert!(differs("how do interest rates influence inflation", "how does inflation influence interest rates"));
        assert!(!differs("Who painted the Mona Lisa?", "By whom was the Mona Lisa painted?"));
        assert!(!differs("salt and pepper", "pepper and salt") && !differs("what is tea", "tea is what"));
        assert!(!differs("tell me a joke about cats", "tell me a cat joke"));
    }
}
