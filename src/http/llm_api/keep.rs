//! Remembering a reply, behind it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::ask::Ask;
use super::capture::Capture;
use super::reply::Head;
use crate::cache::{PendingSave, Save};
use crate::embed::TextEmbedding;
use crate::http::App;
use crate::prompt::Question;
use crate::router::Dialect;
use crate::router::providers::openai::{NotKept, Recording};
use crate::router::providers::{anthropic, openai};
use crate::store::Attributes;
use crate::telemetry;

/// Remembers a reply, behind it.
pub(super) struct Keeper {
    pub(super) app: Arc<App>,
    /// With the cache that was asked.
    pub(super) ask: Arc<Ask>,
    pub(super) question: Question,
    pub(super) embedding: Option<TextEmbedding>,
    pub(super) asked: Instant,
}

/// Whether the pieces so far are all of a stream.
pub(super) fn has_ended(dialect: Dialect, pieces: &[Bytes]) -> bool {
    match dialect {
        Dialect::OpenAi => openai::has_ended(pieces),
        Dialect::Anthropic => anthropic::has_ended(pieces),
    }
}

impl Keeper {
    /// Hands `body` on and keeps it.
    pub(super) fn capture<E: Send + 'static>(
        self,
        body: BoxStream<'static, Result<Bytes, E>>,
        head: &Head,
    ) -> BoxStream<'static, Result<Bytes, E>> {
        let (dialect, is_stream, length) = (head.dialect, head.is_stream, head.length);
        let ended: fn(&[Bytes]) -> bool = match (is_stream, dialect) {
            (false, _) => |_| false,
            (true, Dialect::OpenAi) => openai::has_ended,
            (true, Dialect::Anthropic) => anthropic::has_ended,
        };
        Capture::new(body, length, ended, move |pieces| self.keep(pieces, dialect, is_stream)).boxed()
    }

    pub(super) fn keep(self, pieces: Vec<Bytes>, dialect: Dialect, is_stream: bool) {
        let Ok((cache, _)) = &self.ask.asked else { return };
        let pending = cache.begin_save(&self.question);
        let saves = self.app.saves.clone();
        saves.spawn(self.save(pieces, dialect, is_stream, pending));
    }

    async fn save(self, pieces: Vec<Bytes>, dialect: Dialect, is_stream: bool, pending: PendingSave) {
        let took = self.asked.elapsed();
        let recorded = match (dialect, is_stream) {
            (Dialect::OpenAi, true) => openai::record_stream(pieces).await,
            (Dialect::OpenAi, false) => openai::record(&pieces.concat()),
            (Dialect::Anthropic, true) => anthropic::record_stream(pieces).await,
            (Dialect::Anthropic, false) => anthropic::record(&pieces.concat()),
        };
        match recorded {
            Ok(recording) => self.store(recording, took).await,
            Err(why) => self.log(&why),
        }
        drop(pending);
    }

    async fn store(self, Recording { answer, calls_tools }: Recording, took: Duration) {
        let Ok((cache, _)) = &self.ask.asked else { return };
        let save = Save {
            ttl_millis: self.ask.controls.ttl_millis,
            question: self.question,
            answer,
            attributes: Attributes::default(),
            semantic: !calls_tools,
            took: Some(took),
            embedding: self.embedding,
        };
        // A failure is logged and counted where it happens; the caller has their answer already.
        let _ = cache.save(save).await;
    }

    fn log(&self, why: &NotKept) {
        let Ok((cache, _)) = &self.ask.asked else { return };
        telemetry::store(cache.id(), "not_kept");
        tracing::debug!(cache = cache.id(), %why, "a reply is not kept");
    }
}
