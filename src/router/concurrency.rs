//! How many requests a target works on at once, and how many wait for it.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How many may be let in, if there is a bound, and how many may wait then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Capacity {
    pub(super) most: Option<NonZero<usize>>,
    pub(super) queue: usize,
}

/// Lets so many in, and so many wait.
#[derive(Debug, Default)]
pub(super) struct ConcurrencyLimit {
    capacity: Capacity,
    places: Option<Arc<Semaphore>>,
    waiting: AtomicUsize,
}

/// A permit, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit(#[expect(dead_code, reason = "held")] Option<OwnedSemaphorePermit>);

/// Nobody else may wait, or waiting took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl ConcurrencyLimit {
    pub(super) fn new(capacity: Capacity) -> Self {
        let places = capacity.most.map(|most| Arc::new(Semaphore::new(most.get())));
        Self { capacity, places, waiting: AtomicUsize::new(0) }
    }

    pub(super) fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// A permit, at once or before `deadline`.
    pub(super) async fn enter(&self, deadline: Instant) -> Result<Permit, Full> {
        let Self { capacity, places: Some(places), waiting } = self else { return Ok(Permit(None)) };
        if let Ok(permit) = Arc::clone(places).try_acquire_owned() {
            return Ok(Permit(Some(permit)));
        }
        if waiting.fetch_add(1, Ordering::Relaxed) >= capacity.queue {
            waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Full);
        }
        // Who goes away while waiting leaves the queue.
        let _leaves = Leaves(waiting);
        let entered = tokio::time::timeout_at(deadline, Arc::clone(places).acquire_owned()).await;
        entered.ok().and_then(Result::ok).map(|permit| Permit(Some(permit))).ok_or(Full)
    }
}

struct Leaves<'w>(&'w AtomicUsize);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_are_let_in_so_many_wait_and_the_rest_is_turned_away() {
        let limit = ConcurrencyLimit::new(Capacity { most: NonZero::new(1), queue: 1 });
        let deadline = Instant::now() + Duration::from_secs(1);
        let first = limit.enter(deadline).await.unwrap();
        let mut second = Box::pin(limit.enter(deadline));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(limit.enter(deadline).await.unwrap_err(), Full);
        drop(first);
        let second = second.await.unwrap();
        let third = Box::pin(limit.enter(deadline));
        assert_eq!(third.await.unwrap_err(), Full);
        assert_eq!(Instant::now(), deadline);
        let mut gone = Box::pin(limit.enter(deadline + Duration::from_secs(1)));
        assert!(futures_util::poll!(&mut gone).is_pending());
        drop(gone);
        drop(second);
        assert!(limit.enter(deadline).await.is_ok());
        assert!(ConcurrencyLimit::default().enter(deadline).await.is_ok());
    }
}
