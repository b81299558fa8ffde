//! What a lookup finds, and what it doesn't.

use super::*;
use crate::decide::RejectionReason;
use crate::prompt::Cacheability;
use crate::store::Attributes;

fn lookup(prompt: &str) -> Lookup {
    Lookup::new(Question::plain(prompt, &Json::Null).unwrap())
}

fn answers(found: &Found) -> Vec<&str> {
    found.hits.iter().map(|hit| hit.entry.answer.text.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_text_comes_before_a_near_one_and_other_scopes_and_caches_have_no_part() {
    let world = World::new();
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    let (asked, near) = (save(ASKED, "Click."), save(NEAR, "Click."));
    let asked = cache.save(asked).await.unwrap();
    cache.save(near).await.unwrap();
    let found = cache.lookup(&lookup(ASKED)).await;
    assert_eq!((found.hits[0].entry.id, found.decision.outcome), (asked, Outcome::ExactHit));
    let by_meaning = cache.lookup(&Lookup { strategies: vec![Strategy::Semantic], ..lookup(ASKED) }).await;
    assert_eq!((by_meaning.hits[0].entry.id, by_meaning.hits[0].strategy), (asked, Strategy::Semantic));
    let only_exact = Lookup { strategies: vec![Strategy::Exact], ..lookup("How can I change my password?") };
    assert_eq!(cache.lookup(&only_exact).await.decision.outcome, Outcome::Miss);

    let elsewhere = Question::plain(ASKED, &serde_json::from_str("\"elsewhere\"").unwrap()).unwrap();
    assert_eq!(cache.lookup(&Lookup::new(elsewhere)).await.decision.outcome, Outcome::Miss);
    for (tenant, id) in [("t", "other"), ("other", "c")] {
        assert_eq!(outcome(&caches.get(tenant, id).unwrap(), ASKED).await, Outcome::Miss);
    }
    close(caches, cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_too_old_or_lacks_an_attribute_does_not_answer() {
    let world = World::new();
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    let attributes = Attributes::new(
        [("lang".to_owned(), "en".to_owned())].into_iter().collect::<std::collections::BTreeMap<_, _>>(),
    );
    cache.save(Save { attributes: attributes.clone(), ..save(ASKED, "In English.") }).await.unwrap();
    for prompt in [ASKED, NEAR] {
        let found = cache.lookup(&Lookup { attributes: attributes.clone(), ..lookup(prompt) }).await;
        assert_eq!(answers(&found), ["In English."], "{prompt}");
        let others = Attributes::new(
            [("lang".to_owned(), "de".to_owned())].into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        );
        assert!(cache.lookup(&Lookup { attributes: others, ..lookup(prompt) }).await.hits.is_empty(), "{prompt}");
        let mut younger = lookup(prompt);
        younger.constraints.max_age_millis = Some(0);
        // It is older than that by the time that it is asked for again.
        while cache.lookup(&younger).await.decision.rejections.is_empty() {
            tokio::task::yield_now().await;
        }
        let too_old = |reason: &RejectionReason| matches!(reason, RejectionReason::TooOld { .. });
        assert!(cache.lookup(&younger).await.decision.rejections.iter().any(too_old), "{prompt}");
    }
    cache.save(Save { ttl_millis: Some(0), ..save("What is it?", "Gone.") }).await.unwrap();
    assert_eq!(outcome(&cache, "What is it?").await, Outcome::Miss);
    close(caches, cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_caller_cannot_deliver_and_what_is_no_question_for_the_cache_are_passed_over() {
    let world = World::new();
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    cache.save(save(ASKED, "Exact.")).await.unwrap();
    let mut without_text = save("How do I set a new password?", "");
    without_text.answer.completion = Some("{}".into());
    cache.save(without_text).await.unwrap();
    let deliverable = |prompt| Lookup { need: AnswerNeed::Text, ..lookup(prompt) };
    assert_eq!(answers(&cache.lookup(&lookup("How do I set a new password?")).await), [""]);
    assert_eq!(answers(&cache.lookup(&deliverable(NEAR)).await), ["Exact."]);
    assert!(!answers(&cache.lookup(&deliverable("How do I set a new password?")).await).contains(&""));

    let mut bypassing = lookup(ASKED);
    bypassing.question.cacheability = Cacheability::Bypass("it says so");
    let decision = cache.lookup(&bypassing).await.decision;
    assert_eq!((decision.outcome, decision.reason.as_deref()), (Outcome::Bypass, Some("it says so")));
    let mut exact_only = lookup(NEAR);
    exact_only.question.cacheability = Cacheability::ExactOnly("each word counts");
    assert_eq!(cache.lookup(&exact_only).await.decision.outcome, Outcome::Miss);
    close(caches, cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_decision_can_be_read_back_with_what_was_considered() {
    let world = World::new();
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    let entry = cache.save(save(ASKED, "Click.")).await.unwrap();
    let found = cache.lookup(&lookup(NEAR)).await;
    let logged = cache.decision(found.decision.id).await.unwrap().unwrap();
    assert_eq!((&logged.decision, logged.served), (&found.decision, Some(entry)));
    assert_eq!(logged.decision.candidates[0].entry, entry);
    assert!(logged.decision.p_correct.is_some_and(|p| p > 0.5));
    assert_eq!(cache.summary().total.semantic_hits, 1);
    close(caches, cache).await;
}
