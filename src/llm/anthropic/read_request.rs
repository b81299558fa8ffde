//! A caller's request.

use serde_json::{Value, json};

use super::OWN;
use super::block::read_all;
use crate::llm::chat::{
    Chat, Content, Delivery, Extra, Message, Output, Part, Reasoning, ReasoningMode, Role, Sampling, Tool, ToolChoice,
};
use crate::llm::error::Unsupported;
use crate::llm::members::{Members, Place};

/// What runs at Anthropic, or is promised by it.
const INDISPENSABLE: [&str; 3] = ["container", "mcp_servers", "inference_geo"];
/// How the types of those tools begin that Anthropic defines and the caller runs.
const RUN_BY_CALLER: [&str; 4] = ["bash_", "computer_", "memory_", "text_editor_"];

/// Reads a request for `POST /v1/messages`.
pub(super) fn read(body: Value) -> Result<Chat, Unsupported> {
    let mut members = Members::of(body, Place::ROOT)?;
    members.drop_if("mcp_servers", json!([]));
    members.drop_if("top_p", 1);
    let mut chat = Chat {
        format: OWN,
        model: members.text("model")?.unwrap_or_default(),
        messages: messages(&mut members)?,
        tools: members.each("tools", tool)?,
        sampling: Sampling {
            max_tokens: members.integer("max_tokens")?,
            temperature: members.number("temperature")?,
            top_p: members.number("top_p")?,
            top_k: members.integer("top_k")?,
            stop: members.texts("stop_sequences")?,
            ..Sampling::default()
        },
        reasoning: reasoning(&mut members)?,
        output: output(&mut members)?,
        indispensable: INDISPENSABLE.into_iter().find(|name| members.get(name).is_some()),
        ..Chat::default()
    };
    tool_choice(&mut members, &mut chat)?;
    if members.flag("stream")? == Some(true) {
        chat.delivery = Delivery::StreamWithUsage;
    }
    chat.unseen = members.take_all(["metadata", "service_tier"]);
    chat.user = chat.unseen.get("metadata").and_then(|metadata| metadata["user_id"].as_str()).map(str::to_owned);
    chat.extra = members.rest(OWN);
    chat.uncacheable = uncacheable(&chat);
    Ok(chat)
}

fn messages(members: &mut Members<'_>) -> Result<Vec<Message>, Unsupported> {
    let mut messages = Vec::new();
    if let Some(system) = members.take("system") {
        let parts = read_all(system, &Place::ROOT.name("system"))?;
        messages.extend((!parts.is_empty()).then(|| Message::new(Role::System, parts)));
    }
    if members.get("messages").is_none() {
        return Err(Place::ROOT.name("messages").wrong("is missing"));
    }
    members.each("messages", |message, place| {
        let mut members = Members::of(message, place)?;
        let role = match members.required_text("role")?.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            _ => return Err(place.name("role").wrong("must be user or assistant")),
        };
        let parts = read_all(members.take("content").unwrap_or_default(), &place.name("content"))?;
        add(role, parts, members.rest(OWN), &mut messages);
        Ok(())
    })?;
    Ok(messages)
}

/// Results of tools become messages of their own; what the user says follows.
fn add(role: Role, parts: Vec<Part>, extra: Extra, messages: &mut Vec<Message>) {
    let is_result = |part: &Part| role == Role::User && matches!(part.content, Content::ToolResult(_));
    let (results, parts): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(is_result);
    let only_results = parts.is_empty() && !results.is_empty();
    messages.extend(results.into_iter().map(|result| Message::new(Role::Tool, vec![result])));
    match messages.last_mut() {
        Some(last) if only_results => last.extra = extra,
        _ => messages.push(Message { role, parts, extra }),
    }
}

