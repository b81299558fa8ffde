//! `POST /v1/chat/completions` and Anthropic's `POST /v1/messages`: answered from the cache, or forwarded and remembered.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;
use futures_util::StreamExt;

use super::ask::Ask;
use super::error::ApiError;
use super::flight::{Boarded, Pilot, Reader, fly};
use super::headers;
use super::keep::{Keeper, has_ended};
use super::meter::{Meter, Served};
use super::relay::last_model_of;
use super::reply::{Head, handed_on, played_back};
use crate::cache::Found;
use crate::http::App;
use crate::http::live::Live;
use crate::http::traces::TRACEPARENT;
use crate::prompt::{Question, Reach};
use crate::router::providers::openai::Delivery;
use crate::router::{Dialect, Outgoing, SendError, Upstream};
use crate::store::{CacheKey, ScopeKey, TextHash};

/// What must be equal of two requests for one call to answer both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::http) struct Asked {
    scope: ScopeKey,
    text: TextHash,
    dialect: Dialect,
    delivery: Delivery,
}

type Headers = Vec<(HeaderName, HeaderValue)>;

/// `POST /v1/chat/completions`
pub(in crate::http) async fn chat(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    answer(app, Dialect::OpenAi, &uri, headers, body).await
}

/// `POST /v1/messages`
pub(in crate::http) async fn messages(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answered = answer(app, Dialect::Anthropic, &uri, headers, body).await;
    answered.unwrap_or_else(|error| error.in_dialect(Dialect::Anthropic))
}

async fn answer(
    app: Arc<App>,
    dialect: Dialect,
    uri: &Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let live = app.live();
    let caller = live.tenants.identify(&headers)?;
    let meter = Meter::admit(&app, &live, &caller, &headers)?;
    let ask = Ask::read(&app, &live, dialect, caller, uri.query(), headers, body).await?;
    let charged = ask.model.clone().or_else(|| last_model_of(&ask.body));
    let meter = Arc::new(meter.for_model(charged.as_deref(), Some(ask.body.len()))?);
    let request = Request { app, live, ask: Arc::new(ask), meter };
    let meter = Arc::clone(&request.meter);
    request.answer().await.inspect_err(|error| meter.failed(error.status()))
}

/// A request with all that it is answered with.
#[derive(Clone)]
struct Request {
    app: Arc<App>,
    live: Arc<Live>,
    ask: Arc<Ask>,
    meter: Arc<Meter>,
}

impl Request {
    async fn answer(self) -> Result<Response, ApiError> {
        let ask = Arc::clone(&self.ask);
        let (cache, question) = match &ask.asked {
            Ok(asked) => asked,
            Err(why) => {
                let status = headers::unavailable(why);
                ask.may_forward(&status)?;
                return self.forward(status).await;
            }
        };
        let expose_cosine = self.app.settings.server.expose_cosine;
        let refreshed = ask.controls.no_cache && !matches!(question.reach, Reach::Bypass(_));
        let found = cache.lookup(&ask.lookup(question)).await;
        self.meter.decided(&found.decision);
        if let Some(hit) = found.hits.first() {
            let (response, tokens) = played_back(&ask, &found, hit, expose_cosine)?;
            return Ok(self.meter.hit(response, tokens));
        }
        let status = headers::not_a_hit(&found.decision, refreshed, expose_cosine);
        ask.may_forward(&status)?;
        if ask.controls.no_store || matches!(question.reach, Reach::Bypass(_)) {
            return self.forward(status).await;
        }
        let scope = ScopeKey::new(CacheKey::new(&ask.caller.tenant, cache.id()), question.fingerprint.bytes());
        let text = TextHash::of(&question.text);
        let asked = Asked { scope, text, dialect: ask.dialect, delivery: ask.delivery };
        // Who wants an answer as it is now wants none that was asked for before.
        let flight = if ask.controls.no_cache {
            Boarded::Leads(self.app.flights.alone(asked))
        } else {
            self.app.flights.board(asked)
        };
        let (pilot, reader) = match flight {
            Boarded::Leads(led) => led,
            Boarded::Joins(reader) => match reader.head().await {
                Some(head) => return self.joined(reader, &head, status).await,
                // The call that was to answer this one too came to nothing, which says nothing of this one's.
                None => self.app.flights.alone(asked),
            },
        };
        let keeper = self.keeper(question, found);
        self.lead(pilot, reader, status, keeper).await
    }

