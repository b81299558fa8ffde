//! An entry as a line of JSON, on its way out of the caches or back in.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::chat_context::{chat_context, chat_question, read_chat};
use crate::embed::{Embedding, ModelDigest, TextEmbedding};
use crate::llm::chat::Chat;
use crate::prompt::{Cacheability, Json, Question};
use crate::store::{Attributes, CacheName, Curation, ProviderVector, Stored, StoredVector, Tags};

/// Tokens of a text are told by nobody, and asked for by nobody.
const TOKENS: usize = 0;

/// A byte order mark in UTF-8, as Windows' editors begin a file with. It is no part of the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// An entry as a line. Only `response` must be there, and `prompt` or `messages`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cache: Option<String>,
    /// Of everything in the request but the prompt, as hexadecimal digits. Unset: of a plain prompt without a scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fingerprint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    /// Instead of `prompt`: what a chat asks, with `model` and all other members of its request beside it. The same question then as
    /// that chat's.
    #[serde(default, skip_serializing)]
    messages: Option<IgnoredAny>,
    /// Of the chat.
    #[serde(default, skip_serializing)]
    namespace: Option<String>,
    pub(super) response: String,
    /// A whole chat completion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) completion: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) attributes: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tags: Vec<String>,
    /// Whether it answers many chats, and which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    curated: Option<Curated>,
    /// Milliseconds since 1970. Unset: now, and as long as the cache's entries live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) created: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<u64>,
    /// Milliseconds that the answer took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cost_millis: Option<u32>,
    /// Lookups that were answered with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) uses: Option<u32>,
    /// Whether texts of the same meaning may be answered with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) semantic: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) vector: Option<LineVector>,
    /// The vector that the entry's answer is, where that is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) embedding: Option<LineEmbedding>,
    /// Members that no entry has: a chat's, beside `messages`.
    #[serde(flatten, skip_serializing)]
    others: BTreeMap<String, IgnoredAny>,
    /// The request that `messages` are of.
    #[serde(skip)]
    chat: Option<Chat>,
}

