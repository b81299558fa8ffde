//! Entries as lines of a body, on their way out and in.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};

use crate::cache::{CacheError, Caches, Destination, Imported, Line};
use crate::config::ByteLimit;
use crate::store::{CacheName, Position};
use crate::telemetry;

/// The header of an export that tells how many entries there are, about.
pub const ENTRIES: &str = "x-refrain-entries";
/// Lines that are exported or imported in one go, and their bytes, about.
const LINES: usize = 512;
const BYTES: usize = 4 << 20;

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

/// Stores the entries of a body's lines. `is_curated`: those that don't say so are curated.
pub(super) async fn import(
    caches: &Caches,
    body: Body,
    to: &Destination,
    limits: Limits,
    is_curated: bool,
) -> Result<Imported, ImportError> {
    let mut all = Imported::default();
    // While some lines are stored, the next are read already.
    let body = body.into_data_stream();
    let batches =
        Batches { body, limits, rest: BytesMut::new(), seen: 0, is_too_long: false, number: 0, is_over: false };
    let mut batches =
        batches.stream().map(|batch| tokio::task::spawn_blocking(move || parse(batch?, is_curated))).buffered(2);
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(|error| ImportError::Broken(error.to_string()));
        match take_in(caches, batch.flatten(), to).await {
            Ok(imported) => all.add(imported),
            // What is in the caches by then stays there, and the caller should know.
            Err(ImportError::Broken(why)) => {
                return Err(ImportError::Broken(format!("{why}; {} entries were stored before", all.stored)));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

async fn take_in(
    caches: &Caches,
    batch: Result<Parsed, ImportError>,
    to: &Destination,
) -> Result<Imported, ImportError> {
    let (lines, refused) = batch?;
    let mut imported = caches.import(lines, to).await?;
    for (number, why) in refused {
        imported.refuse(number, why);
    }
    Ok(imported)
}

/// Numbered lines; none in the place of one that is too long.
type Batch = Vec<(u64, Option<Bytes>)>;
type Parsed = (Vec<(u64, Line)>, Vec<(u64, String)>);

fn parse(batch: Batch, is_curated: bool) -> Result<Parsed, ImportError> {
    let (mut lines, mut refused) = (Vec::new(), Vec::new());
    for (number, line) in batch {
        let read = |line: Bytes| Line::read(if number == 1 { Line::first(&line) } else { &line });
        match line.map_or_else(|| Err("it is too long".into()), read) {
            Ok(line) if is_curated => lines.push((number, line.curated_by_default())),
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
    /// Whether `rest` is the end of a line that is too long.
    is_too_long: bool,
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
        let mut bytes = 0;
        while batch.len() < LINES && bytes < BYTES {
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
            bytes += line.len();
            if std::mem::take(&mut self.is_too_long) {
                batch.push((self.number, None));
            } else if !Line::first(&line).trim_ascii().is_empty() {
                batch.push((self.number, Some(line)));
            }
        }
        Ok(batch)
    }

    async fn read_on(&mut self) -> Result<(), String> {
        if self.rest.len() > self.limits.line.bytes() {
            self.is_too_long = true;
        }
        if self.is_too_long {
            // Something is kept, so that it is seen to be a line.
            self.rest.truncate(1);
            self.seen = 0;
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
