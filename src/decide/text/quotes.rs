//! What is quoted.

use super::hash::fingerprint;

/// Quotation marks that open, and what closes them. Single ones are apostrophes too often.
const MARKS: [(char, char); 6] = [
    ('"', '"'),
    ('\u{201c}', '\u{201d}'),
    ('\u{201e}', '\u{201c}'),
    ('\u{ab}', '\u{bb}'),
    ('\u{300c}', '\u{300d}'),
    ('\u{300e}', '\u{300f}'),
];

/// A hash of what a text quotes.
pub(super) fn said(text: &str) -> u64 {
    fingerprint(quoted(text))
}

/// The strings that a text quotes, in lower case and in an order of their own.
fn quoted(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((at, (open, close))) = next(rest) {
        let inside = &rest[at + open.len_utf8()..];
        let Some(end) = inside.find(close) else { break };
        let string = inside[..end].trim().to_lowercase();
        found.extend((!string.is_empty()).then_some(string));
        rest = &inside[end + close.len_utf8()..];
    }
    found.sort_unstable();
    found
}

fn next(text: &str) -> Option<(usize, (char, char))> {
    text.char_indices().find_map(|(at, c)| MARKS.iter().find(|(open, _)| *open == c).map(|marks| (at, *marks)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_of_marks_quote() {
        assert_eq!(quoted("say \"Hi\", «oui», „ja“ or “no”"), ["hi", "ja", "no", "oui"]);
        assert_eq!(quoted("a 5\" pipe, don't"), [""; 0]);
    }
}
