//! Storing a reply, behind it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::head::Head;
use super::incoming::IncomingChat;
use crate::cache::{PendingSave, Save};
use crate::embed::TextEmbedding;
use crate::http::{App, body};
use crate::llm::storable::{NotStorable, check_storable};
use crate::llm::{Answer, Assembler, Chat, Document, EventSplitter, FormatId, Frame};
use crate::prompt::Question;
use crate::store::{self, Attributes};
use crate::telemetry;

/// Stores a reply, behind it.
pub(super) struct Recorder {
    pub(super) app: Arc<App>,
    /// With the cache that was asked.
    pub(super) incoming: Arc<IncomingChat>,
    pub(super) question: Question,
    pub(super) embedding: Option<TextEmbedding>,
    pub(super) asked: Instant,
}

/// What a reply is stored as.
struct Recording {
    answer: store::Answer,
    /// Whether the model calls tools. Their arguments hang on each word of the prompt, so such an answer serves the same
    /// text only.
    calls_tools: bool,
}

/// Why a reply is not stored.
#[derive(Debug, thiserror::Error)]
enum NotStored {
    #[error("it is not understood: {0}")]
    Malformed(String),
    #[error(transparent)]
    NotStorable(#[from] NotStorable),
}

impl Recorder {
    /// Stores `body`, which is none where it is longer than is kept.
    pub(super) fn store_reply(mut self, body: Option<Bytes>, head: &Head) {
        let Ok((cache, _)) = &self.incoming.asked else { return };
        let Some(chat) = self.incoming.request.chat.clone() else { return };
        if head.progress.is_lossy() {
            telemetry::store(cache.labels(), "not_kept");
            return tracing::debug!(cache = cache.id(), "a reply that lost something on its way is not stored");
        }
        let Some(body) = body else {
            telemetry::store(cache.labels(), "not_kept");
            return tracing::debug!(cache = cache.id(), "a reply is too long to be stored");
        };
        let target_scope = self.app.live().router.answer_scope(
            self.incoming.model.as_deref().unwrap_or_default(),
            &head.provider,
            head.model.as_deref().unwrap_or_default(),
        );
        if let Some(question) = self.incoming.question_for_target(target_scope.as_deref()) {
            self.question = question;
        }
        let pending = cache.begin_save(&self.question);
        let encoding = head.headers.get(axum::http::header::CONTENT_ENCODING).cloned();
        let saves = self.app.saves.clone();
        let is_stream = head.is_stream;
        saves.spawn(async move {
            let body = match encoding {
                Some(encoding) if encoding != "identity" => body::decompressed(&body, encoding.as_bytes()).await,
                _ => Ok(body),
            };
            self.save(body, &chat, is_stream, pending).await;
        });
    }

    async fn save(self, body: Result<Bytes, String>, chat: &Chat, is_stream: bool, pending: PendingSave) {
        let took = self.asked.elapsed();
        let format = self.incoming.format;
        let recorded = match body {
            Err(why) => Err(NotStored::Malformed(why)),
            Ok(body) if is_stream => record_stream(format, &body, chat),
            Ok(body) => record(format, &body, chat),
        };
        match recorded {
            Ok(recording) => self.store(recording, took).await,
            Err(why) => self.log(&why),
        }
        drop(pending);
    }

    async fn store(self, Recording { answer, calls_tools }: Recording, took: Duration) {
        let Ok((cache, _)) = &self.incoming.asked else { return };
        let save = Save {
            ttl_millis: self.incoming.controls.ttl_millis,
            question: self.question,
            answer,
            attributes: Attributes::default(),
            tags: self.incoming.controls.tags.clone(),
            curation: None,
            semantic: !calls_tools,
            took: Some(took),
            embedding: self.embedding,
        };
        // A failure is logged and counted where it happens; the caller has their answer already.
        let _ = cache.save(save).await;
    }

    fn log(&self, why: &NotStored) {
        let Ok((cache, _)) = &self.incoming.asked else { return };
        telemetry::store(cache.labels(), "not_kept");
        tracing::debug!(cache = cache.id(), %why, "a reply is not stored");
    }
}

/// A whole reply with the status 200, as it was written.
fn record(format: FormatId, body: &[u8], chat: &Chat) -> Result<Recording, NotStored> {
    let malformed = |error: &dyn std::fmt::Display| NotStored::Malformed(error.to_string());
    let text = std::str::from_utf8(body).map_err(|error| malformed(&error))?.trim_start_matches('\u{feff}').trim();
    let reply = Document::parse(text.as_bytes()).map_err(|error| malformed(&error))?;
    let answer = format.format().read_reply(reply.value).map_err(|error| malformed(&error))?;
    recording(&answer, text.to_owned(), chat)
}

/// A streamed reply, as the whole one that it would have been.
fn record_stream(format: FormatId, body: &[u8], chat: &Chat) -> Result<Recording, NotStored> {
    let malformed = |error: &dyn std::fmt::Display| NotStored::Malformed(error.to_string());
    let (mut reader, mut assembler, mut deltas) = (format.format().stream_reader(), Assembler::default(), Vec::new());
    let mut read = Ok(());
    EventSplitter::default().feed(body, |event| {
        if read.is_err() || reader.is_complete() || event.is_ok_and(|event| event.data.is_empty()) {
            return;
        }
        read = event
            .map_err(|fault| malformed(&fault))
            .and_then(|event| reader.read(event, &mut deltas).map_err(|fault| malformed(&fault)));
        deltas.drain(..).for_each(|delta| assembler.add(delta));
    });
    read?;
    if !reader.is_complete() {
        return Err(malformed(&"its end mark is missing"));
    }
    reader.finish(&mut deltas).map_err(|fault| malformed(&fault))?;
    deltas.into_iter().for_each(|delta| assembler.add(delta));
    let answer = assembler.finish().ok_or_else(|| malformed(&"nothing says why it ended"))?;
    let frame = Frame { model: chat.model.clone(), include_usage: true, ..Frame::default() };
    let whole = format.format().write_reply(&answer, &frame).to_string();
    // Arguments of a call may have been a text in the stream, and now be deeper than a hit is read.
    Document::parse(whole.as_bytes()).map_err(|error| malformed(&error))?;
    recording(&answer, whole, chat)
}

fn recording(answer: &Answer, reply: String, chat: &Chat) -> Result<Recording, NotStored> {
    check_storable(answer, chat)?;
    let stored = store::Answer { text: answer.text(), completion: Some(reply), vector: None };
    Ok(Recording { answer: stored, calls_tools: answer.calls_tools() })
}
