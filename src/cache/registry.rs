//! The caches of all tenants.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;

use super::judge::Judge;
use super::known::Memory;
use super::learning::{FlushMode, Learning};
use super::pending::Pending;
use super::reembed::Reembedding;
use super::transfer::EMBEDDED_AT_ONCE;
use super::tuning::{CHANGES, History, Tuning};
use super::{CacheError, MAX_CACHES, MAX_NAME};
use crate::config::{CacheSettings, DEFAULT_CACHE, Policy, Settings, Span};
use crate::decide::{Beliefs, ErrorBudget, Observation, Rule, Statistics, Summary, Terms};
use crate::embed::{Cosine, Embedder, Manifest, ModelDigest, ModelIdentity};
use crate::store::{CacheKey, CacheName, Entry, EntryId, Holdings, Store, StoreError, Timestamp};
use crate::telemetry;

/// Where a cache's statistics are kept in the store.
const STATISTICS: &str = "statistics";

/// Who says whether two answers say the same, once there is somebody.
pub(super) type JudgeSlot = Arc<std::sync::OnceLock<Arc<dyn Judge>>>;

/// All caches of all tenants.
pub struct Caches {
    settings: ArcSwap<Settings>,
    /// The model that the settings name, and whose cosines the thresholds in them are.
    named: ModelDigest,
    store: Arc<dyn Store>,
    embedder: ArcSwap<Embedder>,
    /// What the embedder's model comes with.
    beliefs: ArcSwap<Beliefs>,
    /// A permit for each text of an import that may be embedded.
    pub(super) importing: Semaphore,
    /// What makes the vectors of all entries anew, if it was ever asked to.
    pub(super) reembedding: Mutex<Option<Reembedding>>,
    caches: RwLock<HashMap<CacheKey, Arc<Cache>>>,
    /// Held while a cache is made or removed by name: one at a time.
    pub(super) lifecycle: tokio::sync::Mutex<()>,
    known: Arc<Memory>,
    judge: JudgeSlot,
    /// What decides, with a count, which would-be hits are audited; see [`Caches::open_with_draws`].
    salt: u64,
}

/// A named collection of entries with its own policy, owned by a tenant.
pub struct Cache {
    pub(super) name: CacheName,
    pub(super) key: CacheKey,
    pub(super) store: Arc<dyn Store>,
    setup: ArcSwap<Setup>,
    /// Whether the store knows of this cache.
    pub(super) registered: AtomicBool,
    /// Whether it was removed, by whoever looks at it while they store something: a removal waits for them.
    pub(super) is_removed: tokio::sync::RwLock<bool>,
    pub(super) pending: Pending,
    pub(super) learning: Arc<Learning>,
    pub(super) known: Arc<Memory>,
    pub(super) judge: JudgeSlot,
    history: Mutex<History>,
    /// Held while a change of the policy is made durable: one at a time.
    pub(super) tuning: tokio::sync::Mutex<()>,
    statistics: Mutex<Rolling>,
}

/// What a cache's lookups are made with. All of it belongs together: a threshold is one of a model's cosines.
pub(super) struct Setup {
    pub(super) embedder: Embedder,
    pub(super) rule: Rule,
    /// What the model's cosines are worth before there are labels.
    pub(super) beliefs: Arc<Beliefs>,
    /// What the rule was made of, and all else that is set for the cache.
    pub(super) settings: CacheSettings,
    ignored_fields: Arc<[String]>,
}

impl Setup {
    /// How long entries live by default, in milliseconds.
    pub(super) fn ttl_millis(&self) -> u64 {
        millis(self.settings.ttl())
    }
}

