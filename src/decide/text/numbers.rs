//! Numbers, in digits or in words.

use super::hash::fingerprint;
use super::senses::NumberWord;
use super::token::{Kind, Token};

/// Words for numbers. *One* is left out: it mostly isn't a number.
const WORDS: [(&str, &str); 40] = [
    ("zero", "0"),
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
    ("eleven", "11"),
    ("twelve", "12"),
    ("thirteen", "13"),
    ("fourteen", "14"),
    ("fifteen", "15"),
    ("sixteen", "16"),
    ("seventeen", "17"),
    ("eighteen", "18"),
    ("nineteen", "19"),
    ("twenty", "20"),
    ("thirty", "30"),
    ("forty", "40"),
    ("fifty", "50"),
    ("sixty", "60"),
    ("seventy", "70"),
    ("eighty", "80"),
    ("ninety", "90"),
    ("hundred", "100"),
    ("thousand", "1000"),
    ("twice", "2"),
    ("thrice", "3"),
    ("dozen", "12"),
    ("million", "1000000"),
    ("third", "3"),
    ("fourth", "4"),
    ("fifth", "5"),
    ("sixth", "6"),
    ("seventh", "7"),
    ("eighth", "8"),
    ("tenth", "10"),
];

/// All words for numbers.
pub(super) fn words() -> impl Iterator<Item = (&'static str, NumberWord)> {
    WORDS.iter().zip(0..).map(|((word, _), place)| (*word, NumberWord(place)))
}

/// The digits of a number that is written as a word, in small letters.
pub(in crate::decide) fn digits_of(word: &str) -> Option<&'static str> {
    WORDS.iter().find(|(known, _)| *known == word).map(|(_, digits)| *digits)
}

/// What numbers a prompt names, in any order: hashes of their shortest spellings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    in_digits: u64,
    /// With those in words.
    in_english: u64,
}

impl Numbers {
    pub(super) fn of(tokens: &[Token<'_>]) -> Self {
        let (mut in_digits, mut all) = (Vec::new(), Vec::new());
        for token in tokens {
            match token.kind {
                Kind::Number => in_digits.extend(parts(&token.lower).map(shortest)),
                Kind::Word => all.extend(token.senses.number.map(|NumberWord(at)| WORDS[usize::from(at)].1.to_owned())),
                Kind::Sign => {}
            }
        }
        in_digits.sort_unstable();
        all.extend_from_slice(&in_digits);
        all.sort_unstable();
        Self { in_digits: fingerprint(in_digits), in_english: fingerprint(all) }
    }

    /// Whether two prompts name different numbers.
    pub(super) fn differ(self, other: Self, in_english: bool) -> bool {
        if in_english { self.in_english != other.in_english } else { self.in_digits != other.in_digits }
    }
}

/// The numbers of a date, a time or a range.
fn parts(number: &str) -> impl Iterator<Item = &str> {
    number.split([':', '/', '-'])
}

/// 1,000.50 as 1000.5, and 007 as 7. A comma that doesn't part thousands is taken for a decimal point.
fn shortest(number: &str) -> String {
    let groups: Vec<&str> = number.split(',').collect();
    let parts_thousands = groups[1..].iter().all(|group| group.split('.').next().is_some_and(|whole| whole.len() == 3));
    let plain = if parts_thousands { groups.concat() } else { number.replace(',', ".") };
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let whole = if whole.is_empty() { "0" } else { whole };
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::split;
    use super::*;

    #[test]
    fn spelling_does_not_change_a_number() {
        for (text, value) in [
            ("1,000.50", "1000.5"),
            ("1000.5", "1000.5"),
            ("007", "7"),
            ("0", "0"),
            ("3,5", "3.5"),
            ("12,345,678", "12345678"),
        ] {
            assert_eq!(shortest(text), value);
        }
    }

    #[test]
    fn more_fewer_and_other_numbers_differ_and_their_order_does_not() {
        let differ = |a: &str, b: &str| Numbers::of(&split(a)).differ(Numbers::of(&split(b)), true);
        assert!(differ("top 10 films", "top films") && differ("5 of 7", "5 of 8") && differ("at 12:30", "at 12:45"));
        assert!(!differ("5 of 7", "7 of five") && !differ("the 2nd of 3", "2 of three"));
        assert!(!differ("charged twice", "charged 2 times") && differ("the third act", "the fourth act"));
    }
}
