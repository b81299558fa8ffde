//! Changing the embedding model.
//!
//! Entries keep their texts; only their vectors are made anew, by threads that let all others go first. Meanwhile lookups are
//! answered with the model before, and from one moment on with the new one.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::reembedding::{INTERRUPTED, ReembedError, Reembedded, Reembedding};
use super::registry::Caches;
use crate::background;
use crate::config;
use crate::embed::{EmbedError, Embedder, Model, Prefix, TextEmbedding};
use crate::store::{Made, StoreError};
use crate::telemetry;

impl Caches {
    /// Begins to make the vectors of all entries anew with the model that `settings` name, or tells how far that is.
    ///
    /// # Errors
    /// [`ReembedError::UnderWay`] with another model, [`ReembedError::Model`] where there is none of that name.
    pub fn reembed(self: &Arc<Self>, settings: config::Embedding) -> Result<watch::Receiver<Reembedded>, ReembedError> {
        let directory = Model::directory(&settings.model, &settings.models_dir)?.canonicalize()?;
        let mut current = self.reembedding.lock();
        if let Some(Reembedding { model, state }) = &*current
            && matches!(*state.borrow(), Reembedded::Running { .. })
            && state.has_changed().is_ok()
        {
            return if *model == directory { Ok(state.clone()) } else { Err(ReembedError::UnderWay(model.clone())) };
        }
        let (progress, state) = watch::channel(Reembedded::Running { done: 0, all: 0 });
        *current = Some(Reembedding { model: directory, state: state.clone() });
        tokio::spawn(Arc::clone(self).make_anew(settings, progress));
        Ok(state)
    }

    /// As the operator set it, but for the model.
    #[must_use]
    pub fn embedding_settings(&self, model: &Path) -> config::Embedding {
        config::Embedding { model: model.to_string_lossy().into_owned(), ..self.settings().embedding.clone() }
    }

    async fn make_anew(self: Arc<Self>, settings: config::Embedding, progress: watch::Sender<Reembedded>) {
        let name = settings.model.clone();
        tracing::info!(model = name, "making all vectors anew");
        let started = Instant::now();
        let ended = match self.change_model(settings, progress.clone()).await {
            Ok(model) => {
                tracing::info!(model, seconds = started.elapsed().as_secs(), "changed the embedding model");
                Reembedded::Finished { model }
            }
            Err(ReembedError::Store(StoreError::Closed)) => {
                tracing::info!(model = name, "what was made is kept, and the next time goes on with it");
                Reembedded::Failed { why: INTERRUPTED.into() }
            }
            Err(error) => {
                let cause = telemetry::cause(&error);
                tracing::error!(model = name, cause, "the embedding model could not be changed");
                let why = error.to_string();
                Reembedded::Failed { why: if cause == why { why } else { format!("{why}: {cause}") } }
            }
        };
        // Nobody may be watching.
        let _ = progress.send(ended);
    }

    async fn change_model(
        self: &Arc<Self>,
        settings: config::Embedding,
        progress: watch::Sender<Reembedded>,
    ) -> Result<String, ReembedError> {
        // This model's threads are as polite as the one that loads it, so what serves afterwards is loaded once more.
        let model = {
            let (caches, settings) = (Arc::clone(self), settings.clone());
            politely(move || {
                let model = Model::load(&settings)?;
                caches.check_thresholds(&caches.settings(), model.identity(), model.manifest())?;
                caches.make_vectors(&model, &progress)?;
                Ok(model.identity().clone())
            })
            .await?
        };
        let caches = Arc::clone(self);
        let (runtime, name) = (tokio::runtime::Handle::current(), model.name.clone());
        let switch = move || {
            let embedder = if caches.embedder().identity().digest == model.digest {
                Embedder::clone(&caches.embedder())
            } else {
                Embedder::start(Model::load(&settings)?, &settings)?
            };
            if embedder.identity().digest != model.digest {
                return Err(ReembedError::Changed);
            }
            let embed = async |texts: &[&str]| {
                let made = texts.iter().map(|text| embedder.embed(text, Prefix::Query));
                futures_util::future::join_all(made).await.into_iter().map(usable).collect()
            };
            let mut embed = |texts: &[&str]| runtime.block_on(embed(texts));
            Ok(caches.store().switch_model(&mut embed, &mut || caches.embed_with(embedder.clone()))?)
        };
        tokio::task::spawn_blocking(switch).await.map_err(|_| ReembedError::Ended)??;
        self.forget_decisions().await;
        Ok(name)
    }

    fn make_vectors(&self, model: &Model, progress: &watch::Sender<Reembedded>) -> Result<(), StoreError> {
        let mut tell = |Made { done, all }: Made| {
            telemetry::reembedded(done, all);
            let _ = progress.send(Reembedded::Running { done, all });
        };
        self.store().make_vectors(model.identity(), &mut |texts| embed(model, texts), &mut tell)
    }
}

fn embed(model: &Model, texts: &[&str]) -> Vec<Option<TextEmbedding>> {
    model.embed_prompts(texts).into_iter().map(usable).collect()
}

fn usable(made: Result<TextEmbedding, EmbedError>) -> Option<TextEmbedding> {
    match made {
        Ok(made) => Some(made),
        Err(EmbedError::TooLong(_) | EmbedError::Unfit(_)) => None,
        Err(error) => {
            tracing::warn!(%error, "a text could not be embedded; its entry serves its exact text only");
            None
        }
    }
}

/// Runs `work` on a thread that lets all others go first.
async fn politely<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReembedError> + Send + 'static,
) -> Result<T, ReembedError> {
    let (done, result) = tokio::sync::oneshot::channel();
    background::spawn("reembed", move || drop(done.send(work())))?;
    result.await.map_err(|_| ReembedError::Ended)?
}
