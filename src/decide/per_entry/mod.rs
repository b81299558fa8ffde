//! What the per-entry policy knows of entries: each has a logistic curve of its own, from cosine to right or wrong.
//!
//! It follows the published rule ("vCache: Verified Semantic Prompt Caching", arXiv 2502.03771), from its formulas and
//! with its constants, for comparison with better ones. With s the cosine between a prompt and the entry's,
//!
//! ```text
//! P(right | s) = L(s; t, γ) = 1 / (1 + exp(-γ (s - t)))                    (eq. 9)
//! ```
//!
//! where t, a cosine, is where the entry is right half the time, and γ > 0, per unit of cosine, how steep the curve is.
//! An explored prompt, one that the provider is asked for, is right by definition. So no more than a share δ of *all*
//! prompts (not: of all hits) is answered wrongly if prompts are explored with a probability of at least
//!
//! ```text
//! τ = 1 - δ / (1 - P(right | s))                                           (theorem 4.1)
//! ```
//!
//! and the rule takes a bound of P(right | s) from below for it; see [`Observations::explore_probability`].
//!
//! Where the source leaves something open:
//! - Its table of variances for separable observations is known at 6 to 15, 31 and 45 to 48 observations; between, it
//!   is interpolated linearly.
//! - Separable observations have no likeliest curve: the likelihood grows with γ for ever. Newton's method stops where
//!   the mean score has fallen to the tolerance that the source gives its own optimiser, so t is about halfway between
//!   the last wrong and the first right cosine, and γ large. The same holds where the two meet in a single cosine; that
//!   isn't separable by the source's definition, so its variance comes from the curve.
//! - The curve is rounded where it is evaluated, not where its variance is computed.

mod curve;
mod likelihood;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use self::curve::{Fit, rounded};
use self::likelihood::Point;
use crate::embed::Cosine;

/// Fewer observations than this, the two pseudo-observations counted, say nothing.
const MIN_OBSERVATIONS: usize = 6;

/// What is known of one entry: at which cosines its answer was right, and at which it was wrong.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Observations(VecDeque<Observed>);

/// One label.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Observed {
    /// The cosine in thousandths: it is rounded to three decimals.
    thousandths: i16,
    /// Whether the entry's answer was right at it.
    right: bool,
}

impl Observations {
    /// How many are kept, the newest ones.
    pub const MAX: usize = 256;

    /// Adds that the entry's answer was `right`, or wasn't, for a prompt at `cosine`. The oldest makes room where there
    /// are [`MAX`](Self::MAX).
    pub fn add(&mut self, cosine: Cosine, right: bool) {
        while self.0.len() >= Self::MAX {
            self.0.pop_front();
        }
        #[expect(clippy::cast_possible_truncation, reason = "a cosine is at most 1")]
        let thousandths = (f64::from(cosine.get()) * 1000.0).round_ties_even() as i16;
        self.0.push_back(Observed { thousandths, right });
    }

    /// The number of labels that are kept. The two pseudo-observations that every entry is born with don't count.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The probability τ with which a prompt at `cosine` is explored, so that at most `budget`, a share of all prompts,
    /// is answered wrongly. 1 while there are fewer than four labels or no curve fits them; may come out as 0 or less:
    /// always served.
    ///
    /// 1 - `budget` / (1 - α) is enough with any lower bound α of P(right | s); of a grid of bounds the largest counts
    /// (arXiv 2502.03771, theorem 4.1 and algorithm 1). With z the standard normal quantile,
    ///
    /// ```text
    /// t'(ε) = clip(t + z(1-ε) · sd(t), 0, 1)        not below the true t with probability 1 - ε
    /// α(ε) = (1 - ε) · L(s; t'(ε), γ)
    /// τ = min over ε of 1 - budget / (1 - α(ε))     ε = 1e-6 ... 1 - 1e-6, 50 evenly spaced; rounded to 5 decimals
    /// ```
    ///
    /// A `budget` is clamped to 0 to 1; not a number is 0. Fits the curve anew each time: about 10 µs of 10 labels,
    /// 170 µs of as many as are kept.
    #[must_use]
    pub fn explore_probability(&self, cosine: Cosine, budget: f64) -> f64 {
        let Some(fit) = self.fit() else {
            return 1.0;
        };
        let budget = if budget.is_nan() { 0.0 } else { budget.clamp(0.0, 1.0) };
        // τ falls as α grows, so the largest α gives the smallest τ. It is at most 1 - EPSILON: nothing divides by 0.
        let sure = fit.lower_bounds(cosine).fold(0.0, f64::max);
        rounded(1.0 - budget / (1.0 - sure), 1e5)
    }

    /// The plain estimate L(s; t, γ) of the probability that the answer is right at `cosine` (arXiv 2502.03771, eq. 9),
    /// without regard to how sure the curve is. `None` while there are fewer than four labels or no curve fits them.
    #[must_use]
    pub fn p_correct(&self, cosine: Cosine) -> Option<f64> {
        self.fit().map(|fit| fit.curve.at(f64::from(cosine.get())))
    }

    /// The entry's curve, `None` at cold start.
    fn fit(&self) -> Option<Fit> {
        let labels =
            self.0.iter().map(|seen| Point { cosine: f64::from(seen.thousandths) / 1000.0, right: seen.right });
        // The pseudo-observations: what has nothing in common is wrong, the same is right. They are never displaced.
        let born = [Point { cosine: 0.0, right: false }, Point { cosine: 1.0, right: true }];
        let points: Vec<Point> = born.into_iter().chain(labels).collect();
        if points.len() < MIN_OBSERVATIONS { None } else { Fit::of(&points) }
    }
}

#[cfg(test)]
mod tests;
