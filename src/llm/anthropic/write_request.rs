//! A request for an Anthropic provider.

use serde_json::{Map, Value, json};

use super::turns::{Conversation, may_think};
use super::{OWN, with_extra};
use crate::llm::chat::{Chat, Output, Sampling, Tool, ToolChoice};
use crate::llm::claude::{JSON_ONLY, Thinking};
use crate::llm::error::Unsupported;
use crate::llm::members::{Place, merge, object, some};
use crate::llm::models;
use crate::llm::schema::closed;

/// Anthropic wants a limit; other formats' callers mostly give none.
const MAX_TOKENS: u64 = 4096;
/// What Anthropic knows and OpenAI doesn't, and so can only be meant for Anthropic.
const PASSED: [&str; 7] =
    ["cache_control", "container", "context_management", "inference_geo", "mcp_servers", "output_config", "speed"];

/// The body that asks `model` for what `chat` asks for.
///
/// Left out is what doesn't change what an answer means: penalties, `seed`, `strict` of other formats' functions, and
/// whatever their extra members are.
pub(super) fn write(chat: &Chat, model: &str) -> Result<Value, Unsupported> {
    chat.may_become(OWN)?;
    let is_own = chat.format == OWN;
    let family = models::family(model);
    let mut conversation = Conversation::of(chat)?;
    let tools = tools(chat)?;
    let is_forced = !tools.is_empty()
        && match &chat.tool_choice {
            ToolChoice::Required | ToolChoice::Named(_) => true,
            ToolChoice::Allowed { required, .. } => *required,
            _ => false,
        };
    let choice = if is_forced && !family.forced_tools {
        let named = if let ToolChoice::Named(name) = &chat.tool_choice { name } else { "of your choice" };
        conversation.instruct(&format!("Call the tool {named} now."));
        &ToolChoice::Auto
    } else {
        &chat.tool_choice
    };
    let thinking = Thinking::of(chat, &family, may_think(&conversation.turns), is_forced)?;
    let format = format(chat, &mut conversation)?;
    let takes_sampling = !thinking.is_on() && family.sampling;
    let sampling = if takes_sampling { chat.sampling.clone() } else { Sampling::default() };
    let (temperature, top_p) = family.temperature_and_top_p(sampling.temperature, sampling.top_p);
    let stop = chat.sampling.stop.clone();
    if stop.iter().any(|text| text.trim().is_empty()) {
        return Err(Unsupported::new("stop", "can't be white space only for an Anthropic model"));
    }
    let mut body = object(json!({
        "model": model,
        "max_tokens": max_tokens(chat.sampling.max_tokens, &thinking),
        "system": some(conversation.system),
        "messages": conversation.turns,
        "tool_choice": if is_own || !tools.is_empty() { tool_choice(choice, chat.parallel_tool_calls)? } else { None },
        "tools": some(tools),
        "output_config": some(object(json!({"effort": thinking.effort, "format": format}))),
        "thinking": thinking.member,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": sampling.top_k,
        "stop_sequences": some(stop),
        "stream": chat.delivery.is_stream().then_some(true),
    }));
    if let Some((_, extra)) = chat.extra.get() {
        let passed = extra.iter().filter(|(name, _)| is_own || PASSED.contains(&name.as_str()));
        merge(&mut body, &passed.map(|(name, value)| (name.clone(), value.clone())).collect());
    }
    merge(&mut body, &unseen(chat));
    Ok(body.into())
}

/// The limit, raised to hold thoughts as well: Anthropic counts them, and refuses a budget that leaves no room.
fn max_tokens(limit: Option<u64>, thinking: &Thinking) -> u64 {
    match limit {
        None => thinking.budget.saturating_add(MAX_TOKENS),
        Some(limit) if thinking.member["type"] == "enabled" && limit <= thinking.budget => {
            thinking.budget.saturating_add(limit)
        }
        Some(limit) => limit,
    }
}

