//! The words of prompts that have one answer.
//!
//! The vector of a prompt blurs its words. Over several prompts, words tell which answer is meant: each word of a prompt, and each
//! pair of words that follow each other, counts by how much oftener it comes in an answer's prompts than in all (naive Bayes:
//! Maron 1961; McCallum and Nigam 1998), and the less the fewer prompts the answer had.

use serde::{Deserialize, Serialize};

use super::shared_map::SharedMap;
use super::text::Parsed;

/// Prompts that each have as many of a word as all have, which are added to those of an answer.
const SMOOTHING: f32 = 10.0;
/// Words of a prompt that are looked at.
const LOOKED_AT: usize = 64;
/// What is left of a word's count below which it is forgotten: words that came once before counts were halved.
const FORGOTTEN: f32 = 0.75;

/// The words of a prompt without their endings, and its pairs of words that follow each other: hashes of them, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSet(Vec<u32>);

impl TokenSet {
    /// Of the first words of a prompt.
    #[must_use]
    pub fn of(parsed: &Parsed) -> Self {
        let stems = parsed.stems_in_order();
        let stems = &stems[..stems.len().min(LOOKED_AT)];
        let pairs = stems.windows(2).map(|pair| pair[0].rotate_left(1) ^ pair[1]);
        #[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
        let mut words: Vec<u32> = stems.iter().copied().chain(pairs).map(|hash| hash as u32).collect();
        words.sort_unstable();
        words.dedup();
        Self(words)
    }
}

/// In how many of all prompts each word came.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Common {
    prompts: f32,
    with: SharedMap<u32, f32>,
}

impl Common {
    /// One more prompt, which counts `weight`; no more than about `most` words are remembered.
    pub(super) fn add(&mut self, TokenSet(words): &TokenSet, weight: f32, most: usize) {
        self.prompts += weight;
        words.iter().for_each(|word| *self.with.entry(*word) += weight);
        while self.with.len() > most {
            self.prompts /= 2.0;
            self.with.retain(remains);
        }
    }

    /// In which share of these prompts each word of another one comes. One that never did is taken to come in half a prompt.
    pub(super) fn shares(&self, TokenSet(words): &TokenSet) -> Vec<f32> {
        let count = |word| self.with.get(word).copied().unwrap_or_default();
        words.iter().map(|word| (count(word) + 0.5) / (self.prompts + 1.0)).collect()
    }
}

/// In how many of the prompts with one answer each word came.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Words {
    prompts: f32,
    /// In the order of words: a decision goes through ten such lists, which the processor does fast where they lie in one piece.
    with: Vec<(u32, f32)>,
}

impl Words {
    /// One more prompt, which counts `weight`; no more than about `most` words are remembered.
    pub(super) fn add(&mut self, TokenSet(words): &TokenSet, weight: f32, most: usize) {
        self.prompts += weight;
        words.iter().for_each(|word| self.count(*word, weight));
        while self.with.len() > most {
            self.halve();
        }
    }

    /// All that came to another one.
    pub(super) fn join(&mut self, other: &Self, most: usize) {
        self.prompts += other.prompts;
        for (word, count) in &other.with {
            self.count(*word, *count);
        }
        while self.with.len() > most {
            self.halve();
        }
    }

    fn count(&mut self, word: u32, more: f32) {
        match self.with.binary_search_by_key(&word, |(word, _)| *word) {
            Ok(at) => self.with[at].1 += more,
            Err(at) => self.with.insert(at, (word, more)),
        }
    }

    /// All that came count half.
    pub(super) fn halve(&mut self) {
        self.prompts /= 2.0;
        self.with.retain_mut(|(_, count)| remains(count));
    }

