//! A Converse request as a chat.

use serde_json::Value;

use super::OWN;
use super::content::{filled, read_blocks, set_mark};
use crate::llm::chat::{
    Chat, Content, Message, Output, Part, Reasoning, ReasoningMode, Role, Sampling, Tool, ToolChoice,
};
use crate::llm::error::Unsupported;
use crate::llm::members::{Members, Place};

/// What the model never sees.
const UNSEEN: [&str; 4] = ["performanceConfig", "projectIdentifier", "requestMetadata", "serviceTier"];
/// What no other API can be asked for.
const INDISPENSABLE: [&str; 2] = ["guardrailConfig", "promptVariables"];
/// What is kept whole and is nevertheless part of the request.
const CONTAINED: [&str; 7] =
    ["guardContent", "searchResult", "cachePoint", "toolUse", "toolResult", "reasoningContent", "citationsContent"];

/// Reads a request. `additionalModelRequestFields` stay as they are; what other formats can say of them is read, too.
pub(super) fn request(body: Value) -> Result<Chat, Unsupported> {
    let mut members = Members::of(body, Place::ROOT)?;
    let mut chat = Chat { format: OWN, ..Chat::default() };
    let place = Place::ROOT.name("system");
    let system = read_blocks(members.list("system")?, &place, Role::System)?;
    if !system.is_empty() {
        chat.messages.push(Message::new(Role::System, system));
    }
    members.each("messages", |message, place| read_message(message, place, &mut chat.messages))?;
    chat.sampling = members.within("inferenceConfig", sampling)?.unwrap_or_default();
    members.within("toolConfig", |config| {
        config.each("tools", |tool, place| {
            let is_mark = match chat.tools.last_mut() {
                Some(Tool::Function { extra, .. }) => set_mark(extra, &tool),
                _ => false,
            };
            if !is_mark {
                chat.tools.push(read_tool(tool, place)?);
            }
            Ok(())
        })?;
        chat.tool_choice = config.take("toolChoice").map(tool_choice).unwrap_or_default();
        Ok(())
    })?;
    let format = members.within("outputConfig", |config| Ok(config.take("textFormat")))?.flatten();
    chat.output = format.map(output).unwrap_or_default();
    if let Some(fields) = members.get("additionalModelRequestFields") {
        let top_k = [&fields["top_k"], &fields["inferenceConfig"]["topK"]];
        chat.sampling.top_k = top_k.into_iter().find_map(Value::as_u64);
        chat.reasoning = reasoning(fields);
    }
    chat.unseen = members.take_all(UNSEEN);
    chat.indispensable = INDISPENSABLE.into_iter().find(|name| members.get(name).is_some());
    chat.extra = members.rest(OWN);
    chat.uncacheable = uncacheable(&chat);
    Ok(chat)
}

/// A message; results of tools among its blocks are messages of their own.
fn read_message(message: Value, place: Place<'_>, messages: &mut Vec<Message>) -> Result<(), Unsupported> {
    let mut members = Members::of(message, place)?;
    let role = match members.required_text("role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => return Err(place.name("role").wrong("must be user or assistant")),
    };
    let parts = read_blocks(members.list("content")?, &place.name("content"), role)?;
    let mut message = Message { role, parts: Vec::new(), extra: members.rest(OWN) };
    let before = messages.len();
    for part in parts {
        if matches!(part.content, Content::ToolResult(_)) {
            if !message.parts.is_empty() {
                let next = Message::new(role, Vec::new());
                messages.push(std::mem::replace(&mut message, next));
            }
            let extra = std::mem::take(&mut message.extra);
            messages.push(Message { role: Role::Tool, parts: vec![part], extra });
        } else {
            message.parts.push(part);
        }
    }
    if messages.len() == before || !message.parts.is_empty() {
        messages.push(message);
    }
    Ok(())
}

fn sampling(config: &mut Members<'_>) -> Result<Sampling, Unsupported> {
    config.drop_if("topP", 1);
    Ok(Sampling {
        max_tokens: config.integer("maxTokens")?,
        temperature: config.number("temperature")?,
        top_p: config.number("topP")?,
        stop: config.texts("stopSequences")?,
        ..Sampling::default()
    })
}

