//! Writing requests.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{OWN, parts, schema};
use crate::llm::chat::{
    Chat, Content, Extra, Issuer, Message, Output, Part, ReasoningMode, Role, Tool, ToolChoice, ToolResult,
};
use crate::llm::error::Unsupported;
use crate::llm::members::{Place, merge, object, some};
use crate::llm::models::{self, Family, Maker, Thinking};

/// What Google says to send in place of a signature that is missing. Models of the third generation refuse a call
/// without one. Calls lack it when another provider or our cache answered, or when a client dropped what it didn't
/// know.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";
/// Members of Google's own that callers may add to a request in any format.
const GOOGLES: [&str; 4] = ["safetySettings", "safety_settings", "cachedContent", "labels"];

/// Writes a request for `model`.
pub(super) fn request(chat: &Chat, model: &str) -> Result<Value, Unsupported> {
    chat.may_become(OWN)?;
    let (family, is_own) = (models::family(model), chat.format == OWN);
    let (system, turns) = conversation(chat, &family)?;
    let tools = tools(chat)?;
    let mut generation = sampling(chat);
    // In this format, these go out as they came, with the extra members.
    if !is_own {
        output(chat, &mut generation)?;
        generation.extend(object(json!({"thinkingConfig": thinking(chat, &family)?})));
    }
    let calling = if is_own { None } else { calling(chat)?.map(|calling| json!({"functionCallingConfig": calling})) };
    let mut body = object(json!({
        "systemInstruction": system,
        "contents": turns,
        "tools": some(tools),
        "toolConfig": calling,
        "generationConfig": some(generation),
    }));
    if is_own {
        merge(&mut body, &chat.extra.members(OWN));
        merge(&mut body, &chat.unseen);
    } else if let Some((_, extra)) = chat.extra.get() {
        body.extend(GOOGLES.iter().filter_map(|name| Some(((*name).to_owned(), extra.get(*name)?.clone()))));
    }
    Ok(body.into())
}

/// Who speaks. Results of tools are the user's too, but stay in contents of their own, as many as there were calls in
/// the content before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    System,
    User,
    Model,
    Tools,
}

struct Turn {
    speaker: Speaker,
    /// The parts, each with its place among those whose order matters.
    parts: Vec<(usize, Value)>,
    extra: Map<String, Value>,
}

impl Turn {
    fn into_content(mut self) -> Value {
        // Without ids, two calls of one function and their results belong together by their order only.
        self.parts.sort_by_key(|(place, _)| *place);
        let parts: Vec<Value> = self.parts.into_iter().map(|(_, part)| part).collect();
        let role = match self.speaker {
            Speaker::System => None,
            Speaker::User | Speaker::Tools => Some("user"),
            Speaker::Model => Some("model"),
        };
        let mut content = object(json!({"role": role, "parts": parts}));
        merge(&mut content, &self.extra);
        content.into()
    }
}

/// A call that the model made earlier.
struct Call<'c> {
    name: &'c str,
    /// Which call of the conversation it is.
    place: usize,
    has_id: bool,
}

#[derive(Default)]
struct Conversation<'c> {
    /// Whether the model is of the third generation or later. Those match results to calls by their ids, and want
    /// signatures back. Earlier ones refuse ids.
    is_third: bool,
    is_own: bool,
    system: Vec<Turn>,
    turns: Vec<Turn>,
    calls: HashMap<&'c str, Call<'c>>,
    /// How many calls there were, those of an id that came again included.
    count: usize,
}

/// The system's instruction and the contents.
fn conversation(chat: &Chat, family: &Family) -> Result<(Option<Value>, Vec<Value>), Unsupported> {
    let mut conversation = Conversation {
        is_third: family.maker == Maker::Google && family.thinking == Thinking::Effort,
        is_own: chat.format == OWN,
        ..Conversation::default()
    };
    let says = |message: &Message| message.parts.iter().any(|part| part.as_text() != Some(""));
    let last_question = chat.messages.iter().rposition(|message| message.role == Role::User && says(message));
    let place = Place::ROOT.name("messages");
    for (i, message) in chat.messages.iter().enumerate() {
        conversation.message(message, last_question.is_none_or(|last| i > last), place.index(i))?;
    }
    if conversation.turns.is_empty() {
        return Err(place.wrong("must have one of the user that isn't empty"));
    }
    let system = conversation.system.pop().map(Turn::into_content);
    Ok((system, conversation.turns.into_iter().map(Turn::into_content).collect()))
}

