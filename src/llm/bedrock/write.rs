//! A chat as a Converse request.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::OWN;
use super::content::{MARK, mark};
use super::conversation::{Conversation, Marked, Target};
use crate::llm::chat::{Chat, Output, Sampling, Tool, ToolChoice};
use crate::llm::claude::{JSON_ONLY, Thinking};
use crate::llm::error::Unsupported;
use crate::llm::members::{Place, object, some};
use crate::llm::models::{self, CachePoints, Family, Maker};
use crate::llm::schema::closed;

/// Converse's own members, which callers of other APIs may give as they are.
const CONVERSES: [&str; 9] = [
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
    "guardrailConfig",
    "outputConfig",
    "performanceConfig",
    "projectIdentifier",
    "promptVariables",
    "requestMetadata",
    "serviceTier",
];
/// Tokens for the answer of a model that thinks, where the caller names no limit: the thoughts count too, and what a
/// model writes at most by default may be less than they take.
const ANSWER: u64 = 4096;
/// What the choice of no tool asks for, where the tools have to stay.
const NO_CALLS: &str = "Don't call any tool now. Answer in words.";

/// Writes a request for `model`, which is Bedrock's name of it.
///
/// Members without counterpart that only tune are dropped: penalties, `seed`, `parallel_tool_calls`, `strict` and the
/// like. A schema for the answer is sent to every model; those that can't keep to one refuse it.
pub(super) fn request(chat: &Chat, model: &str) -> Result<Value, Unsupported> {
    chat.may_become(OWN)?;
    let target = Target { family: models::family(model), is_own: chat.format == OWN };
    let mut conversation = Conversation::of(&chat.messages, target, mark(&chat.extra))?;
    let tools = tools(chat, &conversation.called, target)?;
    if let Some(sentence) = &tools.instruction {
        conversation.instruct(sentence);
    }
    let format = match &chat.output {
        Output::Text => None,
        Output::JsonObject => {
            conversation.instruct(JSON_ONLY);
            None
        }
        Output::JsonSchema { name, description, schema, .. } => Some(format(name, description, schema)),
        Output::Foreign(OWN, format) => Some(format.clone()),
        Output::Foreign(..) => return Err(Unsupported::new("response_format", "has a form that Bedrock doesn't know")),
    };
    let fields = if target.is_own {
        Fields::default()
    } else {
        Fields::of(chat, &target.family, conversation.may_think(), tools.is_forced)?
    };

    let system = target.with_points(std::mem::take(&mut conversation.system), CachePoints::Prompt);
    let mut body = object(json!({
        "system": some(system),
        "messages": some(conversation.into_messages()),
        "inferenceConfig": some(inference(&chat.sampling, &fields, target)?),
        "toolConfig": some(tools.config),
        "additionalModelRequestFields": some(fields.members),
        "outputConfig": format.map(|format| json!({"textFormat": format})),
    }));
    let own = chat.unseen.iter().chain(chat.extra.get().into_iter().flat_map(|(_, members)| members));
    for (name, value) in own.filter(|(name, _)| CONVERSES.contains(&name.as_str()) || target.is_own && *name != MARK) {
        match (body.get_mut(name), value) {
            // What the caller says itself counts for more.
            (Some(Value::Object(written)), Value::Object(own)) => written.extend(own.clone()),
            (None, Value::Object(_)) => drop(body.insert(name.clone(), value.clone())),
            (None, _) if name != CONVERSES[0] => drop(body.insert(name.clone(), value.clone())),
            _ => return Err(Unsupported::new(name, "must be an object")),
        }
    }
    Ok(body.into())
}

/// What only the models of one maker understand.
#[derive(Default)]
struct Fields {
    members: Map<String, Value>,
    /// Tokens to think with, where a number is told.
    budget: Option<u64>,
    /// Whether the model thinks, so that it takes no temperature and the like.
    thinks: bool,
}

impl Fields {
    /// Models that aren't known to take an effort or `top_k` aren't sent them: most refuse what they don't know.
    fn of(chat: &Chat, family: &Family, may_think: bool, is_forced: bool) -> Result<Self, Unsupported> {
        let is_claude = family.maker == Maker::Anthropic;
        let mut thinking = Thinking::of(chat, family, may_think, is_forced && is_claude)?;
        let is_enabled = thinking.member["type"] == "enabled";
        if let Some(member) = thinking.member.as_object_mut().filter(|_| is_enabled) {
            // Models that think by a budget show their thoughts anyway.
            member.shift_remove("display");
        }
        let top_k = chat.sampling.top_k;
        let members = object(match family.maker {
            Maker::Anthropic => json!({
                "thinking": thinking.member,
                "output_config": thinking.effort.as_ref().map(|effort| json!({"effort": effort})),
                "top_k": top_k.filter(|_| !thinking.is_on() && family.sampling),
            }),
            // These can't but think, so the least is what `minimal` asks for.
            Maker::OpenAi if chat.reasoning.effort.as_deref() == Some("minimal") => {
                json!({"reasoning_effort": family.efforts.first()})
            }
            Maker::OpenAi => json!({"reasoning_effort": thinking.effort}),
            Maker::Amazon => json!({"inferenceConfig": top_k.map(|top_k| json!({"topK": top_k}))}),
            Maker::Google | Maker::Other => Value::Null,
        });
        let budget = (is_claude && is_enabled).then_some(thinking.budget);
        Ok(Self { members, budget, thinks: is_claude && thinking.is_on() })
    }
}