fn read_tool(tool: Value, place: Place<'_>) -> Result<Tool, Unsupported> {
    let mut members = Members::of(tool, place)?;
    let Some(spec) = members.take("toolSpec") else {
        return Ok(Tool::Foreign(OWN, members.into_map().into()));
    };
    let mut spec = Members::of(spec, place.name("toolSpec"))?;
    let (name, description, strict) = (filled(&mut spec, "name")?, spec.text("description")?, spec.flag("strict")?);
    let parameters = match spec.take("inputSchema") {
        Some(Value::Object(mut schema)) if schema.len() == 1 && schema.contains_key("json") => {
            schema.shift_remove("json")
        }
        Some(other) => {
            spec.put_back("inputSchema", other);
            None
        }
        None => None,
    };
    for (beside, value) in members.into_map() {
        spec.put_back(&beside, value);
    }
    Ok(Tool::Function { name, description, parameters, strict, extra: spec.rest(OWN) })
}

fn tool_choice(choice: Value) -> ToolChoice {
    let is = |name: &str| choice == serde_json::json!({name: {}});
    let named = choice["tool"]["name"].as_str().filter(|name| choice == serde_json::json!({"tool": {"name": name}}));
    match named {
        Some(name) => ToolChoice::Named(name.to_owned()),
        None if is("auto") => ToolChoice::Auto,
        None if is("any") => ToolChoice::Required,
        None => ToolChoice::Foreign(OWN, choice),
    }
}

/// The schema is a text in Converse. A format of any other shape is kept as it is.
fn output(format: Value) -> Output {
    let told = &format["structure"]["jsonSchema"];
    let text = |name: &str| told[name].as_str().map(str::to_owned);
    let schema = told["schema"].as_str().and_then(|schema| serde_json::from_str(schema).ok());
    let (name, description) = (text("name"), text("description"));
    let is_all = told.as_object().is_some_and(|told| {
        told.len() == 1 + usize::from(name.is_some()) + usize::from(description.is_some())
            && format == serde_json::json!({"type": "json_schema", "structure": {"jsonSchema": told}})
    });
    match schema {
        Some(schema @ Value::Object(_)) if is_all => Output::JsonSchema { name, description, schema, strict: None },
        _ => Output::Foreign(OWN, format),
    }
}

/// What Claude, Nova and OpenAI's models call their thinking.
fn reasoning(fields: &Value) -> Reasoning {
    let thinking = &fields["thinking"];
    let mode = match thinking["type"].as_str().or(fields["reasoningConfig"]["type"].as_str()) {
        Some("enabled") => Some(ReasoningMode::Enabled),
        Some("adaptive") => Some(ReasoningMode::Adaptive),
        Some("disabled") => Some(ReasoningMode::Disabled),
        _ => None,
    };
    let effort = [
        &fields["output_config"]["effort"],
        &fields["reasoningConfig"]["maxReasoningEffort"],
        &fields["reasoning_effort"],
    ];
    let effort = effort.into_iter().find_map(Value::as_str).map(str::to_owned);
    Reasoning { effort, budget: thinking["budget_tokens"].as_u64(), mode, summary: None }
}

fn uncacheable(chat: &Chat) -> Option<&'static str> {
    if chat.tools.iter().any(|tool| matches!(tool, Tool::Foreign(_, tool) if tool.get("cachePoint").is_none())) {
        return Some("a tool runs at the provider");
    }
    let parts = chat.messages.iter().flat_map(|message| &message.parts);
    let is_unsure = |part: &Part| match &part.content {
        Content::Foreign(_, block) => !CONTAINED.iter().any(|known| block.get(known).is_some()),
        _ => false,
    };
    let mut all = parts.flat_map(|part| match &part.content {
        Content::ToolResult(result) => result.parts.iter().chain([part]),
        _ => [].iter().chain([part]),
    });
    all.any(is_unsure).then_some("a part of a message is not in the request, or not understood")
}
