//! From a caller's request to what a provider of some kind understands, and what its reply is to be read as.

use std::time::SystemTime;

use bytes::Bytes;
use serde_json::Value;

use super::adjust::fit;
use super::provider::Provider;
use super::providers::{anthropic, bedrock, gemini};
use crate::config::ProviderKind;

/// The paths of chats in each dialect, after `/v1`.
const CHAT: &str = "/chat/completions";
const MESSAGES: &str = "/messages";
/// Paths that Azure has below each deployment; all others are the resource's.
const DEPLOYED: [&str; 7] = [
    CHAT,
    "/completions",
    "/embeddings",
    "/images/generations",
    "/audio/transcriptions",
    "/audio/translations",
    "/audio/speech",
];

/// The API in whose shapes a request or a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's.
    OpenAi,
    /// Anthropic's messages.
    Anthropic,
}

impl Dialect {
    /// The path of a chat, after `/v1`.
    #[must_use]
    pub fn chat_path(self) -> &'static str {
        match self {
            Self::OpenAi => CHAT,
            Self::Anthropic => MESSAGES,
        }
    }
}

/// A request in a provider's shape.
#[derive(Debug)]
pub(super) struct Prepared {
    /// With its query.
    pub(super) path: String,
    pub(super) body: Bytes,
    pub(super) reading: Reading,
}

/// How a reply is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// It goes to the caller as it comes.
    AsItIs(Dialect),
    /// It becomes an OpenAI-shaped one.
    Converted(Converted),
}

/// What a reply is made of that becomes an OpenAI-shaped one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Converted {
    pub(super) from: Foreign,
    pub(super) model: String,
    pub(super) is_stream: bool,
    pub(super) include_usage: bool,
    /// Seconds since 1970.
    pub(super) created: u64,
}

/// APIs that aren't OpenAI's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign {
    Anthropic,
    Gemini,
    Bedrock,
}

/// Why a request can't be put to a provider.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unconvertible(pub(super) String);

/// Puts `body`, of a request for `path` in `dialect`, into the shape of `provider`'s API. `model` is its name of the model,
/// where one is asked for.
pub(super) fn prepare(
    provider: &Provider,
    dialect: Dialect,
    path: &str,
    model: Option<&str>,
    body: Bytes,
) -> Result<Prepared, Unconvertible> {
    let plain = path.split_once('?').map_or(path, |(plain, _)| plain);
    let is_chat = plain == dialect.chat_path();
    let (body, dialect) = match (is_chat, dialect, provider.kind) {
        (true, Dialect::Anthropic, ProviderKind::Anthropic) => {
            return Ok(Prepared { path: path.into(), body, reading: Reading::AsItIs(Dialect::Anthropic) });
        }
        (true, Dialect::Anthropic, _) => {
            let chat = anthropic::messages::to_chat(&parse(&body)?).map_err(|why| Unconvertible(why.to_string()))?;
            (chat.to_string().into(), Dialect::OpenAi)
        }
        (_, dialect, _) => (body, dialect),
    };
    let path = if is_chat { path.replacen(plain, CHAT, 1) } else { path.to_owned() };
    match (is_chat, provider.kind) {
        (true, ProviderKind::Anthropic) => {
            let chat = parse(&body)?;
            let model = model.unwrap_or_default();
            let body = anthropic::request(&chat, model).map_err(|why| Unconvertible(why.to_string()))?;
            let reading = converted(Foreign::Anthropic, &chat, model);
            Ok(Prepared { path: MESSAGES.into(), body: body.to_string().into(), reading })
        }
        (true, ProviderKind::Gemini | ProviderKind::Vertex) => {
            let mut chat = parse(&body)?;
            let model = model.unwrap_or_default();
            // What generations of models understand differs.
            if let Value::Object(members) = &mut chat {
                members.insert("model".into(), model.into());
            }
            let body = gemini::request(&chat).map_err(|why| Unconvertible(why.to_string()))?;
            let path = gemini::path(model, chat["stream"] == true);
            Ok(Prepared { path, body: body.to_string().into(), reading: converted(Foreign::Gemini, &chat, model) })
        }
        (true, ProviderKind::Bedrock) => {
            let chat = parse(&body)?;
            let model = model.unwrap_or_default();
            let body = bedrock::request(&chat, model).map_err(|why| Unconvertible(why.to_string()))?;
            let path = bedrock::path(model, chat["stream"] == true);
            Ok(Prepared { path, body: body.to_string().into(), reading: converted(Foreign::Bedrock, &chat, model) })
        }
        (false, ProviderKind::Bedrock) => Err(Unconvertible("this provider answers chats only".into())),
        (_, ProviderKind::Azure) => {
            Ok(Prepared { path: at_azure(provider, &path, model), body, reading: Reading::AsItIs(dialect) })
        }
        (true, _) => Ok(Prepared { path, body: fit(&provider.preset.chat, body), reading: Reading::AsItIs(dialect) }),
        _ => Ok(Prepared { path, body, reading: Reading::AsItIs(dialect) }),
    }
}

/// Whether a request has to be taken apart, which takes time where it is large.
pub(super) fn is_taken_apart(provider: &Provider, dialect: Dialect, path: &str) -> bool {
    let plain = path.split_once('?').map_or(path, |(plain, _)| plain);
    plain == dialect.chat_path()
        && match provider.kind {
            ProviderKind::Openai | ProviderKind::Azure => dialect == Dialect::Anthropic,
            ProviderKind::Anthropic => dialect == Dialect::OpenAi,
            ProviderKind::Gemini | ProviderKind::Vertex | ProviderKind::Bedrock => true,
        }
}

/// A path that names no model, as `provider` wants it.
pub(super) fn path_at(provider: &Provider, path: &str) -> String {
    match provider.kind {
        ProviderKind::Azure => at_azure(provider, path, None),
        _ => path.to_owned(),
    }
}

fn parse(body: &[u8]) -> Result<Value, Unconvertible> {
    serde_json::from_slice(body).map_err(|error| Unconvertible(format!("the body is not valid JSON: {error}")))
}

fn converted(from: Foreign, chat: &Value, model: &str) -> Reading {
    let created = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Reading::Converted(Converted {
        from,
        model: model.to_owned(),
        is_stream: chat["stream"] == true,
        include_usage: chat["stream_options"]["include_usage"] == true,
        created,
    })
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
        Some(model) => format!("/deployments/{}{plain}?{both}", segment(model)),
        None => format!("{plain}?{both}"),
    }
}

/// A name as one segment of a path, so that none leads elsewhere.
fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            b'.' if !matches!(name, "." | "..") => out.push('.'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
