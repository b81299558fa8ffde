//! Contents of messages, and what an assistant says: in requests and in replies alike.

use serde_json::{Map, Value, json};

use super::{OWN, STOOD_IN, merge_extra};
use crate::llm::FormatId;
use crate::llm::chat::{Content, Extra, Issuer, Part, Seal, SealKind, Source, ToolCall};
use crate::llm::claude::thinking_block;
use crate::llm::error::Unsupported;
use crate::llm::members::{Members, Place, object};

/// Where thoughts stand: DeepSeek and most others, and OpenRouter, newer vLLM and Ollama.
pub(super) const THOUGHTS: [&str; 2] = ["reasoning_content", "reasoning"];

/// Stands between thoughts of several parts.
pub(super) const BETWEEN_THOUGHTS: &str = "\n\n";

/// Reads a content: a text, or a list of parts. Parts of types that aren't known stay whole.
pub(super) fn read(content: Option<Value>, place: Place<'_>) -> Result<Vec<Part>, Unsupported> {
    match content {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::text(text)]),
        Some(Value::Array(parts)) => {
            parts.into_iter().enumerate().map(|(index, part)| read_part(part, place.index(index))).collect()
        }
        Some(_) => Err(place.wrong("must be a text or a list of parts")),
    }
}

fn read_part(part: Value, place: Place<'_>) -> Result<Part, Unsupported> {
    if let Some(thought) = mistral_thought(&part) {
        return Ok(thought);
    }
    let kind = part["type"].as_str().unwrap_or_default().to_owned();
    if !matches!(&*kind, "text" | "refusal" | "image_url" | "input_audio" | "file") {
        return Ok(Part::new(Content::Foreign(OWN, part)));
    }
    let mut part = Members::of(part, place)?;
    part.take("type");
    let content = match &*kind {
        "image_url" => {
            // Mistral allows the bare address.
            if let Some(url @ Value::String(_)) = part.get("image_url").cloned() {
                part.put_back("image_url", json!({"url": url}));
            }
            let has_own = part.get("detail").is_some();
            let (source, detail) = part.within_required("image_url", |image| {
                image.drop_if("detail", "auto");
                let detail = if has_own { None } else { image.take("detail") };
                Ok((Source::of_address(&image.required_text("url")?), detail))
            })?;
            detail.into_iter().for_each(|detail| part.put_back("detail", detail));
            Content::Image(source)
        }
        "input_audio" => part.within_required("input_audio", |audio| {
            Ok(Content::Audio { data: audio.required_text("data")?, format: audio.required_text("format")? })
        })?,
        "file" => part.within_required("file", |file| {
            let name = file.text("filename")?;
            let source = match file.text("file_id")? {
                Some(id) => Source::File(id),
                None => Source::of_address(&file.required_text("file_data")?),
            };
            Ok(Content::Document { source, name })
        })?,
        "refusal" => Content::Refusal(part.required_text("refusal")?),
        _ => Content::Text(part.required_text("text")?),
    };
    Ok(Part { content, seal: None, extra: part.rest(OWN) })
}

/// Mistral's thoughts, which stand among the parts of the content and are parts themselves.
pub(super) fn mistral_thought(part: &Value) -> Option<Part> {
    let mut rest = part.as_object().filter(|part| part.get("type").is_some_and(|kind| kind == "thinking"))?.clone();
    let thoughts = rest.shift_remove("thinking")?;
    let texts = thoughts.as_array()?.iter().map(|part| {
        let members =
            part.as_object().filter(|part| part.len() == 2 && part.get("type").is_some_and(|kind| kind == "text"));
        members?.get("text")?.as_str()
    });
    let text: String = texts.collect::<Option<_>>()?;
    rest.shift_remove("type");
    rest.insert(STOOD_IN.into(), "content".into());
    Some(Part { extra: Extra::new(OWN, rest), ..Part::new(Content::Reasoning(text)) })
}

