//! What of a chat request is meaning, and what may be cached at all.

use super::fingerprint::{Fingerprint, MeaningHasher, Unclear};
use super::{Cacheability, Question};
use crate::llm::FormatId;
use crate::llm::chat::{
    Chat, Content, Extra, Message, Output, Part, Reasoning, Retention, Role, Sampling, Source, Tool, ToolChoice,
    ToolResult,
};

/// Marks for a provider's own prompt cache. They change what a request costs and not what is answered.
const CACHE_MARK: &str = "cache_control";

/// What beside a chat separates its scope from others, and what doesn't.
#[derive(Debug, Clone, Copy, Default)]
pub struct Partition<'p> {
    /// Members of requests that the operator says don't matter, by the names that callers use.
    pub ignored: &'p [String],
    /// Requests that differ in any of these, such as a namespace, don't share answers.
    pub apart: &'p [Option<&'p str>],
    /// Whether a provider that may answer keeps its answers, so that a later turn can go on from one.
    pub provider_keeps_answers: bool,
}

impl Question {
    /// The question that a chat asks. What can't be cached *right* gets [`Cacheability::Bypass`]: the request is forwarded and its
    /// answer not kept.
    #[must_use]
    pub fn of_chat(chat: &Chat, partition: &Partition<'_>) -> Self {
        let place = last_user_text(&chat.messages);
        let text = place.and_then(|at| chat.messages[at.message].parts[at.part].as_text()).unwrap_or_default();
        let cacheability = cacheability(chat, place, text, partition.provider_keeps_answers);
        let hashed = Fingerprint::of("chat of any format", |hasher| {
            for part in partition.apart {
                hasher.text(part.unwrap_or_default());
            }
            ChatHasher { hasher, ignored: partition.ignored, hole: place }.chat(chat)
        });
        match hashed {
            Ok(fingerprint) => Self { fingerprint, text: text.to_owned(), cacheability },
            Err(Unclear(why)) => Self::bypassing(text, why),
        }
    }

    /// A question that is never asked of the cache.
    #[must_use]
    pub fn bypassing(text: &str, why: &'static str) -> Self {
        Self { fingerprint: Fingerprint::NONE, text: text.to_owned(), cacheability: Cacheability::Bypass(why) }
    }
}

/// Where in the messages the last user text stands.
#[derive(Clone, Copy, PartialEq, Eq)]
struct TextPlace {
    message: usize,
    part: usize,
}

fn last_user_text(messages: &[Message]) -> Option<TextPlace> {
    let message = messages.iter().rposition(|message| message.role == Role::User)?;
    let part = messages[message].parts.iter().rposition(|part| part.as_text().is_some())?;
    Some(TextPlace { message, part })
}

fn cacheability(chat: &Chat, place: Option<TextPlace>, text: &str, provider_keeps_answers: bool) -> Cacheability {
    if let Some(why) = chat.uncacheable.or_else(|| refusal(chat)) {
        return Cacheability::Bypass(why);
    }
    if chat.is_continuation() {
        return Cacheability::ExactOnly("completions are matched on exact text only");
    }
    match place {
        // After tool results, what is asked is in the results as much as in the text.
        Some(place) if place.message + 1 == chat.messages.len() => match chat.retention {
            Retention::Answer if provider_keeps_answers => {
                Cacheability::ExactOnly("the provider keeps the answer, and a later turn may go on from it")
            }
            _ => Cacheability::of_text(text),
        },
        _ => Cacheability::ExactOnly("the last message is not the user's"),
    }
}

/// Why the answer can't be cached, if so.
fn refusal(chat: &Chat) -> Option<&'static str> {
    if chat.messages.is_empty() {
        return Some("there are no messages");
    }
    if chat.retention == Retention::Changing {
        return Some("the provider keeps a conversation that each turn changes");
    }
    chat.messages.iter().flat_map(|message| &message.parts).find_map(part_refusal)
}

fn part_refusal(part: &Part) -> Option<&'static str> {
    match &part.content {
        Content::Image(source) | Content::Document { source, .. } => match source {
            Source::Base64 { .. } | Source::Text(_) => None,
            Source::Url(url) if is_inline(url) => None,
            Source::Url(_) => Some("an image or a file is referred to by address, and may change"),
            Source::File(_) => Some("a file is referred to by name, and may change"),
        },
        Content::ToolResult(result) => result.parts.iter().find_map(part_refusal),
        _ => None,
    }
}

