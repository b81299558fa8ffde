//! Words that widen or narrow what is asked for.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use super::tokens::Token;

/// Some words, and what they come to.
type Phrase = (&'static [&'static str], &'static str);

/// Phrases, and what they come to. The longest that fits counts.
const PHRASES: [Phrase; 49] = [
    (&["only"], "only"),
    (&["just", "the"], "only"),
    (&["solely"], "only"),
    (&["exclusively"], "only"),
    (&["except"], "except"),
    (&["excluding"], "except"),
    (&["apart", "from"], "except"),
    (&["other", "than"], "except"),
    (&["besides"], "except"),
    (&["including"], "including"),
    (&["at", "least"], "at least"),
    (&["no", "less", "than"], "at least"),
    (&["minimum"], "minimum"),
    (&["at", "most"], "at most"),
    (&["no", "more", "than"], "at most"),
    (&["up", "to"], "at most"),
    (&["maximum"], "maximum"),
    (&["more", "than"], "more"),
    (&["above"], "more"),
    (&["less", "than"], "less"),
    (&["fewer", "than"], "less"),
    (&["under"], "less"),
    (&["below"], "less"),
    (&["exactly"], "exactly"),
    (&["before"], "before"),
    (&["prior", "to"], "before"),
    (&["after"], "after"),
    (&["until"], "until"),
    (&["since"], "since"),
    (&["during"], "during"),
    (&["instead", "of"], "instead"),
    (&["rather", "than"], "instead"),
    (&["first"], "first"),
    (&["last"], "last"),
    (&["latest"], "last"),
    (&["most", "recent"], "last"),
    (&["final"], "last"),
    (&["all"], "all"),
    (&["every"], "all"),
    (&["each"], "all"),
    (&["everything"], "all"),
    (&["weekdays"], "weekdays"),
    (&["weekends"], "weekends"),
    (&["always"], "all"),
    (&["unless"], "unless"),
    (&["inside"], "inside"),
    (&["outside"], "outside"),
    (&["ascending"], "ascending"),
    (&["descending"], "descending"),
];

/// The phrases that begin with a word.
static BY_FIRST: LazyLock<HashMap<&str, Vec<Phrase>>> = LazyLock::new(|| {
    let mut phrases: HashMap<&str, Vec<Phrase>> = HashMap::new();
    PHRASES.iter().for_each(|phrase| phrases.entry(phrase.0[0]).or_default().push(*phrase));
    phrases
});

/// How a prompt narrows, widens or places what it asks for.
pub(super) fn meanings(tokens: &[Token]) -> BTreeSet<&'static str> {
    let mut meanings = BTreeSet::new();
    let mut at = 0;
    while at < tokens.len() {
        let fits = |phrase: &[&str]| {
            tokens[at..].len() >= phrase.len() && phrase.iter().zip(&tokens[at..]).all(|(word, token)| token.is(word))
        };
        let known = BY_FIRST.get(tokens[at].lower.as_str());
        let longest =
            known.into_iter().flatten().filter(|(phrase, _)| fits(phrase)).max_by_key(|(phrase, _)| phrase.len());
        // “not only” says the contrary, or nothing.
        let is_undone = at > 0 && tokens[at - 1].is("not");
        meanings.extend(longest.filter(|_| !is_undone).map(|(_, meaning)| *meaning));
        at += longest.map_or(1, |(phrase, _)| phrase.len());
    }
    meanings
}

#[cfg(test)]
mod tests {
    use super::super::tokens::split;
    use super::*;

    #[test]
    fn phrases_that_say_the_same_are_the_same() {
        let differ = |a: &str, b: &str| meanings(&split(a)) != meanings(&split(b));
        assert!(differ("before lunch", "after lunch") && differ("at least five", "at most five"));
        assert!(differ("show files", "show all files") && differ("every day", "every day except Monday"));
        assert!(!differ("less than five", "under five") && !differ("all of them", "every one"));
        assert!(!differ("it's not only cheap", "it's cheap"));
    }
}
