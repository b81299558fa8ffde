//! Caches themselves: which there are, and what policy each has.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::asked::{Named, Whole};
use super::problem::Problem;
use super::reader::Reader;
use crate::cache::{Cache, NotTuned, Tuning, TuningChange};
use crate::config::PolicyName;
use crate::http::App;

/// The caller's cache that the path names, if it was made, was stored into, or is in the settings.
pub(in crate::http) struct Existing(Arc<Cache>);

impl FromRequestParts<Arc<App>> for Existing {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let names = Path::<HashMap<String, String>>::from_request_parts(parts, app).await;
        let Path(names) = names.map_err(|error| Problem::invalid(error.body_text()))?;
        let tenant = app.live().tenants.identify(&parts.headers)?.tenant;
        Ok(Self(app.caches.existing(&tenant, names.get("cache").map_or("", String::as_str))?))
    }
}

/// `GET /v1/caches`
pub(in crate::http) async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Problem> {
    let tenant = app.live().tenants.identify(&headers)?.tenant;
    let caches: Vec<_> = app.caches.list(&tenant).into_iter().map(|id| json!({ "cacheId": id })).collect();
    Ok(Json(json!({ "caches": caches })).into_response())
}

/// `POST /v1/caches`
pub(in crate::http) async fn create(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Whole(body): Whole,
) -> Result<Response, Problem> {
    let live = app.live();
    let tenant = live.tenants.identify(&headers)?.tenant;
    let mut reader = Reader::new(&body)?;
    let id = reader.required_text("cacheId");
    let tuning = tuning(&mut reader);
    reader.finish()?;
    let is_operator = live.tenants.is_local();
    let cache = app.caches.create(&tenant, &id, is_operator).await?;
    if tuning != Tuning::default()
        && let Err(error) = app.caches.tune(&cache, tuning, &tenant, is_operator).await
    {
        app.caches.remove(&tenant, &id).await?;
        return Err(error.into());
    }
    Ok((StatusCode::CREATED, Json(shown(&app, &cache))).into_response())
}

/// `GET /v1/caches/{cacheId}`
pub(in crate::http) async fn show(State(app): State<Arc<App>>, Existing(cache): Existing) -> Result<Response, Problem> {
    Ok(Json(shown(&app, &cache)).into_response())
}

/// `PUT /v1/caches/{cacheId}`: all of its policy.
pub(in crate::http) async fn tune(
    State(app): State<Arc<App>>,
    Named(cache): Named,
    Whole(body): Whole,
) -> Result<Response, Problem> {
    let mut reader = Reader::new(&body)?;
    let tuning = tuning(&mut reader);
    reader.finish()?;
    app.caches.tune(&cache, tuning, &cache.name().tenant, app.live().tenants.is_local()).await?;
    Ok(Json(shown(&app, &cache)).into_response())
}

/// `PATCH /v1/caches/{cacheId}`: what is named of its policy; null is as the settings say (RFC 7396).
pub(in crate::http) async fn patch(
    State(app): State<Arc<App>>,
    Existing(cache): Existing,
    Whole(body): Whole,
) -> Result<Response, Problem> {
    let mut reader = Reader::new(&body)?;
    let [policy, budget, rate, cosine, strict] =
        ["policy", "errorBudget", "auditRate", "minCosine", "strict"].map(|name| reader.take_null(name));
    let named = tuning(&mut reader);
    reader.finish()?;
    let patched = |before: Tuning| Tuning {
        policy: named.policy.or(before.policy.filter(|_| !policy)),
        error_budget: named.error_budget.or(before.error_budget.filter(|_| !budget)),
        audit_rate: named.audit_rate.or(before.audit_rate.filter(|_| !rate)),
        min_cosine: named.min_cosine.or(before.min_cosine.filter(|_| !cosine)),
        strict: named.strict.or(before.strict.filter(|_| !strict)),
    };
    app.caches.tune_from(&cache, patched, &cache.name().tenant, app.live().tenants.is_local()).await?;
    Ok(Json(shown(&app, &cache)).into_response())
}

/// `DELETE /v1/caches/{cacheId}`
pub(in crate::http) async fn remove(
    State(app): State<Arc<App>>,
    Existing(cache): Existing,
) -> Result<StatusCode, Problem> {
    app.caches.remove(&cache.name().tenant, cache.id()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/caches/{cacheId}/undo`
pub(in crate::http) async fn undo(State(app): State<Arc<App>>, Named(cache): Named) -> Result<Response, Problem> {
    app.caches.undo(&cache, &cache.name().tenant, app.live().tenants.is_local()).await?;
    Ok(Json(shown(&app, &cache)).into_response())
}

/// What is set of a policy; what isn't named is as the settings say.
fn tuning(reader: &mut Reader) -> Tuning {
    let policy = match reader.take("policy") {
        None => None,
        Some(value) => match value.as_str() {
            Some("budget") => Some(PolicyName::Budget),
            Some("per-entry") => Some(PolicyName::PerEntry),
            Some("static") => Some(PolicyName::Static),
            _ => {
                reader.wrong("policy", "enum", "must be \"budget\", \"per-entry\" or \"static\"");
                None
            }
        },
    };
    #[expect(clippy::cast_possible_truncation, reason = "cosines are f32")]
    Tuning {
        policy,
        error_budget: reader.number("errorBudget", 0.0..=0.5),
        audit_rate: reader.number("auditRate", 0.0..=1.0),
        min_cosine: reader.number("minCosine", -1.0..=1.0).map(|cosine| cosine as f32),
        strict: reader.has("strict").then(|| reader.flag("strict")),
    }
}

/// A cache's policy as it is, and how it came to be so.
fn shown(app: &App, cache: &Cache) -> Value {
    let changes = cache.changes();
    let tuning = changes.last().map(|change| change.after).unwrap_or_default();
    let settings = tuning.over(app.live().settings.cache(cache.id()));
    json!({
        "cacheId": cache.id(),
        "policy": settings.policy.unwrap_or_default(),
        "errorBudget": settings.error_budget(),
        "auditRate": settings.audit_rate(),
        "minCosine": settings.min_cosine.map(shortest),
        "strict": settings.strict(),
        "changes": changes.iter().map(ChangeReply::new).collect::<Vec<_>>(),
    })
}

/// 0.95 rather than the 0.949999988… that the nearest 32-bit float is.
fn shortest(cosine: f32) -> f64 {
    cosine.to_string().parse().unwrap_or(f64::from(cosine))
}

#[derive(Serialize)]
struct ChangeReply<'c> {
    at: u64,
    by: &'c str,
    before: Value,
    after: Value,
}

impl<'c> ChangeReply<'c> {
    fn new(change: &'c TuningChange) -> Self {
        let of = |tuning: &Tuning| {
            json!({
                "policy": tuning.policy, "errorBudget": tuning.error_budget, "auditRate": tuning.audit_rate,
                "minCosine": tuning.min_cosine.map(shortest), "strict": tuning.strict,
            })
        };
        Self { at: change.at.0, by: &change.by, before: of(&change.before), after: of(&change.after) }
    }
}

impl From<NotTuned> for Problem {
    fn from(error: NotTuned) -> Self {
        match error {
            NotTuned::Looser(_) => Self::forbidden(error.to_string()),
            NotTuned::Cache(error) => error.into(),
            NotTuned::Invalid { .. } | NotTuned::NothingToUndo => Self::invalid(error.to_string()),
        }
    }
}
