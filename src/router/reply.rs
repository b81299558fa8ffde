//! A provider's reply.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use reqwest::StatusCode;
use reqwest::header::{self, HeaderMap};

use super::concurrency::Permit;
use super::error::FailedAttempt;
use super::pieces::Pieces;
use super::usage::Tokens;
use futures_util::StreamExt;

/// A provider's response, whatever its status.
pub struct Upstream {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, without those that concern the connection.
    pub headers: HeaderMap,
    /// Its body's length, where the provider told it.
    pub content_length: Option<usize>,
    /// Its body, as it arrives; of a chat in the caller's format.
    pub body: Pieces,
    /// Whether it is a stream of events, whatever its headers say.
    pub is_stream: bool,
    /// How far a stream has come.
    pub progress: Arc<Progress>,
    /// Who answered.
    pub provider: String,
    /// With which model, where one was asked for.
    pub model: Option<String>,
    /// Attempts that failed before.
    pub failed_attempts: Vec<FailedAttempt>,
    /// What it used, once that is known: of a whole reply that was read, or of a stream that doesn't tell it to the caller.
    pub used: Used,
    /// Why another attempt may do better although the provider answered with a success.
    pub(super) flaw: Option<Flaw>,
}

/// How far a stream has come, told with the piece that says it.
#[derive(Debug, Default)]
pub struct Progress {
    has_reason: AtomicBool,
    has_ended: AtomicBool,
    is_lossy: AtomicBool,
}

impl Progress {
    /// It has said why the answer ends.
    pub(super) fn reason(&self) {
        self.has_reason.store(true, Ordering::Release);
    }

    /// Its end mark has come.
    pub(super) fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
    }

    /// Something of the answer was lost on the way to the caller's format.
    pub(super) fn lose(&self) {
        self.is_lossy.store(true, Ordering::Release);
    }

    /// Whether something of the answer was lost, so that it isn't to be stored.
    #[must_use]
    pub fn is_lossy(&self) -> bool {
        self.is_lossy.load(Ordering::Acquire)
    }

    /// Whether it has said why the answer ends: nothing but usage and the end mark follows.
    #[must_use]
    pub fn has_reason(&self) -> bool {
        self.has_reason.load(Ordering::Acquire) || self.has_ended()
    }

    /// Whether its end mark has come.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }
}

/// What is wrong with an answer that came with a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It is an error, with the status that fits it.
    Error(u16),
    /// It isn't what was asked for: a call of a tool that doesn't fit, or no JSON where JSON was demanded.
    Defect(String),
}

/// What a request used, once it is known.
#[derive(Debug, Clone, Default)]
pub struct Used(Arc<Mutex<Option<Tokens>>>);

impl Used {
    /// It is known now.
    pub fn set(&self, tokens: Tokens) {
        *self.0.lock() = Some(tokens);
    }

    /// What is known.
    #[must_use]
    pub fn get(&self) -> Option<Tokens> {
        *self.0.lock()
    }
}

impl Upstream {
    /// How many attempts there were, this one included.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.failed_attempts.len() + 1
    }

    /// Keeps the permit until the body has been read or given up.
    pub(super) fn holding(mut self, permit: Permit) -> Self {
        let held = move |piece| {
            let _held = &permit;
            piece
        };
        self.body = self.body.map(held).boxed();
        self
    }

    /// Whether the body is compressed.
    pub(super) fn is_encoded(&self) -> bool {
        let encoding = self.headers.get(header::CONTENT_ENCODING);
        encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
    }

    /// Forgets what holds for the body as it came.
    pub(super) fn reset_body_headers(&mut self, content_type: &'static str) {
        self.headers.remove(header::CONTENT_LENGTH);
        self.headers.remove(header::CONTENT_ENCODING);
        self.headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
        self.content_length = None;
    }
}

/// Whether the `Content-Type` is `wanted`.
pub(super) fn is_kind(headers: &HeaderMap, wanted: &str) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.and_then(|kind| kind.split(';').next()).is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted))
}
