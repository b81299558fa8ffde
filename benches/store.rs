//! What storing costs, how lookups fare beside it, how soon a store answers after a start, and how much memory it takes.
//!
//! `cargo bench --bench store -- TRACE.jsonl… [--size 100000] [--directory DIR]`: the traces' prompts are embedded, jittered
//! to as many vectors as wanted and stored in one scope, without HTTP and without embedding them again. With `--directory` the
//! database stays, and is used again by the next run.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints, and stops where it can't go on"
)]

#[path = "common/jitter.rs"]
mod jitter;
#[path = "common/traces.rs"]
mod traces;
#[path = "common/vectors.rs"]
mod vectors;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use jitter::Jitter;
use refrain::config::Durability;
use refrain::embed::{Embedding, ModelDigest, ModelIdentity, TextEmbedding};
use refrain::store::embedded::{EmbeddedStore, OpenOptions};
use refrain::store::{
    Answer, Attributes, CacheKey, EntryFilter, NewEntry, ScopeKey, Store, StoreError, Tags, TextHash, Timestamp, Vector,
};

/// Of each answer.
const ANSWER_BYTES: usize = 600;
/// How long each kind of load goes on.
const WHILE: Duration = Duration::from_secs(5);
/// Stores a second beside lookups.
const LOAD: u32 = 2000;
/// Entries that are imported beside lookups at most, and how many at once.
const IMPORTED: usize = 150_000;
const BATCH: usize = 500;
const NOW: Timestamp = Timestamp(1);
const REOPEN: &str = "--reopen";

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if let Some(directory) = option(REOPEN) {
        runtime.block_on(reopen(Path::new(&directory), option("--size").expect("a size").parse().expect("a number")));
        return;
    }
    let size: usize = option("--size").map_or(100_000, |size| size.parse().expect("a number"));
    let temporary = tempfile::tempdir().expect("a directory");
    let directory = option("--directory").map_or_else(|| temporary.path().join("data"), PathBuf::from);
    let is_filled = directory.exists();
    let source = Arc::new(Source::new());

    if !is_filled {
        let before = resident();
        let store = Arc::new(open(&directory, Durability::Buffered));
        let started = Instant::now();
        let bar = indicatif::ProgressBar::new(size as u64);
        let mut at = Instant::now();
        for n in 0..size {
            if n == size - size / 10 {
                at = Instant::now();
            }
            runtime.block_on(store.put(source.entry(n))).expect("to be stored");
            bar.inc(1);
        }
        bar.finish_and_clear();
        let rate = (size / 10) as f64 / at.elapsed().as_secs_f64();
        println!(
            "{size} entries in {:.1} s; the last tenth at {rate:.0} stores/s, one caller",
            started.elapsed().as_secs_f64()
        );
        wait_for_links(&store);
        let bytes = resident().saturating_sub(before) as f64;
        println!(
            "all linked after {:.1} s; {:.0} bytes an entry in memory, before any restart",
            started.elapsed().as_secs_f64(),
            bytes / size as f64
        );
        runtime.block_on(store.close()).expect("to be closed");
    }
    restart(&directory, size);

    println!("\nstores/s at {size} entries   1 caller   8 callers   32 callers");
    for durability in [Durability::Buffered, Durability::Fsync] {
        let store = Arc::new(loaded(&runtime, &directory, durability));
        let rates = [1, 8, 32].map(|callers| runtime.block_on(stores(&store, &source, callers)));
        println!(
            "{:<25}   {:8.0}   {:9.0}   {:10.0}",
            format!("{durability:?}").to_lowercase(),
            rates[0],
            rates[1],
            rates[2]
        );
        runtime.block_on(store.close()).expect("to be closed");
    }

    println!("\none caller's lookups        p50 µs    p99 µs   p99.9 µs");
    let store = Arc::new(loaded(&runtime, &directory, Durability::Buffered));
    wait_for_links(&store);
    report("quiet", &runtime.block_on(lookups(&store, &source, size)));
    // What is stored beyond the budget makes others go; graphs grow, die and are saved.
    store.limit(cache(), store.holdings(cache()).bytes, u64::MAX);
    let (stop, stored) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = runtime.spawn(load(Arc::clone(&store), Arc::clone(&source), Arc::clone(&stop), Arc::clone(&stored)));
    while stored.load(Ordering::Relaxed) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let busy = runtime.block_on(lookups(&store, &source, size));
    stop.store(true, Ordering::Relaxed);
    runtime.block_on(load).expect("no panic");
    let rate = stored.load(Ordering::Relaxed) as f64 / WHILE.as_secs_f64();
    report(&format!("{rate:.0} stores/s, eviction"), &busy);

    wait_for_links(&store);
    store.limit(cache(), u64::MAX, u64::MAX);
    let imported = source.some(IMPORTED);
    let (stop, stored) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let import = runtime.spawn(import(Arc::clone(&store), imported, Arc::clone(&stop), Arc::clone(&stored)));
    while stored.load(Ordering::Relaxed) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let busy = runtime.block_on(lookups(&store, &source, size));
    let waiting = store.unlinked();
    stop.store(true, Ordering::Relaxed);
    runtime.block_on(import).expect("no panic");
    let rate = stored.load(Ordering::Relaxed) as f64 / WHILE.as_secs_f64();
    report(&format!("import, {rate:.0}/s"), &busy);
    println!("{waiting} entries waited to be linked in the end");
}

