//! Messages as the turns of a conversation with Anthropic.
//!
//! Anthropic wants user and assistant by turns, the user first, tool results at the beginning of the turn after the
//! calls, no blank text, and no thoughts but those that it signed. So neighbours of the same role become one turn;
//! blank text, unsigned thoughts and messages of nothing else go; and a conversation that the assistant opens gets a
//! first line that says so.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{OWN, with_extra};
use crate::llm::chat::{Chat, Content, Extra, Part, Role, Source};
use crate::llm::claude::{OPENING, thinking_block};
use crate::llm::error::Unsupported;
use crate::llm::members::Place;

/// A conversation in Anthropic's form.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// Blocks of the system prompt.
    pub(super) system: Vec<Value>,
    /// The messages.
    pub(super) turns: Vec<Value>,
}

impl Conversation {
    /// The conversation of `chat`. Other formats' system messages all go to the system prompt, wherever they stand: as
    /// text of the user they would lose their authority, and that is what Anthropic's own OpenAI endpoint does.
    pub(super) fn of(chat: &Chat) -> Result<Self, Unsupported> {
        let is_own = chat.format == OWN;
        let mut conversation = Self::default();
        let messages = Place::ROOT.name("messages");
        for (index, message) in chat.messages.iter().enumerate() {
            let place = messages.index(index);
            let mut blocks = blocks(&message.parts, message.role, &place.name("content"), is_own)?;
            // A mark for the prompt cache that stands on the message, as other formats have it.
            if let Some(last) = blocks.last_mut().filter(|_| !is_own) {
                *last = with_extra(last.take(), &message.extra);
            }
            match message.role {
                Role::System if is_own && !conversation.turns.is_empty() => {
                    conversation.say("system", blocks, &message.extra);
                }
                Role::System | Role::Developer => conversation.system.extend(blocks),
                Role::Assistant => conversation.say("assistant", blocks, &message.extra),
                Role::User | Role::Tool => conversation.say("user", blocks, &message.extra),
            }
        }
        match conversation.turns.first() {
            None => return Err(messages.wrong("must hold a message of the user that isn't blank")),
            Some(first) if first["role"] != "user" && !is_own => {
                let opening = json!({"role": "user", "content": [{"type": "text", "text": OPENING}]});
                conversation.turns.insert(0, opening);
            }
            Some(_) => {}
        }
        conversation.settle();
        Ok(conversation)
    }

    /// One more instruction for the model.
    pub(super) fn instruct(&mut self, sentence: &str) {
        self.system.push(json!({"type": "text", "text": sentence}));
    }

    fn say(&mut self, role: &str, blocks: Vec<Value>, extra: &Extra) {
        let own = extra.of(OWN);
        let last = self.turns.last_mut().filter(|last| last["role"] == role && own.is_none());
        if let Some(Value::Array(said)) = last.and_then(|last| last.get_mut("content")) {
            said.extend(blocks);
        } else if !blocks.is_empty() {
            let extra = own.map(|own| Extra::new(OWN, own.clone())).unwrap_or_default();
            self.turns.push(with_extra(json!({"role": role, "content": blocks}), &extra));
        }
    }

    fn settle(&mut self) {
        for blocks in self.turns.iter_mut().filter_map(|turn| turn.get_mut("content")?.as_array_mut()) {
            // The sort is stable.
            blocks.sort_by_key(|block| !is_result(block));
        }
        // An answer that has begun mustn't end with white space.
        let last = self.turns.last_mut().filter(|last| last["role"] == "assistant");
        let last = last.and_then(|last| last.get_mut("content")?.as_array_mut()?.last_mut()?.get_mut("text"));
        if let Some(Value::String(text)) = last {
            text.truncate(text.trim_end().len());
        }
    }
}

/// The blocks of a message.
fn content(message: &Value) -> &[Value] {
    message["content"].as_array().map_or(&[], Vec::as_slice)
}

fn is_result(block: &Value) -> bool {
    block["type"] == "tool_result"
}

/// Whether Anthropic lets a model with a budget think before it goes on. It doesn't in the middle of calls of tools,
/// unless it sees the thoughts before them, nor in an answer that has begun.
pub(super) fn may_think(messages: &[Value]) -> bool {
    let has_result = |message: &Value| content(message).iter().any(is_result);
    let mut turns = messages.iter().rev().filter(|message| message["role"] != "system");
    match turns.next() {
        Some(last) if !has_result(last) => return last["role"] == "user",
        _ => {}
    }
    let is_thinking = |block: &Value| block["type"] == "thinking" || block["type"] == "redacted_thinking";
    let mut calls = turns.take_while(|message| message["role"] == "assistant" || has_result(message));
    calls.any(|message| content(message).first().is_some_and(is_thinking))
}

/// The blocks for parts, without those that say nothing.
fn blocks(parts: &[Part], role: Role, place: &Place<'_>, is_own: bool) -> Result<Vec<Value>, Unsupported> {
    let blocks = parts.iter().enumerate().map(|(index, part)| block(part, role, &place.index(index), is_own));
    blocks.filter_map(Result::transpose).collect()
}

