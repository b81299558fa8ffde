//! How fast scopes are searched, small ones and large ones, and how fast they grow.
//!
//! `cargo bench --bench index -- TRACE.jsonl… [--size 100000] [--peers PYTHON]`: the traces' prompts are embedded and
//! jittered to as many vectors as wanted; other jittered ones ask. `--peers` runs `index_peers.py` on the same vectors with
//! a Python that has `hnswlib`, `usearch` and `numpy`. One thread everywhere.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, and stops where it can't go on")]

#[path = "common/jitter.rs"]
mod jitter;
#[path = "common/traces.rs"]
mod traces;
#[path = "common/vectors.rs"]
mod vectors;

use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use jitter::Jitter;
use refrain::embed::{Embedding, dot};
use refrain::index::{Expiry, Filter, Row, VectorIndex};

/// Sizes around the one from which a scope has a graph, and of tails that grow faster than they are linked.
const SMALL: [usize; 10] = [64, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 100_000];
/// Vectors that ask.
const ASKS: usize = 1000;
/// Neighbours that a decision looks at.
const K: usize = 8;
/// Vectors that are stored before they are linked.
const STEP: usize = 10_000;

fn main() {
    let size = option("--size").map_or(100_000, |size| size.parse().expect("a number"));
    let embedder = vectors::embedder();
    let prompts: Vec<_> = traces::named().iter().flat_map(|trace| traces::read(trace, usize::MAX)).collect();
    let real = vectors::embed(&embedder, &prompts);
    let mut jitter = Jitter(7);
    let asked: Vec<Embedding> = (0..ASKS).map(|n| jitter.of(&real[n * 31 % real.len()])).collect();
    let stored = |n: usize, jitter: &mut Jitter| match real.get(n) {
        Some(vector) => vector.clone(),
        None => jitter.of(&real[n % real.len()]),
    };

    println!("{} real vectors\n\nvectors   tail µs   recall@1   graph µs   recall@1", real.len());
    for size in SMALL {
        // Spread over all traces.
        let some: Vec<Embedding> = match size <= real.len() {
            true => (0..size).map(|n| real[n * real.len() / size].clone()).collect(),
            false => (0..size).map(|n| stored(n, &mut jitter)).collect(),
        };
        let exact: Vec<f32> = asked.iter().map(|query| nearest(query, &some)).collect();
        let index = VectorIndex::new(real[0].dimension());
        some.iter().enumerate().for_each(|(n, vector)| insert(&index, n, vector));
        let (tail, in_tail) = search(&index, &asked);
        index.absorb(|| true);
        let (graph, in_graph) = search(&index, &asked);
        println!(
            "{size:7}   {tail:7.1}   {:8.3}   {graph:8.1}   {:8.3}",
            recall(&exact, &in_tail),
            recall(&exact, &in_graph)
        );
    }

    let index = VectorIndex::new(real[0].dimension());
    let all: Vec<Embedding> = (0..size).map(|n| stored(n, &mut jitter)).collect();
    let started = Instant::now();
    for (n, vector) in all.iter().enumerate() {
        insert(&index, n, vector);
        if n % STEP == STEP - 1 {
            index.absorb(|| true);
        }
    }
    index.absorb(|| true);
    let build = size as f64 / started.elapsed().as_secs_f64();
    let exact: Vec<f32> = asked.iter().map(|query| nearest(query, &all)).collect();
    let (time, found) = search(&index, &asked);
    println!("\n{size} vectors         recall@1   µs/search   built/s");
    println!("refrain                {:8.4}   {time:9.1}   {build:7.0}", recall(&exact, &found));
    drop(index);
    if let Some(python) = option("--peers") {
        peers(&python, &all, &asked);
    }
}

fn option(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

fn insert(index: &VectorIndex<usize>, key: usize, vector: &Embedding) {
    index.insert(Row { key, expiry: Expiry::NEVER, tags: Box::default() }, vector);
}

/// Median microseconds of a search, and each one's highest cosine.
fn search(index: &VectorIndex<usize>, queries: &[Embedding]) -> (f64, Vec<f32>) {
    let mut times = Vec::with_capacity(queries.len());
    let mut nearest = Vec::with_capacity(queries.len());
    for query in queries {
        let started = Instant::now();
        let found = black_box(index.search(query, K, &Filter::default()));
        times.push(started.elapsed().as_secs_f64() * 1e6);
        nearest.push(found[0].cosine.get());
    }
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], nearest)
}

fn nearest(query: &Embedding, all: &[Embedding]) -> f32 {
    all.iter().map(|vector| dot(query.as_slice(), vector.as_slice())).fold(-1.0, f32::max)
}

/// How many found one as near as the nearest: several may be equal.
fn recall(exact: &[f32], found: &[f32]) -> f64 {
    exact.iter().zip(found).filter(|(exact, found)| *found + 1e-5 > **exact).count() as f64 / exact.len() as f64
}

fn peers(python: &str, all: &[Embedding], asked: &[Embedding]) {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, vectors: &[Embedding]| {
        let mut file = std::io::BufWriter::new(std::fs::File::create(directory.path().join(name)).expect("a file"));
        for x in vectors.iter().flat_map(Embedding::as_slice) {
            file.write_all(&x.to_le_bytes()).expect("to be written");
        }
        file.flush().expect("to be written");
    };
    write("stored", all);
    write("asked", asked);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/index_peers.py");
    let run = Command::new(python).arg(script).arg(directory.path()).arg(all[0].dimension().to_string()).status();
    assert!(run.expect("Python").success(), "the peers failed");
}
