//! Chance.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// From 0 to 1, evenly.
pub(crate) fn sample() -> f64 {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let bits = STATE.hash_one(COUNT.fetch_add(1, Ordering::Relaxed)) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let sample = bits as f64 / (1u64 << 53) as f64;
    sample
}
