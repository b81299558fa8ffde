//! Changes of a policy while it runs.

use super::*;

fn budget(share: f64) -> Tuning {
    Tuning { error_budget: Some(share), ..Tuning::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_counts_at_once_and_after_a_restart_and_can_be_undone() {
    let world = World::new();
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    cache.save(save(ASKED, "Click.")).await.unwrap();
    caches.tune(&cache, budget(0.0), "t", false).await.unwrap();
    assert_eq!(outcome(&cache, NEAR).await, Outcome::Miss);
    close(caches, cache).await;

    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    assert_eq!(outcome(&cache, NEAR).await, Outcome::Miss);
    caches.undo(&cache, "operator", true).await.unwrap();
    assert_eq!(outcome(&cache, NEAR).await, Outcome::SemanticHit);
    let by: Vec<_> = cache.changes().into_iter().map(|change| (change.by, change.after)).collect();
    assert_eq!(by, [("t".to_owned(), budget(0.0)), ("operator".to_owned(), Tuning::default())]);
    close(caches, cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_the_operator_may_only_tighten_and_nobody_sets_nonsense() {
    let world = World::new();
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    assert!(matches!(caches.tune(&cache, budget(0.5), "t", false).await, Err(NotTuned::Looser("errorBudget"))));
    assert!(matches!(caches.tune(&cache, budget(7.0), "t", true).await, Err(NotTuned::Invalid { .. })));
    assert!(matches!(caches.undo(&cache, "t", false).await, Err(NotTuned::NothingToUndo)));
    assert!(cache.changes().is_empty() && !cache.is_registered());
    caches.tune(&cache, budget(0.5), "operator", true).await.unwrap();
    // What the operator loosened, others may tighten, but not undo to something looser than the settings.
    caches.tune(&cache, budget(0.01), "t", false).await.unwrap();
    assert!(matches!(caches.undo(&cache, "t", false).await, Err(NotTuned::Looser("errorBudget"))));
    close(caches, cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_change_would_come_to_is_told_from_decisions() {
    let world = World::new();
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    cache.save(save(ASKED, "Click.")).await.unwrap();
    outcome(&cache, ASKED).await;
    outcome(&cache, NEAR).await;
    let budgets = [0.0, 0.05].map(|share| crate::decide::ErrorBudget::new(share).unwrap());
    let (budgets, thresholds) = cache.simulate(&budgets, &[0.0, 0.999]);
    let hits = |outlooks: &[crate::decide::Outlook]| outlooks.iter().map(|outlook| outlook.hits).collect::<Vec<_>>();
    assert_eq!(hits(&budgets), [1, 2]);
    assert_eq!(hits(&thresholds), [2, 1]);
    close(caches, cache).await;
}
