//! Reading requests.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::content;
use super::{OWN, write_request};
use crate::llm::FormatId;
use crate::llm::chat::{
    Chat, Content, Extra, Message, Output, Part, Reasoning, ReasoningMode, Role, Sampling, Tool, ToolChoice, ToolResult,
};
use crate::llm::error::Unsupported;
use crate::llm::members::{Members, Place, object};
use crate::llm::openai;

const HOSTED: &str = "a tool runs at the provider";

/// Members without which the answer would be another one and which no other format has, and why it isn't cached if so:
/// OpenAI's, Azure's, xAI's, OpenRouter's and Qwen's.
const INDISPENSABLE: [(&[&str], Option<&str>); 6] = [
    (&["functions", "function_call"], None),
    (&["n"], Some("n asks for several answers")),
    (&["logprobs", "top_logprobs"], Some("log probabilities are asked for")),
    (&["audio", "modalities"], Some("an answer other than text is asked for")),
    (
        &["web_search_options", "data_sources", "search_parameters", "enable_search"],
        Some("a search is asked for, whose result changes with time"),
    ),
    (&["plugins"], Some(HOSTED)),
];
/// Anthropic's, which are meant for a model of Anthropic's behind this API.
const HOSTED_AT_ANTHROPIC: [&str; 2] = ["mcp_servers", "container"];

/// What says the same as nothing.
static DEFAULTS: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    object(json!({
        "n": 1, "logprobs": false, "top_logprobs": 0, "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0,
        "logit_bias": {}, "modalities": ["text"], "functions": [], "data_sources": [], "plugins": [], "mcp_servers": [],
        "enable_search": false, "parallel_tool_calls": true, "tool_choice": "auto", "response_format": {"type": "text"},
        "verbosity": "medium", "store": false,
    }))
});

/// Reads a request.
pub(super) fn read(body: Value) -> Result<Chat, Unsupported> {
    let mut members = Members::of(body, Place::ROOT)?;
    members.drop_all_of(&DEFAULTS);
    members.drop_if("modalities", json!([]));
    let mut chat = Chat { format: OWN, model: members.text("model")?.unwrap_or_default(), ..Chat::default() };
    let messages = members.each("messages", |message, place| read_message(message, place, &mut chat))?;
    chat.messages = messages;
    if chat.messages.is_empty() {
        chat.uncacheable = Some("there are no messages");
    }
    chat.tools = members.each("tools", read_tool)?;
    if chat.tools.iter().any(|tool| matches!(tool, Tool::Foreign(..))) {
        chat.uncacheable = Some(HOSTED);
    }
    chat.tool_choice = members.take("tool_choice").map(read_tool_choice).unwrap_or_default();
    chat.parallel_tool_calls = members.flag("parallel_tool_calls")?;
    chat.sampling = read_sampling(&mut members, &mut chat.unseen)?;
    chat.output = members.take("response_format").map(read_output).unwrap_or_default();
    chat.reasoning = read_reasoning(&mut members)?;
    chat.delivery = openai::delivery(&mut members, &mut chat.unseen)?;
    chat.unseen.append(&mut members.take_all(["metadata"].into_iter().chain(openai::UNSEEN)));
    // A prediction makes the answer come sooner, and not another one.
    chat.unseen.append(&mut members.take_all(["prediction", "store"]));
    let of_metadata = || chat.unseen.get("metadata")?["user_id"].as_str().map(str::to_owned);
    chat.user = members.text("user")?.or_else(of_metadata);
    // It is said to Refrain, and no provider knows it.
    members.take("cache");
    if chat.unseen.get("store").is_some_and(|store| *store != false) {
        chat.uncacheable = Some("the provider is asked to keep the answer");
    }
    for (names, why) in INDISPENSABLE {
        if let Some(name) = names.iter().find(|name| members.get(name).is_some()) {
            chat.indispensable = Some(name);
            chat.uncacheable = why.or(chat.uncacheable);
        }
    }
    if HOSTED_AT_ANTHROPIC.iter().any(|name| members.get(name).is_some()) {
        chat.uncacheable = Some(HOSTED);
    }
    chat.extra = members.rest(OWN);
    Ok(chat)
}

fn read_message(message: Value, place: Place<'_>, chat: &mut Chat) -> Result<Message, Unsupported> {
    let mut message = Members::of(message, place)?;
    let word = message.required_text("role")?;
    let role = match &*word {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        _ => return Err(place.name("role").wrong("must be system, developer, user, assistant or tool")),
    };
    if word == "function" || message.get("function_call").is_some() {
        chat.indispensable = Some("function_call");
    }
    if word == "function" {
        message.put_back("role", word.into());
    }
    if message.get("audio").is_some() {
        chat.indispensable = Some("audio");
        chat.uncacheable = Some("a message refers to audio that the provider keeps");
    }
    let mut parts = match role {
        Role::Assistant => content::read_assistant(&mut message, None)?,
        _ => content::read(message.take("content"), place.name("content"))?,
    };
    let is_unknown =
        |part: &Part| matches!(part.content, Content::Foreign(..)) && content::where_it_stood(part).is_empty();
    if parts.iter().any(is_unknown) {
        chat.uncacheable = Some("a message has a part of unknown type");
    }
    let mut extra = Extra::default();
    if role == Role::Tool {
        let call_id = message.text("tool_call_id")?.unwrap_or_default();
        let result = Content::ToolResult(ToolResult { call_id, parts, is_error: false });
        parts = vec![Part { extra: message.rest(OWN), ..Part::new(result) }];
    } else {
        extra = message.rest(OWN);
    }
    Ok(Message { role, parts, extra })
}

