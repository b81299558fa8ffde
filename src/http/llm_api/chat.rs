//! Chats in any format that callers may speak: answered from the cache, or forwarded and stored.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;

use super::error::ApiError;
use super::head::Head;
use super::headers;
use super::incoming::IncomingChat;
use super::meter::{Meter, Served};
use super::model_name::last_model_of;
use super::pass_through::pass_through;
use super::recorder::Recorder;
use super::reply::{forward, render_hit};
use super::shared_call::{FlightKey, Shape, lead};
use super::single_flight::{Follower, Leader, Role};
use crate::cache::Found;
use crate::http::App;
use crate::http::live::Live;
use crate::http::traces::TRACEPARENT;
use crate::llm::FormatId;
use crate::prompt::{Cacheability, Question};
use crate::router::{Outgoing, SendError, Upstream};
use crate::store::{CacheKey, ScopeKey, TextHash};

type Headers = Vec<(HeaderName, HeaderValue)>;

/// `POST /v1/chat/completions`
pub(in crate::http) async fn chat_completions(
    state: State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(state.0, FormatId::OpenAiChat, &uri, headers, body).await
}

/// `POST /v1/responses`
pub(in crate::http) async fn responses(state: State<Arc<App>>, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    answer(state.0, FormatId::OpenAiResponses, &uri, headers, body).await
}

/// `POST /v1/completions`. Where the request names a provider, it goes there as it is.
pub(in crate::http) async fn completions(state: State<Arc<App>>, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    if headers.contains_key(headers::PROVIDER) {
        return pass_through(state, Method::POST, uri, headers, body).await.into_response();
    }
    answer(state.0, FormatId::OpenAiCompletions, &uri, headers, body).await
}

/// `POST /v1/messages`
pub(in crate::http) async fn messages(state: State<Arc<App>>, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    answer(state.0, FormatId::Anthropic, &uri, headers, body).await
}

async fn answer(app: Arc<App>, format: FormatId, uri: &Uri, headers: HeaderMap, body: Body) -> Response {
    let answered = try_answer(app, format, uri, headers, body).await;
    answered.unwrap_or_else(|error| error.in_format(format))
}

async fn try_answer(
    app: Arc<App>,
    format: FormatId,
    uri: &Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let live = app.live();
    let caller = live.tenants.identify(&headers)?;
    let mut meter = Meter::admit(&app, &live, &caller, &headers)?;
    if format == FormatId::OpenAiCompletions {
        meter = meter.untraced();
    }
    let incoming = IncomingChat::read(&app, &live, format, caller, uri.query(), headers, body).await?;
    let charged = incoming.model.clone().or_else(|| last_model_of(&incoming.body));
    let meter = Arc::new(meter.for_model(charged.as_deref(), Some(incoming.body.len()))?);
    let request = Request { app, live, incoming: Arc::new(incoming), meter };
    let meter = Arc::clone(&request.meter);
    request.answer().await.inspect_err(|error| meter.failed(error.status()))
}

/// A request with all that it is answered with.
#[derive(Clone)]
struct Request {
    app: Arc<App>,
    live: Arc<Live>,
    incoming: Arc<IncomingChat>,
    meter: Arc<Meter>,
}

