//! Code between backticks.

use super::hash::fingerprint;

/// A hash of the code that a text shows.
pub(super) fn shown(text: &str) -> u64 {
    fingerprint(blocks(text))
}

/// The pieces of code that a text shows, spaces apart, in their order.
fn blocks(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('`') {
        let fence = rest[at..].bytes().take_while(|byte| *byte == b'`').count();
        let inside = &rest[at + fence..];
        let Some(end) = inside.find(&rest[at..at + fence]) else { break };
        let code: Vec<&str> = inside[..end].split_whitespace().collect();
        found.extend((!code.is_empty()).then(|| code.join(" ")));
        rest = &inside[end + fence..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_and_single_backticks_hold_code() {
        assert_eq!(blocks("why does `a  = 1` work\n```rust\nlet b\n= 2;\n```"), ["a = 1", "rust let b = 2;"]);
        assert_eq!(blocks("an `unfinished one"), [""; 0]);
    }
}
