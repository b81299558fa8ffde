//! Writing requests.

use std::fmt::Display;

use serde_json::{Map, Value, json};

use super::content::{self, BETWEEN_THOUGHTS, Spoken};
use super::{OWN, merge, merge_extra};
use crate::llm::FormatId;
use crate::llm::chat::{
    Chat, Content, Delivery, Issuer, Message, Output, Part, ReasoningMode, Role, Seal, Source, Tool, ToolCall,
    ToolChoice, ToolResult,
};
use crate::llm::error::Unsupported;
use crate::llm::members::{Place, map, object, some};
use crate::llm::models::{self, Family, Maker, Thinking};
use crate::llm::openai;

/// Characters of the end user's name that OpenAI takes.
const USER: usize = 64;
/// Bytes of a call's id that OpenAI takes.
const CALL_ID: usize = 40;
/// A document's name, which OpenAI demands.
const FILENAME: &str = "document.pdf";
/// A schema's name, which OpenAI demands.
const SCHEMA_NAME: &str = "answer";

/// Writes a request. What was read in this format goes out as it came. Of other formats, what providers of this one don't
/// know is left out, because some refuse it: marks for caches, `top_k`, thoughts in earlier turns.
pub(super) fn write(chat: &Chat, model: &str) -> Result<Value, Unsupported> {
    chat.may_become(OWN)?;
    let (is_own, family) = (chat.format == OWN, models::family(model));
    let writer = Writer { chat, is_own, family };
    let sampling = &chat.sampling;
    let thinks = family.maker == Maker::OpenAi && family.thinking != Thinking::Never;
    let takes_newer = thinks || is_own && chat.unseen.contains_key("max_completion_tokens");
    let number = |value: Option<f64>| value.filter(|_| is_own || family.sampling);
    let verbosity = chat.extra.member(FormatId::OpenAiResponses, "text").map(|text| &text["verbosity"]);
    let usage = (chat.delivery == Delivery::StreamWithUsage).then(|| json!({"include_usage": true}));
    let mut body = object(json!({
        "model": model,
        "messages": writer.messages()?,
        if takes_newer { "max_completion_tokens" } else { "max_tokens" }: sampling.max_tokens,
        "temperature": number(sampling.temperature),
        "top_p": number(sampling.top_p),
        "top_k": sampling.top_k.filter(|_| is_own),
        "stop": some(sampling.stop.clone()),
        "seed": sampling.seed,
        "frequency_penalty": number(sampling.frequency_penalty),
        "presence_penalty": number(sampling.presence_penalty),
        "response_format": writer.output()?,
        "reasoning_effort": writer.effort(),
        "verbosity": verbosity.filter(|_| thinks),
        "user": writer.user(),
        "stream": chat.delivery.is_stream().then_some(true),
        "stream_options": usage,
    }));
    body.extend(writer.tools()?);
    if is_own {
        merge(&mut body, &chat.unseen);
        merge_extra(&mut body, &chat.extra);
        if !chat.delivery.is_stream() {
            body.shift_remove("stream_options");
        }
    } else if writer.is_openais() && family.maker == Maker::OpenAi {
        let shared = chat.unseen.iter().filter(|(name, _)| openai::UNSEEN.contains(&name.as_str()));
        body.extend(shared.map(|(name, value)| (name.clone(), value.clone())));
    }
    Ok(body.into())
}

/// The request `body` in this format with ids of calls that `model` takes: a conversation may have begun with another
/// provider. None where it takes them as they are.
#[must_use]
pub fn with_fitting_call_ids(body: &Value, model: &str) -> Option<Value> {
    let length = models::family(model).call_id?;
    let mut fitting = body.clone();
    for message in fitting.get_mut("messages")?.as_array_mut()? {
        let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten();
        let ids = calls.filter_map(|call| call.get_mut("id"));
        ids.for_each(|id| fit_call_id(id, length));
        message.get_mut("tool_call_id").into_iter().for_each(|id| fit_call_id(id, length));
    }
    (fitting != *body).then_some(fitting)
}

fn fit_call_id(id: &mut Value, length: usize) {
    if let Value::String(id) = id {
        *id = openai::exact_id(id, length);
    }
}

struct Writer<'c> {
    chat: &'c Chat,
    /// Whether the request was read in this format.
    is_own: bool,
    family: Family,
}