fn read_tool(tool: Value, place: Place<'_>) -> Result<Tool, Unsupported> {
    let is_function = tool["type"].is_null() || tool["type"] == "function";
    if tool["function"].is_null() || !is_function {
        // In Anthropic's own form, the name stands at the top.
        let is_anthropics = tool["name"].is_string() && tool["type"] != "function";
        return Ok(Tool::Foreign(if is_anthropics { FormatId::Anthropic } else { OWN }, tool));
    }
    let mut tool = Members::of(tool, place)?;
    tool.take("type");
    let (name, description, parameters, strict, mark) = tool.within_required("function", |function| {
        function.drop_if("strict", false);
        let name = function.required_text("name")?;
        let description = function.text("description")?;
        let (parameters, strict) = (function.take("parameters"), function.flag("strict")?);
        Ok((name, description, parameters, strict, function.take("cache_control")))
    })?;
    // A mark for the provider's cache may stand in either place.
    if let Some(mark) = mark.filter(|_| tool.get("cache_control").is_none()) {
        tool.put_back("cache_control", mark);
    }
    Ok(Tool::Function { name, description, parameters, strict, extra: tool.rest(OWN) })
}

/// A choice that has more to it than is understood stays whole.
fn read_tool_choice(choice: Value) -> ToolChoice {
    let name = |choice: &Value| choice["function"]["name"].as_str().map(str::to_owned);
    let understood = match (choice.as_str().or(choice["type"].as_str()), &choice["allowed_tools"]) {
        (Some("auto"), _) => Some(ToolChoice::Auto),
        (Some("none"), _) => Some(ToolChoice::None),
        // Mistral's word for it.
        (Some("required" | "any"), _) => Some(ToolChoice::Required),
        (Some("function"), _) => name(&choice).map(ToolChoice::Named),
        (Some("allowed_tools"), allowed) => {
            let names = allowed["tools"].as_array().and_then(|tools| tools.iter().map(name).collect());
            names.map(|names| ToolChoice::Allowed { names, required: allowed["mode"] == "required" })
        }
        _ => None,
    };
    let is_all = |read: &ToolChoice| choice.is_string() || write_request::tool_choice(read).as_ref() == Some(&choice);
    match understood.filter(is_all) {
        Some(read) => read,
        None => ToolChoice::Foreign(OWN, choice),
    }
}

fn read_sampling(members: &mut Members<'_>, unseen: &mut Map<String, Value>) -> Result<Sampling, Unsupported> {
    let newer = members.integer("max_completion_tokens")?;
    // Providers differ in which of the two names they take, so it is to go out under the same one.
    unseen.extend(newer.map(|limit| ("max_completion_tokens".to_owned(), limit.into())));
    let max_tokens = match newer {
        None => members.integer("max_tokens")?,
        Some(_) => newer,
    };
    openai::sampling(members, max_tokens)
}

/// A form that has more to it than is understood stays whole.
fn read_output(mut format: Value) -> Output {
    if let Some(Value::Object(form)) = format.get_mut("json_schema") {
        form.retain(|name, value| !value.is_null() && (name != "strict" || *value != false));
    }
    let form = &format["json_schema"];
    let text = |name: &str| form[name].as_str().map(str::to_owned);
    let understood = match format["type"].as_str() {
        Some("text") => Output::Text,
        Some("json_object") => Output::JsonObject,
        _ => Output::JsonSchema {
            name: text("name"),
            description: text("description"),
            schema: form["schema"].clone(),
            strict: form["strict"].as_bool(),
        },
    };
    match write_request::response_format(&understood) {
        Some(written) if written == format => understood,
        _ => Output::Foreign(OWN, format),
    }
}

/// What Anthropic and OpenRouter say in members of their own stays there as well, for models of theirs.
fn read_reasoning(members: &mut Members<'_>) -> Result<Reasoning, Unsupported> {
    let effort = members.text("reasoning_effort")?;
    let of = |name: &str| members.get(name).cloned().unwrap_or_default();
    let (thinking, reasoning) = (of("thinking"), of("reasoning"));
    let text = |name: &str| reasoning[name].as_str().map(str::to_owned);
    let mode = match (thinking["type"].as_str(), reasoning["enabled"].as_bool()) {
        (Some("enabled"), _) | (None, Some(true)) => Some(ReasoningMode::Enabled),
        (Some("adaptive"), _) => Some(ReasoningMode::Adaptive),
        (Some("disabled"), _) | (None, Some(false)) => Some(ReasoningMode::Disabled),
        _ => None,
    };
    let budget = thinking["budget_tokens"].as_u64().or(reasoning["max_tokens"].as_u64());
    Ok(Reasoning { effort: effort.or_else(|| text("effort")), budget, mode, summary: text("summary") })
}
