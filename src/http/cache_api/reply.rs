//! What the cache API replies.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cache::{Cache, Considered, Decision, Found, Hit, Strategy};
use crate::decide::{LearnerStatus, Outcome, RejectionReason, Share, Summary};
use crate::embed::Cosine;
use crate::store::{Curation, Entry, Holdings, Selected};

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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<&'f str>,
    /// Whether somebody wrote it for many chats.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    curated: bool,
    /// Which chats those are, where it isn't all.
    #[serde(skip_serializing_if = "Option::is_none")]
    curation: Option<&'f Curation>,
}

/// The reply to a search in a conversation.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConversationReply<'f> {
    /// What was searched for.
    pub(super) actual_prompt: &'f str,
    #[serde(flatten)]
    pub(super) reply: SearchReply<'f>,
}

/// An entry that would be deleted.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SelectedReply<'f> {
    #[serde(flatten)]
    entry: EntryReply<'f>,
    /// In milliseconds since 1970.
    created: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cosine: Option<f32>,
}

impl<'f> SelectedReply<'f> {
    pub(super) fn new(selected: &'f Selected) -> Self {
        let Selected { entry, cosine } = selected;
        Self { entry: EntryReply::of_entry(entry), created: entry.created.0, cosine: cosine.map(Cosine::get) }
    }
}

/// What is known of a cache.
#[derive(Serialize)]
pub(super) struct StatsReply {
    /// Its entries, and what they take.
    #[serde(flatten)]
    holdings: Holdings,
    /// Its lookups.
    #[serde(flatten)]
    summary: Summary,
    /// What it has learned, where its policy learns.
    #[serde(skip_serializing_if = "Option::is_none")]
    learning: Option<LearningReply>,
}

/// How learning stands.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LearningReply {
    #[serde(flatten)]
    status: LearnerStatus,
    /// Of the last audits, `all` of them: `some` would have been wrong. `value` is an honest estimate of wrong ÷ hits: doubtful hits are
    /// audited more often, so each audit stands for as many hits as its chance says.
    audited_wrong: ShareReply,
    /// The same ÷ all requests, by the hit rate since the cache exists. Null where nothing is audited: then nobody knows.
    wrong_of_requests: Option<f64>,
    wrong_of_requests_interval: Option<(f64, f64)>,
}

#[derive(Serialize)]
struct ShareReply {
    some: u64,
    all: u64,
    value: f64,
    interval: (f64, f64),
}

impl StatsReply {
    pub(super) fn new(cache: &Cache) -> Self {
        let summary = cache.summary();
        let learning = cache.learner_status().map(|status| LearningReply::new(status, &summary));
        Self { holdings: cache.holdings(), summary, learning }
    }
}

impl LearningReply {
    fn new(status: LearnerStatus, summary: &Summary) -> Self {
        let wrong = status.recent_audits;
        let (low, high) = wrong.interval();
        let near_hits = Share::new(summary.total.semantic_hits, summary.total.lookups).value();
        let Share { some, all } = wrong.drawn();
        let is_audited = all > 0;
        Self {
            audited_wrong: ShareReply { some, all, value: wrong.value(), interval: (low, high) },
            wrong_of_requests: is_audited.then_some(wrong.value() * near_hits),
            wrong_of_requests_interval: is_audited.then_some((low * near_hits, high * near_hits)),
            status,
        }
    }
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
    guards: &'f [RejectionReason],
    /// Whether a curated entry was served.
    curated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates: Option<Vec<CandidateReply<'f>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CandidateReply<'f> {
    entry_id: String,
    /// The plain cosine.
    cosine: f32,
    p_correct: Option<f64>,
    guards: &'f [RejectionReason],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    curated: bool,
}

impl<'f> SearchReply<'f> {
    pub(super) fn new(found: &'f Found, explain: bool) -> Self {
        let Decision { id, outcome, p_correct, budget, candidates, rejections, reason, curated } = &*found.decision;
        let decision = DecisionReply {
            id: id.to_string(),
            outcome: *outcome,
            reason: reason.as_deref(),
            p_correct: *p_correct,
            budget: *budget,
            guards: rejections,
            curated: *curated,
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
            tags: entry.tags.iter().collect(),
            curated: entry.curation.is_some(),
            curation: entry.curation.as_ref().filter(|curation| !curation.is_for_all()),
        }
    }
}

impl<'f> CandidateReply<'f> {
    pub(super) fn new(considered: &'f Considered) -> Self {
        Self {
            entry_id: considered.entry.to_string(),
            cosine: considered.cosine.get(),
            p_correct: considered.verdict.p_correct,
            guards: &considered.verdict.rejections,
            curated: considered.curated,
        }
    }
}
