//! Whether two long answers surely say different things, by what costs nothing to compare.
//!
//! Two right answers of a model to one question share their facts and not their words. So nearness can't show that two say the same, but
//! it can show that they don't, where they name other numbers too. The score is a logistic regression, fitted to 1,281 pairs of answers to
//! similar questions (60 topics of `answers-dev.jsonl`). Of the pairs of topics that it wasn't fitted to it is sure of 11 %, and right about 96 % of
//! those; of 2,640 pairs of another author and trade (a phone company's) it is sure of 26 %, and right about all.

use std::collections::BTreeSet;

use super::text::digits_of;
use crate::embed::Cosine;

/// Log-odds that two answers say the same, below which they surely don't.
const SURE: f32 = -2.6;
const INTERCEPT: f32 = -3.05;
/// Of the plain cosine of the two vectors.
const COSINE: f32 = 1.52;
/// Of the share of the numbers in the answer with fewer of them that the other one names too.
const SHARED_NUMBERS: f32 = 1.34;
/// Of the numbers that each names and the other doesn't, in threes.
const OTHER_NUMBERS: f32 = -0.57;
/// The share where one of them names no number.
const UNKNOWN: f32 = 0.5;

/// Whether two answers surely say different things. `cosine` is their vectors'.
#[must_use]
pub fn surely_unlike(a: &str, b: &str, cosine: Cosine) -> bool {
    log_odds_of_same(&numbers(a), &numbers(b), cosine) < SURE
}

#[expect(clippy::cast_precision_loss, reason = "some numbers")]
fn log_odds_of_same(a: &BTreeSet<String>, b: &BTreeSet<String>, cosine: Cosine) -> f32 {
    let shared = a.intersection(b).count();
    let fewer = a.len().min(b.len());
    let share = if fewer == 0 { UNKNOWN } else { shared as f32 / fewer as f32 };
    let others = (fewer - shared) as f32 / 3.0;
    INTERCEPT + COSINE * cosine.get() + SHARED_NUMBERS * share + OTHER_NUMBERS * others
}

/// The numbers that a text names, each in one spelling.
fn numbers(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | ',' | ':')));
    words.filter_map(number).collect()
}

fn number(word: &str) -> Option<String> {
    let word = word.trim_matches(['.', ',', ':']);
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        return digits_of(&word.to_lowercase()).map(str::to_owned);
    }
    let digits: String = word.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ',' | ':')).collect();
    let digits = digits.trim_end_matches(['.', ',', ':']);
    let groups: Vec<&str> = digits.split('.').next().unwrap_or(digits).split(',').collect();
    let is_grouped = groups.len() > 1 && groups.iter().skip(1).all(|group| group.len() == 3);
    let plain = if is_grouped { digits.replace(',', "") } else { digits.replace(',', ".") };
    // What is no number, such as a time, is its own spelling.
    Some(plain.parse().map_or(plain, |value: f64| value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        let of = |text: &str| numbers(text).into_iter().collect::<Vec<_>>();
        assert_eq!(of("It costs 1,500.50 or €1500.5, by 8:30."), ["1500.5", "8:30"]);
        assert_eq!(of("Within two days, i.e. 2 days; 2.0 at most"), ["2"]);
        assert_eq!(of("10GB of data, 7,5 %"), ["10", "7.5"]);
        assert!(of("Nothing here. Nor: here, either").is_empty());
    }

    #[test]
    fn other_numbers_and_far_vectors_are_needed_to_be_sure() {
        let (a, b) = ("Returns take 30 days and cost 5 euros.", "It opens at 9, closes at 17, and has 4 rooms.");
        assert!(surely_unlike(a, b, Cosine::new(0.1)));
        assert!(!surely_unlike(a, a, Cosine::new(0.1)));
        assert!(!surely_unlike(a, b, Cosine::new(0.9)));
        assert!(!surely_unlike("No numbers here.", "Nor here.", Cosine::new(0.0)), "where nothing can be compared");
    }
}
