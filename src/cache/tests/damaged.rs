//! Caches that are opened again after something of theirs was damaged.

use super::*;
use crate::store::{CacheKey, Quarantine, write_state};

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
