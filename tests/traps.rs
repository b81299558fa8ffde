//! Prompt traps and plain paraphrases against their twins, by the shipped prior alone: δ = 0.02, no labels.
//!
//! `tests/traps/` was written by hand, apart from the pairs that the prior is made of (`models/pairs/`), by somebody who didn't
//! see how differences are found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use refrain::cache::{Caches, Lookup, Save};
use refrain::config::{CacheSettings, Durability, Settings};
use refrain::decide::Outcome;
use refrain::embed::{Embedder, Model};
use refrain::prompt::{Json, Question};
use refrain::store::Answer;
use refrain::store::embedded::{EmbeddedStore, OpenOptions};

#[derive(serde::Deserialize)]
struct Pair {
    stored: String,
    asked: String,
    kind: String,
}

fn pairs(name: &str) -> Vec<Pair> {
    let path = format!("{}/tests/traps/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How many of the pairs are served, by kind, each in a scope of its own.
async fn served(caches: &Caches, cache: &str, pairs: &[Pair]) -> BTreeMap<String, (u32, u32)> {
    let cache = caches.get("local", cache).unwrap();
    let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for (number, pair) in pairs.iter().enumerate() {
        let scope = Json::Integer(number as i128);
        let question = |text: &str| Question::plain(text, &scope).unwrap();
        let save = Save::new(question(&pair.stored), Answer { text: "yes".into(), ..Answer::default() });
        cache.save(save).await.unwrap();
        let lookup = Lookup::new(question(&pair.asked));
        let outcome = cache.lookup(&lookup).await.decision.outcome;
        assert!(matches!(outcome, Outcome::SemanticHit | Outcome::Miss), "{outcome:?}: {}", pair.asked);
        let count = counts.entry(pair.kind.clone()).or_default();
        count.0 += u32::from(outcome == Outcome::SemanticHit);
        count.1 += 1;
    }
    counts
}

fn share(counts: &BTreeMap<String, (u32, u32)>) -> f64 {
    let (served, all) = counts.values().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    f64::from(served) / f64::from(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn traps_are_refused_and_paraphrases_are_served_before_there_are_labels() {
    let mut settings = Settings::default();
    settings.embedding.models_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/models").into();
    let none_audited = CacheSettings { error_budget: Some(0.02), audit_rate: Some(0.0), ..CacheSettings::default() };
    settings.caches.insert("default".into(), none_audited);
    let model = Model::load(&settings.embedding).unwrap();
    let embedder = Embedder::start(model, &settings.embedding).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        path: folder.path().into(),
        durability: Durability::Buffered,
        max_bytes: u64::MAX,
        gist_of: refrain::cache::gist_of,
    };
    let store = Arc::new(EmbeddedStore::open(&options, embedder.identity()).unwrap());
    let digest = embedder.identity().digest.clone();
    let caches = Caches::open(Arc::new(settings), digest, store, embedder).await.unwrap();

    let traps = served(&caches, "traps", &pairs("traps")).await;
    let paraphrases = served(&caches, "paraphrases", &pairs("paraphrases")).await;
    println!("served of traps {:.3} {traps:?}", share(&traps));
    println!("served of paraphrases {:.3} {paraphrases:?}", share(&paraphrases));
    assert!(share(&traps) <= 0.10, "{traps:?}");
    assert!(share(&paraphrases) >= 0.40, "{paraphrases:?}");
    caches.store().close().await.unwrap();
}