impl<'c> Conversation<'c> {
    /// `is_current`: whether the message belongs to the turn that goes on.
    fn message(&mut self, message: &'c Message, is_current: bool, place: Place<'_>) -> Result<(), Unsupported> {
        let speaker = match message.role {
            Role::System | Role::Developer => Speaker::System,
            Role::User => Speaker::User,
            Role::Assistant => Speaker::Model,
            Role::Tool => Speaker::Tools,
        };
        // Only the first of parallel calls has a signature, and only those of the current turn are looked at.
        let mut wants_signature = self.is_third && is_current;
        let place = place.name("content");
        for (i, part) in message.parts.iter().enumerate() {
            let place = place.index(i);
            let is_googles = part.seal.as_ref().is_some_and(|seal| seal.issuer == Issuer::Google);
            let (order, written) = match &part.content {
                Content::ToolCall(call) => {
                    let is_made_up = self.is_own && call.id == format!("call_{}", self.count);
                    let has_id = self.is_third && !is_made_up && !call.id.is_empty();
                    let mut written = parts::write(part, has_id.then_some(&*call.id), place)?;
                    if let Some(part) = &mut written
                        && std::mem::take(&mut wants_signature)
                    {
                        part.entry("thoughtSignature").or_insert(NO_SIGNATURE.into());
                    }
                    self.calls.insert(&call.id, Call { name: &call.name, place: self.count, has_id });
                    self.count += 1;
                    (0, written)
                }
                Content::ToolResult(result) if speaker == Speaker::Tools => self.result(part, result, place)?,
                // Thoughts are of no use to Google without its own signature.
                Content::Reasoning(_) if !self.is_own && !is_googles => continue,
                Content::Text(_) | Content::Refusal(_) => (0, parts::write(part, None, place)?),
                _ if speaker == Speaker::System && !self.is_own => return Err(place.wrong("must be text")),
                _ => (0, parts::write(part, None, place)?),
            };
            self.say(speaker, written.map(|part| (order, part.into())), &Extra::default());
        }
        self.say(speaker, None, &message.extra);
        Ok(())
    }

    /// Adds to the last turn if it is the same speaker's.
    fn say(&mut self, speaker: Speaker, part: Option<(usize, Value)>, extra: &Extra) {
        let turns = if speaker == Speaker::System { &mut self.system } else { &mut self.turns };
        match turns.last_mut().filter(|turn| turn.speaker == speaker) {
            Some(turn) => {
                turn.parts.extend(part);
                merge(&mut turn.extra, &extra.members(OWN));
            }
            None => turns.extend(part.map(|part| Turn { speaker, parts: vec![part], extra: Map::new() })),
        }
    }

    /// The result of a call, and the place of the call.
    fn result(
        &self,
        part: &Part,
        result: &ToolResult,
        place: Place<'_>,
    ) -> Result<(usize, Option<Map<String, Value>>), Unsupported> {
        let call = self.calls.get(&*result.call_id);
        let id = call.filter(|call| call.has_id).map(|_| &result.call_id);
        let mut response = object(json!({"id": id}));
        if !self.is_own {
            let call = call.ok_or_else(|| place.wrong("is the result of no call before"))?;
            let (mut text, mut files) = (String::new(), Vec::new());
            let place = place.name("content");
            for (i, part) in result.parts.iter().enumerate() {
                match &part.content {
                    Content::Text(more) => text.push_str(more),
                    Content::Image(_) | Content::Document { .. } if self.is_third => {
                        files.extend(parts::write(part, None, place.index(i))?);
                    }
                    _ => return Err(place.index(i).wrong("must be text, as the result of a tool")),
                }
            }
            let reply = reply(&text, result.is_error);
            response = object(json!({"name": call.name, "response": reply, "parts": some(files), "id": id}));
        }
        let mut written = object(json!({"functionResponse": response}));
        merge(&mut written, &part.extra.members(OWN));
        if let (false, Some(Value::Object(response))) = (self.is_third, written.get_mut("functionResponse")) {
            response.shift_remove("id");
        }
        Ok((call.map_or(self.count, |call| call.place), Some(written)))
    }
}

/// What a tool replied, as the object that Google wants. Lists are told as such. Numbers and the like stay text,
/// because what looks like a number may be too long to be kept as one, or be a name.
fn reply(text: &str, is_error: bool) -> Value {
    match serde_json::from_str(text) {
        _ if is_error => json!({"error": text}),
        Ok(object @ Value::Object(_)) => object,
        Ok(list @ Value::Array(_)) => json!({"result": list}),
        _ => json!({"result": text}),
    }
}

