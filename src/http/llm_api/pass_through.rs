//! Every other `/v1/*` path: to a provider and back, uncached.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::Response;
use bytes::Bytes;

use super::error::{ApiError, status_of};
use super::head::Head;
use super::headers as names;
use super::meter::{Meter, Served};
use super::model_name::{last_model_of, model_of};
use super::relay::told;
use crate::http::live::Live;
use crate::http::{App, body};
use crate::router::{Outgoing, SendError, Upstream};

/// Any method, any path under `/v1` that isn't ours.
///
/// The header `x-refrain-provider` says where to; else a JSON body's `model` does; else it is the default provider.
pub(in crate::http) async fn pass_through(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let live = app.live();
    let caller = live.tenants.identify(&headers)?;
    if climbs(uri.path()) {
        return Err(ApiError::invalid("the path has a segment of dots"));
    }
    let admitted = Meter::admit(&app, &live, &caller, &headers)?.untraced();
    let path = uri.path_and_query().map_or(uri.path(), |all| all.as_str());
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let named = headers.get(names::PROVIDER).and_then(|value| value.to_str().ok());
    let is_repeatable = method.is_safe();
    let outgoing = Outgoing {
        method,
        path,
        headers: &headers,
        tenant: &caller.tenant,
        chat: None,
        trust_credentials: live.tenants.is_local(),
        is_repeatable,
    };
    if named.is_none() && is_json(&headers) {
        let server = &app.settings.server;
        let body = body::read(body, server.max_body, server.read_timeout.0).await?;
        let model = model_of(&body);
        let charged = model.clone().or_else(|| last_model_of(&body));
        let meter = admitted.for_model(charged.as_deref(), None)?;
        return Ok(counted(meter, &outgoing, outgoing.send_by_model(&live.router, model.as_deref(), &body)).await?);
    }
    let meter = admitted.for_model(None, None)?;
    let provider = live.router.provider_for(named).map_err(SendError::from)?;
    let server = &app.settings.server;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > server.max_body.bytes()) {
        // Whoever waits to be told whether to send it at all has sent nothing.
        if !headers.contains_key(header::EXPECT) {
            body::drain(body, 0, server.max_body, server.read_timeout.0).await;
        }
        return Err(body::BodyError::TooLarge(server.max_body).into());
    }
    let (pieces, flaw) = body::bounded(body, server.max_body, server.read_timeout.0);
    let sent = async { Ok(outgoing.send_to(provider, reqwest::Body::wrap_stream(pieces)).await?) };
    let counted = counted(meter, &outgoing, sent).await;
    // It is the sender's fault, and not the provider's.
    match flaw.lock().take() {
        Some(flaw) => Err(flaw.into()),
        None => Ok(counted?),
    }
}

/// What a provider replies, handed on as it comes, and what it used written down, where it tells.
pub(super) async fn counted(
    meter: Meter,
    outgoing: &Outgoing<'_>,
    sent: impl Future<Output = Result<Upstream, SendError>>,
) -> Result<Response, SendError> {
    let meter = Arc::new(meter);
    let replied = async {
        // Reading costs nothing.
        if !outgoing.method.is_safe() {
            meter.may_spend()?;
        }
        sent.await
    };
    let upstream = replied.await.inspect_err(|error| meter.failed(status_of(error)))?;
    let (head, body) = Head::of(upstream);
    let body = meter.metered(body, Served::by(&head));
    Ok(told(head, body))
}

/// A request to the targets of its model; where that can't be read, to the default provider.
pub(super) async fn by_model(
    meter: Meter,
    live: &Live,
    tenant: &str,
    path: &str,
    headers: &HeaderMap,
    model: Option<&str>,
    body: &Bytes,
) -> Result<Response, SendError> {
    let outgoing = Outgoing {
        method: Method::POST,
        path,
        headers,
        tenant,
        chat: None,
        trust_credentials: live.tenants.is_local(),
        is_repeatable: true,
    };
    counted(meter, &outgoing, outgoing.send_by_model(&live.router, model, body)).await
}

/// Whether a path, written so or percent-encoded, leaves the folder that it seems to be in: a provider's base address is
/// as far as its key goes.
pub(super) fn climbs(path: &str) -> bool {
    let dots = |segment: &str| segment.to_ascii_lowercase().replace("%2e", ".");
    path.split(['/', '\\']).any(|segment| matches!(dots(segment).as_str(), "." | ".."))
        || path.to_ascii_lowercase().contains("%2f")
        || path.to_ascii_lowercase().contains("%5c")
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/json"))
}

#[cfg(test)]
mod tests {
    use super::climbs;

    #[test]
    fn a_path_cannot_climb_out_of_a_providers_base() {
        for path in ["/v1/../admin", "/v1/a/%2e%2E/b", "/v1/.%2e/x", "/v1/..%2fx", "/v1/./x"] {
            assert!(climbs(path), "{path}");
        }
        for path in ["/v1/files/a.b..c", "/v1/models/org.x/y", "/v1/...", "/v1/"] {
            assert!(!climbs(path), "{path}");
        }
    }
}
