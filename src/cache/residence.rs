//! Whether what a cache has learned and decided is in memory, and when somebody last used it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::MutexGuard;
use tokio::time::Instant;

/// Whatever is short of memory, a cache that was used so lately stays: lookups and saves that use it are over by then.
pub(super) const IN_USE: Duration = Duration::from_secs(60);

/// Whether what a cache has learned is in memory.
pub(super) struct Residence {
    is_here: AtomicBool,
    used: Mutex<Instant>,
    /// Held while it comes or goes.
    moving: tokio::sync::Mutex<()>,
}

impl Default for Residence {
    fn default() -> Self {
        Self { is_here: AtomicBool::new(true), used: Mutex::new(Instant::now()), moving: tokio::sync::Mutex::default() }
    }
}

impl Residence {
    /// Somebody uses it now; tells whether it is here.
    pub(super) fn used_now(&self) -> bool {
        *self.used.lock() = Instant::now();
        self.is_here()
    }

    pub(super) fn idle(&self) -> Duration {
        self.used.lock().elapsed()
    }

    pub(super) fn is_here(&self) -> bool {
        self.is_here.load(Ordering::SeqCst)
    }

    pub(super) fn set(&self, is_here: bool) {
        self.is_here.store(is_here, Ordering::SeqCst);
    }

    /// Until the result is dropped, it neither comes nor goes but by whoever holds it.
    pub(super) async fn moving(&self) -> MutexGuard<'_, ()> {
        self.moving.lock().await
    }
}
