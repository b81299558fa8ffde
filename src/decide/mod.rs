//! Whether a near entry's answer is right for a prompt. Pure: no clock, no I/O, no randomness.
//!
//! A [`Policy`] assesses the neighbours of a prompt and says which are served, and why not the others (`rejection.rs` lists the
//! reasons). The static policy compares cosines with a threshold. Those that learn weigh the nearest of each different answer:
//! `features.rs` has the table of what they look at, `estimator.rs` the probability that an answer is right, `calibration.rs` whether
//! such predictions come true, `allocator.rs` which error the budget affords, `auditor.rs` which hits are checked, and `drift.rs`
//! whether labels still are what was predicted. [`Knowledge`] is what lookups read of all that, [`Spending`] what each decision
//! changes, and [`Trainer`] what labels change. [`Statistics`] keep count of what came of it all.

mod allocator;
mod answer;
mod assessment;
mod auditor;
mod bounded;
mod calibration;
mod candidate;
mod centres;
mod classes;
mod comparison;
#[cfg(test)]
mod draws;
mod drift;
mod estimator;
mod features;
mod knowledge;
mod learner_v0;
mod learner_v1;
mod logistic;
mod metric;
mod neighbour;
mod params;
mod per_entry;
mod policy;
mod prior;
mod query;
mod records;
mod rejection;
mod scatter;
mod share;
mod shared_map;
mod simulate;
mod source;
mod spending;
mod statistics;
mod status;
pub mod text;
mod token_set;
mod trainer;
mod tunables;
mod unlike;
mod unread;
mod window;

pub use answer::{AnswerClass, is_literal};
pub use assessment::{Assessment, CandidateVerdict, PolicyDecision, Verdict};
pub use candidate::{CandidateFeatures, Weighed, weigh};
pub use comparison::Comparison;
pub use drift::Change;
pub use features::{FEATURES, Feature, FeatureVector, Sign, Source, TABLE};
pub use knowledge::Knowledge;
pub use learner_v0::LearnerV0;
pub use learner_v1::TrainerV1;
pub use logistic::{Example, Prior, fit, information, probability};
pub use metric::Metric;
pub use neighbour::{CandidateState, Neighbour};
pub use params::{ErrorBudget, LookupConstraints, PolicyParams};
pub use per_entry::Observations;
pub use policy::{AssessmentRequest, BudgetPolicy, PerEntryPolicy, Policy, StaticThreshold};
pub use prior::{Examples, ModelPrior, PriorError, SourceKind, feature_names};
pub use query::{AnsweredQuery, ParsedPrompt, PromptText, Query};
pub use rejection::RejectionReason;
pub use scatter::Scatter;
pub use share::{Sample, Share};
pub use simulate::{Outlook, Recorded, under_budgets, under_thresholds};
pub use source::{LabelSource, Reliabilities};
pub use spending::{Spending, SpendingState};
pub use statistics::{Histogram, Observation, Outcome, Statistics, Summary, WindowSummary};
pub use status::LearnerStatus;
pub use token_set::TokenSet;
pub use trainer::{FitJob, Fitted, Judgement, Labels, Trainer};
pub use tunables::Tunables;
pub use unlike::surely_unlike;
