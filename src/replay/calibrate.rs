//! Makes a model's prior from labelled pairs and traces: what its cosines, and what two prompts say differently, are worth
//! before a cache has labels of its own.

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::Arc;

use serde::Deserialize;

use crate::decide::{
    AnswerClass, AnsweredQuery, AssessmentRequest, BudgetPolicy, CandidateFeatures, CandidateState, ErrorBudget,
    Example, Examples, FEATURES, Judgement, Labels, LookupConstraints, Metric, ModelPrior, Neighbour, ParsedPrompt,
    Policy, PolicyParams, PromptText, Query, Scatter, SourceKind, Spending, Trainer, Tunables, Verdict,
};
use crate::embed::{Embedder, Embedding, Prefix};
use crate::store::{Attributes, CacheKey, EntryId, ScopeKey, TextHash};

/// Nearest of the stored prompts that a trace's request is weighed against.
const NEIGHBOURS: usize = 10;
/// Pairs that differ were sought out, and are much more common in files of pairs than in traffic; each counts so much less.
const SOUGHT_OUT: f32 = 0.3;
/// The budget under which a trace is replayed; all answers are labelled, so that it says only which entries are stored.
const BUDGET: f64 = 0.02;
/// Of a trace's sure hits, one in so many is stored all the same, so that neighbours are as dense as in a cache that serves.
const STORED_OF_SURE: usize = 2;

/// Two prompts, and whether the answer of one is right for the other.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Pair {
    /// One.
    pub a: String,
    /// The other.
    pub b: String,
    /// Whether they have the same right answer.
    pub same: bool,
}

/// A prompt with its group; equal groups have the same right answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Grouped {
    prompt: String,
    group: String,
}

/// What a file of labelled prompts holds.
#[derive(Debug, Clone, Default)]
pub struct Labelled {
    pairs: Vec<Pair>,
    trace: Vec<Grouped>,
    /// Lines that are neither, by their number.
    pub broken: Vec<u64>,
}

impl Labelled {
    /// Reads lines `{"a", "b", "same"}` or `{"prompt", "group"}`.
    ///
    /// # Errors
    /// Where the lines can't be read.
    pub fn read(lines: impl BufRead) -> std::io::Result<Self> {
        let mut read = Self::default();
        for (number, line) in (1..).zip(lines.split(b'\n')) {
            let line = line?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            if let Ok(pair) = serde_json::from_slice(&line) {
                read.pairs.push(pair);
            } else if let Ok(grouped) = serde_json::from_slice(&line) {
                read.trace.push(grouped);
            } else {
                read.broken.push(number);
            }
        }
        Ok(read)
    }

