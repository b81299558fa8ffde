//! The cache API: LangCache's REST API, with fields of our own.

mod asked;
mod handlers;
mod learning;
mod problem;
mod reader;
mod reply;
mod requests;

pub(super) use handlers::{
    delete, delete_matching, entry, export, flush, import, list, no_such_path, search, stats, store, wrong_method,
};
pub(super) use learning::{decision, feedback, show, simulate, tune, undo};