/// The block for a part; none for blank text, and for thoughts that Anthropic didn't sign.
fn block(part: &Part, role: Role, place: &Place<'_>, is_own: bool) -> Result<Option<Value>, Unsupported> {
    let is_shown = matches!(role, Role::User | Role::Tool);
    let block = match &part.content {
        Content::Text(text) | Content::Refusal(text) if text.trim().is_empty() => return Ok(None),
        Content::Text(text) | Content::Refusal(text) => json!({"type": "text", "text": text}),
        Content::Reasoning(text) => match part.claudes_seal() {
            Some(seal) => thinking_block(text, seal),
            None => return Ok(None),
        },
        Content::Image(image) if is_shown => json!({"type": "image", "source": source(image, false, place, is_own)?}),
        Content::Document { source: document, name } if is_shown => {
            json!({"type": "document", "title": name, "source": source(document, true, place, is_own)?})
        }
        Content::ToolCall(call) if role == Role::Assistant => {
            let input = call.input().ok_or_else(|| place.name("arguments").wrong("must be a JSON object"))?;
            json!({"type": "tool_use", "id": tool_id(&call.id, place)?, "name": call.name, "input": input})
        }
        Content::ToolResult(result) => {
            let content = blocks(&result.parts, Role::Tool, &place.name("content"), is_own)?;
            json!({"type": "tool_result", "tool_use_id": tool_id(&result.call_id, place)?,
                "content": (!content.is_empty()).then_some(content), "is_error": result.is_error.then_some(true)})
        }
        Content::Foreign(OWN, whole) => return Ok(Some(whole.clone())),
        Content::Foreign(_, whole) => {
            let kind = whole["type"].as_str().unwrap_or("unknown");
            return Err(place.wrong(format_args!("is of type `{kind}`, which an Anthropic model doesn't take")));
        }
        _ => return Err(place.wrong("is of a kind that an Anthropic model doesn't take here")),
    };
    Ok(Some(with_extra(block, &part.extra)))
}

/// Where a picture or a document is. Files are known only to the provider that keeps them.
fn source(source: &Source, is_document: bool, place: &Place<'_>, is_own: bool) -> Result<Value, Unsupported> {
    let base64 = |media_type: &str, data: &str| json!({"type": "base64", "media_type": media_type, "data": data});
    let text = |data: String| json!({"type": "text", "media_type": "text/plain", "data": data});
    let written = match source {
        Source::File(id) => is_own.then(|| json!({"type": "file", "file_id": id})),
        Source::Url(url) => {
            let is_web = url.starts_with("https://") || url.starts_with("http://");
            (is_own || is_web).then(|| json!({"type": "url", "url": url}))
        }
        Source::Text(data) => is_document.then(|| text(data.clone())),
        // The registered name is image/jpeg, and Anthropic knows no other.
        Source::Base64 { media_type, data } if media_type == "image/jpg" && !is_own => Some(base64("image/jpeg", data)),
        Source::Base64 { media_type, data } if is_own || !is_document || media_type == "application/pdf" => {
            Some(base64(media_type, data))
        }
        Source::Base64 { media_type, data } => {
            let bytes = STANDARD.decode(data).ok().filter(|_| media_type.starts_with("text/"));
            bytes.and_then(|bytes| String::from_utf8(bytes).ok()).map(text)
        }
    };
    let why = "must be an image, a PDF or a text, in the request or at an http or https address";
    written.ok_or_else(|| place.wrong(why))
}

/// The id of a call, in the letters that Anthropic admits: other providers write ids such as `functions.f:0`, and a
/// conversation may have begun with one of them.
fn tool_id(id: &str, place: &Place<'_>) -> Result<String, Unsupported> {
    if id.is_empty() {
        return Err(place.name("id").wrong("is missing"));
    }
    Ok(id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect())
}

/// The request `body` in Anthropic's format without thoughts that nobody signed, as answers of other providers hold
/// them once they are told in this format: Anthropic refuses such a request. None where it has none.
///
/// Without the thoughts before a call of a tool a model doesn't take a budget for new ones, so that goes too then.
#[must_use]
pub fn without_unsigned_thinking(body: &Value) -> Option<Value> {
    let is_signed = |block: &Value| block["signature"].as_str().is_some_and(|signature| !signature.is_empty());
    let is_kept = |block: &Value| block["type"] != "thinking" || is_signed(block);
    let is_spoilt = |message: &Value| message["role"] == "assistant" && !content(message).iter().all(is_kept);
    let mut messages = body["messages"].as_array().filter(|messages| messages.iter().any(is_spoilt))?.clone();
    messages.retain_mut(|message| {
        if is_spoilt(message) {
            message["content"] = content(message).iter().filter(|block| is_kept(block)).cloned().collect();
            return !content(message).is_empty();
        }
        true
    });
    let mut body = body.as_object()?.clone();
    if body.get("thinking").is_some_and(|thinking| thinking["type"] == "enabled") && !may_think(&messages) {
        body.shift_remove("thinking");
    }
    body.insert("messages".into(), messages.into());
    Some(body.into())
}
