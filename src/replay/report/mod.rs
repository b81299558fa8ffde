//! What a replay found, as one HTML page that needs nothing else: no scripts, no fonts, no network.
//!
//! A table of all policies, then plots: hits against wrong answers, wrong answers over time, how well probabilities are
//! calibrated, and the cosines of right and wrong candidates. All numbers lie in the page as JSON, too.

mod calibration;
mod cosines;
mod data;
mod frontier;
mod over_time;
mod page;
mod plot;
mod scale;
mod table;
mod text;

use serde::Serialize;

use crate::decide::Share;

/// What `refrain replay` found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report<'r> {
    /// The trace's name.
    pub trace: &'r str,
    /// Its requests.
    pub requests: u64,
    /// Its lines that are no request.
    pub skipped: u64,
    /// The embedding model.
    pub model: &'r str,
    /// What was tried.
    pub policies: Vec<Policy<'r>>,
    /// What static thresholds do: the yardstick.
    pub frontier: Vec<Point>,
}

/// What became of the trace under one policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy<'r> {
    /// As it is shown.
    pub name: &'r str,
    /// The share of requests that it may answer wrongly.
    pub budget: Option<f64>,
    /// Requests that were answered by an entry of the same text.
    pub exact: u64,
    /// All requests.
    pub requests: u64,
    /// Hits of both kinds ÷ requests.
    #[serde(serialize_with = "data::share")]
    pub hits: Share,
    /// Wrong answers ÷ requests: what the budget bounds.
    #[serde(serialize_with = "data::share")]
    pub wrong_of_requests: Share,
    /// Wrong answers ÷ hits.
    #[serde(serialize_with = "data::share")]
    pub wrong_of_hits: Share,
    /// Requests that could have been hits and went to the provider, to learn from them.
    pub audits: u64,
    /// Hits ÷ requests in the second half, when the cache is warm.
    #[serde(serialize_with = "data::share")]
    pub second_half_hits: Share,
    /// Wrong answers ÷ requests there.
    #[serde(serialize_with = "data::share")]
    pub second_half_wrong: Share,
    /// How far it was after so many requests, in their order.
    pub checkpoints: Vec<Checkpoint>,
    /// Whether its probabilities came true.
    pub calibration: Vec<Bin>,
    /// The best candidates' cosines.
    pub cosines: Vec<CosineBin>,
    /// The requests, by number, at which it raised an alarm.
    pub alarms: Vec<u64>,
}

/// What one static threshold does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// The threshold.
    pub min_cosine: f32,
    /// Hits of both kinds ÷ requests.
    #[serde(serialize_with = "data::share")]
    pub hits: Share,
    /// Wrong answers ÷ requests.
    #[serde(serialize_with = "data::share")]
    pub wrong_of_requests: Share,
    /// Wrong answers ÷ hits.
    #[serde(serialize_with = "data::share")]
    pub wrong_of_hits: Share,
}

/// Counts over all requests until then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// Those requests.
    pub requests: u64,
    /// Hits of both kinds.
    pub hits: u64,
    /// Wrong answers.
    pub wrong: u64,
}

/// Candidates whose answers were predicted to be right with about the same probability.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bin {
    /// The mean of the predictions.
    pub predicted: f64,
    /// Those whose answers were.
    #[serde(serialize_with = "data::share")]
    pub right: Share,
}

/// Requests whose best candidates have about the same cosine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CosineBin {
    /// The smallest cosine.
    pub from: f32,
    /// Larger than the largest one.
    pub to: f32,
    /// Those whose candidate's answer is right.
    pub right: u64,
    /// Those whose isn't.
    pub wrong: u64,
}

impl Report<'_> {
    /// The page.
    #[must_use]
    pub fn html(&self) -> String {
        let mut html = String::new();
        // A string takes all that is written to it.
        let _ = page::write(&mut html, self);
        html
    }
}

impl Policy<'_> {
    /// Its budget, if that is a share.
    fn share_budget(&self) -> Option<f64> {
        self.budget.filter(|budget| (0.0..=1.0).contains(budget))
    }
}

#[cfg(test)]
mod tests;
