use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::embed::TextEmbedding;
use crate::store::Answer;

const DIMENSION: usize = 8;

fn identity(name: &str) -> ModelIdentity {
    ModelIdentity { name: name.into(), dimension: DIMENSION, digest: ModelDigest::new(&name.repeat(64)) }
}

fn options(path: &Path) -> OpenOptions {
    OpenOptions { path: path.into(), durability: Durability::Buffered, most_bytes: u64::MAX }
}

fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(&options(path), &identity("m")).unwrap()
}

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    Attributes::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>())
}

fn cache(n: u8) -> CacheKey {
    CacheKey::new("t", &n.to_string())
}

fn scope(n: u8) -> ScopeKey {
    ScopeKey::new(cache(n), &[n; 32])
}

/// A vector of its own for each prompt.
fn vector(prompt: &str) -> TextEmbedding {
    vector_by("m", prompt)
}

/// A vector of its own for each prompt and model.
fn vector_by(model: &str, prompt: &str) -> TextEmbedding {
    let hash = blake3::hash([model, prompt].concat().as_bytes());
    let values = hash.as_bytes()[..DIMENSION].iter().map(|byte| f32::from(*byte) - 127.5).collect();
    TextEmbedding {
        vector: Embedding::normalised(values).unwrap(),
        blurred: false,
        tokens: 1,
        model: identity(model).digest,
    }
}

fn entry(n: u8, prompt: &str, text: &str, attributes: &Attributes, expires: u64) -> NewEntry {
    NewEntry {
        cache: cache(n),
        fingerprint: [n; 32],
        prompt: prompt.into(),
        answer: Answer { text: text.into(), completion: None },
        attributes: attributes.clone(),
        created: Timestamp(1),
        expires: Timestamp(expires),
        cost_millis: 1000,
        uses: 0,
        vector: Vector::New(vector(prompt)),
    }
}

async fn exact(store: &EmbeddedStore, n: u8, prompt: &str, now: u64) -> Option<String> {
    let found = store
        .find_exact(cache(n), scope(n), TextHash::of(prompt), &Attributes::default(), Timestamp(now))
        .await
        .unwrap();
    found.map(|entry| entry.answer.text)
}

async fn near(store: &EmbeddedStore, n: u8, prompt: &str, now: u64) -> Vec<String> {
    near_by("m", store, n, prompt, now).await
}

/// Of all entries, because they are few, those whose vectors are `model`'s.
async fn near_by(model: &str, store: &EmbeddedStore, n: u8, prompt: &str, now: u64) -> Vec<String> {
    let query = vector_by(model, prompt);
    let found = store.nearest(cache(n), scope(n), &query, 50, &Attributes::default(), Timestamp(now)).await.unwrap();
    found.into_iter().map(|candidate| candidate.entry.prompt).collect()
}

