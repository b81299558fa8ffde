//! What two prompts say differently and cosines don't show.
//!
//! To an embedding “enable it” and “disable it” are nearly one. Each module here knows one kind of difference. All of them are
//! evidence, not proof: a rule weighs them, or, where it is strict, refuses for any of them. Those that know English words keep
//! silent about other languages.

mod code;
mod context;
mod dates;
mod entities;
pub(super) mod hash;
mod language;
mod lexicon;
mod lists;
mod negation;
mod numbers;
mod opposites;
mod order;
mod quotes;
mod scope_words;
mod senses;
mod token;
mod tokens;
mod units;

pub use context::with_context;
use dates::Dates;
use entities::Names;
use language::Language;
use lists::{Lists, overlap, sorted};
use numbers::Numbers;
pub(super) use numbers::digits_of;
use order::Order;
use scope_words::Meanings;
use units::Units;

/// A prompt, taken apart once for all comparisons. Of its words it keeps hashes.
#[derive(Debug, Clone)]
pub struct Parsed {
    words: Lists<{ List::COUNT }>,
    numbers: Numbers,
    units: Units,
    dates: Dates,
    is_negated: bool,
    is_directed: bool,
    scope: Meanings,
    language: Language,
    code: u64,
    quotes: u64,
}

/// Lists of hashes that are kept of a prompt's words.
#[derive(Clone, Copy)]
enum List {
    /// The stems of its words, one after the other.
    StemsInOrder,
    /// The same, each once and sorted.
    Stems,
    /// The stems of the words that say something of their own, one after the other.
    ContentInOrder,
    /// The same, each once and sorted.
    Content,
    /// What it names, in whatever language.
    Names,
    /// What it names if it is English.
    EnglishNames,
    /// See [`opposites::opposites`].
    Opposites,
}

impl List {
    const COUNT: usize = Self::Opposites as usize + 1;
}

/// What one prompt says and another doesn't.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Differences {
    /// The words that both have ÷ those that either has, from 0 to 1.
    pub overlap: f32,
    /// The same of the words that say something of their own; 1 where they differ in phrasing only.
    pub content_overlap: f32,
    /// They name different numbers, or only one does.
    pub numbers: bool,
    /// They measure the same in different units.
    pub units: bool,
    /// They speak of different days, months, or years.
    pub dates: bool,
    /// One of them is negated.
    pub negation: bool,
    /// Each names something that the other doesn't.
    pub entities: bool,
    /// They quote different strings, or only one quotes.
    pub quotes: bool,
    /// One says *only*, *except*, *at least* or the like, and the other doesn't, or says another of them.
    pub scope_words: bool,
    /// One says *enable* where the other says *disable*, or the like.
    pub opposites: bool,
    /// The same words in an order that may turn the meaning: from A to B, from B to A.
    pub order: bool,
    /// They are in different languages.
    pub language: bool,
    /// They show different code, or only one shows any.
    pub code: bool,
}

impl Parsed {
    /// Takes `text` apart.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let tokens = tokens::split(text);
        let stems = || tokens.iter().map(|token| token.hash);
        let content = || tokens.iter().filter(|token| token.is_content()).map(|token| token.hash);
        let names = Names::of(&tokens);
        Self {
            // As `List` has them.
            words: Lists::of([
                &mut stems(),
                &mut sorted(stems()).into_iter(),
                &mut content(),
                &mut sorted(content()).into_iter(),
                &mut names.in_any_language.into_iter(),
                &mut names.in_english.into_iter(),
                &mut opposites::opposites(&tokens).into_iter(),
            ]),
            numbers: Numbers::of(&tokens),
            units: Units::of(&tokens),
            dates: Dates::of(&tokens),
            is_negated: negation::is_negated(&tokens),
            is_directed: order::is_directed(&tokens),
            scope: Meanings::of(&tokens),
            language: Language::of(text, &tokens),
            code: code::shown(text),
            quotes: quotes::said(text),
        }
    }

    /// The stems of its words, one after the other.
    pub(super) fn stems_in_order(&self) -> &[u64] {
        self.list(List::StemsInOrder)
    }

    fn order(&self) -> Order<'_> {
        Order { content: self.list(List::ContentInOrder), is_directed: self.is_directed }
    }

    fn list(&self, list: List) -> &[u64] {
        self.words.at(list as usize)
    }
}