/// Writes a part of a content. None where it has no place in one.
pub(super) fn write_part(part: &Part) -> Option<Value> {
    let mut written = object(match &part.content {
        Content::Text(text) => json!({"type": "text", "text": text}),
        Content::Refusal(text) => json!({"type": "refusal", "refusal": text}),
        Content::Reasoning(text) => json!({"type": "thinking", "thinking": [{"type": "text", "text": text}]}),
        Content::Image(source) => {
            let detail =
                [OWN, FormatId::OpenAiResponses].iter().find_map(|format| part.extra.member(*format, "detail"));
            json!({"type": "image_url", "image_url": object(json!({"url": source.address()?, "detail": detail}))})
        }
        Content::Document { source, name } => {
            let (id, data) = match source {
                Source::File(id) => (Some(id), None),
                inline => (None, Some(inline.address()?)),
            };
            json!({"type": "file", "file": object(json!({"file_id": id, "filename": name, "file_data": data}))})
        }
        Content::Audio { data, format } => {
            json!({"type": "input_audio", "input_audio": {"data": data, "format": format}})
        }
        Content::Foreign(OWN, whole) => return Some(whole.clone()),
        Content::Foreign(..) | Content::ToolCall(_) | Content::ToolResult(_) => return None,
    });
    merge_extra(&mut written, &part.extra);
    if matches!(part.content, Content::Image(_)) {
        written.shift_remove("detail");
    }
    Some(written.into())
}

/// Reads what an assistant says: thoughts, content, refusal and calls. In a reply, calls without an id get one, made of
/// the reply's.
pub(super) fn read_assistant(message: &mut Members<'_>, reply_id: Option<&str>) -> Result<Vec<Part>, Unsupported> {
    let place = message.place();
    let mut parts = read_thoughts(message);
    let content = read(message.take("content"), place.name("content"))?;
    // A content that is empty is how some say that there is none.
    parts.extend(content.into_iter().filter(|part| part.as_text() != Some("") || !part.extra.is_empty()));
    if let Some(refusal) = message.text("refusal")?.filter(|refusal| !refusal.is_empty()) {
        parts.push(Part::new(Content::Refusal(refusal)));
    }
    if let Some(seal) = take_google_seal(message) {
        let of_text = parts.iter_mut().rfind(|part| matches!(part.content, Content::Text(_)));
        match of_text {
            Some(part) => part.seal = Some(seal),
            None => parts.push(Part { seal: Some(seal), ..Part::text("") }),
        }
    }
    let calls = place.name("tool_calls");
    for (index, call) in message.list("tool_calls")?.into_iter().enumerate() {
        parts.push(read_call(call, calls.index(index), index, reply_id)?);
    }
    Ok(parts)
}

/// Thoughts as one text, and as LiteLLM tells Claude's, sealed. Where both are there, the latter say it all.
fn read_thoughts(message: &mut Members<'_>) -> Vec<Part> {
    let blocks = message.get("thinking_blocks").and_then(Value::as_array).filter(|blocks| !blocks.is_empty());
    let sealed = |block: &Value| read_thinking_block(block).filter(|part| part.seal.is_some());
    if let Some(parts) = blocks.and_then(|blocks| blocks.iter().map(sealed).collect::<Option<Vec<Part>>>()) {
        message.take("thinking_blocks");
        message.drop_if(THOUGHTS[0], thoughts_of(&parts, BETWEEN_THOUGHTS));
        message.drop_if(THOUGHTS[0], thoughts_of(&parts, ""));
        return parts;
    }
    for name in THOUGHTS {
        let Some(text) = message.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()) else { continue };
        let part = Part { extra: stood_in(name), ..Part::new(Content::Reasoning(text.to_owned())) };
        message.take(name);
        return vec![part];
    }
    Vec::new()
}

