//! The caches of all tenants.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;

use super::cache::Cache;
use super::distrust::Distrust;
use super::error::{CacheError, OpenError};
use super::judge::{Judge, JudgeSlot};
use super::learning::{FlushMode, Learning};
use super::parsed_prompts::ParsedPrompts;
use super::pending::Pending;
use super::policy_change::{History, Tuning};
use super::reembedding::Reembedding;
use super::registration::Registrations;
use super::residence::Residence;
use super::setup::{self, Setup};
use super::table::CacheTable;
use crate::config::{DEFAULT_CACHE, Settings};
use crate::decide::ModelPrior;
use crate::embed::{Embedder, Manifest, ModelDigest, ModelIdentity};
use crate::store::{CacheKey, CacheName, Loss, Store, StoreError};

/// Characters of the longest `cacheId`.
const MAX_NAME: usize = 128;
/// Texts of all imports together that are embedded at a time: so few that others find room in the queue.
pub(super) const EMBEDDED_AT_ONCE: usize = 32;
/// Where changes of a policy are kept in the store.
pub(super) const CHANGES: &str = "changes";
/// Where a cache's statistics are kept in the store.
pub(super) const STATISTICS: &str = "statistics";

/// All caches of all tenants.
pub struct Caches {
    settings: ArcSwap<Settings>,
    /// The model that the settings name, and whose cosines the thresholds in them are.
    named: ModelDigest,
    store: Arc<dyn Store>,
    embedder: ArcSwap<Embedder>,
    /// What the embedder's model comes with.
    prior: ArcSwap<ModelPrior>,
    /// A permit for each text of an import that may be embedded.
    pub(super) importing: Semaphore,
    /// What makes the vectors of all entries anew, if it was ever asked to.
    pub(super) reembedding: Mutex<Option<Reembedding>>,
    caches: RwLock<CacheTable>,
    /// Caches that were stored into.
    registrations: Registrations,
    /// Held while a cache is made or removed by name: one at a time.
    pub(super) lifecycle: tokio::sync::Mutex<()>,
    prompts: Arc<ParsedPrompts>,
    judge: JudgeSlot,
    /// What decides, with a count, which would-be hits are audited; see [`Caches::open_with_draws`].
    salt: u64,
}

impl Caches {
    /// Knows the caches that the store holds, with the statistics that were saved.
    ///
    /// # Errors
    /// Where the store can't be read, or a cache's policy needs a threshold that neither the settings nor the model give.
    ///
    /// `named` is the model that the settings name. Another one may embed until its vectors are made anew.
    pub async fn open(
        settings: Arc<Settings>,
        named: ModelDigest,
        store: Arc<dyn Store>,
        embedder: Embedder,
    ) -> Result<Self, OpenError> {
        Self::open_with_draws(settings, named, store, embedder, uuid::Uuid::now_v7().as_u64_pair().1).await
    }

    /// The same with draws (which would-be hits are audited) that are the same every time, for replays.
    ///
    /// # Errors
    /// As [`open`](Self::open)'s.
    pub async fn open_with_draws(
        settings: Arc<Settings>,
        named: ModelDigest,
        store: Arc<dyn Store>,
        embedder: Embedder,
        salt: u64,
    ) -> Result<Self, OpenError> {
        let caches = Self {
            settings: ArcSwap::new(settings),
            named,
            store,
            prior: ArcSwap::new(setup::prior_of(&embedder)),
            embedder: ArcSwap::from_pointee(embedder),
            reembedding: Mutex::default(),
            importing: Semaphore::new(EMBEDDED_AT_ONCE),
            caches: RwLock::default(),
            registrations: Registrations::default(),
            lifecycle: tokio::sync::Mutex::default(),
            prompts: Arc::default(),
            judge: JudgeSlot::default(),
            salt,
        };
        let embedder = caches.embedder();
        if embedder.identity().digest == caches.named {
            caches.check_thresholds(&caches.settings(), embedder.identity(), embedder.manifest())?;
        }
        for name in caches.store.caches().await? {
            let cache = caches.caches.write().add(caches.build(name, true));
            if caches.store.loss() == Loss::Suspected {
                cache.suspect_lost_reports().await?;
            }
            caches.restore(&cache).await?;
        }
        caches.store.loss_is_known().await?;
        Ok(caches)
    }

