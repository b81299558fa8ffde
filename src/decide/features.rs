//! The features of a candidate: one table, from which all that must agree with it is derived.
//!
//! A feature's place in the table is its place in every vector, in `prior.json` and in what caches have learned: new ones go to the
//! end, and a prior is made anew whenever one changes.

use super::neighbour::Neighbour;
use super::text::Differences;

/// How many features there are.
pub const FEATURES: usize = TABLE.len();

/// The features of one candidate, in the table's order.
pub type FeatureVector = [f32; FEATURES];

/// One feature.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// As explanations and `prior.json` call it.
    pub name: &'static str,
    /// Which way it may count.
    pub sign: Sign,
    /// What it is made of.
    pub source: Source,
    /// Its smallest and its largest value.
    pub range: (f64, f64),
    of: fn(&Measures) -> f64,
    /// What it tells.
    pub why: &'static str,
}

/// Which way a feature may count. Pairs that people write to test others are alike where they are wrong and unlike where they are
/// right, which traffic isn't: a prior must not learn that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// More of it only speaks for a candidate.
    For,
    /// More of it only speaks against a candidate.
    Against,
    /// Labels decide.
    Neither,
}

/// What a feature is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nothing.
    Constant,
    /// The two prompts.
    Pair,
    /// The candidate among its neighbours.
    Neighbours,
    /// The scope that it is in.
    Scope,
    /// What the cache has learned.
    Learned,
}

const fn feature(
    name: &'static str,
    sign: Sign,
    source: Source,
    range: (f64, f64),
    of: fn(&Measures) -> f64,
    why: &'static str,
) -> Feature {
    Feature { name, sign, source, range, of, why }
}

/// All of them.
#[rustfmt::skip]
pub const TABLE: [Feature; 37] = [
    feature("bias", Sign::Neither, Source::Constant, (1.0, 1.0), |_| 1.0, "what an average candidate is worth"),
    feature("cosine", Sign::For, Source::Pair, (-18.0, 2.0), |of| of.tenths, "nearness of the two prompts, in tenths of a cosine around 0.8"),
    feature("closeness", Sign::For, Source::Pair, (-2.4, 2.4), |of| -(1.02 - of.cosine).max(0.01).ln() - 1.6, "the same on a log scale: from 0.98 to 0.99 is as far as from 0.90 to 0.96"),
    feature("cosineAbove90", Sign::For, Source::Pair, (0.0, 1.0), |of| (of.cosine - 0.9).max(0.0) * 10.0, "lets the slope change at 0.9"),
    feature("cosineBelow70", Sign::Against, Source::Pair, (0.0, 17.0), |of| (0.7 - of.cosine).max(0.0) * 10.0, "lets the slope change at 0.7"),
    feature("margin", Sign::Neither, Source::Neighbours, (-20.0, 4.0), |of| of.margin * 10.0, "how much nearer it is than the nearest entry with another answer"),
    feature("smallMargin", Sign::Neither, Source::Neighbours, (-20.0, 0.5), |of| (of.margin * 10.0).min(0.5), "the first twentieth of that tells most"),
    feature("consensus", Sign::For, Source::Neighbours, (-2.0, 2.0), |of| log_odds(of.consensus) / 2.0, "share of the neighbours with its answer, by nearness, as log-odds"),
    feature("sharpConsensus", Sign::For, Source::Neighbours, (-2.0, 2.0), |of| log_odds(of.sharp_consensus) / 2.0, "the same where only the very nearest count"),
    feature("agreeing", Sign::Neither, Source::Neighbours, (-0.4, 7.0), |of| of.agreeing - 1.0, "logarithm of how many neighbours have its answer"),
    feature("record", Sign::Neither, Source::Learned, (f64::NEG_INFINITY, f64::INFINITY), |_| 0.0, "how much oftener this entry was right than predicted, in log-odds"),
    feature("answerRecord", Sign::Neither, Source::Learned, (f64::NEG_INFINITY, f64::INFINITY), |_| 0.0, "the same of all entries with its answer"),
    feature("overlap", Sign::For, Source::Pair, (-0.8, 1.2), |of| of.overlap, "share of words that both prompts have"),
    feature("numbers", Sign::Against, Source::Pair, (0.0, 1.0), |of| flag(of.differences.numbers), "numbers differ"),
    feature("units", Sign::Against, Source::Pair, (0.0, 1.0), |of| flag(of.differences.units), "units differ"),
    feature("dates", Sign::Against, Source::Pair, (0.0, 1.0), |of| flag(of.differences.dates), "dates or times differ"),
    feature("negation", Sign::Against, Source::Pair, (0.0, 1.0), |of| flag(of.differences.negation), "one negates, the other doesn't"),
    feature("entities", Sign::Against, Source::Pair, (0.0, 1.0), |of| flag(of.differences.entities), "names differ"),
    feature("quotes", Sign::Against, Source::Pair, (0.0, 1.0), |of| flag(of.differences.quotes), "quoted texts differ"),
    feature("code", Sign::Against, Source::Pair, (0.0, 1.0), |of| flag(of.differences.code), "code differs"),
    feature("scopeWords", Sign::Against, Source::Pair, (0.0, 1.0), |of| flag(of.differences.scope_words), "words of scope differ, such as all and some"),
    feature("opposites", Sign::Against, Source::Pair, (0.0, 1.0), |of| flag(of.differences.opposites), "one has a word, the other its opposite"),
    feature("order", Sign::Against, Source::Pair, (0.0, 1.0), |of| flag(of.differences.order), "the same words in another order"),
    feature("language", Sign::Against, Source::Pair, (0.0, 1.0), |of| flag(of.differences.language), "languages differ"),
    feature("fullness", Sign::Neither, Source::Scope, (-3.0, 20.0), |of| of.fullness, "logarithm of how many entries the scope holds: among many, the nearest is nearer by chance"),
    feature("cosineByConsensus", Sign::Neither, Source::Neighbours, (-18.0, 2.0), |of| of.tenths * of.consensus, "nearness counts otherwise where neighbours agree"),
    feature("consensusByAgreeing", Sign::Neither, Source::Neighbours, (-1.0, 7.0), |of| of.consensus * of.agreeing - 1.0, "consensus of many counts otherwise than that of one"),
    feature("cosineByOverlap", Sign::For, Source::Pair, (-22.0, 15.0), |of| of.tenths * of.overlap, "nearness counts otherwise where words are the same"),
    feature("contentOverlap", Sign::For, Source::Pair, (-0.8, 1.2), |of| (f64::from(of.differences.content_overlap) - 0.4) * 2.0, "overlap of the words that carry content"),
    feature("sameContent", Sign::For, Source::Pair, (0.0, 1.0), |of| flag(of.differences.content_overlap > 0.999 && !of.differs), "all content words are the same and nothing differs"),
    feature("differsSomehow", Sign::Against, Source::Pair, (0.0, 1.0), |of| flag(of.differs), "anything of the above differs"),
    feature("differsThoughNear", Sign::Against, Source::Pair, (0.0, 2.0), |of| flag(of.differs) * of.nearness, "differences tell most between prompts that are as good as one, but for a word"),
    feature("alikeAndNear", Sign::For, Source::Pair, (0.0, 2.0), |of| (1.0 - flag(of.differs)) * of.nearness, "the counterpart of that"),
    feature("centre", Sign::For, Source::Learned, (-6.0, 1.0), |_| 0.0, "cosine to the centre of the prompts that have its answer, in the traffic's own metric"),
    feature("centreMargin", Sign::For, Source::Learned, (-10.0, 1.25), |_| 0.0, "how far that is above any other answer's"),
    feature("words", Sign::For, Source::Learned, (-1.5, 1.5), |_| 0.0, "how much oftener its words come with this answer than at all"),
    feature("wordsMargin", Sign::For, Source::Learned, (-2.0, 2.0), |_| 0.0, "how far that is above any other answer's"),
];

