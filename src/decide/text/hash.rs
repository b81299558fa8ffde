//! Hashes of words, which stand for them: equal ones are taken to be equal words.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash as _, Hasher, RandomState};
use std::sync::LazyLock;

/// FNV-1a (Fowler, Noll, Vo): the same in all versions of this program, because hashes are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hash(u64);

impl Hash {
    pub(super) const START: Self = Self(0xcbf2_9ce4_8422_2325);

    pub(super) fn of(text: &str) -> u64 {
        Self::START.then(text.as_bytes()).get()
    }

    /// Of what came before with these bytes behind it.
    pub(super) fn then(self, bytes: &[u8]) -> Self {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.iter().fold(self.0, step))
    }

    pub(super) fn get(self) -> u64 {
        self.0
    }
}

/// One hash of several strings, which nobody outside can make two texts agree in. It is another one in each run of the program.
pub(super) fn fingerprint(strings: impl IntoIterator<Item: AsRef<str>>) -> u64 {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let mut hasher = KEYS.build_hasher();
    strings.into_iter().for_each(|string| string.as_ref().hash(&mut hasher));
    hasher.finish()
}

/// A table whose keys are hashes already.
pub(in super::super) type ByHash<V, K = u64> = HashMap<K, V, BuildHasherDefault<AsItIs>>;

/// Takes a hash for the hash of itself.
#[derive(Debug, Clone, Copy, Default)]
pub(in super::super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = Hash(self.0).then(bytes).get();
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    /// Over all bits, because tables look at the first ones too.
    fn write_u32(&mut self, hash: u32) {
        self.0 = u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_goes_on_where_it_stopped_and_strings_are_kept_apart() {
        assert_eq!(Hash::of("enabled"), Hash::START.then(b"enabl").then(b"ed").get());
        // The published test vector.
        assert_eq!(Hash::of("a"), 0xaf63_dc4c_8601_ec8c);
        assert_ne!(fingerprint(["a", "b"]), fingerprint(["ab"]));
        assert_eq!(fingerprint(["a", "b"]), fingerprint(["a", "b"]));
        assert_ne!(fingerprint(["", ""]), fingerprint([""]));
    }
}
