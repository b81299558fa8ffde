//! What speaks for a candidate, in numbers: its own nearness, what its neighbours answer, and what is known of it.

use serde::{Deserialize, Serialize};

use super::answer::AnswerClass;
use super::features::{Features, Text};
use super::query::Query;
use crate::embed::{Cosine, Embedding};
use crate::store::EntryId;

/// A near entry as a rule sees it.
#[derive(Debug, Clone, Copy)]
pub struct Neighbour<'n> {
    /// Its name.
    pub entry: EntryId,
    /// Its prompt.
    pub prompt: Text<'n>,
    /// Its prompt's vector.
    pub vector: &'n Embedding,
    /// Of the two prompts.
    pub cosine: Cosine,
    /// Entries of one class have the same answer.
    pub answer: AnswerClass,
    /// Whether its answer is short or structured, so that others that say the same have the same class.
    pub is_literal: bool,
}

/// How many features a rule that learns looks at.
pub const FEATURES: usize = 37;

/// The features of one candidate, as [`NAMES`] calls them.
pub(super) type Vector = [f32; FEATURES];

/// What the features are called, in explanations and in `prior.json`.
pub const NAMES: [&str; FEATURES] = [
    "bias",
    "cosine",
    "closeness",
    "cosineAbove90",
    "cosineBelow70",
    "margin",
    "smallMargin",
    "consensus",
    "sharpConsensus",
    "agreeing",
    "record",
    "answerRecord",
    "overlap",
    "numbers",
    "units",
    "dates",
    "negation",
    "entities",
    "quotes",
    "code",
    "scopeWords",
    "opposites",
    "order",
    "language",
    "fullness",
    "cosineByConsensus",
    "consensusByAgreeing",
    "cosineByOverlap",
    "contentOverlap",
    "sameContent",
    "differsSomehow",
    "differsThoughNear",
    "alikeAndNear",
    "centre",
    "centreMargin",
    "words",
    "wordsMargin",
];

/// Features of which more can only speak for a candidate, and those that can only speak against it. Pairs that people write to
/// test others are alike where they are wrong and unlike where they are right, which traffic isn't: a prior must not learn that.
pub(super) const SPEAK_FOR: [&str; 14] = [
    "alikeAndNear",
    "centre",
    "centreMargin",
    "cosine",
    "closeness",
    "cosineAbove90",
    "consensus",
    "sharpConsensus",
    "overlap",
    "cosineByOverlap",
    "contentOverlap",
    "sameContent",
    "words",
    "wordsMargin",
];
pub(super) const SPEAK_AGAINST: [&str; 14] = [
    "differsThoughNear",
    "cosineBelow70",
    "numbers",
    "units",
    "dates",
    "negation",
    "entities",
    "quotes",
    "code",
    "scopeWords",
    "opposites",
    "order",
    "language",
    "differsSomehow",
];

/// Where the records are among the features: what only the learner knows of an entry and of its answer.
pub(super) const RECORDS: std::ops::Range<usize> = 10..12;
/// Where the prompt's nearness to the centre of the answer's prompts is, which only the learner knows too.
pub(super) const CENTRES: std::ops::Range<usize> = 33..35;
/// Where it is how well the prompt's words fit those prompts, which only the learner knows as well.
pub(super) const WORDS: std::ops::Range<usize> = 35..37;

/// Candidates that are weighed: the nearest of each of so many different answers.
pub(super) const WEIGHED: usize = 3;

/// How fast a neighbour's say falls with its distance, per unit of cosine.
const SAY: f64 = 15.0;
/// The same where only the very nearest are asked.
const SHARP_SAY: f64 = 40.0;
/// Cosine of the farthest rival that counts, and where there is none.
const FAR: f64 = 0.6;
/// The same between centres, in the metric of the traffic.
const FAR_CENTRE: f32 = 0.3;
/// Prompts that are nearer to a centre than this, or by so much nearer than to any other, are as good as one by that measure: what they
/// differ in has to be seen elsewhere.
const NEAR_CENTRE: f32 = 0.75;
const WIDE_MARGIN: f32 = 0.25;
/// Words that speak more for an answer than this, or so much more than for any other, could not be clearer.
const CLEAR_WORDS: f32 = 3.0;
const CLEAR_MARGIN: f32 = 2.0;
/// Shares are kept this far from 0 and 1, so that their log-odds are finite.
const EDGE: f64 = 0.02;

/// A candidate with what speaks for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The candidate's place among the neighbours.
    pub place: usize,
    /// The candidate.
    pub entry: EntryId,
    /// Its answer's class.
    pub answer: AnswerClass,
    /// See [`Neighbour`].
    pub is_literal: bool,
    /// Of the two prompts.
    pub cosine: Cosine,
    /// All that the rule looks at.
    pub vector: Vec<f32>,
    /// Whether its vector or the prompt's misses something, and the words differ: it is never served then.
    pub unclear: bool,
    /// What the two prompts say differently, by name.
    pub differences: Vec<String>,
}

impl Evidence {
    /// The features, as a model takes them.
    #[must_use]
    pub fn features(&self) -> Vector {
        let mut features = [0.0; FEATURES];
        features.iter_mut().zip(&self.vector).for_each(|(feature, value)| *feature = *value);
        features
    }

    /// Puts in two features that only a learner knows.
    pub(super) fn put(&mut self, places: std::ops::Range<usize>, features: [f32; 2]) {
        if let Some(places) = self.vector.get_mut(places) {
            places.copy_from_slice(&features);
        }
    }
}