fn is_inline(url: &str) -> bool {
    url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}

/// Writes a chat so that no two that mean different things read the same.
struct ChatHasher<'h> {
    hasher: &'h mut MeaningHasher,
    ignored: &'h [String],
    /// The text that is left out.
    hole: Option<TextPlace>,
}

impl ChatHasher<'_> {
    fn chat(mut self, chat: &Chat) -> Result<(), Unclear> {
        // What a model would answer to a text isn't how it would go on with it.
        if chat.is_continuation() {
            self.hasher.tag(b'P');
        }
        if self.matters(&["model"]) {
            self.hasher.text(&chat.model);
        }
        self.hasher.begin_array(chat.messages.len());
        for (index, message) in chat.messages.iter().enumerate() {
            let hole = self.hole.filter(|hole| hole.message == index).map(|hole| hole.part);
            self.message(message, hole)?;
        }
        if self.matters(&["tools"]) {
            self.hasher.begin_array(chat.tools.len());
            chat.tools.iter().try_for_each(|tool| self.tool(tool))?;
        }
        if self.matters(&["tool_choice"]) {
            self.tool_choice(&chat.tool_choice)?;
        }
        if self.matters(&["parallel_tool_calls"]) {
            self.hasher.flag(chat.parallel_tool_calls);
        }
        self.sampling(&chat.sampling);
        if self.matters(&["response_format", "output_config", "text"]) {
            self.output(&chat.output)?;
        }
        if self.matters(&["reasoning_effort", "reasoning", "thinking"]) {
            self.reasoning(&chat.reasoning);
        }
        let ignored = self.ignored;
        self.extra(&chat.extra, |name| !ignored.iter().any(|ignored| ignored == name))
    }

    /// Whether the operator doesn't say that a member with one of these names is to be ignored.
    fn matters(&self, names: &[&str]) -> bool {
        !self.ignored.iter().any(|ignored| names.contains(&ignored.as_str()))
    }

    fn message(&mut self, message: &Message, hole: Option<usize>) -> Result<(), Unclear> {
        self.hasher.tag(match message.role {
            Role::System => b's',
            Role::Developer => b'd',
            Role::User => b'u',
            Role::Assistant => b'a',
            Role::Tool => b't',
        });
        self.hasher.begin_array(message.parts.len());
        for (index, part) in message.parts.iter().enumerate() {
            self.part(part, hole == Some(index))?;
        }
        self.all_of(&message.extra)
    }

    fn part(&mut self, part: &Part, is_hole: bool) -> Result<(), Unclear> {
        let hasher = &mut *self.hasher;
        match &part.content {
            Content::Text(_) if is_hole => hasher.hole(),
            Content::Text(text) => hasher.tagged_text(b'T', text),
            Content::Refusal(text) => hasher.tagged_text(b'N', text),
            Content::Reasoning(text) => hasher.tagged_text(b'R', text),
            Content::Image(source) => {
                hasher.tag(b'I');
                self.source(source);
            }
            Content::Document { source, name } => {
                hasher.tag(b'D');
                hasher.optional_text(name.as_deref());
                self.source(source);
            }
            Content::Audio { data, format } => {
                hasher.tagged_text(b'A', data);
                hasher.text(format);
            }
            Content::ToolCall(call) => {
                hasher.tagged_text(b'C', &call.id);
                hasher.text(&call.name);
                hasher.text(&call.arguments);
            }
            Content::ToolResult(result) => self.tool_result(result)?,
            Content::Foreign(format, value) => {
                hasher.tagged_text(b'F', format.name());
                hasher.json(value)?;
            }
        }
        match &part.seal {
            None => self.hasher.tag(b'-'),
            Some(seal) => self.hasher.tagged_text(b'S', &format!("{:?} {:?} {}", seal.issuer, seal.kind, seal.value)),
        }
        self.all_of(&part.extra)
    }

    fn tool_result(&mut self, result: &ToolResult) -> Result<(), Unclear> {
        self.hasher.tagged_text(if result.is_error { b'E' } else { b'O' }, &result.call_id);
        self.hasher.begin_array(result.parts.len());
        result.parts.iter().try_for_each(|part| self.part(part, false))
    }

    fn source(&mut self, source: &Source) {
        match source {
            Source::Base64 { media_type, data } => {
                self.hasher.tagged_text(b'b', media_type);
                self.hasher.text(data);
            }
            Source::Url(url) => self.hasher.tagged_text(b'u', url),
            Source::File(id) => self.hasher.tagged_text(b'f', id),
            Source::Text(text) => self.hasher.tagged_text(b't', text),
        }
    }

    fn tool(&mut self, tool: &Tool) -> Result<(), Unclear> {
        match tool {
            Tool::Function { name, description, parameters, strict, extra } => {
                self.hasher.tagged_text(b'f', name);
                self.hasher.optional_text(description.as_deref());
                self.hasher.flag(*strict);
                match parameters {
                    None => self.hasher.tag(b'-'),
                    Some(schema) => self.hasher.json(schema)?,
                }
                self.all_of(extra)
            }
            Tool::Foreign(format, value) => self.foreign(*format, value),
        }
    }

    fn tool_choice(&mut self, choice: &ToolChoice) -> Result<(), Unclear> {
        match choice {
            ToolChoice::Auto => self.hasher.tag(b'a'),
            ToolChoice::None => self.hasher.tag(b'n'),
            ToolChoice::Required => self.hasher.tag(b'r'),
            ToolChoice::Named(name) => self.hasher.tagged_text(b'f', name),
            ToolChoice::Allowed { names, required } => {
                self.hasher.tag(if *required { b'L' } else { b'l' });
                self.hasher.begin_array(names.len());
                names.iter().for_each(|name| self.hasher.text(name));
            }
            ToolChoice::Foreign(format, value) => return self.foreign(*format, value),
        }
        Ok(())
    }

    fn sampling(&mut self, sampling: &Sampling) {
        if self.matters(&["max_tokens", "max_completion_tokens", "max_output_tokens"]) {
            self.hasher.whole(sampling.max_tokens.map(i128::from));
        }
        if self.matters(&["top_k"]) {
            self.hasher.whole(sampling.top_k.map(i128::from));
        }
        if self.matters(&["seed"]) {
            self.hasher.whole(sampling.seed.map(i128::from));
        }
        for (name, value) in [
            ("temperature", sampling.temperature),
            ("top_p", sampling.top_p),
            ("frequency_penalty", sampling.frequency_penalty),
            ("presence_penalty", sampling.presence_penalty),
        ] {
            if self.matters(&[name]) {
                self.hasher.number(value);
            }
        }
        if self.matters(&["stop", "stop_sequences"]) {
            self.hasher.begin_array(sampling.stop.len());
            sampling.stop.iter().for_each(|stop| self.hasher.text(stop));
        }
    }

    fn output(&mut self, output: &Output) -> Result<(), Unclear> {
        match output {
            Output::Text => self.hasher.tag(b't'),
            Output::JsonObject => self.hasher.tag(b'j'),
            Output::JsonSchema { name, description, schema, strict } => {
                self.hasher.tag(b's');
                self.hasher.optional_text(name.as_deref());
                self.hasher.optional_text(description.as_deref());
                self.hasher.flag(*strict);
                self.hasher.json(schema)?;
            }
            Output::Foreign(format, value) => return self.foreign(*format, value),
        }
        Ok(())
    }

    fn reasoning(&mut self, reasoning: &Reasoning) {
        self.hasher.optional_text(reasoning.effort.as_deref());
        self.hasher.whole(reasoning.budget.map(i128::from));
        self.hasher.optional_text(reasoning.mode.map(|mode| format!("{mode:?}")).as_deref());
        self.hasher.optional_text(reasoning.summary.as_deref());
    }

    fn foreign(&mut self, format: FormatId, value: &serde_json::Value) -> Result<(), Unclear> {
        self.hasher.tagged_text(b'F', format.name());
        self.hasher.json(value)
    }

    fn all_of(&mut self, extra: &Extra) -> Result<(), Unclear> {
        self.extra(extra, |_| true)
    }

    fn extra(&mut self, extra: &Extra, matters: impl Fn(&str) -> bool) -> Result<(), Unclear> {
        let Some((format, members)) = extra.get() else {
            self.hasher.tag(b'-');
            return Ok(());
        };
        let mut members: Vec<_> = members.iter().filter(|(name, _)| *name != CACHE_MARK && matters(name)).collect();
        if members.is_empty() {
            self.hasher.tag(b'-');
            return Ok(());
        }
        members.sort_unstable_by_key(|(name, _)| *name);
        self.hasher.tagged_text(b'X', format.name());
        self.hasher.begin_object(members.len());
        for (name, value) in members {
            self.hasher.text(name);
            self.hasher.json(value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
