//! Names that entries are invalidated by.

use std::collections::BTreeSet;

use super::attributes::Flaw;

/// Bytes of the longest tag.
const MAX_TAG: usize = 128;

/// Names that a user gave an entry, to delete it by one day. Lookups don't look at them.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Tags(BTreeSet<String>);

impl Tags {
    /// An entry may have so many.
    pub const MAX: usize = 16;

    /// Why an entry may not have this tag. A header lists tags between commas, so none has a comma or a space.
    #[must_use]
    pub fn flaw(tag: &str) -> Option<Flaw> {
        let allowed = |c: char| c.is_ascii_graphic() && c != ',';
        if tag.is_empty() || tag.len() > MAX_TAG || !tag.chars().all(allowed) {
            let message = format!("must be 1 to {MAX_TAG} visible ASCII characters without a comma");
            return Some(Flaw { rule: "pattern", message });
        }
        None
    }

    /// From names; whether those are acceptable is for the caller to check.
    #[must_use]
    pub fn new(tags: impl IntoIterator<Item = String>) -> Self {
        Self(tags.into_iter().collect())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether any of `others` is among these.
    #[must_use]
    pub fn has_any(&self, others: &Self) -> bool {
        !self.0.is_disjoint(&others.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_names_that_a_header_can_list() {
        for good in ["docs", "docs/v1.2", "a:b=c", &"x".repeat(128)] {
            assert_eq!(Tags::flaw(good), None, "{good}");
        }
        for bad in ["", "a b", "a,b", "ü", "a\n", &"x".repeat(129)] {
            assert!(Tags::flaw(bad).is_some(), "{bad}");
        }
    }
}
