//! What a cache decided and why, what people say about it, and what other settings would do.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::asked::{Named, Whole};
use super::handlers::entry_id;
use super::problem::Problem;
use super::reader::Reader;
use super::reply::CandidateReply;
use crate::cache::{About, CacheError, DecisionId, Feedback, FeedbackError, FeedbackOutcome, Logged};
use crate::decide::{Assessment, CandidateFeatures, ErrorBudget, Outlook, Verdict, feature_names};
use crate::http::App;
use crate::prompt::Json as Parsed;

/// Budgets and thresholds that a simulation tries where none are named.
const BUDGETS: [f64; 8] = [0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1];
const THRESHOLDS: [f64; 9] = [0.70, 0.75, 0.80, 0.84, 0.88, 0.90, 0.92, 0.95, 0.98];
/// The most that one simulation tries of each.
const MAX: usize = 100;

/// `GET /v1/caches/{cacheId}/decisions/{id}`
pub(in crate::http) async fn decision(
    Named(cache): Named,
    Path((_, decision)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let logged = cache.decision(decision_id(&decision)?).await.map_err(CacheError::from)?.ok_or_else(|| {
        Problem::not_found(format!("the cache `{}` knows no decision {decision}, or no longer", cache.id()))
    })?;
    Ok(Json(explained(&logged)).into_response())
}

/// `POST /v1/caches/{cacheId}/feedback`
pub(in crate::http) async fn feedback(
    State(app): State<Arc<App>>,
    Named(cache): Named,
    Whole(body): Whole,
) -> Result<Response, Problem> {
    let feedback = read_feedback(&body)?;
    // A caller who goes away must not leave half of it undone.
    let hearing = app.saves.spawn(async move { cache.feedback(feedback).await });
    let heard = hearing.await.map_err(|_| Problem::unexpected("the feedback could not be taken"))?;
    let FeedbackOutcome { recorded, entry, quarantined, served_to } = heard?;
    let served_to: Vec<String> = served_to.iter().map(ToString::to_string).collect();
    let reply = json!({
        "recorded": recorded, "entryId": entry.to_string(), "quarantined": quarantined, "servedTo": served_to,
    });
    Ok(Json(reply).into_response())
}

/// `POST /v1/caches/{cacheId}/simulate`
pub(in crate::http) async fn simulate(Named(cache): Named, Whole(body): Whole) -> Result<Response, Problem> {
    let mut reader = Reader::new(if body.is_empty() { b"{}" } else { &body })?;
    let budgets = numbers(&mut reader, "budgets", 0.0..=0.5).unwrap_or(BUDGETS.to_vec());
    let thresholds = numbers(&mut reader, "thresholds", -1.0..=1.0).unwrap_or(THRESHOLDS.to_vec());
    reader.finish()?;
    let budgets: Vec<ErrorBudget> = budgets.into_iter().filter_map(ErrorBudget::new).collect();
    #[expect(clippy::cast_possible_truncation, reason = "cosines are f32")]
    let thresholds: Vec<f32> = thresholds.into_iter().map(|cosine| cosine as f32).collect();
    let simulated = tokio::task::spawn_blocking(move || cache.simulate(&budgets, &thresholds)).await;
    let (budgets, thresholds): (Vec<Outlook>, Vec<Outlook>) = simulated.unwrap_or_default();
    Ok(Json(json!({ "budgets": budgets, "thresholds": thresholds })).into_response())
}

fn decision_id(text: &str) -> Result<DecisionId, Problem> {
    text.parse().map_err(|_| Problem::invalid(format!("`{text}` names no decision: it is 32 hexadecimal digits")))
}

fn explained(logged: &Logged) -> Value {
    let decision = &logged.decision;
    let assessment = logged.assessment.as_deref();
    let candidates = decision.candidates.iter().enumerate().map(|(place, considered)| {
        let weighed = assessment.and_then(|assessment| assessment.candidates.iter().find(|one| one.place == place));
        let mut reply = serde_json::to_value(CandidateReply::new(considered)).unwrap_or_default();
        if let (Some(weighed), Some(reply)) = (weighed, reply.as_object_mut()) {
            reply.insert("features".into(), features(weighed));
            reply.insert("differences".into(), json!(weighed.differences));
        }
        reply
    });
    let labels =
        logged.labels.iter().map(|label| json!({ "source": label.source, "right": label.right, "at": label.at.0 }));
    json!({
        "id": decision.id.to_string(),
        "at": logged.at.0,
        "outcome": decision.outcome,
        "reason": decision.reason,
        "budget": decision.budget,
        "pCorrect": decision.p_correct,
        "cut": assessment.map(|assessment| assessment.cut),
        "wouldHit": assessment.map(|assessment| assessment.verdict.would_hit()),
        "auditRate": assessment.map(|assessment| assessment.audit_rate),
        "bestEntryId": assessment.and_then(Assessment::best).map(|best| best.entry.to_string()),
        "servedEntryId": logged.served.map(|entry| entry.to_string()),
        "audited": assessment.map(|assessment| assessment.verdict == Verdict::Audited),
        "guards": decision.rejections,
        "curated": decision.curated,
        "candidates": candidates.collect::<Vec<_>>(),
        "labels": labels.collect::<Vec<_>>(),
    })
}

fn features(candidate: &CandidateFeatures) -> Value {
    feature_names().zip(&candidate.vector).map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

fn read_feedback(body: &[u8]) -> Result<Feedback, Problem> {
    let mut reader = Reader::new(body)?;
    let correct = match reader.take("correct") {
        Some(Parsed::Bool(correct)) => Some(correct),
        Some(_) => {
            reader.wrong("correct", "type", "must be true or false");
            None
        }
        None => {
            reader.wrong("correct", "required", "is missing");
            None
        }
    };
    let about = match (reader.has("decisionId"), reader.has("entryId")) {
        (true, false) => Some((true, reader.required_text("decisionId"))),
        (false, true) => Some((false, reader.required_text("entryId"))),
        _ => {
            let _ = (reader.take("decisionId"), reader.take("entryId"));
            reader.wrong("decisionId", "exclusive", "or `entryId` is needed, one of the two");
            None
        }
    };
    reader.finish()?;
    let (Some(correct), Some((is_decision, id))) = (correct, about) else {
        return Err(Problem::invalid("`correct` and one of `decisionId` and `entryId` are needed"));
    };
    let about = if is_decision { About::Decision(decision_id(&id)?) } else { About::Entry(entry_id(&id)?) };
    Ok(Feedback { about, correct })
}

fn numbers(reader: &mut Reader, name: &str, range: std::ops::RangeInclusive<f64>) -> Option<Vec<f64>> {
    #[expect(clippy::cast_precision_loss, reason = "compared with small bounds")]
    let number = |item: &Parsed| match item {
        Parsed::Integer(value) => Some(*value as f64),
        Parsed::Fraction(value) => Some(*value),
        _ => None,
    };
    let value = reader.take(name)?;
    let items = value.as_array().and_then(|items| items.iter().map(number).collect::<Option<Vec<f64>>>());
    match items {
        Some(items) if items.len() <= MAX && items.iter().all(|item| range.contains(item)) => Some(items),
        _ => {
            let (low, high) = (range.start(), range.end());
            reader.wrong(name, "type", format!("must be a list of at most {MAX} numbers from {low} to {high}"));
            None
        }
    }
}

impl From<FeedbackError> for Problem {
    fn from(error: FeedbackError) -> Self {
        match error {
            FeedbackError::UnknownDecision | FeedbackError::UnknownEntry => Self::not_found(error.to_string()),
            FeedbackError::NothingServed => Self::invalid(error.to_string()),
            FeedbackError::Store(error) => CacheError::from(error).into(),
        }
    }
}
