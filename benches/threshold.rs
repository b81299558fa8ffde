//! What each static threshold would have served of a trace, and how much of it wrong.
//!
//! `cargo bench --bench threshold -- TRACE.jsonl...` (lines of `{"prompt": …, "group": …}`; equal groups mean that the
//! same answer is right). A trace is replayed into an empty cache: every miss is stored, every hit is not. The figures
//! in docs/threshold.md come from here.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, and stops where it can't go on")]

#[path = "common/traces.rs"]
mod traces;
#[path = "common/vectors.rs"]
mod vectors;

use std::collections::HashMap;

use refrain::embed::Embedding;
use refrain::index::{Expiry, Filter, Row, VectorIndex};

const THRESHOLDS: [f32; 10] = [0.70, 0.75, 0.80, 0.84, 0.86, 0.88, 0.90, 0.92, 0.94, 0.96];
/// Requests taken of each trace.
const REQUESTS: usize = 10_000;

fn main() {
    let embedder = vectors::embedder();
    for trace in traces::named() {
        let prompts = traces::read(&trace, REQUESTS);
        let vectors = vectors::embed(&embedder, &prompts);
        println!("\n{trace}: {} requests\ncosine  hit rate  wrong/requests  wrong/hits", prompts.len());
        for threshold in THRESHOLDS {
            let (hits, wrong) = replay(&prompts, &vectors, threshold);
            let share = |n: usize, of: usize| n as f64 / of.max(1) as f64;
            println!(
                "{threshold:.2}    {:.3}     {:.4}          {:.3}",
                share(hits, prompts.len()),
                share(wrong, prompts.len()),
                share(wrong, hits)
            );
        }
    }
}

/// Hits, and wrong ones among them.
fn replay(prompts: &[(String, String)], vectors: &[Embedding], threshold: f32) -> (usize, usize) {
    let index: VectorIndex<usize> = VectorIndex::new(vectors[0].dimension());
    let (mut hits, mut wrong) = (0, 0);
    let mut exact: HashMap<&str, &str> = HashMap::new();
    for (i, ((prompt, group), vector)) in prompts.iter().zip(vectors).enumerate() {
        let served = exact.get(prompt.as_str()).copied().or_else(|| {
            let nearest = index.search(vector, 1, &Filter::default());
            nearest.first().filter(|near| near.cosine.get() >= threshold).map(|near| prompts[near.key].1.as_str())
        });
        match served {
            Some(answer) => {
                hits += 1;
                wrong += usize::from(answer != group);
            }
            None => {
                exact.insert(prompt, group);
                index.insert(Row { key: i, expiry: Expiry::NEVER, tags: Box::default() }, vector);
            }
        }
    }
    (hits, wrong)
}
