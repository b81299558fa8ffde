//! Reads a request.

use serde_json::{Map, Value};

use super::{OWN, items};
use crate::llm::chat::{
    Chat, Content, Delivery, Extra, Message, Output, Part, Reasoning, Retention, Role, Tool, ToolChoice, ToolResult,
};
use crate::llm::error::Unsupported;
use crate::llm::members::{Members, Place};
use crate::llm::openai;

/// The member of a message's extra that says that it came as `instructions`.
pub(super) const INSTRUCTIONS: &str = "instructions";
/// Tools that the caller runs, though only this format has them.
const CALLERS: [&str; 3] = ["custom", "local_shell", "apply_patch"];
const LOGPROBS: &str = "message.output_text.logprobs";

/// Reads a request.
pub(super) fn read(body: Value) -> Result<Chat, Unsupported> {
    let mut members = Members::of(body, Place::ROOT)?;
    let mut chat = Chat { format: OWN, model: members.text("model")?.unwrap_or_default(), ..Chat::default() };
    kept(&mut members, &mut chat)?;
    if let Some(text) = members.text(INSTRUCTIONS)?.filter(|text| !text.is_empty()) {
        let mark = Map::from_iter([(INSTRUCTIONS.to_owned(), true.into())]);
        let extra = Extra::new(OWN, mark);
        chat.messages.push(Message { role: Role::System, parts: vec![Part::text(text)], extra });
    }
    match members.get("input") {
        None if chat.indispensable.is_some() => {}
        None => return Err(Place::ROOT.name("input").wrong("is missing")),
        Some(Value::Array(_)) => drop(members.each("input", |each, place| item(&mut chat, each, place))?),
        Some(Value::String(_)) => {
            let parts = items::content(&mut members, "input", "input_text")?;
            chat.messages.push(Message::new(Role::User, parts));
        }
        Some(_) => return Err(Place::ROOT.name("input").wrong("must be a text or a list of items")),
    }
    chat.tools = members.each("tools", tool)?;
    if chat.tools.iter().any(|tool| matches!(tool, Tool::Foreign(_, whole) if !is_callers(whole))) {
        chat.uncacheable = Some("a tool runs at the provider, and what it finds changes");
    }
    chat.tool_choice = members.take("tool_choice").map_or(ToolChoice::Auto, tool_choice);
    chat.parallel_tool_calls = members.flag("parallel_tool_calls")?.filter(|parallel| !parallel);
    // The service itself has no more than temperature, `top_p` and a limit. Other servers of this API take the rest too.
    for (name, usual) in [("top_p", 1), ("frequency_penalty", 0), ("presence_penalty", 0)] {
        members.drop_if(name, usual);
    }
    let limit = members.integer("max_output_tokens")?;
    chat.sampling = openai::sampling(&mut members, limit)?;
    chat.output = output(&mut members)?;
    chat.reasoning = reasoning(&mut members)?;
    if members.flag("stream")? == Some(true) {
        // The last event always tells it.
        chat.delivery = Delivery::StreamWithUsage;
    }
    chat.user = members.text("user")?;
    chat.unseen = members.take_all(["metadata"].into_iter().chain(openai::UNSEEN));
    // What `store` says, only [`Retention`] says.
    chat.unseen.append(&mut members.take_all(["store", "stream_options"]));
    members.drop_if("truncation", "disabled");
    members.drop_if("include", Value::Array(Vec::new()));
    chat.extra = members.rest(OWN);
    Ok(chat)
}

/// What the provider is to keep, or keeps already.
fn kept(members: &mut Members<'_>, chat: &mut Chat) -> Result<(), Unsupported> {
    members.drop_if("background", false);
    let stores = members.get("store").is_none_or(|store| *store != false);
    chat.indispensable = ["prompt", "background", "conversation", "previous_response_id"]
        .into_iter()
        .find(|name| members.get(name).is_some());
    chat.retention = match chat.indispensable {
        _ if members.get("background").is_some() || members.get("conversation").is_some() => Retention::Changing,
        Some("previous_response_id") => Retention::Answer,
        _ if stores => Retention::Answer,
        _ => Retention::Nothing,
    };
    if members.get("prompt").is_some() {
        chat.uncacheable = Some("a prompt template is kept at the provider, where it may change");
    }
    members.drop_if("top_logprobs", 0);
    let includes = members.get("include").and_then(Value::as_array);
    if members.get("top_logprobs").is_some() || includes.is_some_and(|names| names.iter().any(|name| name == LOGPROBS))
    {
        chat.uncacheable = Some("probabilities of tokens are asked for");
        chat.indispensable = chat.indispensable.or(Some("top_logprobs"));
    }
    Ok(())
}

