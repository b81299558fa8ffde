//! A chat as a Converse request.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::OWN;
use super::content::{MARK, mark};
use super::conversation::{Conversation, Marked, Target};
use crate::llm::FormatId;
use crate::llm::chat::{Chat, Output, Reasoning, ReasoningMode, Sampling, Tool, ToolChoice};
use crate::llm::error::Unsupported;
use crate::llm::members::{Place, object, some};
use crate::llm::models::{self, CachePoints, Family, Maker, Thinking};
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
/// What OpenAI's JSON mode asks for; Converse has no mode for JSON without a schema.
const JSON_ONLY: &str = "Answer with one valid JSON object and nothing else: no words around it, no code fence.";
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
        let asked = &chat.reasoning;
        let word = asked.effort.as_deref();
        if word.is_some_and(|word| !models::EFFORTS.contains(&word)) {
            let why = format_args!("must be one of {}", models::EFFORTS.join(", "));
            return Err(Unsupported::new("reasoning_effort", why));
        }
        let is_on = match (asked.mode, word, asked.budget) {
            (Some(mode), ..) => Some(mode != ReasoningMode::Disabled),
            // Anthropic's own effort counts for the answer as well, and asks for no thoughts.
            (None, Some(_), _) if chat.format == FormatId::Anthropic => None,
            (None, Some(word), _) => Some(!matches!(word, "none" | "minimal")),
            (None, None, budget) => budget.map(|budget| budget > 0),
        };
        let by_budget = |budget| models::effort_of_budget(budget, chat.sampling.max_tokens);
        let effort = word.or(asked.budget.map(by_budget)).and_then(|word| family.effort(word));
        let mut fields = Self::default();
        match family.maker {
            Maker::Anthropic => {
                let is_on = is_on.filter(|is_on| !is_on || may_think || family.thinking == Thinking::Effort);
                fields.think(asked, family, is_on, is_forced, effort);
            }
            Maker::OpenAi if is_on == Some(true) || word == Some("minimal") => {
                fields.say("reasoning_effort", effort.into());
            }
            _ => {}
        }
        match (family.maker, chat.sampling.top_k) {
            (Maker::Anthropic, Some(top_k)) if !fields.thinks && family.sampling => fields.say("top_k", top_k.into()),
            (Maker::Amazon, Some(top_k)) => fields.say("inferenceConfig", json!({"topK": top_k})),
            _ => {}
        }
        Ok(fields)
    }

    /// Makes Claude think as it is asked to. Where it has to call a tool it refuses to, and the call matters more.
    fn think(
        &mut self,
        asked: &Reasoning,
        family: &Family,
        is_on: Option<bool>,
        is_forced: bool,
        effort: Option<&str>,
    ) {
        let goes_off = family.thinks_unasked && (is_forced || is_on == Some(false));
        let goes_on = is_on == Some(true) && !is_forced;
        let (thinking, effort) = match (family.thinking, family.off) {
            (Thinking::Budget, _) if goes_on => {
                let by_effort = || models::budget_of_effort(asked.effort.as_deref().unwrap_or("high"));
                self.budget = asked.budget.or_else(by_effort).map(|budget| budget.max(family.budget.0));
                (Some(json!({"type": "enabled", "budget_tokens": self.budget})), None)
            }
            (Thinking::Effort, _) if goes_on => (Some(json!({"type": "adaptive"})), effort),
            (Thinking::Effort, Some(word)) if goes_off => (Some(json!({"type": word})), None),
            // What can't be stopped from thinking thinks little.
            (Thinking::Effort, None) if goes_off => (None, family.efforts.first().copied()),
            (Thinking::Effort, _) => (None, effort.filter(|_| is_on.is_none())),
            _ => (None, None),
        };
        self.thinks = goes_on && thinking.is_some();
        if let Some(mut thinking) = thinking {
            // The newest models show no thoughts unless they are asked to, the older ones show them anyway.
            let shows = asked.summary.as_deref().map(|word| if word == "omitted" { word } else { "summarized" });
            if let Some(shows) = shows.filter(|_| goes_on && family.thinking == Thinking::Effort) {
                thinking["display"] = shows.into();
            }
            self.say("thinking", thinking);
        }
        if let Some(effort) = effort {
            self.say("output_config", json!({"effort": effort}));
        }
    }

    fn say(&mut self, name: &str, value: Value) {
        self.members.insert(name.to_owned(), value);
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
    let (mut temperature, mut top_p) = (asked.temperature, asked.top_p);
    if !target.is_own {
        // Converse ends where many models do, at 1.
        temperature = temperature.map(|temperature| temperature.min(1.0));
        if fields.thinks || !target.family.sampling {
            (temperature, top_p) = (None, None);
        } else if !target.family.temperature_with_top_p && temperature.is_some() && top_p.is_some() {
            // Newer Claudes refuse the two together: the one that differs from 1 stays, and the first where both do.
            let is_whole = temperature >= Some(1.0) && top_p < Some(1.0);
            (temperature, top_p) = if is_whole { (None, top_p) } else { (temperature, None) };
        }
    }
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
