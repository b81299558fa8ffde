//! The embedding thread and the handle to it.
//!
//! One thread owns the model. It takes the first waiting text at once, and with it what else is waiting by then and fits: a
//! lone text never waits for company, and under load batches form from what arrived while the last one ran. Equal texts in
//! flight are embedded once, and recent embeddings are remembered.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::encoder::Waker;
use super::error::EmbedError;
use super::identity::{ModelDigest, ModelIdentity};
use super::manifest::Manifest;
use super::model::Model;
use super::queue::{Arrival, Done, Queue, TextKey};
use super::tokens::max_bytes;
use super::vector::{Embedding, TextEmbedding};
use crate::config;
use crate::telemetry::{self, EmbeddingSource, Step};

/// Bytes that make a token, about.
const BYTES_PER_TOKEN: usize = 4;
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

struct Job {
    key: TextKey,
    text: String,
    caller: Caller,
    place: OwnedSemaphorePermit,
}

/// A handle to the embedding thread; clones share it. The thread ends when the last handle is dropped.
#[derive(Clone)]
pub struct Embedder {
    jobs: mpsc::UnboundedSender<Job>,
    /// One permit per text that may wait.
    places: Arc<Semaphore>,
    limit: usize,
    max_tokens: usize,
    max_bytes: usize,
    memo: Arc<Memo>,
    waker: Waker,
    identity: Arc<ModelIdentity>,
    manifest: Arc<Manifest>,
    /// Vectors that somebody else made, in place of the model's.
    given: Option<Arc<HashMap<TextKey, TextEmbedding>>>,
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
        let worker = Worker { model, memo: Arc::clone(&memo), arrived: 0, pending: Vec::new(), queue: Queue::new() };
        std::thread::Builder::new().name("embed".into()).spawn(move || worker.run(received))?;
        let limit = settings.queue.min(Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(limit));
        Ok(Self {
            jobs,
            places,
            limit,
            max_tokens: settings.max_tokens,
            max_bytes: max_bytes(settings.max_tokens),
            memo,
            waker,
            identity,
            manifest,
            given: None,
        })
    }

    /// One that gives texts the vectors that somebody else made, under the name `name`, and embeds nothing. What the model's cosines are
    /// worth says nothing of these. None where there are none, or not all have one dimension.
    #[must_use]
    pub fn giving<'t>(&self, name: &str, vectors: impl IntoIterator<Item = (&'t str, Embedding)>) -> Option<Self> {
        let digest = ModelDigest::new(name);
        let manifest =
            Manifest { prior: None, min_cosine: None, query_prefix: String::new(), ..(*self.manifest).clone() };
        let given: HashMap<TextKey, TextEmbedding> = vectors
            .into_iter()
            .map(|(text, vector)| {
                let embedding = TextEmbedding { vector, lossy: false, tokens: 0, model: digest.clone() };
                (*blake3::hash(text.as_bytes()).as_bytes(), embedding)
            })
            .collect();
        let dimension = given.values().next()?.vector.dimension();
        if given.values().any(|other| other.vector.dimension() != dimension) {
            return None;
        }
        let identity = ModelIdentity { name: name.to_owned(), dimension, digest };
        Some(Self {
            identity: Arc::new(identity),
            manifest: Arc::new(Manifest { dimension, ..manifest }),
            given: Some(Arc::new(given)),
            ..self.clone()
        })
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
        // Before it is copied and hashed.
        if text.len() > self.max_bytes {
            return Err(EmbedError::TooLong(self.max_tokens));
        }
        let text = match prefix {
            Prefix::Query => self.manifest.prompt(text),
            Prefix::None => Cow::Borrowed(text),
        };
        let key = *blake3::hash(text.as_bytes()).as_bytes();
        if let Some(given) = &self.given {
            return given.get(&key).cloned().ok_or_else(|| EmbedError::Unfit("no vector was given for it".into()));
        }
        if let Some(known) = self.memo.get(&key) {
            telemetry::embedding(EmbeddingSource::Memo);
            return Ok(known);
        }
        let ended = || EmbedError::Failed("its thread has ended".into());
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| EmbedError::Busy(self.limit))?;
        let (reply, answer) = oneshot::channel();
        self.waker.wake();
        let caller = Caller { reply, since: Instant::now() };
        self.jobs.send(Job { key, text: text.into_owned(), caller, place }).map_err(|_| ended())?;
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

/// A caller who waits for a text.
struct Caller {
    reply: oneshot::Sender<Result<TextEmbedding, EmbedError>>,
    since: Instant,
}

/// All who wait for a text, and the text's place among those that may wait.
struct Waiting {
    callers: Vec<Caller>,
    place: OwnedSemaphorePermit,
}