fn item(chat: &mut Chat, item: Value, place: Place<'_>) -> Result<(), Unsupported> {
    if !item.is_object() {
        return Err(place.wrong("must be an object"));
    }
    for name in ["type", "role"] {
        if !item[name].is_null() && !item[name].is_string() {
            return Err(place.name(name).wrong("must be a text"));
        }
    }
    let text = |name: &str| item[name].as_str().map(str::to_owned);
    let (kind, role) = (text("type"), text("role"));
    match (kind.as_deref(), role.as_deref()) {
        (None | Some("message"), Some("assistant")) | (Some("reasoning" | "function_call"), _) => {
            let is_message = !matches!(kind.as_deref(), Some("reasoning" | "function_call"));
            let parts = items::read(item, place)?;
            turn(chat, is_message, parts);
        }
        (None | Some("message"), Some(role)) => {
            let role = match role {
                "user" => Role::User,
                "system" => Role::System,
                "developer" => Role::Developer,
                _ => return Err(place.name("role").wrong("must be user, assistant, system or developer")),
            };
            let mut members = Members::of(item, place)?;
            members.take("type");
            members.take("role");
            members.drop_if("status", "completed");
            let parts = items::content(&mut members, "content", "input_text")?;
            foreign(chat, &parts);
            chat.messages.push(Message { role, parts, extra: members.rest(OWN) });
        }
        (Some("function_call_output"), _) => {
            let mut members = Members::of(item, place)?;
            members.take("type");
            members.drop_if("status", "completed");
            let call_id = members.required_text("call_id")?;
            let parts = items::content(&mut members, "output", "input_text")?;
            foreign(chat, &parts);
            let result = Part::new(Content::ToolResult(ToolResult { call_id, parts, is_error: false }));
            chat.messages.push(Message { role: Role::Tool, parts: vec![result], extra: members.rest(OWN) });
        }
        (Some("message"), None) => return Err(place.name("role").wrong("is missing")),
        (None, None) if item["id"].is_null() => return Err(place.name("type").wrong("is missing")),
        (kind, _) => {
            if !kind.is_some_and(items::is_self_contained) {
                chat.uncacheable = Some("an item refers to what the provider keeps, or isn't known");
            }
            let mut item = item;
            if kind.is_none() {
                item["type"] = "item_reference".into();
            }
            let parts = items::read(item, place)?;
            if kind.is_some_and(|kind| kind.ends_with("_call")) {
                turn(chat, false, parts);
            } else {
                chat.messages.push(Message::new(Role::User, parts));
            }
        }
    }
    Ok(())
}

fn foreign(chat: &mut Chat, parts: &[Part]) {
    if parts.iter().any(|part| matches!(part.content, Content::Foreign(..))) {
        chat.uncacheable = Some("a part of a message isn't known");
    }
}

/// Adds an item to the turn of the assistant that it belongs to. A message after a message is another turn.
fn turn(chat: &mut Chat, is_message: bool, item: Vec<Part>) {
    let says = |part: &Part| items::kind(part) == Some(items::Kind::Message);
    if item.iter().any(|part| matches!(part.content, Content::Foreign(..)) && says(part)) {
        foreign(chat, &item);
    }
    match chat.messages.last_mut() {
        Some(last) if last.role == Role::Assistant && !(is_message && last.parts.last().is_none_or(says)) => {
            items::append(&mut last.parts, item);
        }
        _ => chat.messages.push(Message::new(Role::Assistant, item)),
    }
}

