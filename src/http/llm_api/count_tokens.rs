//! `POST /v1/messages/count_tokens`: told by the provider where it can, else estimated.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::error::ApiError;
use super::meter::Meter;
use super::pass_through;
use crate::http::{App, body};
use crate::llm::estimate::estimate_tokens;
use crate::llm::{Document, FormatId};

/// Says that nobody counted.
const ESTIMATED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-refrain-estimated"), HeaderValue::from_static("true"));

/// `POST /v1/messages/count_tokens`
pub(in crate::http) async fn count_tokens(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let counted = try_count(app, &uri, headers, body).await;
    counted.unwrap_or_else(|error| error.in_format(FormatId::Anthropic))
}

async fn try_count(app: Arc<App>, uri: &Uri, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let live = app.live();
    let caller = live.tenants.identify(&headers)?;
    let admitted = Meter::admit(&app, &live, &caller, &headers)?.untraced();
    let server = &app.settings.server;
    let body = body::read(body, server.max_body, server.read_timeout.0).await?;
    let invalid = |error: &dyn std::fmt::Display| ApiError::invalid(format!("the body is not understood: {error}"));
    let document = Document::parse(&body).map_err(|error| invalid(&error))?;
    let model = document.value["model"].as_str().unwrap_or_default().to_owned();
    if live.router.speaks(&model, FormatId::Anthropic) {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = format!("/messages/count_tokens{query}");
        let meter = admitted.for_model(Some(&model), None)?;
        let sent = pass_through::by_model(meter, &live, &caller.tenant, &path, &headers, Some(&model), &body).await;
        return sent.map_err(ApiError::from);
    }
    let chat = FormatId::Anthropic.format().read_request(document.value).map_err(|error| invalid(&error))?;
    let mut response = axum::Json(json!({"input_tokens": estimate_tokens(&chat)})).into_response();
    response.headers_mut().extend([ESTIMATED]);
    Ok(response)
}
