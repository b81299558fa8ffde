//! Where the prompts lie that have one answer, and what words they have.
//!
//! One prompt near another may be an outlier of its kind. A prompt is also compared with the centre of all that are known to
//! have the answer: a mean of many vectors is nearer to what they have in common than any of them (Tibshirani and others 2002,
//! nearest centroids).

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::answer::AnswerClass;
use super::shared_map::SharedMap;
use super::token_set::{Common, TokenSet, Words};

/// Answers whose centres are known; those go first that were right for no prompt for long. Each takes a vector's room.
const MAX: usize = 2000;
/// Prompts that a centre remembers; then older ones begin to count less.
const REMEMBERED: f32 = 400.0;
/// Square of the distance beyond which a centre is pushed no further: it would run away from a prompt that comes again and again.
const FAR: f32 = 1.0;
/// Words that are known of the prompts of one answer, and of all together.
const WORDS: usize = 400;
const ALL_WORDS: usize = 20_000;

/// The centres of a cache's answers: of those only that were right for more than one prompt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Centres {
    sums: SharedMap<AnswerClass, Arc<Sum>>,
    by_age: VecDeque<AnswerClass>,
    /// Of all prompts.
    words: Common,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Sum {
    of: Mean,
    words: Words,
    /// Whether a prompt came since it was last its turn to go.
    in_use: bool,
}

impl Centres {
    /// One more prompt for which `answer` is right. It counts `weight`.
    pub(super) fn add(&mut self, answer: AnswerClass, vector: &[f32], tokens: &TokenSet, weight: f32) {
        let Self { sums, by_age, words } = self;
        words.add(tokens, weight, ALL_WORDS);
        let sum = Arc::make_mut(sums.entry_with(answer, || {
            by_age.push_back(answer);
            Arc::default()
        }));
        if !sum.of.fits(vector) {
            *sum = Sum::default();
        }
        if sum.of.count >= REMEMBERED {
            sum.of.halve();
            sum.words.halve();
        }
        sum.of.add(vector, weight);
        sum.words.add(tokens, weight, WORDS);
        sum.in_use |= sum.of.count > weight;
        while by_age.len() > MAX
            && let Some(oldest) = by_age.pop_front()
        {
            // A second chance (Corbató 1968): answers that keep coming are the oldest.
            match sums.get_mut(&oldest).filter(|sum| sum.in_use) {
                Some(sum) => {
                    Arc::make_mut(sum).in_use = false;
                    by_age.push_back(oldest);
                }
                None => drop(sums.remove(&oldest)),
            }
        }
    }

    /// A prompt that was taken, with the probability `mistaken`, to have `answer`, and hasn't: what lies at the edge of two answers
    /// is to be nearer to the right one (learning vector quantisation: Kohonen 1990).
    pub(super) fn push_away(&mut self, answer: &AnswerClass, vector: &[f32], mistaken: f32) {
        let Some((away, _)) = self.away(answer, vector) else { return };
        if away.iter().map(|value| value * value).sum::<f32>() < FAR
            && let Some(sum) = self.sums.get_mut(answer)
        {
            Arc::make_mut(sum).of.sum.iter_mut().zip(away).for_each(|(sum, away)| *sum -= mistaken * away);
        }
    }

    /// The prompts of `part` are prompts of `whole` from now on.
    pub(super) fn join(&mut self, part: AnswerClass, whole: AnswerClass) {
        let Self { sums, by_age, .. } = self;
        let Some(part) = sums.remove(&part) else { return };
        let joined = sums.entry_with(whole, || {
            by_age.push_back(whole);
            Arc::default()
        });
        if joined.of.sum.is_empty() {
            *joined = part;
        } else if part.of.fits(&joined.of.sum) {
            let joined = Arc::make_mut(joined);
            joined.of.join(&part.of);
            joined.words.join(&part.words, WORDS);
            joined.in_use = true;
        }
    }

    /// Whether an answer has a centre.
    pub(super) fn knows(&self, answer: &AnswerClass) -> bool {
        self.sums.get(answer).is_some()
    }

    /// How far a prompt lies from the mean of the others that are known to have its answer, and how many these are.
    pub(super) fn away(&self, answer: &AnswerClass, vector: &[f32]) -> Option<(Vec<f32>, f32)> {
        self.sums.get(answer)?.of.away(vector)
    }

    /// How much a prompt's words speak for each of some answers.
    pub(super) fn by_words(&self, answers: &[AnswerClass], tokens: &TokenSet) -> Vec<f32> {
        let shares = self.words.shares(tokens);
        let of = |answer| self.sums.get(answer).map_or(0.0, |sum| sum.words.speak_for(tokens, &shares));
        answers.iter().map(of).collect()
    }

    /// The centre of the prompts with `answer`, of which `nearest` is one.
    pub(super) fn of<'c>(&'c self, answer: &AnswerClass, nearest: &'c [f32]) -> impl Iterator<Item = f32> + 'c {
        let known = self.sums.get(answer).map(|sum| &sum.of).filter(|mean| mean.fits(nearest));
        let (sum, count) = known.map_or((nearest, 0.0), |mean| (mean.sum.as_slice(), mean.count));
        // Where nothing is known, the one is its own centre.
        let others = if count > 0.0 { 1.0 } else { 0.0 };
        let share = 1.0 / (count + 1.0);
        sum.iter().zip(nearest).map(move |(sum, value)| (sum * others + value) * share)
    }
}

