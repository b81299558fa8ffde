use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::database::Deletions;
use super::*;
use crate::embed::{Cosine, TextEmbedding};
use crate::store::{Answer, AnswerGist, Attributes, Curation, Near, ProviderVector, Tags};

const DIMENSION: usize = 8;

fn identity(name: &str) -> ModelIdentity {
    ModelIdentity { name: name.into(), dimension: DIMENSION, digest: ModelDigest::new(&name.repeat(64)) }
}

/// Answers of the same length say the same.
fn gist(answer: &Answer) -> AnswerGist {
    AnswerGist { says: answer.text.len() as u64, has_text: !answer.text.is_empty(), ..AnswerGist::default() }
}

fn options(path: &Path) -> OpenOptions {
    OpenOptions { path: path.into(), durability: Durability::Buffered, max_bytes: u64::MAX, gist_of: gist }
}

fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(&options(path), &identity("m")).unwrap()
}

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    Attributes::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>())
}

fn carrying(attributes: &Attributes) -> Selection {
    Selection { attributes: attributes.clone(), ..Selection::default() }
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
        lossy: false,
        tokens: 1,
        model: identity(model).digest,
    }
}

fn entry(n: u8, prompt: &str, text: &str, attributes: &Attributes, expires: u64) -> NewEntry {
    NewEntry {
        cache: cache(n),
        fingerprint: [n; 32],
        prompt: prompt.into(),
        answer: Answer { text: text.into(), ..Answer::default() },
        attributes: attributes.clone(),
        created: Timestamp(1),
        expires: Timestamp(expires),
        // Some are kept in the second version of their records.
        tags: Tags::new(prompt.ends_with('7').then(|| "seven".to_owned())),
        curation: None,
        cost_millis: 1000,
        uses: 0,
        vector: Vector::New(vector(prompt)),
    }
}

async fn exact(store: &EmbeddedStore, n: u8, prompt: &str, now: u64) -> Option<String> {
    let found = store
        .find_exact(cache(n), scope(n), TextHash::of(prompt), &EntryFilter::default(), Timestamp(now))
        .await
        .unwrap();
    found.map(|entry| entry.answer.text)
}

#[tokio::test]
async fn many_texts_are_read_in_one_go_and_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let none = Attributes::default();
    let vector = ProviderVector { model: "m".into(), tokens: 3, components: vec![0.5; 8] };
    let answer = Answer { vector: Some(vector), ..Answer::default() };
    let kept = ["a", "b7", "c"].map(|prompt| NewEntry { vector: Vector::None, ..entry(1, prompt, "", &none, 100) });
    let kept = kept.map(|entry| NewEntry { answer: answer.clone(), ..entry });
    let expired = NewEntry { expires: Timestamp(9), ..kept[2].clone() };
    store.put_many(vec![kept[0].clone(), kept[1].clone(), expired]).await.unwrap();
    let ask = |n: u8| {
        let texts = ["b7", "x", "a", "c", "b7"].map(TextHash::of).to_vec();
        store.find_exact_many(cache(n), scope(n), texts, Timestamp(10))
    };
    let found = ask(1).await.unwrap();
    let prompts: Vec<_> = found.iter().map(|entry| entry.as_ref().map(|entry| entry.prompt.as_str())).collect();
    assert_eq!(prompts, [Some("b7"), None, Some("a"), None, Some("b7")]);
    assert!(found.iter().flatten().all(|entry| entry.answer == answer));
    assert!(ask(2).await.unwrap().iter().all(Option::is_none));
    store.flush(cache(1)).await.unwrap();
    assert!(ask(1).await.unwrap().iter().all(Option::is_none));
}

async fn near(store: &EmbeddedStore, n: u8, prompt: &str, now: u64) -> Vec<String> {
    near_by("m", store, n, prompt, now).await
}

/// Of all entries, because they are few, those whose vectors are `model`'s.
async fn near_by(model: &str, store: &EmbeddedStore, n: u8, prompt: &str, now: u64) -> Vec<String> {
    let query = vector_by(model, prompt);
    let found = store.nearest(cache(n), scope(n), &query, 50, &EntryFilter::default(), Timestamp(now)).await.unwrap();
    found.into_iter().map(|candidate| candidate.entry.prompt).collect()
}

#[derive(Debug, Clone, Copy)]
enum Embedded {
    Not,
    /// With the model that is searched.
    Now,
    /// With the one that is being changed to, if there is one.
    ByNext,
    /// It couldn't be: it stays as it was.
    Unchanged,
}

