//! `refrain calibrate`

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};

use super::CommandError;
use crate::config::Settings;
use crate::decide::{Metric, ModelPrior, Scatter};
use crate::embed::{Embedder, Manifest, Model};
use crate::replay::Labelled;

/// From what a prior is made.
#[derive(clap::Args)]
pub(super) struct CalibrateArguments {
    /// Files of labelled prompts, one JSON object a line: pairs `{"a", "b", "same"}`, or a trace `{"prompt", "group"}`. FILE=WEIGHT
    /// counts each of its cases so often.
    #[arg(required = true, value_name = "FILE[=WEIGHT]")]
    files: Vec<String>,
    /// Where the prior goes [default: prior.json beside the model's files]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Makes the prior of the model that the settings name.
pub(super) fn run(settings: Settings, arguments: &CalibrateArguments) -> Result<(), CommandError> {
    let mut sources = Vec::new();
    for argument in &arguments.files {
        let (path, weight) = match argument.rsplit_once('=') {
            Some((path, weight)) => (path, weight.parse().map_err(|_| format!("{argument}: {weight} is no weight"))?),
            None => (argument.as_str(), 1.0),
        };
        let file = File::open(path).map_err(|error| format!("{path}: {error}"))?;
        let labelled = Labelled::read(BufReader::new(file))?;
        for line in labelled.broken.iter().take(20) {
            eprintln!("{path}: line {line} is passed over: it is neither a pair nor a request with a group");
        }
        sources.push((path.to_owned(), weight, labelled));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let beliefs = runtime.block_on(async {
        let loading = settings.embedding.clone();
        let model = tokio::task::spawn_blocking(move || Model::load(&loading)).await??;
        let embedder = Embedder::start(model, &settings.embedding)?;
        let all: usize = sources.iter().map(|(_, _, labelled)| 2 * labelled.counts().0 + labelled.counts().1).sum();
        let bar = ProgressBar::new(all as u64)
            .with_style(ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} prompts {per_sec} {eta}")?);
        let mut vectors = Vec::new();
        for (_, _, labelled) in &sources {
            vectors.push(labelled.embed(&embedder, &|| bar.inc(1)).await);
        }
        bar.finish_and_clear();
        let mut scatter = Scatter::default();
        let with_vectors = sources.iter().zip(&vectors);
        with_vectors.for_each(|((_, _, labelled), vectors)| labelled.scatter(vectors, &mut scatter));
        let metric = Metric::of(&scatter, None, None);
        let of_source = |((_, weight, labelled), vectors): (&(_, f32, Labelled), _)| {
            labelled.examples(vectors, metric.as_ref(), *weight)
        };
        let mut examples: Vec<_> = sources.iter().zip(&vectors).flat_map(of_source).collect();
        examples.retain(|source| !source.examples.is_empty());
        Ok::<_, CommandError>(ModelPrior::of_sources(&examples, metric))
    })?;
    let made_of: Vec<String> = sources.iter().map(describe).collect();
    let output = match &arguments.output {
        Some(output) => output.clone(),
        None => Model::directory(&settings.embedding.model, &settings.embedding.models_dir)?.join(Manifest::PRIOR),
    };
    std::fs::write(&output, beliefs.to_json(&made_of.join("; "))? + "\n")
        .map_err(|error| format!("{}: {error}", output.display()))?;
    eprintln!("wrote {}", output.display());
    Ok(())
}

fn describe((path, weight, labelled): &(String, f32, Labelled)) -> String {
    let (pairs, requests) = labelled.counts();
    let name = std::path::Path::new(path).file_name().map_or(path.as_str().into(), std::ffi::OsStr::to_string_lossy);
    format!("{name}, {pairs} pairs and {requests} requests, weight {weight}")
}
