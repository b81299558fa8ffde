//! What owners of state write: a mark, a version, and behind it postcard.
//!
//! Builds before the first version wrote postcard alone. That is version 0 here.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What begins a state that has a version. No state of version 0 begins so: these begin with a length or a number, which would
/// have to be 4,325 million.
const MARK: [u8; 5] = [0xF5, 0xD2, 0xC6, 0x8E, 0x10];

/// Why a state can't be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A later program wrote it.
    #[error(
        "a later version of Refrain wrote it (format {found}, this one reads up to {known}); start that version, or restore a backup from before the upgrade"
    )]
    TooNew {
        /// Its version.
        found: u8,
        /// The latest that is known.
        known: u8,
    },
    /// It isn't what was written.
    #[error("it is damaged: {0}")]
    Damaged(#[from] postcard::Error),
}

/// A state as it was written.
#[derive(Debug, Clone, Copy)]
pub struct State<'b> {
    version: u8,
    body: &'b [u8],
}

/// `value` in its current version. None where it can't be written, which no value of ours is.
#[must_use]
pub fn write_state<T: Serialize>(version: u8, value: &T) -> Option<Vec<u8>> {
    let mut bytes = MARK.to_vec();
    bytes.push(version);
    postcard::to_extend(value, bytes).ok()
}

impl<'b> State<'b> {
    /// Of bytes that [`write_state`] wrote, or a build before it. `latest` is the latest version that is known.
    ///
    /// # Errors
    /// [`StateError::TooNew`]
    pub fn read(bytes: &'b [u8], latest: u8) -> Result<Self, StateError> {
        match bytes.strip_prefix(&MARK).and_then(<[u8]>::split_first) {
            Some((&found, _)) if found > latest => Err(StateError::TooNew { found, known: latest }),
            Some((&version, body)) => Ok(Self { version, body }),
            None => Ok(Self { version: 0, body: bytes }),
        }
    }

    /// Its version; 0 of what was written before there were versions.
    #[must_use]
    pub fn version(self) -> u8 {
        self.version
    }

    /// Its value, which must be as its version has it.
    ///
    /// # Errors
    /// [`StateError::Damaged`]
    pub fn value<T: DeserializeOwned>(self) -> Result<T, StateError> {
        Ok(postcard::from_bytes(self.body)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        let written = write_state(3, &(7u32, "x")).unwrap();
        let read = State::read(&written, 3).unwrap();
        assert_eq!((read.version(), read.value::<(u32, String)>().unwrap()), (3, (7, "x".into())));
        assert!(matches!(State::read(&written, 2), Err(StateError::TooNew { found: 3, known: 2 })));
        let before = postcard::to_stdvec(&(7u32, "x")).unwrap();
        assert_eq!(State::read(&before, 3).unwrap().version(), 0);
        assert!(State::read(&written[..6], 3).unwrap().value::<(u32, String)>().is_err());
    }
}