/// The mark of thoughts that stood in the member `name`; none for the usual one.
pub(super) fn stood_in(name: &str) -> Extra {
    let mark = (name != THOUGHTS[0]).then(|| (STOOD_IN.to_owned(), Value::from(name)));
    Extra::new(OWN, mark.into_iter().collect())
}

/// Where a part stood, if not in the usual member.
pub(super) fn where_it_stood(part: &Part) -> &str {
    part.extra.member(OWN, STOOD_IN).and_then(Value::as_str).unwrap_or_default()
}

/// All thoughts, joined.
pub(super) fn thoughts_of(parts: &[Part], separator: &str) -> String {
    let texts = parts.iter().filter_map(|part| match &part.content {
        Content::Reasoning(text) if !text.is_empty() && where_it_stood(part) != "content" => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join(separator)
}

/// A block of Claude's thoughts; in a stream, a piece of one.
pub(super) fn read_thinking_block(block: &Value) -> Option<Part> {
    let mut rest = block.as_object()?.clone();
    let kind = rest.shift_remove("type")?;
    let mut take = |name: &str| match rest.shift_remove(name) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let (text, kind, value) = match kind.as_str()? {
        "thinking" => (take("thinking"), SealKind::Signature, take("signature")),
        "redacted_thinking" => (String::new(), SealKind::Encrypted, take("data")),
        _ => return None,
    };
    let seal = Seal::of_claude(kind, value);
    Some(Part { content: Content::Reasoning(text), seal, extra: Extra::new(OWN, rest) })
}

/// Writes thoughts that Claude has sealed as a block.
pub(super) fn write_thinking_block(text: &str, seal: &Seal, extra: &Extra) -> Option<Value> {
    let mut block = (seal.issuer == Issuer::Anthropic).then(|| object(thinking_block(text, seal)))?;
    merge_extra(&mut block, extra);
    Some(block.into())
}

/// Takes out the signature of Google's that stands in `extra_content`.
pub(super) fn take_google_seal(members: &mut Members<'_>) -> Option<Seal> {
    let value = members.get("extra_content")?["google"]["thought_signature"].as_str()?.to_owned();
    let mut rest = members.take("extra_content")?;
    let is_empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
    if let Some(google) = rest.get_mut("google").and_then(Value::as_object_mut) {
        google.shift_remove("thought_signature");
    }
    if let Value::Object(rest) = &mut rest {
        rest.retain(|name, value| name != "google" || !is_empty(value));
    }
    if !is_empty(&rest) {
        members.put_back("extra_content", rest);
    }
    (!value.is_empty()).then_some(Seal { issuer: Issuer::Google, kind: SealKind::Signature, value })
}

/// `extra_content` with a signature of Google's.
pub(super) fn write_google_seal(seal: Option<&Seal>) -> Option<Value> {
    let seal = seal.filter(|seal| seal.issuer == Issuer::Google)?;
    Some(json!({"google": {"thought_signature": seal.value}}))
}

/// A call's id. One that has none, as some of Google's, gets one, because its result refers to it.
pub(super) fn call_id(id: &str, reply_id: &str, index: usize) -> String {
    if id.is_empty() { format!("call_{reply_id}_{index}") } else { id.to_owned() }
}

fn read_call(call: Value, place: Place<'_>, index: usize, reply_id: Option<&str>) -> Result<Part, Unsupported> {
    if !call["type"].is_null() && call["type"] != "function" {
        return Ok(Part { extra: stood_in("tool_calls"), ..Part::new(Content::Foreign(OWN, call)) });
    }
    let mut call = Members::of(call, place)?;
    call.take("type");
    call.drop_if("index", index);
    let id = call.text("id")?.unwrap_or_default();
    let id = reply_id.map_or(id.clone(), |reply| call_id(&id, reply, index));
    let (name, arguments) = call.within_required("function", |function| {
        let arguments = function.arguments("arguments").unwrap_or_default();
        Ok((function.required_text("name")?, arguments))
    })?;
    if name.is_empty() {
        return Err(place.name("function").name("name").wrong("is empty"));
    }
    let seal = take_google_seal(&mut call);
    Ok(Part { content: Content::ToolCall(ToolCall { id, name, arguments }), seal, extra: call.rest(OWN) })
}

/// Writes a call, with the id that it has here.
pub(super) fn write_call(call: &ToolCall, id: &str, seal: Option<&Seal>, extra: &Extra) -> Map<String, Value> {
    let function = json!({"name": call.name, "arguments": call.arguments});
    let google = write_google_seal(seal);
    let mut written = object(json!({"id": id, "type": "function", "function": function, "extra_content": google}));
    merge_extra(&mut written, extra);
    written
}

/// What an assistant says, by the members of the message in which it stands.
#[derive(Default)]
pub(super) struct Spoken<'p> {
    /// Parts of the content.
    pub(super) said: Vec<Part>,
    pub(super) refusal: String,
    /// Thoughts that Claude has sealed.
    pub(super) blocks: Vec<Value>,
    pub(super) calls: Vec<Value>,
    /// Google's signature of the text.
    pub(super) seal: Option<&'p Seal>,
}

impl<'p> Spoken<'p> {
    /// What these parts say. `id` is the id of a call here, by its number; of the seals only those are told that pass.
    pub(super) fn of(
        parts: &'p [Part],
        id: impl Fn(&ToolCall, usize) -> String,
        passes: impl Fn(&Seal) -> bool,
    ) -> Self {
        let mut spoken = Self::default();
        for part in parts {
            let seal = part.seal.as_ref().filter(|seal| passes(seal));
            match &part.content {
                Content::ToolCall(call) => {
                    let id = id(call, spoken.calls.len());
                    spoken.calls.push(write_call(call, &id, seal, &part.extra).into());
                    continue;
                }
                Content::Foreign(OWN, call) if where_it_stood(part) == "tool_calls" => spoken.calls.push(call.clone()),
                Content::Reasoning(text) if where_it_stood(part) != "content" => {
                    spoken.blocks.extend(seal.and_then(|seal| write_thinking_block(text, seal, &part.extra)));
                }
                Content::Refusal(text) if part.extra.of(OWN).is_none() => spoken.refusal.push_str(text),
                Content::Text(text) if text.is_empty() && part.extra.of(OWN).is_none() => {}
                _ => spoken.said.push(part.clone()),
            }
            spoken.seal = seal.filter(|seal| seal.issuer == Issuer::Google).or(spoken.seal);
        }
        spoken
    }
}

/// The member in which thoughts stand.
pub(super) fn thoughts_member(parts: &[Part]) -> &str {
    parts.iter().map(where_it_stood).find(|name| THOUGHTS.contains(name)).unwrap_or(THOUGHTS[0])
}

/// Pages that a text cites, as annotations. `start` and `end` are where it stands in the whole content, in characters.
/// Passages of the caller's own documents are no pages.
pub(super) fn annotations(extra: &Extra, start: usize, end: usize) -> Vec<Value> {
    let list = |format, name| extra.member(format, name).and_then(Value::as_array).into_iter().flatten();
    let annotation = |page: &Value, (start, end): (usize, usize)| {
        let (url, title) = (page["url"].as_str()?, page["title"].as_str().unwrap_or_default());
        let cited = json!({"start_index": start, "end_index": end, "url": url, "title": title});
        Some(json!({"type": "url_citation", "url_citation": cited}))
    };
    let within = |page: &Value| {
        let index = |name: &str| usize::try_from(page[name].as_u64()?).ok()?.checked_add(start);
        (index("start_index").unwrap_or(start), index("end_index").unwrap_or(end))
    };
    let anthropic = list(FormatId::Anthropic, "citations").filter_map(|page| annotation(page, (start, end)));
    let responses = list(FormatId::OpenAiResponses, "annotations").filter_map(|page| annotation(page, within(page)));
    anthropic.chain(responses).collect()
}
