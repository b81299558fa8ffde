//! The cache API: LangCache's REST API, with fields of our own.

mod asked;
mod caches;
mod handlers;
mod langchain;
mod learning;
mod problem;
mod reader;
mod reply;
mod requests;

pub(super) use caches::{create, list, patch, remove, show, tune, undo};
pub(super) use handlers::{
    delete, delete_matching, entry, export, flush, import, no_such_path, search, search_batch, search_conversation,
    stats, store, wrong_method,
};
pub(super) use learning::{decision, feedback, simulate};
pub(super) use problem::with_known_types;
