//! Words that widen or narrow what is asked for.

use super::tokens::Token;

/// Some words, and what they come to.
#[derive(Debug)]
struct Phrase(&'static [&'static str], &'static str);

/// Phrases, and what they come to. The longest that fits counts.
static PHRASES: [Phrase; 49] = [
    Phrase(&["only"], "only"),
    Phrase(&["just", "the"], "only"),
    Phrase(&["solely"], "only"),
    Phrase(&["exclusively"], "only"),
    Phrase(&["except"], "except"),
    Phrase(&["excluding"], "except"),
    Phrase(&["apart", "from"], "except"),
    Phrase(&["other", "than"], "except"),
    Phrase(&["besides"], "except"),
    Phrase(&["including"], "including"),
    Phrase(&["at", "least"], "at least"),
    Phrase(&["no", "less", "than"], "at least"),
    Phrase(&["minimum"], "minimum"),
    Phrase(&["at", "most"], "at most"),
    Phrase(&["no", "more", "than"], "at most"),
    Phrase(&["up", "to"], "at most"),
    Phrase(&["maximum"], "maximum"),
    Phrase(&["more", "than"], "more"),
    Phrase(&["above"], "more"),
    Phrase(&["less", "than"], "less"),
    Phrase(&["fewer", "than"], "less"),
    Phrase(&["under"], "less"),
    Phrase(&["below"], "less"),
    Phrase(&["exactly"], "exactly"),
    Phrase(&["before"], "before"),
    Phrase(&["prior", "to"], "before"),
    Phrase(&["after"], "after"),
    Phrase(&["until"], "until"),
    Phrase(&["since"], "since"),
    Phrase(&["during"], "during"),
    Phrase(&["instead", "of"], "instead"),
    Phrase(&["rather", "than"], "instead"),
    Phrase(&["first"], "first"),
    Phrase(&["last"], "last"),
    Phrase(&["latest"], "last"),
    Phrase(&["most", "recent"], "last"),
    Phrase(&["final"], "last"),
    Phrase(&["all"], "all"),
    Phrase(&["every"], "all"),
    Phrase(&["each"], "all"),
    Phrase(&["everything"], "all"),
    Phrase(&["weekdays"], "weekdays"),
    Phrase(&["weekends"], "weekends"),
    Phrase(&["always"], "all"),
    Phrase(&["unless"], "unless"),
    Phrase(&["inside"], "inside"),
    Phrase(&["outside"], "outside"),
    Phrase(&["ascending"], "ascending"),
    Phrase(&["descending"], "descending"),
];

/// The words that phrases begin with.
pub(super) fn first_words() -> impl Iterator<Item = &'static str> {
    PHRASES.iter().map(|phrase| phrase.0[0])
}

impl Phrase {
    fn fits(&self, tokens: &[Token<'_>]) -> bool {
        tokens.len() >= self.0.len() && self.0.iter().zip(tokens).all(|(word, token)| token.is(word))
    }

    /// The place of the first that comes to the same.
    fn meaning(&self) -> usize {
        PHRASES.iter().position(|phrase| phrase.1 == self.1).unwrap_or_default()
    }
}

/// How a prompt narrows, widens or places what it asks for: a bit for each meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meanings(u64);

impl Meanings {
    pub(super) fn of(tokens: &[Token<'_>]) -> Self {
        let (mut meanings, mut at) = (0, 0);
        while at < tokens.len() {
            let fitting = PHRASES.iter().filter(|phrase| phrase.fits(&tokens[at..]));
            let begins = tokens[at].senses.begins_scope;
            let longest = begins.then(|| fitting.max_by_key(|phrase| phrase.0.len())).flatten();
            // “not only” says the contrary, or nothing.
            let is_undone = at > 0 && tokens[at - 1].is("not");
            meanings |= longest.filter(|_| !is_undone).map_or(0, |phrase| 1 << phrase.meaning());
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