    /// Labelled pairs, and requests of a trace.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.pairs.len(), self.trace.len())
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        let of_pairs = self.pairs.iter().flat_map(|pair| [pair.a.as_str(), pair.b.as_str()]);
        of_pairs.chain(self.trace.iter().map(|grouped| grouped.prompt.as_str()))
    }

    /// The vectors of all texts. `progress` is told of every one that is embedded.
    pub async fn embed(&self, embedder: &Embedder, progress: &(impl Fn() + Sync)) -> Vectors {
        use futures_util::{StreamExt, stream};
        let embedded = stream::iter(self.texts()).map(|text| async move {
            let made = embedder.embed(text, Prefix::Query).await;
            progress();
            Some((text.to_owned(), made.ok()?.vector))
        });
        let made = embedded.buffer_unordered(super::EMBEDDED_AT_ONCE).filter_map(async |made| made).collect();
        Vectors(made.await)
    }

    /// Tells a scatter how prompts vary, and those that have one answer.
    pub fn scatter(&self, Vectors(vectors): &Vectors, scatter: &mut Scatter) {
        self.texts().filter_map(|text| vectors.get(text)).for_each(|vector| scatter.add(vector.as_slice()));
        let known = |text: &String| Some(vectors.get(text)?.as_slice());
        let same = self.pairs.iter().enumerate().filter(|(_, pair)| pair.same);
        let same = same.filter_map(|(number, pair)| Some([(number, known(&pair.b)?), (number, known(&pair.a)?)]));
        scatter.add_answered(same.flatten());
        scatter.add_answered(self.trace.iter().filter_map(|grouped| Some((&grouped.group, known(&grouped.prompt)?))));
    }

    /// What can be learned from them, each case counted `weight` times, where prompts vary as `metric` says.
    #[must_use]
    pub fn examples(&self, vectors: &Vectors, metric: Option<&Metric>, weight: f32) -> [Examples; 2] {
        let prior = Arc::new(ModelPrior { metric: metric.cloned(), ..ModelPrior::default() });
        let Some(budget) = ErrorBudget::new(BUDGET) else { return [SourceKind::Traffic, SourceKind::Pairs].map(none) };
        // Everything is labelled.
        let policy = BudgetPolicy { params: PolicyParams::new(budget, 1.0, false), prior };
        [
            Examples { kind: SourceKind::Traffic, examples: self.of_trace(vectors, &policy, weight) },
            Examples { kind: SourceKind::Pairs, examples: self.of_pairs(vectors, &policy, weight) },
        ]
    }

    fn of_pairs(&self, Vectors(vectors): &Vectors, policy: &BudgetPolicy, weight: f32) -> Vec<Example<FEATURES>> {
        let nobody = Trainer::default();
        let example = |pair: &Pair| {
            let (a, b) = (vectors.get(&pair.a)?, vectors.get(&pair.b)?);
            let neighbours = [neighbour(&pair.b, b, b.cosine(a), AnswerClass(1))];
            let prompt = ParsedPrompt::of(&pair.a);
            let request = request(Query::new(&prompt, a), &neighbours, 1);
            let assessment = policy.assess(&request, nobody.knowledge(), &Spending::default()).assessment?;
            let weight = if pair.same { weight } else { weight * SOUGHT_OUT };
            Some(ModelPrior::example(assessment.candidates.first()?.vector(), pair.same, weight))
        };
        self.pairs.iter().filter_map(example).collect()
    }

    /// The cases that a cache meets which asks the provider each time and learns on the way.
    fn of_trace(&self, Vectors(vectors): &Vectors, policy: &BudgetPolicy, weight: f32) -> Vec<Example<FEATURES>> {
        let (mut trainer, spending, mut examples) = (Trainer::default(), Spending::default(), Vec::new());
        let tunables = Tunables::shipped();
        let mut stored: Vec<(&Grouped, &Embedding)> = Vec::new();
        for (number, asked) in self.trace.iter().enumerate() {
            let Some(vector) = vectors.get(&asked.prompt) else { continue };
            let near = nearest(&stored, vector);
            let prompt = ParsedPrompt::of(&asked.prompt);
            let query = Query::new(&prompt, vector);
            let decision = policy.assess(&request(query, &near, stored.len()), trainer.knowledge(), &spending);
            let Some(assessment) = decision.assessment else { continue };
            let answer = AnswerClass::of(&asked.group);
            let same = |candidate: &CandidateFeatures| candidate.answer == answer;
            let right: Vec<_> =
                assessment.candidates.iter().map(|candidate| Some(Judgement::sure(same(candidate)))).collect();
            let example =
                |candidate: &CandidateFeatures| ModelPrior::example(candidate.vector(), same(candidate), weight);
            examples.extend(assessment.candidates.iter().map(example));
            let answered = Some(AnsweredQuery { query, answer });
            trainer.learn(&assessment, &Labels { of: &right, answered }, &spending, tunables);
            if let Some(job) = trainer.due(&policy.prior, tunables) {
                trainer.adopt(job.run(&policy.prior));
            }
            if assessment.verdict == Verdict::Rejected || number % STORED_OF_SURE == 0 {
                stored.push((asked, vector));
            }
        }
        examples
    }
}

fn none(kind: SourceKind) -> Examples {
    Examples { kind, examples: Vec::new() }
}

fn request<'r>(query: Query<'r>, neighbours: &'r [Neighbour<'r>], entries: usize) -> AssessmentRequest<'r> {
    const UNCONSTRAINED: &LookupConstraints =
        &LookupConstraints { min_cosine: None, max_error_rate: None, max_age_millis: None };
    AssessmentRequest { query, neighbours, entries, constraints: UNCONSTRAINED, max_results: 1, sample: 0.0 }
}

/// Texts' vectors.
#[derive(Debug, Clone, Default)]
pub struct Vectors(HashMap<String, Embedding>);

fn neighbour<'t>(
    prompt: &'t str,
    vector: &'t Embedding,
    cosine: crate::embed::Cosine,
    answer: AnswerClass,
) -> Neighbour<'t> {
    let scope = ScopeKey::new(CacheKey::new("", ""), &[0; 32]);
    let entry = EntryId::new(scope, TextHash::of(prompt), &Attributes::default());
    let prompt = PromptText { text: prompt, parsed: None, is_lossy: false };
    Neighbour { entry, prompt, vector, cosine, answer, is_literal: true, state: CandidateState::default() }
}

fn nearest<'t>(stored: &[(&'t Grouped, &'t Embedding)], vector: &Embedding) -> Vec<Neighbour<'t>> {
    let mut near: Vec<_> = stored.iter().map(|stored| (stored.1.cosine(vector), *stored)).collect();
    let by_cosine =
        |(a, _): &(crate::embed::Cosine, _), (b, _): &(crate::embed::Cosine, _)| b.get().total_cmp(&a.get());
    if near.len() > NEIGHBOURS {
        near.select_nth_unstable_by(NEIGHBOURS, by_cosine);
        near.truncate(NEIGHBOURS);
    }
    near.sort_by(by_cosine);
    near.into_iter()
        .map(|(cosine, (stored, vector))| neighbour(&stored.prompt, vector, cosine, AnswerClass::of(&stored.group)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_and_traces_are_told_apart_and_broken_lines_named() {
        let text = b"{\"a\": \"x\", \"b\": \"y\", \"same\": true, \"kind\": \"z\"}\n\n{\"prompt\": \"p\", \"group\": \"g\"}\n{\"a\": 1}\n";
        let read = Labelled::read(&text[..]).unwrap();
        assert_eq!((read.counts(), read.broken), ((1, 1), vec![4]));
    }
}
