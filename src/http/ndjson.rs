//! Entries as lines of a body, on their way out and in.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};

use crate::cache::{CacheError, Caches, Imported, Into, Line};
use crate::config::ByteLimit;
use crate::store::{CacheName, Position};
use crate::telemetry;

/// The header of an export that tells how many entries there are, about.
pub const ENTRIES: &str = "x-refrain-entries";
/// Lines that are exported or imported in one go.
const LINES: usize = 512;

/// What an import may ask for. It takes as long as it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Its longest line.
    pub(super) line: ByteLimit,
    /// How long it may stand still.
    pub(super) pause: Duration,
}

/// Why an import ended before its end. What was read until then is stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImportError {
    /// The caller's lines.
    #[error("{0}")]
    Broken(String),
    /// The caches.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// All entries, or those of one cache, one a line.
pub(super) fn export(caches: Arc<Caches>, only: Option<CacheName>) -> Response {
    let count = caches.entries(only.as_ref());
    let pages = stream::try_unfold((caches, only, None), |(caches, only, after)| async move {
        let page = page(&caches, only.as_ref(), after).await?;
        Ok::<_, CacheError>(page.map(|(lines, position)| (lines, (caches, only, Some(position)))))
    });
    let pages = pages.inspect_err(|error| {
        tracing::error!(cause = telemetry::cause(error), "an export broke off");
    });
    let headers = [(header::CONTENT_TYPE.as_str(), "application/x-ndjson"), (ENTRIES, &count.to_string())];
    (headers, Body::from_stream(pages)).into_response()
}

async fn page(
    caches: &Arc<Caches>,
    only: Option<&CacheName>,
    after: Option<Position>,
) -> Result<Option<(Bytes, Position)>, CacheError> {
    let Some((lines, position)) = caches.export(only, after, LINES).await? else { return Ok(None) };
    let written = tokio::task::spawn_blocking(move || {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, &line)?;
            text.push(b'\n');
        }
        Ok::<_, serde_json::Error>(Bytes::from(text))
    });
    match written.await {
        Ok(Ok(text)) => Ok(Some((text, position))),
        Ok(Err(error)) => Err(CacheError::Transfer(error.into())),
        Err(error) => Err(CacheError::Transfer(error.into())),
    }
}

/// Stores the entries of a body's lines.
pub(super) async fn import(caches: &Caches, body: Body, into: &Into, limits: Limits) -> Result<Imported, ImportError> {
    let mut all = Imported::default();
    // While some lines are stored, the next are read already.
    let body = body.into_data_stream();
    let batches = Batches { body, limits, rest: BytesMut::new(), seen: 0, number: 0, is_over: false };
    let mut batches = batches.stream().map(|batch| tokio::task::spawn_blocking(move || parse(batch?))).buffered(2);
    while let Some(batch) = batches.next().await {
        let (lines, refused) = batch.map_err(|error| ImportError::Broken(error.to_string()))??;
        for (number, why) in refused {
            all.refuse(number, why);
        }
        let imported = caches.import(lines, into).await?;
        all.stored += imported.stored;
        all.expired += imported.expired;
        imported.why.into_iter().for_each(|(number, why)| all.refuse(number, why));
    }
    Ok(all)
}

type Batch = Vec<(u64, Bytes)>;
type Parsed = (Vec<(u64, Line)>, Vec<(u64, String)>);

fn parse(batch: Batch) -> Result<Parsed, ImportError> {
    let (mut lines, mut refused) = (Vec::new(), Vec::new());
    for (number, line) in batch {
        match Line::read(&line) {
            Ok(line) => lines.push((number, line)),
            Err(why) => refused.push((number, why)),
        }
    }
    Ok((lines, refused))
}

/// A body's lines, some at a time, numbered from 1; empty ones are left out.
struct Batches {
    body: BodyDataStream,
    limits: Limits,
    rest: BytesMut,
    /// Bytes of `rest` that are known to have no line's end.
    seen: usize,
    number: u64,
    is_over: bool,
}

impl Batches {
    fn stream(self) -> impl Stream<Item = Result<Batch, ImportError>> {
        Box::pin(stream::try_unfold(self, |mut batches| async move {
            let batch = batches.next().await.map_err(ImportError::Broken)?;
            Ok((!batch.is_empty()).then_some((batch, batches)))
        }))
    }

    async fn next(&mut self) -> Result<Batch, String> {
        let mut batch = Vec::new();
        while batch.len() < LINES {
            let end = self.rest[self.seen..].iter().position(|byte| *byte == b'\n').map(|at| self.seen + at);
            let line = match end {
                Some(end) => self.rest.split_to(end + 1).freeze(),
                None if self.is_over => self.rest.split().freeze(),
                None => {
                    self.seen = self.rest.len();
                    self.read_on().await?;
                    continue;
                }
            };
            self.seen = 0;
            if line.is_empty() {
                break;
            }
            self.number += 1;
            if !line.trim_ascii().is_empty() {
                batch.push((self.number, line));
            }
        }
        Ok(batch)
    }

    async fn read_on(&mut self) -> Result<(), String> {
        if self.rest.len() > self.limits.line.bytes() {
            return Err(format!("line {} is longer than {}", self.number + 1, self.limits.line));
        }
        let next = tokio::time::timeout(self.limits.pause, self.body.next()).await;
        match next.map_err(|_| format!("nothing came after line {}", self.number))? {
            Some(Ok(piece)) => self.rest.extend_from_slice(&piece),
            Some(Err(error)) => return Err(format!("the import broke off in line {}: {error}", self.number + 1)),
            None => self.is_over = true,
        }
        Ok(())
    }
}
