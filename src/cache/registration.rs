//! How many caches exist, of all tenants together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::error::{CacheError, MAX_CACHES};

/// Counts the caches that exist.
#[derive(Debug, Clone, Default)]
pub(super) struct Registrations(Arc<AtomicUsize>);

/// Whether the store knows of a cache.
#[derive(Debug)]
pub(super) struct Registration {
    all: Registrations,
    is_registered: AtomicBool,
}

impl Registrations {
    pub(super) fn of(&self, is_registered: bool) -> Registration {
        self.0.fetch_add(usize::from(is_registered), Ordering::Relaxed);
        Registration { all: self.clone(), is_registered: is_registered.into() }
    }
}

impl Registration {
    pub(super) fn is_registered(&self) -> bool {
        self.is_registered.load(Ordering::Relaxed)
    }

    /// Whether there is room for one more.
    pub(super) fn check(&self) -> Result<(), CacheError> {
        if self.all.0.load(Ordering::Relaxed) < MAX_CACHES { Ok(()) } else { Err(CacheError::TooMany) }
    }

    pub(super) fn set(&self, is_registered: bool) {
        if self.is_registered.swap(is_registered, Ordering::Relaxed) == is_registered {
            return;
        }
        if is_registered {
            self.all.0.fetch_add(1, Ordering::Relaxed);
        } else {
            self.all.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counts_once_and_the_last_is_refused() {
        let all = Registrations::default();
        let caches: Vec<_> = (1..MAX_CACHES).map(|_| all.of(true)).collect();
        let (last, refused) = (all.of(false), all.of(false));
        assert!(last.check().is_ok());
        last.set(true);
        last.set(true);
        assert!(matches!(refused.check(), Err(CacheError::TooMany)));
        caches[0].set(false);
        assert!(refused.check().is_ok());
    }
}
