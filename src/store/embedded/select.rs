//! Going through a cache's entries for those that are selected.

use super::super::{AnswerGist, CacheKey, Entry, Near, Selection, StoreError, Timestamp};
use super::Inner;
use super::record::VectorKey;
use crate::embed::Cosine;
use crate::telemetry;

impl Inner {
    /// Calls `each` for every entry of a cache that is selected.
    pub(super) fn for_each_selected(
        &self,
        cache: CacheKey,
        selection: &Selection,
        now: Timestamp,
        mut each: impl FnMut(Entry<AnswerGist>, Option<Cosine>),
    ) -> Result<(), StoreError> {
        let space = self.current();
        let embedding = selection.near.as_ref().and_then(|near| near.embedding.as_ref());
        if embedding.is_some_and(|embedding| embedding.model != space.model.digest) {
            return Err(StoreError::OtherModel);
        }
        let cosine_to = |near: &Near, entry: &Entry<AnswerGist>| {
            if near.text == entry.prompt {
                return Ok(Some(Cosine::ONE));
            }
            let Some(embedding) = &near.embedding else { return Ok(None) };
            let vector = self.database.vector(space.slot, VectorKey { cache, scope: entry.scope, id: entry.id })?;
            Ok::<_, StoreError>(vector.map(|vector| embedding.vector.cosine(&vector)))
        };
        let mut failure = None;
        self.database.for_each_gist(cache, |entry| {
            if entry.expires <= now || !selection.admits(&entry) {
                return;
            }
            let cosine = match &selection.near {
                None => None,
                Some(near) => match cosine_to(near, &entry) {
                    Ok(Some(cosine)) if cosine >= near.min_cosine => Some(cosine),
                    Ok(_) => return,
                    Err(error) => {
                        failure = Some(error);
                        return;
                    }
                },
            };
            each(entry, cosine);
        })?;
        // What can't be compared isn't near.
        if let Some(error) = failure {
            tracing::warn!(
                cause = telemetry::cause(&error),
                "some vectors are unreadable; their entries aren't selected"
            );
        }
        Ok(())
    }
}
