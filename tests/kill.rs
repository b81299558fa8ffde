//! A store that is killed at any moment, under load, again and again: what was acknowledged is there and whole, what was
//! deleted stays away, and exact and semantic answers agree with a model that this test keeps outside.
//!
//! The store runs in a child process, this very program, which says on its standard output what it is about to do and what
//! was acknowledged. `REFRAIN_KILLS` sets how often it is killed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use refrain::config::Durability;
use refrain::embed::{Embedding, ModelDigest, ModelIdentity, TextEmbedding};
use refrain::store::embedded::{EmbeddedStore, OpenError, OpenOptions};
use refrain::store::{Answer, Attributes, CacheKey, EntryId, NewEntry, ScopeKey, Store, TextHash, Timestamp, Vector};

const DIMENSION: usize = 16;
const NOW: Timestamp = Timestamp(1);
/// Prompts of each worker, who has a cache of its own. The first one's scope is large enough for a graph.
const PROMPTS: [u32; 3] = [3000, 300, 20];
const KILLS: u64 = 200;
/// The child runs so long at most; each tenth time so long that graphs are built and saved.
const LIFE: Duration = Duration::from_millis(120);
const LONG_LIFE: Duration = Duration::from_millis(1500);
const CHILD: &str = "REFRAIN_KILL_CHILD";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Put { prompt: u32, version: u32 },
    Delete { prompt: u32 },
    Flush,
}

/// What should be there: each worker's prompts with the version of their answers.
type Model = Vec<BTreeMap<u32, u32>>;

fn apply(model: &mut BTreeMap<u32, u32>, op: Op) {
    match op {
        Op::Put { prompt, version } => drop(model.insert(prompt, version)),
        Op::Delete { prompt } => drop(model.remove(&prompt)),
        Op::Flush => model.clear(),
    }
}

fn cache(worker: usize) -> CacheKey {
    CacheKey::new("t", &worker.to_string())
}

fn scope(worker: usize) -> ScopeKey {
    ScopeKey::new(cache(worker), &[7; 32])
}

fn text(worker: usize, prompt: u32) -> String {
    format!("prompt {prompt} of {worker}")
}

fn id(worker: usize, prompt: u32) -> EntryId {
    EntryId::new(scope(worker), TextHash::of(&text(worker, prompt)), &Attributes::default())
}

/// Long enough that half of it would be noticed.
fn answer(worker: usize, prompt: u32, version: u32) -> String {
    format!("{worker} {prompt} {version};").repeat(1 + version as usize % 50)
}

fn vector(worker: usize, prompt: u32) -> TextEmbedding {
    let hash = blake3::hash(text(worker, prompt).as_bytes());
    let values = hash.as_bytes()[..DIMENSION].iter().map(|byte| f32::from(*byte) - 127.5).collect();
    TextEmbedding { vector: Embedding::normalised(values).unwrap(), blurred: false, tokens: 1, model: digest() }
}

fn digest() -> ModelDigest {
    ModelDigest::new("m")
}

fn new_entry(worker: usize, prompt: u32, version: u32) -> NewEntry {
    NewEntry {
        cache: cache(worker),
        fingerprint: [7; 32],
        prompt: text(worker, prompt),
        answer: Answer { text: answer(worker, prompt, version), completion: None },
        attributes: Attributes::default(),
        created: NOW,
        expires: Timestamp(u64::MAX),
        cost_millis: 1,
        uses: 0,
        vector: Vector::New(vector(worker, prompt)),
    }
}

