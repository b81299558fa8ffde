//! One answer to remember.

use std::time::Duration;

use super::cache::Cache;
use super::error::CacheError;
use super::fresh_answer::Fresh;
use super::pending::PendingSave;
use crate::embed::{EmbedError, Prefix, TextEmbedding};
use crate::prompt::{Cacheability, Question};
use crate::store::{
    Answer, Attributes, Curation, EntryId, NewEntry, ScopeKey, StoreError, Tags, TextHash, Timestamp, Vector,
};
use crate::telemetry;

/// A complete answer to a question.
#[derive(Debug, Clone)]
pub struct Save {
    /// What was asked.
    pub question: Question,
    /// The answer.
    pub answer: Answer,
    /// What the entry can be filtered by.
    pub attributes: Attributes,
    /// What the entry can be deleted by.
    pub tags: Tags,
    /// Which chats it answers, where it isn't the answer to this question alone: only the question's text counts then.
    pub curation: Option<Curation>,
    /// How long it lives; never longer than the cache's own time to live, which holds where this is unset. A curated entry lives
    /// until it is deleted, unless this says otherwise.
    pub ttl_millis: Option<u64>,
    /// Whether a near text may be answered with it. Answers that depend on each word, such as tool calls, serve the same
    /// text only.
    pub semantic: bool,
    /// How long the answer took to make, where that is known.
    pub took: Option<Duration>,
    /// The prompt's vector where it is known already.
    pub embedding: Option<TextEmbedding>,
}

impl Save {
    /// An answer that near texts may get too, with nothing else known of it.
    #[must_use]
    pub fn new(question: Question, answer: Answer) -> Self {
        Self {
            question,
            answer,
            attributes: Attributes::default(),
            tags: Tags::default(),
            curation: None,
            ttl_millis: None,
            semantic: true,
            took: None,
            embedding: None,
        }
    }
}

/// Where nobody measured: milliseconds until a model's answer begins, a token's bytes, and milliseconds for each token.
const USUAL_START_MILLIS: usize = 300;
const USUAL_BYTES: usize = 4;
const USUAL_TOKEN_MILLIS: usize = 15;

impl Cache {
    /// Says that an answer to `question` is about to be saved: until the result is dropped, lookups that could find it
    /// wait for it.
    #[must_use]
    pub fn begin_save(&self, question: &Question) -> PendingSave {
        self.pending.begin(ScopeKey::new(self.key, question.fingerprint.bytes()), [TextHash::of(&question.text)])
    }

    /// Stores an answer durably; the next lookup sees it.
    ///
    /// Where the prompt can't be embedded now, the entry is stored all the same and serves its exact text.
    ///
    /// # Errors
    /// The store's.
    pub async fn save(&self, save: Save) -> Result<EntryId, CacheError> {
        let vector = match save.question.cacheability {
            Cacheability::Semantic if save.semantic => self.vector(&save.question.text, save.embedding).await,
            _ => Vector::None,
        };
        let kept = self.kept().await?;
        self.register().await?;
        self.wake().await?;
        let created = Timestamp::now();
        // A caller may shorten an entry's life, but not lengthen it.
        let longest = if save.curation.is_some() { u64::MAX } else { self.setup().ttl_millis() };
        let ttl_millis = save.ttl_millis.map_or(longest, |asked| asked.min(longest));
        let measured = save.took.map(|took| u32::try_from(took.as_millis()).unwrap_or(u32::MAX));
        let cost_millis = measured.unwrap_or_else(|| usual_millis(&save.answer));
        let entry = NewEntry {
            cache: self.key,
            fingerprint: match &save.curation {
                Some(_) => Curation::fingerprint(),
                None => *save.question.fingerprint.bytes(),
            },
            prompt: save.question.text,
            answer: save.answer,
            attributes: save.attributes,
            created,
            expires: created.after(ttl_millis),
            tags: save.tags,
            curation: save.curation,
            cost_millis,
            uses: 0,
            vector,
        };
        let (scope, text, answer) = (entry.scope(), TextHash::of(&entry.prompt), entry.answer.clone());
        let prompt = entry.prompt.clone();
        let asked = match &entry.vector {
            Vector::New(made) if !made.lossy => Some(made.vector.clone()),
            _ => None,
        };
        let stored = match self.store.put(entry.clone()).await {
            // The model was changed since the prompt was embedded.
            Err(StoreError::OtherModel) => {
                let vector = self.vector(&entry.prompt, None).await;
                self.store.put(NewEntry { vector, ..entry }).await
            }
            stored => stored,
        };
        telemetry::store(self.labels(), if stored.is_ok() { "stored" } else { "failed" });
        if let Err(error) = &stored {
            log_failure(&self.name.id, error);
        }
        let id = stored?;
        drop(kept);
        self.learn_from(&Fresh { entry: id, scope, text, prompt: &prompt, answer: &answer, vector: asked.as_ref() });
        Ok(id)
    }

    async fn vector(&self, text: &str, known: Option<TextEmbedding>) -> Vector {
        let setup = self.setup();
        if let Some(known) = known.filter(|known| known.model == setup.embedder.identity().digest) {
            return Vector::New(known);
        }
        match setup.embedder.embed(text, Prefix::Query).await {
            Ok(embedding) => Vector::New(embedding),
            Err(EmbedError::TooLong(_) | EmbedError::Unfit(_)) => Vector::None,
            Err(error) => {
                telemetry::degraded("embed_store");
                tracing::warn!(cache = self.name.id, %error, "stored without a vector: it serves its exact text only");
                Vector::Unchanged
            }
        }
    }
}

/// About how long a model takes for an answer.
pub(super) fn usual_millis(answer: &Answer) -> u32 {
    let millis = USUAL_START_MILLIS + answer.text.len() / USUAL_BYTES * USUAL_TOKEN_MILLIS;
    u32::try_from(millis).unwrap_or(u32::MAX)
}

fn log_failure(cache: &str, error: &StoreError) {
    let cause = telemetry::cause(error);
    tracing::error!(cache, %error, cause, "an answer could not be stored");
}
