//! How alike each engine's embeddings are to those of candle in 32-bit floats.
//!
//! `cargo bench --bench quality -- TRACE.jsonl...` (lines with a `prompt`). For each engine that this processor has: the
//! mean and the least cosine between its vector of a prompt and candle's, and the share of prompts whose nearest
//! neighbour among the others is the same. Prompts whose two best neighbours are less than 0.005 apart don't count: which
//! of them is nearer is chance.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, and stops where it can't go on")]

#[path = "common/traces.rs"]
mod traces;

use std::collections::HashSet;

use refrain::config::{self, Engine};
use refrain::embed::{Embedding, Model, Windows, dot};

const GAP: f32 = 0.005;
/// Prompts that are embedded by one call.
const BATCH: usize = 64;

fn main() {
    for trace in traces::named() {
        let mut seen = HashSet::new();
        let prompts: Vec<String> = traces::read(&trace, usize::MAX).into_iter().map(|(prompt, _)| prompt).collect();
        let prompts: Vec<&str> = prompts.iter().map(String::as_str).filter(|prompt| seen.insert(*prompt)).collect();
        println!("\n{trace}: {} different prompts", prompts.len());
        let reference = embed(Engine::Candle, &prompts).expect("candle runs everywhere");
        let (nearest, clear) = neighbours(&reference);
        println!("engine   mean cosine  least cosine  same neighbour (of {})", clear.iter().filter(|c| **c).count());
        for engine in [Engine::Avx512, Engine::Avx2] {
            let Some(vectors) = embed(engine, &prompts) else { continue };
            let cosines: Vec<f32> = reference.iter().zip(&vectors).map(|(a, b)| a.cosine(b).get()).collect();
            let mean = cosines.iter().sum::<f32>() / cosines.len() as f32;
            let least = cosines.iter().copied().fold(1.0, f32::min);
            let counted: Vec<bool> = neighbours(&vectors)
                .0
                .iter()
                .zip(&nearest)
                .zip(&clear)
                .filter_map(|((a, b), clear)| clear.then_some(a == b))
                .collect();
            let same = counted.iter().filter(|same| **same).count() as f64 / counted.len() as f64;
            println!("{:8} {mean:.5}      {least:.5}       {same:.4}", engine.name());
        }
    }
}

/// `None` where this processor can't.
fn embed(engine: Engine, prompts: &[&str]) -> Option<Vec<Embedding>> {
    let settings = config::Embedding { engine, device: config::Device::Cpu, ..config::Embedding::default() };
    let model = Model::load(&settings).inspect_err(|error| eprintln!("{error}")).ok()?;
    let bar = indicatif::ProgressBar::new(prompts.len() as u64);
    let mut vectors = Vec::with_capacity(prompts.len());
    for some in prompts.chunks(BATCH) {
        let windows: Vec<_> = some.iter().map(|prompt| model.windows(prompt).expect("tokens")).collect();
        let inputs: Vec<&[u32]> = windows.iter().flat_map(Windows::inputs).collect();
        let mut made = model.encode(&inputs).expect("vectors").into_iter();
        for windows in windows {
            let own = made.by_ref().take(windows.inputs().len()).collect();
            vectors.push(windows.pool(own).expect("a direction").vector);
        }
        bar.inc(some.len() as u64);
    }
    bar.finish_and_clear();
    Some(vectors)
}

/// Each vector's nearest other one, and whether it is nearer than the next by [`GAP`].
fn neighbours(vectors: &[Embedding]) -> (Vec<usize>, Vec<bool>) {
    let half = vectors.len() / 2;
    let search = |range: std::ops::Range<usize>| -> Vec<(usize, bool)> {
        range
            .map(|i| {
                let (mut best, mut second, mut at) = (-1.0f32, -1.0f32, 0);
                for (j, other) in vectors.iter().enumerate().filter(|(j, _)| *j != i) {
                    let cosine = dot(vectors[i].as_slice(), other.as_slice());
                    if cosine > best {
                        (best, second, at) = (cosine, best, j);
                    } else if cosine > second {
                        second = cosine;
                    }
                }
                (at, best - second > GAP)
            })
            .collect()
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| search(0..half));
        let second = search(half..vectors.len());
        first.join().expect("a search").into_iter().chain(second).unzip()
    })
}
