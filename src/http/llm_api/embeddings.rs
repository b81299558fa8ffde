//! `POST /v1/embeddings`: the local model's vectors; those of other models are their providers'.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;

use super::error::ApiError;
use super::meter::Meter;
use super::pass_through;
use super::provider_embeddings::{self, Arrived};
use crate::embed::{Embedder, Prefix, TextEmbedding};
use crate::http::paths::MODEL_HEADER;
use crate::http::{App, body};
use crate::llm::Document;
use crate::llm::embeddings::{EmbeddingsRequest, Inputs, write_reply};

/// Inputs of one request, as OpenAI has it.
const MAX_INPUTS: usize = 2048;
/// Inputs of one request that are in the queue at once, so that a long list leaves room for others.
const IN_FLIGHT: usize = 8;

/// `POST /v1/embeddings`
pub(in crate::http) async fn embeddings(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Asked {
        model: Option<String>,
    }
    let live = app.live();
    let caller = live.tenants.identify(&headers)?;
    let admitted = Meter::admit(&app, &live, &caller, &headers)?.untraced();
    let server = &app.settings.server;
    let body = body::read(body, server.max_body, server.read_timeout.0).await?;
    let readable = body::readable(&headers, &body).await;
    let named = headers.get(MODEL_HEADER).and_then(|name| name.to_str().ok()).map(str::to_owned);
    let asked = readable.as_ref().ok().and_then(|body| serde_json::from_slice::<Asked>(body).ok());
    let Some(model) = named.or_else(|| asked?.model) else {
        if !body::may_be_an_object(&headers, &body) {
            return Err(ApiError::invalid("the body is not a JSON object"));
        }
        // What can't be read is the default provider's to judge.
        let meter = admitted.for_model(None, None)?;
        return Ok(pass_through::by_model(meter, &live, &caller.tenant, "/embeddings", &headers, None, &body).await?);
    };
    let embedder = app.caches.embedder();
    if model != embedder.identity().name {
        let query = uri.query().map(str::to_owned);
        let arrived = Arrived { caller, query, headers, model, body, readable };
        return provider_embeddings::answer(app, live, admitted, arrived).await;
    }
    let read = readable.and_then(|body| {
        let document = Document::parse(&body).map_err(|error| error.to_string())?;
        EmbeddingsRequest::read(document.value).map_err(|error| error.to_string())
    });
    let request = read.map_err(|why| ApiError::invalid(format!("the body is not understood: {why}")))?;
    local(&embedder, &request).await
}

async fn local(embedder: &Embedder, request: &EmbeddingsRequest) -> Result<Response, ApiError> {
    let texts = match &request.inputs {
        Inputs::Texts(texts) => texts,
        // OpenAI's tokens mean nothing to another model's vocabulary.
        Inputs::Tokens(_) => {
            return Err(ApiError::invalid("`input` must be a string or a list of strings; tokens are not supported"));
        }
    };
    if texts.is_empty() || texts.len() > MAX_INPUTS {
        return Err(ApiError::invalid(format!("`input` must hold between 1 and {MAX_INPUTS} texts")));
    }
    if let Some(index) = texts.iter().position(String::is_empty) {
        return Err(ApiError::invalid(format!("text {index} of `input` is empty")));
    }
    let dimension = embedder.identity().dimension;
    if request.dimensions.is_some_and(|asked| asked != dimension as u64) {
        return Err(ApiError::invalid(format!("this model's embeddings have {dimension} dimensions")));
    }
    // Futures do nothing until they are polled, so at most IN_FLIGHT of these are in the queue.
    let waiting: Vec<_> = texts.iter().map(|text| embedder.embed(text, Prefix::None)).collect();
    let made: Vec<TextEmbedding> = stream::iter(waiting).buffered(IN_FLIGHT).try_collect().await?;
    let tokens = made.iter().map(|embedding| embedding.tokens as u64).sum();
    let vectors: Vec<&[f32]> = made.iter().map(|embedding| embedding.vector.as_slice()).collect();
    let id = format!("embd-{}", uuid::Uuid::now_v7().simple());
    let written = write_reply(Some(&id), &embedder.identity().name, &vectors, request.encoding, tokens);
    let written = written.map_err(|error| {
        tracing::error!(%error, "vectors can't be told");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "the vectors can't be told")
    })?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], written).into_response())
}
