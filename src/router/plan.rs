//! From a caller's request to what one provider understands, and how its reply is to be read.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::adjust::fit;
use super::provider::Provider;
use crate::config::ProviderKind;
use crate::llm::chat::Role;
use crate::llm::models;
use crate::llm::{self, Chat, Document, FormatId, Frame, Unsupported, path_segment};

/// Paths that Azure has below each deployment; all others are the resource's.
const DEPLOYED: [&str; 7] = [
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/images/generations",
    "/audio/transcriptions",
    "/audio/translations",
    "/audio/speech",
];

/// A chat request as its caller said it.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    /// The caller's format, which the reply will be in.
    pub format: FormatId,
    /// What it says; none where it can't be read. Such a request goes only to providers of the same format.
    pub chat: Option<Arc<Chat>>,
}

/// A request in a provider's format.
#[derive(Debug)]
pub(super) struct Prepared {
    /// With its query.
    pub(super) path: String,
    pub(super) body: Bytes,
    pub(super) response: ResponsePlan,
}

/// How a reply reaches the caller.
#[derive(Debug)]
pub(super) enum ResponsePlan {
    /// As it comes. The format is known of chats.
    PassThrough(Option<FormatId>),
    /// From the provider's format to the caller's.
    Convert(Box<Conversion>),
}

/// A reply's way from one format to another.
#[derive(Debug)]
pub(super) struct Conversion {
    pub(super) from: FormatId,
    pub(super) to: FormatId,
    pub(super) is_stream: bool,
    pub(super) frame: Frame,
}

impl Provider {
    /// The format that chats are converted to where it doesn't speak the caller's.
    pub(super) fn native_format(&self) -> FormatId {
        match self.kind {
            ProviderKind::Openai | ProviderKind::Azure => FormatId::OpenAiChat,
            ProviderKind::Anthropic => FormatId::Anthropic,
            ProviderKind::Gemini | ProviderKind::Vertex => FormatId::Gemini,
            ProviderKind::Bedrock => FormatId::Bedrock,
        }
    }

    /// Whether it is asked in `format` as the caller wrote it.
    pub(super) fn speaks(&self, format: FormatId) -> bool {
        match format {
            FormatId::OpenAiResponses => self.speaks_responses(),
            // Nothing is converted into them, so that whoever has no such API has to say so.
            FormatId::OpenAiCompletions => self.kind != ProviderKind::Bedrock,
            format => format == self.native_format(),
        }
    }
}

/// Prepares a request for `path`, whose `body` has the provider's adjustments already. `chat` is what it says, where it is a
/// chat; `is_adjusted` says that `body` isn't what `chat` was read from any more.
pub(super) fn prepare(
    provider: &Provider,
    request: Option<&ChatRequest>,
    path: &str,
    model: Option<&str>,
    body: Bytes,
    is_adjusted: bool,
) -> Result<Prepared, Unsupported> {
    let Some(request) = request else {
        if provider.kind == ProviderKind::Bedrock {
            return Err(Unsupported::new(path, "is no chat, and this provider answers chats only"));
        }
        return Ok(Prepared { path: at(provider, path, model), body, response: ResponsePlan::PassThrough(None) });
    };
    if provider.speaks(request.format) {
        let body = match &request.chat {
            Some(chat) if request.format == FormatId::Anthropic => signed_only(chat, body),
            Some(chat) if request.format == FormatId::OpenAiChat => {
                fit(&provider.preset.chat, with_call_ids(chat, model.unwrap_or_default(), body))
            }
            _ if request.format == FormatId::OpenAiChat => fit(&provider.preset.chat, body),
            _ => body,
        };
        let response = ResponsePlan::PassThrough(Some(request.format));
        return Ok(Prepared { path: at(provider, path, model), body, response });
    }
    let to = provider.native_format();
    let chat = match &request.chat {
        Some(chat) if !is_adjusted => Arc::clone(chat),
        _ => Arc::new(read(request.format, &body)?),
    };
    let model = model.unwrap_or_default();
    let is_stream = chat.delivery.is_stream();
    let written = to.format().write_request(&chat, model)?;
    let path = at(provider, &to.format().path(model, is_stream), Some(model));
    let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let frame = Frame {
        id: uuid::Uuid::now_v7().simple().to_string(),
        model: model.to_owned(),
        created,
        include_usage: chat.delivery == llm::Delivery::StreamWithUsage,
        chat: Some(chat),
    };
    let conversion = Conversion { from: to, to: request.format, is_stream, frame };
    let response = ResponsePlan::Convert(Box::new(conversion));
    let body = match to {
        FormatId::OpenAiChat => fit(&provider.preset.chat, written.to_string().into()),
        _ => written.to_string().into(),
    };
    Ok(Prepared { path, body, response })
}

