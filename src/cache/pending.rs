//! Answers that are on their way into the store.
//!
//! An answer is stored behind the reply that carries it, so whoever asks again at once could come before it is there.
//! Lookups therefore wait for the saves that began before them: for the same text, and, where they search by meaning, in
//! the same scope. They wait milliseconds, and not at all where nothing is under way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::store::{ScopeKey, TextHash};

/// A lookup that waited this long goes on without; the save is stuck behind something else.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Clone)]
struct Save {
    texts: Arc<[TextHash]>,
    number: u64,
    done: CancellationToken,
}

#[derive(Default)]
struct Saves {
    by_scope: HashMap<ScopeKey, Vec<Save>>,
    begun: u64,
}

/// The saves under way in one cache.
#[derive(Default)]
pub(super) struct Pending(Arc<Mutex<Saves>>);

/// A save that has begun. Lookups stop waiting for it when it is dropped.
pub struct PendingSave {
    saves: Arc<Mutex<Saves>>,
    scope: ScopeKey,
    number: u64,
    done: CancellationToken,
}

/// The saves that a lookup found under way when it began.
pub(super) struct Before(Vec<Save>);

impl Pending {
    /// Answers to these texts are about to be saved.
    pub(super) fn begin(&self, scope: ScopeKey, texts: impl Into<Arc<[TextHash]>>) -> PendingSave {
        let done = CancellationToken::new();
        let saves = &mut *self.0.lock();
        saves.begun += 1;
        let number = saves.begun;
        saves.by_scope.entry(scope).or_default().push(Save { texts: texts.into(), number, done: done.clone() });
        PendingSave { saves: Arc::clone(&self.0), scope, number, done }
    }

    pub(super) fn before_now(&self, scope: ScopeKey) -> Before {
        Before(self.0.lock().by_scope.get(&scope).cloned().unwrap_or_default())
    }
}

impl Before {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) async fn of_text(&self, text: TextHash) {
        wait(self.0.iter().filter(|save| save.texts.contains(&text))).await;
    }

    pub(super) async fn of_any(&self, texts: &HashSet<TextHash>) {
        wait(self.0.iter().filter(|save| save.texts.iter().any(|text| texts.contains(text)))).await;
    }

    pub(super) async fn all(&self) {
        wait(self.0.iter()).await;
    }
}

async fn wait<'s>(saves: impl Iterator<Item = &'s Save>) {
    let all = async {
        for save in saves {
            save.done.cancelled().await;
        }
    };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        tracing::warn!("a lookup went on before the saves that it waited for");
    }
}

impl Drop for PendingSave {
    fn drop(&mut self) {
        let by_scope = &mut self.saves.lock().by_scope;
        if let Some(of_scope) = by_scope.get_mut(&self.scope) {
            of_scope.retain(|save| save.number != self.number);
            if of_scope.is_empty() {
                by_scope.remove(&self.scope);
            }
        }
        self.done.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::CacheKey;

    #[tokio::test(start_paused = true)]
    async fn a_lookup_waits_for_what_began_before_it_and_no_longer() {
        let pending = Pending::default();
        let scope = ScopeKey::new(CacheKey::new("t", "c"), &[0; 32]);
        let (a, b, c) = (TextHash::of("a"), TextHash::of("b"), TextHash::of("c"));
        let first = pending.begin(scope, [a]);
        let before = pending.before_now(scope);
        let later = pending.begin(scope, [c, a]);

        before.of_text(b).await;
        before.of_any(&HashSet::from([b, c])).await;
        let mut waiting = Box::pin(before.of_text(a));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(first);
        waiting.await;
        assert!(!pending.before_now(scope).is_empty());
        let before = pending.before_now(scope);
        let (wanted, unwanted) = (HashSet::from([b, c]), HashSet::from([b]));
        before.of_any(&unwanted).await;
        let mut waiting = Box::pin(before.of_any(&wanted));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(later);
        waiting.await;
        assert!(pending.before_now(scope).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_save_holds_nobody_up_for_long() {
        let pending = Pending::default();
        let scope = ScopeKey::new(CacheKey::new("t", "c"), &[0; 32]);
        let _stuck = pending.begin(scope, [TextHash::of("a")]);
        let started = tokio::time::Instant::now();
        pending.before_now(scope).all().await;
        assert_eq!(started.elapsed(), PATIENCE);
    }
}