/// Weighs the nearest of each of the three nearest different answers. `neighbours` are nearest first; `entries` is how
/// many the scope holds. Records and centres are missing; [`Learner::complete`](super::Learner::complete)
/// puts them in.
#[must_use]
pub fn gather(query: Query<'_>, neighbours: &[Neighbour<'_>], entries: usize) -> Vec<Evidence> {
    nearest_of_each(neighbours).take(WEIGHED).map(|place| evidence(query.text(), neighbours, place, entries)).collect()
}

/// The places of the nearest neighbour with each answer, nearest first.
pub(super) fn nearest_of_each(neighbours: &[Neighbour<'_>]) -> impl Iterator<Item = usize> {
    let is_nearest = |place: &usize| {
        let (nearer, answer) = (&neighbours[..*place], neighbours[*place].answer);
        nearer.iter().all(|other| other.answer != answer)
    };
    (0..neighbours.len()).filter(is_nearest)
}

fn evidence(query: Text<'_>, neighbours: &[Neighbour<'_>], place: usize, entries: usize) -> Evidence {
    let candidate = &neighbours[place];
    let features = Features::of(query, candidate.prompt, candidate.cosine);
    let differences = features.differences.unwrap_or_default();
    let cosine_of = |neighbour: &Neighbour<'_>| f64::from(neighbour.cosine.get());
    let agrees = |neighbour: &&Neighbour<'_>| neighbour.answer == candidate.answer;

    let cosine = cosine_of(candidate);
    let nearest = neighbours.first().map_or(cosine, cosine_of);
    // A rival that is far away is as good as none.
    let rival = neighbours.iter().find(|neighbour| !agrees(neighbour)).map_or(FAR, cosine_of).max(FAR);
    let margin = cosine - rival;
    let consensus = |say: f64| {
        let say = |neighbour: &Neighbour<'_>| ((cosine_of(neighbour) - nearest) * say).exp();
        let all: f64 = neighbours.iter().map(say).sum();
        neighbours.iter().filter(agrees).map(say).sum::<f64>() / all.max(f64::MIN_POSITIVE)
    };
    let (wide, sharp) = (consensus(SAY), consensus(SHARP_SAY));
    #[expect(clippy::cast_precision_loss, reason = "a few neighbours")]
    let agreeing = (neighbours.iter().filter(agrees).count() as f64).ln_1p();
    #[expect(clippy::cast_precision_loss, reason = "a logarithm is wanted")]
    let fullness = (entries.max(1) as f64).ln() / 2.0 - 3.0;
    let overlap = (f64::from(differences.overlap) - 0.4) * 2.0;
    let tenths = (cosine - 0.8) * 10.0;
    // Prompts that are as good as one, but for a word, are where differences tell most.
    let nearness = ((cosine - 0.8) * 10.0).max(0.0);
    let differs = differences.names().next().is_some();
    let flag = |is_there: bool| f64::from(u8::from(is_there));

    let vector: [f64; FEATURES] = [
        1.0,
        tenths,
        -(1.02 - cosine).max(0.01).ln() - 1.6,
        (cosine - 0.9).max(0.0) * 10.0,
        (0.7 - cosine).max(0.0) * 10.0,
        margin * 10.0,
        (margin * 10.0).min(0.5),
        log_odds(wide) / 2.0,
        log_odds(sharp) / 2.0,
        agreeing - 1.0,
        0.0,
        0.0,
        overlap,
        flag(differences.numbers),
        flag(differences.units),
        flag(differences.dates),
        flag(differences.negation),
        flag(differences.entities),
        flag(differences.quotes),
        flag(differences.code),
        flag(differences.scope_words),
        flag(differences.opposites),
        flag(differences.order),
        flag(differences.language),
        fullness,
        tenths * wide,
        wide * agreeing - 1.0,
        tenths * overlap,
        (f64::from(differences.content_overlap) - 0.4) * 2.0,
        flag(differences.content_overlap > 0.999 && !differs),
        flag(differs),
        flag(differs) * nearness,
        (1.0 - flag(differs)) * nearness,
        0.0,
        0.0,
        0.0,
        0.0,
    ];
    #[expect(clippy::cast_possible_truncation, reason = "features need no more than f32")]
    let vector = vector.iter().map(|value| *value as f32).collect();
    Evidence {
        place,
        entry: candidate.entry,
        answer: candidate.answer,
        is_literal: candidate.is_literal,
        cosine: candidate.cosine,
        vector,
        unclear: features.blurred && !features.same_words,
        differences: differences.names().map(str::to_owned).collect(),
    }
}

/// The features at [`CENTRES`] of an answer whose centre is at the cosine `own` from the prompt, and the nearest other answer's at
/// `rival`, where there is one.
pub(super) fn by_centres(own: f32, rival: Option<f32>) -> [f32; 2] {
    let rival = rival.map_or(FAR_CENTRE, |rival| rival.max(FAR_CENTRE));
    [(own.min(NEAR_CENTRE) - 0.5) * 4.0, (own - rival).min(WIDE_MARGIN) * 5.0]
}

/// The features at [`WORDS`] of an answer for which the prompt's words speak by `own`, and by `rival` for that of the others for which
/// they speak most.
pub(super) fn by_words(own: f32, rival: Option<f32>) -> [f32; 2] {
    let margin = rival.map_or(0.0, |rival| own - rival.max(0.0));
    [own.clamp(-CLEAR_WORDS, CLEAR_WORDS) / 2.0, margin.clamp(-CLEAR_MARGIN, CLEAR_MARGIN)]
}

fn log_odds(share: f64) -> f64 {
    let share = share.clamp(EDGE, 1.0 - EDGE);
    (share / (1.0 - share)).ln()
}