    /// `tenant`'s cache `id`, where it may spring into being. It does with its first entry; until then, nothing is kept of it.
    ///
    /// # Errors
    /// [`CacheError::Unknown`], [`CacheError::BadName`]
    pub fn get(&self, tenant: &str, id: &str) -> Result<Arc<Cache>, CacheError> {
        let key = CacheKey::new(tenant, id);
        if let Some(cache) = self.caches.read().get(&key) {
            return Ok(Arc::clone(cache));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if id.is_empty() || id.len() > MAX_NAME || !id.chars().all(allowed) {
            return Err(CacheError::BadName);
        }
        let settings = self.settings();
        let is_configured = id == DEFAULT_CACHE || settings.caches.contains_key(id);
        if !is_configured && !settings.server.create_caches {
            return Err(CacheError::Unknown(id.to_owned()));
        }
        Ok(self.make(tenant, id))
    }

    /// `tenant`'s cache `id`, made whatever the settings say.
    pub(super) fn make(&self, tenant: &str, id: &str) -> Arc<Cache> {
        let name = CacheName { tenant: tenant.to_owned(), id: id.to_owned() };
        // While settings change, this waits: it would set up what they were before.
        let caches = &mut *self.caches.write();
        caches.add(self.build(name, false))
    }

    /// A cache is gone. Whoever asks for it from now on gets another one, if any.
    pub(super) fn forget(&self, cache: CacheKey) {
        self.caches.write().remove(&cache);
    }

    /// The ids of `tenant`'s caches that have been stored into, sorted.
    #[must_use]
    pub fn list(&self, tenant: &str) -> Vec<String> {
        let caches = self.caches.read();
        let mut ids: Vec<String> = caches
            .registered()
            .filter(|cache| cache.name.tenant == tenant)
            .map(|cache| cache.name.id.clone())
            .collect();
        ids.sort();
        ids
    }

    /// The caches that answer equal texts only, because something was lost, each with the reason.
    #[must_use]
    pub fn distrusted(&self) -> Vec<(CacheName, &'static str)> {
        let caches = self.caches.read();
        caches.all().filter_map(|cache| Some((cache.name.clone(), cache.distrust()?))).collect()
    }

    /// Entries of all caches, or of one.
    #[must_use]
    pub fn entries(&self, only: Option<&CacheName>) -> usize {
        let caches = self.caches.read();
        let counted = caches.all().filter(|cache| only.is_none_or(|only| cache.name == *only));
        counted.map(|cache| cache.holdings().entries).sum()
    }

    pub(super) fn name(&self, key: CacheKey) -> Option<CacheName> {
        self.caches.read().get(&key).map(|cache| cache.name.clone())
    }

    /// The caches that were stored into.
    pub(super) fn registered(&self) -> Vec<Arc<Cache>> {
        self.caches.read().registered().cloned().collect()
    }

    /// Caches that take memory.
    #[cfg(test)]
    pub(super) fn in_memory(&self) -> usize {
        self.caches.read().all().count()
    }

    /// Writes statistics and what was learned that changed since they were last saved.
    ///
    /// # Errors
    /// The store's; what couldn't be saved is saved the next time.
    pub async fn save_statistics(&self, haste: FlushMode) -> Result<(), StoreError> {
        for cache in self.registered() {
            if let Some(bytes) = cache.take_unsaved()
                && let Err(error) = self.store.save_state(cache.key, STATISTICS, bytes).await
            {
                cache.statistics.lock().unsaved = true;
                return Err(error);
            }
            cache.save_learned(haste).await?;
            cache.save_decisions().await?;
        }
        Ok(())
    }

    /// Until all labels that are known have been learned from.
    pub async fn settle(&self) {
        for cache in self.registered() {
            cache.settle().await;
        }
    }

    /// From now on `judge` is asked whether answers say the same, where nothing else tells. The first one stays.
    pub fn judged_by(&self, judge: Arc<dyn Judge>) {
        if self.judge.set(judge).is_err() {
            tracing::warn!("there is a judge already");
        }
    }

    /// Forgets decisions: nothing follows from those of another model's cosines.
    pub(super) async fn forget_decisions(&self) {
        for cache in self.registered() {
            if let Err(error) = self.store.forget_decisions(cache.key).await {
                tracing::warn!(%error, "decisions with the model before can't be forgotten");
            }
        }
    }

    /// Takes up the decisions from before a restart, so that they can be looked at together.
    pub async fn recall_decisions(&self) {
        for cache in self.registered() {
            if let Err(error) = cache.recall_decisions().await {
                tracing::warn!(cache = cache.id(), %error, "decisions from before can't be read");
            }
        }
    }

    /// The embedder that all caches share.
    #[must_use]
    pub fn embedder(&self) -> Arc<Embedder> {
        self.embedder.load_full()
    }

    /// What the operator set.
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// From now on the caches are as `settings` say; changes that were made to them while they ran still count. What else
    /// `settings` say isn't looked at.
    ///
    /// # Errors
    /// Where a policy needs a threshold that nothing gives; nothing has changed then.
    pub fn reconfigure(&self, settings: &Settings) -> Result<(), OpenError> {
        let settings = Arc::new(Settings { caches: settings.caches.clone(), ..Settings::clone(&self.settings()) });
        let embedder = self.embedder();
        if embedder.identity().digest == self.named {
            self.check_thresholds(&settings, embedder.identity(), embedder.manifest())?;
        }
        // A cache that is being made meanwhile waits for this lock, and then sees the new ones.
        let caches = self.caches.write();
        self.settings.store(settings);
        for cache in caches.all() {
            self.set_up(cache, &cache.history().current());
        }
        Ok(())
    }

    /// All lookups that begin from now on are made with `embedder`, and with the rules that belong to its model.
    pub(super) fn embed_with(&self, embedder: Embedder) {
        self.prior.store(setup::prior_of(&embedder));
        self.embedder.store(Arc::new(embedder));
        // A cache that is being made meanwhile waits for this lock, and then sees the new one.
        for cache in self.caches.write().all() {
            cache.learning.forget();
            self.set_up(cache, &cache.history().current());
        }
    }

    /// The store that all caches share.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn build(&self, name: CacheName, is_registered: bool) -> Cache {
        let setup = self.setup(&name.id, &Tuning::default());
        let key = CacheKey::new(&name.tenant, &name.id);
        let cache = Cache {
            key,
            store: Arc::clone(&self.store),
            registration: self.registrations.of(is_registered),
            residence: Residence::default(),
            is_removed: tokio::sync::RwLock::default(),
            distrust: Distrust::default(),
            pending: Pending::default(),
            learning: Arc::new(Learning::new(&name, setup.keep_decisions_millis(), self.salt)),
            setup: ArcSwap::from_pointee(setup),
            prompts: Arc::clone(&self.prompts),
            judge: JudgeSlot::clone(&self.judge),
            history: Mutex::default(),
            tuning: tokio::sync::Mutex::default(),
            statistics: Mutex::default(),
            name,
        };
        cache.set_limits();
        cache
    }

