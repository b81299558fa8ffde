//! How well decisions keep their budget, and how much they serve within it.
//!
//! `cargo bench --bench decide -- TRACE.jsonl... [--shuffles N] [--draws N] [--flip SHARE] [--change] [--prior FILE]
//! [--try NAME=VALUE,VALUE...]`
//!
//! Each trace is replayed in its order and in N others (5) by the rules alone, over exact neighbours: budgets 0.01, 0.02 and
//! 0.05, labels from misses and audits only. Shown are hits, wrong ÷ requests, hits ÷ those of the fixed threshold with as many
//! wrong answers, hits ÷ those of the per-entry rule (which explores by chance: the mean of five runs), the highest wrong ÷ requests at a checkpoint of 1,000 requests, and at how many of them
//! the budget was broken beyond what its Wilson interval allows, and what a decision took beside the search. Audits are drawn by
//! chance: `--draws` shows the mean of so many runs, which differ in nothing else. `--flip` turns that
//! share of the labels; `--change` gives all prompts
//! other answers from the middle on, and tells after how many requests the alarm sounded. `--prior` takes another prior than the
//! model's: one that was not made of the trace's own questions. `--try NAME=VALUE,VALUE` tries other values of a tunable, one after
//! the other; given more than once, each with each. Only the means are shown then.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints, and stops where it can't go on"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use refrain::config;
use refrain::decide::text::Parsed;
use refrain::decide::{
    AnswerClass, AnsweredQuery, AssessmentRequest, BudgetPolicy, CandidateState, Change, ErrorBudget, Judgement,
    Labels, LookupConstraints, ModelPrior, Neighbour, ParsedPrompt, PerEntryPolicy, Policy, PolicyParams, PromptText,
    Query, Share, Spending, Trainer, Tunables, Verdict,
};
use refrain::embed::{Embedding, Model};
use refrain::replay::{Asked, frontier, hits_at};
use refrain::store::{Attributes, CacheKey, EntryId, ScopeKey, TextHash};

const BUDGETS: [f64; 3] = [0.01, 0.02, 0.05];
const NEIGHBOURS: usize = 10;
const BATCH: usize = 64;
const CHECKPOINT: u64 = 1000;
/// Neighbours in the whole trace that are known of each prompt.
const KNOWN: usize = 400;
/// What the draws of a run begin with. The per-entry rule lets them decide about every request.
const DRAWS: u64 = 99;
const RUNS_PER_ENTRY: u64 = 5;

struct Prompt {
    text: String,
    parsed: Parsed,
    group: String,
    vector: Embedding,
    entry: EntryId,
}

struct Options {
    shuffles: u64,
    draws: u64,
    flip: f64,
    change: bool,
    prior: Option<String>,
    traces: Vec<String>,
    /// The tunables that are tried, one after the other.
    tunables: Vec<&'static Tunables>,
}

fn main() {
    let options = options();
    let model = Model::load(&config::Embedding::default()).expect("a model; run `make model`");
    let prior = match &options.prior {
        Some(path) => ModelPrior::from_json(&std::fs::read_to_string(path).expect("the prior")).expect("a prior"),
        None => ModelPrior::from_json(model.manifest().prior.as_deref().expect("a prior")).expect("a prior"),
    };
    let prior = Arc::new(prior);
    for trace in &options.traces {
        let prompts = read(&model, trace);
        let near = near_in_all(&prompts);
        println!("\n{trace}: {} requests", prompts.len());
        println!("order  budget  hits    wrong    ÷static  ÷per-entry  highest  broken  alarm");
        for tunables in &options.tunables {
            try_tunables((&prompts, &near), &prior, &options, tunables);
        }
    }
}

fn try_tunables(
    (prompts, near): (&[Prompt], &[Vec<u32>]),
    prior: &Arc<ModelPrior>,
    options: &Options,
    tunables: &'static Tunables,
) {
    if options.tunables.len() > 1 {
        println!("{:?} {:?}", tunables.allocation, tunables.calibration);
    }
    let mut sums = [[0.0; 6]; BUDGETS.len()];
    let orders: Vec<u64> = (0..=options.shuffles).collect();
    let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for orders in orders.chunks(at_once) {
        let of_order = |order: u64| run((prompts, near), prior, order, options, tunables);
        let of_orders: Vec<_> = std::thread::scope(|scope| {
            let runs: Vec<_> = orders.iter().map(|order| scope.spawn(move || of_order(*order))).collect();
            runs.into_iter().map(|run| run.join().expect("a run")).collect()
        });
        for of_budgets in of_orders {
            for (of_this, sums) in of_budgets.into_iter().zip(&mut sums) {
                if options.tunables.len() == 1 {
                    println!("{}", of_this.line);
                }
                sums.iter_mut().zip(of_this.figures).for_each(|(sum, value)| *sum += value);
            }
        }
    }
    for (budget, [hits, wrong, to_static, to_per_entry, broken, micros]) in BUDGETS.into_iter().zip(sums) {
        #[expect(clippy::cast_precision_loss, reason = "a few orders")]
        let all = (options.shuffles + 1) as f64;
        println!(
            " mean  {budget:>6}  {:.3}  {:>6.2} %  {:>7.2}  {:>10.2}           {broken:>6}  {:.1} µs a decision",
            hits / all,
            wrong / all * 100.0,
            to_static / all,
            to_per_entry / all,
            micros / all
        );
    }
}

