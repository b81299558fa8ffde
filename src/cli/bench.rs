//! `refrain bench`: how fast this machine is.

#![allow(clippy::print_stdout, reason = "a table is what was asked for")]

use std::time::{Duration, Instant};

use super::CommandError;
use crate::config::{self, Engine};
use crate::embed::{Model, ModelError};

/// A text of 16 tokens, special ones included.
const SHORT_TEXT: &str = "How do I reset my password on the website if I forgot it?";

const SECONDS: f64 = 1.0;
const TOKENS: [usize; 4] = [16, 64, 128, 256];
const BATCHES: [usize; 4] = [1, 4, 16, 64];

/// What `refrain bench embed` can be told.
#[derive(Debug, Clone, clap::Args)]
pub struct EmbedOptions {
    /// Engines to measure [default: the fast ones that this processor has, and candle]
    #[arg(long = "engine", value_name = "ENGINE", value_parser = engine)]
    engines: Vec<Engine>,
    /// Seconds per row
    #[arg(long, value_name = "SECONDS", default_value_t = SECONDS)]
    seconds: f64,
    /// Tokens per text
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = TOKENS)]
    tokens: Vec<usize>,
    /// Texts at once
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = BATCHES)]
    batches: Vec<usize>,
}

impl Default for EmbedOptions {
    fn default() -> Self {
        Self { engines: Vec::new(), seconds: SECONDS, tokens: TOKENS.to_vec(), batches: BATCHES.to_vec() }
    }
}

fn engine(name: &str) -> Result<Engine, String> {
    let known = [Engine::Auto, Engine::Avx512, Engine::Avx2, Engine::Plain, Engine::Candle];
    known
        .into_iter()
        .find(|engine| engine.name() == name)
        .ok_or_else(|| format!("there is no such engine; there are {}", known.map(Engine::name).join(", ")))
}

/// Prints, for each engine: medians over as many runs as fit into the given time; for the engines whose instructions'
/// peak is known also the share of it that the products with weights reach, everything between them included.
///
/// # Errors
/// Where the model can't be loaded, or an engine that was asked for can't be had.
pub fn embed(settings: &config::Embedding, options: &EmbedOptions) -> Result<(), CommandError> {
    let all = [Engine::Avx512, Engine::Avx2, Engine::Candle];
    let wanted = if options.engines.is_empty() { &all[..] } else { &options.engines };
    for engine in wanted {
        match Model::load(&config::Embedding { engine: *engine, ..settings.clone() }) {
            Ok(model) => measure(&model, options)?,
            Err(ModelError::Engine(why)) if options.engines.is_empty() => println!("\n{why}"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn measure(model: &Model, options: &EmbedOptions) -> Result<(), CommandError> {
    let patience = Duration::from_secs_f64(options.seconds);
    let peak = model.peak();
    println!("\n{} on {}", model.identity().name, model.engine());
    if let Some((peak, _)) = peak {
        println!("peak of its instructions: {:.0} billion multiplications/s", peak / 1e9);
    }
    let tokenizing = median(patience, || model.windows(SHORT_TEXT).map(drop))?;
    println!("tokenizing a text of 16 tokens: {:.1} \u{b5}s", tokenizing * 1e6);
    println!("tokens  batch   ms/text   texts/s   {}", if peak.is_some() { "of peak" } else { "" });
    for &tokens in options.tokens.iter().filter(|tokens| **tokens <= model.manifest().window) {
        for &batch in &options.batches {
            let inputs = inputs(tokens, batch);
            let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
            let seconds = median(patience, || model.encode(&inputs).map(drop))?;
            #[expect(clippy::cast_precision_loss, reason = "counts of texts and tokens")]
            let (batch, tokens) = (batch as f64, tokens as f64);
            #[expect(clippy::cast_precision_loss, reason = "a rate")]
            let share = peak.map(|(peak, per_token)| tokens * batch * per_token as f64 / seconds / peak);
            let share = share.map_or_else(String::new, |share| format!("{:6.0} %", share * 100.0));
            println!("{tokens:6}  {batch:5}  {:8.3}  {:8.0}   {share}", seconds * 1e3 / batch, batch / seconds);
        }
    }
    Ok(())
}

/// Texts of ordinary tokens, each another.
fn inputs(tokens: usize, batch: usize) -> Vec<Vec<u32>> {
    let mut ids = (2000u32..3000).cycle();
    (0..batch).map(|_| ids.by_ref().take(tokens).collect()).collect()
}

/// Seconds that `work` takes.
fn median<E>(patience: Duration, mut work: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    for _ in 0..3 {
        work()?;
    }
    let started = Instant::now();
    let mut times = Vec::new();
    while times.is_empty() || started.elapsed() < patience {
        let run = Instant::now();
        work()?;
        times.push(run.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