fn is_callers(tool: &Value) -> bool {
    tool["type"].as_str().is_some_and(|kind| CALLERS.contains(&kind))
}

fn tool(value: Value, place: Place<'_>) -> Result<Tool, Unsupported> {
    if value["type"] != "function" {
        return if value.is_object() { Ok(Tool::Foreign(OWN, value)) } else { Err(place.wrong("must be an object")) };
    }
    let mut members = Members::of(value, place)?;
    members.take("type");
    let (name, description) = (members.required_text("name")?, members.text("description")?);
    let (parameters, said) = (members.take("parameters"), members.flag("strict")?);
    // What isn't said means strict where the schema allows it. A provider that is told so of another schema refuses it.
    let strict = said.unwrap_or(parameters.as_ref().is_some_and(is_closed)).then_some(true);
    if said.is_none() && strict.is_none() {
        members.put_back("strict", "if possible".into());
    }
    Ok(Tool::Function { name, description, parameters, strict, extra: members.rest(OWN) })
}

/// Whether the objects of a schema allow and require what they name, and nothing else.
fn is_closed(schema: &Value) -> bool {
    let names = |value: &Value| value.as_object().map_or(0, Map::len);
    let is_object = schema["type"] == "object" || schema.get("properties").is_some();
    let required = schema["required"].as_array().map_or(0, Vec::len);
    let inner = match schema {
        Value::Object(members) => {
            members.values().all(|value| !value.is_object() && !value.is_array() || is_closed(value))
        }
        Value::Array(items) => items.iter().all(is_closed),
        _ => true,
    };
    inner && (!is_object || schema["additionalProperties"] == false && required == names(&schema["properties"]))
}

fn tool_choice(choice: Value) -> ToolChoice {
    let function = |choice: &Value| {
        let is_function = choice["type"] == "function" && choice.as_object().is_some_and(|members| members.len() == 2);
        choice["name"].as_str().filter(|_| is_function).map(str::to_owned)
    };
    if let Some(name) = function(&choice) {
        return ToolChoice::Named(name);
    }
    let names = |tools: &Vec<Value>| tools.iter().map(function).collect::<Option<Vec<String>>>();
    match (choice.as_str(), choice["mode"].as_str(), choice["tools"].as_array().and_then(names)) {
        (Some("auto"), ..) => ToolChoice::Auto,
        (Some("none"), ..) => ToolChoice::None,
        (Some("required"), ..) => ToolChoice::Required,
        (None, Some(mode @ ("auto" | "required")), Some(names))
            if choice["type"] == "allowed_tools" && choice.as_object().is_some_and(|members| members.len() == 3) =>
        {
            ToolChoice::Allowed { names, required: mode == "required" }
        }
        _ => ToolChoice::Foreign(OWN, choice),
    }
}

fn output(members: &mut Members<'_>) -> Result<Output, Unsupported> {
    let output = members.within("text", |text| {
        text.drop_if("verbosity", "medium");
        let format = text.get("format").cloned().unwrap_or_default();
        Ok(match (format["type"].as_str(), format.as_object().map_or(0, Map::len)) {
            (Some("json_schema"), _) => text.within_required("format", |format| {
                format.take("type");
                let schema = format.take("schema").ok_or_else(|| format.place().wrong("must have a schema"))?;
                let (name, description) = (format.text("name")?, format.text("description")?);
                let strict = format.flag("strict")?.filter(|strict| *strict);
                Ok(Output::JsonSchema { name, description, schema, strict })
            })?,
            (kind, count) => {
                text.take("format");
                match (kind, count) {
                    (None, 0) | (Some("text"), 1) => Output::Text,
                    (Some("json_object"), 1) => Output::JsonObject,
                    _ => Output::Foreign(OWN, format),
                }
            }
        })
    });
    Ok(output?.unwrap_or_default())
}

fn reasoning(members: &mut Members<'_>) -> Result<Reasoning, Unsupported> {
    let reasoning = members.within("reasoning", |inner| {
        Ok(Reasoning { effort: inner.text("effort")?, summary: inner.text("summary")?, ..Reasoning::default() })
    });
    Ok(reasoning?.unwrap_or_default())
}