#[derive(Debug, Clone)]
enum Op {
    Put {
        cache: u8,
        prompt: u8,
        answer: u16,
        expires: u64,
        embedded: Embedded,
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
    /// Vectors are made with a model, up to so many; while they are, the first two things happen.
    Make {
        by: usize,
        most: usize,
        put: u8,
        delete: u8,
    },
    Switch,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let embedded = prop_oneof![
        4 => Just(Embedded::Now),
        2 => Just(Embedded::Not),
        1 => Just(Embedded::ByNext),
        1 => Just(Embedded::Unchanged),
    ];
    let op = prop_oneof![
        12 => (0u8..2, 0u8..12, any::<u16>(), prop_oneof![Just(5u64), Just(1000)], embedded)
            .prop_map(|(cache, prompt, answer, expires, embedded)| Op::Put { cache, prompt, answer, expires, embedded }),
        3 => (0u8..2, 0u8..12).prop_map(|(cache, prompt)| Op::Delete { cache, prompt }),
        1 => (0u8..2, 0u8..3).prop_map(|(cache, group)| Op::DeleteMatching { cache, group }),
        1 => (0u8..2).prop_map(|cache| Op::Flush { cache }),
        2 => Just(Op::Sweep),
        1 => Just(Op::Reopen),
        3 => (0usize..3, 0usize..40, 0u8..12, 0u8..12)
            .prop_map(|(by, most, put, delete)| Op::Make { by, most, put, delete }),
        2 => Just(Op::Switch),
    ];
    prop::collection::vec(op, 1..40)
}

/// What an entry should be. Whether it has a vector isn't known where making vectors broke off.
#[derive(Debug, Clone)]
struct Expected {
    answer: String,
    expires: u64,
    is_wanted: bool,
    in_use: Option<bool>,
    in_next: Option<bool>,
}

/// Every other one is so long that it lies apart from its entry.
fn answer_of(number: u16) -> String {
    number.to_string().repeat(if number.is_multiple_of(2) { 1 } else { 5000 })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// A store is a map from (cache, prompt) to an answer with an expiry, and stays one across restarts and changes of the
    /// embedding model. Prompts of one group (prompt % 3) share an attribute.
    #[test]
    fn a_store_agrees_with_a_map(ops in ops()) {
        const NOW: u64 = 10;
        const MODELS: [&str; 3] = ["m", "n", "o"];
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut store = open(folder.path());
            let mut model: BTreeMap<(u8, u8), Expected> = BTreeMap::new();
            let group = |prompt: u8| attributes(&[("group", &(prompt % 3).to_string())]);
            // The models that are searched, that vectors were last made with, and that are taken besides.
            let (mut in_use, mut next, mut taken, mut is_complete) = ("m", None, None, false);
            for op in ops {
                match op {
                    Op::Put { cache, prompt, answer, expires, embedded } => {
                        let answer = answer_of(answer);
                        let mut new = entry(cache, &prompt.to_string(), &answer, &group(prompt), expires);
                        let by = |by| Vector::New(vector_by(by, &prompt.to_string()));
                        let before = model.get(&(cache, prompt));
                        let (vector, has) = match (embedded, taken) {
                            (Embedded::Not, _) => (Vector::None, (Some(false), Some(false))),
                            (Embedded::ByNext, Some(next)) => (by(next), (Some(false), Some(true))),
                            (Embedded::Now | Embedded::ByNext, _) => (by(in_use), (Some(true), Some(false))),
                            (Embedded::Unchanged, taken) => {
                                // A vector of a model that isn't taken stays where it is, but of an older entry.
                                let in_use = before.map_or(Some(false), |before| before.in_use);
                                let in_next = before.map_or(Some(false), |before| before.in_next);
                                let in_next = if taken.is_none() || in_use == Some(true) { Some(false) } else { in_next };
                                let in_next = if in_use.is_none() { None } else { in_next };
                                (Vector::Unchanged, (in_use, in_next))
                            }
                        };
                        new.vector = vector;
                        let is_wanted = new.vector != Vector::None;
                        store.put(new).await.unwrap();
                        let (in_use, in_next) = has;
                        model.insert((cache, prompt), Expected { answer, expires, is_wanted, in_use, in_next });
                    }
                    Op::Delete { cache: n, prompt } => {
                        let id = EntryId::new(scope(n), TextHash::of(&prompt.to_string()), &group(prompt));
                        let live = model.get(&(n, prompt)).is_some_and(|entry| entry.expires > NOW);
                        assert_eq!(store.delete(cache(n), id, Timestamp(NOW)).await.unwrap(), live);
                        if live {
                            model.remove(&(n, prompt));
                        }
                    }
                    Op::DeleteMatching { cache: n, group: g } => {
                        let asked = attributes(&[("group", &g.to_string())]);
                        let before = model.len();
                        model.retain(|(c, prompt), entry| *c != n || prompt % 3 != g || entry.expires <= NOW);
                        let deleted = store.delete_selected(cache(n), &carrying(&asked), Timestamp(NOW)).await.unwrap();
                        assert_eq!(deleted, (before - model.len()) as u64);
                    }
                    Op::Flush { cache: n } => {
                        store.flush(cache(n)).await.unwrap();
                        model.retain(|(c, _), _| *c != n);
                    }
                    Op::Sweep => {
                        let before = model.len();
                        model.retain(|_, entry| entry.expires > NOW);
                        assert_eq!(store.sweep(Timestamp(NOW)).await.unwrap(), (before - model.len()) as u64);
                    }
                    Op::Reopen => {
                        drop(store);
                        store = reopen_with(folder.path(), in_use);
                        (taken, is_complete) = (None, false);
                    }
                    Op::Make { by, most, put, delete } => {
                        let by = MODELS[by];
                        let (mut left, mut is_first) = (most, true);
                        let mut embed = |texts: &[&str]| {
                            if std::mem::take(&mut is_first) {
                                let mut new = entry(0, &put.to_string(), "meanwhile", &group(put), 1000);
                                new.vector = Vector::New(vector_by(in_use, &put.to_string()));
                                store.inner.put(vec![new], Durability::Buffered).unwrap();
                                let id = EntryId::new(scope(1), TextHash::of(&delete.to_string()), &group(delete));
                                store.inner.delete(cache(1), id, Timestamp(0)).unwrap();
                            }
                            // A vector of a model that it isn't to be ends it.
                            let by = if left < texts.len() { "neither" } else { by };
                            left = left.saturating_sub(texts.len());
                            texts.iter().map(|text| Some(vector_by(by, text))).collect()
                        };
                        let mut told = Made { done: 0, all: 0 };
                        let made = store.make_vectors(&identity(by), &mut embed, &mut |made| told = made);
                        if made.is_ok() {
                            assert_eq!(told.done, told.all);
                        }
                        if !is_first {
                            let (answer, in_use, in_next) = ("meanwhile".to_owned(), Some(true), None);
                            let new = Expected { answer, expires: 1000, is_wanted: true, in_use, in_next };
                            model.insert((0, put), new);
                            model.remove(&(1, delete));
                        }
                        let changes = next != Some(by);
                        for entry in model.values_mut() {
                            let known = made.is_ok().then_some(true);
                            if by == in_use {
                                entry.in_next = Some(false);
                                let sure = entry.in_use.filter(|there| *there).or(known);
                                entry.in_use = if entry.is_wanted { sure } else { Some(false) };
                            } else {
                                let sure = entry.in_next.filter(|there| *there && !changes).or(known);
                                entry.in_next = if entry.is_wanted { sure } else { Some(false) };
                            }
                        }
                        next = (by != in_use).then_some(by);
                        (taken, is_complete) = (next, made.is_ok());
                    }
                    Op::Switch => {
                        let mut is_switched = false;
                        let mut embed = |texts: &[&str]| {
                            texts.iter().map(|text| Some(vector_by(taken.unwrap(), text))).collect()
                        };
                        let switched = store.switch_model(&mut embed, &mut || is_switched = true);
                        assert_eq!(switched.is_ok(), taken.is_none() || is_complete);
                        assert_eq!(switched.is_ok(), is_switched);
                        if is_switched && let Some(now) = taken.take() {
                            (in_use, next, is_complete) = (now, None, false);
                            for entry in model.values_mut() {
                                (entry.in_use, entry.in_next) = (Some(entry.is_wanted), Some(false));
                            }
                        }
                    }
                }
                assert_eq!(store.model().name, in_use);
            }
            for n in 0..2 {
                let found = near_by(in_use, &store, n, "3", NOW).await;
                for prompt in 0..12 {
                    let text = prompt.to_string();
                    let live = model.get(&(n, prompt)).filter(|entry| entry.expires > NOW);
                    assert_eq!(exact(&store, n, &text, NOW).await, live.map(|entry| entry.answer.clone()));
                    if let Some(there) = live.map_or(Some(false), |entry| entry.in_use) {
                        assert_eq!(found.contains(&text), there, "{n} {text}");
                    }
                }
            }
            let apart = model.values().filter(|entry| entry.answer.len() > 4096).count();
            assert_eq!(store.inner.database.count_answers_apart(), apart, "answers stay that have no entry");
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
                while !store.inner.current().memory.is_loaded() || !store.inner.eviction.is_loaded() {
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
        let found = store
            .find_exact(cache(0), scope(0), TextHash::of("hi"), &asked.clone().into(), Timestamp(2))
            .await
            .unwrap();
        found.map(|entry| entry.answer.text)
    };
    assert_eq!(ask(&de).await.as_deref(), Some("hallo"));
    assert_eq!(ask(&attributes(&[("tier", "1")])).await.as_deref(), Some("hello"));
    assert_eq!(ask(&attributes(&[("tier", "2")])).await, None);
    assert_eq!(store.delete_selected(cache(0), &carrying(&de), Timestamp(2)).await.unwrap(), 1);
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

/// Fills a graph, and keeps it with all that is in it. Whatever goes on in the background finds nothing more to link or keep.
async fn fill_and_keep(store: &EmbeddedStore, prompts: std::ops::Range<usize>) {
    fill(store, prompts).await;
    let index = store.inner.current().memory.index_of(cache(0), scope(0));
    while index.waiting() > 0 {
        // Another thread may be at it.
        if !index.absorb(|| true) {
            std::thread::yield_now();
        }
    }
    store.inner.save_graphs();
    assert_eq!(store.inner.current().memory.unsaved(), []);
}

#[tokio::test]
async fn graphs_are_kept_and_what_came_and_went_since_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    fill_and_keep(&store, 0..1500).await;
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

/// A database with a graph that a build before this one wrote.
const GRAPH_OF_BEFORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/graph");
const OF_BEFORE: std::ops::Range<usize> = 0..1040;

#[tokio::test]
#[ignore = "writes tests/data/graph anew"]
async fn write_a_graph() {
    let store = open(Path::new(GRAPH_OF_BEFORE));
    fill_and_keep(&store, OF_BEFORE).await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_graph_of_builds_before_is_taken_up_again() {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(GRAPH_OF_BEFORE).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let store = reopen(folder.path());
    let index = store.inner.current().memory.index_of(cache(0), scope(0));
    assert_eq!((index.len(), index.waiting()), (OF_BEFORE.len(), 0));
    assert_eq!(store.inner.current().memory.unsaved(), [], "it was linked again");
    assert_all_found(&store, OF_BEFORE).await;
    // It goes on growing.
    fill(&store, OF_BEFORE.end..OF_BEFORE.end + 100).await;
    assert_all_found(&store, OF_BEFORE.start..OF_BEFORE.end + 100).await;
}

#[tokio::test]
async fn a_graph_that_is_torn_or_damaged_is_linked_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    fill_and_keep(&store, 0..1500).await;
    let only = (cache(0), scope(0));
    let whole = store.inner.database.graphs().unwrap()[&only];

    // As a crash in the middle of the next one leaves it.
    // So few that they wait in the tail, and no other one is kept on its own meanwhile.
    fill(&store, 1500..1700).await;
    store.inner.database.tear_graph(cache(0), scope(0), whole + 1);
    assert_eq!(store.inner.database.graphs().unwrap()[&only], whole);
    drop(store);
    let store = reopen(folder.path());
    assert_eq!(store.inner.current().memory.size().entries, 1700);
    assert_all_found(&store, (0..1700).step_by(7)).await;

    fill_and_keep(&store, 1700..1701).await;
    let whole = store.inner.database.graphs().unwrap()[&only];
    store.inner.database.damage_graph(cache(0), scope(0), whole);
    drop(store);
    let store = reopen(folder.path());
    assert!(store.inner.database.graphs().unwrap().get(&only).is_none_or(|generation| *generation != whole));
    assert_eq!(store.inner.current().memory.size().entries, 1701);
    assert_all_found(&store, (0..1701).step_by(7)).await;
}

#[tokio::test]
async fn what_is_worth_least_goes_when_there_is_too_much() {
    const MAX: u64 = 200_000;
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions { max_bytes: MAX, ..options(folder.path()) };
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
    // The thread that evicts may be in the midst of it.
    while store.inner.current().memory.size().entries != store.holdings(cache(0)).entries {
        std::thread::yield_now();
    }
    let held = store.holdings(cache(0));
    assert!(held.bytes <= MAX && held.bytes > MAX / 2, "{held:?}");
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
    assert_eq!(store.inner.eviction.record(cache(0), &used[0]).map(|record| record.uses), Some(5));
}

#[tokio::test]
async fn what_is_missing_is_no_longer_counted() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let [there, gone] = ["there", "gone"].map(|prompt| entry(0, prompt, "an answer", &Attributes::default(), 99));
    let missing = gone.id();
    store.put_many(vec![there, gone]).await.unwrap();
    // As where a record outlives its entry.
    let entry = store.inner.database.gist(cache(0), missing).unwrap().unwrap().entry;
    let deletions = Deletions { entries: vec![(cache(0), entry)], ..Deletions::default() };
    store.inner.database.delete(&deletions, Durability::Fsync).unwrap();
    assert_eq!(store.holdings(cache(0)).entries, 2);
    assert!(!store.delete(cache(0), missing, Timestamp(0)).await.unwrap());
    let held = store.holdings(cache(0));
    assert_eq!(held.entries, 1);
    store.close().await.unwrap();
    drop(store);
    assert_eq!(reopen(folder.path()).holdings(cache(0)), held);
}

#[tokio::test]
async fn what_expires_together_goes_together_with_all_that_was_kept_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut ids = Vec::new();
    for n in 0..300 {
        // Some of one text, of which some stay.
        let (prompt, attributes) = (format!("prompt {}", n / 3), attributes(&[("n", &n.to_string())]));
        let new = entry(0, &prompt, "an answer", &attributes, if n % 3 == 0 { 99 } else { 9 });
        ids.push((prompt, attributes, new.id()));
        store.put(new).await.unwrap();
    }
    for (.., id) in &ids {
        store.quarantine(cache(0), *id, Quarantine::Everybody).await.unwrap();
    }
    assert_eq!(store.sweep(Timestamp(10)).await.unwrap(), 200);
    assert_eq!((store.holdings(cache(0)).entries, store.count_quarantined(cache(0))), (100, 100));
    assert_eq!(store.count_near(cache(0), scope(0)), 100);
    for (n, (prompt, attributes, id)) in ids.iter().enumerate() {
        let wanted = attributes.clone().into();
        let found = store.find_exact(cache(0), scope(0), TextHash::of(prompt), &wanted, Timestamp(1)).await.unwrap();
        assert_eq!(found.map(|entry| entry.id), (n % 3 == 0).then_some(*id));
    }
    assert_eq!(store.inner.database.expired(Timestamp(98), usize::MAX).unwrap(), []);
}

#[tokio::test]
async fn whoever_stores_makes_room_where_that_falls_behind() {
    let folder = tempfile::tempdir().unwrap();
    let max_bytes = 100_000;
    let store = EmbeddedStore::open(&OpenOptions { max_bytes, ..options(folder.path()) }, &identity("m")).unwrap();
    for n in 0..500 {
        store.put(entry(0, &format!("prompt {n}"), &"x".repeat(500), &Attributes::default(), 99)).await.unwrap();
        let held = store.holdings(cache(0)).bytes;
        assert!(held <= max_bytes + max_bytes / 50, "{held}");
    }
}

/// Stores 1,000 entries, and changes bytes of some family's tables once the store is closed.
async fn fill_and_damage(folder: &Path, family: &'static str, every: usize) {
    let store = open(folder);
    fill(&store, 0..1000).await;
    store.close().await.unwrap();
    let tables = store.inner.database.tables(family);
    drop(store);
    damage_tables(&tables, every);
}

/// Changes bytes of some family's tables, each so many behind the one before.
fn damage_tables(tables: &[std::path::PathBuf], every: usize) {
    for table in tables {
        let mut bytes = std::fs::read(table).unwrap();
        // What follows the rows says where they are.
        let end = bytes.len() * 3 / 4;
        (every / 2..end).step_by(every).for_each(|at| bytes[at] ^= 0x55);
        std::fs::write(table, bytes).unwrap();
    }
}

#[tokio::test]
async fn damaged_tables_of_graphs_cost_nothing_but_linking() {
    for every in [4096, usize::MAX / 2] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        fill(&store, 0..1500).await;
        store.close().await.unwrap();
        let tables = store.inner.database.tables("graphs");
        assert!(!tables.is_empty());
        drop(store);
        damage_tables(&tables, every.min(std::fs::metadata(&tables[0]).unwrap().len() as usize));
        let store = reopen(folder.path());
        assert_eq!(store.inner.current().memory.size().entries, 1500);
        assert_all_found(&store, (0..1500).step_by(7)).await;
        // It is kept again, and the damaged table is gone with the next start.
        fill(&store, 1500..1501).await;
        store.close().await.unwrap();
        drop(store);
        let store = reopen(folder.path());
        assert!(tables.iter().all(|table| !store.inner.database.tables("graphs").contains(table)));
        assert_all_found(&store, (0..1501).step_by(7)).await;
        fill(&store, 1501..1502).await;
        store.close().await.unwrap();
        drop(store);
        let store = reopen(folder.path());
        assert_eq!(store.inner.database.graphs().unwrap().len(), 1);
    }
}

