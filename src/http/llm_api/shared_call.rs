//! One call to a provider for all who ask the same.

use std::sync::Arc;

use axum::http::StatusCode;
use bytes::Bytes;

use super::head::Head;
use super::meter::{Meter, Served};
use super::single_flight::{Completeness, Leader, run};
use crate::llm::embeddings::Encoding;
use crate::llm::{Delivery, FormatId};
use crate::router::{SendError, Upstream};
use crate::store::{ScopeKey, TextHash};

/// What must be equal of two requests for one call to answer both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::http) struct FlightKey {
    pub(super) scope: ScopeKey,
    pub(super) text: TextHash,
    pub(super) shape: Shape,
}

/// The form of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    Chat(FormatId, Delivery),
    Vectors(Encoding),
}

/// Makes the call of `leader`. What it brings is for all to read there; `store` is handed all of it, where that is kept, before its last piece is told.
/// It goes on when the caller goes away, as long as anybody reads. What isn't a 200 is no answer to others: it is returned, and
/// they try for themselves.
pub(super) async fn lead(
    leader: Leader<FlightKey, Head>,
    meter: Arc<Meter>,
    send: impl Future<Output = Result<Upstream, SendError>> + Send + 'static,
    store: impl FnOnce(Option<Bytes>, &Head) + Send + 'static,
) -> Result<Option<Upstream>, SendError> {
    let (told, heard) = tokio::sync::oneshot::channel();
    let flying = async move {
        let sent = tokio::select! {
            sent = send => sent,
            () = leader.is_abandoned() => return,
        };
        match sent {
            Ok(upstream) if upstream.status == StatusCode::OK => {
                let (head, body) = Head::of(upstream);
                let (length, progress) = (head.length, Arc::clone(&head.progress));
                let completeness = move |so_far: usize| match length == Some(so_far) || progress.has_ended() {
                    true => Completeness::Whole,
                    false if progress.has_reason() => Completeness::NearlyWhole,
                    false => Completeness::Unfinished,
                };
                let body = meter.metered(body, Served::by(&head));
                let answered = head.clone();
                leader.begins(head);
                // The answer is read from the flight, as everybody else reads it.
                let _ = told.send(Ok(None));
                run(leader, body, completeness, |body| store(body, &answered)).await;
            }
            other => {
                // Others try for themselves: this says nothing of them.
                leader.fails();
                let _ = told.send(other.map(Some));
            }
        }
    };
    tokio::spawn(flying);
    heard.await.unwrap_or_else(|_| {
        tracing::error!("a call to a provider ended badly");
        Err(SendError::Ended)
    })
}
