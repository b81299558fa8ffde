//! Threads that go through the same phases together.
//!
//! A phase is a number of tiles. Whoever is there takes the next tile that nobody has taken, and the phase is over when
//! the last one is done. So a thread that comes late, or not at all, is missed by nobody: the others do its tiles.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Spins of a waiting thread before it begins to offer its processor to others.
const SPINS: u32 = 4096;

/// Where all threads stand.
#[derive(Default)]
pub(super) struct Phases {
    /// The number of the phase in the high half, its next tile in the low half.
    at: AtomicU64,
    /// Tiles of the phase that are done.
    done: AtomicU32,
    broken: AtomicBool,
}

/// A thread panicked in its tile; the phase can't be finished any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

impl Phases {
    /// The number of the phase that begins next, once all threads are out of the last.
    pub(super) fn now(&self) -> u32 {
        number(self.at.load(Ordering::Acquire))
    }

    /// To be held by every thread while it goes through the phases.
    pub(super) fn guard(&self) -> Guard<'_> {
        Guard(self)
    }

    /// Whether a thread panicked.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Does tiles of phase `phase`, which has `tiles` of them, until it is over. What was done in it, by whomever, is
    /// visible afterwards. Returns at once if it is over already. Drops `work`, and whatever it holds, before it waits for
    /// others, so that nobody in the next phase waits for a thread that sleeps in this one.
    #[inline(always)]
    pub(super) fn run(&self, phase: u32, tiles: usize, mut work: impl FnMut(usize)) -> Result<(), Broken> {
        let mut at = self.at.load(Ordering::Acquire);
        while number(at) == phase && tile(at) < tiles {
            let next = at.wrapping_add(1);
            match self.at.compare_exchange_weak(at, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    work(tile(at));
                    if self.done.fetch_add(1, Ordering::AcqRel) as usize + 1 == tiles {
                        drop(work);
                        self.done.store(0, Ordering::Relaxed);
                        self.at.store(u64::from(phase.wrapping_add(1)) << 32, Ordering::Release);
                        return Ok(());
                    }
                    at = self.at.load(Ordering::Acquire);
                }
                Err(now) => at = now,
            }
        }
        drop(work);
        let mut spins = 0u32;
        while self.now() == phase {
            if self.is_broken() {
                return Err(Broken);
            }
            spins = spins.saturating_add(1);
            if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        Ok(())
    }
}

fn number(at: u64) -> u32 {
    (at >> 32) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the low half")]
fn tile(at: u64) -> usize {
    at as u32 as usize
}

/// Tells the others when this thread panics.
pub(super) struct Guard<'a>(&'a Phases);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.broken.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn every_tile_of_every_phase_is_done_once_and_in_order() {
        const PHASES: u32 = 200;
        let phases = Phases::default();
        let tiles = |phase: u32| 1 + phase as usize % 7;
        let done: Vec<AtomicUsize> = (0..PHASES).map(|_| AtomicUsize::new(0)).collect();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for phase in 0..PHASES {
                        let work = |_| {
                            if phase > 0 {
                                assert_eq!(done[phase as usize - 1].load(Ordering::Relaxed), tiles(phase - 1));
                            }
                            done[phase as usize].fetch_add(1, Ordering::Relaxed);
                        };
                        phases.run(phase, tiles(phase), work).unwrap();
                    }
                });
            }
        });
        assert!((0..PHASES).all(|phase| done[phase as usize].load(Ordering::Relaxed) == tiles(phase)));
    }

    #[test]
    fn a_panicking_tile_is_reported_to_the_others() {
        let phases = Phases::default();
        let run = || {
            let _guard = phases.guard();
            phases.run(0, 2, |tile| assert_ne!(tile, 1))
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(run);
            let this = std::panic::catch_unwind(run);
            let other = other.join();
            let broken = |result: &std::thread::Result<Result<(), Broken>>| matches!(result, Ok(Err(Broken)));
            assert!(this.is_err() && broken(&other) || broken(&this) && other.is_err());
        });
    }
}
