//! `refrain replay`

use std::io::Write;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::CommandError;
use crate::config::{self, DEFAULT_CACHE, Settings};
use crate::decide::Share;
use crate::embed::{Embedder, Embedding, Model};
use crate::replay::report::{self, Report};
use crate::replay::{AnsweredWith, Candidate, Counts, Replayed, Tally, Trace, hits_at, replay};

/// Budgets that are tried where none is named.
const BUDGETS: [f64; 3] = [0.01, 0.02, 0.05];

/// What is replayed, and how.
#[derive(clap::Args)]
pub(super) struct ReplayArguments {
    /// The trace: JSON lines or Parquet, with `prompt` and `group` (equal groups have the same right answer), or `prompt` and
    /// `response` as `refrain export` writes them.
    trace: PathBuf,
    /// Policies to try: budget, per-entry, static [default: budget and per-entry]
    #[arg(long, value_enum)]
    policy: Vec<PolicyName>,
    /// Budgets to try, wrong answers ÷ requests [default: 0.01, 0.02, 0.05]
    #[arg(long, value_name = "SHARE")]
    budget: Vec<f64>,
    /// Fixed thresholds to try through a real cache as well, plain cosines. All from 0.60 to 0.98 are shown anyway.
    #[arg(long, value_name = "COSINE")]
    min_cosine: Vec<f32>,
    /// Refuse near texts that differ in what cosines don't show, as `strict = true` does.
    #[arg(long)]
    strict: bool,
    /// Replay so many requests only.
    #[arg(long, value_name = "N")]
    requests: Option<usize>,
    /// Replay them in another order, the same for the same number.
    #[arg(long, value_name = "SEED")]
    shuffle: Option<u64>,
    /// Use the trace's own vectors instead of embedding its prompts: the name of a Parquet file's column, such as `emb_ada`, or
    /// `embedding` for lines of JSON. Requests without one find equal texts only.
    #[arg(long, value_name = "COLUMN")]
    embeddings: Option<String>,
    /// Answer misses with the lines' `response` instead of their group, and label as in service, by comparing responses.
    #[arg(long)]
    responses: bool,
    /// With `--responses`: a judge is asked as in service, one that knows the groups and errs in this share of the pairs.
    #[arg(long, value_name = "SHARE", requires = "responses")]
    judge_error: Option<f64>,
    /// Write a page with plots.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print a hash of each policy's decisions: builds with equal ones decide alike, bit by bit.
    #[arg(long)]
    digest: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PolicyName {
    Budget,
    PerEntry,
    Static,
}

/// Replays a trace and prints what each policy made of it.
pub(super) fn run(settings: Settings, arguments: &ReplayArguments) -> Result<(), CommandError> {
    let candidates = candidates(&settings, arguments)?;
    let mut trace = read(&arguments.trace, arguments.embeddings.as_deref())?;
    if let Some(seed) = arguments.shuffle {
        shuffle(&mut trace.requests, seed);
    }
    trace.requests.truncate(arguments.requests.unwrap_or(usize::MAX));
    let answered_with = match arguments.responses {
        true => AnsweredWith::Response { judge_error: arguments.judge_error },
        false => AnsweredWith::Group,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let replayed = runtime.block_on(async {
        let embedding = remembering(&settings.embedding, trace.requests.len());
        let loading = embedding.clone();
        let model = tokio::task::spawn_blocking(move || Model::load(&loading)).await??;
        let embedder = Embedder::start(model, &embedding)?;
        let embedder = match &arguments.embeddings {
            Some(column) => own_vectors(&embedder, &trace, column)?,
            None => embedder,
        };
        let bar = ProgressBar::new((trace.requests.len() * candidates.len()) as u64)
            .with_style(ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} requests {per_sec} {eta}")?);
        let replayed = replay(&settings, embedder, &trace, &candidates, answered_with, &|| bar.inc(1)).await?;
        bar.finish_and_clear();
        Ok::<_, CommandError>(replayed)
    })?;
    if let Some(path) = &arguments.report {
        let page = page(&settings, &arguments.trace, &trace, &candidates, &replayed);
        std::fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    print(&candidates, &replayed)?;
    if arguments.digest {
        let mut out = std::io::stdout().lock();
        for (candidate, tally) in candidates.iter().zip(&replayed.tallies) {
            writeln!(out, "{}  {}", tally.digest, candidate.name)?;
        }
    }
    Ok(())
}

fn candidates(settings: &Settings, arguments: &ReplayArguments) -> Result<Vec<Candidate>, CommandError> {
    if let Some(wrong) = arguments.min_cosine.iter().find(|cosine| !(-1.0..=1.0).contains(*cosine)) {
        return Err(format!("{wrong} is no cosine; it must lie between -1 and 1").into());
    }
    if let Some(wrong) = arguments.budget.iter().find(|budget| !(0.0..=0.5).contains(*budget)) {
        return Err(format!("{wrong} is no share of wrong answers; it must lie between 0 and 0.5").into());
    }
    let policies = match arguments.policy.as_slice() {
        [] if !arguments.min_cosine.is_empty() => &[PolicyName::Static][..],
        [] => &[PolicyName::Budget, PolicyName::PerEntry],
        named => named,
    };
    let budgets = if arguments.budget.is_empty() { &BUDGETS[..] } else { &arguments.budget };
    let base = settings.cache(DEFAULT_CACHE);
    let of = |policy: &PolicyName| -> Vec<Candidate> {
        let budgeted = |policy| {
            let one = |budget: &f64| Candidate::budgeted(policy, *budget, &base, arguments.strict);
            budgets.iter().map(one).collect()
        };
        match policy {
            PolicyName::Budget => budgeted(config::PolicyName::Budget),
            PolicyName::PerEntry => budgeted(config::PolicyName::PerEntry),
            PolicyName::Static => {
                let thresholds = match arguments.min_cosine.as_slice() {
                    [] => base.min_cosine.map_or(vec![0.9], |set| vec![set]),
                    named => named.to_vec(),
                };
                thresholds.iter().map(|cosine| Candidate::fixed(*cosine, arguments.strict)).collect()
            }
        }
    };
    Ok(policies.iter().flat_map(of).collect())
}

/// An embedder of the vectors that the trace brings along.
fn own_vectors(embedder: &Embedder, trace: &Trace, column: &str) -> Result<Embedder, CommandError> {
    let with_vector = trace
        .requests
        .iter()
        .filter_map(|request| Some((request.prompt.as_str(), Embedding::normalised(request.embedding.clone()?)?)));
    let none = || format!("no request of the trace has a vector in `{column}`");
    Ok(embedder.giving(column, with_vector).ok_or_else(none)?)
}

fn read(path: &Path, embeddings: Option<&str>) -> Result<Trace, CommandError> {
    let trace = Trace::open(path, usize::MAX, embeddings)?;
    for (number, why) in &trace.broken {
        eprintln!("line {number} is passed over: {why}");
    }
    if trace.skipped > 0 {
        eprintln!("{} lines are passed over", trace.skipped);
    }
    Ok(trace)
}

/// Fisher and Yates's shuffle, with draws that are the same for the same seed.
fn shuffle<T>(items: &mut [T], seed: u64) {
    for last in (1..items.len()).rev() {
        let mut hasher = blake3::Hasher::new_derive_key("refrain replay shuffle");
        hasher.update(&seed.to_le_bytes());
        hasher.update(&(last as u64).to_le_bytes());
        let mut bytes = [0; 8];
        hasher.finalize_xof().fill(&mut bytes);
        let other = u64::from_le_bytes(bytes) % (last as u64 + 1);
        items.swap(last, usize::try_from(other).unwrap_or(last));
    }
}

/// Settings under which each prompt of a trace is embedded once, whatever the number of policies.
fn remembering(settings: &config::Embedding, requests: usize) -> config::Embedding {
    /// Of the longest vectors, with what is kept beside them.
    const KIB_PER_VECTOR: u64 = 5;
    let memo = config::ByteLimit::mib(16 + requests as u64 * KIB_PER_VECTOR / 1024);
    config::Embedding { memo, ..settings.clone() }
}

fn print(candidates: &[Candidate], Replayed { tallies, frontier }: &Replayed) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let width = candidates.iter().map(|candidate| candidate.name.len()).max().unwrap_or_default().max("policy".len());
    writeln!(
        out,
        "{:<width$}  requests  exact  semantic  audits  hits                wrong ÷ requests   wrong ÷ hits      2nd half: hits  wrong  static*",
        "policy"
    )?;
    for (candidate, Tally { all, second_half, alarms, .. }) in candidates.iter().zip(tallies) {
        let Counts { requests, exact, semantic, audits, .. } = *all;
        let (late_hits, late_wrong) = (second_half.hit_rate(), second_half.wrong_of_requests());
        let yardstick = hits_at(frontier, all.wrong_of_requests().value());
        writeln!(
            out,
            "{:<width$}  {requests:>8}  {exact:>5}  {semantic:>8}  {audits:>6}  {}  {}  {}   {:>13.1} %  {:>4.2} %  {:>5.1} %{}",
            candidate.name,
            shown(all.hit_rate(), 1),
            shown(all.wrong_of_requests(), 2),
            shown(all.wrong_of_hits(), 1),
            late_hits.value() * 100.0,
            late_wrong.value() * 100.0,
            yardstick * 100.0,
            if alarms.is_empty() { String::new() } else { format!("  alarm after {alarms:?}") },
        )?;
    }
    for (candidate, tally) in candidates.iter().zip(tallies) {
        if let Some(budget) = candidate.budget() {
            writeln!(out, "{:<width$}  {}", candidate.name, held(tally, budget))?;
        }
    }
    writeln!(out, "\nstatic threshold    hits  wrong ÷ requests  wrong ÷ hits")?;
    for point in frontier.iter().step_by(2) {
        writeln!(
            out,
            "{:>16.2}  {:>4.1} %  {:>14.2} %  {:>10.1} %",
            point.min_cosine,
            point.hits.value() * 100.0,
            point.wrong_of_requests.value() * 100.0,
            point.wrong_of_hits.value() * 100.0
        )?;
    }
    writeln!(
        out,
        "\nIn brackets: 95 % intervals (Wilson). * Hits of the fixed threshold with as many wrong answers, found in hindsight."
    )
}

/// Whether a budget held at each checkpoint.
fn held(tally: &Tally, budget: f64) -> String {
    let shares: Vec<Share> = tally.checkpoints.iter().chain([&tally.all]).map(Counts::wrong_of_requests).collect();
    let highest = shares.iter().map(|share| share.value()).fold(0.0, f64::max);
    let broken = shares.iter().filter(|share| share.interval().0 > budget).count();
    let verdict = if broken == 0 { "held".into() } else { format!("broken at {broken}") };
    format!("budget {verdict} of {} checkpoints; highest wrong ÷ requests {:.2} %", shares.len(), highest * 100.0)
}

/// In percent, with its interval.
fn shown(share: Share, digits: usize) -> String {
    let (low, high) = share.interval();
    let percent = |share: f64| format!("{:.digits$}", share * 100.0);
    format!("{:>17}", format!("{} [{}–{}]", percent(share.value()), percent(low), percent(high)))
}

fn page(settings: &Settings, path: &Path, trace: &Trace, candidates: &[Candidate], replayed: &Replayed) -> String {
    let name = path.file_name().map_or_else(|| path.to_string_lossy(), std::ffi::OsStr::to_string_lossy);
    let report = Report {
        trace: &name,
        requests: trace.requests.len() as u64,
        skipped: trace.skipped,
        model: &settings.embedding.model,
        policies: candidates
            .iter()
            .zip(&replayed.tallies)
            .map(|(candidate, tally)| plotted(candidate, tally))
            .collect(),
        frontier: replayed.frontier.clone(),
    };
    report.html()
}

/// A policy as the page shows it.
fn plotted<'c>(candidate: &'c Candidate, tally: &Tally) -> report::Policy<'c> {
    let Tally { all, second_half, checkpoints, calibration, cosines, alarms, .. } = tally;
    let bounds = (0..cosines.len()).map(Tally::bounds);
    #[expect(clippy::cast_possible_truncation, reason = "cosines are f32")]
    let cosine_bin = |((from, to), share): ((f64, f64), &Share)| report::CosineBin {
        from: from as f32,
        to: to as f32,
        right: share.some,
        wrong: share.all - share.some,
    };
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let mean = |bin: &crate::replay::Bin| report::Bin {
        predicted: bin.predicted / bin.right.all.max(1) as f64,
        right: bin.right,
    };
    report::Policy {
        name: &candidate.name,
        budget: candidate.budget(),
        exact: all.exact,
        requests: all.requests,
        hits: all.hit_rate(),
        wrong_of_requests: all.wrong_of_requests(),
        wrong_of_hits: all.wrong_of_hits(),
        audits: all.audits,
        second_half_hits: second_half.hit_rate(),
        second_half_wrong: second_half.wrong_of_requests(),
        checkpoints: checkpoints
            .iter()
            .map(|at| report::Checkpoint { requests: at.requests, hits: at.exact + at.semantic, wrong: at.wrong })
            .collect(),
        calibration: calibration.iter().filter(|bin| bin.right.all > 0).map(mean).collect(),
        cosines: bounds.zip(cosines).filter(|(_, share)| share.all > 0).map(cosine_bin).collect(),
        alarms: alarms.clone(),
    }
}
