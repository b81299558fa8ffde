//! Where answers may be, and what lies near a prompt.

use crate::decide::ParsedPrompt;
use crate::embed::TextEmbedding;
use crate::store::{Candidate, EntryFilter, ScopeKey};

/// A scope, and what of it may answer.
pub(super) struct Place {
    pub(super) scope: ScopeKey,
    pub(super) wanted: EntryFilter,
}

/// What lies near a prompt.
pub(super) struct Near<'l> {
    pub(super) prompt: ParsedPrompt<'l>,
    pub(super) query: TextEmbedding,
    pub(super) candidates: Vec<Candidate>,
}
