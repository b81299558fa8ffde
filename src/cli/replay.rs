//! `refrain replay`

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::CommandError;
use crate::config::{self, Settings};
use crate::decide::Share;
use crate::embed::{Embedder, Model};
use crate::replay::{Candidate, Counts, Tally, Trace, replay};

/// Thresholds that every replay shows: what hindsight could have chosen.
const FRONTIER: [f32; 8] = [0.70, 0.75, 0.80, 0.84, 0.88, 0.90, 0.92, 0.95];

/// What is replayed, and how.
#[derive(clap::Args)]
pub(super) struct ReplayArguments {
    /// The trace: one JSON object a line, with `prompt` and `group`; equal groups have the same right answer.
    trace: PathBuf,
    /// Thresholds to try [default: 0.70 to 0.95]
    #[arg(long, value_name = "COSINE")]
    min_cosine: Vec<f32>,
    /// Refuse near texts that differ in what cosines don't show, as `strict = true` does.
    #[arg(long)]
    strict: bool,
    /// Replay so many requests only.
    #[arg(long, value_name = "N")]
    requests: Option<usize>,
}

/// Replays a trace and prints what each policy made of it.
pub(super) fn run(settings: Settings, arguments: &ReplayArguments) -> Result<(), CommandError> {
    let trace = read(&arguments.trace, arguments.requests.unwrap_or(usize::MAX))?;
    let thresholds = if arguments.min_cosine.is_empty() { &FRONTIER[..] } else { &arguments.min_cosine };
    if let Some(wrong) = thresholds.iter().find(|cosine| !(-1.0..=1.0).contains(*cosine)) {
        return Err(format!("{wrong} is no cosine; it must lie between -1 and 1").into());
    }
    let candidates: Vec<Candidate> =
        thresholds.iter().map(|cosine| Candidate::fixed(*cosine, arguments.strict)).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let tallies = runtime.block_on(async {
        let embedding = remembering(&settings.embedding, trace.requests.len());
        let loading = embedding.clone();
        let model = tokio::task::spawn_blocking(move || Model::load(&loading)).await??;
        let embedder = Embedder::start(model, &embedding)?;
        let bar = ProgressBar::new((trace.requests.len() * candidates.len()) as u64)
            .with_style(ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} requests {per_sec} {eta}")?);
        let tallies = replay(&settings, embedder, &trace, &candidates, &|| bar.inc(1)).await?;
        bar.finish_and_clear();
        Ok::<_, CommandError>(tallies)
    })?;
    Ok(print(&candidates, &tallies)?)
}

fn read(path: &Path, most: usize) -> Result<Trace, CommandError> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let trace = Trace::read(BufReader::new(file), most)?;
    for (number, why) in &trace.broken {
        eprintln!("line {number} is passed over: {why}");
    }
    if trace.skipped > 0 {
        eprintln!("{} lines are passed over", trace.skipped);
    }
    Ok(trace)
}

/// Settings under which each prompt of a trace is embedded once, whatever the number of policies.
fn remembering(settings: &config::Embedding, requests: usize) -> config::Embedding {
    /// Of the longest vectors, with what is kept beside them.
    const KIB_PER_VECTOR: u64 = 5;
    let memo = config::ByteLimit::mib(16 + requests as u64 * KIB_PER_VECTOR / 1024);
    config::Embedding { memo, ..settings.clone() }
}

fn print(candidates: &[Candidate], tallies: &[Tally]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let width = candidates.iter().map(|candidate| candidate.name.len()).max().unwrap_or_default().max("policy".len());
    writeln!(
        out,
        "{:<width$}  requests  exact  semantic  hits             wrong ÷ requests  wrong ÷ hits      2nd half: hits  wrong",
        "policy"
    )?;
    for (candidate, Tally { all, second_half, .. }) in candidates.iter().zip(tallies) {
        let Counts { requests, exact, semantic, .. } = *all;
        let (late_hits, late_wrong) = (second_half.hit_rate(), second_half.wrong_of_requests());
        writeln!(
            out,
            "{:<width$}  {requests:>8}  {exact:>5}  {semantic:>8}  {}  {}   {}   {:>13.1} %  {:.2} %",
            candidate.name,
            shown(all.hit_rate(), 1),
            shown(all.wrong_of_requests(), 2),
            shown(all.wrong_of_hits(), 1),
            late_hits.value() * 100.0,
            late_wrong.value() * 100.0,
        )?;
    }
    writeln!(out, "\nIn brackets: 95 % intervals (Wilson).")
}

/// In percent, with its interval.
fn shown(share: Share, digits: usize) -> String {
    let (low, high) = share.interval();
    let percent = |share: f64| format!("{:.digits$}", share * 100.0);
    format!("{:>5} [{}–{}]", percent(share.value()), percent(low), percent(high))
}
