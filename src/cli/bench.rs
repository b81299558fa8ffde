//! `refrain bench`: how fast this machine is.

#![allow(clippy::print_stdout, reason = "a table is what was asked for")]

use std::time::{Duration, Instant};

use super::CommandError;
use crate::config::{self, Engine};
use crate::embed::{Model, ModelError, Windows};

/// A text of 16 tokens for most tokenizers, special ones included.
const SHORT_TEXT: &str = "How do I reset my password on the website if I forgot it?";

const SECONDS: Duration = Duration::from_secs(1);
const TOKENS: [usize; 4] = [16, 64, 128, 256];
const BATCHES: [usize; 4] = [1, 4, 16, 64];

/// What `refrain bench embed` can be told.
#[derive(Debug, Clone, clap::Args)]
pub struct EmbedOptions {
    /// Engines to measure [default: the fast ones that this processor has, and candle]
    #[arg(long = "engine", value_name = "ENGINE", value_parser = engine)]
    engines: Vec<Engine>,
    /// Seconds per row
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1")]
    seconds: Duration,
    /// Tokens per text, special ones included
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = count, default_values_t = TOKENS)]
    tokens: Vec<usize>,
    /// Texts at once
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = count, default_values_t = BATCHES)]
    batches: Vec<usize>,
}

impl Default for EmbedOptions {
    fn default() -> Self {
        Self { engines: Vec::new(), seconds: SECONDS, tokens: TOKENS.to_vec(), batches: BATCHES.to_vec() }
    }
}

fn engine(name: &str) -> Result<Engine, String> {
    let known = Engine::ALL;
    known
        .into_iter()
        .find(|engine| engine.name() == name)
        .ok_or_else(|| format!("there is no such engine; there are {}", known.map(Engine::name).join(", ")))
}

fn count(number: &str) -> Result<usize, String> {
    match number.parse() {
        Ok(0) | Err(_) => Err("not a whole number above 0".into()),
        Ok(count) => Ok(count),
    }
}

fn seconds(number: &str) -> Result<Duration, String> {
    let number = number.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

/// Prints, for each engine: medians over as many runs as fit into the given time; for the engines whose instructions'
/// peak is known also the share of it that the products with weights reach, everything between them included.
///
/// # Errors
/// Where the model can't be loaded, or an engine that was asked for can't be had.
pub fn embed(settings: &config::Embedding, options: &EmbedOptions) -> Result<(), CommandError> {
    let fast = || Model::engines().filter(|engine| *engine != Engine::Plain).collect();
    let engines = if options.engines.is_empty() { fast() } else { options.engines.clone() };
    for engine in engines {
        match Model::load(&config::Embedding { engine, ..settings.clone() }) {
            Ok(model) => measure(&model, options)?,
            // One that doesn't suit the model or the device.
            Err(ModelError::Engine(why)) if options.engines.is_empty() => println!("\n{why}"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn measure(model: &Model, options: &EmbedOptions) -> Result<(), CommandError> {
    let patience = options.seconds;
    let peak = model.peak();
    println!("\n{} on {}", model.identity().name, model.engine());
    if let Some((peak, _)) = peak {
        println!("peak of its instructions: {:.0} billion multiplications/s", peak / 1e9);
    }
    let short = model.windows(SHORT_TEXT)?;
    let tokenizing = median(patience, || model.windows(SHORT_TEXT).map(drop))?;
    let tokens: usize = short.inputs().map(<[u32]>::len).sum();
    println!("tokenizing a text of {tokens} tokens: {:.1} \u{b5}s", tokenizing * 1e6);
    println!("tokens  batch   ms/text   texts/s   {}", if peak.is_some() { "of peak" } else { "" });
    let window = model.manifest().window;
    for tokens in options.tokens.iter().copied() {
        if tokens > window {
            println!("{tokens:6}  are more than the model's window of {window}");
            continue;
        }
        for batch in options.batches.iter().copied() {
            let inputs = inputs(&short, tokens, batch);
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

/// Texts of as many tokens, made of those of `text`.
fn inputs(text: &Windows, tokens: usize, batch: usize) -> Vec<Vec<u32>> {
    let mut ids = text.inputs().flatten().copied().cycle();
    (0..batch).map(|_| ids.by_ref().take(tokens).collect()).collect()
}

/// Seconds that `work` takes: the median of as many runs as fit into `patience`.
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
