//! Labels that come of answers.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn labels_that_are_being_made_when_a_server_ends_are_not_lost() {
    let world = World::new();
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    let password =
        "Open the settings, choose the password, and follow the 5 steps within 20 minutes; 3 tries are free. "
            .repeat(5);
    let museum = "The museum is open from 9 to 17 and costs 12 euros; its café has a view over the river. ".repeat(5);
    cache.save(save(ASKED, &password)).await.unwrap();
    let other = "How do I change my email address?";
    assert_eq!(outcome(&cache, other).await, Outcome::Miss);
    // The two answers are compared, which takes a while.
    cache.save(save(other, &museum)).await.unwrap();
    caches.settle().await;
    let labels = |cache: &Cache| cache.learner_status().unwrap().labels;
    assert_eq!(labels(&cache), 1);
    close(caches, cache).await;

    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    assert_eq!(labels(&cache), 1);
    close(caches, cache).await;
}
