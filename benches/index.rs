//! Where scanning a scope stops being faster than walking its graph: what `GRAPH_FROM` is set by.
//!
//! `cargo bench --bench index -- TRACE.jsonl…`: the traces' prompts are embedded, and a thousand of them, left out, ask
//! for neighbours among the others.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, and stops where it can't go on")]

#[path = "common/traces.rs"]
mod traces;
#[path = "common/vectors.rs"]
mod vectors;

use std::hint::black_box;
use std::time::Instant;

use refrain::embed::Embedding;
use refrain::index::{Expiry, Filter, Row, VectorIndex};

const SIZES: [usize; 8] = [256, 512, 1024, 2048, 4096, 8192, 16_384, 24_000];
/// One in this many prompts asks.
const ASKS: usize = 25;
/// Neighbours that a decision looks at.
const K: usize = 8;

fn main() {
    let embedder = vectors::embedder();
    let prompts: Vec<_> = traces::named().iter().flat_map(|trace| traces::read(trace, usize::MAX)).collect();
    let vectors = vectors::embed(&embedder, &prompts);
    let (asked, stored): (Vec<_>, Vec<_>) = vectors.iter().enumerate().partition(|(i, _)| i % ASKS == 0);
    println!("vectors   scan µs   graph µs   recall@1   build s");
    for size in SIZES.into_iter().filter(|size| *size <= stored.len()) {
        let index: VectorIndex<usize> = VectorIndex::new(vectors[0].dimension());
        for key in 0..size {
            // Spread over all traces.
            let (_, vector) = stored[key * stored.len() / size];
            index.insert(Row { key, expiry: Expiry::NEVER, tags: Box::default() }, vector);
        }
        let (scan, exact) = search(&index, &asked);
        let started = Instant::now();
        index.absorb();
        let build = started.elapsed().as_secs_f64();
        let (graph, found) = search(&index, &asked);
        let same = exact.iter().zip(&found).filter(|(a, b)| a == b).count();
        println!("{size:7}   {scan:7.1}   {graph:8.1}   {:8.3}   {build:7.2}", same as f64 / asked.len() as f64);
    }
}

/// Median microseconds of a search, and each one's nearest key.
fn search(index: &VectorIndex<usize>, queries: &[(usize, &Embedding)]) -> (f64, Vec<usize>) {
    let mut times = Vec::with_capacity(queries.len());
    let mut nearest = Vec::with_capacity(queries.len());
    for (_, query) in queries {
        let started = Instant::now();
        let found = black_box(index.search(query, K, &Filter::default()));
        times.push(started.elapsed().as_secs_f64() * 1e6);
        nearest.push(found[0].key);
    }
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], nearest)
}