#[derive(Debug, Clone)]
enum Op {
    Put {
        cache: u8,
        prompt: u8,
        answer: u16,
        expires: u64,
        embedded: bool,
    },
    Delete {
        cache: u8,
        prompt: u8,
    },
    DeleteMatching {
        cache: u8,
        group: u8,
    },
    Flush {
        cache: u8,
    },
    Sweep,
    Reopen,
    /// Vectors are made anew with another model, up to so many; while they are, the first two things happen.
    Make {
        most: usize,
        put: u8,
        delete: u8,
    },
    Switch,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        12 => (0u8..2, 0u8..12, any::<u16>(), prop_oneof![Just(5u64), Just(1000)], any::<bool>())
            .prop_map(|(cache, prompt, answer, expires, embedded)| Op::Put { cache, prompt, answer, expires, embedded }),
        3 => (0u8..2, 0u8..12).prop_map(|(cache, prompt)| Op::Delete { cache, prompt }),
        1 => (0u8..2, 0u8..3).prop_map(|(cache, group)| Op::DeleteMatching { cache, group }),
        1 => (0u8..2).prop_map(|cache| Op::Flush { cache }),
        2 => Just(Op::Sweep),
        1 => Just(Op::Reopen),
        2 => (0usize..20, 0u8..12, 0u8..12).prop_map(|(most, put, delete)| Op::Make { most, put, delete }),
        1 => Just(Op::Switch),
    ];
    prop::collection::vec(op, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// A store is a map from (cache, prompt) to an answer with an expiry, and stays one across restarts. Prompts of one
    /// group (prompt % 3) share an attribute.
    #[test]
    fn a_store_agrees_with_a_map(ops in ops()) {
        const NOW: u64 = 10;
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut store = open(folder.path());
            let mut model: BTreeMap<(u8, u8), (String, u64, bool)> = BTreeMap::new();
            let mut meanwhile = false;
            let group = |prompt: u8| attributes(&[("group", &(prompt % 3).to_string())]);
            // Which model's vectors are searched, and whether the other one's are complete.
            let (mut embedded_by, mut other, mut is_complete) = ("m", "n", false);
            for op in ops {
                match op {
                    Op::Put { cache, prompt, answer, expires, embedded } => {
                        let mut new = entry(cache, &prompt.to_string(), &answer.to_string(), &group(prompt), expires);
                        let made = vector_by(embedded_by, &prompt.to_string());
                        new.vector = if embedded { Vector::New(made) } else { Vector::None };
                        store.put(new).await.unwrap();
                        model.insert((cache, prompt), (answer.to_string(), expires, embedded));
                    }
                    Op::Delete { cache: n, prompt } => {
                        let id = EntryId::new(scope(n), TextHash::of(&prompt.to_string()), &group(prompt));
                        let live = model.get(&(n, prompt)).is_some_and(|(_, expires, _)| *expires > NOW);
                        assert_eq!(store.delete(cache(n), id, Timestamp(NOW)).await.unwrap(), live);
                        if live {
                            model.remove(&(n, prompt));
                        }
                    }
                    Op::DeleteMatching { cache: n, group: g } => {
                        let asked = attributes(&[("group", &g.to_string())]);
                        let before = model.len();
                        model.retain(|(c, prompt), (_, expires, _)| *c != n || prompt % 3 != g || *expires <= NOW);
                        let deleted = store.delete_matching(cache(n), &asked, Timestamp(NOW)).await.unwrap();
                        assert_eq!(deleted, (before - model.len()) as u64);
                    }
                    Op::Flush { cache: n } => {
                        store.flush(cache(n)).await.unwrap();
                        model.retain(|(c, _), _| *c != n);
                    }
                    Op::Sweep => {
                        let before = model.len();
                        model.retain(|_, (_, expires, _)| *expires > NOW);
                        assert_eq!(store.sweep(Timestamp(NOW)).await.unwrap(), (before - model.len()) as u64);
                    }
                    Op::Reopen => {
                        drop(store);
                        store = reopen_with(folder.path(), embedded_by);
                        is_complete = false;
                    }
                    Op::Make { most, put, delete } => {
                        let mut left = most;
                        let mut is_first = true;
                        let mut embed = |texts: &[&str]| {
                            if std::mem::take(&mut is_first) {
                                let mut new = entry(0, &put.to_string(), "meanwhile", &group(put), 1000);
                                new.vector = Vector::New(vector_by(embedded_by, &put.to_string()));
                                store.inner.put(vec![new], Durability::Buffered).unwrap();
                                meanwhile = true;
                                let id = EntryId::new(scope(1), TextHash::of(&delete.to_string()), &group(delete));
                                store.inner.delete_if(cache(1), id, |_| true).unwrap();
                            }
                            // A vector of a model that it isn't to be ends it.
                            let by = if left < texts.len() { "neither" } else { other };
                            left = left.saturating_sub(texts.len());
                            texts.iter().map(|text| Some(vector_by(by, text))).collect()
                        };
                        let mut told = Made { done: 0, all: 0 };
                        let made = store.make_vectors(&identity(other), &mut embed, &mut |made| told = made);
                        is_complete = made.is_ok();
                        if made.is_ok() {
                            assert_eq!(told.done, told.all);
                        }
                        if std::mem::take(&mut meanwhile) {
                            model.insert((0, put), ("meanwhile".to_owned(), 1000, true));
                            model.remove(&(1, delete));
                        }
                    }
                    Op::Switch => {
                        let mut is_switched = false;
                        let mut embed = |texts: &[&str]| texts.iter().map(|text| Some(vector_by(other, text))).collect();
                        store.switch_model(&mut embed, &mut || is_switched = true).unwrap();
                        assert_eq!(is_switched, is_complete);
                        if std::mem::take(&mut is_complete) {
                            std::mem::swap(&mut embedded_by, &mut other);
                        }
                    }
                }
                assert_eq!(store.model().name, embedded_by);
            }
            for n in 0..2 {
                let mut expected_near = Vec::new();
                for prompt in 0..12 {
                    let text = prompt.to_string();
                    let live = model.get(&(n, prompt)).filter(|(_, expires, _)| *expires > NOW);
                    assert_eq!(exact(&store, n, &text, NOW).await, live.map(|(answer, _, _)| answer.clone()));
                    if live.is_some_and(|(_, _, embedded)| *embedded) {
                        expected_near.push(text);
                    }
                }
                let mut found = near_by(embedded_by, &store, n, "3", NOW).await;
                found.sort_by_key(|prompt| prompt.parse::<u8>().unwrap());
                assert_eq!(found, expected_near);
            }
        });
    }
}

