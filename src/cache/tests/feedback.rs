//! What people say about answers.

use super::*;
use crate::store::Quarantine;

async fn decide(cache: &Cache, prompt: &str) -> DecisionId {
    cache.lookup(&Lookup::new(Question::plain(prompt, &Json::Null).unwrap())).await.decision.id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_near_answer_keeps_its_entry_from_near_prompts_only_and_counts_once() {
    let world = World::new();
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    let entry = cache.save(save(ASKED, "Click.")).await.unwrap();
    let id = decide(&cache, NEAR).await;
    let wrong = Feedback { about: About::Decision(id), correct: false };
    let heard = cache.feedback(wrong).await.unwrap();
    assert_eq!((heard.recorded, heard.entry, heard.quarantined), (true, entry, Some(Quarantine::NearPrompts)));
    assert_eq!(heard.served_to, [id]);
    let labels = cache.learner_status().unwrap().labels;
    assert_eq!(labels, 1);
    assert!(!cache.feedback(wrong).await.unwrap().recorded);
    assert_eq!((outcome(&cache, ASKED).await, outcome(&cache, NEAR).await), (Outcome::ExactHit, Outcome::Miss));
    close(caches, cache).await;

    // Its decision is on disk now.
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    assert!(!cache.feedback(wrong).await.unwrap().recorded);
    assert_eq!(cache.learner_status().unwrap().labels, labels);
    assert_eq!(outcome(&cache, NEAR).await, Outcome::Miss);
    close(caches, cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_right_or_wrong_is_refused() {
    let world = World::new();
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    let missed = decide(&cache, ASKED).await;
    let about = |about| Feedback { about, correct: false };
    assert!(matches!(cache.feedback(about(About::Decision(missed))).await, Err(FeedbackError::NothingServed)));
    let entry = cache.save(save(ASKED, "Click.")).await.unwrap();
    let other = caches.get("u", "c").unwrap();
    let id = decide(&cache, ASKED).await;
    // Another tenant's cache knows neither.
    assert!(matches!(other.feedback(about(About::Decision(id))).await, Err(FeedbackError::UnknownDecision)));
    assert!(matches!(other.feedback(about(About::Entry(entry))).await, Err(FeedbackError::UnknownEntry)));
    assert_eq!(outcome(&cache, ASKED).await, Outcome::ExactHit);
    close(caches, cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_was_acknowledged_counts_whatever_is_saved_meanwhile() {
    let world = World::new();
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    let mut entries = Vec::new();
    for n in 0..20 {
        entries.push(cache.save(save(&format!("What is article {n} about?"), &format!("Answer {n}."))).await.unwrap());
    }
    let reports = futures_util::future::join_all(
        entries.iter().map(|entry| cache.feedback(Feedback { about: About::Entry(*entry), correct: false })),
    );
    let (reports, saved) = tokio::join!(reports, caches.save_statistics(FlushMode::All));
    saved.unwrap();
    assert!(reports.into_iter().all(|report| report.unwrap().recorded));
    // As a kill leaves it: nothing is saved any more.
    caches.store().close().await.unwrap();
    drop((caches, cache));
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    for n in 0..20 {
        assert_eq!(outcome(&cache, &format!("What is article {n} about?")).await, Outcome::Miss);
    }
    close(caches, cache).await;
}
