//! Writes a request.

use serde_json::{Map, Value, json};

use super::OWN;
use super::items::{self, Side};
use super::request::INSTRUCTIONS;
use crate::llm::FormatId;
use crate::llm::chat::{Chat, Content, Message, Output, Part, Retention, Role, Source, Tool, ToolChoice, ToolResult};
use crate::llm::error::Unsupported;
use crate::llm::members::{Place, object, some};
use crate::llm::models::family;
use crate::llm::openai;

/// The least that `max_output_tokens` may be.
const LEAST_TOKENS: u64 = 16;
/// Characters of a call's id, and of a user's name, at most.
const LONGEST_ID: usize = 64;

/// Writes a request. What this API doesn't have and what changes the sampling only, such as penalties, is left out
/// where the request came in another format.
pub(super) fn write(chat: &Chat, model: &str) -> Result<Value, Unsupported> {
    chat.may_become(OWN)?;
    let is_own = chat.format == OWN;
    let (instructions, messages) = instructions(chat);
    let place = Place::ROOT.name("tools");
    let tools =
        chat.tools.iter().enumerate().map(|(index, each)| {
            tool(each, is_own).ok_or_else(|| place.index(index).wrong("is a tool of another API's"))
        });
    let sampling = &chat.sampling;
    if !is_own && !sampling.stop.is_empty() {
        return Err(Unsupported::new("stop", "can't be said to the Responses API"));
    }
    let takes_sampling = is_own || family(model).sampling;
    let user = |user: &str| user.chars().take(if is_own { usize::MAX } else { LONGEST_ID }).collect::<String>();
    let mut out = object(json!({
        "model": some(model),
        "instructions": instructions,
        "input": input(chat, messages)?,
        "tools": some(tools.collect::<Result<Vec<Value>, _>>()?),
        "tool_choice": tool_choice(&chat.tool_choice)?,
        "parallel_tool_calls": chat.parallel_tool_calls,
        "max_output_tokens": sampling.max_tokens.map(|limit| if is_own { limit } else { limit.max(LEAST_TOKENS) }),
        "temperature": sampling.temperature.filter(|_| takes_sampling),
        "top_p": sampling.top_p.filter(|_| takes_sampling),
        "top_k": sampling.top_k.filter(|_| is_own),
        "frequency_penalty": sampling.frequency_penalty.filter(|_| is_own),
        "presence_penalty": sampling.presence_penalty.filter(|_| is_own),
        "seed": sampling.seed.filter(|_| is_own),
        "stop": some(sampling.stop.clone()),
        "text": text(chat)?,
        "reasoning": reasoning(chat, model),
        "stream": chat.delivery.is_stream().then_some(true),
        "user": chat.user.as_deref().map(user),
        "store": (!is_own && chat.retention == Retention::Nothing).then_some(false),
    }));
    let is_kept = |name: &str| match chat.format {
        OWN => true,
        FormatId::OpenAiChat => openai::UNSEEN.contains(&name),
        _ => false,
    };
    out.extend(chat.unseen.clone().into_iter().filter(|(name, _)| is_kept(name)));
    let mut rest = chat.extra.members(OWN);
    rest.retain(|name, _| !matches!(name.as_str(), "text" | "reasoning"));
    out.extend(rest);
    Ok(out.into())
}

/// The request as a reply repeats it: with the strictness of each function, which a request may leave open.
pub(super) fn repeated(chat: &Chat, model: &str) -> Option<Value> {
    let mut request = write(chat, model).ok()?;
    let told = request.get_mut("tools").and_then(Value::as_array_mut).into_iter().flatten();
    for (told, tool) in told.zip(&chat.tools) {
        if let Tool::Function { strict, .. } = tool {
            told["strict"] = (*strict == Some(true)).into();
        }
    }
    Some(request)
}

/// The text that goes to `instructions`, and the messages that don't: what came so, and of another API's request the
/// system prompt that it begins with.
fn instructions(chat: &Chat) -> (Option<String>, &[Message]) {
    let is_text = |message: &Message| message.parts.iter().all(|part| part.as_text().is_some());
    match chat.messages.split_first() {
        Some((first, rest)) if first.role == Role::System => {
            let is_marked = first.extra.member(OWN, INSTRUCTIONS).is_some();
            if is_marked || chat.format != OWN && is_text(first) && !rest.is_empty() {
                (Some(first.text("\n\n")).filter(|text| !text.is_empty()), rest)
            } else {
                (None, &chat.messages)
            }
        }
        _ => (None, &chat.messages),
    }
}