/// The last log of writes as a killed process leaves it.
fn copy_of_a_killed_store(store: &EmbeddedStore, from: &Path, to: &Path) -> std::path::PathBuf {
    store.inner.database.flush_log().unwrap();
    for file in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if file.file_type().unwrap().is_file() && file.file_name() != "LOCK" {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    let files = std::fs::read_dir(to).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|is| is == "log")).max().unwrap()
}

#[tokio::test]
async fn a_damaged_log_costs_what_came_after_and_a_torn_one_the_last_write() {
    let there = async |store: &EmbeddedStore| {
        let mut there = Vec::new();
        for n in 0..200 {
            there.push(exact(store, 0, &format!("prompt {n}"), 2).await.is_some());
        }
        there
    };
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    fill(&store, 0..200).await;
    for (is_torn, least) in [(true, 199), (false, 80)] {
        let copy = tempfile::tempdir().unwrap();
        let log = copy_of_a_killed_store(&store, folder.path(), copy.path());
        let mut bytes = std::fs::read(&log).unwrap();
        if is_torn {
            bytes.truncate(bytes.len() - 10);
        } else {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        std::fs::write(&log, bytes).unwrap();
        let damaged = reopen(copy.path());
        let found = there(&damaged).await;
        let kept = found.iter().take_while(|there| **there).count();
        assert!(kept >= least && kept < 200, "{kept}");
        assert!(found[kept..].iter().all(|there| !there));
        // What was torn was never acknowledged; what comes behind damage was.
        assert_eq!(damaged.loss() == Loss::Suspected, !is_torn);
        assert_all_found(&damaged, 0..kept).await;
        damaged.put(entry(0, "another", "answer", &Attributes::default(), 99)).await.unwrap();
        damaged.close().await.unwrap();
        drop(damaged);
        assert_eq!(there(&reopen(copy.path())).await, found);
    }
}

#[tokio::test]
async fn damaged_tables_of_entries_cost_what_they_held() {
    let folder = tempfile::tempdir().unwrap();
    fill_and_damage(folder.path(), "entries", 40_000).await;
    let store = reopen(folder.path());
    let (mut found, mut after) = (0, None);
    loop {
        let page = store.page(Some(cache(0)), after, 100).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(Position { cache: last.cache, entry: last.entry.id });
        found += page.len();
    }
    assert!(found > 800 && found < 1000, "{found}");
    let deleted = store.delete_selected(cache(0), &Selection::default(), Timestamp(2)).await.unwrap();
    assert_eq!(deleted, found as u64);
}

/// Needs to mount a small disk, and does nothing where that isn't allowed.
#[tokio::test]
async fn stores_go_on_when_a_full_disk_has_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |command: &str, arguments: &[&str]| {
        let done = std::process::Command::new(command).args(arguments).arg(folder.path()).output();
        done.is_ok_and(|done| done.status.success())
    };
    if !mount("mount", &["-t", "tmpfs", "-o", "size=80m", "tmpfs"]) {
        return;
    }
    let store = open(&folder.path().join("db"));
    let ballast = folder.path().join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 1 << 16]).is_ok() {}
    drop(file);
    let large = |n: usize| {
        let text: String = (0..500_000).map(|at| char::from(b'a' + ((at * at + n) % 23) as u8)).collect();
        entry(0, &format!("prompt {n}"), &text, &Attributes::default(), 99)
    };
    let mut n = 0;
    while store.put(large(n)).await.is_ok() {
        n += 1;
        assert!(n < 1000);
    }
    assert!(store.put(large(n)).await.is_err());
    std::fs::remove_file(&ballast).unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while let Err(error) = store.put(large(n)).await {
        assert!(Instant::now() < until, "{error:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(exact(&store, 0, &format!("prompt {n}"), 2).await.is_some());
    store.close().await.unwrap();
    drop(store);
    assert!(mount("umount", &["-l"]));
}

#[tokio::test]
async fn nothing_is_left_to_scan_when_stores_that_outran_linking_have_ended() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for round in 0..10 {
        // So many that both threads are asked, and one of them finds the other at it.
        let of = |n: usize| entry(1, &format!("{round} {n}"), "a", &Attributes::default(), u64::MAX);
        store.put_many((0..URGENT + 500).map(of).collect()).await.unwrap();
        // Both threads are polite: on a busy machine it takes long, but it goes on.
        let (mut left, mut since) = (store.unlinked(), Instant::now());
        while left > 0 {
            assert!(since.elapsed() < Duration::from_secs(120), "{left} are left in round {round}");
            tokio::time::sleep(Duration::from_millis(2)).await;
            let now = store.unlinked();
            if now != left {
                (left, since) = (now, Instant::now());
            }
        }
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_graph_is_kept_while_it_grows() {
    let folder = tempfile::tempdir().unwrap();
    let store = reopen(folder.path());
    // No other thread links meanwhile.
    store.inner.due.close();
    let index = {
        fill(&store, 0..1).await;
        store.inner.current().memory.index_of(cache(0), scope(0))
    };
    for n in 1..6000 {
        let id = EntryId::new(scope(0), TextHash::of(&n.to_string()), &Attributes::default());
        let row = Row { key: id, expiry: Expiry::NEVER, tags: Box::default() };
        index.insert(row, &vector(&n.to_string()).vector);
    }
    let kept = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let save = store.inner.saver(cache(0), scope(0));
    index.keep_up(
        || true,
        || {
            save();
            kept.borrow_mut().extend(store.inner.database.graphs().unwrap().into_values());
        },
    );
    assert!(kept.borrow().len() >= 3 && kept.borrow().len() <= 5, "{kept:?}");
}

/// An entry for chats, of one cache.
fn curated(prompt: &str, text: &str, curation: Curation) -> NewEntry {
    let plain = entry(0, prompt, text, &Attributes::default(), u64::MAX);
    NewEntry { fingerprint: Curation::fingerprint(), curation: Some(curation), ..plain }
}

fn asks(model: &str, system: Option<&str>) -> EntryFilter {
    let chat = ChatContext { model: Some(model.into()), system: system.map(str::to_owned), namespace: None };
    EntryFilter { chat: Some(chat), ..EntryFilter::default() }
}

fn for_model(model: &str) -> Curation {
    Curation { models: vec![model.into()], ..Curation::default() }
}

#[tokio::test]
async fn curated_entries_answer_the_chats_that_they_are_for_and_the_most_specific_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let polite = Curation { system: Some("Be polite.".into()), ..Curation::default() };
    for new in [
        curated("hi", "to all", Curation::default()),
        curated("hi", "to m", for_model("m")),
        curated("hi", "politely", polite.clone()),
        curated("bye", "only to n", for_model("n")),
    ] {
        store.put(new).await.unwrap();
    }
    for _ in 0..2 {
        let scope = ScopeKey::new(cache(0), &Curation::fingerprint());
        let exact = async |prompt: &str, wanted: EntryFilter| {
            let found = store.find_exact(cache(0), scope, TextHash::of(prompt), &wanted, Timestamp(2)).await.unwrap();
            found.map(|entry| entry.answer.text)
        };
        let near = async |wanted: EntryFilter| {
            let found = store.nearest(cache(0), scope, &vector("hi"), 9, &wanted, Timestamp(2)).await.unwrap();
            let mut texts = Vec::new();
            for found in found {
                let entry = store.get(cache(0), found.entry.id, Timestamp(2)).await.unwrap().unwrap();
                assert_eq!(gist(&entry.answer), found.entry.answer);
                texts.push(entry.answer.text);
            }
            texts.sort();
            texts
        };
        assert_eq!(exact("hi", asks("m", None)).await.as_deref(), Some("to m"));
        assert_eq!(exact("hi", asks("x", None)).await.as_deref(), Some("to all"));
        assert_eq!(exact("hi", asks("x", Some("Be polite."))).await.as_deref(), Some("politely"));
        assert_eq!(exact("bye", asks("m", None)).await, None);
        assert_eq!(near(asks("m", None)).await, ["to all", "to m"]);
        assert_eq!(near(asks("n", Some("Be polite."))).await, ["only to n", "politely", "to all"]);
        let holdings = store.holdings(cache(0));
        assert_eq!((holdings.entries, holdings.curated, holdings.bytes), (4, 4, holdings.curated_bytes));
        assert!(store.may_hold_curated(cache(0)) && !store.may_hold_curated(cache(1)));
        drop(store);
        store = open(folder.path());
    }
    let id =
        polite.entry_id(ScopeKey::new(cache(0), &Curation::fingerprint()), TextHash::of("hi"), &Attributes::default());
    assert!(store.delete(cache(0), id, Timestamp(2)).await.unwrap());
    assert_eq!(store.holdings(cache(0)).curated, 3);
}

#[tokio::test]
async fn curated_entries_stay_where_others_go_and_are_refused_beyond_their_room() {
    let folder = tempfile::tempdir().unwrap();
    let store =
        EmbeddedStore::open(&OpenOptions { max_bytes: 20_000, ..options(folder.path()) }, &identity("m")).unwrap();
    store.put(curated("kept", &"x".repeat(2000), Curation::default())).await.unwrap();
    for n in 0..100 {
        store.put(entry(0, &format!("prompt {n}"), &"x".repeat(1000), &Attributes::default(), 99)).await.unwrap();
    }
    while store.inner.eviction.is_over() {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.holdings(cache(0)).curated, 1);
    assert!(store.holdings(cache(0)).entries < 30);
    store.limit(cache(0), u64::MAX, 3000);
    store.put(curated("second", &"x".repeat(2000), Curation::default())).await.unwrap();
    let refused = store.put(curated("third", "x", Curation::default())).await;
    assert!(matches!(refused, Err(StoreError::CuratedFull(3000))), "{refused:?}");
    // One that is there may be replaced.
    store.put(curated("second", "shorter", Curation::default())).await.unwrap();
    store.put(curated("third", "x", Curation::default())).await.unwrap();
    store.limit(cache(0), u64::MAX, u64::MAX);
    store.put(curated("large", &"x".repeat(9000), Curation::default())).await.unwrap();
    let refused = store.put(curated("beyond half of all", "x", Curation::default())).await;
    assert!(matches!(refused, Err(StoreError::CuratedFull(10_000))), "{refused:?}");
}

#[tokio::test]
async fn entries_are_selected_by_all_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let tagged = |prompt: &str, tags: &[&str], created: u64| NewEntry {
        tags: Tags::new(tags.iter().map(|tag| (*tag).to_owned())),
        created: Timestamp(created),
        ..entry(0, prompt, "an answer", &Attributes::default(), u64::MAX)
    };
    for new in [tagged("a", &["docs", "v1"], 10), tagged("b", &["docs"], 20), tagged("c", &[], 30)] {
        store.put(new).await.unwrap();
    }
    store.put(curated("d", "an answer", Curation::default())).await.unwrap();
    store.put(NewEntry { vector: Vector::None, ..tagged("e", &[], 40) }).await.unwrap();
    let of = async |selection: &Selection| {
        let (count, found) = store.select(cache(0), selection, Timestamp(50), 100).await.unwrap();
        assert_eq!(count, found.len() as u64);
        let mut prompts: Vec<_> = found.into_iter().map(|selected| selected.entry.prompt).collect();
        prompts.sort();
        prompts.concat()
    };
    let tags = |tags: &[&str]| Some(Tags::new(tags.iter().map(|tag| (*tag).to_owned())));
    let all = Selection::default();
    let near = |text: &str, min_cosine| Near { text: text.into(), embedding: Some(vector(text)), min_cosine };
    assert_eq!(of(&all).await, "abcde");
    assert_eq!(of(&Selection { tags: tags(&["v1", "other"]), ..all.clone() }).await, "a");
    assert_eq!(of(&Selection { tags: tags(&["docs"]), stored_before: Some(Timestamp(20)), ..all.clone() }).await, "a");
    assert_eq!(of(&Selection { curated: Some(true), ..all.clone() }).await, "d");
    assert_eq!(of(&Selection { curated: Some(false), ..all.clone() }).await, "abce");
    let exactly = Cosine::new(0.9999);
    assert_eq!(of(&Selection { near: Some(near("d", exactly)), ..all.clone() }).await, "d");
    // Without a vector, an entry is near to its own text only.
    assert_eq!(of(&Selection { near: Some(near("e", exactly)), ..all.clone() }).await, "e");
    assert_eq!(of(&Selection { near: Some(near("b", Cosine::new(-1.0))), ..all.clone() }).await, "abcd");
    let other = Near { embedding: Some(vector_by("other", "b")), ..near("b", exactly) };
    let selected = store.select(cache(0), &Selection { near: Some(other), ..all.clone() }, Timestamp(50), 9).await;
    assert!(matches!(selected, Err(StoreError::OtherModel)));
    let docs = Selection { tags: tags(&["docs"]), ..all.clone() };
    assert_eq!(store.delete_selected(cache(0), &docs, Timestamp(50)).await.unwrap(), 2);
    assert_eq!(of(&all).await, "cde");
    let (count, some) = store.select(cache(0), &all, Timestamp(50), 2).await.unwrap();
    assert_eq!((count, some.len()), (3, 2));
}

