//! What is known of single words, all in one table: a word of a prompt is looked up once for all that want to know something of it.

use std::sync::LazyLock;

use super::hash::{ByHash, Hash};
use super::{dates, language, negation, numbers, order, scope_words, tokens, units};

/// What a word may mean, whatever stands around it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Senses {
    /// It holds a sentence together and says little.
    pub(super) is_function: bool,
    /// It negates.
    pub(super) negates: bool,
    /// Where it stands, an order of things matters.
    pub(super) directs: bool,
    /// A phrase that says what belongs to something begins with it.
    pub(super) begins_scope: bool,
    /// The languages in which it is common.
    pub(super) languages: language::Set,
    /// The number that it is a word for.
    pub(super) number: Option<numbers::Word>,
    /// What is measured in it.
    pub(super) unit: Option<units::Unit>,
    /// The day or month that it names.
    pub(super) date: Option<dates::Name>,
}

/// By the hash of each word. Small, so that it stays near the processor.
static LEXICON: LazyLock<ByHash<Senses>> = LazyLock::new(|| {
    let mut lexicon = ByHash::default();
    let mut of = |word: &str, learn: &dyn Fn(&mut Senses)| learn(lexicon.entry(Hash::of(word)).or_default());
    tokens::FUNCTION_WORDS.iter().for_each(|word| of(word, &|senses| senses.is_function = true));
    negation::NEGATORS.iter().for_each(|word| of(word, &|senses| senses.negates = true));
    order::DIRECTIONS.iter().for_each(|word| of(word, &|senses| senses.directs = true));
    scope_words::first_words().for_each(|word| of(word, &|senses| senses.begins_scope = true));
    language::common_words().for_each(|(word, language)| of(word, &|senses| senses.languages.add(language)));
    numbers::words().for_each(|(word, number)| of(word, &|senses| senses.number = Some(number)));
    units::spellings().for_each(|(word, unit)| of(word, &|senses| senses.unit = Some(unit)));
    dates::names().for_each(|(word, name)| of(&word, &|senses| senses.date = Some(name)));
    lexicon
});

/// The senses of the word in lower case that has this hash.
pub(super) fn senses(hash: u64) -> Senses {
    LEXICON.get(&hash).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_word_has_all_its_senses_and_no_word_has_those_of_another() {
        let of = |word: &str| senses(Hash::of(word));
        assert!(of("minutes").unit.is_some() && of("no").negates && of("may").date.is_some() && of("may").is_function);
        assert!(of("twelve").number.is_some() && of("twelfth").number.is_none() && of("more").begins_scope);
        let words = tokens::FUNCTION_WORDS.iter().chain(&negation::NEGATORS).map(|word| (*word).to_owned());
        let words = words.chain(language::common_words().map(|(word, _)| word.to_owned()));
        let words = words.chain(units::spellings().map(|(word, _)| word.to_owned()));
        let words = words.chain(numbers::words().map(|(word, _)| word.to_owned()));
        let words = words.chain(dates::names().map(|(word, _)| word));
        let words: HashSet<String> = words.chain(scope_words::first_words().map(str::to_owned)).collect();
        let hashes: HashSet<u64> = words.iter().map(|word| Hash::of(word)).collect();
        assert_eq!(words.len(), hashes.len());
    }
}