fn tool(value: Value, place: Place<'_>) -> Result<Tool, Unsupported> {
    if !value["type"].is_null() && value["type"] != "custom" {
        return Ok(Tool::Foreign(OWN, value));
    }
    let mut members = Members::of(value, place)?;
    members.drop_if("type", "custom");
    members.drop_if("strict", false);
    Ok(Tool::Function {
        name: members.required_text("name")?,
        description: members.text("description")?,
        parameters: members.take("input_schema"),
        strict: members.flag("strict")?,
        extra: members.rest(OWN),
    })
}

fn tool_choice(members: &mut Members<'_>, chat: &mut Chat) -> Result<(), Unsupported> {
    let Some(whole) = members.take("tool_choice") else { return Ok(()) };
    let mut choice = Members::of(whole.clone(), Place::ROOT.name("tool_choice"))?;
    let is_single = choice.flag("disable_parallel_tool_use")?.unwrap_or(false);
    chat.tool_choice = match choice.required_text("type")?.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(choice.required_text("name")?),
        _ => ToolChoice::Foreign(OWN, whole.clone()),
    };
    chat.parallel_tool_calls = is_single.then_some(false);
    if !choice.rest(OWN).is_empty() {
        members.put_back("tool_choice", whole);
    }
    Ok(())
}

/// `thinking`, and the effort of `output_config`. A way of thinking that only Anthropic knows stays whole beside the
/// one that comes closest.
fn reasoning(members: &mut Members<'_>) -> Result<Reasoning, Unsupported> {
    let effort = members.within("output_config", |config| config.text("effort"))?.flatten();
    let mut reasoning = Reasoning { effort, ..Reasoning::default() };
    let Some(whole) = members.take("thinking") else { return Ok(reasoning) };
    let mut thinking = Members::of(whole.clone(), Place::ROOT.name("thinking"))?;
    reasoning.mode = match thinking.required_text("type")?.as_str() {
        "enabled" => Some(ReasoningMode::Enabled),
        "adaptive" => Some(ReasoningMode::Adaptive),
        "disabled" => Some(ReasoningMode::Disabled),
        kind => {
            members.put_back("thinking", whole);
            reasoning.mode = (kind == "between_tools").then_some(ReasoningMode::Disabled);
            return Ok(reasoning);
        }
    };
    reasoning.budget = thinking.integer("budget_tokens")?;
    reasoning.summary = thinking.text("display")?;
    members.put_back_rest("thinking", thinking.into_map());
    Ok(reasoning)
}

/// `output_config.format`, or `output_format`, as it was called at first.
fn output(members: &mut Members<'_>) -> Result<Output, Unsupported> {
    let format = members.within("output_config", |config| Ok(config.take("format")))?.flatten();
    let format = format.or_else(|| members.take("output_format"));
    Ok(match format {
        None => Output::Text,
        Some(mut format) if is_schema(&format) => {
            Output::JsonSchema { name: None, description: None, schema: format["schema"].take(), strict: None }
        }
        Some(format) => Output::Foreign(OWN, format),
    })
}

/// Whether a format is a schema and nothing else.
fn is_schema(format: &Value) -> bool {
    let is_alone = format.as_object().is_some_and(|members| members.len() == 2);
    is_alone && format["type"] == "json_schema" && format["schema"].is_object()
}

fn uncacheable(chat: &Chat) -> Option<&'static str> {
    let runs_elsewhere = |tool: &Tool| match tool {
        Tool::Foreign(_, whole) => {
            let kind = whole["type"].as_str().unwrap_or_default();
            !RUN_BY_CALLER.iter().any(|known| kind.starts_with(known))
        }
        Tool::Function { .. } => false,
    };
    if matches!(chat.indispensable, Some("container" | "mcp_servers")) || chat.tools.iter().any(runs_elsewhere) {
        return Some("it asks for a tool that runs at the provider");
    }
    let is_unknown = chat.messages.iter().flat_map(|message| &message.parts).any(is_unknown);
    is_unknown.then_some("it has a content block of a type that is not known")
}

fn is_unknown(part: &Part) -> bool {
    match &part.content {
        Content::Foreign(..) => true,
        Content::ToolResult(result) => result.parts.iter().any(is_unknown),
        _ => false,
    }
}