    /// From now on `cache`'s policy is what the last of `history` says.
    pub(super) fn take_up(&self, cache: &Cache, history: History) {
        // While settings change, this waits: it would set up what they were before.
        let _caches = self.caches.read();
        let tuning = history.current();
        *cache.history.lock() = history;
        self.set_up(cache, &tuning);
    }

    /// Lookups of `cache` that begin from now on are made as the settings and `tuning` say.
    fn set_up(&self, cache: &Cache, tuning: &Tuning) {
        let setup = self.setup(cache.id(), tuning);
        cache.learning.keep_decisions(setup.keep_decisions_millis());
        cache.setup.store(Arc::new(setup));
        cache.set_limits();
    }

    /// Whether a cache has all that it needs with these changes.
    pub(super) fn is_workable(&self, cache: &Cache, tuning: &Tuning) -> bool {
        let embedder = self.embedder();
        let settings = tuning.over(self.settings().cache(cache.id()));
        setup::policy(&settings, (embedder.identity(), embedder.manifest()), &self.prior.load(), &self.named).is_some()
    }

    fn setup(&self, id: &str, tuning: &Tuning) -> Setup {
        let all = self.settings();
        let is_configured = id == DEFAULT_CACHE || all.caches.contains_key(id);
        Setup::new(
            (tuning.over(all.cache(id)), is_configured),
            Embedder::clone(&self.embedder()),
            self.prior.load_full(),
            &self.named,
        )
    }

    /// # Errors
    /// Where a cache's policy needs a threshold that neither the settings nor the model give.
    pub(super) fn check_thresholds(
        &self,
        settings: &Settings,
        model: &ModelIdentity,
        manifest: &Manifest,
    ) -> Result<(), OpenError> {
        for id in settings.caches.keys().map(String::as_str).chain([DEFAULT_CACHE]) {
            if setup::policy(&settings.cache(id), (model, manifest), &self.prior.load(), &self.named).is_none() {
                return Err(OpenError::NoThreshold(id.to_owned(), model.name.clone()));
            }
        }
        Ok(())
    }
}