impl Differences {
    /// Between two prompts; it doesn't matter which is which.
    #[must_use]
    pub fn between(a: &Parsed, b: &Parsed) -> Self {
        let in_english = a.language.may_be_english() && b.language.may_be_english();
        let both = |list| [a.list(list), b.list(list)];
        let names = if in_english { List::EnglishNames } else { List::Names };
        Self {
            overlap: overlap(both(List::Stems)),
            content_overlap: overlap(both(List::Content)),
            numbers: a.numbers.differ(b.numbers, in_english),
            units: a.units.differ(b.units),
            dates: in_english && a.dates != b.dates,
            negation: in_english && a.is_negated != b.is_negated,
            entities: entities::differ(both(names), both(List::Stems)),
            quotes: a.quotes != b.quotes,
            scope_words: in_english && a.scope != b.scope,
            opposites: in_english && opposites::differ(both(List::Opposites), both(List::Stems)),
            order: a.order().differs(b.order()),
            language: a.language.differs(b.language),
            code: a.code != b.code,
        }
    }

    /// Names of those that there are, as replies and settings call them.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let Self {
            overlap: _,
            content_overlap: _,
            numbers,
            units,
            dates,
            negation,
            entities,
            quotes,
            scope_words,
            opposites,
            order,
            language,
            code,
        } = *self;
        [
            (numbers, "numbers"),
            (units, "units"),
            (dates, "dates"),
            (negation, "negation"),
            (entities, "entities"),
            (quotes, "quotes"),
            (scope_words, "scopeWords"),
            (opposites, "opposites"),
            (order, "order"),
            (language, "language"),
            (code, "code"),
        ]
        .into_iter()
        .filter_map(|(is_there, name)| is_there.then_some(name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn between(a: &str, b: &str) -> Vec<&'static str> {
        Differences::between(&Parsed::new(a), &Parsed::new(b)).names().collect()
    }

    #[test]
    fn each_kind_of_trap_is_seen_and_nothing_else() {
        for (a, b, expected) in [
            ("What is 15 percent of 80?", "What is 18 percent of 80?", "numbers"),
            ("How far is it to the moon in miles?", "How far is it to the moon in kilometers?", "units"),
            ("What is on in town this Friday?", "What is on in town this Sunday?", "dates"),
            ("Can I take it with food?", "Can I not take it with food?", "negation"),
            ("What do people eat in Norway?", "What do people eat in Portugal?", "entities"),
            ("What rhymes with \"orange\"?", "What rhymes with \"purple\"?", "quotes"),
            ("List the files in this folder", "List only the files in this folder", "scopeWords"),
            ("How do I enable dark mode?", "How do I disable dark mode?", "opposites"),
            ("Did the cat chase the dog?", "Did the dog chase the cat?", "order"),
            ("What does `ls -l` do?", "What does `ls -a` do?", "code"),
            (
                "Wo ist der nächste Bahnhof und wie komme ich dahin?",
                "Where is the next station and how do I get there?",
                "language",
            ),
        ] {
            assert_eq!(between(a, b), [expected], "{a} | {b}");
        }
    }

    #[test]
    fn plain_paraphrases_differ_in_nothing() {
        for (a, b) in [
            ("How do I reset my password?", "How can I reset my password?"),
            ("What's the capital of France?", "What is the capital of France?"),
            ("tell me a joke about cats", "Tell me a cat joke!"),
            ("How do you make pancakes from scratch?", "What is the way to make pancakes from scratch?"),
            ("I have 2 cats and 3 dogs", "I have two cats and three dogs"),
            ("It costs $1,000.00", "It costs 1000 dollars"),
            ("I can't log in to my account", "I cannot log into my account"),
            ("Summarise the book Dune for me", "Can you summarise Dune for me?"),
        ] {
            assert_eq!(between(a, b), [""; 0], "{a} | {b}");
        }
    }

    #[test]
    fn other_languages_are_left_alone() {
        for (a, b) in [
            ("Wie kann ich mein Passwort zurücksetzen, wenn ich in Not bin?", "Wie setze ich das Kennwort zurück?"),
            ("Quelle est la capitale de la France ?", "C'est quoi, la capitale de la France ?"),
            ("¿Cómo puedo restablecer mi contraseña?", "¿De qué manera restablezco la contraseña?"),
            ("猫は何を食べますか", "猫の食べ物は何ですか"),
            ("Как сбросить пароль?", "Как мне восстановить пароль?"),
        ] {
            assert_eq!(between(a, b), [""; 0], "{a} | {b}");
        }
    }

    proptest! {
        #[test]
        fn a_text_differs_from_itself_in_nothing_and_order_does_not_matter(a in "\\PC{0,80}", b in "\\PC{0,80}") {
            let (a, b) = (Parsed::new(&a), Parsed::new(&b));
            let same = Differences::between(&a, &a);
            prop_assert_eq!(same.names().count(), 0);
            prop_assert!((same.overlap - 1.0).abs() < 1e-6);
            prop_assert_eq!(Differences::between(&a, &b), Differences::between(&b, &a));
        }
    }
}