fn open(path: &Path, durability: Durability) -> EmbeddedStore {
    let options = OpenOptions { path: path.into(), durability, most_bytes: u64::MAX };
    let model = ModelIdentity { name: "m".into(), dimension: DIMENSION, digest: digest() };
    loop {
        match EmbeddedStore::open(&options, &model) {
            Ok(store) => return store,
            // A process that was killed is gone a moment later.
            Err(OpenError::InUse { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// xorshift64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as u32 % end
    }

    fn op(&mut self, worker: usize) -> Op {
        let prompt = self.below(PROMPTS[worker]);
        match self.below(1000) {
            // The large one needs time to grow.
            0 if worker > 0 || self.below(20) == 0 => Op::Flush,
            1..200 => Op::Delete { prompt },
            _ => Op::Put { prompt, version: self.below(1_000_000) },
        }
    }
}

/// Not a test: what the child does until it is killed.
#[test]
#[ignore = "is run by the other test"]
fn child() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let mut arguments = arguments.splitn(3, ' ');
    let mut argument = || arguments.next().unwrap();
    let (seed, fsync, path) = (argument().parse::<u64>().unwrap(), argument() == "fsync", argument().to_owned());
    let durability = if fsync { Durability::Fsync } else { Durability::Buffered };
    let store = Arc::new(open(path.as_ref(), durability));
    // A whole line at a time, past all buffers.
    let say = |line: String| std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
    say("ready".into());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let workers = (0..PROMPTS.len()).map(|worker| {
        let store = Arc::clone(&store);
        runtime.spawn(async move {
            let mut dice = Dice((seed * 31 + worker as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            loop {
                let op = dice.op(worker);
                match op {
                    Op::Put { prompt, version } => say(format!("begin {worker} put {prompt} {version}")),
                    Op::Delete { prompt } => say(format!("begin {worker} delete {prompt}")),
                    Op::Flush => say(format!("begin {worker} flush")),
                }
                match op {
                    Op::Put { prompt, version } => drop(store.put(new_entry(worker, prompt, version)).await.unwrap()),
                    Op::Delete { prompt } => drop(store.delete(cache(worker), id(worker, prompt), NOW).await.unwrap()),
                    Op::Flush => store.flush(cache(worker)).await.unwrap(),
                }
                say(format!("done {worker}"));
            }
        })
    });
    runtime.block_on(futures_util::future::join_all(workers.collect::<Vec<_>>()));
}

/// Starts a child, kills it after a while, and brings the model up to date. Returns what each worker was about to do, and how
/// many operations were acknowledged.
fn run_and_kill(path: &Path, seed: u64, dice: &mut Dice, model: &mut Model) -> (Vec<Option<Op>>, usize) {
    let durability = if seed.is_multiple_of(4) { "fsync" } else { "buffered" };
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{seed} {durability} {}", path.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("ready"));
    let life = if seed % 10 == 9 { LONG_LIFE } else { LIFE } * dice.below(100) / 100;
    let killer = std::thread::spawn(move || {
        std::thread::sleep(life);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let mut about_to = vec![None; PROMPTS.len()];
    let mut acknowledged = 0;
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u32>().unwrap_or_else(|_| panic!("the child says {line}"));
        let worker = number(1) as usize;
        match words[0] {
            "begin" => {
                about_to[worker] = Some(match words[2] {
                    "put" => Op::Put { prompt: number(3), version: number(4) },
                    "delete" => Op::Delete { prompt: number(3) },
                    _ => Op::Flush,
                });
            }
            "done" => {
                apply(&mut model[worker], about_to[worker].take().unwrap());
                acknowledged += 1;
            }
            _ => panic!("the child says {line}"),
        }
    }
    killer.join().unwrap();
    (about_to, acknowledged)
}

/// All entries that the store has of a worker.
async fn contents(store: &EmbeddedStore, worker: usize) -> BTreeMap<u32, u32> {
    let mut found = BTreeMap::new();
    for prompt in 0..PROMPTS[worker] {
        let text = text(worker, prompt);
        let (hash, attributes) = (TextHash::of(&text), Attributes::default());
        let exact = store.find_exact(cache(worker), scope(worker), hash, &attributes, NOW).await.unwrap();
        assert_eq!(exact, store.get(cache(worker), id(worker, prompt), NOW).await.unwrap());
        if let Some(entry) = exact {
            assert_eq!(entry.prompt, text);
            let version = entry.answer.text.split([' ', ';']).nth(2).unwrap().parse().unwrap();
            assert_eq!(entry.answer.text, answer(worker, prompt, version), "an answer is not whole");
            found.insert(prompt, version);
        }
    }
    found
}

/// Asks with every so many prompts' own vectors: they must be found if they are there, and nothing that isn't.
async fn assert_searches_agree(store: &EmbeddedStore, worker: usize, model: &BTreeMap<u32, u32>, offset: u32) {
    let (mut asked, mut missed) = (0, 0);
    for prompt in (0..PROMPTS[worker]).skip(offset as usize % 7).step_by(7) {
        let query = vector(worker, prompt);
        let near = store.nearest(cache(worker), scope(worker), &query, 5, &Attributes::default(), NOW).await.unwrap();
        for candidate in &near {
            let number = candidate.entry.prompt.split(' ').nth(1).unwrap().parse::<u32>().unwrap();
            let version = model.get(&number).expect("an entry that isn't there is found");
            assert_eq!(candidate.entry.answer.text, answer(worker, number, *version));
        }
        assert_eq!(near.len(), model.len().min(5));
        if model.contains_key(&prompt) {
            asked += 1;
            missed += usize::from(near[0].entry.id != id(worker, prompt));
        }
    }
    // A graph is approximate.
    assert!(missed * 50 <= asked, "{missed} of {asked} are not found");
}

#[test]
fn what_was_acknowledged_survives_being_killed() {
    let kills = std::env::var("REFRAIN_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut dice = Dice(42);
    let mut model: Model = PROMPTS.iter().map(|_| BTreeMap::new()).collect();
    let mut acknowledged = 0;
    {
        let store = open(folder.path(), Durability::Buffered);
        for prompt in 0..PROMPTS[0] {
            runtime.block_on(store.put(new_entry(0, prompt, 0))).unwrap();
            model[0].insert(prompt, 0);
        }
        runtime.block_on(store.close()).unwrap();
    }
    for kill in 0..kills {
        let (about_to, done) = run_and_kill(folder.path(), kill, &mut dice, &mut model);
        acknowledged += done;
        let store = open(folder.path(), Durability::Buffered);
        runtime.block_on(async {
            for (worker, about_to) in about_to.into_iter().enumerate() {
                let found = contents(&store, worker).await;
                // What was under way may have happened, or not at all.
                if let Some(op) = about_to
                    && found != model[worker]
                {
                    apply(&mut model[worker], op);
                }
                assert_eq!(found, model[worker], "kill {kill}, worker {worker}");
                assert_eq!(store.holdings(cache(worker)).entries, found.len(), "kill {kill}, worker {worker}");
                while matches!(
                    store.nearest(cache(worker), scope(worker), &vector(0, 0), 1, &Attributes::default(), NOW).await,
                    Err(refrain::store::StoreError::Loading)
                ) {
                    tokio::task::yield_now().await;
                }
                assert_searches_agree(&store, worker, &model[worker], kill as u32).await;
            }
        });
    }
    println!("{kills} kills, {acknowledged} operations acknowledged");
    assert!(acknowledged > 20 * kills as usize, "there was hardly any load: {acknowledged}");
}
