//! Prompts' vectors.

use refrain::config;
use refrain::embed::{Embedder, Embedding, Model, Prefix};

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