#[tokio::test]
async fn a_cache_that_was_removed_has_left_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for n in 0..2 {
        store.add_cache(&CacheName { tenant: "t".into(), id: n.to_string() }).await.unwrap();
        store.put(entry(n, "hi", "hello", &Attributes::default(), u64::MAX)).await.unwrap();
        store.save_state(cache(n), "state", vec![1]).await.unwrap();
        store.keep_decisions(cache(n), vec![([1; 16], vec![1])]).await.unwrap();
    }
    store.remove_cache(cache(0)).await.unwrap();
    let caches: Vec<String> = store.caches().await.unwrap().into_iter().map(|name| name.id).collect();
    assert_eq!(caches, ["1"]);
    for n in 0..2 {
        let is_there = n == 1;
        assert_eq!(exact(&store, n, "hi", 2).await.is_some(), is_there);
        assert_eq!(near(&store, n, "hi", 2).await.is_empty(), !is_there);
        assert_eq!(store.load_state(cache(n), "state").await.unwrap().is_some(), is_there);
        assert_eq!(store.decision(cache(n), [1; 16]).await.unwrap().is_some(), is_there);
        assert_eq!(store.holdings(cache(n)).entries, usize::from(is_there));
    }
}

/// A closed store with one entry.
async fn closed(path: &Path) {
    let store = open(path);
    store.put(entry(1, "a", "x", &Attributes::default(), u64::MAX)).await.unwrap();
    store.close().await.unwrap();
}

