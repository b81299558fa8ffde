//! Remembering a reply, behind it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::ask::Ask;
use crate::cache::{PendingSave, Save};
use crate::embed::TextEmbedding;
use crate::http::App;
use crate::prompt::Question;
use crate::router::Dialect;
use crate::router::providers::openai::{NotKept, Recording};
use crate::router::providers::{anthropic, openai};
use crate::store::Attributes;
use crate::telemetry;

/// The largest reply that is kept.
const LARGEST: usize = 16 << 20;

/// Remembers a reply, behind it.
pub(super) struct Keeper {
    pub(super) app: Arc<App>,
    /// With the cache that was asked.
    pub(super) ask: Arc<Ask>,
    pub(super) question: Question,
    pub(super) embedding: Option<TextEmbedding>,
    pub(super) asked: Instant,
}

/// Whether a stream that ends so far with `end` is all there.
pub(super) fn has_ended(dialect: Dialect, end: &[u8]) -> bool {
    match dialect {
        Dialect::OpenAi => openai::has_ended(end),
        Dialect::Anthropic => anthropic::has_ended(end),
    }
}

impl Keeper {
    pub(super) fn keep(self, body: Bytes, dialect: Dialect, is_stream: bool) {
        let Ok((cache, _)) = &self.ask.asked else { return };
        if body.len() > LARGEST {
            telemetry::store(cache.id(), "not_kept");
            return tracing::debug!(cache = cache.id(), bytes = body.len(), "a reply is too long to be kept");
        }
        let pending = cache.begin_save(&self.question);
        let saves = self.app.saves.clone();
        saves.spawn(self.save(body, dialect, is_stream, pending));
    }

    async fn save(self, body: Bytes, dialect: Dialect, is_stream: bool, pending: PendingSave) {
        let took = self.asked.elapsed();
        let recorded = match (dialect, is_stream) {
            (Dialect::OpenAi, true) => openai::record_stream(body).await,
            (Dialect::OpenAi, false) => openai::record(&body),
            (Dialect::Anthropic, true) => anthropic::record_stream(body).await,
            (Dialect::Anthropic, false) => anthropic::record(&body),
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
            tags: self.ask.controls.tags.clone(),
            curation: None,
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