/// As `true`, or with the chats that it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Curated {
    Flag(bool),
    For(Curation),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LineVector {
    /// The model that made it. Another model's vectors are of no use, and made anew.
    pub(super) model: ModelDigest,
    #[serde(rename = "blurred")]
    lossy: bool,
    /// Its components as base64 of 32-bit floats, little-endian.
    components: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LineEmbedding {
    /// The provider's model.
    model: String,
    /// Of the prompt.
    tokens: u32,
    /// Its numbers, as base64 of 32-bit floats, little-endian.
    components: String,
}

/// Members of a line that aren't its chat's.
const OWN: [&str; 14] = [
    "tenant",
    "cache",
    "fingerprint",
    "namespace",
    "response",
    "completion",
    "attributes",
    "tags",
    "curated",
    "created",
    "expires",
    "costMillis",
    "uses",
    "semantic",
];

impl LineVector {
    pub(super) fn read(&self, dimension: usize) -> Result<TextEmbedding, String> {
        let bytes = BASE64.decode(&self.components).map_err(|error| format!("its vector is no base64: {error}"))?;
        let (components, rest) = bytes.as_chunks();
        let read = Embedding::unit(components.iter().map(|x| f32::from_le_bytes(*x)));
        let read = read.filter(|read| rest.is_empty() && read.dimension() == dimension);
        let vector = read.ok_or_else(|| format!("its vector isn't one of {dimension} components and length 1"))?;
        Ok(TextEmbedding { vector, lossy: self.lossy, tokens: TOKENS, model: self.model.clone() })
    }
}

impl LineEmbedding {
    pub(super) fn read(&self) -> Result<ProviderVector, String> {
        let bytes = BASE64.decode(&self.components).map_err(|error| format!("its embedding is no base64: {error}"))?;
        let (numbers, rest) = bytes.as_chunks();
        let components: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
        if !rest.is_empty() || components.is_empty() || !components.iter().all(|number| number.is_finite()) {
            return Err("its embedding is no list of 32-bit floats".into());
        }
        Ok(ProviderVector { model: self.model.clone(), tokens: self.tokens, components })
    }

    fn of(vector: &ProviderVector) -> Self {
        let bytes: Vec<u8> = vector.components.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self { model: vector.model.clone(), tokens: vector.tokens, components: BASE64.encode(bytes) }
    }
}

impl Line {
    /// # Errors
    /// A sentence about what is wrong with it.
    pub fn read(line: &[u8]) -> Result<Self, String> {
        let wrong = |error: serde_json::Error| format!("it is no entry: {error}");
        let mut read: Self = serde_json::from_slice(line).map_err(wrong)?;
        if read.messages.is_none() {
            let unknown = read.others.keys().next();
            return unknown
                .map_or(Ok(()), |name| Err(format!("it is no entry: unknown field `{name}`")))
                .map(|()| read);
        }
        match Json::parse(line).map_err(wrong)? {
            Json::Object(mut members) => {
                members.retain(|name, _| !OWN.contains(&name.as_str()));
                let chat = read_chat(Json::Object(members).into());
                read.chat = Some(chat.map_err(|why| format!("its request is not understood: {why}"))?);
                Ok(read)
            }
            Json::Unclear(why) => Err(format!("it is no entry: it has {why}")),
            _ => Err("it is no entry: it is no object".into()),
        }
    }

    /// A file's first line without the mark that some editors begin a file with.
    #[must_use]
    pub fn first(line: &[u8]) -> &[u8] {
        line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
    }

    /// Makes it curated, unless it says itself whether it is.
    #[must_use]
    pub fn curated_by_default(self) -> Self {
        Self { curated: self.curated.or(Some(Curated::Flag(true))), ..self }
    }

    fn is_curated(&self) -> bool {
        matches!(self.curated, Some(Curated::Flag(true) | Curated::For(_)))
    }

    /// What it answers.
    pub(super) fn question(&self, ignored_fields: &[String]) -> Result<Question, String> {
        let Some(chat) = &self.chat else {
            let prompt = self.prompt.as_deref().unwrap_or_default();
            return Question::plain(prompt, &Json::Null).map_err(|error| error.to_string());
        };
        let question = chat_question(chat, ignored_fields, self.namespace.as_deref());
        match question.cacheability {
            Cacheability::Bypass(why) => Err(format!("the answer to its request can't be cached: {why}")),
            _ if question.text.is_empty() => Err("its messages have no text of a user".into()),
            _ => Ok(question),
        }
    }

    /// Which chats it answers, where it is curated.
    pub(super) fn curation(&self) -> Result<Option<Curation>, String> {
        match (&self.curated, &self.chat) {
            (None | Some(Curated::Flag(false)), _) => Ok(None),
            (Some(Curated::For(curation)), None) => Ok(Some(curation.clone())),
            (Some(Curated::Flag(true)), None) => {
                Ok(Some(Curation { namespace: self.namespace.clone(), ..Curation::default() }))
            }
            (Some(Curated::For(_)), Some(_)) => {
                Err("it says twice which chats it answers: in `curated` and in `messages`".into())
            }
            (Some(Curated::Flag(true)), Some(chat)) => {
                let context = chat_context(chat, self.namespace.as_deref());
                let context = context.ok_or("a curated entry answers chats of one user turn; this is another one")?;
                Ok(Some(context.into()))
            }
        }
    }

    /// What no other way into a cache would let pass.
    pub(super) fn check(&self) -> Result<(), String> {
        match (&self.prompt, &self.chat) {
            (Some(prompt), None) if prompt.is_empty() => return Err("its prompt is empty".into()),
            (Some(_), Some(_)) => return Err("it has both `prompt` and `messages`".into()),
            (None, None) => return Err("it has neither `prompt` nor `messages`".into()),
            (None, Some(_)) if self.fingerprint.is_some() => {
                return Err("`messages` have a fingerprint of their own".into());
            }
            (None, Some(chat)) if chat.model.is_empty() && !self.is_curated() => {
                return Err("`model` is needed beside `messages`: answers of different models are not shared".into());
            }
            _ => {}
        }
        if let Some(flaw) = self.tags.iter().find_map(|tag| Tags::flaw(tag)) {
            return Err(format!("a tag {}", flaw.message));
        }
        if self.tags.len() > Tags::MAX {
            return Err(format!("it has more than {} tags", Tags::MAX));
        }
        if self.embedding.is_some() && (self.fingerprint.is_none() || self.is_curated() || self.completion.is_some()) {
            return Err(
                "an embedding answers requests of its fingerprint, and is neither curated nor a completion".into()
            );
        }
        if self.is_curated() && self.completion.is_some() {
            return Err("a curated entry's answer is a text, not a model's completion".into());
        }
        if let Some(Curated::For(curation)) = &self.curated
            && curation.models.len() > Curation::MAX_MODELS
        {
            return Err(format!("it names more than {} models", Curation::MAX_MODELS));
        }
        if self.attributes.len() > Attributes::MAX {
            return Err(format!("it has more than {} attributes", Attributes::MAX));
        }
        for (name, value) in &self.attributes {
            if let Some(flaw) = Attributes::flaw(name, value) {
                return Err(format!("its attribute `{name}` {}", flaw.message));
            }
        }
        let completion = self.completion.as_deref();
        let is_json = |text: &str| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        if !completion.is_none_or(is_json) {
            return Err("its completion is no JSON".into());
        }
        if self.response.is_empty() && completion.is_none() && self.embedding.is_none() {
            return Err("its response is empty".into());
        }
        Ok(())
    }

    pub(super) fn of(name: CacheName, stored: Stored) -> Self {
        let Stored { entry, semantic, vector, cost_millis, uses, .. } = stored;
        let components = |vector: &Embedding| -> Vec<u8> {
            vector.as_slice().iter().flat_map(|component| component.to_le_bytes()).collect()
        };
        Self {
            tenant: Some(name.tenant),
            cache: Some(name.id),
            fingerprint: Some(entry.fingerprint.iter().map(|byte| format!("{byte:02x}")).collect()),
            prompt: Some(entry.prompt),
            embedding: entry.answer.vector.as_ref().map(LineEmbedding::of),
            response: entry.answer.text,
            completion: entry.answer.completion,
            attributes: entry.attributes.into(),
            tags: entry.tags.iter().map(str::to_owned).collect(),
            curated: entry
                .curation
                .map(|curation| if curation.is_for_all() { Curated::Flag(true) } else { Curated::For(curation) }),
            created: Some(entry.created.0),
            expires: Some(entry.expires.0),
            cost_millis: Some(cost_millis),
            uses: Some(uses),
            semantic: Some(semantic),
            vector: vector.map(|StoredVector { vector, lossy, model }| LineVector {
                model,
                lossy,
                components: BASE64.encode(components(&vector)),
            }),
            ..Self::default()
        }
    }
}

pub(super) fn fingerprint(digits: &str) -> Result<[u8; 32], String> {
    let mut fingerprint = [0; 32];
    let pairs = digits.as_bytes().chunks(2);
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err("its fingerprint isn't 64 hexadecimal digits".into());
    }
    for (byte, pair) in fingerprint.iter_mut().zip(pairs) {
        let pair = std::str::from_utf8(pair).map_err(|error| error.to_string())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|error| error.to_string())?;
    }
    Ok(fingerprint)
}
