//! Caches that are opened again after something of theirs was damaged.

use std::sync::Arc;

use super::*;
use crate::config::{CacheSettings, Durability, Settings};
use crate::decide::Outcome;
use crate::embed::{Embedder, Model};
use crate::prompt::{Json, Question};
use crate::store::embedded::{EmbeddedStore, OpenOptions};
use crate::store::{Answer, CacheKey, Quarantine, write_state};

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
        let (path, most_bytes) = (self.folder.path().into(), u64::MAX);
        let options = OpenOptions { path, durability: Durability::Buffered, most_bytes };
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

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_cannot_be_read_answers_equal_texts_until_it_is_set_again() {
    let world = World::new();
    let key = CacheKey::new("t", "c");
    for damaged in [vec![0xff; 20], write_state(200, &0u8).unwrap()] {
        let caches = world.open().await;
        let cache = caches.get("t", "c").unwrap();
        cache.save(save(ASKED, "Click.")).await.unwrap();
        assert_eq!(outcome(&cache, NEAR).await, Outcome::SemanticHit);
        caches.store().save_state(key, "changes", damaged).await.unwrap();
        close(caches, cache).await;

        let caches = world.open().await;
        let cache = caches.get("t", "c").unwrap();
        assert_eq!((outcome(&cache, ASKED).await, outcome(&cache, NEAR).await), (Outcome::ExactHit, Outcome::Miss));
        assert_eq!(caches.distrusted().len(), 1);
        caches.tune(&cache, Tuning::default(), "t", true).await.unwrap();
        assert_eq!((outcome(&cache, NEAR).await, cache.distrust()), (Outcome::SemanticHit, None));
        close(caches, cache).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_quarantines_keep_near_texts_back_until_there_is_nothing_to_fear() {
    let world = World::new();
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    cache.save(save(ASKED, "Click.")).await.unwrap();
    caches.store().save_state(CacheKey::new("t", "c"), "quarantined", vec![0xff; 20]).await.unwrap();
    close(caches, cache).await;
    // However often it is opened.
    for _ in 0..2 {
        let caches = world.open().await;
        let cache = caches.get("t", "c").unwrap();
        assert_eq!((outcome(&cache, ASKED).await, outcome(&cache, NEAR).await), (Outcome::ExactHit, Outcome::Miss));
        close(caches, cache).await;
    }
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    cache.flush().await.unwrap();
    close(caches, cache).await;
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    cache.save(save(ASKED, "Click.")).await.unwrap();
    assert_eq!(outcome(&cache, NEAR).await, Outcome::SemanticHit);
    close(caches, cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_answer_stays_away_until_there_is_another_one() {
    let world = World::new();
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    let entry = cache.save(save(ASKED, "Ask the moon.")).await.unwrap();
    let wrong = Feedback { about: About::Entry(entry), correct: false };
    let heard = cache.feedback(wrong).await.unwrap();
    assert_eq!((heard.recorded, heard.quarantined), (true, Some(Quarantine::Everybody)));
    assert!(!cache.feedback(wrong).await.unwrap().recorded);
    // The same in other spelling.
    cache.save(save(ASKED, "ask the  moon")).await.unwrap();
    close(caches, cache).await;

    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    assert_eq!((outcome(&cache, ASKED).await, outcome(&cache, NEAR).await), (Outcome::Miss, Outcome::Miss));
    cache.save(save(ASKED, "Click on forgot password.")).await.unwrap();
    assert_eq!(outcome(&cache, ASKED).await, Outcome::ExactHit);
    // Gone with its entry.
    cache.feedback(wrong).await.unwrap();
    assert_eq!(caches.store().count_quarantined(CacheKey::new("t", "c")), 1);
    cache.delete(entry).await.unwrap();
    assert_eq!(caches.store().count_quarantined(CacheKey::new("t", "c")), 0);
    cache.save(save(ASKED, "Click on forgot password.")).await.unwrap();
    assert_eq!(outcome(&cache, ASKED).await, Outcome::ExactHit);
    close(caches, cache).await;
}
