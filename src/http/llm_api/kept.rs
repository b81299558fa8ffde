//! Responses that a provider keeps: read, deleted and cancelled where they were made.
//!
//! An id doesn't say who made it, and nothing here remembers: the providers that keep any are asked, the default one first,
//! until one knows it. That holds after a restart, on another machine, and for responses that were made past Refrain.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::headers as names;
use super::meter::Meter;
use super::pass_through::{self, climbs, counted};
use crate::http::{App, body};
use crate::router::{Outgoing, RouteError, Router, SendError, Upstream};

/// `GET` and `DELETE /v1/responses/{id}`, `POST …/cancel`, `GET …/input_items`; what else there is below passes through.
pub(in crate::http) async fn kept_response(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let is_about_one = match method {
        Method::GET | Method::DELETE | Method::HEAD => true,
        Method::POST => uri.path().ends_with("/cancel"),
        _ => false,
    };
    let is_elsewhere = headers.contains_key(names::PROVIDER) || app.live().router.keepers().next().is_none();
    if !is_about_one || is_elsewhere {
        return pass_through::pass_through(State(app), method, uri, headers, body).await.into_response();
    }
    ask_all(&app, method, &uri, &headers, body).await.into_response()
}

async fn ask_all(
    app: &Arc<App>,
    method: Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let live = app.live();
    let caller = live.tenants.identify(headers)?;
    if climbs(uri.path()) {
        return Err(ApiError::invalid("the path has a segment of dots"));
    }
    let meter = Meter::admit(app, &live, &caller, headers)?.untraced().for_model(None, None)?;
    let server = &app.settings.server;
    let body = body::read(body, server.max_body, server.read_timeout.0).await?;
    let path = uri.path_and_query().map_or(uri.path(), |all| all.as_str());
    let outgoing = Outgoing {
        method,
        path: path.strip_prefix("/v1").unwrap_or(path),
        headers,
        tenant: &caller.tenant,
        chat: None,
        trust_credentials: live.tenants.is_local(),
        is_repeatable: true,
    };
    let sent = until_one_knows(&live.router, &outgoing, || body.clone().into());
    Ok(counted(meter, &outgoing, sent).await?)
}

/// The reply of the first provider that has what is asked for. Where none says so: that one couldn't say, because then nobody
/// knows; else that something is wrong with the request; else that there is no such thing.
async fn until_one_knows(
    router: &Router,
    outgoing: &Outgoing<'_>,
    body: impl Fn() -> reqwest::Body,
) -> Result<Upstream, SendError> {
    let mut best: Option<(Word, Result<Upstream, SendError>)> = None;
    for provider in router.keepers() {
        let sent = outgoing.send_to(provider, body()).await.map_err(SendError::from);
        let word = Word::of(sent.as_ref().map(|upstream| upstream.status).ok());
        if word == Word::Has {
            return sent;
        }
        if best.as_ref().is_none_or(|(before, _)| word > *before) {
            best = Some((word, sent));
        }
    }
    best.map_or(Err(RouteError::NoProviders.into()), |(_, sent)| sent)
}

/// What a provider says of a response, the more telling the later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    /// It hasn't got it, or doesn't know us.
    HasNot,
    /// It doesn't like the request. An id that another one made may be malformed here.
    Refuses,
    /// It couldn't say.
    Fails,
    Has,
}

impl Word {
    /// None: no reply came.
    fn of(status: Option<StatusCode>) -> Self {
        match status.map(|status| status.as_u16()) {
            Some(401 | 403 | 404 | 405) => Self::HasNot,
            None | Some(429 | 500..) => Self::Fails,
            Some(400..500) => Self::Refuses,
            Some(_) => Self::Has,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_telling_word_is_handed_on() {
        let words = [404, 400, 503, 200].map(|status| Word::of(StatusCode::from_u16(status).ok()));
        assert!(words.is_sorted_by(|a, b| a < b));
        assert_eq!((Word::of(None), words[0]), (Word::Fails, Word::of(Some(StatusCode::FORBIDDEN))));
    }
}
