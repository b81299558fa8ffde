//! Whether a near entry's answer is right for a prompt. Pure: no clock, no I/O, no randomness.
//!
//! [`Features`] say what is known about a prompt and a candidate, and the static [`Rule`] turns them into a [`Verdict`]. Rules that
//! learn look at [`Evidence`], which knows what the neighbours answer too, and a [`Learner`] makes a [`Case`] of it: how near the
//! prompt is to all that have an answer (`centres.rs`, in the metric of `metric.rs`, and by their words: `words.rs`), the probability that each candidate is right
//! (`logistic.rs`, from `prior.rs` on), whether the error budget affords it (`budget.rs`), and whether it is audited (`audit.rs`).
//! When a label comes, the learner learns from the case; `drift.rs` listens whether labels still are what was predicted.
//! [`Statistics`] keep count of what came of it all.

mod answer;
mod audit;
mod budget;
mod centres;
#[cfg(test)]
mod draws;
mod drift;
mod evidence;
mod features;
mod learner;
mod logistic;
mod metric;
mod per_entry;
mod prior;
mod query;
mod records;
mod rule;
mod share;
mod simulate;
mod source;
mod statistics;
pub mod text;
mod words;

pub use answer::{AnswerClass, Likeness, compare, is_literal};
pub use budget::ErrorBudget;
pub use drift::Change;
pub use evidence::{Evidence, FEATURES, NAMES, Neighbour, gather};
pub use features::{Features, Text};
pub use learner::{Beliefs, Case, Ending, FitJob, Fitted, Learner, Quarantine, Standing, Terms};
pub use logistic::{Example, Prior, fit, information, probability};
pub use metric::{Metric, Scatter};
pub use per_entry::Observations;
pub use prior::{Examples, PriorError, SourceKind};
pub use query::{Answered, Query, Reading};
pub use rule::{Demand, Guard, Rule, Verdict};
pub use share::{Sample, Share};
pub use simulate::{Outlook, Recorded, under_budgets, under_thresholds};
pub use source::{Reliabilities, Source};
pub use statistics::{Histogram, Observation, Outcome, Statistics, Summary, WindowSummary};
pub use words::Wording;