fn refusal(path: &Path) -> OpenError {
    match EmbeddedStore::open(&options(path), &identity("m")) {
        Ok(_) => panic!("it opens"),
        Err(error) => error,
    }
}

/// Removes the files whose names are such.
fn remove(folder: &Path, is: impl Fn(&str) -> bool) {
    for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap()) {
        if is(&file.file_name().to_string_lossy()) {
            std::fs::remove_file(file.path()).unwrap();
        }
    }
}

#[tokio::test]
async fn a_database_that_lacks_a_file_is_refused_never_begun_anew_and_can_be_mended() {
    let whole = tempfile::tempdir().unwrap();
    let store = open(whole.path());
    fill(&store, 0..100).await;
    store.close().await.unwrap();
    drop(store);
    let store = open(whole.path());
    fill(&store, 100..200).await;
    type Is = fn(&str) -> bool;
    let files: [(&str, Is, bool); 4] = [
        ("CURRENT", |name| name == "CURRENT", true),
        ("MANIFEST", |name| name.starts_with("MANIFEST"), true),
        ("table", |name| name.ends_with(".sst"), false),
        ("log", |name| name.ends_with(".log"), false),
    ];
    for (missing, is, all_is_there) in files {
        let parent = tempfile::tempdir().unwrap();
        let copy = parent.path().join("data");
        std::fs::create_dir(&copy).unwrap();
        copy_of_a_killed_store(&store, whole.path(), &copy);
        remove(&copy, is);
        let tables = || {
            let files = std::fs::read_dir(&copy).unwrap().map(|file| file.unwrap().path());
            files.filter(|file| file.extension().is_some_and(|ending| ending == "sst")).collect::<BTreeSet<_>>()
        };
        let before = tables();
        let refusal = refusal(&copy);
        let said = refusal.to_string();
        assert!(matches!(refusal, OpenError::Incomplete { .. }) && said.contains(missing), "{missing}: {said}");
        assert_eq!(tables(), before, "{missing}");
        let problems = examine(&copy).problems;
        assert!(matches!(problems[..], [Problem::Unopenable(_)]) && problems[0].to_string().contains("--mend"));

        let aside = mend(&copy, false).unwrap();
        assert!(
            aside.starts_with(parent.path())
                && !std::fs::read_dir(&aside).unwrap().any(|file| is(&file.unwrap().file_name().to_string_lossy()))
        );
        let found = examine(&copy);
        assert!(matches!(found.problems.last(), Some(Problem::Loss)), "{missing}: {:?}", found.problems);
        assert_eq!(found.entries == 200, all_is_there, "{missing}: {}", found.entries);
        assert!(found.entries > 0 || missing == "table", "{missing}");
        let mended = reopen(&copy);
        assert_eq!(mended.loss(), Loss::Suspected);
        mended.loss_is_known().await.unwrap();
        mended.close().await.unwrap();
        drop(mended);
        assert_eq!(open(&copy).loss(), Loss::None);
        mend(&copy, true).unwrap();
        assert_eq!(open(&copy).loss(), Loss::None);
    }
    // What is whole has no problem.
    store.close().await.unwrap();
    drop(store);
    let found = examine(whole.path());
    assert!(found.problems.is_empty() && found.entries == 200, "{found:?}");
}

