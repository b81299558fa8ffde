//! Names of caches, scopes, texts and entries: all hashes, so that their length doesn't depend on what users send.

use std::fmt;
use std::str::FromStr;

use super::attributes::Attributes;

/// Names a cache of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct CacheKey(pub(super) [u8; 16]);

impl CacheKey {
    /// The key of `tenant`'s cache `id`.
    #[must_use]
    pub fn new(tenant: &str, id: &str) -> Self {
        Self(derive("refrain cache", &[tenant.as_bytes(), id.as_bytes()]))
    }
}

/// Names a scope: who may share an answer. Made of the cache (and so of its tenant) and the fingerprint of everything in
/// a request that isn't the last user text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct ScopeKey(pub(super) [u8; 32]);

impl ScopeKey {
    /// The scope of requests to `cache` with this `fingerprint`.
    #[must_use]
    pub fn new(cache: CacheKey, fingerprint: &[u8; 32]) -> Self {
        Self(derive("refrain scope", &[&cache.0, fingerprint]))
    }
}

/// Names a prompt text, byte for byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TextHash(pub(super) [u8; 32]);

impl TextHash {
    /// The hash of `text`.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(derive("refrain text", &[text.as_bytes()]))
    }
}

/// Names an entry: one text with one set of attributes in one scope. Storing that again replaces the entry. Written as
/// 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct EntryId(pub(super) [u8; 16]);

impl EntryId {
    /// The id of the entry with this text and these attributes in `scope`.
    #[must_use]
    pub fn new(scope: ScopeKey, text: TextHash, attributes: &Attributes) -> Self {
        let mut parts: Vec<&[u8]> = vec![&scope.0, &text.0];
        for (name, value) in attributes.iter() {
            parts.extend([name.as_bytes(), value.as_bytes()]);
        }
        Self(derive("refrain entry", &parts))
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that names no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry id is 32 hexadecimal digits")]
pub struct NotAnEntryId;

impl FromStr for EntryId {
    type Err = NotAnEntryId;

    fn from_str(text: &str) -> Result<Self, NotAnEntryId> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotAnEntryId);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| NotAnEntryId)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// blake3 with a domain of its own per kind of key; each part is preceded by its length, so that no two lists of parts
/// read the same.
pub(super) fn derive<const N: usize>(domain: &str, parts: &[&[u8]]) -> [u8; N] {
    let mut hasher = blake3::Hasher::new_derive_key(domain);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut key = [0; N];
    hasher.finalize_xof().fill(&mut key);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(CacheKey::new("ab", "c"), CacheKey::new("a", "bc"));
    }

    #[test]
    fn an_entry_id_reads_back_and_rubbish_does_not() {
        let scope = ScopeKey::new(CacheKey::new("t", "c"), &[7; 32]);
        let id = EntryId::new(scope, TextHash::of("x"), &Attributes::default());
        assert_eq!(id.to_string().parse(), Ok(id));
        for rubbish in ["", "12", "+0000000000000000000000000000001", &"g".repeat(32), &"ä".repeat(16)] {
            assert_eq!(rubbish.parse::<EntryId>(), Err(NotAnEntryId), "{rubbish}");
        }
    }
}