#[derive(Default)]
struct Rolling {
    statistics: Statistics,
    unsaved: bool,
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
            beliefs: ArcSwap::new(beliefs(&embedder)),
            embedder: ArcSwap::from_pointee(embedder),
            reembedding: Mutex::default(),
            importing: Semaphore::new(EMBEDDED_AT_ONCE),
            caches: RwLock::default(),
            lifecycle: tokio::sync::Mutex::default(),
            known: Arc::default(),
            judge: JudgeSlot::default(),
            salt,
        };
        let embedder = caches.embedder();
        if embedder.identity().digest == caches.named {
            caches.check_thresholds(&caches.settings(), embedder.identity(), embedder.manifest())?;
        }
        for name in caches.store.caches().await? {
            let cache = caches.build(name, true);
            let saved = caches.store.load_state(cache.key, STATISTICS).await?;
            match saved.map(|bytes| postcard::from_bytes(&bytes)).transpose() {
                Ok(statistics) => cache.statistics.lock().statistics = statistics.unwrap_or_default(),
                // Counts are not worth refusing to start for.
                Err(error) => {
                    tracing::warn!(cache = cache.name.id, %error, "saved statistics are unreadable; starting anew");
                }
            }
            cache.restore_learned().await?;
            let cache = Arc::new(cache);
            if let Some(bytes) = caches.store.load_state(cache.key, CHANGES).await? {
                match postcard::from_bytes(&bytes) {
                    Ok(history) => caches.take_up(&cache, history),
                    Err(error) => {
                        tracing::error!(cache = cache.name.id, %error, "changes of the policy are unreadable; the settings count");
                    }
                }
            }
            caches.caches.write().insert(cache.key, cache);
        }
        Ok(caches)
    }

    /// `tenant`'s cache `id`, made where it may spring into being. The store hears of it with its first entry.
    ///
    /// # Errors
    /// [`CacheError::Unknown`], [`CacheError::BadName`], [`CacheError::TooMany`]
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
        let configured = id == DEFAULT_CACHE || settings.caches.contains_key(id);
        if !configured && !settings.server.create_caches {
            return Err(CacheError::Unknown(id.to_owned()));
        }
        self.add(tenant, id, configured)
    }

    /// `tenant`'s cache `id`, made whatever the settings say.
    pub(super) fn make(&self, tenant: &str, id: &str) -> Result<Arc<Cache>, CacheError> {
        self.add(tenant, id, false)
    }

    fn add(&self, tenant: &str, id: &str, configured: bool) -> Result<Arc<Cache>, CacheError> {
        let caches = &mut *self.caches.write();
        if !configured && caches.len() >= MAX_CACHES {
            return Err(CacheError::TooMany);
        }
        let name = CacheName { tenant: tenant.to_owned(), id: id.to_owned() };
        let key = CacheKey::new(tenant, id);
        Ok(Arc::clone(caches.entry(key).or_insert_with(|| Arc::new(self.build(name, false)))))
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
            .values()
            .filter(|cache| cache.name.tenant == tenant && cache.is_registered())
            .map(|cache| cache.name.id.clone())
            .collect();
        ids.sort();
        ids
    }

    /// Entries of all caches, or of one.
    #[must_use]
    pub fn entries(&self, only: Option<&CacheName>) -> usize {
        let caches = self.caches.read();
        let counted = caches.values().filter(|cache| only.is_none_or(|only| cache.name == *only));
        counted.map(|cache| cache.holdings().entries).sum()
    }

    pub(super) fn name(&self, key: CacheKey) -> Option<CacheName> {
        self.caches.read().get(&key).map(|cache| cache.name.clone())
    }

    /// Writes statistics and what was learned that changed since they were last saved.
    ///
    /// # Errors
    /// The store's; what couldn't be saved is saved the next time.
    pub async fn save_statistics(&self, haste: FlushMode) -> Result<(), StoreError> {
        let caches: Vec<_> = self.caches.read().values().cloned().collect();
        for cache in caches {
            if !cache.is_registered() {
                continue;
            }
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

    /// From now on `judge` is asked whether answers say the same, where nothing else tells. The first one stays.
    pub fn judged_by(&self, judge: Arc<dyn Judge>) {
        if self.judge.set(judge).is_err() {
            tracing::warn!("there is a judge already");
        }
    }

    /// Forgets decisions: nothing follows from those of another model's cosines.
    pub(super) async fn forget_decisions(&self) {
        let keys: Vec<CacheKey> = self.caches.read().keys().copied().collect();
        for key in keys {
            if let Err(error) = self.store.forget_decisions(key).await {
                tracing::warn!(%error, "decisions with the model before can't be forgotten");
            }
        }
    }

    /// Takes up the decisions from before a restart, so that they can be looked at together.
    pub async fn recall_decisions(&self) {
        let caches: Vec<_> = self.caches.read().values().cloned().collect();
        for cache in caches {
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
        for cache in caches.values() {
            self.set_up(cache, &cache.history().current());
        }
        Ok(())
    }

    /// All lookups that begin from now on are made with `embedder`, and with the rules that belong to its model.
    pub(super) fn embed_with(&self, embedder: Embedder) {
        self.beliefs.store(beliefs(&embedder));
        self.embedder.store(Arc::new(embedder));
        // A cache that is being made meanwhile waits for this lock, and then sees the new one.
        for cache in self.caches.write().values() {
            cache.learning.forget();
            self.set_up(cache, &cache.history().current());
        }
    }

    /// The store that all caches share.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn build(&self, name: CacheName, registered: bool) -> Cache {
        let setup = self.setup(&name.id, &Tuning::default());
        let key = CacheKey::new(&name.tenant, &name.id);
        self.limit(key, &setup.settings);
        Cache {
            key,
            store: Arc::clone(&self.store),
            registered: registered.into(),
            is_removed: tokio::sync::RwLock::default(),
            pending: Pending::default(),
            learning: Arc::new(Learning::new(&name.id, millis(setup.settings.keep_decisions()), self.salt)),
            setup: ArcSwap::from_pointee(setup),
            known: Arc::clone(&self.known),
            judge: JudgeSlot::clone(&self.judge),
            history: Mutex::default(),
            tuning: tokio::sync::Mutex::default(),
            statistics: Mutex::default(),
            name,
        }
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
        self.limit(cache.key, &setup.settings);
        cache.learning.keep_decisions(millis(setup.settings.keep_decisions()));
        cache.setup.store(Arc::new(setup));
    }

    fn limit(&self, cache: CacheKey, settings: &CacheSettings) {
        let most = settings.max_bytes.map_or(u64::MAX, |most| most.bytes() as u64);
        self.store.limit(cache, most, settings.max_curated_bytes().bytes() as u64);
    }

    /// Whether a cache has all that it needs with these changes.
    pub(super) fn is_workable(&self, cache: &Cache, tuning: &Tuning) -> bool {
        let embedder = self.embedder();
        let settings = tuning.over(self.settings().cache(cache.id()));
        self.rule(&settings, embedder.identity(), embedder.manifest()).is_some()
    }

    fn setup(&self, id: &str, tuning: &Tuning) -> Setup {
        let settings = tuning.over(self.settings().cache(id));
        let embedder = Embedder::clone(&self.embedder());
        // Without any threshold (checked at start for configured caches) nothing but equal vectors is served.
        let rule = self.rule(&settings, embedder.identity(), embedder.manifest());
        let beliefs = self.beliefs.load_full();
        let rule = rule.unwrap_or(Rule::Static { min_cosine: Cosine::ONE, strict: true });
        let ignored_fields = settings.ignored_fields().into();
        Setup { embedder, rule, beliefs, settings, ignored_fields }
    }

    fn rule(&self, settings: &CacheSettings, model: &ModelIdentity, manifest: &Manifest) -> Option<Rule> {
        let terms = || {
            let budget = ErrorBudget::new(settings.error_budget())?;
            Some(Terms { budget, audit_rate: settings.audit_rate(), strict: settings.strict() })
        };
        match settings.policy.unwrap_or_default() {
            Policy::Budget => terms().map(Rule::Budget),
            Policy::PerEntry => terms().map(Rule::PerEntry),
            Policy::Static => {
                // A threshold is one of a model's cosines; another model's mean something else.
                let set = settings.min_cosine.filter(|_| model.digest == self.named);
                let min_cosine = set.or(manifest.min_cosine)?;
                Some(Rule::Static { min_cosine: Cosine::new(min_cosine), strict: settings.strict() })
            }
        }
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
            if self.rule(&settings.cache(id), model, manifest).is_none() {
                return Err(OpenError::NoThreshold(id.to_owned(), model.name.clone()));
            }
        }
        Ok(())
    }
}

