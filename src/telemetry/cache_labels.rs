//! Whose cache a metric is about.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use metrics::SharedString;
use parking_lot::Mutex;

/// Caches that have series of their own; further ones share theirs. Arbitrary: each has some ten series.
const MAX_OWN: usize = 1000;
/// What those share.
const OTHERS: &str = "(others)";
/// What is counted of caches that nothing was stored into.
const UNSTORED: &str = "(nothing stored)";

/// The labels of one cache's metrics.
#[derive(Debug, Clone)]
pub struct CacheLabels {
    tenant: Arc<str>,
    cache: Arc<str>,
    is_own: bool,
}

/// The caches that have series of their own.
#[derive(Default)]
struct Known(HashSet<(String, String)>);

impl Known {
    fn admits(&mut self, tenant: &str, cache: &str) -> bool {
        let Self(known) = self;
        let name = (tenant.to_owned(), cache.to_owned());
        known.contains(&name) || (known.len() < MAX_OWN && known.insert(name))
    }
}

impl CacheLabels {
    /// Those of `tenant`'s cache. There is a bound to how many caches have some of their own.
    #[must_use]
    pub fn of(tenant: &str, cache: &str) -> Self {
        static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
        match KNOWN.lock().admits(tenant, cache) {
            true => Self { tenant: tenant.into(), cache: cache.into(), is_own: true },
            false => Self::shared(OTHERS),
        }
    }

    /// Those of all caches that nothing was stored into: anybody can ask for any of them.
    #[must_use]
    pub fn unstored() -> &'static Self {
        static LABELS: LazyLock<CacheLabels> = LazyLock::new(|| CacheLabels::shared(UNSTORED));
        &LABELS
    }

    fn shared(name: &str) -> Self {
        Self { tenant: name.into(), cache: name.into(), is_own: false }
    }

    pub(super) fn tenant(&self) -> SharedString {
        SharedString::from_shared(Arc::clone(&self.tenant))
    }

    pub(super) fn cache(&self) -> SharedString {
        SharedString::from_shared(Arc::clone(&self.cache))
    }

    /// Whether they are of one cache alone.
    pub(super) fn is_own(&self) -> bool {
        self.is_own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_have_a_bound_and_those_that_are_there_stay() {
        let mut known = Known::default();
        let admitted = (0..2 * MAX_OWN).filter(|n| known.admits("t", &n.to_string())).count();
        assert_eq!(admitted, MAX_OWN);
        assert!(known.admits("t", "0") && !known.admits("u", "0"));
    }
}
