//! Converse's blocks, read as parts. How media and documents are called.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::OWN;
use crate::llm::chat::{Content, Extra, Part, Role, Seal, SealKind, Source, ToolCall, ToolResult};
use crate::llm::error::Unsupported;
use crate::llm::members::{Members, Place, object};

/// Bedrock's names of formats of images, by media type.
pub(super) const IMAGES: [(&str, &str); 5] =
    [("image/png", "png"), ("image/jpeg", "jpeg"), ("image/jpg", "jpeg"), ("image/gif", "gif"), ("image/webp", "webp")];
/// Bedrock's names of formats of documents, by media type; the names are the extensions of files, too.
pub(super) const DOCUMENTS: [(&str, &str); 9] = [
    ("application/pdf", "pdf"),
    ("text/csv", "csv"),
    ("application/msword", "doc"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("text/html", "html"),
    ("text/plain", "txt"),
    ("text/markdown", "md"),
];
/// The member of a part's extra that marks it for the provider's prompt cache, in every format.
pub(super) const MARK: &str = "cache_control";

/// Reads a list of blocks. A cache point is the mark of the part before it.
pub(super) fn read_blocks(blocks: Vec<Value>, place: &Place<'_>, role: Role) -> Result<Vec<Part>, Unsupported> {
    let mut parts: Vec<Part> = Vec::with_capacity(blocks.len());
    for (index, block) in blocks.into_iter().enumerate() {
        if !parts.last_mut().is_some_and(|last| set_mark(&mut last.extra, &block)) {
            parts.push(read_block(block, &place.index(index), role)?);
        }
    }
    Ok(parts)
}

/// Reads a block that `role` says. One that only Converse has, or that isn't understood, is kept whole.
pub(super) fn read_block(block: Value, place: &Place<'_>, role: Role) -> Result<Part, Unsupported> {
    if !block.is_object() {
        return Err(place.wrong("must be an object"));
    }
    let mut members = object(block);
    let whole = |members| Ok(Part::new(Content::Foreign(OWN, Value::Object(members))));
    // A block is a union of one member.
    let (1, Some((name, value))) = (members.len(), members.iter_mut().next()) else { return whole(members) };
    let place = place.name(name);
    match name.as_str() {
        "text" => value.as_str().map(Part::text).ok_or_else(|| place.wrong("must be a text")),
        "image" | "document" | "audio" => media(name, value).map_or_else(|| whole(members), Ok),
        "reasoningContent" => reasoning(value).map_or_else(|| whole(members), Ok),
        "citationsContent" => cited(value).map_or_else(|| whole(members), Ok),
        // What runs at the provider's is not the caller's to call.
        "toolUse" if value["type"] != "server_tool_use" => tool_use(value.take(), place),
        "toolResult" if role == Role::User => tool_result(value.take(), place),
        "json" if role == Role::Tool => {
            let text = value.to_string();
            Ok(Part { extra: Extra::new(OWN, members), ..Part::text(text) })
        }
        _ => whole(members),
    }
}

/// What comes with the request; none where its bytes are elsewhere, or its format isn't known.
fn media(kind: &str, value: &mut Value) -> Option<Part> {
    let format = value["format"].as_str()?.to_owned();
    let media_type = |known: &[(&str, &str)]| Some(known.iter().find(|(_, name)| *name == format)?.0.to_owned());
    let members = value.as_object_mut()?;
    let source = members.get("source")?.as_object().filter(|source| source.len() == 1)?;
    let (how, data) = source.iter().next()?;
    let (data, is_text) = (data.as_str()?.to_owned(), how == "text");
    let content = match (kind, how.as_str()) {
        ("image", "bytes") => Content::Image(Source::Base64 { media_type: media_type(&IMAGES)?, data }),
        ("audio", "bytes") => Content::Audio { data, format: format.clone() },
        ("document", "bytes" | "text") => {
            let media_type = media_type(&DOCUMENTS)?;
            let source = if is_text { Source::Text(data) } else { Source::Base64 { media_type, data } };
            Content::Document { source, name: taken_text(members, "name") }
        }
        _ => return None,
    };
    // A text in the request has no media type, so its format stays, unless it is plain.
    let keeps_format = is_text && format != "txt";
    members.retain(|name, _| name != "source" && (name != "format" || keeps_format));
    Some(Part { extra: Extra::new(OWN, std::mem::take(members)), ..Part::new(content) })
}

fn taken_text(members: &mut Map<String, Value>, name: &str) -> Option<String> {
    members.get(name)?.as_str()?;
    match members.shift_remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Thoughts. Only Claude's are signed, or encrypted.
fn reasoning(value: &mut Value) -> Option<Part> {
    let (name, inner) = value.as_object_mut().filter(|members| members.len() == 1)?.iter_mut().next()?;
    if name == "redactedContent" {
        let seal = Seal::of_claude(SealKind::Encrypted, unwrapped(inner.as_str()?)?);
        return Some(Part { seal, ..Part::new(Content::Reasoning(String::new())) });
    }
    let members = inner.as_object_mut().filter(|_| name == "reasoningText")?;
    let text = taken_text(members, "text").unwrap_or_default();
    let seal = taken_text(members, "signature").and_then(|value| Seal::of_claude(SealKind::Signature, value));
    let extra = Extra::new(OWN, std::mem::take(members));
    Some(Part { content: Content::Reasoning(text), seal, extra })
}

/// Claude's own spelling of encrypted thoughts, which Converse wraps in base64 once more.
pub(super) fn unwrapped(bytes: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(bytes).ok()?).ok()?;
    (wrapped(&text) == bytes).then_some(text)
}

/// Converse's spelling of `text`, as bytes.
pub(super) fn wrapped(text: &str) -> String {
    STANDARD.encode(text)
}

/// A text with its sources.
fn cited(value: &mut Value) -> Option<Part> {
    let members = value.as_object_mut()?;
    let pieces = members.get("content")?.as_array()?.iter();
    let text = pieces.map(|piece| piece["text"].as_str().filter(|_| is_single(piece))).collect::<Option<String>>()?;
    members.shift_remove("content");
    Some(Part { extra: Extra::new(OWN, std::mem::take(members)), ..Part::text(text) })
}

fn is_single(value: &Value) -> bool {
    value.as_object().is_some_and(|members| members.len() == 1)
}

fn tool_use(value: Value, place: Place<'_>) -> Result<Part, Unsupported> {
    let mut members = Members::of(value, place)?;
    let (id, name) = (filled(&mut members, "toolUseId")?, filled(&mut members, "name")?);
    members.drop_if("type", "tool_use");
    let arguments = members.arguments("input").unwrap_or_else(|| "{}".to_owned());
    let content = Content::ToolCall(ToolCall { id, name, arguments });
    Ok(Part { extra: members.rest(OWN), ..Part::new(content) })
}

pub(super) fn filled(members: &mut Members<'_>, name: &str) -> Result<String, Unsupported> {
    let text = members.required_text(name)?;
    if text.is_empty() { Err(members.place().name(name).wrong("is empty")) } else { Ok(text) }
}

fn tool_result(value: Value, place: Place<'_>) -> Result<Part, Unsupported> {
    let mut members = Members::of(value, place)?;
    let call_id = filled(&mut members, "toolUseId")?;
    let parts = read_blocks(members.list("content")?, &place.name("content"), Role::Tool)?;
    let is_error = members.get("status").is_some_and(|status| status == "error");
    members.drop_if("status", "success");
    members.drop_if("status", "error");
    let content = Content::ToolResult(ToolResult { call_id, parts, is_error });
    Ok(Part { extra: members.rest(OWN), ..Part::new(content) })
}

/// Marks what has `extra` as `point` says; false where that is no cache point, or there is a mark already.
pub(super) fn set_mark(extra: &mut Extra, point: &Value) -> bool {
    let Some(Value::Object(point)) = point.get("cachePoint").filter(|_| is_single(point)) else { return false };
    let mut members = extra.members(OWN);
    if members.contains_key(MARK) {
        return false;
    }
    members.insert(MARK.into(), renamed(point, "default", "ephemeral").into());
    *extra = Extra::new(OWN, members);
    true
}

/// The cache point for a mark, which may last for an hour if `may_last`.
pub(super) fn cache_point(mark: &Value, may_last: bool) -> Value {
    let mut point = mark.as_object().map(|mark| renamed(mark, "ephemeral", "default")).unwrap_or_default();
    if !may_last {
        point.shift_remove("ttl");
    }
    json!({"cachePoint": point})
}

fn renamed(members: &Map<String, Value>, from: &str, to: &str) -> Map<String, Value> {
    let mut members = members.clone();
    if members.get("type").is_some_and(|kind| kind == from) {
        members.insert("type".into(), to.into());
    }
    members
}

/// What marks `extra`, whichever format it is of.
pub(super) fn mark(extra: &Extra) -> Option<&Value> {
    extra.get()?.1.get(MARK)
}

/// `{name: members}`, with what the block of a Converse request or reply said beside.
pub(super) fn block(name: &str, mut members: Value, extra: &Extra) -> Value {
    for (name, value) in extra.of(OWN).into_iter().flatten().filter(|(name, _)| *name != MARK) {
        if let Value::Object(members) = &mut members {
            members.entry(name).or_insert_with(|| value.clone());
        }
    }
    json!({name: members})
}

/// The block of a text.
pub(super) fn text_block(text: &str, extra: &Extra) -> Value {
    if let Some(json) = extra.member(OWN, "json") {
        json!({"json": json})
    } else if extra.of(OWN).is_some_and(|own| own.keys().any(|name| name != MARK)) {
        block("citationsContent", json!({"content": [{"text": text}]}), extra)
    } else {
        json!({"text": text})
    }
}

/// The block of thoughts, with the seal if it is Claude's.
pub(super) fn reasoning_block(text: &str, part: &Part) -> Value {
    let told = match part.claudes_seal() {
        Some(Seal { kind: SealKind::Encrypted, value, .. }) => {
            return json!({"reasoningContent": {"redactedContent": wrapped(value)}});
        }
        Some(seal) => json!({"text": text, "signature": seal.value}),
        None => json!({"text": text}),
    };
    json!({"reasoningContent": block("reasoningText", told, &part.extra)})
}
