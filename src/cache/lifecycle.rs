//! Caches that are made and removed by name, rather than springing into being.

use std::sync::Arc;

use super::cache::Cache;
use super::error::CacheError;
use super::registry::Caches;
use crate::config::DEFAULT_CACHE;
use crate::store::CacheKey;

impl Caches {
    /// Makes `tenant`'s cache `id`, durably. `is_operator`: whether it may be made although caches don't spring into being.
    ///
    /// # Errors
    /// [`CacheError::Exists`], [`CacheError::NotAllowed`], those of [`get`](Self::get), and the store's.
    pub async fn create(&self, tenant: &str, id: &str, is_operator: bool) -> Result<Arc<Cache>, CacheError> {
        let _one = self.lifecycle.lock().await;
        let cache = match self.get(tenant, id) {
            Err(CacheError::Unknown(_)) if is_operator => self.make(tenant, id),
            Err(CacheError::Unknown(_)) => return Err(CacheError::NotAllowed),
            got => got?,
        };
        if cache.is_registered() {
            return Err(CacheError::Exists(id.to_owned()));
        }
        cache.register().await?;
        Ok(cache)
    }

    /// `tenant`'s cache `id`, if it was made, was stored into, or is in the settings.
    ///
    /// # Errors
    /// [`CacheError::NoSuchCache`], [`CacheError::BadName`]
    pub fn existing(&self, tenant: &str, id: &str) -> Result<Arc<Cache>, CacheError> {
        let cache = match self.get(tenant, id) {
            Err(CacheError::Unknown(_)) => return Err(CacheError::NoSuchCache(id.to_owned())),
            got => got?,
        };
        let is_configured = id == DEFAULT_CACHE || self.settings().caches.contains_key(id);
        if is_configured || cache.is_registered() {
            return Ok(cache);
        }
        Err(CacheError::NoSuchCache(id.to_owned()))
    }

    /// Removes a cache with all that it holds and has learned, and all changes of its policy. One that is in the settings is as new
    /// afterwards.
    ///
    /// # Errors
    /// [`CacheError::NoSuchCache`], and the store's.
    pub async fn remove(&self, tenant: &str, id: &str) -> Result<(), CacheError> {
        let _one = self.lifecycle.lock().await;
        let cache = self.existing(tenant, id)?;
        if !cache.is_registered() {
            return Err(CacheError::NoSuchCache(id.to_owned()));
        }
        // Saves that are under way are waited for; later ones find that it is gone.
        *cache.is_removed.write().await = true;
        // What it learned isn't saved any more.
        cache.registration.set(false);
        let removed = self.store().remove_cache(cache.key).await;
        if removed.is_err() {
            cache.registration.set(true);
            *cache.is_removed.write().await = false;
        }
        removed?;
        self.forget(CacheKey::new(tenant, id));
        Ok(())
    }
}
