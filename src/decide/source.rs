//! Where labels come from, and how far each source can be trusted.

use serde::{Deserialize, Serialize};

/// Who says whether an answer was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LabelSource {
    /// A fresh answer to the same prompt, compared literally.
    FreshAnswer,
    /// A fresh answer, compared by meaning.
    Meaning,
    /// A judge model.
    Judge,
    /// Whoever got the answer.
    Feedback,
}

/// What is known of one source beside what is assumed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Agreement {
    agreed: u32,
    compared: u32,
}

/// How often each source's labels are right: learned from where two of them spoke about the same decision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reliabilities([Agreement; 4]);

/// Comparisons that what is assumed is worth.
const ASSUMED_FROM: f64 = 20.0;

impl LabelSource {
    /// All that there are.
    pub const ALL: [Self; 4] = [Self::FreshAnswer, Self::Meaning, Self::Judge, Self::Feedback];

    /// How often its labels are right before anything is known: literal comparisons hardly err, people click by mistake.
    #[must_use]
    pub fn assumed(self) -> f64 {
        match self {
            Self::FreshAnswer => 1.0,
            Self::Meaning => 0.92,
            Self::Judge => 0.95,
            Self::Feedback => 0.9,
        }
    }

    /// As metrics and replies call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FreshAnswer => "freshAnswer",
            Self::Meaning => "meaning",
            Self::Judge => "judge",
            Self::Feedback => "feedback",
        }
    }

    fn place(self) -> usize {
        self as usize
    }
}

impl Reliabilities {
    /// From 0.5, which tells nothing, to 1: `set` by the operator or assumed, and moved by what was seen.
    #[must_use]
    pub fn of(&self, source: LabelSource, set: Option<f64>) -> f64 {
        let Agreement { agreed, compared } = self.0[source.place()];
        let assumed = set.unwrap_or_else(|| source.assumed());
        let share = (assumed * ASSUMED_FROM + f64::from(agreed)) / (ASSUMED_FROM + f64::from(compared));
        share.clamp(0.5, 1.0)
    }

    /// `source` spoke about a decision on which a more reliable one spoke too.
    pub fn compare(&mut self, source: LabelSource, agreed: bool) {
        let seen = &mut self.0[source.place()];
        seen.compared = seen.compared.saturating_add(1);
        seen.agreed = seen.agreed.saturating_add(u32::from(agreed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_contradicted_counts_less() {
        let mut reliabilities = Reliabilities::default();
        assert_eq!(reliabilities.of(LabelSource::Feedback, None), 0.9);
        (0..60).for_each(|n| reliabilities.compare(LabelSource::Feedback, n % 2 == 0));
        assert!((reliabilities.of(LabelSource::Feedback, None) - 0.6).abs() < 0.01);
        assert_eq!(reliabilities.of(LabelSource::Judge, Some(0.8)), 0.8);
        (0..600).for_each(|_| reliabilities.compare(LabelSource::Judge, false));
        assert_eq!(reliabilities.of(LabelSource::Judge, None), 0.5);
    }
}
