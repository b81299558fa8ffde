//! Reading requests.

use serde_json::{Map, Value, json};

use super::{OWN, copy_of, open, parts, schema};
use crate::llm::chat::{
    Chat, Content, Message, Output, Part, Reasoning, ReasoningMode, Role, Tool, ToolCall, ToolChoice, ToolResult,
};
use crate::llm::error::Unsupported;
use crate::llm::members::{Members, Place};

/// What asks for another kind of answer, and why such an answer isn't cached.
const OTHER_ANSWERS: [(&str, &str); 5] = [
    ("candidateCount", "it asks for several answers"),
    ("responseLogprobs", "it asks for log probabilities"),
    ("responseModalities", "it asks for an answer that isn't only text"),
    ("speechConfig", "it asks for an answer that isn't only text"),
    ("imageConfig", "it asks for an answer that isn't only text"),
];

/// Reads a request. Objects that are spelled in many ways stay whole beside what they mean to others.
pub(super) fn chat(body: Value) -> Result<Chat, Unsupported> {
    let mut body = open(body, Place::ROOT)?;
    let mut chat = Chat { format: OWN, ..Chat::default() };
    chat.model = body.text("model")?.unwrap_or_default();
    if let Some(system) = body.take("systemInstruction") {
        let mut system = open(system, Place::ROOT.name("systemInstruction"))?;
        let parts = parts::read_all(&mut system)?;
        chat.messages.push(Message { role: Role::System, parts, extra: system.rest(OWN) });
    }
    let mut calls = Calls::default();
    body.each("contents", |content, place| calls.content(content, place, &mut chat))?;
    let place = Place::ROOT.name("toolConfig");
    if let Some(mut config) = copy_of(&mut body, "toolConfig", place)? {
        let calling = copy_of(&mut config, "functionCallingConfig", place.name("functionCallingConfig"))?;
        chat.tool_choice = calling.map_or(Ok(ToolChoice::Auto), choice)?;
        config.drop_if("functionCallingConfig", json!({"mode": "AUTO"}));
        body.take("toolConfig");
        body.put_back_rest("toolConfig", config.into_map());
    }
    if let Some(config) = body.take("generationConfig") {
        let config = generation(open(config, Place::ROOT.name("generationConfig"))?, &mut chat)?;
        body.put_back_rest("generationConfig", config);
    }
    body.each("tools", |tool, place| tools(open(tool, place)?, &mut chat))?;
    chat.indispensable = body.get("cachedContent").map(|_| "cachedContent").or(chat.indispensable);
    body.drop_if("safetySettings", json!([]));
    chat.unseen = body.take_all(["labels", "serviceTier", "store"]);
    chat.extra = body.rest(OWN);
    Ok(chat)
}

/// The calls so far.
#[derive(Default)]
struct Calls {
    count: usize,
    /// Ids and names of those that have no result yet.
    open: Vec<(String, String)>,
}

impl Calls {
    /// Reads a content. What tools replied comes before what the user says beside it.
    fn content(&mut self, content: Value, place: Place<'_>, chat: &mut Chat) -> Result<(), Unsupported> {
        let mut content = open(content, place)?;
        let role = match content.text("role")?.as_deref() {
            None | Some("user" | "function") => Role::User,
            Some("model") => Role::Assistant,
            Some(_) => return Err(place.name("role").wrong("must be `user` or `model`")),
        };
        let (mut parts, mut has_results) = (Vec::new(), false);
        parts::for_each(&mut content, |part, kind| {
            if kind == Some("functionResponse") && role == Role::User {
                has_results = true;
                chat.messages.push(Message::new(Role::Tool, vec![self.result(part)?]));
                return Ok(());
            }
            let mut part = parts::read(part, kind, false)?;
            match &mut part.content {
                Content::ToolCall(call) => self.call(call),
                Content::Foreign(..) => chat.uncacheable = Some("it has a part of an unknown type"),
                _ => {}
            }
            parts.push(part);
            Ok(())
        })?;
        let extra = content.rest(OWN);
        if !has_results || !parts.is_empty() || !extra.is_empty() {
            chat.messages.push(Message { role, parts, extra });
        }
        Ok(())
    }

    fn call(&mut self, call: &mut ToolCall) {
        if call.id.is_empty() {
            call.id = format!("call_{}", self.count);
        }
        self.count += 1;
        self.open.push((call.id.clone(), call.name.clone()));
    }

    /// Reads a result. Without an id, it is that of the first call of this function that has none yet.
    fn result(&mut self, mut part: Members<'_>) -> Result<Part, Unsupported> {
        let place = part.place();
        let place = place.name("functionResponse");
        let Some(mut response) = copy_of(&mut part, "functionResponse", place)? else {
            return Err(place.wrong("is missing"));
        };
        let (id, name) = (response.text("id")?, response.required_text("name")?);
        let call = self.open.iter().position(|(of, called)| id.as_ref().map_or(*called == name, |id| of == id));
        let call_id = call.map(|at| self.open.remove(at).0).or(id).unwrap_or(name);
        let (mut parts, mut is_error) = (Vec::new(), false);
        if let Some(reply) = response.take("response") {
            let known = ["result", "output", "error"].into_iter().find_map(|name| Some((name, reply[name].as_str()?)));
            is_error = known.is_some_and(|(name, _)| name == "error");
            parts.push(Part::text(known.map_or_else(|| reply.to_string(), |(_, text)| text.to_owned())));
        }
        parts.append(&mut parts::read_all(&mut response)?);
        let content = Content::ToolResult(ToolResult { call_id, parts, is_error });
        Ok(Part { content, seal: None, extra: part.rest(OWN) })
    }
}

