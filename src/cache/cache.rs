//! One cache.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::RwLockReadGuard;

use super::distrust::{Distrust, Doubt};
use super::error::CacheError;
use super::judge::JudgeSlot;
use super::learning::{Learning, QUARANTINED};
use super::parsed_prompts::ParsedPrompts;
use super::pending::Pending;
use super::policy_change::History;
use super::registration::Registration;
use super::residence::Residence;
use super::setup::Setup;
use crate::decide::{Observation, PolicyParams, Statistics, Summary};
use crate::store::{CacheKey, CacheName, Entry, EntryId, Holdings, Store, Timestamp, write_state};
use crate::telemetry::{self, CacheLabels};

/// The version of what is written of statistics.
pub(super) const STATISTICS_VERSION: u8 = 1;

/// A named collection of entries with its own policy, owned by a tenant.
pub struct Cache {
    pub(super) name: CacheName,
    pub(super) key: CacheKey,
    pub(super) store: Arc<dyn Store>,
    pub(super) setup: ArcSwap<Setup>,
    pub(super) registration: Registration,
    pub(super) residence: Residence,
    /// Whether it was removed, by whoever looks at it while they store something: a removal waits for them.
    pub(super) is_removed: tokio::sync::RwLock<bool>,
    /// What was lost that near texts can't be answered without.
    pub(super) distrust: Distrust,
    pub(super) pending: Pending,
    pub(super) learning: Arc<Learning>,
    pub(super) prompts: Arc<ParsedPrompts>,
    pub(super) judge: JudgeSlot,
    pub(super) history: Mutex<History>,
    /// Held while a change of the policy is made durable: one at a time.
    pub(super) tuning: tokio::sync::Mutex<()>,
    pub(super) statistics: Mutex<Rolling>,
}

/// Rolling counts of lookups.
#[derive(Default)]
pub(super) struct Rolling {
    pub(super) statistics: Statistics,
    pub(super) unsaved: bool,
}

impl Cache {
    /// Whose it is, and its `cacheId`.
    #[must_use]
    pub fn name(&self) -> &CacheName {
        &self.name
    }

    /// Its `cacheId`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.name.id
    }

    /// How its policy is set, if that learns.
    pub(super) fn policy_params(&self) -> Option<PolicyParams> {
        self.setup.load().policy.params().copied()
    }

    pub(super) fn history(&self) -> History {
        self.history.lock().clone()
    }

    pub(super) fn setup(&self) -> Arc<Setup> {
        self.setup.load_full()
    }

    /// Request fields that don't separate scopes.
    #[must_use]
    pub fn ignored_fields(&self) -> Arc<[String]> {
        Arc::clone(&self.setup.load().ignored_fields)
    }

    /// Of its metrics.
    #[must_use]
    pub fn labels(&self) -> &CacheLabels {
        self.learning.labels()
    }

    /// Whether the settings name it, rather than somebody who asks for it.
    fn is_configured(&self) -> bool {
        self.setup.load().is_configured
    }

    /// Why near texts aren't answered whatever the policy says, if they aren't: something was lost that they can't be answered without.
    #[must_use]
    pub fn distrust(&self) -> Option<&'static str> {
        self.distrust.reason()
    }

    /// Its rolling counts now.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.statistics.lock().statistics.summary(Timestamp::now().0)
    }

    /// Whether it may hold curated entries. Most caches hold none, and needn't find out which of them could answer.
    #[must_use]
    pub fn may_hold_curated(&self) -> bool {
        self.store.may_hold_curated(self.key)
    }

    /// What it holds.
    #[must_use]
    pub fn holdings(&self) -> Holdings {
        self.store.holdings(self.key)
    }

    /// The entry of `id`.
    ///
    /// # Errors
    /// The store's.
    pub async fn entry(&self, id: EntryId) -> Result<Option<Entry>, CacheError> {
        Ok(self.store.get(self.key, id, Timestamp::now()).await?)
    }

    /// Removes an entry and tells whether it was there.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete(&self, id: EntryId) -> Result<bool, CacheError> {
        Ok(self.store.delete(self.key, id, Timestamp::now()).await?)
    }

    /// Removes every entry.
    ///
    /// # Errors
    /// The store's.
    pub async fn flush(&self) -> Result<(), CacheError> {
        self.store.flush(self.key).await?;
        if self.distrust.reason().is_some() {
            // There is nothing left that could have been reported.
            self.store.save_state(self.key, QUARANTINED, Vec::new()).await?;
            self.distrust.remove(Doubt::Quarantines);
        }
        Ok(())
    }

    /// Whether the store knows of this cache.
    pub(super) fn is_registered(&self) -> bool {
        self.registration.is_registered()
    }

    /// Tells the store of this cache, once.
    ///
    /// # Errors
    /// [`CacheError::TooMany`], and the store's.
    pub(super) async fn register(&self) -> Result<(), CacheError> {
        if !self.is_registered() {
            self.registration.check()?;
            self.store.add_cache(&self.name).await?;
            self.registration.set(true);
            self.set_limits();
        }
        Ok(())
    }

    /// Tells the store how much the cache may take. Of a cache that was never stored into, the store knows nothing.
    pub(super) fn set_limits(&self) {
        if self.is_registered() {
            let settings = &self.setup.load().settings;
            let most = settings.max_bytes.map_or(u64::MAX, |most| most.bytes() as u64);
            self.store.limit(self.key, most, settings.max_curated_bytes().bytes() as u64);
        }
    }

    /// Counts a lookup.
    pub(super) fn observe(&self, seen: &Observation) {
        let has_own = self.is_registered() || self.is_configured();
        let labels = if has_own { self.labels() } else { CacheLabels::unstored() };
        telemetry::lookup(labels, seen.outcome.name());
        let rolling = &mut *self.statistics.lock();
        rolling.statistics.observe(Timestamp::now().0, seen);
        rolling.unsaved = true;
    }

    pub(super) fn take_unsaved(&self) -> Option<Vec<u8>> {
        let rolling = &mut *self.statistics.lock();
        if !std::mem::take(&mut rolling.unsaved) {
            return None;
        }
        write_state(STATISTICS_VERSION, &rolling.statistics)
    }

    /// While the result is held, the cache isn't removed.
    ///
    /// # Errors
    /// [`CacheError::NoSuchCache`] where it was.
    pub(super) async fn kept(&self) -> Result<RwLockReadGuard<'_, bool>, CacheError> {
        let is_removed = self.is_removed.read().await;
        if *is_removed { Err(CacheError::NoSuchCache(self.name.id.clone())) } else { Ok(is_removed) }
    }
}
