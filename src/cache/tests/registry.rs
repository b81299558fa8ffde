//! Which caches there are, and whose.

use super::*;
use crate::config::CacheSettings;

#[tokio::test(flavor = "multi_thread")]
async fn names_are_checked_and_caches_spring_into_being_only_where_they_may() {
    let mut world = World::new();
    let mut settings = Settings::clone(&world.settings);
    settings.server.create_caches = false;
    settings.caches.insert("named".into(), CacheSettings::default());
    world.settings = Arc::new(settings);
    let caches = world.open().await;
    for bad in ["", "a b", "a/b", "ä", &"x".repeat(129)] {
        assert!(matches!(caches.get("t", bad), Err(CacheError::BadName)), "{bad}");
    }
    assert!(caches.get("t", "named").is_ok() && caches.get("t", "default").is_ok());
    assert!(matches!(caches.get("t", "other"), Err(CacheError::Unknown(_))));
    assert!(matches!(caches.create("t", "other", false).await, Err(CacheError::NotAllowed)));
    let made = caches.create("t", "other", true).await.unwrap();
    assert!(matches!(caches.create("t", "other", true).await, Err(CacheError::Exists(_))));
    assert!(Arc::ptr_eq(&made, &caches.get("t", "other").unwrap()), "one that was made is there");
    close(caches, made).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_is_its_tenants_and_what_was_removed_is_gone() {
    let world = World::new();
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    assert!(matches!(caches.existing("t", "c"), Err(CacheError::NoSuchCache(_))), "nothing was stored");
    cache.save(save(ASKED, "Click.")).await.unwrap();
    assert!(caches.existing("t", "c").is_ok());
    assert_eq!((caches.list("t"), caches.list("u")), (vec!["c".to_owned()], Vec::new()));
    close(caches, cache).await;

    let caches = world.open().await;
    let cache = caches.existing("t", "c").unwrap();
    assert_eq!(outcome(&cache, ASKED).await, Outcome::ExactHit);
    caches.remove("t", "c").await.unwrap();
    assert!(matches!(cache.save(save(ASKED, "Click.")).await, Err(CacheError::NoSuchCache(_))));
    assert_eq!(caches.list("t"), Vec::<String>::new());
    let anew = caches.get("t", "c").unwrap();
    assert_eq!(outcome(&anew, ASKED).await, Outcome::Miss);
    anew.save(save(ASKED, "Anew.")).await.unwrap();
    assert_eq!(caches.list("t"), ["c"]);
    drop(anew);
    close(caches, cache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_settings_count_from_the_next_lookup_on() {
    let world = World::new();
    let caches = world.open().await;
    let cache = caches.get("t", "c").unwrap();
    cache.save(save(ASKED, "Click.")).await.unwrap();
    assert_eq!(outcome(&cache, NEAR).await, Outcome::SemanticHit);
    let mut settings = Settings::clone(&world.settings);
    let nothing_wrong = CacheSettings { error_budget: Some(0.0), ..CacheSettings::default() };
    settings.caches.insert("default".into(), nothing_wrong);
    caches.reconfigure(&settings).unwrap();
    assert_eq!(outcome(&cache, NEAR).await, Outcome::Miss);
    caches.reconfigure(&world.settings).unwrap();
    assert_eq!(outcome(&cache, NEAR).await, Outcome::SemanticHit);
    close(caches, cache).await;
}