fn input(chat: &Chat, messages: &[Message]) -> Result<Option<Value>, Unsupported> {
    if let [Message { role: Role::User, parts, extra }] = messages
        && let ([part], true) = (parts.as_slice(), extra.is_empty())
        && let Some(text) = items::plain_text(part)
    {
        return Ok(Some(text.into()));
    }
    let (mut list, root) = (Vec::new(), Place::ROOT.name("messages"));
    let begin = chat.messages.len() - messages.len();
    for (index, message) in messages.iter().enumerate() {
        let place = root.index(begin + index);
        match message.role {
            Role::Assistant => assistant(chat, message, place, &mut list)?,
            Role::Tool => {
                for part in &message.parts {
                    let Content::ToolResult(result) = &part.content else {
                        return Err(place.wrong("must hold results of tools only"));
                    };
                    let item = json!({"type": "function_call_output", "call_id": fit(chat, &result.call_id),
                        "output": output(chat, result, place)?});
                    list.push(with_extra(item, message));
                }
            }
            Role::System | Role::Developer | Role::User => match message.parts.as_slice() {
                [part] if items::kind(part) == Some(items::Kind::Foreign) => {
                    list.extend(items::write(&[part], Side::Input));
                }
                parts => {
                    let role = match message.role {
                        Role::System => "system",
                        Role::Developer => "developer",
                        _ => "user",
                    };
                    let item = json!({"type": "message", "role": role, "content": content(chat, parts, place)?});
                    list.push(with_extra(item, message));
                }
            },
        }
    }
    Ok((!list.is_empty()).then(|| list.into()))
}

fn with_extra(mut item: Value, message: &Message) -> Value {
    if let (Some(members), Some(extra)) = (item.as_object_mut(), message.extra.of(OWN)) {
        members.extend(extra.clone());
    }
    item
}

/// A text where there is only one, otherwise a list of parts.
fn content(chat: &Chat, parts: &[Part], place: Place<'_>) -> Result<Value, Unsupported> {
    match parts {
        [] => Ok("".into()),
        [part] if items::plain_text(part).is_some() => Ok(part.as_text().into()),
        parts => {
            let part = |(index, part): (usize, &Part)| {
                let written =
                    items::write_part(part, "input_text").filter(|_| chat.format == OWN || is_reachable(chat, part));
                let mut written = written.ok_or_else(|| unsupported(place, index))?;
                if chat.format != OWN {
                    name_file(&mut written);
                }
                Ok(written)
            };
            parts.iter().enumerate().map(part).collect()
        }
    }
}

fn unsupported(place: Place<'_>, index: usize) -> Unsupported {
    place.name("content").index(index).wrong("has no counterpart in the Responses API")
}

/// Whether the provider can get at what another API's request refers to: files that OpenAI keeps, and public addresses.
fn is_reachable(chat: &Chat, part: &Part) -> bool {
    match &part.content {
        Content::Image(source) | Content::Document { source, .. } => match source {
            Source::File(_) => chat.format == FormatId::OpenAiChat,
            Source::Url(url) => url.starts_with("http"),
            Source::Base64 { .. } | Source::Text(_) => true,
        },
        _ => true,
    }
}

/// A file in the request must have a name that ends as those of its type do. Titles of other APIs' documents don't.
fn name_file(part: &mut Value) {
    let is_pdf = part["file_data"].as_str().is_some_and(|data| data.starts_with("data:application/pdf"));
    let name = part["filename"].as_str().unwrap_or("document");
    if is_pdf && !name.to_lowercase().ends_with(".pdf") {
        part["filename"] = format!("{name}.pdf").into();
    }
}

fn output(chat: &Chat, result: &ToolResult, place: Place<'_>) -> Result<Value, Unsupported> {
    let mut output = content(chat, &result.parts, place)?;
    if result.is_error {
        match &mut output {
            Value::String(text) => text.insert_str(0, "Error: "),
            Value::Array(list) => list.insert(0, json!({"type": "input_text", "text": "Error:"})),
            _ => {}
        }
    }
    Ok(output)
}

