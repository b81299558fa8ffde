//! How well decisions keep their budget, and how much they serve within it.
//!
//! `cargo bench --bench decide -- TRACE.jsonl... [--shuffles N] [--flip SHARE] [--change] [--prior FILE]`
//!
//! Each trace is replayed in its order and in N others (5) by the rules alone, over exact neighbours: budgets 0.01, 0.02 and
//! 0.05, labels from misses and audits only. Shown are hits, wrong ÷ requests, hits ÷ those of the fixed threshold with as many wrong answers, hits ÷
//! those of the per-entry rule, the highest wrong ÷ requests at a checkpoint of 1,000 requests, and at how many of them
//! the budget was broken beyond what its Wilson interval allows. `--flip` turns that share of the labels; `--change` gives all prompts
//! other answers from the middle on, and tells after how many requests the alarm sounded. `--prior` takes another prior than the
//! model's: one that was not made of the trace's own questions.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, and stops where it can't go on")]

use std::collections::HashMap;

use refrain::config;
use refrain::decide::{
    AnswerClass, Beliefs, Case, Change, Ending, ErrorBudget, Learner, Neighbour, Share, Terms, Text, gather,
};
use refrain::embed::{Embedding, Model};
use refrain::replay::{Asked, frontier, hits_at};
use refrain::store::{Attributes, CacheKey, EntryId, ScopeKey, TextHash};

const BUDGETS: [f64; 3] = [0.01, 0.02, 0.05];
const NEIGHBOURS: usize = 10;
const BATCH: usize = 64;
const CHECKPOINT: u64 = 1000;

struct Prompt {
    text: String,
    group: String,
    vector: Embedding,
    entry: EntryId,
}

struct Options {
    shuffles: u64,
    flip: f64,
    change: bool,
    prior: Option<String>,
    traces: Vec<String>,
}

fn main() {
    let options = options();
    let model = Model::load(&config::Embedding::default()).expect("a model; run `make model`");
    let beliefs = match &options.prior {
        Some(path) => Beliefs::from_json(&std::fs::read_to_string(path).expect("the prior")).expect("a prior"),
        None => Beliefs::from_json(model.manifest().prior.as_deref().expect("a prior")).expect("a prior"),
    };
    for trace in &options.traces {
        let prompts = read(&model, trace);
        println!("\n{trace}: {} requests", prompts.len());
        println!("order  budget  hits    wrong    ÷static  ÷per-entry  highest  broken  alarm");
        let mut sums = [[0.0; 5]; BUDGETS.len()];
        for order in 0..=options.shuffles {
            let order_of = shuffled(prompts.len(), order);
            let asked = |at: &usize| Asked { group: &prompts[*at].group, vector: Some(prompts[*at].vector.clone()) };
            let points = frontier(&order_of.iter().map(asked).collect::<Vec<_>>());
            for (budget, sums) in BUDGETS.into_iter().zip(&mut sums) {
                let mine = replay(&prompts, &order_of, Rule::Budget(&beliefs), budget, &options);
                let theirs = replay(&prompts, &order_of, Rule::PerEntry, budget, &options);
                let (hits, wrong) = (mine.hits().value(), mine.wrong().value());
                let to_static = hits / hits_at(&points, wrong).max(1e-9);
                let to_per_entry = hits / theirs.hits().value().max(1e-9);
                let (highest, broken) = mine.checkpoints(budget);
                let alarm = mine.alarms.first().map_or("-".to_owned(), ToString::to_string);
                println!(
                    "{order:>5}  {budget:>6}  {hits:.3}  {:>6.2} %  {to_static:>7.2}  {to_per_entry:>10.2}  {:>5.2} %  {broken:>6}  {alarm}",
                    wrong * 100.0,
                    highest * 100.0
                );
                let of_this = [hits, wrong, to_static, to_per_entry, f64::from(broken)];
                sums.iter_mut().zip(of_this).for_each(|(sum, value)| *sum += value);
            }
        }
        for (budget, [hits, wrong, to_static, to_per_entry, broken]) in BUDGETS.into_iter().zip(sums) {
            #[expect(clippy::cast_precision_loss, reason = "a few orders")]
            let all = (options.shuffles + 1) as f64;
            println!(
                " mean  {budget:>6}  {:.3}  {:>6.2} %  {:>7.2}  {:>10.2}           {broken:>6}",
                hits / all,
                wrong / all * 100.0,
                to_static / all,
                to_per_entry / all
            );
        }
    }
}

