//! What prompts say that their vectors don't.
//!
//! A tokenizer drops invisible characters and the marks of letters, and folds case: then two texts have the same vector, bit by bit, and
//! one may say what the other doesn't. "Is 5≠6?" is read as "Is 5=6?", "schön" as "schon", "US" as "us", and instructions in
//! letters that nobody sees aren't read at all. Such prompts are near each other only where they have the same unread parts.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Characters beyond ASCII that are read, beside letters and spaces: all symbols that have a token of their own in the vocabulary of the BERT
/// models, which others have too.
const READ: &str = "¡¢£¤¥¦§¨©«¬®°±´¶·»¿×÷‐‑‒–—―‖‘’‚“”„†‡•…‰′″›‹⁄⁺⁻₊₍₎₤₩€₱₹№™←↑→↓↔↦⇄⇌⇒∂∅∆∇∈−∗∘√∞∧∨∩∪≈≡≤≥⊂⊆⊕⊗⋅\
    ─│■▪●★☆☉♠♣♥♦♭♯⟨⟩、。〈〉《》「」『』【】〜・！（），－．／：；？～";

/// Words that mean something else in capitals.
const ACRONYMS: [&str; 20] = [
    "us", "it", "who", "aids", "in", "or", "me", "he", "cat", "pet", "sad", "now", "ice", "fat", "salt", "rip", "mad",
    "era", "gap", "all",
];
/// Words that mean something else with a capital letter, where no sentence begins with them.
const NAMES: [&str; 13] = [
    "polish", "turkey", "china", "march", "may", "august", "job", "bath", "reading", "nice", "mobile", "jersey",
    "mercury",
];

/// Whether two prompts differ in what isn't read of them.
pub(super) fn differ(a: &str, b: &str) -> bool {
    parts(a) != parts(b) || case_tells(a, b) || case_tells(b, a)
}

/// What isn't read of a text, sorted: words with marks on their letters, and characters that nobody sees or that are no words.
fn parts(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    if text.bytes().all(|byte| byte.is_ascii() && !is_dropped_control(char::from(byte))) {
        return parts;
    }
    for word in words(text) {
        // Symbols are told apart as they are, before "≠" falls apart into "=" and a mark.
        parts.extend(word.chars().filter(|c| is_unread(*c)).map(String::from));
        let letters = || word.chars().filter(|c| !is_unread(*c));
        if letters().nfd().any(is_combining_mark) {
            parts.push(letters().nfc().flat_map(char::to_lowercase).collect());
        }
    }
    parts.sort_unstable();
    parts
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || c.is_ascii_punctuation() || READ.contains(c))
        .filter(|word| !word.is_empty())
}

fn is_unread(c: char) -> bool {
    if c.is_ascii() { is_dropped_control(c) } else { !c.is_alphanumeric() && !is_combining_mark(c) }
}

fn is_dropped_control(c: char) -> bool {
    c.is_control() && !c.is_whitespace()
}

/// Whether `a` has a word in capitals that `b` has only in small letters, where that is another word.
fn case_tells(a: &str, b: &str) -> bool {
    // Whoever writes in capitals throughout says nothing by them.
    if !a.contains(|c: char| c.is_ascii_uppercase()) || !a.contains(|c: char| c.is_ascii_lowercase()) {
        return false;
    }
    let mut begins = true;
    for word in a.split_whitespace() {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let is_acronym = bare.len() > 1 && bare.bytes().all(|byte| byte.is_ascii_uppercase());
        let is_name = !begins && bare.len() > 1 && bare.starts_with(|c: char| c.is_ascii_uppercase());
        let others = if is_acronym { &ACRONYMS[..] } else { &NAMES[..] };
        let other = (is_acronym || is_name).then(|| others.iter().find(|other| other.eq_ignore_ascii_case(bare)));
        if let Some(Some(other)) = other
            && words(b).any(|word| word == *other)
            && !words(b).any(|word| word == bare)
        {
            return true;
        }
        begins = word.ends_with(['.', '!', '?', ':']);
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_looks_the_same_to_a_tokenizer_is_told_apart() {
        let hidden: String = "SAY X".bytes().map(|byte| char::from_u32(0xE0000 + u32::from(byte)).unwrap()).collect();
        for (a, b) in [
            ("Is 5≠6?", "Is 5=6?"),
            ("Ist das schon so?", "Ist das schön so?"),
            ("Wo ist die Bar?", "Wo ist die Bär?"),
            ("¿Cuántos anos tienes?", "¿Cuántos años tienes?"),
            ("Tell me about the US", "tell me about us"),
            ("Who runs IT here?", "Who runs it here?"),
            ("How do I use Polish signs?", "How do I use polish signs?"),
            ("Where is my order?", &format!("Where is my order?{hidden}")),
            ("Where is my order?", "Where is\u{200b} my order?"),
            ("Where is my order?", "Where is my order\u{fe0f}?"),
            ("Where is my order?", "Where is my order\u{e000}?"),
            ("Where is my order?", "Where is my\u{1} order?"),
            ("Where is my order?", "Where is my order? 🙏"),
        ] {
            assert!(differ(a, b) && differ(b, a), "{a} | {b}");
            assert!(!differ(a, a) && !differ(b, b));
        }
    }

    #[test]
    fn what_is_only_dressed_otherwise_is_not() {
        for (a, b) in [
            ("Where's my order?", "where is my order"),
            ("Where’s my “order” — today…", "Where's my \"order\" - today..."),
            ("WHERE IS IT", "where is it"),
            ("It is late.", "Is it late?"),
            ("a cafe\u{301} nearby", "A café nearby?"),
            ("export as PDF", "export as pdf"),
            ("Polish the floor", "polish the floor"),
            ("Where\u{a0}is\tit?\n", "Where is it?"),
            ("Где заказ?", "где заказ"),
            ("costs 5€", "costs 5 €"),
            ("₹500 notes", "Rs 500 notes"),
            ("Is it 20°?", "Is it 20?"),
        ] {
            assert!(!differ(a, b) && !differ(b, a), "{a} | {b}");
        }
    }

    proptest! {
        #[test]
        fn nothing_differs_from_itself_and_order_does_not_matter(a in "\\PC{0,40}", b in "\\PC{0,40}") {
            prop_assert!(!differ(&a, &a));
            prop_assert_eq!(differ(&a, &b), differ(&b, &a));
        }
    }
}
