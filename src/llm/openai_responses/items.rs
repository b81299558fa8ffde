//! Items that the model wrote, as parts of a message or an answer, and back.
//!
//! An item has one part or several: a message those of its content, reasoning its summaries and its texts, a call
//! itself. Members of the item that have no field stand in the extra of its first part, as the member `item`. A part
//! with that member begins an item; without it, a text after a text goes on with the same item, and so do thoughts
//! after thoughts.

use serde_json::{Map, Value, json};

use super::OWN;
use crate::llm::FormatId;
use crate::llm::chat::{Content, Extra, Issuer, Part, Seal, SealKind, Source, ToolCall};
use crate::llm::error::Unsupported;
use crate::llm::members::{Members, Place, object, some};

/// The member of a part's extra that holds the members of its item.
pub(super) const ITEM: &str = "item";
/// Calls that the caller carries out, though only this format has them.
const CALLERS: [&str; 3] = ["custom_tool_call", "local_shell_call", "apply_patch_call"];
/// Stands in ids of items that another API's answer was told as. Nobody keeps an item of such an id.
const MADE: &str = "_refrain";

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Reasoning,
    Call,
    /// One that only this format has, whole.
    Foreign,
}

/// The kind of the item that a part of an answer belongs to; none where this format can't say the part.
pub(super) fn kind(part: &Part) -> Option<Kind> {
    match &part.content {
        Content::Text(_) | Content::Refusal(_) => Some(Kind::Message),
        Content::Reasoning(_) => Some(Kind::Reasoning),
        Content::ToolCall(_) => Some(Kind::Call),
        Content::Foreign(OWN, _) if part.extra.member(OWN, ITEM).is_some() => Some(Kind::Foreign),
        Content::Foreign(OWN, _) => Some(Kind::Message),
        _ => None,
    }
}

/// Whether `part` begins an item, where it stands behind `before`. A seal is always on an item's last part.
pub(super) fn begins(before: &Part, part: &Part) -> bool {
    let may_go_on = kind(before) == kind(part) && matches!(kind(part), Some(Kind::Message | Kind::Reasoning));
    !may_go_on || before.seal.is_some() || part.extra.member(OWN, ITEM).is_some()
}

/// The parts by items, without those that this format can't say.
pub(super) fn groups(parts: &[Part]) -> Vec<Vec<&Part>> {
    let mut groups: Vec<Vec<&Part>> = Vec::new();
    for part in parts.iter().filter(|part| kind(part).is_some()) {
        match groups.last_mut() {
            Some(group) if group.last().is_some_and(|last| !begins(last, part)) => group.push(part),
            _ => groups.push(vec![part]),
        }
    }
    groups
}

/// Whether a part is a call that the caller is to carry out.
pub(super) fn is_callers(part: &Part) -> bool {
    match &part.content {
        Content::ToolCall(_) => true,
        Content::Foreign(OWN, item) => item["type"].as_str().is_some_and(|kind| CALLERS.contains(&kind)),
        _ => false,
    }
}

/// Whether an item of this type says the same whoever reads it, because nothing of it is kept or done at the provider.
pub(super) fn is_self_contained(kind: &str) -> bool {
    CALLERS.contains(&kind.strip_suffix("_output").unwrap_or(kind))
}

/// Appends the parts of an item.
pub(super) fn append(parts: &mut Vec<Part>, mut item: Vec<Part>) {
    if let (Some(before), Some(first)) = (parts.last(), item.first_mut())
        && !begins(before, first)
    {
        mark(first, Map::new());
    }
    parts.extend(item);
}

pub(super) fn mark(part: &mut Part, item: Map<String, Value>) {
    let mut members = part.extra.members(OWN);
    members.insert(ITEM.into(), item.into());
    part.extra = Extra::new(OWN, members);
}

