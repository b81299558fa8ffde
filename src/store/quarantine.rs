//! Entries whose answers were reported wrong.

use serde::{Deserialize, Serialize};

/// From whom an entry is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Quarantine {
    /// From near prompts: its answer was wrong for one of these.
    NearPrompts,
    /// From its own text too: its answer is wrong.
    Everybody,
}