fn choice(mut calling: Members<'_>) -> Result<ToolChoice, Unsupported> {
    let mode = calling.text("mode")?.unwrap_or_default().to_ascii_uppercase();
    let mut names = calling.texts("allowedFunctionNames")?;
    Ok(match (&*mode, names.len()) {
        ("NONE", _) => ToolChoice::None,
        ("ANY", 0) => ToolChoice::Required,
        ("ANY", 1) => ToolChoice::Named(names.remove(0)),
        ("ANY", _) => ToolChoice::Allowed { names, required: true },
        ("VALIDATED", 1..) => ToolChoice::Allowed { names, required: false },
        ("" | "AUTO" | "VALIDATED", _) => ToolChoice::Auto,
        _ => ToolChoice::Foreign(OWN, mode.into()),
    })
}

fn tools(mut tool: Members<'_>, chat: &mut Chat) -> Result<(), Unsupported> {
    tool.each("functionDeclarations", |function, place| {
        let mut function = open(function, place)?;
        let (name, description) = (function.required_text("name")?, function.text("description")?);
        let of_openapi = |schema: &Value| schema::of_openapi(schema.clone());
        let schema = function.take("parametersJsonSchema");
        let parameters = schema.or_else(|| function.get("parameters").map(of_openapi));
        let extra = function.rest(OWN);
        chat.tools.push(Tool::Function { name, description, parameters, strict: None, extra });
        Ok(())
    })?;
    if let Some((_, rest)) = tool.rest(OWN).get() {
        chat.uncacheable = Some("it offers a tool that runs at the provider");
        chat.tools.push(Tool::Foreign(OWN, rest.clone().into()));
    }
    Ok(())
}

/// Reads `generationConfig`, and returns what only this format knows of it.
fn generation(mut config: Members<'_>, chat: &mut Chat) -> Result<Map<String, Value>, Unsupported> {
    let place = config.place();
    for (name, default) in [
        ("candidateCount", json!(1)),
        ("responseLogprobs", json!(false)),
        ("logprobs", json!(0)),
        ("responseModalities", json!(["TEXT"])),
        ("responseMimeType", json!("text/plain")),
        ("presencePenalty", json!(0)),
        ("frequencyPenalty", json!(0)),
    ] {
        config.drop_if(name, default);
    }
    if let Some((name, why)) = OTHER_ANSWERS.into_iter().find(|(name, _)| config.get(name).is_some()) {
        (chat.indispensable, chat.uncacheable) = (Some(name), Some(why));
    }
    let sampling = &mut chat.sampling;
    sampling.max_tokens = config.integer("maxOutputTokens")?;
    sampling.temperature = config.number("temperature")?;
    sampling.top_p = config.number("topP")?;
    sampling.top_k = config.integer("topK")?;
    sampling.stop = config.texts("stopSequences")?;
    sampling.presence_penalty = config.number("presencePenalty")?;
    sampling.frequency_penalty = config.number("frequencyPenalty")?;
    if let Some(seed) = config.take("seed") {
        sampling.seed = Some(seed.as_i64().ok_or_else(|| place.name("seed").wrong("must be a whole number"))?);
    }
    let schema = config.get("responseJsonSchema").cloned();
    let schema = schema.or_else(|| config.get("responseSchema").cloned().map(schema::of_openapi));
    chat.output = match (config.get("responseMimeType").map(Value::as_str), schema) {
        (None, _) => Output::Text,
        (Some(Some("application/json")), None) => Output::JsonObject,
        (Some(Some("application/json")), Some(schema)) => {
            Output::JsonSchema { name: None, description: None, schema, strict: None }
        }
        // Such as a choice of words.
        (Some(kind), _) => Output::Foreign(OWN, kind.into()),
    };
    if let Some(thinking) = copy_of(&mut config, "thinkingConfig", place.name("thinkingConfig"))? {
        chat.reasoning = reasoning(thinking)?;
        config.drop_if("thinkingConfig", json!({"includeThoughts": false}));
    }
    Ok(config.into_map())
}

fn reasoning(mut thinking: Members<'_>) -> Result<Reasoning, Unsupported> {
    let summary = thinking.flag("includeThoughts")?.filter(|shows| *shows).map(|_| "auto".to_owned());
    let effort = thinking.text("thinkingLevel")?.map(|level| level.to_ascii_lowercase());
    let (mode, budget) = match thinking.take("thinkingBudget").and_then(|budget| budget.as_i64()) {
        None => (None, None),
        Some(0) => (Some(ReasoningMode::Disabled), None),
        Some(..0) => (Some(ReasoningMode::Adaptive), None),
        Some(budget) => (Some(ReasoningMode::Enabled), Some(budget.unsigned_abs())),
    };
    Ok(Reasoning { effort, budget, mode, summary })
}