/// Reads an item that the model wrote.
pub(super) fn read(item: Value, place: Place<'_>) -> Result<Vec<Part>, Unsupported> {
    let kind = item["type"].as_str().unwrap_or("message").to_owned();
    if !item.is_object() || !matches!(kind.as_str(), "message" | "reasoning" | "function_call") {
        let mut part = Part::new(Content::Foreign(OWN, item));
        mark(&mut part, Map::new());
        return Ok(vec![part]);
    }
    let mut members = Members::of(item, place)?;
    members.take("type");
    if kind == "message" {
        members.take("role");
    }
    members.drop_if("status", "completed");
    let mut seal = google_seal(&mut members);
    let mut parts = match kind.as_str() {
        "message" => content(&mut members, "content", "output_text")?,
        "reasoning" => {
            let mut parts = content(&mut members, "summary", "summary_text")?;
            parts.append(&mut content(&mut members, "content", "reasoning_text")?);
            seal = members.text("encrypted_content")?.filter(|sealed| !sealed.is_empty()).map(unsealed).or(seal);
            if parts.is_empty() {
                parts.push(Part::new(Content::Reasoning(String::new())));
            }
            parts
        }
        _ => {
            let id = members.text("call_id")?.or_else(|| members.get("id")?.as_str().map(str::to_owned));
            let id = id.ok_or_else(|| place.name("call_id").wrong("is missing"))?;
            let arguments = members.arguments("arguments").unwrap_or_default();
            let name = members.required_text("name")?;
            vec![Part::new(Content::ToolCall(ToolCall { id, name, arguments }))]
        }
    };
    let mut rest = object(members.into_map().into());
    if let Some(Value::String(id)) = rest.get_mut("id")
        && let Some((prefix, _)) = id.split_once(MADE)
    {
        *id = format!("{prefix}{MADE}");
        if kind != "reasoning" {
            rest.shift_remove("id");
        }
    }
    if parts.is_empty() && !(rest.is_empty() && seal.is_none()) {
        parts.push(Part::text(""));
    }
    if let Some(first) = parts.first_mut().filter(|_| !rest.is_empty()) {
        mark(first, rest);
    }
    if let Some(last) = parts.last_mut() {
        last.seal = seal;
    }
    Ok(parts)
}

/// The parts of a content, which is a text or a list. `usual` is the type that texts have there.
pub(super) fn content(members: &mut Members<'_>, name: &str, usual: &str) -> Result<Vec<Part>, Unsupported> {
    let outer = members.place();
    let place = outer.name(name);
    match members.take(name) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![read_part(json!({"type": usual, "text": text}), place, usual)?]),
        Some(Value::Array(list)) => {
            list.into_iter().enumerate().map(|(index, part)| read_part(part, place.index(index), usual)).collect()
        }
        Some(_) => Err(place.wrong("must be a text or a list of parts")),
    }
}

fn read_part(part: Value, place: Place<'_>, usual: &str) -> Result<Part, Unsupported> {
    if part.is_object() && !part["type"].is_null() && !part["type"].is_string() {
        return Err(place.name("type").wrong("must be a text"));
    }
    let kind = part["type"].as_str().unwrap_or(usual).to_owned();
    let is_thought = matches!(usual, "summary_text" | "reasoning_text");
    let is_text = is_thought || matches!(kind.as_str(), "input_text" | "output_text" | "text");
    let is_known = match kind.as_str() {
        "refusal" | "input_image" | "input_file" => true,
        "input_audio" => part["input_audio"].as_object().is_some_and(|audio| audio.len() == 2),
        _ => is_text,
    };
    if !part.is_object() || !is_known {
        return Ok(Part::new(Content::Foreign(OWN, part)));
    }
    let mut members = Members::of(part, place)?;
    members.take("type");
    let content = match kind.as_str() {
        _ if is_text => {
            let text = members.required_text("text")?;
            for name in ["annotations", "logprobs"] {
                members.drop_if(name, Vec::<Value>::new());
            }
            // Summaries and texts of reasoning are told apart by their type when they are written.
            if kind != usual || usual == "reasoning_text" {
                members.put_back("type", kind.into());
            }
            if is_thought { Content::Reasoning(text) } else { Content::Text(text) }
        }
        "refusal" => Content::Refusal(members.required_text("refusal")?),
        "input_image" => {
            members.drop_if("detail", "auto");
            match (members.text("image_url")?, members.text("file_id")?) {
                (Some(url), id) => {
                    id.into_iter().for_each(|id| members.put_back("file_id", id.into()));
                    Content::Image(Source::of_address(&url))
                }
                (None, Some(id)) => Content::Image(Source::File(id)),
                (None, None) => return Err(place.name("image_url").wrong("is missing")),
            }
        }
        "input_file" => {
            let name = members.text("filename")?;
            let source = match (members.text("file_data")?, members.text("file_url")?, members.text("file_id")?) {
                (Some(data), None, None) => match Source::of_address(&data) {
                    // Some callers leave out what stands before the bytes of a PDF.
                    Source::Url(_) => {
                        members.put_back("file_data", data.as_str().into());
                        Source::Base64 { media_type: "application/pdf".into(), data }
                    }
                    source => source,
                },
                (None, Some(url), None) => Source::Url(url),
                (None, None, Some(id)) => Source::File(id),
                _ => return Err(place.wrong("must have one of file_data, file_url and file_id")),
            };
            Content::Document { source, name }
        }
        _ => members.within_required("input_audio", |audio| {
            Ok(Content::Audio { data: audio.required_text("data")?, format: audio.required_text("format")? })
        })?,
    };
    Ok(Part { content, seal: None, extra: members.rest(OWN) })
}