impl Writer<'_> {
    /// Whether the request was said to an API of OpenAI's, so that what only OpenAI knows may be said.
    fn is_openais(&self) -> bool {
        matches!(self.chat.format, OWN | FormatId::OpenAiResponses)
    }

    fn messages(&self) -> Result<Vec<Value>, Unsupported> {
        let (mut messages, mut shown) = (Vec::new(), Vec::new());
        let place = Place::ROOT.name("messages");
        for (index, message) in self.chat.messages.iter().enumerate() {
            let place = place.index(index);
            if message.role == Role::Tool {
                for part in &message.parts {
                    messages.push(self.tool_result(part, &mut shown, place)?);
                }
                continue;
            }
            if message.role != Role::User && !shown.is_empty() {
                messages.push(json!({"role": "user", "content": std::mem::take(&mut shown)}));
            }
            let mut written = match message.role {
                Role::Assistant => self.assistant(message, place)?,
                _ => self.said(message, std::mem::take(&mut shown), place)?,
            };
            // Others' messages may hold nothing but what has no place here.
            if !self.is_own && is_empty(&written) {
                continue;
            }
            merge_extra(&mut written, &message.extra);
            messages.push(written.into());
        }
        if !shown.is_empty() {
            messages.push(json!({"role": "user", "content": shown}));
        }
        let is_instruction = |message: &Value| message["role"] == "system" || message["role"] == "developer";
        if !self.is_own && messages.iter().all(is_instruction) {
            return Err(Unsupported::new("messages", "must hold a message that isn't empty"));
        }
        Ok(messages)
    }

    /// What is said by whoever isn't the model, after what tools before it have shown.
    fn said(
        &self,
        message: &Message,
        mut shown: Vec<Value>,
        place: Place<'_>,
    ) -> Result<Map<String, Value>, Unsupported> {
        let knows_developers = self.is_own || self.family.maker == Maker::OpenAi;
        let (word, joint) = match message.role {
            Role::User => ("user", None),
            Role::Developer if knows_developers => ("developer", Some("\n\n")),
            _ => ("system", Some("\n\n")),
        };
        let content = if shown.is_empty() {
            self.content(&message.parts, joint, place)?
        } else {
            shown.extend(self.parts(&message.parts, place)?);
            Some(shown.into())
        };
        Ok(object(json!({"role": word, "content": content})))
    }

    /// A content: a text where it is no more than that. Texts of other formats are joined, if there is a `joint` for them.
    fn content(&self, parts: &[Part], joint: Option<&str>, place: Place<'_>) -> Result<Option<Value>, Unsupported> {
        let is_plain = |part: &Part| part.as_text().is_some() && part.extra.of(OWN).is_none();
        match (parts, joint.filter(|_| !self.is_own)) {
            ([], _) => Ok(None),
            ([one], _) if is_plain(one) => Ok(one.as_text().map(Value::from)),
            (several, Some(joint)) if several.iter().all(is_plain) => {
                let texts: Vec<&str> = several.iter().filter_map(Part::as_text).collect();
                Ok(Some(texts.join(joint).into()))
            }
            (several, _) => Ok(Some(self.parts(several, place)?.into())),
        }
    }

    fn parts(&self, parts: &[Part], place: Place<'_>) -> Result<Vec<Value>, Unsupported> {
        let place = place.name("content");
        parts.iter().enumerate().map(|(index, part)| self.part(part, place.index(index))).collect()
    }

    fn part(&self, part: &Part, place: Place<'_>) -> Result<Value, Unsupported> {
        if self.is_own {
            return content::write_part(part).ok_or_else(|| unknown_kind(place));
        }
        let named = |name: &Option<String>, source: &Source| {
            let name = Some(name.clone().unwrap_or_else(|| FILENAME.to_owned()));
            Part::new(Content::Document { source: source.clone(), name })
        };
        let text = |text: String| Ok(json!({"type": "text", "text": text}));
        let written = match &part.content {
            Content::Document { source: Source::Text(body), name } => {
                return text(name.iter().chain([body]).map(String::as_str).collect::<Vec<_>>().join("\n\n"));
            }
            Content::Document { source: Source::Url(_), .. } => {
                return Err(place.wrong("must be in the request itself: this provider doesn't fetch documents"));
            }
            Content::Document { source: Source::File(_), .. } if !self.is_openais() => None,
            Content::Document { source: Source::File(_), .. } => content::write_part(&Part::new(part.content.clone())),
            Content::Document { source, name } => content::write_part(&named(name, source)),
            Content::Foreign(FormatId::Anthropic, whole) if whole["type"] == "search_result" => {
                return text(search_result(whole));
            }
            _ => content::write_part(part),
        };
        written.ok_or_else(|| unknown_kind(place))
    }

    /// A tool's result. Results are texts here; what else a tool shows goes to the user's next message.
    fn tool_result(&self, part: &Part, shown: &mut Vec<Value>, place: Place<'_>) -> Result<Value, Unsupported> {
        let Content::ToolResult(ToolResult { call_id, parts, is_error }) = &part.content else {
            return Err(place.wrong("must be a tool's result"));
        };
        let id = self.call_id(call_id);
        let content = if self.is_own {
            self.content(parts, None, place)?
        } else {
            let (texts, others): (Vec<Value>, Vec<Value>) =
                self.parts(parts, place)?.into_iter().partition(|part| part["type"] == "text");
            let mut texts: Vec<&str> = texts.iter().filter_map(|part| part["text"].as_str()).collect();
            if !others.is_empty() {
                texts.push("(What this tool shows is in the user's next message.)");
                shown.push(json!({"type": "text", "text": format!("(Shown by the tool call {id}:)")}));
                shown.extend(others);
            }
            Some(format!("{}{}", if *is_error { "Error: " } else { "" }, texts.join("\n")).into())
        };
        // The older role `function` has no id, and stands among the further members.
        let id = (!self.is_own || !call_id.is_empty()).then_some(id);
        let role = part.extra.member(OWN, "role").is_none().then_some("tool");
        let mut written = object(json!({"role": role, "tool_call_id": id, "content": content}));
        merge_extra(&mut written, &part.extra);
        Ok(written.into())
    }

    fn assistant(&self, message: &Message, place: Place<'_>) -> Result<Map<String, Value>, Unsupported> {
        let is_others = |part: &Part| matches!(part.content, Content::Foreign(format, _) if format != OWN);
        if let Some(index) = message.parts.iter().position(is_others) {
            return Err(unknown_kind(place.name("content").index(index)));
        }
        let passes = |seal: &Seal| self.is_own || passes(seal.issuer, self.family.maker);
        let id = |call: &ToolCall, _| self.call_id(&call.id);
        let Spoken { said, refusal, blocks, calls, seal } = Spoken::of(&message.parts, id, passes);
        let has_more = !calls.is_empty() || !refusal.is_empty() || !message.extra.is_empty();
        let nothing = || if has_more || !self.is_own { Value::Null } else { "".into() };
        // In blocks, thoughts say it all.
        let thoughts = match self.is_own && blocks.is_empty() {
            true => content::thoughts_of(&message.parts, BETWEEN_THOUGHTS),
            false => String::new(),
        };
        let content = self.content(&said, Some(""), place)?.unwrap_or_else(nothing);
        let mut written = map(json!({"role": "assistant", "content": content}));
        written.extend(object(json!({
            "refusal": some(refusal),
            content::thoughts_member(&message.parts): some(thoughts),
            "thinking_blocks": some(blocks),
            "tool_calls": some(calls),
            "extra_content": content::write_google_seal(seal),
        })));
        Ok(written)
    }

    /// A call's id. One that OpenAI would find too long, or the model refuses, becomes another one, and the same where a
    /// result names it.
    fn call_id(&self, id: &str) -> String {
        match self.family.call_id {
            Some(length) if !id.is_empty() => openai::exact_id(id, length),
            _ if self.is_own || id.len() <= CALL_ID => id.to_owned(),
            _ => format!("call_{:016x}", openai::hash(id)),
        }
    }

    /// The tools, and the choice of them.
    fn tools(&self) -> Result<Map<String, Value>, Unsupported> {
        let (mut choice, mut tools) = (tool_choice(&self.chat.tool_choice), Vec::new());
        let mut allowed: Option<&[String]> = None;
        match &self.chat.tool_choice {
            // Few providers know lists of allowed tools; a model doesn't miss what it isn't told of.
            ToolChoice::Allowed { names, required } if !self.is_own => {
                allowed = Some(names);
                choice = required.then(|| "required".into());
            }
            ToolChoice::Foreign(format, _) if *format != OWN => return Err(unknown_kind("tool_choice")),
            _ => {}
        }
        for (index, tool) in self.chat.tools.iter().enumerate() {
            match tool {
                Tool::Function { name, .. } if allowed.is_some_and(|allowed| !allowed.contains(name)) => {}
                Tool::Function { .. } => tools.push(self.function(tool)),
                Tool::Foreign(format, whole) if self.is_own || *format == OWN => tools.push(whole.clone()),
                Tool::Foreign(..) => return Err(unknown_kind(Place::ROOT.name("tools").index(index))),
            }
        }
        let is_told = self.is_own || !tools.is_empty();
        let parallel = self.chat.parallel_tool_calls.filter(|parallel| !parallel && is_told);
        let choice = choice.filter(|_| is_told);
        Ok(object(json!({"tools": some(tools), "tool_choice": choice, "parallel_tool_calls": parallel})))
    }

    fn function(&self, tool: &Tool) -> Value {
        let Tool::Function { name, description, parameters, strict, extra } = tool else { return Value::Null };
        let nothing = || (!self.is_own).then(|| json!({"type": "object", "properties": {}}));
        let function = object(json!({
            "name": name,
            "description": description,
            "parameters": parameters.clone().or_else(nothing),
            // A schema that others' strict mode allows, OpenAI's may refuse.
            "strict": strict.filter(|strict| *strict && self.is_openais()),
        }));
        let mut tool = object(json!({"type": "function", "function": function}));
        merge_extra(&mut tool, extra);
        tool.into()
    }

    fn output(&self) -> Result<Option<Value>, Unsupported> {
        if let Output::Foreign(format, _) = self.chat.output
            && format != OWN
        {
            return Err(unknown_kind("response_format"));
        }
        let mut output = response_format(&self.chat.output).filter(|_| self.chat.output != Output::Text);
        if let Some(Value::Object(form)) = output.as_mut().and_then(|output| output.get_mut("json_schema"))
            && !self.is_own
        {
            form.entry("name").or_insert(SCHEMA_NAME.into());
        }
        Ok(output)
    }

    fn effort(&self) -> Option<&str> {
        let reasoning = &self.chat.reasoning;
        if self.is_own {
            let said = self.chat.extra.member(OWN, "reasoning").and_then(|reasoning| reasoning["effort"].as_str());
            return reasoning.effort.as_deref().filter(|effort| said != Some(effort));
        }
        if self.family.thinking == Thinking::Never || reasoning.mode == Some(ReasoningMode::Disabled) {
            return None;
        }
        let wanted = self.chat.effort()?;
        match self.family.effort(wanted).unwrap_or(wanted) {
            "xhigh" | "max" if !self.is_openais() && self.family.maker != Maker::OpenAi => Some("high"),
            effort => Some(effort),
        }
    }

    fn user(&self) -> Option<String> {
        let user = self.chat.user.as_ref()?;
        if !self.is_own {
            return Some(user.chars().take(USER).collect());
        }
        let said = self.chat.unseen.get("metadata").is_some_and(|metadata| metadata["user_id"] == **user);
        (!said).then(|| user.clone())
    }
}