/// Where the learned features are.
pub(super) const RECORD: usize = place_of("record");
pub(super) const ANSWER_RECORD: usize = place_of("answerRecord");
pub(super) const CENTRE: usize = place_of("centre");
pub(super) const CENTRE_MARGIN: usize = place_of("centreMargin");
pub(super) const WORDS: usize = place_of("words");
pub(super) const WORDS_MARGIN: usize = place_of("wordsMargin");

/// How fast a neighbour's say falls with its distance, per unit of cosine..
const SAY: f64 = 15.0;
/// The same where only the very nearest are asked.
const SHARP_SAY: f64 = 40.0;
/// Cosine of the farthest rival that counts, and where there is none. Arbitrary: prompts that far apart have nothing in common.
const FAR: f64 = 0.6;
/// Shares are kept this far from 0 and 1, so that their log-odds are finite.
const EDGE: f64 = 0.02;

/// The place of a feature in the table; compilation fails where there is none of that name.
const fn place_of(name: &str) -> usize {
    let mut place = 0;
    while !is_same(TABLE[place].name.as_bytes(), name.as_bytes()) {
        place += 1;
    }
    place
}

const fn is_same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// What features are functions of.
struct Measures {
    cosine: f64,
    /// Tenths of a cosine above 0.8.
    tenths: f64,
    /// The same, not below 0.
    nearness: f64,
    margin: f64,
    consensus: f64,
    sharp_consensus: f64,
    agreeing: f64,
    fullness: f64,
    overlap: f64,
    differences: Differences,
    differs: bool,
}

