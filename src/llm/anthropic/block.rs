//! Content blocks, as parts.

use serde_json::{Value, json};

use super::{OWN, with_extra};
use crate::llm::chat::{Content, Extra, Part, Seal, SealKind, Source, ToolCall, ToolResult};
use crate::llm::claude::thinking_block;
use crate::llm::error::Unsupported;
use crate::llm::members::{Members, Place};

/// Reads a content block. One that no other API has stays whole.
pub(super) fn read(block: Value, place: &Place<'_>) -> Result<Part, Unsupported> {
    let Some(kind) = block["type"].as_str().map(str::to_owned) else {
        return Err(place.name("type").wrong("must be a text"));
    };
    if let Some(part) = readable(&block) {
        return Ok(part);
    }
    let is_known = match (kind.as_str(), block["source"]["type"].as_str()) {
        ("image", source) => matches!(source, Some("base64" | "url" | "file")),
        ("document", source) => matches!(source, Some("base64" | "url" | "file" | "text")),
        (kind, _) => ["text", "thinking", "redacted_thinking", "tool_use", "tool_result"].contains(&kind),
    };
    if !is_known {
        return Ok(Part::new(Content::Foreign(OWN, block)));
    }
    let mut members = Members::of(block, *place)?;
    members.take("type");
    let mut seal = None;
    let content = match kind.as_str() {
        "text" => Content::Text(members.required_text("text")?),
        "thinking" => {
            seal = members.text("signature")?.and_then(|signature| Seal::of_claude(SealKind::Signature, signature));
            Content::Reasoning(members.text("thinking")?.unwrap_or_default())
        }
        "redacted_thinking" => {
            seal = Seal::of_claude(SealKind::Encrypted, members.required_text("data")?);
            Content::Reasoning(String::new())
        }
        "tool_use" => Content::ToolCall(ToolCall {
            id: members.required_text("id")?,
            name: members.required_text("name")?,
            arguments: members.take("input").map_or_else(|| "{}".to_owned(), |input| input.to_string()),
        }),
        "tool_result" => Content::ToolResult(ToolResult {
            call_id: members.required_text("tool_use_id")?,
            parts: read_all(members.take("content").unwrap_or_else(|| json!([])), &place.name("content"))?,
            is_error: members.flag("is_error")?.unwrap_or(false),
        }),
        "image" => Content::Image(source(&mut members)?),
        _ => Content::Document { source: source(&mut members)?, name: members.text("title")? },
    };
    Ok(Part { content, seal, extra: members.rest(OWN) })
}

/// Reads a text or a list of blocks. Texts that say nothing are left out.
pub(super) fn read_all(content: Value, place: &Place<'_>) -> Result<Vec<Part>, Unsupported> {
    let mut parts = match content {
        Value::String(text) => vec![Part::text(text)],
        Value::Array(blocks) => {
            let parts = blocks.into_iter().enumerate().map(|(index, block)| read(block, &place.index(index)));
            parts.collect::<Result<_, _>>()?
        }
        _ => return Err(place.wrong("must be a text or a list of blocks")),
    };
    parts.retain(|part| part.as_text() != Some("") || !part.extra.is_empty());
    Ok(parts)
}

fn source(members: &mut Members<'_>) -> Result<Source, Unsupported> {
    members.within_required("source", |inner| {
        Ok(match inner.required_text("type")?.as_str() {
            "base64" => {
                Source::Base64 { media_type: inner.required_text("media_type")?, data: inner.required_text("data")? }
            }
            "text" => {
                inner.drop_if("media_type", "text/plain");
                Source::Text(inner.required_text("data")?)
            }
            "url" => Source::Url(inner.required_text("url")?),
            _ => Source::File(inner.required_text("file_id")?),
        })
    })
}

/// A search result, or a document that is given in blocks, as a text with a title, for APIs that know no such thing.
/// For Anthropic the block stays whole beside it.
fn readable(block: &Value) -> Option<Part> {
    let (head, content) = match block["type"].as_str()? {
        "search_result" => (block["source"].as_str(), &block["content"]),
        "document" if block["source"]["type"] == "content" => (None, &block["source"]["content"]),
        _ => return None,
    };
    let texts: Vec<&str> = match content {
        Value::String(text) => vec![text],
        content => content.as_array()?.iter().map(|block| block["text"].as_str()).collect::<Option<_>>()?,
    };
    let text = head.into_iter().chain(texts).collect::<Vec<_>>().join("\n");
    let name = block["title"].as_str().map(str::to_owned);
    let extra = Extra::new(OWN, block.as_object()?.clone());
    Some(Part { extra, ..Part::new(Content::Document { source: Source::Text(text), name }) })
}

/// A part of an answer as a block, where this API has one for it. A call without an id is named after the answer `id`
/// and its `position`.
pub(super) fn told(part: &Part, id: &str, position: usize) -> Option<Value> {
    let block = match &part.content {
        Content::Text(text) | Content::Refusal(text) => json!({"type": "text", "text": text}),
        // Clients expect a signature, and others than Anthropic don't sign.
        Content::Reasoning(text) => match part.claudes_seal() {
            Some(seal) => thinking_block(text, seal),
            None => json!({"type": "thinking", "thinking": text, "signature": ""}),
        },
        Content::ToolCall(call) => {
            let id = if call.id.is_empty() { format!("toolu_{id}_{position}") } else { call.id.clone() };
            // As Anthropic's guide to streamed tool use tells clients to report it.
            let input = call.input().unwrap_or_else(|| json!({"INVALID_JSON": call.arguments}));
            json!({"type": "tool_use", "id": id, "name": call.name, "input": input})
        }
        Content::Foreign(OWN, whole) => return Some(whole.clone()),
        _ => return None,
    };
    Some(with_extra(block, &part.extra))
}
