//! The same words in another order.

use super::tokens::{Token, is_content};

/// Behind these, an order of things matters: from A to B, A into B, A over B.
const DIRECTIONS: [&str; 10] = ["to", "from", "into", "than", "over", "by", "vs", "versus", "minus", "against"];

/// Whether two prompts have the same words that say something, in an order that may turn the meaning: two of them have
/// changed places around a verb or a direction.
pub(super) fn differs(a: &[Token], b: &[Token]) -> bool {
    let content = |tokens: &[Token]| -> Vec<String> {
        tokens.iter().filter(|token| is_content(token)).map(|token| token.stem().to_owned()).collect()
    };
    let (x, y) = (content(a), content(b));
    let sorted = |words: &[String]| {
        let mut words = words.to_vec();
        words.sort_unstable();
        words
    };
    if x == y || sorted(&x) != sorted(&y) {
        return false;
    }
    let swapped: Vec<usize> = (0..x.len()).filter(|at| x[*at] != y[*at]).collect();
    let directed = |tokens: &[Token]| tokens.iter().any(|token| DIRECTIONS.contains(&token.lower.as_str()));
    // Two words that changed places, with another between them or a direction: a list is the same in any order.
    match swapped[..] {
        [first, second] => second - first > 1 || (directed(a) && directed(b)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::split;
    use super::*;

    #[test]
    fn who_does_what_to_whom_matters_and_lists_do_not() {
        let differs = |a: &str, b: &str| differs(&split(a), &split(b));
        assert!(differs("convert dollars to euros", "convert euros to dollars"));
        assert!(
            differs("does Tom love Ann", "does Ann love Tom")
                && differs("is tea better than coffee", "is coffee better than tea")
        );
        assert!(!differs("salt and pepper", "pepper and salt") && !differs("what is tea", "tea is what"));
        assert!(!differs("tell me a joke about cats", "tell me a cat joke"));
    }
}
