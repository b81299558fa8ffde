//! What an operator sets of a policy, and what a caller asks for on top.

use serde::{Deserialize, Serialize};

use super::tunables::Tunables;
use crate::embed::Cosine;

/// A bound on wrong answers ÷ requests.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct ErrorBudget(f64);

impl ErrorBudget {
    /// None where it isn't between 0 and 0.5.
    #[must_use]
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=0.5).contains(&share).then_some(Self(share))
    }

    /// Wrong answers ÷ requests.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

/// How a policy that learns is set.
#[derive(Debug, Clone, Copy)]
pub struct PolicyParams {
    /// Wrong answers ÷ requests, at most.
    pub budget: ErrorBudget,
    /// Usual share of would-be hits that are audited, from 0 to 1.
    pub audit_rate: f64,
    /// Whether candidates are rejected that differ in what cosines don't show.
    pub strict: bool,
    /// What no operator sets.
    pub tunables: &'static Tunables,
}

impl PolicyParams {
    /// With the tunables that Refrain ships with.
    #[must_use]
    pub fn new(budget: ErrorBudget, audit_rate: f64, strict: bool) -> Self {
        Self { budget, audit_rate, strict, tunables: Tunables::shipped() }
    }
}

/// What a caller asks for on top. It can only make a policy stricter.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LookupConstraints {
    /// Serve nothing below this plain cosine.
    pub min_cosine: Option<Cosine>,
    /// Serve nothing whose probability of being wrong exceeds this.
    pub max_error_rate: Option<f64>,
    /// Serve nothing older than this, in milliseconds.
    pub max_age_millis: Option<u64>,
}
