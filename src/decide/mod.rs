//! Whether a near entry's answer is right for a prompt. Pure: no clock, no I/O, no randomness.
//!
//! [`Features`] say what is known about a prompt and a candidate, a [`Rule`] turns them into a [`Verdict`], and
//! [`Statistics`] keep count of what came of it. A rule that learns takes its place beside [`Rule::Static`], with more
//! features and labels as its input; nothing outside this room has to change for it.

mod features;
mod rule;
mod share;
mod statistics;
pub mod text;

pub use features::{Features, Text};
pub use rule::{Demand, Guard, Rule, Verdict};
pub use share::Share;
pub use statistics::{Histogram, Observation, Outcome, Statistics, Summary, WindowSummary};
