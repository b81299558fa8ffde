//! What there is to store: workers with their prompts, answers that tell when they aren't whole, and vectors of two models.

use std::collections::BTreeMap;
use std::path::Path;

use refrain::config::Durability;
use refrain::embed::{Embedding, ModelDigest, ModelIdentity, TextEmbedding};
use refrain::store::embedded::{EmbeddedStore, OpenError, OpenOptions};
use refrain::store::{Answer, Attributes, CacheKey, EntryId, NewEntry, ScopeKey, Tags, TextHash, Timestamp, Vector};

/// When all is looked up.
pub(super) const NOW: Timestamp = Timestamp(1);
/// When entries that expire have expired.
pub(super) const LATER: Timestamp = Timestamp(20);

/// Somebody who stores and deletes, in a cache of their own.
pub(super) struct Worker {
    pub(super) prompts: u32,
    /// What the cache may take.
    pub(super) max_bytes: u64,
    /// Whether every other entry expires before [`LATER`].
    pub(super) expires: bool,
}

pub(super) const WORKERS: [Worker; 5] = [
    // Its scope is large enough for a graph.
    Worker { prompts: 3000, max_bytes: u64::MAX, expires: false },
    Worker { prompts: 300, max_bytes: u64::MAX, expires: false },
    Worker { prompts: 20, max_bytes: u64::MAX, expires: false },
    // Room for a quarter of them.
    Worker { prompts: 200, max_bytes: 60_000, expires: false },
    Worker { prompts: 100, max_bytes: u64::MAX, expires: true },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Put { prompt: u32, version: u32 },
    Delete { prompt: u32 },
    Flush,
}

/// What a worker has stored: prompts with the version of their answers.
pub(super) type Contents = BTreeMap<u32, u32>;

pub(super) fn apply(contents: &mut Contents, op: Op) {
    match op {
        Op::Put { prompt, version } => drop(contents.insert(prompt, version)),
        Op::Delete { prompt } => drop(contents.remove(&prompt)),
        Op::Flush => contents.clear(),
    }
}

/// Whether an entry may be gone though nobody deleted it: by eviction or expiry.
pub(super) fn may_go(worker: usize, prompt: u32) -> bool {
    WORKERS[worker].max_bytes < u64::MAX || expires(worker, prompt) < Timestamp(u64::MAX)
}

fn expires(worker: usize, prompt: u32) -> Timestamp {
    if WORKERS[worker].expires && prompt % 2 == 1 { Timestamp(10) } else { Timestamp(u64::MAX) }
}

pub(super) fn cache(worker: usize) -> CacheKey {
    CacheKey::new("t", &worker.to_string())
}

pub(super) fn scope(worker: usize) -> ScopeKey {
    ScopeKey::new(cache(worker), &[7; 32])
}

pub(super) fn text(worker: usize, prompt: u32) -> String {
    format!("prompt {prompt} of {worker}")
}

pub(super) fn id(worker: usize, prompt: u32) -> EntryId {
    EntryId::new(scope(worker), TextHash::of(&text(worker, prompt)), &Attributes::default())
}

/// Long enough that half of it would be noticed; some stay with their entries, and some lie apart.
pub(super) fn answer(worker: usize, prompt: u32, version: u32) -> String {
    format!("{worker} {prompt} {version};").repeat(1 + version as usize % 600)
}

pub(super) fn new_entry(worker: usize, prompt: u32, version: u32, model: &ModelIdentity) -> NewEntry {
    NewEntry {
        cache: cache(worker),
        fingerprint: [7; 32],
        prompt: text(worker, prompt),
        answer: Answer { text: answer(worker, prompt, version), ..Answer::default() },
        attributes: Attributes::default(),
        created: NOW,
        expires: expires(worker, prompt),
        tags: Tags::default(),
        curation: None,
        cost_millis: 1,
        uses: 0,
        vector: Vector::New(vector(&text(worker, prompt), model)),
    }
}

/// The two models, whose vectors have nothing in common.
pub(super) fn models() -> [ModelIdentity; 2] {
    [("first", 16), ("second", 24)].map(|(name, dimension)| ModelIdentity {
        name: name.into(),
        dimension,
        digest: ModelDigest::new(name),
    })
}

pub(super) fn vector(text: &str, model: &ModelIdentity) -> TextEmbedding {
    let hash = blake3::hash(format!("{} {text}", model.name).as_bytes());
    let values = hash.as_bytes()[..model.dimension].iter().map(|byte| f32::from(*byte) - 127.5).collect();
    let vector = Embedding::normalised(values).unwrap();
    TextEmbedding { vector, lossy: false, tokens: 1, model: model.digest.clone() }
}

/// Opens what is there with the model whose vectors fill it.
pub(super) fn open(path: &Path, durability: Durability) -> EmbeddedStore {
    let options = OpenOptions { path: path.into(), durability, max_bytes: u64::MAX, gist_of: refrain::cache::gist_of };
    let [mut model, other] = models();
    loop {
        match EmbeddedStore::open(&options, &model) {
            Ok(store) => return store,
            // A process that was killed is gone a moment later.
            Err(OpenError::InUse { .. }) => std::thread::yield_now(),
            Err(OpenError::Model { found, .. }) if found.digest == other.digest => model = other.clone(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// xorshift64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as u32 % end
    }

    pub(super) fn op(&mut self, worker: usize) -> Op {
        let prompt = self.below(WORKERS[worker].prompts);
        match self.below(1000) {
            // The large one needs time to grow.
            0 if worker > 0 || self.below(20) == 0 => Op::Flush,
            1..200 => Op::Delete { prompt },
            _ => Op::Put { prompt, version: self.below(1_000_000) },
        }
    }
}