fn options() -> Options {
    let mut options = Options { shuffles: 5, flip: 0.0, change: false, prior: None, traces: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value");
        match argument.as_str() {
            "--shuffles" => options.shuffles = value().parse().expect("a number"),
            "--flip" => options.flip = value().parse().expect("a share"),
            "--change" => options.change = true,
            "--prior" => options.prior = Some(value()),
            "--bench" => {}
            _ => options.traces.push(argument),
        }
    }
    options
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
            prompts.push(Prompt { text: text.clone(), group: group.clone(), vector, entry });
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

#[derive(Clone, Copy)]
enum Rule<'b> {
    Budget(&'b Beliefs),
    PerEntry,
}

#[derive(Default)]
struct Seen {
    requests: u64,
    hits: u64,
    wrong: u64,
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

    /// The highest wrong ÷ requests, and at how many checkpoints even its interval lies above the budget.
    fn checkpoints(&self, budget: f64) -> (f64, u32) {
        let all = || self.checkpoints.iter().copied().chain([self.wrong()]);
        let highest = all().map(Share::value).fold(0.0, f64::max);
        (highest, all().map(|share| u32::from(share.interval().0 > budget)).sum())
    }
}

fn replay(prompts: &[Prompt], order: &[usize], rule: Rule<'_>, budget: f64, options: &Options) -> Seen {
    let terms = Terms { budget: ErrorBudget::new(budget).expect("a budget"), audit_rate: 0.05, strict: false };
    let nobody = Beliefs::default();
    let beliefs = if let Rule::Budget(beliefs) = rule { beliefs } else { &nobody };
    let (mut learner, mut draws, mut seen) = (Learner::default(), Draws(99), Seen::default());
    let mut stored: Vec<usize> = Vec::new();
    let mut answers: HashMap<EntryId, AnswerClass> = HashMap::new();
    for (number, at) in order.iter().enumerate() {
        let prompt = &prompts[*at];
        let is_late = options.change && number >= order.len() / 2;
        let answer = AnswerClass::of(&format!("{}{}", prompt.group, if is_late { " changed" } else { "" }));
        let mut evidence = gather(plain(&prompt.text), &nearest(prompts, &stored, prompt, &answers), stored.len());
        learner.complete(&mut evidence);
        let draw = draws.share();
        let case: Case = match rule {
            Rule::Budget(_) => learner.budgeted(evidence, terms, beliefs, None, |_| false, draw),
            Rule::PerEntry => learner.per_entry(evidence, terms, |_| false, draw),
        };
        seen.requests += 1;
        let best = case.best().map(|best| best.answer == answer);
        if case.ending == Ending::Served {
            seen.hits += 1;
            seen.wrong += u64::from(best == Some(false));
        } else {
            let mut label = |right: bool| if draws.share() < options.flip { !right } else { right };
            let right: Vec<_> = case.evidence.iter().map(|one| Some(label(one.answer == answer))).collect();
            if learner.learn(&case, &right, 1.0) == Change::Sounded {
                seen.alarms.push(number);
            }
            if let Some(job) = learner.due(beliefs) {
                learner.adopt(&job.run(beliefs));
            }
            // The published rule stores an explored prompt only where the entry near it was wrong.
            if matches!(rule, Rule::Budget(_)) || best != Some(true) {
                stored.push(*at);
                answers.insert(prompt.entry, answer);
            }
        }
        if seen.requests % CHECKPOINT == 0 {
            seen.checkpoints.push(seen.wrong());
        }
    }
    seen
}

fn plain(text: &str) -> Text<'_> {
    Text { text, parsed: None, blurred: false }
}

fn nearest<'p>(
    prompts: &'p [Prompt],
    stored: &[usize],
    asked: &Prompt,
    answers: &HashMap<EntryId, AnswerClass>,
) -> Vec<Neighbour<'p>> {
    let mut near: Vec<_> = stored.iter().map(|at| (prompts[*at].vector.cosine(&asked.vector), *at)).collect();
    let by_cosine =
        |a: &(refrain::embed::Cosine, usize), b: &(refrain::embed::Cosine, usize)| b.0.get().total_cmp(&a.0.get());
    if near.len() > NEIGHBOURS {
        near.select_nth_unstable_by(NEIGHBOURS, by_cosine);
        near.truncate(NEIGHBOURS);
    }
    near.sort_by(by_cosine);
    let neighbour = |(cosine, at): (refrain::embed::Cosine, usize)| {
        let Prompt { entry, text, .. } = &prompts[at];
        Neighbour { entry: *entry, prompt: plain(text), cosine, answer: answers[entry], is_literal: true }
    };
    near.into_iter().map(neighbour).collect()
}
