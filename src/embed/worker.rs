//! The embedding thread and the handle to it.
//!
//! One thread owns the model. It takes the first waiting text at once, and with it whatever else is waiting by then: a
//! lone text never waits for company, and under load batches form from what arrived while the last one ran. Equal texts in
//! flight are embedded once, and recent embeddings are remembered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::encoder::Waker;
use super::error::EmbedError;
use super::manifest::Manifest;
use super::model::{Model, ModelIdentity};
use super::queue::{Done, Queue, TextKey};
use super::vector::TextEmbedding;
use crate::config;
use crate::telemetry::{self, EmbeddingSource, Step};

/// Texts that are tokenized before the next batch runs at most: enough for many batches to choose from, few enough not to
/// hold up the first.
const ADMITTED: usize = 64;
/// Bytes that a remembered embedding takes beside its numbers, about.
const MEMO_OVERHEAD: usize = 128;

/// Whether the model's query prefix is put before a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// For prompts: cached ones and asked ones alike.
    Query,
    /// For callers who prepare their texts themselves.
    None,
}

type Reply = oneshot::Sender<Result<TextEmbedding, EmbedError>>;

struct Job {
    key: TextKey,
    text: String,
    since: Instant,
    reply: Reply,
}

/// A handle to the embedding thread; clones share it. The thread ends when the last handle is dropped.
#[derive(Clone)]
pub struct Embedder {
    jobs: mpsc::UnboundedSender<Job>,
    /// One permit per text that may wait.
    places: Arc<Semaphore>,
    limit: usize,
    memo: Arc<Memo>,
    waker: Waker,
    identity: Arc<ModelIdentity>,
    manifest: Arc<Manifest>,
}

impl Embedder {
    /// Moves `model` to a thread of its own.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub fn start(model: Model, settings: &config::Embedding) -> std::io::Result<Self> {
        let (jobs, received) = mpsc::unbounded_channel();
        let identity = Arc::new(model.identity().clone());
        let manifest = Arc::new(model.manifest().clone());
        let memo = Arc::new(Memo::new(settings.memo.bytes(), identity.dimension));
        let waker = model.waker();
        let worker = Worker { model, memo: Arc::clone(&memo), queue: Queue::new() };
        std::thread::Builder::new().name("embed".into()).spawn(move || worker.run(received))?;
        let limit = settings.queue.min(Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(limit));
        Ok(Self { jobs, places, limit, memo, waker, identity, manifest })
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

    /// Embeds `text`. A caller that drops this future leaves the queue.
    ///
    /// # Errors
    /// [`EmbedError::Busy`] at once when the queue is full.
    pub async fn embed(&self, text: &str, prefix: Prefix) -> Result<TextEmbedding, EmbedError> {
        let text = match prefix {
            Prefix::Query if !self.manifest.query_prefix.is_empty() => [&self.manifest.query_prefix, text].concat(),
            _ => text.to_owned(),
        };
        let key = *blake3::hash(text.as_bytes()).as_bytes();
        if let Some(known) = self.memo.get(&key) {
            telemetry::embedding(EmbeddingSource::Memo);
            return Ok(known);
        }
        let ended = || EmbedError::Failed("its thread has ended".into());
        let _place = self.places.try_acquire().map_err(|_| EmbedError::Busy(self.limit))?;
        let (reply, answer) = oneshot::channel();
        self.waker.wake();
        self.jobs.send(Job { key, text, since: Instant::now(), reply }).map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Tells the metrics how many texts wait.
    pub fn report_queue(&self) {
        telemetry::embed_queue(self.limit - self.places.available_permits());
    }
}

/// Recent embeddings by their texts, as many as fit into a number of bytes.
struct Memo(Option<Cache<TextKey, TextEmbedding, Bytes>>);

#[derive(Clone)]
struct Bytes;

impl Weighter<TextKey, TextEmbedding> for Bytes {
    fn weight(&self, _: &TextKey, embedding: &TextEmbedding) -> u64 {
        memo_bytes(embedding.vector.dimension()) as u64
    }
}

fn memo_bytes(dimension: usize) -> usize {
    dimension * size_of::<f32>() + MEMO_OVERHEAD
}

impl Memo {
    fn new(bytes: usize, dimension: usize) -> Self {
        let fit = bytes / memo_bytes(dimension);
        Self((fit > 0).then(|| Cache::with_weighter(fit, bytes as u64, Bytes)))
    }

    fn get(&self, key: &TextKey) -> Option<TextEmbedding> {
        self.0.as_ref()?.get(key)
    }

    fn insert(&self, key: TextKey, embedding: TextEmbedding) {
        if let Some(cache) = &self.0 {
            cache.insert(key, embedding);
        }
    }
}

struct Worker {
    model: Model,
    memo: Arc<Memo>,
    queue: Queue<Reply>,
}

impl Worker {
    fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            self.admit(job);
            loop {
                self.admit_waiting(&mut jobs);
                self.queue.retain(|reply| !reply.is_closed());
                if self.queue.is_empty() {
                    break;
                }
                self.embed_batch(&mut jobs);
            }
        }
    }

    /// Takes what waits, unless there is enough to choose from already.
    fn admit_waiting(&mut self, jobs: &mut mpsc::UnboundedReceiver<Job>) {
        while self.queue.len() < ADMITTED {
            let Ok(job) = jobs.try_recv() else { break };
            self.admit(job);
        }
    }

    /// Answers what is known by now or never will be; the rest is queued.
    fn admit(&mut self, job: Job) {
        let Job { key, text, since, reply } = job;
        telemetry::step(Step::EmbedWait, since.elapsed());
        // A caller that is gone needs neither an answer nor to be queued.
        if reply.is_closed() {
            return;
        }
        if let Some(known) = self.memo.get(&key) {
            telemetry::embedding(EmbeddingSource::Memo);
            let _ = reply.send(Ok(known));
            return;
        }
        let Err(reply) = self.queue.join(&key, reply) else {
            telemetry::embedding(EmbeddingSource::Joined);
            return;
        };
        let windows = catch(|| self.model.windows(&text));
        match windows {
            Ok(windows) => self.queue.push(key, windows, reply),
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    fn embed_batch(&mut self, jobs: &mut mpsc::UnboundedReceiver<Job>) {
        let batch = self.queue.batch(self.model.batch_tokens());
        let inputs = self.queue.inputs(&batch);
        let started = Instant::now();
        let vectors = catch(|| self.model.encode(&inputs));
        telemetry::step(Step::EmbedRun, started.elapsed());
        telemetry::embed_batch(inputs.len(), inputs.iter().map(|input| input.len()).sum());
        if let Err(error) = &vectors {
            tracing::error!(%error, texts = inputs.len(), "embedding failed");
        }
        // Equal texts that came while the batch ran join it before it leaves.
        self.admit_waiting(jobs);
        for Done { key, made, waiting } in self.queue.finish(batch, vectors) {
            if let Ok(embedding) = &made {
                telemetry::embedding(EmbeddingSource::Computed);
                self.memo.insert(key, embedding.clone());
            }
            for reply in waiting {
                let _ = reply.send(made.clone());
            }
        }
    }
}

/// A panic in a model or tokenizer must cost its batch, not all embedding until the next start.
fn catch<T>(work: impl FnOnce() -> Result<T, EmbedError>) -> Result<T, EmbedError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(EmbedError::Failed("it panicked".into())))
}