/// What came of one order under one budget.
struct Run {
    line: String,
    /// Hits, wrong, ÷ static, ÷ per-entry, checkpoints that broke the budget, microseconds a decision.
    figures: [f64; 6],
}

fn run(
    (prompts, near): (&[Prompt], &[Vec<u32>]),
    prior: &Arc<ModelPrior>,
    order: u64,
    options: &Options,
    tunables: &'static Tunables,
) -> Vec<Run> {
    let order_of = shuffled(prompts.len(), order);
    let asked = |at: &usize| Asked { group: &prompts[*at].group, vector: Some(prompts[*at].vector.clone()) };
    let points = frontier(&order_of.iter().map(asked).collect::<Vec<_>>());
    let under = |budget: f64| {
        let params = PolicyParams { tunables, ..params(budget) };
        let budgeted = BudgetPolicy { params, prior: Arc::clone(prior) };
        let per_entry = PerEntryPolicy { params, prior: Arc::default() };
        let by = |rule: &Rule<'_>, draws| replay((prompts, near), &order_of, rule, options, draws);
        let ours = Rule { policy: &budgeted, params, prior, stores_only_what_was_wrong: false };
        let other = Rule { policy: &per_entry, params, prior: &per_entry.prior, stores_only_what_was_wrong: true };
        let mine: Vec<Seen> = (0..options.draws).map(|run| by(&ours, DRAWS + run)).collect();
        // Tunables don't matter to it.
        let runs = if options.tunables.len() > 1 { 0 } else { RUNS_PER_ENTRY };
        let theirs: Vec<Seen> = (0..runs).map(|run| by(&other, DRAWS + run)).collect();
        let theirs = mean(&theirs, |run| run.hits().value());
        let (hits, wrong) = (mean(&mine, |run| run.hits().value()), mean(&mine, |run| run.wrong().value()));
        // A threshold that serves nothing is no yardstick.
        let times = |of: f64| if of > 0.0 { hits / of } else { f64::INFINITY };
        let (to_static, to_per_entry) = (times(hits_at(&points, wrong)), times(theirs));
        let checkpoints = || mine.iter().map(|run| run.checkpoints(budget));
        let highest = checkpoints().map(|(highest, _)| highest).fold(0.0, f64::max);
        let broken: u32 = checkpoints().map(|(_, broken)| broken).sum();
        let alarm = mine.iter().flat_map(|run| run.alarms.first()).max().map_or("-".to_owned(), ToString::to_string);
        let line = format!(
            "{order:>5}  {budget:>6}  {hits:.3}  {:>6.2} %  {to_static:>7.2}  {to_per_entry:>10.2}  {:>5.2} %  {broken:>6}  {alarm}",
            wrong * 100.0,
            highest * 100.0
        );
        Run { line, figures: [hits, wrong, to_static, to_per_entry, f64::from(broken), mean(&mine, Seen::micros)] }
    };
    BUDGETS.into_iter().map(under).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a few runs")]
fn mean(runs: &[Seen], of: impl Fn(&Seen) -> f64) -> f64 {
    runs.iter().map(of).sum::<f64>() / runs.len().max(1) as f64
}

fn options() -> Options {
    let (prior, traces, tunables) = (None, Vec::new(), vec![Tunables::shipped()]);
    let mut options = Options { shuffles: 5, draws: 1, flip: 0.0, change: false, prior, traces, tunables };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value");
        match argument.as_str() {
            "--shuffles" => options.shuffles = value().parse().expect("a number"),
            "--draws" => options.draws = value().parse().expect("a number"),
            "--flip" => options.flip = value().parse().expect("a share"),
            "--change" => options.change = true,
            "--prior" => options.prior = Some(value()),
            "--try" => options.tunables = tried(&options.tunables, &value()),
            "--bench" => {}
            _ => options.traces.push(argument),
        }
    }
    options
}