fn unknown_kind(place: impl Display) -> Unsupported {
    Unsupported::new(place, "is of a kind that this model's provider doesn't know")
}

fn is_empty(message: &Map<String, Value>) -> bool {
    message.iter().all(|(name, value)| name == "role" || value.is_null() || value == "")
}

/// Whether a seal may be sent to a model of `maker`.
fn passes(issuer: Issuer, maker: Maker) -> bool {
    matches!(
        (issuer, maker),
        (Issuer::Anthropic, Maker::Anthropic) | (Issuer::Google, Maker::Google) | (Issuer::OpenAi, Maker::OpenAi)
    )
}

/// A page that the caller has found, as Anthropic's requests hold it.
fn search_result(whole: &Value) -> String {
    let head = [&whole["title"], &whole["source"]].into_iter().filter_map(Value::as_str);
    let body = whole["content"].as_array().into_iter().flatten().filter_map(|block| block["text"].as_str());
    head.chain(body).collect::<Vec<_>>().join("\n")
}

/// A choice of tools; none where it says the same as nothing.
pub(super) fn tool_choice(choice: &ToolChoice) -> Option<Value> {
    let function = |name: &String| json!({"type": "function", "function": {"name": name}});
    openai::tool_choice(
        choice,
        function,
        |mode, tools| json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}),
    )
}

/// The form of an answer.
pub(super) fn response_format(output: &Output) -> Option<Value> {
    match output {
        Output::Text => Some(json!({"type": "text"})),
        Output::JsonObject => Some(json!({"type": "json_object"})),
        Output::JsonSchema { name, description, schema, strict } => {
            let (schema, strict) = (Some(schema).filter(|schema| schema.is_object()), strict.filter(|strict| *strict));
            let form = json!({"name": name, "description": description, "schema": schema, "strict": strict});
            let form = object(form);
            Some(json!({"type": "json_schema", "json_schema": form}))
        }
        Output::Foreign(_, whole) => Some(whole.clone()),
    }
}
