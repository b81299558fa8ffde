//! What is known of single words, all in one table: a word of a prompt is looked up once for all that want to know something of it.

use std::sync::LazyLock;

use super::hash::{ByHash, Hash};
use super::senses::Senses;
use super::{dates, language, negation, numbers, order, scope_words, units};

/// Words that hold a sentence together and say little.
const FUNCTION_WORDS: [&str; 96] = [
    "a", "about", "am", "an", "and", "any", "are", "as", "at", "be", "been", "being", "but", "by", "can", "could", "d",
    "did", "do", "does", "doing", "for", "from", "get", "give", "had", "has", "have", "he", "her", "here", "him",
    "his", "how", "i", "i'd", "i'm", "if", "in", "into", "is", "it", "it's", "its", "just", "let", "ll", "m", "may",
    "me", "might", "my", "of", "on", "or", "our", "please", "s", "shall", "she", "should", "so", "some", "such",
    "tell", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "to", "up",
    "us", "was", "we", "were", "what", "what's", "when", "where", "which", "who", "why", "will", "with", "would",
    "you", "your", "way", "show",
];

/// By the hash of each word. Small, so that it stays near the processor.
static LEXICON: LazyLock<ByHash<Senses>> = LazyLock::new(|| {
    let mut lexicon = ByHash::default();
    let mut of = |word: &str, learn: &dyn Fn(&mut Senses)| learn(lexicon.entry(Hash::of(word)).or_default());
    FUNCTION_WORDS.iter().for_each(|word| of(word, &|senses| senses.is_function = true));
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
        let words = FUNCTION_WORDS.iter().chain(&negation::NEGATORS).map(|word| (*word).to_owned());
        let words = words.chain(language::common_words().map(|(word, _)| word.to_owned()));
        let words = words.chain(units::spellings().map(|(word, _)| word.to_owned()));
        let words = words.chain(numbers::words().map(|(word, _)| word.to_owned()));
        let words = words.chain(dates::names().map(|(word, _)| word));
        let words: HashSet<String> = words.chain(scope_words::first_words().map(str::to_owned)).collect();
        let hashes: HashSet<u64> = words.iter().map(|word| Hash::of(word)).collect();
        assert_eq!(words.len(), hashes.len());
    }
}