#[tokio::test]
async fn what_was_closed_needs_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    fill(&store, 0..10).await;
    store.close().await.unwrap();
    drop(store);
    remove(folder.path(), |name| name.ends_with(".log"));
    let store = reopen(folder.path());
    assert_all_found(&store, 0..10).await;
    assert_eq!(store.loss(), Loss::None);
}

#[tokio::test]
async fn damage_is_examined() {
    let folder = tempfile::tempdir().unwrap();
    fill_and_damage(folder.path(), "vectors-a", 20_000).await;
    let found = examine(folder.path());
    assert_eq!(found.entries, 1000);
    let unreadable =
        |problem: &Problem| matches!(problem, Problem::Unreadable { family: "vectors-a", places } if *places > 0);
    assert!(found.problems.iter().any(unreadable), "{:?}", found.problems);
    assert!(found.problems.iter().any(|problem| matches!(problem, Problem::WithoutVector(_))));
}

/// A database with nothing around it.
fn open_raw(path: &Path) -> rocksdb::DB {
    let options = rocksdb::Options::default();
    let families = rocksdb::DB::list_cf(&options, path).unwrap();
    rocksdb::DB::open_cf(&options, path, families).unwrap()
}

#[tokio::test]
async fn a_missing_answer_is_told_and_costs_no_other_entry() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (none, answer) = (Attributes::default(), "long ".repeat(1000));
    for prompt in ["gone", "there"] {
        store.put(entry(0, prompt, &answer, &none, 99)).await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let id = |prompt| EntryId::new(scope(0), TextHash::of(prompt), &none);
    let database = open_raw(folder.path());
    let answers = database.cf_handle("answers").unwrap();
    database.delete_cf(answers, [&cache(0).0[..], &id("gone").0].concat()).unwrap();
    drop(database);

    let found = examine(folder.path());
    assert!(matches!(found.problems[..], [Problem::Unreadable { family: "entries", places: 1 }]), "{found:?}");
    let store = open(folder.path());
    let get = async |prompt| store.get(cache(0), id(prompt), Timestamp(0)).await;
    assert!(matches!(get("gone").await, Err(StoreError::Damaged(_))));
    assert_eq!(get("there").await.unwrap().unwrap().answer.text, answer);
    let page = store.page(None, None, 9).await.unwrap();
    assert_eq!(page.into_iter().map(|stored| stored.entry.prompt).collect::<Vec<_>>(), ["there"]);
    let wanted = EntryFilter::default();
    let near = store.nearest(cache(0), scope(0), &vector("gone"), 9, &wanted, Timestamp(0)).await.unwrap();
    assert_eq!((near.len(), near[0].entry.answer), (2, gist(&Answer { text: answer.clone(), ..Answer::default() })));
    store.put(entry(0, "gone", "back", &none, 99)).await.unwrap();
    assert_eq!(get("gone").await.unwrap().unwrap().answer.text, "back");
    assert!(store.delete(cache(0), id("there"), Timestamp(0)).await.unwrap());
    assert_eq!(store.inner.database.count_answers_apart(), 0);
}