fn read(format: FormatId, body: &[u8]) -> Result<Chat, Unsupported> {
    let document =
        Document::parse(body).map_err(|error| Unsupported::new("the body", format!("is no JSON: {error}")))?;
    format.format().read_request(document.value)
}

/// A body without the thoughts that another provider's model had, and that Anthropic would refuse unsigned.
fn signed_only(chat: &Chat, body: Bytes) -> Bytes {
    if !chat.has_unsigned_thinking() {
        return body;
    }
    let patched = serde_json::from_slice(&body).ok().and_then(|value| llm::without_unsigned_thinking(&value));
    patched.map_or(body, |patched| patched.to_string().into())
}

/// A body whose ids of calls the model takes, though another provider's may have made them.
fn with_call_ids(chat: &Chat, model: &str, body: Bytes) -> Bytes {
    let has_results = chat.messages.iter().any(|message| message.role == Role::Tool);
    if !has_results || models::family(model).call_id.is_none() {
        return body;
    }
    let patched = serde_json::from_slice(&body).ok().and_then(|value| llm::with_fitting_call_ids(&value, model));
    patched.map_or(body, |patched| patched.to_string().into())
}

/// Whether a request has to be taken apart, which takes time where it is large.
pub(super) fn is_converted(provider: &Provider, request: Option<&ChatRequest>) -> bool {
    request.is_some_and(|request| !provider.speaks(request.format))
}

/// A path as `provider` wants it.
pub(super) fn at(provider: &Provider, path: &str, model: Option<&str>) -> String {
    match provider.kind {
        ProviderKind::Azure => at_azure(provider, path, model),
        _ => path.to_owned(),
    }
}

/// Azure names a deployment in the address, and always the version of its API.
fn at_azure(provider: &Provider, path: &str, model: Option<&str>) -> String {
    let (plain, query) = path.split_once('?').map_or((path, ""), |(plain, query)| (plain, query));
    let version = if query.split('&').any(|pair| pair.starts_with("api-version=")) {
        String::new()
    } else {
        format!("api-version={}", provider.api_version)
    };
    let both = [query, &version].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&");
    match model.filter(|_| DEPLOYED.contains(&plain)) {
        Some(model) => format!("/deployments/{}{plain}?{both}", path_segment(model)),
        None => format!("{plain}?{both}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_calls_that_a_model_refuses_are_replaced_and_all_else_stays_as_written() {
        let body = r#"{"messages":[{"role":"user", "content":"Hi"},{"role":"assistant","tool_calls":[{"id":"call_1",
            "type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"call_1","content":"r"}]}"#;
        let body = Bytes::from_static(body.as_bytes());
        let chat = read(FormatId::OpenAiChat, &body).unwrap();
        assert_eq!(with_call_ids(&chat, "gpt-5.1", body.clone()), body);
        let fitting: serde_json::Value = serde_json::from_slice(&with_call_ids(&chat, "mistral-small", body)).unwrap();
        let id = fitting["messages"][1]["tool_calls"][0]["id"].as_str().unwrap();
        assert_eq!((id.len(), &fitting["messages"][2]["tool_call_id"]), (9, &id.into()));
        let plain = Bytes::from_static(br#"{"messages": [{"role": "user", "content": "Hi"}]}"#);
        let chat = read(FormatId::OpenAiChat, &plain).unwrap();
        assert_eq!(with_call_ids(&chat, "mistral-small", plain.clone()), plain);
    }
}
