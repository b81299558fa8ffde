//! From features to a verdict.

use crate::embed::Cosine;

use super::features::Features;
use super::learner::Terms;
use super::text::Differences;

/// How candidates are judged in a cache.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// One threshold for all.
    Static {
        /// Smallest plain cosine that is served.
        min_cosine: Cosine,
        /// Whether texts that differ in what cosines don't show are refused.
        strict: bool,
    },
    /// The published rule: each entry learns a threshold of its own.
    PerEntry(Terms),
    /// The budget goes to the surest requests, by a probability that is learned from labels.
    Budget(Terms),
}

/// What a caller asks for on top. It can only make a rule stricter.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Demand {
    /// Serve nothing below this plain cosine.
    pub min_cosine: Option<Cosine>,
    /// Serve nothing whose probability of being wrong exceeds this.
    pub max_error_rate: Option<f64>,
    /// Serve nothing older than this, in milliseconds.
    pub max_age_millis: Option<u64>,
}

/// Why a candidate is not served.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "guard")]
pub enum Guard {
    /// The prompts are too far apart.
    BelowThreshold {
        /// Smallest plain cosine that would have been served.
        min_cosine: f32,
    },
    /// A prompt's vector misses some of what it says (it is longer than the model's window, or has words that the model
    /// doesn't know), and the two don't have the same words.
    BlurredAndDifferent,
    /// The two say something differently that cosines don't show.
    Differs {
        /// What; see [`Differences::names`](super::text::Differences::names).
        what: String,
    },
    /// It isn't sure enough for the error budget.
    OverBudget {
        /// The predicted probability that it is wrong.
        error: f64,
        /// The largest that is served now.
        cut: f64,
    },
    /// It would have been served, but is checked against the provider's answer.
    Audited,
    /// It would have been served, but answers have changed of late, so that only the same text is answered.
    AnswersChanged,
    /// An answer of this entry was reported wrong.
    Quarantined,
    /// The per-entry rule explores: it asks the provider with this probability.
    Explored {
        /// From 0 to 1.
        probability: f64,
    },
    /// Another candidate is better.
    NotTheBest,
    /// The caller bounds the error rate, and this rule can't estimate it.
    NoErrorEstimate,
    /// The caller wants a younger answer.
    TooOld {
        /// The candidate's age.
        age_ms: u64,
    },
}

/// What a rule says of a candidate.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Verdict {
    /// The probability that the candidate's answer is right, where the rule estimates one.
    pub p_correct: Option<f64>,
    /// What spoke against it; served if nothing did.
    pub guards: Vec<Guard>,
}

impl Verdict {
    /// Whether the candidate's answer is served.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.guards.is_empty()
    }
}

impl Rule {
    /// The smallest plain cosine that is served under `demand`: the operator's, or the caller's where that is stricter.
    /// None where the rule has no threshold and the caller asks for none.
    #[must_use]
    pub fn min_cosine(&self, demand: &Demand) -> Option<Cosine> {
        match (self, demand.min_cosine) {
            (Self::Static { min_cosine, .. }, Some(asked)) if asked > *min_cosine => Some(asked),
            (Self::Static { min_cosine, .. }, _) => Some(*min_cosine),
            (Self::PerEntry(_) | Self::Budget(_), asked) => asked,
        }
    }

    /// What a rule that learns is bound to.
    #[must_use]
    pub fn terms(&self) -> Option<Terms> {
        match self {
            Self::Static { .. } => None,
            Self::PerEntry(terms) | Self::Budget(terms) => Some(*terms),
        }
    }