/// Each of these with each of the values of `NAME=VALUE,VALUE...`.
fn tried(all: &[&'static Tunables], values: &str) -> Vec<&'static Tunables> {
    let (name, values) = values.split_once('=').expect("NAME=VALUE,VALUE...");
    let values: Vec<f64> = values.split(',').map(|value| value.parse().expect("a number")).collect();
    let with = |tunables: &'static Tunables, value: f64| -> &'static Tunables {
        let mut tunables = *tunables;
        let place = match name {
            "safety" => &mut tunables.allocation.safety,
            "ceiling" => &mut tunables.allocation.ceiling,
            "ceiling-of-root" => &mut tunables.allocation.ceiling_of_root,
            "trusted" => &mut tunables.allocation.trusted.0,
            "doubted" => &mut tunables.allocation.trusted.1,
            "advance" => &mut tunables.allocation.advance,
            "caution" => &mut tunables.calibration.caution,
            "least-calibration" => &mut tunables.calibration.bounds.0,
            "near-cut" => &mut tunables.calibration.near_cut,
            "youth" => &mut tunables.calibration.youth,
            "weight-of-others" => &mut tunables.training.weight_of_others,
            _ => panic!("no tunable that can be tried is called {name}"),
        };
        *place = value;
        Box::leak(Box::new(tunables))
    };
    all.iter().flat_map(|tunables| values.iter().map(|value| with(tunables, *value))).collect()
}

fn params(budget: f64) -> PolicyParams {
    PolicyParams::new(ErrorBudget::new(budget).expect("a budget"), 0.05, false)
}

fn read(model: &Model, path: &str) -> Vec<Prompt> {
    let text = std::fs::read_to_string(path).expect("the trace");
    let lines: Vec<(String, String)> = text
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
            let field = |name: &str| line[name].as_str().expect("prompt and group").to_owned();
            (field("prompt"), field("group"))
        })
        .collect();
    let mut prompts = Vec::with_capacity(lines.len());
    for batch in lines.chunks(BATCH) {
        let texts: Vec<&str> = batch.iter().map(|(text, _)| text.as_str()).collect();
        for ((text, group), made) in batch.iter().zip(model.embed_prompts(&texts)) {
            let scope = ScopeKey::new(CacheKey::new("", ""), &[0; 32]);
            let entry = EntryId::new(scope, TextHash::of(text), &Attributes::default());
            let vector = made.expect("a vector").vector;
            let parsed = Parsed::new(text);
            prompts.push(Prompt { text: text.clone(), parsed, group: group.clone(), vector, entry });
        }
    }
    prompts
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits")]
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Order 0 is the trace's own.
fn shuffled(length: usize, order: u64) -> Vec<usize> {
    let mut all: Vec<usize> = (0..length).collect();
    if order > 0 {
        let mut draws = Draws(order * 7919);
        for last in (1..length).rev() {
            all.swap(last, (draws.next() % (last as u64 + 1)) as usize);
        }
    }
    all
}

/// A policy, and how it is used.
struct Rule<'r> {
    policy: &'r dyn Policy,
    params: PolicyParams,
    prior: &'r ModelPrior,
    /// The published rule stores an explored prompt only where the entry near it was wrong.
    stores_only_what_was_wrong: bool,
}

#[derive(Default)]
struct Seen {
    requests: u64,
    hits: u64,
    wrong: u64,
    took: Duration,
    checkpoints: Vec<Share>,
    alarms: Vec<usize>,
}

impl Seen {
    fn hits(&self) -> Share {
        Share::new(self.hits, self.requests)
    }

    fn wrong(&self) -> Share {
        Share::new(self.wrong, self.requests)
    }

    /// What a decision took beside the search, in the mean.
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    fn micros(&self) -> f64 {
        self.took.as_secs_f64() * 1e6 / self.requests.max(1) as f64
    }

    /// The highest wrong ÷ requests, and at how many checkpoints even its interval lies above the budget.
    fn checkpoints(&self, budget: f64) -> (f64, u32) {
        let all = || self.checkpoints.iter().copied().chain([self.wrong()]);
        let highest = all().map(Share::value).fold(0.0, f64::max);
        (highest, all().map(|share| u32::from(share.interval().0 > budget)).sum())
    }
}

