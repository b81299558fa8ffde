//! Days and months by their names, and days seen from today.

use std::collections::BTreeSet;

use super::tokens::{Kind, Token};

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
const SHORT_MONTHS: [(&str, &str); 10] = [
    ("jan", "january"),
    ("feb", "february"),
    ("apr", "april"),
    ("jun", "june"),
    ("jul", "july"),
    ("aug", "august"),
    ("sept", "september"),
    ("oct", "october"),
    ("nov", "november"),
    ("dec", "december"),
];
const RELATIVE: [&str; 8] = ["today", "tomorrow", "yesterday", "tonight", "weekend", "noon", "midnight", "now"];
/// Behind these, *march* and *may* are months.
const BEFORE_MONTHS: [&str; 9] = ["in", "of", "since", "until", "by", "next", "last", "this", "early"];

/// Whether a word is the name of a day or a month.
pub(super) fn is_name(word: &Token) -> bool {
    DAYS.iter().chain(&MONTHS).any(|name| word.lower == *name)
}

/// The days and months that a prompt names. Numbers of days and years are numbers.
pub(super) fn dates(tokens: &[Token]) -> BTreeSet<&'static str> {
    let mut dates = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        let name = token.lower.strip_suffix("'s").unwrap_or(&token.lower);
        let day = DAYS.iter().find(|day| name == **day || name.strip_suffix('s') == Some(day));
        let month = MONTHS.iter().find(|month| name == **month && is_month(tokens, at));
        let short = SHORT_MONTHS.iter().find(|(short, _)| name == *short && beside_number(tokens, at));
        let relative = RELATIVE.iter().find(|word| name == **word && **word != "now");
        dates.extend(day.or(month).or(relative).copied().or(short.map(|(_, month)| *month)));
    }
    dates
}

fn is_month(tokens: &[Token], at: usize) -> bool {
    let is_other_word = matches!(tokens[at].lower.as_str(), "march" | "may");
    let before = at.checked_sub(1).map(|before| tokens[before].lower.as_str());
    !is_other_word || before.is_some_and(|before| BEFORE_MONTHS.contains(&before)) || beside_number(tokens, at)
}

fn beside_number(tokens: &[Token], at: usize) -> bool {
    let is_number = |token: Option<&Token>| token.is_some_and(|token| token.kind == Kind::Number);
    is_number(tokens.get(at + 1)) || at.checked_sub(1).is_some_and(|before| is_number(tokens.get(before)))
}

#[cfg(test)]
mod tests {
    use super::super::tokens::split;
    use super::*;

    #[test]
    fn days_and_months_are_known_and_verbs_are_not() {
        let differ = |a: &str, b: &str| dates(&split(a)) != dates(&split(b));
        assert!(differ("open on Sunday", "open on Monday") && differ("weather tomorrow", "weather"));
        assert!(differ("in May", "in June") && differ("3 Mar 2024", "3 Apr 2024"));
        assert!(!differ("May I march?", "Can I march?") && !differ("on Sundays", "each sunday"));
        assert!(!differ("Jan 5", "5 January") && !differ("Jan said so", "Tom said so"));
    }
}
