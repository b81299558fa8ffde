//! Traces, and their prompts' vectors.

use refrain::config;
use refrain::embed::{Embedder, Embedding, Model, Prefix};

/// The arguments that name traces; cargo adds some of its own.
pub(crate) fn traces() -> Vec<String> {
    let traces: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if traces.is_empty() {
        eprintln!("name the traces to use: cargo bench --bench NAME -- TRACE.jsonl…");
    }
    traces
}

/// Pairs of prompt and group, `limit` of them at most.
pub(crate) fn read(path: &str, limit: usize) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).expect("the trace");
    text.lines()
        .take(limit)
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
            let field = |name: &str| line[name].as_str().expect("prompt and group").to_owned();
            (field("prompt"), field("group"))
        })
        .collect()
}

/// The shipped model in its worker.
pub(crate) fn embedder() -> Embedder {
    let settings = config::Embedding::default();
    let model = Model::load(&settings).expect("the model (refrain model fetch)");
    Embedder::start(model, &config::Embedding { queue: 4096, ..settings }).expect("a thread")
}

/// The prompts' vectors.
pub(crate) fn embed(embedder: &Embedder, prompts: &[(String, String)]) -> Vec<Embedding> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let bar = indicatif::ProgressBar::new(prompts.len() as u64);
    let mut vectors = Vec::with_capacity(prompts.len());
    for some in prompts.chunks(256) {
        let waiting = some.iter().map(|(prompt, _)| embedder.embed(prompt, Prefix::Query));
        let made = runtime.block_on(futures_util::future::join_all(waiting));
        vectors.extend(made.into_iter().map(|one| one.expect("an embedding").vector));
        bar.inc(some.len() as u64);
    }
    bar.finish_and_clear();
    vectors
}