fn millis(span: Span) -> u64 {
    u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)
}

/// What a model's prior says, or that it has none.
fn beliefs(embedder: &Embedder) -> Arc<Beliefs> {
    let Some(text) = &embedder.manifest().prior else { return Arc::default() };
    match Beliefs::from_json(text) {
        Ok(beliefs) => Arc::new(beliefs),
        Err(error) => {
            let model = &embedder.identity().name;
            tracing::warn!(model, %error, "the model's prior can't be used: caches learn from their own labels alone");
            Arc::default()
        }
    }
}

/// Why the caches can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No threshold is known.
    #[error(
        "caches.{0}.min_cosine must be set in settings that name the model {1}, whose manifest has no default threshold"
    )]
    NoThreshold(String, String),
    /// The store can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
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

    /// How it judges candidates.
    #[must_use]
    pub fn rule(&self) -> Rule {
        self.setup.load().rule
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
        Ok(self.store.flush(self.key).await?)
    }

    /// Whether the store knows of this cache.
    pub(super) fn is_registered(&self) -> bool {
        self.registered.load(Ordering::Relaxed)
    }

    /// Tells the store of this cache, once.
    pub(super) async fn register(&self) -> Result<(), StoreError> {
        if !self.is_registered() {
            self.store.add_cache(&self.name).await?;
            self.registered.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) fn observe(&self, seen: &Observation) {
        telemetry::lookup(&self.name.id, seen.outcome.name());
        let rolling = &mut *self.statistics.lock();
        rolling.statistics.observe(Timestamp::now().0, seen);
        rolling.unsaved = true;
    }

    fn take_unsaved(&self) -> Option<Vec<u8>> {
        let rolling = &mut *self.statistics.lock();
        if !std::mem::take(&mut rolling.unsaved) {
            return None;
        }
        postcard::to_stdvec(&rolling.statistics).ok()
    }
}