/// Stores many at once, as an import does, as fast as it goes.
async fn import(
    store: Arc<EmbeddedStore>,
    mut entries: Vec<NewEntry>,
    stop: Arc<AtomicBool>,
    stored: Arc<AtomicUsize>,
) {
    while !entries.is_empty() && !stop.load(Ordering::Relaxed) {
        let some = entries.split_off(entries.len().saturating_sub(BATCH));
        let count = some.len();
        store.put_many(some).await.expect("to be stored");
        stored.fetch_add(count, Ordering::Relaxed);
    }
}

/// Stores new entries, so many a second, until it is stopped.
async fn load(store: Arc<EmbeddedStore>, source: Arc<Source>, stop: Arc<AtomicBool>, stored: Arc<AtomicUsize>) {
    // Made beforehand: jitter takes longer than a store.
    let entries = source.some(LOAD as usize * WHILE.as_secs() as usize * 2);
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    for some in entries.chunks(LOAD as usize / 100) {
        tick.tick().await;
        for entry in some {
            store.put(entry.clone()).await.expect("to be stored");
            stored.fetch_add(1, Ordering::Relaxed);
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
}

fn option(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

/// What is stored.
struct Source {
    real: Vec<Embedding>,
}

impl Source {
    fn new() -> Self {
        let prompts: Vec<_> = traces::named().iter().flat_map(|trace| traces::read(trace, usize::MAX)).collect();
        Self { real: vectors::embed(&vectors::embedder(), &prompts) }
    }

    fn vector(&self, n: usize) -> TextEmbedding {
        let vector = Jitter(n as u64 * 2 + 1).of(&self.real[n % self.real.len()]);
        embedded(vector)
    }

    /// So many that weren't stored before.
    fn some(&self, count: usize) -> Vec<NewEntry> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let first = number() + NEXT.fetch_add(count, Ordering::Relaxed);
        (first..first + count).map(|n| self.entry(n)).collect()
    }

    fn entry(&self, n: usize) -> NewEntry {
        NewEntry {
            cache: cache(),
            fingerprint: [0; 32],
            prompt: prompt(n),
            answer: Answer { text: format!("answer {n}: ").repeat(ANSWER_BYTES / 15), ..Answer::default() },
            attributes: Attributes::default(),
            created: NOW,
            expires: Timestamp(u64::MAX),
            tags: Tags::default(),
            curation: None,
            cost_millis: 500,
            uses: 0,
            vector: Vector::New(self.vector(n)),
        }
    }
}

fn prompt(n: usize) -> String {
    format!("a prompt of about the usual length, and its number is {n}")
}

/// Another one in each run, so that a directory that is used again gets new entries.
fn number() -> usize {
    static NUMBER: OnceLock<usize> = OnceLock::new();
    let since = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_millis();
    *NUMBER.get_or_init(|| since() as usize * 1_000_000)
}

fn cache() -> CacheKey {
    CacheKey::new("t", "c")
}

fn digest() -> ModelDigest {
    ModelDigest::new("bench")
}

fn scope() -> ScopeKey {
    ScopeKey::new(cache(), &[0; 32])
}

fn open(path: &Path, durability: Durability) -> EmbeddedStore {
    let options = OpenOptions { path: path.into(), durability, max_bytes: u64::MAX, gist_of: refrain::cache::gist_of };
    let model = ModelIdentity { name: "all-MiniLM-L6-v2".into(), dimension: 384, digest: digest() };
    loop {
        match EmbeddedStore::open(&options, &model) {
            Ok(store) => return store,
            // The one before is still closing.
            Err(refrain::store::embedded::OpenError::InUse { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

fn loaded(runtime: &tokio::runtime::Runtime, path: &Path, durability: Durability) -> EmbeddedStore {
    let store = open(path, durability);
    runtime.block_on(wait_for_index(&store, &query()));
    store
}

async fn wait_for_index(store: &EmbeddedStore, query: &TextEmbedding) {
    loop {
        match store.nearest(cache(), scope(), query, 8, &EntryFilter::default(), NOW).await {
            Err(StoreError::Loading) => tokio::time::sleep(Duration::from_millis(1)).await,
            found => return assert!(!found.expect("a search").is_empty()),
        }
    }
}

fn wait_for_links(store: &EmbeddedStore) {
    while store.unlinked() > 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn query() -> TextEmbedding {
    embedded(Embedding::normalised((0..384u16).map(f32::from).collect()).expect("a direction"))
}

fn embedded(vector: Embedding) -> TextEmbedding {
    TextEmbedding { vector, lossy: false, tokens: 9, model: digest() }
}

/// Stores new entries for a while; returns how many a second.
async fn stores(store: &Arc<EmbeddedStore>, source: &Source, callers: usize) -> f64 {
    // Made beforehand: jitter takes longer than a store.
    let entries = source.some(20_000);
    let entries = Arc::new(parking_lot::Mutex::new(entries));
    let started = Instant::now();
    let callers = (0..callers).map(|_| {
        let (store, entries) = (Arc::clone(store), Arc::clone(&entries));
        tokio::spawn(async move {
            let mut done = 0;
            while started.elapsed() < WHILE {
                let Some(entry) = entries.lock().pop() else { break };
                store.put(entry).await.expect("to be stored");
                done += 1;
            }
            done
        })
    });
    let done: usize = futures_util::future::join_all(callers.collect::<Vec<_>>())
        .await
        .into_iter()
        .map(|done| done.expect("no panic"))
        .sum();
    done as f64 / started.elapsed().as_secs_f64()
}

/// Seconds that lookups took, sorted: an exact one and a semantic one in turns.
async fn lookups(store: &EmbeddedStore, source: &Source, size: usize) -> Vec<f64> {
    let asked: Vec<(TextHash, TextEmbedding)> =
        (0..1000).map(|n| n * 7919 % size).map(|n| (TextHash::of(&prompt(n)), source.vector(n))).collect();
    let (wanted, started) = (EntryFilter::default(), Instant::now());
    let mut times = Vec::new();
    for (text, query) in asked.iter().cycle() {
        if started.elapsed() > WHILE {
            break;
        }
        let at = Instant::now();
        store.find_exact(cache(), scope(), *text, &wanted, NOW).await.expect("a lookup");
        store.nearest(cache(), scope(), query, 8, &wanted, NOW).await.expect("a search");
        times.push(at.elapsed().as_secs_f64());
        // As a caller who has something else to do, so that both cores aren't always taken.
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    times.sort_by(f64::total_cmp);
    times
}

fn report(what: &str, times: &[f64]) {
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] * 1e6;
    println!("{what:<25}   {:6.0}   {:7.0}   {:8.0}", at(0.5), at(0.99), at(0.999));
}

/// In a process of its own, so that memory is only the store's.
fn restart(directory: &Path, size: usize) {
    let mut again = Command::new(std::env::current_exe().expect("this program"));
    again.args([REOPEN.as_ref(), directory.as_os_str()]).args(["--size", &size.to_string()]);
    assert!(again.status().expect("to start").success());
}

async fn reopen(directory: &Path, size: usize) {
    let started = Instant::now();
    let before = resident();
    let store = open(directory, Durability::Buffered);
    let text = TextHash::of(&prompt(size / 2));
    let found = store.find_exact(cache(), scope(), text, &EntryFilter::default(), NOW).await.expect("a lookup");
    assert!(found.is_some());
    let exact = started.elapsed().as_secs_f64();
    wait_for_index(&store, &query()).await;
    let semantic = started.elapsed().as_secs_f64();
    // What loading let go is given back within a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let bytes = (resident() - before) as f64;
    println!(
        "restart: first exact hit after {exact:.2} s, first semantic one after {semantic:.2} s; {:.0} MB resident, {:.0} bytes an entry",
        bytes / 1e6,
        bytes / size as f64
    );
    store.close().await.expect("to be closed");
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") * 1024
}