/// The thread that builds graphs may hold the database for a moment after its store was dropped.
fn reopen(path: &Path) -> EmbeddedStore {
    reopen_with(path, "m")
}

fn reopen_with(path: &Path, model: &str) -> EmbeddedStore {
    loop {
        match EmbeddedStore::open(&options(path), &identity(model)) {
            Ok(store) => {
                while !store.inner.current().memory.is_loaded() || !store.inner.ledger.is_loaded() {
                    std::thread::yield_now();
                }
                return store;
            }
            Err(OpenError::InUse { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn equal_prompts_with_different_attributes_live_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (de, en) = (attributes(&[("lang", "de")]), attributes(&[("lang", "en"), ("tier", "1")]));
    store.put(entry(0, "hi", "hallo", &de, 99)).await.unwrap();
    store.put(entry(0, "hi", "hello", &en, 99)).await.unwrap();
    let ask = async |asked: &Attributes| {
        let found = store.find_exact(cache(0), scope(0), TextHash::of("hi"), asked, Timestamp(2)).await.unwrap();
        found.map(|entry| entry.answer.text)
    };
    assert_eq!(ask(&de).await.as_deref(), Some("hallo"));
    assert_eq!(ask(&attributes(&[("tier", "1")])).await.as_deref(), Some("hello"));
    assert_eq!(ask(&attributes(&[("tier", "2")])).await, None);
    assert_eq!(store.delete_matching(cache(0), &de, Timestamp(2)).await.unwrap(), 1);
    assert_eq!(ask(&de).await, None);
    assert_eq!(ask(&en).await.as_deref(), Some("hello"));
}

#[tokio::test]
async fn an_entry_that_cannot_be_embedded_now_keeps_its_vector() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.put(entry(0, "hi", "hallo", &Attributes::default(), 99)).await.unwrap();
    let mut again = entry(0, "hi", "hello", &Attributes::default(), 99);
    again.vector = Vector::Unchanged;
    again.expires = Timestamp(200);
    store.put(again).await.unwrap();
    assert_eq!(exact(&store, 0, "hi", 2).await.as_deref(), Some("hello"));
    assert_eq!(near(&store, 0, "hi", 100).await, ["hi"]);
    drop(store);
    let store = reopen(folder.path());
    assert_eq!(near(&store, 0, "hi", 100).await, ["hi"]);
}

#[tokio::test]
async fn another_model_and_a_second_process_are_refused_with_instructions() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let message = |opened: Result<EmbeddedStore, OpenError>| opened.err().map(|error| error.to_string()).unwrap();
    let again = message(EmbeddedStore::open(&options(folder.path()), &identity("m")));
    assert!(again.contains("another process"), "{again}");
    drop(store);
    drop(reopen(folder.path()));
    let other = loop {
        let message = message(EmbeddedStore::open(&options(folder.path()), &identity("other")));
        if !message.contains("another process") {
            break message;
        }
    };
    assert!(other.contains("embedding.model") && other.contains("other"), "{other}");
}

/// What a scope's graph finds, compared with all that is stored: prompts by their own vectors.
async fn assert_all_found(store: &EmbeddedStore, prompts: impl Iterator<Item = usize>) {
    for n in prompts {
        let prompt = format!("prompt {n}");
        assert!(near(store, 0, &prompt, 2).await.contains(&prompt), "{prompt}");
    }
}

async fn fill(store: &EmbeddedStore, prompts: std::ops::Range<usize>) {
    for n in prompts {
        store.put(entry(0, &format!("prompt {n}"), "an answer", &Attributes::default(), 99)).await.unwrap();
    }
    while store.inner.current().memory.needs_upkeep(cache(0), scope(0)) {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn graphs_are_kept_and_what_came_and_went_since_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    fill(&store, 0..1500).await;
    store.inner.save_graphs();
    assert_eq!(store.inner.database.graphs().unwrap().len(), 1);
    for n in 100..200 {
        let id = EntryId::new(scope(0), TextHash::of(&format!("prompt {n}")), &Attributes::default());
        assert!(store.delete(cache(0), id, Timestamp(2)).await.unwrap());
    }
    for n in 1500..1600 {
        store.put(entry(0, &format!("prompt {n}"), "an answer", &Attributes::default(), 99)).await.unwrap();
    }
    drop(store);
    let store = reopen(folder.path());
    assert_eq!(store.inner.current().memory.size().entries, 1500);
    // Nothing had to be linked: what the image lacks is in the tail.
    assert_eq!(store.inner.current().memory.unsaved(), []);
    assert_all_found(&store, (0..100).chain(200..1600)).await;
    let gone = near(&store, 0, "prompt 150", 2).await;
    assert!(!gone.contains(&"prompt 150".to_owned()));
    store.flush(cache(0)).await.unwrap();
    assert!(store.inner.database.graphs().unwrap().is_empty());
}

#[tokio::test]
async fn a_graph_that_is_torn_or_damaged_is_linked_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    fill(&store, 0..1500).await;
    store.inner.save_graphs();
    let only = || [(cache(0), scope(0))];
    let whole = store.inner.database.graphs().unwrap()[&only()[0]];

    // As a crash in the middle of the next one leaves it.
    fill(&store, 1500..1800).await;
    store.inner.database.tear_graph(cache(0), scope(0), whole + 1);
    assert_eq!(store.inner.database.graphs().unwrap()[&only()[0]], whole);
    drop(store);
    let store = reopen(folder.path());
    assert_eq!(store.inner.current().memory.size().entries, 1800);
    assert_all_found(&store, (0..1800).step_by(7)).await;
    store.inner.save_graphs();

    let whole = store.inner.database.graphs().unwrap()[&only()[0]];
    store.inner.database.damage_graph(cache(0), scope(0), whole);
    drop(store);
    let store = reopen(folder.path());
    assert!(store.inner.database.graphs().unwrap().get(&only()[0]).is_none_or(|generation| *generation != whole));
    assert_eq!(store.inner.current().memory.size().entries, 1800);
    assert_all_found(&store, (0..1800).step_by(7)).await;
}

#[tokio::test]
async fn what_is_worth_least_goes_when_there_is_too_much() {
    const MOST: u64 = 200_000;
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions { most_bytes: MOST, ..options(folder.path()) };
    let store = EmbeddedStore::open(&options, &identity("m")).unwrap();
    let mut used = Vec::new();
    for n in 0..50 {
        let id = store.put(entry(0, &format!("used {n}"), "an answer", &Attributes::default(), 99)).await.unwrap();
        (0..5).for_each(|_| store.used(cache(0), id));
        used.push(id);
    }
    for n in 0..2000 {
        store.put(entry(0, &format!("flood {n}"), "an answer", &Attributes::default(), 99)).await.unwrap();
    }
    store.inner.evict();
    let held = store.holdings(cache(0));
    assert!(held.bytes <= MOST && held.bytes > MOST / 2, "{held:?}");
    assert_eq!(store.inner.current().memory.size().entries, held.entries);
    assert!(exact(&store, 0, "flood 1999", 2).await.is_some());
    for id in &used {
        assert!(store.get(cache(0), *id, Timestamp(2)).await.unwrap().is_some());
    }
    store.close().await.unwrap();
    drop(store);
    // What was held and of use is known again.
    let store = reopen(folder.path());
    assert_eq!(store.holdings(cache(0)), held);
    assert_eq!(store.inner.ledger.record(cache(0), &used[0]).map(|record| record.uses), Some(5));
}
