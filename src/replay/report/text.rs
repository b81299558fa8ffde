//! Texts and numbers as the page shows them.

use std::fmt;

use crate::decide::Share;

/// A text from outside, in an element or in an attribute's quotes.
pub(super) struct Text<'t>(pub(super) &'t str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // HTML has no way to say it.
                '\0' => f.write_char('\u{fffd}')?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// "12,345".
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "500", "20k", "1.5M": for axes, where there is little room.
pub(super) fn short_count(count: f64) -> String {
    match count.abs() {
        million if million >= 1e6 => format!("{}M", trimmed(count / 1e6)),
        thousand if thousand >= 1e3 => format!("{}k", trimmed(count / 1e3)),
        _ => trimmed(count),
    }
}

/// "0.70", "0.845".
pub(super) fn cosine(cosine: f32) -> String {
    let text = format!("{cosine:.3}");
    text.strip_suffix('0').map(str::to_owned).unwrap_or(text)
}

/// A share in percent with the digits that it needs, and no unit: "0.5", "20".
pub(super) fn percent(share: f64) -> String {
    trimmed(share * 100.0)
}

/// A share in percent with the digits that its interval leaves sensible: "1.23 %".
pub(super) fn value(share: Share) -> String {
    if share.all == 0 {
        return "–".into();
    }
    let digits = digits(share);
    format!("{:.digits$}\u{a0}%", share.value() * 100.0)
}

/// Its 95 % interval: "1.10–1.38".
pub(super) fn interval(share: Share) -> String {
    if share.all == 0 {
        return String::new();
    }
    let (low, high) = share.interval();
    let digits = digits(share);
    format!("{:.digits$}–{:.digits$}", low * 100.0, high * 100.0)
}

/// Both: "1.23 % [1.10–1.38]".
pub(super) fn share(share: Share) -> String {
    if share.all == 0 {
        return "–".into();
    }
    format!("{} [{}]", value(share), interval(share))
}

/// A number without zeros that say nothing.
pub(super) fn trimmed(number: f64) -> String {
    let text = format!("{number:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// As a number to reckon with.
#[expect(clippy::cast_precision_loss, reason = "a plot needs no 2^53 precision")]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

fn digits(share: Share) -> usize {
    match share.interval().1 {
        high if high >= 0.1 => 1,
        high if high >= 0.002 => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_exact_enough() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 500.0, 20_000.0, -1500.0, 2.5e6].map(short_count), ["0", "500", "20k", "-1.5k", "2.5M"]);
        assert_eq!([0.7, 0.845, 1.0, -0.05].map(cosine), ["0.70", "0.845", "1.00", "-0.05"]);
        assert_eq!([0.0, 0.005, 0.2, 0.999, 0.1 + 0.2, -1e-12].map(percent), ["0", "0.5", "20", "99.9", "30", "0"]);
        assert_eq!(share(Share::new(4_321, 10_000)), "43.2\u{a0}% [42.2–44.2]");
        assert_eq!(share(Share::new(98, 10_000)), "0.98\u{a0}% [0.80–1.19]");
        assert_eq!(share(Share::new(1, 100_000)), "0.001\u{a0}% [0.000–0.006]");
        assert_eq!(share(Share::new(0, 0)), "–");
    }
}