    /// How much likelier a prompt's words are among these prompts than where they come in `shares` of all: the sum of
    /// ln((n_w + α·g_w) ÷ (n + α) ÷ g_w) over the words w, which come in n_w of n of these prompts and in the share g_w of all, with the
    /// [`SMOOTHING`] α; ÷ the root of the number of words, because these don't come independently. 0 where nothing is known.
    pub(super) fn speak_for(&self, TokenSet(words): &TokenSet, shares: &[f32]) -> f32 {
        let mut known = self.with.iter().peekable();
        let more = words.iter().zip(shares).filter_map(|(word, share)| {
            while known.next_if(|(other, _)| other < word).is_some() {}
            let (_, count) = known.next_if(|(other, _)| other == word)?;
            Some((count / (SMOOTHING * share)).ln_1p())
        });
        #[expect(clippy::cast_precision_loss, reason = "some words")]
        let length = words.len() as f32;
        (more.sum::<f32>() - length * (self.prompts / SMOOTHING).ln_1p()) / (length + 1.0).sqrt()
    }
}

/// Halves a count, and tells whether it still counts.
fn remains(count: &mut f32) -> bool {
    *count /= 2.0;
    *count >= FORGOTTEN
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1000;

    fn tokens(text: &str) -> TokenSet {
        TokenSet::of(&Parsed::new(text))
    }

    fn words(prompts: &[&str]) -> Words {
        let mut words = Words::default();
        prompts.iter().for_each(|prompt| words.add(&tokens(prompt), 1.0, MAX));
        words
    }

    fn common(prompts: &[&str]) -> Common {
        let mut common = Common::default();
        prompts.iter().for_each(|prompt| common.add(&tokens(prompt), 1.0, MAX));
        common
    }

    #[test]
    fn forms_of_a_word_are_one_and_order_shows_in_pairs() {
        assert_eq!(tokens("Cards arrived!"), tokens("card arrives"));
        assert_ne!(tokens("from euros to pounds"), tokens("from pounds to euros"));
        assert_eq!(tokens("a b a b a"), tokens("a b a b a b a"));
        assert_eq!(tokens(""), TokenSet(Vec::new()));
    }

    #[test]
    fn words_speak_for_the_answer_whose_prompts_have_them() {
        let lost = ["my card is lost", "I lost my card yesterday", "lost card, what now?"];
        let late = ["my card is late", "when will my card arrive?", "the card has not come"];
        let all = common(&[lost, late].concat());
        let [lost, late] = [words(&lost), words(&late)];
        let asked = tokens("it seems I lost the card");
        let shares = all.shares(&asked);
        let [lost_by, late_by] = [&lost, &late].map(|words| words.speak_for(&asked, &shares));
        assert!(lost_by > late_by + 0.1, "{lost_by} {late_by}");
        // What nobody knows speaks neither for an answer nor against it.
        assert_eq!(Words::default().speak_for(&asked, &shares), 0.0);
        assert_eq!(lost.speak_for(&tokens(""), &[]), 0.0);
    }

    #[test]
    fn the_score_is_the_sum_of_log_likelihood_ratios() {
        let (all, own) = (common(&["a b", "a c", "d", "e"]), words(&["a b", "a c"]));
        let count = |word: &u32| own.with.iter().find(|(known, _)| known == word).map_or(0.0, |(_, count)| *count);
        let asked = tokens("a x");
        let shares = all.shares(&asked);
        let by_hand: f32 = asked
            .0
            .iter()
            .zip(&shares)
            .map(|(word, share)| ((count(word) + SMOOTHING * share) / (2.0 + SMOOTHING) / share).ln())
            .sum();
        assert!((own.speak_for(&asked, &shares) - by_hand / 2.0).abs() < 1e-5);
    }

    #[test]
    fn seldom_words_are_forgotten_first() {
        let (mut words, mut common) = (Words::default(), Common::default());
        for n in 0..500 {
            let tokens = tokens(&format!("always word{n}"));
            words.add(&tokens, 1.0, 100);
            common.add(&tokens, 1.0, 100);
            assert!(words.with.len() <= 100 && words.prompts.is_finite());
            assert!(common.with.len() <= 100 && common.prompts.is_finite());
        }
        let always = tokens("always");
        let shares = common.shares(&always);
        assert!(shares[0] > 0.7, "{shares:?}");
        assert!(words.with.iter().any(|(word, count)| always.0.contains(word) && count / words.prompts > 0.7));
    }
}
