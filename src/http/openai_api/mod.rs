//! The OpenAI-compatible API.

mod capture;
mod chat;
mod controls;
mod embeddings;
mod error;
mod headers;
mod models;
mod pass_through;
mod relay;

use axum::http::{Method, StatusCode, Uri};

pub(super) use chat::chat;
pub(super) use embeddings::embeddings;
pub(super) use models::models;
pub(super) use pass_through::pass_through;

use error::ApiError;

/// Outside `/v1`.
pub(super) async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {}", uri.path()))
}

/// A path of ours, asked in a way that it doesn't answer.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} can't be asked with {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