/// The mean of vectors as they come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Mean {
    count: f32,
    sum: Vec<f32>,
}

impl Mean {
    fn fits(&self, vector: &[f32]) -> bool {
        self.sum.len() == vector.len()
    }

    /// One more, which counts `weight`. One of another dimension begins anew.
    pub(super) fn add(&mut self, vector: &[f32], weight: f32) {
        if !self.fits(vector) {
            *self = Self { count: 0.0, sum: vec![0.0; vector.len()] };
        }
        self.count += weight;
        self.sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += weight * value);
    }

    /// All that came to another one, of the same dimension.
    fn join(&mut self, other: &Self) {
        self.count += other.count;
        self.sum.iter_mut().zip(&other.sum).for_each(|(sum, more)| *sum += more);
    }

    /// All that came count half.
    fn halve(&mut self) {
        self.count /= 2.0;
        self.sum.iter_mut().for_each(|value| *value /= 2.0);
    }

    /// How far `vector` lies from the mean of these, and how many they are; None where there are none to speak of.
    pub(super) fn away(&self, vector: &[f32]) -> Option<(Vec<f32>, f32)> {
        let is_known = self.fits(vector) && self.count > 0.5;
        let away = || vector.iter().zip(&self.sum).map(|(value, sum)| value - sum / self.count).collect();
        is_known.then(|| (away(), self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::text::Parsed;

    fn of(centres: &Centres, answer: AnswerClass, nearest: &[f32]) -> Vec<f32> {
        centres.of(&answer, nearest).collect()
    }

    #[test]
    fn a_centre_is_the_mean_of_its_prompts_and_the_nearest() {
        let (mut centres, answer) = (Centres::default(), AnswerClass(7));
        let tokens = TokenSet::of(&Parsed::new("where is it"));
        assert_eq!(of(&centres, answer, &[1.0, 0.0]), [1.0, 0.0]);
        centres.add(answer, &[0.0, 1.0], &tokens, 1.0);
        assert_eq!(of(&centres, answer, &[1.0, 0.0]), [0.5, 0.5]);
        assert_eq!(of(&centres, AnswerClass(8), &[1.0, 0.0]), [1.0, 0.0]);
        assert_eq!(centres.away(&answer, &[1.0, 0.0]), Some((vec![1.0, -1.0], 1.0)));
        assert_eq!(centres.away(&AnswerClass(8), &[1.0, 0.0]), None);
        assert_eq!(of(&centres, answer, &[1.0, 0.0, 0.0]), [1.0, 0.0, 0.0]);
        (0..2000).for_each(|_| centres.add(answer, &[1.0, 0.0], &tokens, 1.0));
        assert!(of(&centres, answer, &[1.0, 0.0])[1] < 0.01);
    }

    #[test]
    fn mistakes_push_a_centre_away_but_never_far() {
        let (mut centres, answer, tokens) =
            (Centres::default(), AnswerClass(7), TokenSet::of(&Parsed::new("where is it")));
        let (own, other) = ([1.0, 0.0], [0.8, 0.6]);
        (0..4).for_each(|_| centres.add(answer, &own, &tokens, 1.0));
        let before = centres.clone();
        centres.push_away(&AnswerClass(8), &other, 1.0);
        centres.push_away(&answer, &other, 0.0);
        assert_eq!(centres, before);
        let distance = |centres: &Centres| {
            let (away, _) = centres.away(&answer, &other).unwrap();
            away.iter().map(|value| value * value).sum::<f32>().sqrt()
        };
        let mut last = distance(&centres);
        centres.push_away(&answer, &other, 0.4);
        assert!((distance(&centres) / last - 1.1).abs() < 1e-5, "four prompts hold it by as much each");
        for _ in 0..1000 {
            last = distance(&centres);
            centres.push_away(&answer, &other, 1.0);
            assert!(distance(&centres) >= last);
        }
        assert!(distance(&centres) < 1.25 * FAR.sqrt() + 1e-3);
        centres.push_away(&answer, &[1.0, 0.0, 0.0], 1.0);
        assert!((distance(&centres) - last).abs() < 1e-6, "of another dimension");
    }

    #[test]
    fn the_oldest_make_room_unless_they_keep_coming() {
        let (mut centres, tokens) = (Centres::default(), TokenSet::of(&Parsed::new("")));
        for answer in 0..3 * MAX as u64 {
            centres.add(AnswerClass(answer), &[1.0], &tokens, 1.0);
            centres.add(AnswerClass(0), &[1.0], &tokens, 1.0);
        }
        assert_eq!((centres.sums.len(), centres.by_age.len()), (MAX, MAX));
        assert_eq!(of(&centres, AnswerClass(1), &[0.0]), [0.0]);
        assert!(of(&centres, AnswerClass(0), &[0.0])[0] > 0.9);
    }
}