fn replay(
    (prompts, near): (&[Prompt], &[Vec<u32>]),
    order: &[usize],
    rule: &Rule<'_>,
    options: &Options,
    draws: u64,
) -> Seen {
    let Rule { policy, params, prior, stores_only_what_was_wrong } = rule;
    let (mut trainer, spending) = (Trainer::default(), Spending::default());
    let (mut draws, mut seen) = (Draws(draws), Seen::default());
    let mut stored = Stored { all: Vec::new(), is_there: vec![false; prompts.len()] };
    let mut answers: HashMap<EntryId, AnswerClass> = HashMap::new();
    let constraints = &LookupConstraints::default();
    for (number, at) in order.iter().enumerate() {
        let prompt = &prompts[*at];
        let is_late = options.change && number >= order.len() / 2;
        let answer = AnswerClass::of(&format!("{}{}", prompt.group, if is_late { " changed" } else { "" }));
        let near = nearest(prompts, &near[*at], &stored, prompt, &answers);
        let begun = Instant::now();
        let parsed = ParsedPrompt::of(&prompt.text);
        let query = Query::new(&parsed, &prompt.vector);
        let (neighbours, entries, sample) = (&near, stored.all.len(), draws.share());
        let request = AssessmentRequest { query, neighbours, entries, constraints, max_results: 1, sample };
        let assessment = policy.assess(&request, trainer.knowledge(), &spending).assessment.expect("it learns");
        seen.took += begun.elapsed();
        seen.requests += 1;
        let best = assessment.best().map(|best| best.answer == answer);
        if assessment.verdict == Verdict::Served {
            seen.hits += 1;
            seen.wrong += u64::from(best == Some(false));
        } else {
            let mut flipped = false;
            let mut label = |right: bool| {
                let flip = draws.share() < options.flip;
                flipped |= flip;
                right != flip
            };
            let right: Vec<_> =
                assessment.candidates.iter().map(|one| Some(Judgement::sure(label(one.answer == answer)))).collect();
            // Whose label is wrong, of that the fresh answer was misread.
            let fresh = if flipped { AnswerClass::of(&prompt.text) } else { answer };
            let answered = Some(AnsweredQuery { query, answer: fresh });
            let labels = Labels { of: &right, answered };
            if trainer.learn(&assessment, &labels, &spending, params.tunables) == Change::Sounded {
                seen.alarms.push(number);
            }
            if let Some(job) = trainer.due(prior, params.tunables) {
                trainer.adopt(job.run(prior));
            }
            if !stores_only_what_was_wrong || best != Some(true) {
                stored.all.push(*at);
                stored.is_there[*at] = true;
                answers.insert(prompt.entry, answer);
            }
        }
        if seen.requests % CHECKPOINT == 0 {
            seen.checkpoints.push(seen.wrong());
        }
    }
    seen
}

/// The nearest of the prompts that are stored. Most often they are among those that are near in the whole trace.
fn nearest<'p>(
    prompts: &'p [Prompt],
    near: &[u32],
    stored: &Stored,
    asked: &Prompt,
    answers: &HashMap<EntryId, AnswerClass>,
) -> Vec<Neighbour<'p>> {
    let known = near.iter().map(|at| *at as usize).filter(|at| stored.is_there[*at]);
    let mut found: Vec<usize> = known.take(NEIGHBOURS).collect();
    if found.len() < NEIGHBOURS {
        found = sorted(prompts, stored.all.iter().copied(), asked, NEIGHBOURS);
    }
    let neighbour = |at: usize| {
        let Prompt { entry, text, parsed, vector, .. } = &prompts[at];
        let prompt = PromptText { text, parsed: Some(parsed), is_lossy: false };
        let cosine = vector.cosine(&asked.vector);
        let (answer, state) = (answers[entry], CandidateState::default());
        Neighbour { entry: *entry, prompt, vector, cosine, answer, is_literal: true, state }
    };
    found.into_iter().map(neighbour).collect()
}

/// The `most` nearest of some prompts, nearest first.
fn sorted(prompts: &[Prompt], of: impl Iterator<Item = usize>, asked: &Prompt, most: usize) -> Vec<usize> {
    let mut near: Vec<(f32, usize)> = of.map(|at| (prompts[at].vector.cosine(&asked.vector).get(), at)).collect();
    let by_cosine = |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if near.len() > most {
        near.select_nth_unstable_by(most, by_cosine);
        near.truncate(most);
    }
    near.sort_by(by_cosine);
    near.into_iter().map(|(_, at)| at).collect()
}

/// For each prompt, the nearest others of the whole trace.
fn near_in_all(prompts: &[Prompt]) -> Vec<Vec<u32>> {
    let of_one = |at: usize| {
        let others = (0..prompts.len()).filter(|other| *other != at);
        let near = sorted(prompts, others, &prompts[at], KNOWN);
        near.into_iter().map(|at| u32::try_from(at).expect("a number of a prompt")).collect()
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let all: Vec<usize> = (0..prompts.len()).collect();
    std::thread::scope(|scope| {
        let parts = all.chunks(all.len().div_ceil(threads).max(1));
        let parts: Vec<_> =
            parts.map(|part| scope.spawn(move || part.iter().map(|at| of_one(*at)).collect::<Vec<_>>())).collect();
        parts.into_iter().flat_map(|part| part.join().expect("a part")).collect()
    })
}

/// The prompts that are stored.
struct Stored {
    all: Vec<usize>,
    is_there: Vec<bool>,
}