fn inference(asked: &Sampling, fields: &Fields, target: Target) -> Result<Map<String, Value>, Unsupported> {
    if asked.max_tokens == Some(0) {
        return Err(Unsupported::new("max_tokens", "must be a whole number from 1 on"));
    }
    if asked.stop.iter().any(String::is_empty) {
        return Err(Unsupported::new("stop", "can't hold an empty text"));
    }
    // The limit is raised to hold the thoughts as well.
    let max_tokens = match (asked.max_tokens, fields.budget) {
        (None, Some(budget)) => Some(budget.saturating_add(ANSWER)),
        (Some(limit), Some(budget)) if limit <= budget => Some(budget.saturating_add(limit)),
        (limit, _) => limit,
    };
    let (temperature, top_p) = match (asked.temperature, asked.top_p) {
        both if target.is_own => both,
        _ if fields.thinks => (None, None),
        // Converse's scale ends where many models' do.
        (temperature, top_p) => target.family.temperature_and_top_p(temperature, top_p),
    };
    Ok(object(json!({
        "maxTokens": max_tokens,
        "temperature": temperature,
        "topP": top_p,
        "stopSequences": some(asked.stop.clone()),
    })))
}

/// Converse's `textFormat`, which has the schema as text.
fn format(name: &Option<String>, description: &Option<String>, schema: &Value) -> Value {
    let text = |text: &Option<String>| text.clone().and_then(some);
    let schema = closed(schema).to_string();
    let told = object(json!({"schema": schema, "name": text(name), "description": text(description)}));
    json!({"type": "json_schema", "structure": {"jsonSchema": told}})
}

/// What a request says about tools.
#[derive(Default)]
struct Tools {
    config: Map<String, Value>,
    /// Whether the model has to call a tool.
    is_forced: bool,
    /// What the model has to be told in words.
    instruction: Option<String>,
}

/// The tools of a chat in which those in `called` were called.
///
/// Converse can't say that no tool may be called, so the tools are left out then. A conversation with calls in it is
/// refused without a `toolConfig`. There the tools stay, without a choice, and the model is told in words. If such a
/// conversation comes without any tools, those that were called are declared by their names.
fn tools(chat: &Chat, called: &BTreeSet<String>, target: Target) -> Result<Tools, Unsupported> {
    let place = Place::ROOT.name("tools");
    let mut specs: Vec<Marked> = Vec::new();
    for (index, tool) in chat.tools.iter().enumerate() {
        specs.push(match tool {
            Tool::Function { extra, .. } => (spec(tool, target), mark(extra).cloned()),
            Tool::Foreign(OWN, tool) => (tool.clone(), None),
            Tool::Foreign(..) => return Err(place.index(index).wrong("must be a function for a Bedrock model")),
        });
    }
    let is_barred = chat.tool_choice == ToolChoice::None || specs.is_empty();
    if specs.is_empty() && target.is_own || is_barred && called.is_empty() {
        return Ok(Tools::default());
    }
    if specs.is_empty() {
        specs.extend(called.iter().map(|name| (tool_spec(name, None, None), None)));
    }
    let choice = match &chat.tool_choice {
        _ if is_barred => None,
        ToolChoice::Auto | ToolChoice::None => None,
        ToolChoice::Required => Some(json!({"any": {}})),
        ToolChoice::Named(name) => Some(json!({"tool": {"name": name}})),
        ToolChoice::Allowed { names, required } => {
            // Only the tools that are allowed go, because Converse can't tell them from the others.
            let is_allowed = |name: &str| names.iter().any(|allowed| allowed == name);
            specs.retain(|(spec, _)| spec["toolSpec"]["name"].as_str().is_some_and(is_allowed));
            if specs.is_empty() {
                return Err(Unsupported::new("tool_choice", "allows none of the functions"));
            }
            required.then(|| json!({"any": {}}))
        }
        ToolChoice::Foreign(OWN, choice) => Some(choice.clone()),
        ToolChoice::Foreign(..) => return Err(Unsupported::new("tool_choice", "is not known to Bedrock")),
    };
    let goes = target.is_own || target.family.forced_tools;
    let instruction = match &choice {
        _ if is_barred => Some(NO_CALLS.to_owned()),
        Some(choice) if !goes => Some(match choice["tool"]["name"].as_str() {
            Some(name) => format!("Call the tool `{name}` now."),
            None => "Call a tool now.".to_owned(),
        }),
        _ => None,
    };
    let choice = choice.filter(|_| goes);
    let is_forced = choice.is_some();
    let config = object(json!({"tools": target.with_points(specs, CachePoints::Tools), "toolChoice": choice}));
    Ok(Tools { config, is_forced, instruction })
}

fn spec(tool: &Tool, target: Target) -> Value {
    let Tool::Function { name, description, parameters, strict, extra } = tool else { return Value::Null };
    let mut spec = tool_spec(name, description.as_deref(), parameters.as_ref());
    if let (true, Some(spec)) = (target.is_own, spec["toolSpec"].as_object_mut()) {
        spec.extend(strict.map(|strict| ("strict".to_owned(), strict.into())));
        let own = extra.of(OWN).into_iter().flatten().filter(|(name, _)| *name != MARK);
        spec.extend(own.map(|(name, value)| (name.clone(), value.clone())));
    }
    spec
}

/// Bedrock demands a schema of the arguments, and that it says that they are an object.
fn tool_spec(name: &str, description: Option<&str>, parameters: Option<&Value>) -> Value {
    let mut schema = parameters.filter(|schema| schema.as_object().is_some_and(|members| !members.is_empty())).cloned();
    let schema = schema.get_or_insert_with(|| json!({"type": "object", "properties": {}}));
    if schema["type"].is_null() {
        schema["type"] = "object".into();
    }
    let description = description.filter(|description| !description.trim().is_empty());
    let spec = object(json!({"name": name, "description": description, "inputSchema": {"json": schema}}));
    json!({"toolSpec": spec})
}