    /// Whether it wants to know what two texts say differently.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        match self {
            Self::Static { strict, .. } => *strict,
            Self::PerEntry(terms) | Self::Budget(terms) => terms.strict,
        }
    }

    /// What speaks against a semantic candidate of `age_millis`, whatever is learned from labels: all that a static rule goes
    /// by.
    #[must_use]
    pub fn judge(&self, features: &Features, age_millis: u64, demand: &Demand) -> Verdict {
        let mut guards = Vec::new();
        let min_cosine = self.min_cosine(demand);
        if let Some(min_cosine) = min_cosine.filter(|min_cosine| features.cosine < *min_cosine) {
            guards.push(Guard::BelowThreshold { min_cosine: min_cosine.get() });
        }
        if features.blurred && !features.same_words {
            guards.push(Guard::BlurredAndDifferent);
        }
        if self.is_strict() {
            let what = features.differences.iter().flat_map(Differences::names);
            guards.extend(what.map(|what| Guard::Differs { what: what.to_owned() }));
        }
        if demand.max_error_rate.is_some() && self.terms().is_none() {
            guards.push(Guard::NoErrorEstimate);
        }
        guards.extend(demand.too_old(age_millis));
        Verdict { p_correct: None, guards }
    }
}

impl Demand {
    /// What speaks against an answer of this age. Exact hits are judged by this alone.
    #[must_use]
    pub fn too_old(&self, age_millis: u64) -> Option<Guard> {
        self.max_age_millis.is_some_and(|max| age_millis > max).then_some(Guard::TooOld { age_ms: age_millis })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        Rule::Static { min_cosine: Cosine::new(0.9), strict: false }
    }

    fn judge(cosine: f32, demand: Demand) -> Vec<Guard> {
        let features = Features { cosine: Cosine::new(cosine), blurred: false, same_words: false, differences: None };
        rule().judge(&features, 1000, &demand).guards
    }

    #[test]
    fn the_threshold_itself_is_served_and_what_is_below_is_not() {
        assert!(judge(0.9, Demand::default()).is_empty());
        assert_eq!(judge(0.899, Demand::default()), [Guard::BelowThreshold { min_cosine: 0.9 }]);
    }

    #[test]
    fn blurred_prompts_must_have_the_same_words() {
        let judge = |same_words| {
            let features = Features { cosine: Cosine::ONE, blurred: true, same_words, differences: None };
            rule().judge(&features, 0, &Demand::default()).guards
        };
        assert!(judge(true).is_empty());
        assert_eq!(judge(false), [Guard::BlurredAndDifferent]);
    }

    #[test]
    fn only_a_strict_rule_refuses_what_differs() {
        let differences = Some(Differences { numbers: true, overlap: 0.9, ..Differences::default() });
        let features = Features { cosine: Cosine::ONE, blurred: false, same_words: false, differences };
        let guards = |strict| {
            let rule = Rule::Static { min_cosine: Cosine::new(0.9), strict };
            rule.judge(&features, 0, &Demand::default()).guards
        };
        assert_eq!(guards(true), [Guard::Differs { what: "numbers".into() }]);
        assert_eq!(guards(false), []);
    }

    #[test]
    fn a_caller_can_tighten_but_not_loosen() {
        let asked = |cosine| Demand { min_cosine: Some(Cosine::new(cosine)), ..Demand::default() };
        assert_eq!(judge(0.92, asked(0.95)), [Guard::BelowThreshold { min_cosine: 0.95 }]);
        assert_eq!(judge(0.85, asked(0.5)), [Guard::BelowThreshold { min_cosine: 0.9 }]);
    }

    #[test]
    fn a_bound_that_cannot_be_estimated_is_not_promised() {
        let demand = Demand { max_error_rate: Some(0.5), ..Demand::default() };
        assert_eq!(judge(1.0, demand), [Guard::NoErrorEstimate]);
    }

    #[test]
    fn an_answer_exactly_as_old_as_allowed_is_served() {
        let younger = |max| Demand { max_age_millis: Some(max), ..Demand::default() };
        assert!(judge(1.0, younger(1000)).is_empty());
        assert_eq!(judge(1.0, younger(999)), [Guard::TooOld { age_ms: 1000 }]);
    }
}
