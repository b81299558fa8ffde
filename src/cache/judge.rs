//! Somebody who says whether two answers say the same, where comparing their texts and vectors doesn't tell.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;

/// A judge, once there is one.
pub(super) type JudgeSlot = Arc<OnceLock<Arc<dyn Judge>>>;

/// Two answers to one question.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'p> {
    /// What was asked.
    pub question: &'p str,
    /// What the provider said just now.
    pub fresh: &'p str,
    /// What the cache would have said.
    pub stored: &'p str,
}

/// Says whether two answers say the same: a model, mostly. Asked behind the replies, never before one.
#[async_trait]
pub trait Judge: Send + Sync {
    /// Whether who got `stored` would have been as well served as with `fresh`. None where it can't tell, isn't there, or has been
    /// asked as often as it may be.
    async fn agree(&self, pair: Pair<'_>) -> Option<bool>;
}
