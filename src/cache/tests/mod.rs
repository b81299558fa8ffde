//! Caches over a store in a folder, and an embedder that embeds.

mod damaged;
mod feedback;
mod labels;
mod lookup;
mod registry;
mod tuning;

use std::sync::Arc;

use super::*;
use crate::config::{CacheSettings, Durability, Settings};
use crate::decide::Outcome;
use crate::embed::{Embedder, Model};
use crate::prompt::{Json, Question};
use crate::store::Answer;
use crate::store::embedded::{EmbeddedStore, OpenOptions};

/// A store in a folder, and the embedder, which takes a second to load.
pub(super) struct World {
    folder: tempfile::TempDir,
    embedder: Embedder,
    settings: Arc<Settings>,
}

impl World {
    pub(super) fn new() -> Self {
        let mut settings = Settings::default();
        settings.embedding.models_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/models").into();
        let never_audited =
            CacheSettings { error_budget: Some(0.05), audit_rate: Some(0.0), ..CacheSettings::default() };
        settings.caches.insert("default".into(), never_audited);
        let embedder = Embedder::start(Model::load(&settings.embedding).unwrap(), &settings.embedding).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), embedder, settings: Arc::new(settings) }
    }

    pub(super) async fn open(&self) -> Caches {
        let (path, max_bytes) = (self.folder.path().into(), u64::MAX);
        let options = OpenOptions { path, durability: Durability::Buffered, max_bytes, gist_of };
        let store = Arc::new(EmbeddedStore::open(&options, self.embedder.identity()).unwrap());
        let named = self.embedder.identity().digest.clone();
        Caches::open(Arc::clone(&self.settings), named, store, self.embedder.clone()).await.unwrap()
    }
}

/// Ends all that has the store open.
pub(super) async fn close(caches: Caches, cache: Arc<Cache>) {
    caches.save_statistics(FlushMode::All).await.unwrap();
    caches.store().close().await.unwrap();
    drop(cache);
}

pub(super) fn save(prompt: &str, text: &str) -> Save {
    let answer = Answer { text: text.into(), ..Answer::default() };
    Save::new(Question::plain(prompt, &Json::Null).unwrap(), answer)
}

pub(super) async fn outcome(cache: &Cache, prompt: &str) -> Outcome {
    let lookup = Lookup::new(Question::plain(prompt, &Json::Null).unwrap());
    cache.lookup(&lookup).await.decision.outcome
}

const ASKED: &str = "How do I reset my password?";
const NEAR: &str = "How can I reset my password?";
