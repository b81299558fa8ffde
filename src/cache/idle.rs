//! Caches that nobody uses keep what they have learned and decided on disk, and it is read again when somebody does.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::cache::Cache;
use super::learning::FlushMode;
use super::registry::Caches;
use super::residence::IN_USE;
use crate::store::StoreError;
use crate::telemetry;

/// A cache that nobody has used for so long needs no memory. Arbitrary.
const IDLE: Duration = Duration::from_secs(3600);

impl Cache {
    /// Somebody uses the cache: what it has learned is in memory afterwards, for a minute at least.
    ///
    /// # Errors
    /// The store's.
    pub async fn wake(&self) -> Result<(), StoreError> {
        if self.residence.used_now() {
            return Ok(());
        }
        let _one = self.residence.moving().await;
        if !self.residence.is_here() {
            self.restore_learned().await?;
            self.recall_decisions().await?;
            self.residence.set(true);
        }
        Ok(())
    }

    /// Writes out what the cache has learned and decided, and drops it, unless somebody has used it within `idle`.
    pub(super) async fn rest(&self, idle: Duration) -> Result<bool, StoreError> {
        let _one = self.residence.moving().await;
        if !self.residence.is_here() || self.residence.idle() < idle || !self.learning.tasks.is_empty() {
            return Ok(false);
        }
        self.save_learned(FlushMode::All).await?;
        self.save_decisions().await?;
        // Whoever comes from now on waits until it is here again.
        self.residence.set(false);
        if self.residence.idle() < idle {
            self.residence.set(true);
            return Ok(false);
        }
        self.learning.drop_all();
        Ok(true)
    }
}

impl Caches {
    /// Sees to it that what caches have learned and decided takes no more memory than `max_bytes`, as far as it isn't in use, and that
    /// what is idle takes none.
    ///
    /// # Errors
    /// The store's.
    pub async fn keep_within(&self, max_bytes: u64) -> Result<(), StoreError> {
        let caches = self.registered().into_iter().filter(|cache| cache.residence.is_here());
        let mut here: Vec<(u64, Arc<Cache>)> = caches.map(|cache| (cache.learning.bytes(), cache)).collect();
        here.sort_by_key(|(_, cache)| Reverse(cache.residence.idle()));
        let mut held: u64 = here.iter().map(|(bytes, _)| bytes).sum();
        for (bytes, cache) in &here {
            let idle = if held > max_bytes { IN_USE } else { IDLE };
            if cache.residence.idle() >= idle && cache.rest(idle).await? {
                tracing::debug!(cache = cache.id(), bytes, "what an idle cache has learned was written out");
                held -= bytes;
            }
        }
        // All that is left is in use. Decisions are in the store as well.
        here.sort_by_key(|(bytes, _)| Reverse(*bytes));
        for (_, cache) in here {
            if held > max_bytes && cache.residence.is_here() {
                cache.save_decisions().await?;
                held -= cache.learning.shed_decisions(held - max_bytes).min(held);
            }
        }
        telemetry::learned(held);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{World, close, outcome, save};
    use super::*;
    use crate::cache::{About, Feedback};
    use crate::decide::Outcome;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_nobody_uses_is_written_out_and_comes_back_as_it_was() {
        let world = World::new();
        let caches = world.open().await;
        let cache = caches.get("t", "c").unwrap();
        let id = cache.save(save("How do I reset my password?", "Like so.")).await.unwrap();
        assert_eq!(outcome(&cache, "How can I reset my password?").await, Outcome::SemanticHit);
        let right = Feedback { about: About::Entry(id), correct: true };
        cache.feedback(right).await.unwrap();
        cache.settle().await;
        let before = (cache.learner_status(), cache.decisions());
        assert!(cache.learning.bytes() > 0 && before.1.len() == 1);
        assert!(!cache.rest(IN_USE).await.unwrap(), "it was used a moment ago");
        assert!(cache.rest(Duration::ZERO).await.unwrap());
        assert_eq!((cache.learning.bytes(), cache.decisions().len()), (0, 0));
        cache.wake().await.unwrap();
        assert_eq!((cache.learner_status(), cache.decisions()), before);
        assert!(cache.rest(Duration::ZERO).await.unwrap());
        assert_eq!(outcome(&cache, "How can I reset my password?").await, Outcome::SemanticHit, "a lookup wakes it");
        assert_eq!(cache.decisions().len(), 2);
        close(caches, cache).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn caches_that_are_in_use_give_up_decisions_and_keep_what_they_learned() {
        let world = World::new();
        let caches = world.open().await;
        let cache = caches.get("t", "c").unwrap();
        cache.save(save("How do I reset my password?", "Like so.")).await.unwrap();
        for _ in 0..50 {
            outcome(&cache, "How can I reset my password?").await;
        }
        let all = cache.learning.bytes();
        caches.keep_within(all).await.unwrap();
        assert_eq!(cache.decisions().len(), 50);
        let first = cache.decisions()[0].clone();
        caches.keep_within(all / 2).await.unwrap();
        let left = cache.decisions().len();
        assert!(left > 0 && left < 40, "{left}");
        assert!(cache.learning.bytes() <= all / 2);
        assert_eq!(cache.decision(first.decision.id).await.unwrap(), Some(first), "the store has it");
        close(caches, cache).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lookup_makes_no_cache_and_names_that_nobody_stores_into_take_no_room() {
        let world = World::new();
        let caches = world.open().await;
        let cache = caches.get("t", "kept").unwrap();
        for n in 0..12_000 {
            assert!(!caches.get("t", &format!("c{n}")).unwrap().is_registered());
        }
        assert!(caches.in_memory() <= 1002, "{}", caches.in_memory());
        assert_eq!(caches.list("t"), Vec::<String>::new());
        // It was held all the while, and is still the one that others get.
        cache.save(save("What is it?", "This.")).await.unwrap();
        assert!(Arc::ptr_eq(&cache, &caches.get("t", "kept").unwrap()));
        assert_eq!(caches.list("t"), ["kept"]);
        (0..3000).for_each(|n| drop(caches.get("u", &format!("c{n}")).unwrap()));
        assert!(Arc::ptr_eq(&cache, &caches.get("t", "kept").unwrap()));
        close(caches, cache).await;
    }
}