fn tools(chat: &Chat) -> Result<Vec<Value>, Unsupported> {
    let (mut functions, mut others) = (Vec::new(), Vec::new());
    let place = Place::ROOT.name("tools");
    for (i, tool) in chat.tools.iter().enumerate() {
        let place = place.index(i);
        match tool {
            Tool::Function { name, .. } if name.is_empty() => return Err(place.wrong("has no name")),
            Tool::Function { parameters: Some(schema), .. } if !schema.is_object() && !schema.is_null() => {
                return Err(place.wrong("has parameters that are no JSON schema"));
            }
            Tool::Function { name, description, parameters, extra, .. } => {
                let extra = extra.members(OWN);
                let schema = parameters.as_ref().filter(|_| !extra.contains_key("parameters"));
                let schema = schema.and_then(schema::of_arguments);
                let function = json!({"name": name, "description": description, "parametersJsonSchema": schema});
                let mut function = object(function);
                merge(&mut function, &extra);
                functions.push(function);
            }
            Tool::Foreign(OWN, whole) => others.push(whole.clone()),
            Tool::Foreign(..) => return Err(place.wrong("has no counterpart in Gemini's API: only functions have")),
        }
    }
    if !functions.is_empty() {
        others.insert(0, json!({"functionDeclarations": functions}));
    }
    Ok(others)
}

/// Which functions must be called. None where that is left to the model, or the request has no functions.
fn calling(chat: &Chat) -> Result<Option<Value>, Unsupported> {
    Ok(Some(match &chat.tool_choice {
        ToolChoice::Foreign(..) => return Err(Unsupported::new("tool_choice", "has no counterpart in Gemini's API")),
        _ if !chat.tools.iter().any(|tool| matches!(tool, Tool::Function { .. })) => return Ok(None),
        ToolChoice::Auto => return Ok(None),
        ToolChoice::None => json!({"mode": "NONE"}),
        ToolChoice::Required => json!({"mode": "ANY"}),
        ToolChoice::Named(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
        ToolChoice::Allowed { names, .. } if names.is_empty() => {
            return Err(Unsupported::new("tool_choice", "allows no tool"));
        }
        ToolChoice::Allowed { names, required: true } => json!({"mode": "ANY", "allowedFunctionNames": names}),
        ToolChoice::Allowed { names, .. } => json!({"mode": "VALIDATED", "allowedFunctionNames": names}),
    }))
}

fn sampling(chat: &Chat) -> Map<String, Value> {
    let sampling = &chat.sampling;
    object(json!({
        "maxOutputTokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "topP": sampling.top_p,
        "topK": sampling.top_k,
        "seed": sampling.seed,
        "presencePenalty": sampling.presence_penalty,
        "frequencyPenalty": sampling.frequency_penalty,
        "stopSequences": some(sampling.stop.clone()),
    }))
}

fn output(chat: &Chat, config: &mut Map<String, Value>) -> Result<(), Unsupported> {
    let schema = match &chat.output {
        Output::Text => return Ok(()),
        Output::Foreign(..) => return Err(Unsupported::new("response_format", "has no counterpart in Gemini's API")),
        Output::JsonObject => None,
        Output::JsonSchema { schema, .. } => Some(schema).filter(|schema| !schema.is_null()),
    };
    let schema = schema.map(|schema| schema::of_answer(schema.clone()));
    config.extend(object(json!({"responseMimeType": "application/json", "responseJsonSchema": schema})));
    Ok(())
}

/// How the model is told to think: in tokens up to generation 2.5, in words from the third on.
fn thinking(chat: &Chat, family: &Family) -> Result<Option<Map<String, Value>>, Unsupported> {
    let reasoning = &chat.reasoning;
    let is_adaptive = reasoning.mode == Some(ReasoningMode::Adaptive);
    let (effort, told) = match reasoning.mode {
        Some(ReasoningMode::Disabled) => (Some("none"), None),
        _ => (reasoning.effort.as_deref(), reasoning.budget),
    };
    // As in Google's own API for OpenAI's clients.
    let of_effort = match effort {
        None | Some("none") => None,
        Some("minimal" | "low") => Some(1024),
        Some("medium") => Some(8192),
        Some("high" | "xhigh" | "max") => Some(24_576),
        Some(_) => return Err(Unsupported::new("reasoning_effort", "is not known")),
    };
    // Claude shows its thoughts where it is told to think, unless it is told not to show them.
    let is_thinking = is_adaptive || reasoning.mode == Some(ReasoningMode::Enabled);
    let shows = reasoning.summary.as_ref().map_or(is_thinking, |how| how != "omitted").then_some(true);
    let (least, most) = family.budget;
    Ok(some(object(match family.thinking {
        Thinking::Never => return Ok(None),
        Thinking::Budget => {
            let budget = told.or(of_effort).map(|budget| budget.clamp(least, most).into());
            let off = || if family.off.is_some() { json!(0) } else { least.into() };
            let budget = budget.or_else(|| (effort == Some("none")).then(off));
            json!({"thinkingBudget": budget.or_else(|| is_adaptive.then(|| json!(-1))), "includeThoughts": shows})
        }
        Thinking::Effort => {
            let level = effort.or_else(|| chat.effort()).and_then(|effort| family.effort(effort));
            json!({"thinkingLevel": level.map(str::to_ascii_uppercase), "includeThoughts": shows})
        }
    })))
}
