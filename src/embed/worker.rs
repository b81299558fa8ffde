//! The embedding thread and the handle to it.
//!
//! One thread owns the model. It takes the first waiting text at once, and with it whatever else is waiting by then: a
//! lone text never waits for company, and under load batches form from what arrived while the last one ran. A caller
//! that gave up is skipped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::manifest::Manifest;
use super::model::{Model, ModelIdentity};
use super::vector::TextEmbedding;
use crate::telemetry::{self, Step};

/// Texts of one batch at most; the tokens of a forward pass are bounded separately.
const MAX_BATCH: usize = 64;
/// Bytes of the texts that are embedded before the first of them is answered: about two thousand tokens.
const BATCH_BYTES: usize = 8 << 10;

/// Why a text got no vector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// The queue is full: go on without.
    #[error("the embedding queue is full ({0} texts are waiting)")]
    Busy(usize),
    /// More tokens than are embedded.
    #[error("the text is longer than the {0} tokens that are embedded")]
    TooLong(usize),
    /// The model failed or its thread is gone.
    #[error("the embedding model failed: {0}")]
    Failed(String),
}

/// Whether the model's query prefix is put before a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// For prompts: cached ones and asked ones alike.
    Query,
    /// For callers who prepare their texts themselves.
    None,
}

/// Bounds of the worker.
#[derive(Debug, Clone, Copy)]
pub struct WorkerSettings {
    /// Texts that may wait.
    pub queue: usize,
    /// Tokens of the longest text that is embedded.
    pub max_tokens: usize,
    /// Tokens of one forward pass.
    pub batch_tokens: usize,
}

struct Job {
    text: String,
    since: Instant,
    reply: oneshot::Sender<Result<TextEmbedding, EmbedError>>,
}

/// A handle to the embedding thread; clones share it. The thread ends when the last handle is dropped.
#[derive(Clone)]
pub struct Embedder {
    queue: mpsc::Sender<Job>,
    settings: WorkerSettings,
    identity: Arc<ModelIdentity>,
    manifest: Arc<Manifest>,
}

impl Embedder {
    /// Moves `model` to a thread of its own.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub fn start(model: Model, settings: WorkerSettings) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(settings.queue);
        let identity = Arc::new(model.identity().clone());
        let manifest = Arc::new(model.manifest().clone());
        std::thread::Builder::new().name("embed".into()).spawn(move || run(&model, settings, jobs))?;
        Ok(Self { queue, settings, identity, manifest })
    }

    /// Which model embeds.
    #[must_use]
    pub fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    /// How the model is used.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Embeds `text`.
    ///
    /// # Errors
    /// [`EmbedError::Busy`] at once when the queue is full.
    pub async fn embed(&self, text: &str, prefix: Prefix) -> Result<TextEmbedding, EmbedError> {
        let text = match prefix {
            Prefix::Query if !self.manifest.query_prefix.is_empty() => [&self.manifest.query_prefix, text].concat(),
            _ => text.to_owned(),
        };
        let (reply, answer) = oneshot::channel();
        let job = Job { text, since: Instant::now(), reply };
        self.queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => EmbedError::Busy(self.settings.queue),
            mpsc::error::TrySendError::Closed(_) => EmbedError::Failed("its thread has ended".into()),
        })?;
        answer.await.unwrap_or_else(|_| Err(EmbedError::Failed("its thread has ended".into())))
    }
}

fn run(model: &Model, settings: WorkerSettings, mut jobs: mpsc::Receiver<Job>) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while jobs.blocking_recv_many(&mut batch, MAX_BATCH) > 0 {
        batch.retain(|job: &Job| !job.reply.is_closed());
        if batch.is_empty() {
            continue;
        }
        for job in &batch {
            telemetry::step(Step::EmbedWait, job.since.elapsed());
        }
        // The short ones first, and no more at once than answers soon.
        batch.sort_by_key(|job| job.text.len());
        while !batch.is_empty() {
            let started = Instant::now();
            let now: Vec<Job> = batch.drain(..fitting(&batch)).collect();
            let results = embed(model, settings, &now);
            telemetry::step(Step::EmbedRun, started.elapsed());
            telemetry::embed_batch(now.len());
            for (job, result) in now.into_iter().zip(results) {
                // A caller that is gone doesn't need its answer.
                let _ = job.reply.send(result);
            }
            batch.retain(|job| !job.reply.is_closed());
        }
    }
}

/// How many of the jobs, at least one, are embedded before the first of them is answered.
fn fitting(batch: &[Job]) -> usize {
    let mut bytes = 0;
    let fit = batch.iter().take_while(|job| {
        bytes += job.text.len();
        bytes <= BATCH_BYTES
    });
    fit.count().max(1)
}

fn embed(model: &Model, settings: WorkerSettings, batch: &[Job]) -> Vec<Result<TextEmbedding, EmbedError>> {
    let texts: Vec<&str> = batch.iter().map(|job| &*job.text).collect();
    // A panic in a model or tokenizer must cost its batch, not all embedding until the next start.
    let made = catch_unwind(AssertUnwindSafe(|| model.embed(&texts, settings.max_tokens, settings.batch_tokens)));
    match made.map_err(|_| "it panicked".to_owned()).and_then(|made| made.map_err(|error| error.to_string())) {
        Ok(made) => made.into_iter().map(|one| one.ok_or(EmbedError::TooLong(settings.max_tokens))).collect(),
        Err(error) => {
            tracing::error!(error, texts = texts.len(), "embedding failed");
            texts.iter().map(|_| Err(EmbedError::Failed(error.clone()))).collect()
        }
    }
}