impl Waiting {
    /// Whether anybody still waits; lets go who doesn't.
    fn goes_on(&mut self) -> bool {
        self.callers.retain(|caller| !caller.reply.is_closed());
        !self.callers.is_empty()
    }

    fn reply(self, made: &Result<TextEmbedding, EmbedError>) {
        // First, so that whoever gets the answer finds the place free.
        drop(self.place);
        for (n, caller) in self.callers.into_iter().enumerate() {
            if made.is_ok() {
                telemetry::embedding(if n == 0 { EmbeddingSource::Computed } else { EmbeddingSource::Joined });
            }
            // A caller that is gone doesn't need it.
            let _ = caller.reply.send(made.clone());
        }
    }
}

/// A text that is not tokenized yet.
struct Pending {
    arrival: Arrival,
    key: TextKey,
    text: String,
    waiting: Waiting,
}

struct Worker {
    model: Model,
    memo: Arc<Memo>,
    /// Texts so far.
    arrived: Arrival,
    /// In the order of their arrival.
    pending: Vec<Pending>,
    queue: Queue<Waiting>,
}

impl Worker {
    fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            self.receive(job);
            loop {
                self.receive_waiting(&mut jobs);
                self.let_go();
                self.tokenize();
                if self.queue.is_empty() && self.pending.is_empty() {
                    break;
                }
                self.embed_batch(&mut jobs);
            }
        }
    }

    /// Takes all that waits.
    fn receive_waiting(&mut self, jobs: &mut mpsc::UnboundedReceiver<Job>) {
        while let Ok(job) = jobs.try_recv() {
            self.receive(job);
        }
    }

    /// Answers what is known by now, joins what is under way; the rest is pending.
    fn receive(&mut self, Job { key, text, caller, place }: Job) {
        if let Some(known) = self.memo.get(&key) {
            telemetry::embedding(EmbeddingSource::Memo);
            drop(place);
            let _ = caller.reply.send(Ok(known));
            return;
        }
        let same = self.pending.iter_mut().find(|pending| pending.key == key).map(|pending| &mut pending.waiting);
        match same.or_else(|| self.queue.waiting(&key)) {
            Some(waiting) => waiting.callers.push(caller),
            None => {
                self.arrived += 1;
                let waiting = Waiting { callers: vec![caller], place };
                self.pending.push(Pending { arrival: self.arrived, key, text, waiting });
            }
        }
    }

    /// Lets go who doesn't wait any more.
    fn let_go(&mut self) {
        self.queue.retain(Waiting::goes_on);
        self.pending.retain_mut(|pending| pending.waiting.goes_on());
    }

    /// Tokenizes the pending text that came first and, beside it, the shortest ones, about as many as fit into a batch: so
    /// that short ones overtake, and nobody's answer waits for all of others' tokenizing.
    fn tokenize(&mut self) {
        if !self.pending.is_empty() {
            self.enqueue(0);
        }
        let mut bytes = self.model.batch_tokens().saturating_mul(BYTES_PER_TOKEN);
        let shortest = |pending: &[Pending]| (0..pending.len()).min_by_key(|&place| pending[place].text.len());
        while let Some(place) = shortest(&self.pending)
            && let Some(left) = bytes.checked_sub(self.pending[place].text.len())
        {
            bytes = left;
            self.enqueue(place);
        }
    }

    /// Moves a pending text to the queue.
    fn enqueue(&mut self, place: usize) {
        let Pending { arrival, key, text, waiting } = self.pending.remove(place);
        match self.model.windows(&text) {
            Ok(windows) => self.queue.insert(arrival, key, windows, waiting),
            Err(error) => waiting.reply(&Err(error)),
        }
    }

    fn embed_batch(&mut self, jobs: &mut mpsc::UnboundedReceiver<Job>) {
        let batch = self.queue.batch(self.model.batch_tokens());
        let inputs = self.queue.inputs(&batch);
        if inputs.is_empty() {
            return;
        }
        for caller in self.queue.beginning(&batch).flat_map(|waiting| &waiting.callers) {
            telemetry::step(Step::EmbedWait, caller.since.elapsed());
        }
        let started = Instant::now();
        let vectors = self.model.encode_each(&inputs);
        telemetry::step(Step::EmbedRun, started.elapsed());
        telemetry::embed_batch(inputs.len(), inputs.iter().map(|input| input.len()).sum());
        // Equal texts that came while the batch ran join it before it leaves.
        self.receive_waiting(jobs);
        for Done { key, made, waiting } in self.queue.finish(batch, vectors) {
            if let Ok(embedding) = &made {
                self.memo.insert(key, embedding.clone());
            }
            waiting.reply(&made);
        }
    }
}
