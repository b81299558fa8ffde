//! What the cache API replies.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cache::{Considered, Decision, Found, Hit, Strategy};
use crate::decide::{Guard, Outcome, Summary};
use crate::store::{Entry, Holdings};

/// The reply to a search.
#[derive(Serialize)]
pub(super) struct SearchReply<'f> {
    data: Vec<EntryReply<'f>>,
    decision: DecisionReply<'f>,
}

/// An entry, in LangCache's fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EntryReply<'f> {
    id: String,
    prompt: &'f str,
    response: &'f str,
    attributes: BTreeMap<&'f str, &'f str>,
    /// The *normalised* cosine, (1 + cos) / 2, as everywhere in this API.
    #[serde(skip_serializing_if = "Option::is_none")]
    similarity: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_strategy: Option<Strategy>,
}

/// What is known of a cache.
#[derive(Serialize)]
pub(super) struct StatsReply {
    /// Its entries, and what they take.
    #[serde(flatten)]
    pub(super) holdings: Holdings,
    /// Its lookups.
    #[serde(flatten)]
    pub(super) summary: Summary,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DecisionReply<'f> {
    id: String,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'f str>,
    p_correct: Option<f64>,
    /// The error budget that the decision was made within; none under a static threshold.
    budget: Option<f64>,
    guards: &'f [Guard],
    #[serde(skip_serializing_if = "Option::is_none")]
    age_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates: Option<Vec<CandidateReply<'f>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CandidateReply<'f> {
    entry_id: String,
    /// The plain cosine.
    cosine: f32,
    p_correct: Option<f64>,
    guards: &'f [Guard],
}

impl<'f> SearchReply<'f> {
    pub(super) fn new(found: &'f Found, explain: bool) -> Self {
        let Decision { id, outcome, p_correct, candidates, guards, reason } = &found.decision;
        let decision = DecisionReply {
            id: id.to_string(),
            outcome: *outcome,
            reason: reason.as_deref(),
            p_correct: *p_correct,
            budget: None,
            guards,
            age_ms: found.hits.first().map(|hit| hit.age_millis),
            candidates: explain.then(|| candidates.iter().map(CandidateReply::new).collect()),
        };
        Self { data: found.hits.iter().map(EntryReply::of_hit).collect(), decision }
    }
}

impl<'f> EntryReply<'f> {
    fn of_hit(hit: &'f Hit) -> Self {
        let (similarity, search_strategy) = (Some(hit.cosine.normalised()), Some(hit.strategy));
        Self { similarity, search_strategy, ..Self::of_entry(&hit.entry) }
    }

    pub(super) fn of_entry(entry: &'f Entry) -> Self {
        Self {
            id: entry.id.to_string(),
            prompt: &entry.prompt,
            response: &entry.answer.text,
            attributes: entry.attributes.iter().collect(),
            similarity: None,
            search_strategy: None,
        }
    }
}

impl<'f> CandidateReply<'f> {
    fn new(considered: &'f Considered) -> Self {
        Self {
            entry_id: considered.entry.to_string(),
            cosine: considered.cosine.get(),
            p_correct: considered.verdict.p_correct,
            guards: &considered.verdict.guards,
        }
    }
}
