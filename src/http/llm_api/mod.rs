//! The APIs of chats, and what providers offer beside.

mod chat;
mod controls;
mod count_tokens;
mod embeddings;
mod error;
mod head;
mod headers;
mod incoming;
mod kept;
mod meter;
mod model_name;
mod models;
mod pass_through;
mod provider_embeddings;
mod recorder;
mod relay;
mod reply;
mod shared_call;
mod single_flight;

use axum::http::{Method, StatusCode, Uri};

pub(super) use chat::{chat_completions, completions, messages, responses};
pub(super) use count_tokens::count_tokens;
pub(super) use embeddings::embeddings;
pub(super) use kept::kept_response;
pub(super) use models::{model, models};
pub(super) use pass_through::pass_through;

/// Calls under way, by what was asked.
pub(super) type SingleFlight = single_flight::SingleFlight<shared_call::FlightKey, head::Head>;

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