impl Request {
    async fn answer(self) -> Result<Response, ApiError> {
        let incoming = Arc::clone(&self.incoming);
        let (cache, question) = match &incoming.asked {
            Ok(asked) => asked,
            Err(why) => {
                let status = headers::unavailable(why);
                incoming.controls.may_forward(&status)?;
                return self.forward(status).await;
            }
        };
        let expose_cosine = self.app.settings.server.expose_cosine;
        let refreshed = incoming.controls.no_cache && !matches!(question.cacheability, Cacheability::Bypass(_));
        let found = cache.lookup(&incoming.lookup(cache, question)).await;
        self.meter.decided(&found.decision);
        if let Some(hit) = found.hits.first()
            && let Some((response, tokens)) = render_hit(&incoming, &found, hit, expose_cosine)
        {
            return Ok(self.meter.hit(response, tokens));
        }
        let status = headers::not_a_hit(&found.decision, refreshed, expose_cosine);
        incoming.controls.may_forward(&status)?;
        if incoming.controls.no_store || matches!(question.cacheability, Cacheability::Bypass(_)) {
            return self.forward(status).await;
        }
        let scope = ScopeKey::new(CacheKey::new(&incoming.caller.tenant, cache.id()), question.fingerprint.bytes());
        let text = TextHash::of(&question.text);
        let asked = FlightKey { scope, text, shape: Shape::Chat(incoming.format, incoming.delivery) };
        // Who wants an answer as it is now wants none that was asked for before.
        let flight = if incoming.controls.no_cache {
            Role::Leader(self.app.flights.detached(asked))
        } else {
            self.app.flights.join(asked)
        };
        let (leader, follower) = match flight {
            Role::Leader(led) => led,
            Role::Follower(follower) => match follower.head().await {
                Some(head) => return self.joined(follower, head, status).await,
                // The call that was to answer this one too came to nothing, which says nothing of this one's.
                None => self.app.flights.detached(asked),
            },
        };
        let recorder = self.recorder(question, found);
        self.lead(leader, follower, status, recorder).await
    }

    fn recorder(&self, question: &Question, found: Found) -> Recorder {
        Recorder {
            app: Arc::clone(&self.app),
            incoming: Arc::clone(&self.incoming),
            question: question.clone(),
            embedding: found.embedding,
            asked: Instant::now(),
        }
    }

    /// Makes the call for all who ask the same, and keeps the answer.
    async fn lead(
        self,
        leader: Leader<FlightKey, Head>,
        follower: Follower<Head>,
        status: Headers,
        recorder: Recorder,
    ) -> Result<Response, ApiError> {
        let request = self.clone();
        let sending = async move { request.send().await };
        let store = |body, head: &Head| recorder.store_reply(body, head);
        let sent = lead(leader, Arc::clone(&self.meter), sending, store).await;
        match sent.map_err(|error| ApiError::from(error).with(status.clone()))? {
            Some(upstream) => self.hand_on(upstream, status).await,
            None => match follower.head().await {
                Some(head) => forward(&self.meter, head, follower.body().boxed(), status).await,
                None => Err(ApiError::from(SendError::Ended).with(status)),
            },
        }
    }

    /// The reply that another request's call brought.
    async fn joined(
        &self,
        follower: Follower<Head>,
        head: Arc<Head>,
        mut status: Headers,
    ) -> Result<Response, ApiError> {
        headers::collapsed(&mut status);
        let body = self.meter.metered(follower.body().boxed(), Served::joined(&head));
        forward(&self.meter, head, body, status).await
    }

    /// Sends the request on for itself alone, and keeps nothing.
    async fn forward(self, status: Headers) -> Result<Response, ApiError> {
        let upstream = self.send().await.map_err(|error| ApiError::from(error).with(status.clone()))?;
        self.hand_on(upstream, status).await
    }

    async fn hand_on(&self, upstream: Upstream, status: Headers) -> Result<Response, ApiError> {
        let (head, body) = Head::of(upstream);
        let body = self.meter.metered(body, Served::by(&head));
        forward(&self.meter, Arc::new(head), body, status).await
    }

    async fn send(&self) -> Result<Upstream, SendError> {
        let incoming = &self.incoming;
        self.meter.may_spend()?;
        let mut headers = Cow::Borrowed(&incoming.headers);
        if let Some(context) = self.meter.calls() {
            headers.to_mut().insert(TRACEPARENT, context);
        }
        let outgoing = Outgoing {
            method: Method::POST,
            path: &incoming.path,
            headers: &headers,
            tenant: &incoming.caller.tenant,
            chat: Some(&incoming.request),
            trust_credentials: self.live.tenants.is_local(),
            is_repeatable: true,
        };
        outgoing.send_by_model(&self.live.router, incoming.model.as_deref(), &incoming.body).await
    }
}