/// Where an item is written to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side<'a> {
    /// The input of a request: whatever has no id there goes without.
    Input,
    /// The output of a reply with this id, at this place.
    Output(&'a str, usize),
}

/// Writes the item of which these are the parts. None where it says nothing that may go there.
pub(super) fn write(parts: &[&Part], side: Side<'_>) -> Option<Value> {
    let (first, last) = (parts.first()?, parts.last()?);
    let (seal, members) = (last.seal.as_ref(), first.extra.member(OWN, ITEM).and_then(Value::as_object));
    let mut rest = members.cloned().unwrap_or_default();
    let given = rest.shift_remove("id").filter(|id| !id.as_str().is_some_and(|id| id.ends_with(MADE)));
    let is_made = given.is_none() && members.is_some_and(|members| members.contains_key("id"));
    let id = |prefix: &str| match side {
        Side::Output(reply, index) => given.clone().or(Some(format!("{prefix}{MADE}_{reply}_{index}").into())),
        Side::Input => given.clone(),
    };
    let mut item = object(match (kind(first)?, &first.content) {
        (Kind::Foreign, Content::Foreign(_, whole)) => return Some(whole.clone()),
        (Kind::Call, Content::ToolCall(call)) => json!({"id": id("fc"), "type": "function_call", "status": "completed",
            "arguments": call.arguments, "call_id": call.id, "name": call.name}),
        (Kind::Reasoning, _) => {
            let is_others = is_made || seal.is_some_and(|seal| seal.issuer != Issuer::OpenAi);
            if is_others && matches!(side, Side::Input) {
                return None;
            }
            let texts = parts.iter().filter_map(|part| thought(part));
            let (summary, content): (Vec<_>, Vec<_>) = texts.partition(|part| part["type"] == "summary_text");
            json!({"id": id("rs"), "type": "reasoning", "summary": summary, "content": some(content),
                "encrypted_content": seal.map(sealed)})
        }
        _ => {
            let id = id("msg");
            let status = id.as_ref().map(|_| "completed");
            // A message without an id is an easy one, whose plain text every server of this API takes.
            let plain = parts.first().filter(|_| id.is_none() && parts.len() == 1).and_then(|part| plain_text(part));
            let list = || parts.iter().filter_map(|part| write_part(part, "output_text")).collect();
            let content = plain.map_or_else(list, Value::from);
            json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
        }
    });
    if let (Side::Output(..), Some(Seal { issuer: Issuer::Google, value, .. })) = (side, seal)
        && !matches!(first.content, Content::Reasoning(_))
    {
        item.insert("extra_content".into(), json!({"google": {"thought_signature": value}}));
    }
    item.extend(rest);
    Some(item.into())
}

/// The text of a part that says nothing beside it.
pub(super) fn plain_text(part: &Part) -> Option<&str> {
    part.as_text().filter(|_| part.extra.of(OWN).is_none_or(|members| members.keys().all(|name| name == ITEM)))
}