/// The items of a turn. Thoughts of other makers' models are left out: no model here can go on from them.
fn assistant(chat: &Chat, message: &Message, place: Place<'_>, list: &mut Vec<Value>) -> Result<(), Unsupported> {
    if let Some(index) = message.parts.iter().position(|part| items::kind(part).is_none()) {
        return Err(unsupported(place, index));
    }
    if message.parts.is_empty() && chat.format == OWN {
        list.push(json!({"type": "message", "role": "assistant", "content": ""}));
    }
    for group in items::groups(&message.parts) {
        let is_thought = group.first().is_some_and(|part| items::kind(part) == Some(items::Kind::Reasoning));
        if is_thought && chat.format != OWN && group.last().is_none_or(|part| part.seal.is_none()) {
            continue;
        }
        let Some(mut item) = items::write(&group, Side::Input) else { continue };
        if let Some(Value::String(id)) = item.get_mut("call_id") {
            *id = fit(chat, id);
        }
        if item["arguments"] == "" && chat.format != OWN {
            item["arguments"] = "{}".into();
        }
        list.push(item);
    }
    Ok(())
}

/// A call's id that isn't too long. Different ones stay different.
fn fit(chat: &Chat, id: &str) -> String {
    if chat.format == OWN || id.len() <= LONGEST_ID {
        return id.to_owned();
    }
    let begin: String = id.chars().filter(char::is_ascii).take(40).collect();
    format!("{begin}_{:016x}", openai::hash(id))
}

fn tool(tool: &Tool, is_own: bool) -> Option<Value> {
    let (name, description, parameters, strict, extra) = match tool {
        Tool::Foreign(OWN, whole) => return Some(whole.clone()),
        Tool::Foreign(..) => return None,
        Tool::Function { name, description, parameters, strict, extra } => {
            (name, description, parameters, strict, extra)
        }
    };
    let nothing = || (!is_own).then(|| json!({"type": "object", "properties": {}}));
    let is_strict = *strict == Some(true);
    let mut out = object(json!({
        "type": "function",
        "name": name,
        "description": description,
        "parameters": parameters.clone().or_else(nothing),
        // Where nothing is said, it is strict if it can be.
        "strict": (!is_own || !is_strict).then_some(is_strict),
    }));
    out.extend(extra.members(OWN));
    if extra.member(OWN, "strict").is_some() {
        out.shift_remove("strict");
    }
    Some(out.into())
}

fn tool_choice(choice: &ToolChoice) -> Result<Option<Value>, Unsupported> {
    if matches!(choice, ToolChoice::Foreign(format, _) if *format != OWN) {
        return Err(Unsupported::new("tool_choice", "is another API's"));
    }
    let function = |name: &String| json!({"type": "function", "name": name});
    let allowed = |mode: &str, tools| json!({"type": "allowed_tools", "mode": mode, "tools": tools});
    Ok(openai::tool_choice(choice, function, allowed))
}

/// What of the member `name` only this format knows.
fn rest_of(chat: &Chat, name: &str) -> Map<String, Value> {
    object(chat.extra.member(OWN, name).cloned().unwrap_or_default())
}

fn text(chat: &Chat) -> Result<Option<Map<String, Value>>, Unsupported> {
    let mut text = rest_of(chat, "text");
    let verbosity = chat.extra.member(FormatId::OpenAiChat, "verbosity");
    let format = match &chat.output {
        Output::Text => Value::Null,
        Output::JsonObject => json!({"type": "json_object"}),
        Output::JsonSchema { name, description, schema, strict } => {
            let name = name.as_deref().unwrap_or("answer");
            let mut format = object(json!({"type": "json_schema", "name": name, "schema": schema,
                "description": description, "strict": strict}));
            format.extend(object(text.get("format").cloned().unwrap_or_default()));
            format.into()
        }
        Output::Foreign(OWN, whole) => whole.clone(),
        Output::Foreign(..) => return Err(Unsupported::new("response_format", "is another API's")),
    };
    text.extend(object(json!({"verbosity": verbosity, "format": format})));
    Ok(some(text))
}

fn reasoning(chat: &Chat, model: &str) -> Option<Map<String, Value>> {
    let said = &chat.reasoning;
    let effort = match &said.effort {
        Some(effort) if matches!(chat.format, OWN | FormatId::OpenAiChat) => Some(effort.as_str()),
        _ => chat.effort().and_then(|effort| family(model).effort(effort)),
    };
    // How Anthropic and OpenAI say whether thoughts are shown.
    let summary = match said.summary.as_deref() {
        Some("summarized") => Some("auto"),
        Some("omitted") => None,
        summary => summary,
    };
    let mut reasoning = rest_of(chat, "reasoning");
    reasoning.extend(object(json!({"effort": effort, "summary": summary})));
    some(reasoning)
}
