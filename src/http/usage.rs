//! `GET /v1/usage`: what a tenant has used, cost and saved.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use crate::router::{Account, Day, Sums, Usage};
use crate::store::{CacheKey, StoreError, Timestamp};
use crate::telemetry;

/// Days that are told where the caller names none.
const USUAL_DAYS: u64 = 30;
const MILLIS_PER_DAY: u64 = 86_400_000;
/// Where it is kept in the store: no cache has an empty name.
const KEPT: (&str, &str, &str) = ("", "", Usage::STATE);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    from: Option<String>,
    to: Option<String>,
    group_by: Option<String>,
}

/// `GET /v1/usage?from=2026-11-01&to=2026-11-30&group_by=day,model,provider`
pub(super) async fn usage(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let refused = |status: StatusCode, what: String| {
        let kind = if status == StatusCode::UNAUTHORIZED { "authentication_error" } else { "invalid_request_error" };
        let error = json!({"error": {"message": what, "type": kind, "param": null, "code": "invalid_request"}});
        (status, Json(error)).into_response()
    };
    let tenant = match app.live().tenants.identify(&headers) {
        Ok(caller) => caller.tenant,
        Err(denied) => return refused(StatusCode::UNAUTHORIZED, denied.to_string()),
    };
    match asked.map_err(|error| error.body_text()).and_then(|Query(asked)| report(&app.usage, &asked, &tenant)) {
        Ok(report) => Json(report).into_response(),
        Err(why) => refused(StatusCode::BAD_REQUEST, why),
    }
}

fn report(usage: &Usage, asked: &Asked, tenant: &str) -> Result<Value, String> {
    let now = Timestamp::now().0;
    let day = |text: &Option<String>, otherwise: Day| match text {
        None => Ok(otherwise),
        Some(text) => Day::parse(text).ok_or_else(|| format!("`{text}` is no day; write 2026-11-30")),
    };
    let from = day(&asked.from, Day::of_millis(now.saturating_sub((USUAL_DAYS - 1) * MILLIS_PER_DAY)))?;
    let to = day(&asked.to, Day::of_millis(now))?;
    let by: Vec<&str> = asked.group_by.as_deref().unwrap_or("model,provider").split(',').map(str::trim).collect();
    if let Some(other) = by.iter().find(|name| !["day", "model", "provider"].contains(name)) {
        return Err(format!("`{other}` is nothing to group by: day, model and provider are"));
    }
    let (mut groups, mut total) = (BTreeMap::<Vec<String>, Sums>::new(), Sums::default());
    for (day, Account { model, provider, .. }, sums) in usage.rows(from, to, tenant) {
        let of = |name: &&str| match *name {
            "day" => day.to_string(),
            "model" => model.clone(),
            _ => provider.clone(),
        };
        groups.entry(by.iter().map(of).collect()).or_default().add(&sums);
        total.add(&sums);
    }
    let data: Vec<Value> = groups
        .iter()
        .map(|(names, sums)| {
            let mut row = shown(sums);
            for (name, value) in by.iter().zip(names) {
                row[*name] = value.as_str().into();
            }
            row
        })
        .collect();
    Ok(json!({"object": "usage", "from": from.to_string(), "to": to.to_string(), "data": data, "total": shown(&total)}))
}

fn shown(sums: &Sums) -> Value {
    serde_json::to_value(sums).unwrap_or_default()
}

impl App {
    /// Goes on with the usage that was saved.
    pub async fn restore_usage(&self) {
        let (tenant, cache, name) = KEPT;
        match self.caches.store().load_state(CacheKey::new(tenant, cache), name).await {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                if let Err(error) = self.usage.restore(&bytes) {
                    telemetry::degraded("usage");
                    tracing::error!(%error, "what was used before can't be read; counting begins anew");
                }
            }
            Err(error) => tracing::error!(error = telemetry::cause(&error), "what was used before can't be read"),
        }
    }

    /// Saves what was used, if that changed.
    pub(super) async fn save_usage(&self) -> Result<(), StoreError> {
        let Some(bytes) = self.usage.take_unsaved() else { return Ok(()) };
        let (tenant, cache, name) = KEPT;
        let saved = self.caches.store().save_state(CacheKey::new(tenant, cache), name, bytes).await;
        if saved.is_err() {
            self.usage.save_again();
        }
        saved
    }
}