/// A summary or a text of reasoning; none where it is empty, because only the sealed form is known.
pub(super) fn thought(part: &Part) -> Option<Value> {
    let Content::Reasoning(text) = &part.content else { return None };
    (!text.is_empty()).then(|| with_extra(json!({"type": "summary_text", "text": text}), part))
}

/// Writes a part of a content. `text` is the type of texts there. None where it has no place in one.
pub(super) fn write_part(part: &Part, text: &str) -> Option<Value> {
    let written = match &part.content {
        Content::Text(said) if text == "output_text" => {
            json!({"type": text, "annotations": citations(part, said), "logprobs": [], "text": said})
        }
        Content::Text(said) => json!({"type": text, "text": said}),
        Content::Refusal(said) => json!({"type": "refusal", "refusal": said}),
        Content::Image(Source::File(id)) => json!({"type": "input_image", "file_id": id}),
        Content::Image(source) => json!({"type": "input_image", "image_url": source.address()?}),
        Content::Document { source: Source::Text(said), name } => {
            let texts: Vec<&str> = name.as_deref().into_iter().chain([said.as_str()]).collect();
            return Some(json!({"type": text, "text": texts.join("\n\n")}));
        }
        Content::Document { source, name } => {
            let (member, value) = match source {
                Source::File(id) => ("file_id", id.clone()),
                Source::Url(url) => ("file_url", url.clone()),
                source => ("file_data", source.address()?),
            };
            object(json!({"type": "input_file", member: value, "filename": name})).into()
        }
        Content::Audio { data, format } => {
            json!({"type": "input_audio", "input_audio": {"data": data, "format": format}})
        }
        Content::Foreign(OWN, whole) => return Some(whole.clone()),
        _ => return None,
    };
    Some(with_extra(written, part))
}

/// Pages that Anthropic's text cites, as annotations. Passages of the caller's own documents are no pages.
fn citations(part: &Part, text: &str) -> Vec<Value> {
    let pages = part.extra.member(FormatId::Anthropic, "citations").and_then(Value::as_array);
    let annotation = |page: &Value| {
        Some(json!({"type": "url_citation", "start_index": 0, "end_index": text.chars().count(),
            "url": page["url"].as_str()?, "title": page["title"].as_str().unwrap_or_default()}))
    };
    pages.into_iter().flatten().filter_map(annotation).collect()
}

fn with_extra(mut written: Value, part: &Part) -> Value {
    if let (Some(all), Some(extra)) = (written.as_object_mut(), part.extra.of(OWN)) {
        all.extend(extra.iter().filter(|(name, _)| *name != ITEM).map(|(name, value)| (name.clone(), value.clone())));
    } else if let Some(detail) = part.extra.member(FormatId::OpenAiChat, "detail") {
        written["detail"] = detail.clone();
    }
    written
}

/// How seals of other makers begin as `encrypted_content`: they are told with their maker, so that callers can bring
/// them back.
const OTHERS: [(&str, Issuer, SealKind); 3] = [
    ("anthropic:signature:", Issuer::Anthropic, SealKind::Signature),
    ("anthropic:encrypted:", Issuer::Anthropic, SealKind::Encrypted),
    ("google:signature:", Issuer::Google, SealKind::Signature),
];

fn sealed(seal: &Seal) -> String {
    let head = OTHERS.iter().find(|(_, issuer, kind)| (*issuer, *kind) == (seal.issuer, seal.kind));
    format!("{}{}", head.map_or("", |(head, ..)| head), seal.value)
}

fn unsealed(text: String) -> Seal {
    let found =
        OTHERS.iter().find_map(|(head, issuer, kind)| Some((*issuer, *kind, text.strip_prefix(head)?.to_owned())));
    let (issuer, kind, value) = found.unwrap_or((Issuer::OpenAi, SealKind::Encrypted, text));
    Seal { issuer, kind, value }
}

/// Gemini's signature of a call or a text, where nothing else stands beside it.
fn google_seal(members: &mut Members<'_>) -> Option<Seal> {
    let value = members.get("extra_content")?["google"]["thought_signature"].as_str()?.to_owned();
    if *members.get("extra_content")? != json!({"google": {"thought_signature": value}}) {
        return None;
    }
    members.take("extra_content");
    Some(Seal { issuer: Issuer::Google, kind: SealKind::Signature, value })
}