    fn keeper(&self, question: &Question, found: Found) -> Keeper {
        Keeper {
            app: Arc::clone(&self.app),
            ask: Arc::clone(&self.ask),
            question: question.clone(),
            embedding: found.embedding,
            asked: Instant::now(),
        }
    }

    /// Makes the call for all who ask the same, and keeps the answer. It goes on when this caller goes away, as long as
    /// anybody reads.
    async fn lead(
        self,
        pilot: Pilot<Asked, Head>,
        reader: Reader<Head>,
        status: Headers,
        keeper: Keeper,
    ) -> Result<Response, ApiError> {
        let (told, heard) = tokio::sync::oneshot::channel();
        let request = self.clone();
        let flying = async move {
            let sent = tokio::select! {
                sent = request.send() => sent,
                () = pilot.is_abandoned() => return,
            };
            match sent {
                Ok(upstream) if upstream.status == StatusCode::OK => {
                    let is_keepable = !upstream.headers.contains_key(axum::http::header::CONTENT_ENCODING);
                    let (head, body) = Head::of(upstream);
                    let (length, dialect, is_stream) = (head.length, head.dialect, head.is_stream);
                    let is_whole = move |so_far: usize, end: &[u8]| {
                        length == Some(so_far) || (is_stream && has_ended(dialect, end))
                    };
                    let body = request.meter.metered(body, Served::by(&head));
                    pilot.begins(head);
                    // The answer is read from the flight, as everybody else reads it.
                    let _ = told.send(Ok(None));
                    let keep = move |body| {
                        if is_keepable {
                            keeper.keep(body, dialect, is_stream);
                        }
                    };
                    fly(pilot, body, is_whole, keep).await;
                }
                other => {
                    // Others try for themselves: this says nothing of them.
                    pilot.fails();
                    let _ = told.send(other.map(Some));
                }
            }
        };
        tokio::spawn(flying);
        let sent = heard.await.unwrap_or_else(|_| {
            tracing::error!("a call to a provider ended badly");
            Err(SendError::Ended)
        });
        match sent.map_err(|error| ApiError::from(error).with(status.clone()))? {
            Some(upstream) => self.hand_on(upstream, status).await,
            None => match reader.head().await {
                Some(head) => handed_on(&self.ask, &self.meter, &head, reader.body().boxed(), status).await,
                None => Err(ApiError::from(SendError::Ended).with(status)),
            },
        }
    }

    /// The reply that another request's call brought.
    async fn joined(&self, reader: Reader<Head>, head: &Head, mut status: Headers) -> Result<Response, ApiError> {
        headers::collapsed(&mut status);
        let body = self.meter.metered(reader.body().boxed(), Served::joined(head));
        handed_on(&self.ask, &self.meter, head, body, status).await
    }

    /// Sends the request on for itself alone, and keeps nothing.
    async fn forward(self, status: Headers) -> Result<Response, ApiError> {
        let upstream = self.send().await.map_err(|error| ApiError::from(error).with(status.clone()))?;
        self.hand_on(upstream, status).await
    }

    async fn hand_on(&self, upstream: Upstream, status: Headers) -> Result<Response, ApiError> {
        let (head, body) = Head::of(upstream);
        let body = self.meter.metered(body, Served::by(&head));
        handed_on(&self.ask, &self.meter, &head, body, status).await
    }

    async fn send(&self) -> Result<Upstream, SendError> {
        let ask = &self.ask;
        self.meter.may_spend()?;
        let mut headers = Cow::Borrowed(&ask.headers);
        if let Some(context) = self.meter.calls() {
            headers.to_mut().insert(TRACEPARENT, context);
        }
        let outgoing = Outgoing {
            method: Method::POST,
            path: &ask.path,
            headers: &headers,
            tenant: &ask.caller.tenant,
            dialect: ask.dialect,
            trust_credentials: self.live.tenants.is_local(),
            is_repeatable: true,
        };
        outgoing.send_by_model(&self.live.router, ask.model.as_deref(), &ask.body).await
    }
}