#[tokio::test]
async fn a_database_of_a_later_version_is_refused_and_one_of_before_becomes_this_ones() {
    let folder = tempfile::tempdir().unwrap();
    closed(folder.path()).await;
    let schema = |to: Option<u8>| {
        let database = open_raw(folder.path());
        // A version byte, and the schema behind it.
        let mut identity = database.get("identity").unwrap().unwrap();
        let found = identity[1];
        if let Some(to) = to {
            identity[1] = to;
            database.put("identity", identity).unwrap();
        }
        found
    };
    let current = schema(Some(3));
    open(folder.path()).close().await.unwrap();
    assert_eq!(schema(Some(current + 1)), current);
    let refusal = refusal(folder.path());
    assert!(matches!(refusal, OpenError::TooNew { .. }), "{refusal}");
    schema(Some(current));

    let mut database = open_raw(folder.path());
    database.create_cf("of-tomorrow", &rocksdb::Options::default()).unwrap();
    drop(database);
    let refusal = self::refusal(folder.path());
    assert!(refusal.to_string().contains("of-tomorrow"), "{refusal}");
}

#[tokio::test]
async fn a_quarantine_goes_with_its_entry_however_that_goes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let none = Attributes::default();
    let new = |prompt: &str, text: &str| entry(1, prompt, text, &none, 100);
    let wrong = async |prompt: &str| {
        let id = store.put(new(prompt, "wrong")).await.unwrap();
        assert!(store.quarantine(cache(1), id, Quarantine::NearPrompts).await.unwrap());
        assert!(!store.quarantine(cache(1), id, Quarantine::NearPrompts).await.unwrap());
        assert_eq!(store.quarantined(cache(1), &id), Some(Quarantine::NearPrompts));
        id
    };
    let (replaced, same, deleted, expired) =
        (wrong("replaced").await, wrong("same").await, wrong("deleted").await, wrong("expired").await);
    store.put(new("replaced", "another")).await.unwrap();
    store.put(new("same", "wrong")).await.unwrap();
    store.delete(cache(1), deleted, Timestamp(0)).await.unwrap();
    assert_eq!(store.quarantined(cache(1), &replaced), None);
    assert_eq!(store.quarantined(cache(1), &same), Some(Quarantine::NearPrompts));
    assert_eq!(store.count_quarantined(cache(1)), 2);
    assert!(store.quarantine(cache(1), same, Quarantine::Everybody).await.unwrap());
    store.close().await.unwrap();
    drop(store);

    let store = open(folder.path());
    assert_eq!(store.quarantined(cache(1), &same), Some(Quarantine::Everybody));
    assert_eq!((store.quarantined(cache(1), &expired).is_some(), store.count_quarantined(cache(1))), (true, 2));
    store.sweep(Timestamp(1000)).await.unwrap();
    assert_eq!(store.count_quarantined(cache(1)), 0);
    let again = store.put(NewEntry { expires: Timestamp(u64::MAX), ..new("again", "x") }).await.unwrap();
    store.quarantine(cache(1), again, Quarantine::Everybody).await.unwrap();
    store.flush(cache(1)).await.unwrap();
    assert_eq!(store.count_quarantined(cache(1)), 0);
    assert!(!store.quarantine(cache(1), again, Quarantine::Everybody).await.unwrap(), "nothing is there");
    store.close().await.unwrap();
    drop(store);
    assert_eq!(open(folder.path()).count_quarantined(cache(1)), 0);
}
