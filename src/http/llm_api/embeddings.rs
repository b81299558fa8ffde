//! `POST /v1/embeddings`: the local model's vectors; other models are forwarded.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::meter::Meter;
use super::pass_through;
use crate::embed::{Embedder, Prefix, TextEmbedding};
use crate::http::paths::MODEL_HEADER;
use crate::http::{App, body};
use crate::router::{RouteError, SendError};

/// Inputs of one request, as OpenAI has it.
const MAX_INPUTS: usize = 2048;
/// Inputs of one request that are in the queue at once, so that a long list leaves room for others.
const IN_FLIGHT: usize = 8;

#[derive(Deserialize)]
struct EmbeddingsRequest {
    input: Input,
    /// Floats where it is null, as some clients write it.
    encoding_format: Option<Encoding>,
    dimensions: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
    /// OpenAI's tokens mean nothing to another model's vocabulary.
    Tokens(serde::de::IgnoredAny),
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    Base64,
}

#[derive(Serialize)]
struct EmbeddingsReply<'m> {
    id: String,
    object: &'static str,
    data: Vec<Item>,
    model: &'m str,
    usage: Usage,
}

#[derive(Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Floats(Vec<f32>),
    /// Little-endian f32s.
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

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
        let path = format!("/embeddings{}", uri.query().map(|query| format!("?{query}")).unwrap_or_default());
        let meter = admitted.for_model(Some(&model), None)?;
        let sent = pass_through::by_model(meter, &live, &caller.tenant, &path, &headers, Some(&model), &body).await;
        return sent.map_err(|error| match error {
            SendError::Route(error) => unknown(&error, &model, &embedder),
            error => error.into(),
        });
    }
    let invalid = |why: String| ApiError::invalid(format!("the body is not understood: {why}"));
    let request = readable.and_then(|body| serde_json::from_slice(&body).map_err(|error| error.to_string()));
    local(&embedder, &request.map_err(invalid)?).await
}

async fn local(embedder: &Embedder, request: &EmbeddingsRequest) -> Result<Response, ApiError> {
    let texts = match &request.input {
        Input::One(text) => std::slice::from_ref(text),
        Input::Many(texts) => texts,
        Input::Tokens(_) => {
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
    if request.dimensions.is_some_and(|asked| asked != dimension) {
        return Err(ApiError::invalid(format!("this model's embeddings have {dimension} dimensions")));
    }
    // Futures do nothing until they are polled, so at most IN_FLIGHT of these are in the queue.
    let waiting: Vec<_> = texts.iter().map(|text| embedder.embed(text, Prefix::None)).collect();
    let made: Vec<TextEmbedding> = stream::iter(waiting).buffered(IN_FLIGHT).try_collect().await?;
    let tokens = made.iter().map(|embedding| embedding.tokens).sum();
    let item = |(index, embedding): (usize, TextEmbedding)| Item {
        object: "embedding",
        index,
        embedding: Vector::new(embedding.vector.as_slice(), request.encoding_format.unwrap_or_default()),
    };
    let reply = EmbeddingsReply {
        id: format!("embd-{}", uuid::Uuid::now_v7().simple()),
        object: "list",
        data: made.into_iter().enumerate().map(item).collect(),
        model: &embedder.identity().name,
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
    };
    Ok(axum::Json(reply).into_response())
}

impl Vector {
    fn new(values: &[f32], encoding: Encoding) -> Self {
        match encoding {
            Encoding::Float => Self::Floats(values.to_vec()),
            Encoding::Base64 => {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                Self::Base64(STANDARD.encode(bytes))
            }
        }
    }
}

/// Says which model there is.
fn unknown(error: &RouteError, model: &str, embedder: &Embedder) -> ApiError {
    let local = &embedder.identity().name;
    ApiError::new(
        axum::http::StatusCode::NOT_FOUND,
        "model_not_found",
        format!("`{model}` is not the local embedding model, which is `{local}`; and it can't be forwarded: {error}"),
    )
}