impl Measures {
    fn of(differences: &Differences, neighbours: &[Neighbour<'_>], place: usize, entries: usize) -> Self {
        let candidate = &neighbours[place];
        let cosine_of = |neighbour: &Neighbour<'_>| f64::from(neighbour.cosine.get());
        let agrees = |neighbour: &&Neighbour<'_>| neighbour.answer == candidate.answer;
        let cosine = cosine_of(candidate);
        let nearest = neighbours.first().map_or(cosine, cosine_of);
        // A rival that is far away is as good as none.
        let rival = neighbours.iter().find(|neighbour| !agrees(neighbour)).map_or(FAR, cosine_of).max(FAR);
        let consensus = |say: f64| {
            let say = |neighbour: &Neighbour<'_>| ((cosine_of(neighbour) - nearest) * say).exp();
            let all: f64 = neighbours.iter().map(say).sum();
            neighbours.iter().filter(agrees).map(say).sum::<f64>() / all.max(f64::MIN_POSITIVE)
        };
        let tenths = (cosine - 0.8) * 10.0;
        #[expect(clippy::cast_precision_loss, reason = "a few neighbours")]
        let agreeing = (neighbours.iter().filter(agrees).count() as f64).ln_1p();
        #[expect(clippy::cast_precision_loss, reason = "a logarithm is wanted")]
        let fullness = (entries.max(1) as f64).ln() / 2.0 - 3.0;
        Self {
            cosine,
            tenths,
            nearness: tenths.max(0.0),
            margin: cosine - rival,
            consensus: consensus(SAY),
            sharp_consensus: consensus(SHARP_SAY),
            agreeing,
            fullness,
            overlap: (f64::from(differences.overlap) - 0.4) * 2.0,
            differences: *differences,
            differs: differences.names().next().is_some(),
        }
    }
}

/// The features of the candidate at `place` among its neighbours, of a scope with so many `entries`. Those that are learned are 0.
pub(super) fn of(differences: &Differences, neighbours: &[Neighbour<'_>], place: usize, entries: usize) -> Vec<f32> {
    let measures = Measures::of(differences, neighbours, place, entries);
    #[expect(clippy::cast_possible_truncation, reason = "features need no more than f32")]
    let value = |feature: &Feature| (feature.of)(&measures) as f32;
    TABLE.iter().map(value).collect()
}

fn flag(is_there: bool) -> f64 {
    f64::from(u8::from(is_there))
}

fn log_odds(share: f64) -> f64 {
    let share = share.clamp(EDGE, 1.0 - EDGE);
    (share / (1.0 - share)).ln()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::decide::{AnswerClass, CandidateState, ParsedPrompt, PromptText, Query, weigh};
    use crate::embed::{Cosine, Embedding};
    use crate::store::{Attributes, CacheKey, EntryId, ScopeKey, TextHash};

    #[test]
    fn names_are_told_apart() {
        assert_eq!(TABLE.iter().map(|feature| feature.name).collect::<HashSet<_>>().len(), FEATURES);
        assert_eq!((TABLE[RECORD].name, TABLE[WORDS_MARGIN].name), ("record", "wordsMargin"));
    }

    #[test]
    fn the_documentation_lists_them() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/decisions.md");
        let page = std::fs::read_to_string(path).unwrap();
        let row = |feature: &Feature| {
            let counts = match feature.sign {
                Sign::For => "for",
                Sign::Against => "against",
                Sign::Neither => "either way",
            };
            format!("| `{}` | {:?} | {counts} | {} |", feature.name, feature.source, feature.why)
        };
        let missing: Vec<String> = TABLE.iter().map(row).filter(|row| !page.contains(row.as_str())).collect();
        assert!(missing.is_empty(), "docs/decisions.md should have:\n{}", missing.join("\n"));
    }

    proptest! {
        #[test]
        fn values_stay_within_their_ranges(
            near in prop::collection::vec((-1.0f32..=1.0, 0u64..4), 1..20), entries in 0usize..1_000_000_000,
            texts in prop::collection::vec("[a-z0-9 ]{0,30}", 2)
        ) {
            let mut near = near;
            near.sort_by(|a, b| b.0.total_cmp(&a.0));
            let vector = Embedding::normalised(vec![1.0, 0.0]).unwrap();
            let scope = ScopeKey::new(CacheKey::new("t", "c"), &[0; 32]);
            let neighbours: Vec<_> = near.iter().map(|(cosine, answer)| Neighbour {
                entry: EntryId::new(scope, TextHash::of(&texts[1]), &Attributes::default()),
                prompt: PromptText { text: &texts[1], parsed: None, is_lossy: false },
                vector: &vector,
                cosine: Cosine::new(*cosine),
                answer: AnswerClass(*answer),
                is_literal: true,
                state: CandidateState::default(),
            }).collect();
            let prompt = ParsedPrompt::of(&texts[0]);
            for weighed in weigh(Query::new(&prompt, &vector), &neighbours, entries) {
                for (feature, value) in TABLE.iter().zip(weighed.features.vector) {
                    let (least, most) = feature.range;
                    let is_within = (least - 1e-4..=most + 1e-4).contains(&f64::from(value));
                    prop_assert!(is_within, "{} is {}", feature.name, value);
                }
            }
        }
    }
}
