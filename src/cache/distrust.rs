//! What a cache has lost that it must not answer near texts without.

use std::sync::atomic::{AtomicU8, Ordering};

/// Something that was written and can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The operator's policy, which may be stricter than the settings.
    Policy = 1,
    /// Which answers were reported wrong.
    Quarantines = 2,
}

/// What a cache has lost. While there is anything, it answers equal texts only.
#[derive(Default)]
pub(super) struct Distrust(AtomicU8);

impl Distrust {
    pub(super) fn add(&self, doubt: Doubt) {
        self.0.fetch_or(doubt as u8, Ordering::Relaxed);
    }

    /// It was set anew, or there is nothing left that it was about.
    pub(super) fn remove(&self, doubt: Doubt) {
        self.0.fetch_and(!(doubt as u8), Ordering::Relaxed);
    }

    /// Why near texts aren't answered, if they aren't, and what ends that.
    pub(super) fn reason(&self) -> Option<&'static str> {
        let lost = self.0.load(Ordering::Relaxed);
        if lost & Doubt::Policy as u8 != 0 {
            return Some("the policy that was set for this cache can't be read; set it again");
        }
        let is_lost = lost & Doubt::Quarantines as u8 != 0;
        is_lost.then_some("which answers were reported wrong can't be read; flush the cache")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_doubt_has_an_end_of_its_own() {
        let distrust = Distrust::default();
        assert_eq!(distrust.reason(), None);
        distrust.add(Doubt::Policy);
        distrust.add(Doubt::Quarantines);
        distrust.remove(Doubt::Policy);
        assert!(distrust.reason().is_some_and(|reason| reason.contains("flush")));
        distrust.remove(Doubt::Quarantines);
        assert_eq!(distrust.reason(), None);
    }
}