/// The tools, of which only those are left that the request allows.
fn tools(chat: &Chat) -> Result<Vec<Value>, Unsupported> {
    let is_own = chat.format == OWN;
    let mut tools = Vec::new();
    for (index, tool) in chat.tools.iter().enumerate() {
        tools.push(match (tool, &chat.tool_choice) {
            (Tool::Function { name, .. }, ToolChoice::Allowed { names, .. }) if !names.contains(name) => continue,
            (Tool::Foreign(..), ToolChoice::Allowed { .. }) => continue,
            (Tool::Function { name, description, parameters, strict, extra }, _) => {
                let mut schema = parameters.clone().unwrap_or_else(|| json!({"type": "object", "properties": {}}));
                if let Some(schema) = schema.as_object_mut().filter(|_| !is_own) {
                    schema.entry("type").or_insert_with(|| "object".into());
                }
                let strict = strict.filter(|_| is_own);
                let tool = json!({"name": name, "description": description, "input_schema": schema, "strict": strict});
                with_extra(tool, extra)
            }
            (Tool::Foreign(OWN, whole), _) => whole.clone(),
            (Tool::Foreign(_, whole), _) => {
                let kind = whole["type"].as_str().unwrap_or("unknown");
                let why = format_args!("is of type `{kind}`, which an Anthropic model doesn't have");
                return Err(Place::ROOT.name("tools").index(index).wrong(why));
            }
        });
    }
    Ok(tools)
}

fn tool_choice(choice: &ToolChoice, parallel: Option<bool>) -> Result<Option<Value>, Unsupported> {
    let single = (parallel == Some(false)).then_some(true);
    let (kind, name) = match choice {
        ToolChoice::Auto | ToolChoice::Allowed { required: false, .. } if single.is_none() => return Ok(None),
        ToolChoice::None => return Ok(Some(json!({"type": "none"}))),
        ToolChoice::Foreign(OWN, whole) => return Ok(Some(whole.clone())),
        ToolChoice::Foreign(..) => {
            return Err(Unsupported::new("tool_choice", "is of a type that an Anthropic model doesn't know"));
        }
        ToolChoice::Auto | ToolChoice::Allowed { required: false, .. } => ("auto", None),
        ToolChoice::Required | ToolChoice::Allowed { required: true, .. } => ("any", None),
        ToolChoice::Named(name) => ("tool", Some(name)),
    };
    let choice = json!({"type": kind, "name": name, "disable_parallel_tool_use": single});
    Ok(Some(object(choice).into()))
}

/// `output_config.format`, or an instruction in its place.
fn format(chat: &Chat, conversation: &mut Conversation) -> Result<Option<Value>, Unsupported> {
    Ok(match &chat.output {
        Output::Text => None,
        Output::JsonObject => {
            conversation.instruct(JSON_ONLY);
            None
        }
        Output::JsonSchema { schema, .. } => {
            let schema = if chat.format == OWN { schema.clone() } else { closed(schema) };
            Some(json!({"type": "json_schema", "schema": schema}))
        }
        Output::Foreign(OWN, whole) => Some(whole.clone()),
        Output::Foreign(..) => {
            return Err(Unsupported::new("response_format", "is of a type that an Anthropic model doesn't know"));
        }
    })
}

/// What no model sees. Of other formats' metadata only the user's name stays, because Anthropic refuses any other
/// member; of their tiers `auto`, which both have, and OpenAI's `default`, which means not to take the dear one.
fn unseen(chat: &Chat) -> Map<String, Value> {
    if chat.format == OWN {
        return chat.unseen.clone();
    }
    let metadata = chat.unseen.get("metadata").and_then(|metadata| metadata["user_id"].as_str());
    let user = metadata.or(chat.user.as_deref()).map(|user| json!({"user_id": user}));
    let tier = match chat.unseen.get("service_tier").and_then(Value::as_str) {
        Some("auto") => Some("auto"),
        Some("default" | "standard_only") => Some("standard_only"),
        _ => None,
    };
    object(json!({"metadata": user, "service_tier": tier}))
}
