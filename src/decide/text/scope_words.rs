//! Words that widen or narrow what is asked for.

use super::token::Token;

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

/// The words that phrases begin with.
pub(super) fn first_words() -> impl Iterator<Item = &'static str> {
    PHRASES.iter().map(|phrase| phrase.0[0])
}

fn fits((words, _): &Phrase, tokens: &[Token<'_>]) -> bool {
    tokens.len() >= words.len() && words.iter().zip(tokens).all(|(word, token)| token.is(word))
}

/// The place of the first phrase that comes to the same.
fn meaning((_, meaning): &Phrase) -> usize {
    PHRASES.iter().position(|(_, other)| other == meaning).unwrap_or_default()
}

/// How a prompt narrows, widens or places what it asks for: a bit for each meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meanings(u64);

impl Meanings {
    pub(super) fn of(tokens: &[Token<'_>]) -> Self {
        let (mut meanings, mut at) = (0, 0);
        while at < tokens.len() {
            let fitting = PHRASES.iter().filter(|phrase| fits(phrase, &tokens[at..]));
            let begins = tokens[at].senses.begins_scope;
            let longest = begins.then(|| fitting.max_by_key(|phrase| phrase.0.len())).flatten();
            // “not only” says the contrary, or nothing.
            let is_undone = at > 0 && tokens[at - 1].is("not");
            meanings |= longest.filter(|_| !is_undone).map_or(0, |phrase| 1 << meaning(phrase));
            at += longest.map_or(1, |phrase| phrase.0.len());
        }
        Self(meanings)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::split;
    use super::*;

    #[test]
    fn phrases_that_say_the_same_are_the_same() {
        let differ = |a: &str, b: &str| Meanings::of(&split(a)) != Meanings::of(&split(b));
        assert!(differ("before lunch", "after lunch") && differ("at least five", "at most five"));
        assert!(differ("show files", "show all files") && differ("every day", "every day except Monday"));
        assert!(!differ("less than five", "under five") && !differ("all of them", "every one"));
        assert!(!differ("it's not only cheap", "it's cheap"));
    }
}
