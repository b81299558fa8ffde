//! The life of a lookup and of a store.
//!
//! [`Caches`] finds or makes a [`Cache`]; a cache looks up (exact, then semantic, in the order asked) and stores. Its
//! callers speak HTTP or replay traces; its store and its embedder know nothing of each other.

mod awaited;
#[expect(clippy::module_inception, reason = "a cache is what the module is about")]
mod cache;
mod chat_context;
mod decision;
mod decisions;
mod deletion;
mod distrust;
mod error;
mod feedback;
mod fresh_answer;
mod gist;
mod idle;
mod judge;
mod learning;
mod lifecycle;
mod line;
mod lookup;
mod parsed_prompts;
mod pending;
mod persistence;
mod place;
mod policy_change;
mod reembed;
mod reembedding;
mod registration;
mod registry;
mod residence;
mod save;
mod search;
mod setup;
mod table;
mod transfer;
mod trouble;
mod tuning;
mod vectors;

pub use cache::Cache;
pub use chat_context::{chat_context, chat_question, read_chat};
pub use decision::{Considered, Decision, DecisionId};
pub use decisions::{Label, Logged};
pub use deletion::Deletion;
pub use error::{CacheError, OpenError};
pub use feedback::{About, Feedback, FeedbackError, FeedbackOutcome};
pub use gist::{AnswerNeed, gist_of};
pub use judge::{Judge, Pair};
pub use learning::FlushMode;
pub use line::Line;
pub use lookup::{Found, Hit, Lookup, Strategy};
pub use pending::PendingSave;
pub use persistence::check_state;
pub use policy_change::{NotTuned, Tuning, TuningChange};
pub use reembedding::{INTERRUPTED, ReembedError, Reembedded};
pub use registry::Caches;
pub use save::Save;
pub use transfer::{Destination, Imported};
pub use vectors::{KnownVector, VectorLookup, VectorSave};

#[cfg(test)]
mod tests;
