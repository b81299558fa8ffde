//! Days and months by their names, and days seen from today.

use super::senses::{DateName, When};
use super::token::{Kind, Token};

const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
/// With their places among the months.
const SHORT_MONTHS: [(&str, u8); 10] = [
    ("jan", 0),
    ("feb", 1),
    ("apr", 3),
    ("jun", 5),
    ("jul", 6),
    ("aug", 7),
    ("sept", 8),
    ("oct", 9),
    ("nov", 10),
    ("dec", 11),
];
const RELATIVE: [&str; 7] = ["today", "tomorrow", "yesterday", "tonight", "weekend", "noon", "midnight"];
/// Behind these, *march* and *may* are months.
const BEFORE_MONTHS: [&str; 9] = ["in", "of", "since", "until", "by", "next", "last", "this", "early"];

/// All that are known, as they are spelt.
pub(super) fn names() -> impl Iterator<Item = (String, DateName)> {
    let places = || 0u8..;
    let months = places().skip(DAYS.len());
    let relative = places().skip(DAYS.len() + MONTHS.len());
    let is_other_word = |month: &str| matches!(month, "march" | "may");
    let when = move |month| if is_other_word(month) { When::InPlaceOfMonth } else { When::Always };
    let days = places().zip(DAYS).map(|(place, day)| (day, place, When::Always));
    let months = months.zip(MONTHS).map(move |(place, month)| (month, place, when(month)));
    let short = SHORT_MONTHS.map(|(month, place)| (month, DAYS.len() as u8 + place, When::BesideNumber));
    let relative = relative.zip(RELATIVE).map(|(place, word)| (word, place, When::Always));
    let spelt = |(word, place, is): (&'static str, u8, When)| {
        let endings: &[&str] = if DAYS.contains(&word) { &["", "'s", "s", "s's"] } else { &["", "'s"] };
        let is_plain = move |ending: &str| ending.is_empty() && (DAYS.contains(&word) || MONTHS.contains(&word));
        endings
            .iter()
            .map(move |ending| (format!("{word}{ending}"), DateName { place, is, is_plain: is_plain(ending) }))
    };
    days.chain(months).chain(short).chain(relative).flat_map(spelt)
}

/// The days and months that a prompt names, a bit for each. Numbers of days and years are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dates(u32);

impl Dates {
    pub(super) fn of(tokens: &[Token<'_>]) -> Self {
        let named = |(at, token): (usize, &Token<'_>)| {
            let name = token.senses.date?;
            let is = match name.is {
                When::Always => true,
                When::BesideNumber => beside_number(tokens, at),
                When::InPlaceOfMonth => is_in_place_of_month(tokens, at),
            };
            is.then_some(name.place)
        };
        Self(tokens.iter().enumerate().filter_map(named).fold(0, |dates, place| dates | 1 << place))
    }
}

fn is_in_place_of_month(tokens: &[Token<'_>], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| tokens[before].lower.as_ref());
    before.is_some_and(|before| BEFORE_MONTHS.contains(&before)) || beside_number(tokens, at)
}

fn beside_number(tokens: &[Token<'_>], at: usize) -> bool {
    let is_number = |token: Option<&Token<'_>>| token.is_some_and(|token| token.kind == Kind::Number);
    is_number(tokens.get(at + 1)) || at.checked_sub(1).is_some_and(|before| is_number(tokens.get(before)))
}

#[cfg(test)]
mod tests {
    use super::super::tokens::split;
    use super::*;

    #[test]
    fn days_and_months_are_known_and_verbs_are_not() {
        let differ = |a: &str, b: &str| Dates::of(&split(a)) != Dates::of(&split(b));
        assert!(differ("open on Sunday", "open on Monday") && differ("weather tomorrow", "weather"));
        assert!(differ("in May", "in June") && differ("3 Mar 2024", "3 Apr 2024"));
        assert!(!differ("May I march?", "Can I march?") && !differ("on Sundays", "each sunday"));
        assert!(!differ("Jan 5", "5 January") && !differ("Jan said so", "Tom said so"));
    }
}
