//! Deleting many entries at once, and what would go.

use super::cache::Cache;
use super::error::CacheError;
use crate::embed::{Cosine, EmbedError, Prefix};
use crate::store::{Attributes, Near, Selected, Selection, StoreError, Tags, Timestamp};

/// Which entries are to be deleted: those that all of these hold for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deletion {
    /// They carry all of these.
    pub attributes: Attributes,
    /// They carry one of these.
    pub tags: Option<Tags>,
    /// They were stored longer ago than so many milliseconds.
    pub older_than_millis: Option<u64>,
    /// Their prompts are near to a text: this one, at least this plain cosine. Scopes don't matter.
    pub near: Option<(String, Cosine)>,
    /// They are curated, or aren't.
    pub curated: Option<bool>,
}

impl Cache {
    /// Removes entries, and counts them.
    ///
    /// # Errors
    /// The store's, and the embedder's where a text is named that must be embedded.
    pub async fn delete_where(&self, deletion: &Deletion) -> Result<u64, CacheError> {
        let now = Timestamp::now();
        match self.store.delete_selected(self.key, &self.selection(deletion, now).await?, now).await {
            // The model was changed in between; the new one is in use by now.
            Err(StoreError::OtherModel) => {
                let selection = self.selection(deletion, now).await?;
                Ok(self.store.delete_selected(self.key, &selection, now).await?)
            }
            deleted => Ok(deleted?),
        }
    }

    /// The entries that [`delete_where`](Self::delete_where) would remove: how many there are, and `most` of them.
    ///
    /// # Errors
    /// As there.
    pub async fn would_delete(&self, deletion: &Deletion, most: usize) -> Result<(u64, Vec<Selected>), CacheError> {
        let now = Timestamp::now();
        match self.store.select(self.key, &self.selection(deletion, now).await?, now, most).await {
            Err(StoreError::OtherModel) => {
                let selection = self.selection(deletion, now).await?;
                Ok(self.store.select(self.key, &selection, now, most).await?)
            }
            selected => Ok(selected?),
        }
    }

    async fn selection(&self, deletion: &Deletion, now: Timestamp) -> Result<Selection, CacheError> {
        let near = match &deletion.near {
            None => None,
            Some((text, min_cosine)) => {
                let embedding = match self.setup().embedder.embed(text, Prefix::Query).await {
                    Ok(embedding) => Some(embedding),
                    Err(EmbedError::TooLong(_) | EmbedError::Unfit(_)) => None,
                    Err(error) => return Err(CacheError::Embed(error)),
                };
                Some(Near { text: text.clone(), embedding, min_cosine: *min_cosine })
            }
        };
        Ok(Selection {
            attributes: deletion.attributes.clone(),
            tags: deletion.tags.clone(),
            stored_before: deletion.older_than_millis.map(|millis| Timestamp(now.0.saturating_sub(millis))),
            near,
            curated: deletion.curated,
        })
    }
}
