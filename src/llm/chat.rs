//! A chat request, whoever's API it was said in.
//!
//! Reading takes a request apart member by member. What every API can say has a field here. What only one of them can say
//! stays beside it as an [`Extra`], in that API's own words. So nothing vanishes: what is not understood is still part of
//! the question, and goes back out unchanged where the request is written in the same format again.

use serde_json::{Map, Value};

use super::FormatId;
use super::error::Unsupported;
use super::models::effort_of_budget;

/// A chat request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chat {
    /// The format in which it was said.
    pub format: FormatId,
    /// The model, as the caller names it; empty where the request names none.
    pub model: String,
    /// The conversation. System prompts are messages of [`Role::System`], wherever the format keeps them.
    pub messages: Vec<Message>,
    /// The tools that the model may call.
    pub tools: Vec<Tool>,
    /// Which of them it may or must call.
    pub tool_choice: ToolChoice,
    /// Whether it may call several at once. None where the request doesn't say.
    pub parallel_tool_calls: Option<bool>,
    /// How the answer is sampled, and its limits.
    pub sampling: Sampling,
    /// The form of the answer.
    pub output: Output,
    /// How much the model thinks before it answers.
    pub reasoning: Reasoning,
    /// How the answer is delivered. Never part of the question.
    pub delivery: Delivery,
    /// Why no stored answer may serve, and the answer may not be stored: what the request asks for depends on more than the
    /// request, such as a web search, or can't be stored, such as audio. A sentence for the operator.
    pub uncacheable: Option<&'static str>,
    /// What the provider is asked to keep, or to go on from.
    pub retention: Retention,
    /// Members that no model sees, such as metadata, a service tier, or the end user's name. They are written again in the
    /// same format and are no part of the question.
    pub unseen: Map<String, Value>,
    /// The end user's name, which several formats know under different names. No part of the question.
    pub user: Option<String>,
    /// Top-level members that only the format of the request knows. Part of the question.
    pub extra: Extra,
    /// A member that no other format has a counterpart for, and without which the answer would be another one, such as
    /// `previous_response_id`.
    pub indispensable: Option<&'static str>,
}

impl Chat {
    /// Whether it can be said in `format` at all, as far as can be known without looking at its parts.
    ///
    /// # Errors
    /// Where it has a member that is indispensable and that `format` doesn't have.
    pub fn may_become(&self, format: FormatId) -> Result<(), Unsupported> {
        match self.indispensable.filter(|_| self.format != format) {
            Some(member) => Err(Unsupported::new(member, "needs a provider that speaks the API of this request")),
            None => Ok(()),
        }
    }

    /// How hard the model is to think, in words, where the request says so in words or in tokens.
    #[must_use]
    pub fn effort(&self) -> Option<&str> {
        let of_budget = |budget| effort_of_budget(budget, self.sampling.max_tokens);
        self.reasoning.effort.as_deref().or_else(|| self.reasoning.budget.map(of_budget))
    }

    /// Whether it is no conversation but a text to be gone on with, or several.
    #[must_use]
    pub fn is_continuation(&self) -> bool {
        self.format == FormatId::OpenAiCompletions
    }

    /// Whether an earlier turn of the model has thoughts that Anthropic didn't sign, and so wouldn't take.
    #[must_use]
    pub fn has_unsigned_thinking(&self) -> bool {
        let is_unsigned = |part: &Part| matches!(part.content, Content::Reasoning(_)) && part.claudes_seal().is_none();
        self.messages.iter().flat_map(|message| &message.parts).any(is_unsigned)
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order. A plain string is one text part.
    pub parts: Vec<Part>,
    /// Further members, such as a participant's `name`.
    pub extra: Extra,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The operator of the application.
    System,
    /// The same, where the format tells it apart from `System`.
    Developer,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// A tool that was called: all parts are [`Content::ToolResult`].
    Tool,
}

/// A part of a message or of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What it says.
    pub content: Content,
    /// Opaque state that the provider must get back with the part, such as the signature of thinking.
    pub seal: Option<Seal>,
    /// Further members, such as marks for the provider's own prompt cache.
    pub extra: Extra,
}

/// What a part says.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Text.
    Text(String),
    /// The model's words for why it doesn't answer.
    Refusal(String),
    /// What the model thought before it answered; may be empty where only the sealed form is known.
    Reasoning(String),
    /// A picture.
    Image(Source),
    /// A document.
    Document {
        /// Where it is.
        source: Source,
        /// Its name or title.
        name: Option<String>,
    },
    /// A recording.
    Audio {
        /// Base64.
        data: String,
        /// `wav`, `mp3`, …
        format: String,
    },
    /// A call of a tool.
    ToolCall(ToolCall),
    /// What a tool replied.
    ToolResult(ToolResult),
    /// A part that only one format has, whole, in its own words.
    Foreign(FormatId, Value),
}

/// Where the bytes of a picture or a document are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In the request.
    Base64 {
        /// Such as `image/png`; as the caller spells it.
        media_type: String,
        /// Base64.
        data: String,
    },
    /// At an address, where they may change.
    Url(String),
    /// A file that the provider keeps.
    File(String),
    /// Plain text in the request, as a document.
    Text(String),
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Names the call; results refer to it.
    pub id: String,
    /// The tool.
    pub name: String,
    /// JSON as the model wrote it; it may not parse.
    pub arguments: String,
}

/// What a tool replied.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    /// The call.
    pub call_id: String,
    /// The reply.
    pub parts: Vec<Part>,
    /// Whether the tool failed.
    pub is_error: bool,
}

/// Opaque state of a provider. It is of use to whoever issued it only, and must go back unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// Who can read it.
    pub issuer: Issuer,
    /// Whether it signs what the part says, or holds it encrypted.
    pub kind: SealKind,
    /// The state.
    pub value: String,
}

/// Who issued a seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issuer {
    /// Claude, at Anthropic, Bedrock or Vertex.
    Anthropic,
    /// Gemini.
    Google,
    /// OpenAI's reasoning models.
    OpenAi,
}

/// What a seal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealKind {
    /// It signs what the part says.
    Signature,
    /// It holds encrypted what the part doesn't say.
    Encrypted,
}

/// Members that only one format has, in its own words.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extra(Option<Box<(FormatId, Map<String, Value>)>>);

impl Extra {
    /// `members` of `format`; members that are `null` say nothing.
    #[must_use]
    pub fn new(format: FormatId, mut members: Map<String, Value>) -> Self {
        members.retain(|_, value| !value.is_null());
        Self((!members.is_empty()).then(|| Box::new((format, members))))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The format and the members, where there are any.
    #[must_use]
    pub fn get(&self) -> Option<(FormatId, &Map<String, Value>)> {
        self.0.as_ref().map(|both| (both.0, &both.1))
    }

    /// The members, where they are of `format`.
    #[must_use]
    pub fn of(&self, format: FormatId) -> Option<&Map<String, Value>> {
        self.get().filter(|(of, _)| *of == format).map(|(_, members)| members)
    }

    /// A copy of the members, where they are of `format`.
    #[must_use]
    pub fn members(&self, format: FormatId) -> Map<String, Value> {
        self.of(format).cloned().unwrap_or_default()
    }

    /// One member, where it is of `format`.
    #[must_use]
    pub fn member(&self, format: FormatId, name: &str) -> Option<&Value> {
        self.of(format)?.get(name)
    }
}

/// A tool.
#[derive(Debug, Clone, PartialEq)]
pub enum Tool {
    /// The caller runs it.
    Function {
        /// Its name.
        name: String,
        /// What it does, for the model.
        description: Option<String>,
        /// JSON schema of its arguments; none where the request gives none.
        parameters: Option<Value>,
        /// Whether the arguments are sure to match the schema.
        strict: Option<bool>,
        /// Further members.
        extra: Extra,
    },
    /// One that only the format of the request knows, whole: most run at the provider.
    Foreign(FormatId, Value),
}

/// Which tools the model may or must call.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ToolChoice {
    /// Whatever the model likes. What is not said means this too.
    #[default]
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
    /// One of these functions, or none unless `required`.
    Allowed {
        /// Names of functions.
        names: Vec<String>,
        /// Whether one must be called.
        required: bool,
    },
    /// A choice that only one format knows.
    Foreign(FormatId, Value),
}

/// How an answer is sampled, and its limits. Readers leave out what says the same as nothing, such as a `top_p` of 1.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sampling {
    /// Tokens of the answer, thoughts included, at most.
    pub max_tokens: Option<u64>,
    /// Randomness.
    pub temperature: Option<f64>,
    /// Share of the likeliest tokens.
    pub top_p: Option<f64>,
    /// Number of the likeliest tokens.
    pub top_k: Option<u64>,
    /// Texts at which the answer ends.
    pub stop: Vec<String>,
    /// For repeatable sampling.
    pub seed: Option<i64>,
    /// Against repeating tokens often.
    pub frequency_penalty: Option<f64>,
    /// Against repeating tokens at all.
    pub presence_penalty: Option<f64>,
}

/// The form of an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Output {
    /// Any text.
    #[default]
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that matches a schema.
    JsonSchema {
        /// The schema's name.
        name: Option<String>,
        /// What it is for, for the model.
        description: Option<String>,
        /// The schema.
        schema: Value,
        /// Whether the answer is sure to match.
        strict: Option<bool>,
    },
    /// A form that only one format knows.
    Foreign(FormatId, Value),
}

/// How much a model thinks before it answers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reasoning {
    /// In words: `none`, `minimal`, `low`, `medium`, `high`, `xhigh`, `max`; as the caller says it.
    pub effort: Option<String>,
    /// In tokens.
    pub budget: Option<u64>,
    /// Whether thinking is said to be on (`Some(true)`), off, or left to the model.
    pub mode: Option<ReasoningMode>,
    /// Whether thoughts are to be shown, and how: `auto`, `concise`, `detailed`, `summarized`, `omitted`.
    pub summary: Option<String>,
}

/// Whether a model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasoningMode {
    /// Always, up to the budget.
    Enabled,
    /// As the model sees fit.
    Adaptive,
    /// Never.
    Disabled,
}

/// How an answer is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Delivery {
    /// One JSON document.
    #[default]
    Whole,
    /// Events, without usage.
    Stream,
    /// Events, the last of which tell the usage.
    StreamWithUsage,
}

impl Delivery {
    /// Whether it is a stream.
    #[must_use]
    pub fn is_stream(self) -> bool {
        self != Self::Whole
    }
}

/// What the provider keeps of a request, which a later request can refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Retention {
    /// Nothing.
    #[default]
    Nothing,
    /// The answer, under its id, so that a later turn can go on from it. Answers never change.
    Answer,
    /// A conversation that each turn is added to, a run in the background, or the like: such a request is never answered
    /// from the cache.
    Changing,
}

impl Source {
    /// What an address says: a `data:` address in base64 with its bytes, any other one as it is.
    #[must_use]
    pub fn of_address(address: &str) -> Self {
        let inline = || {
            let (head, data) = address.split_once(',')?;
            let head = head.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).and(head.get(5..))?;
            let (media_type, encoding) = head.rsplit_once(';')?;
            let is_base64 = encoding.eq_ignore_ascii_case("base64") && !media_type.is_empty();
            is_base64.then(|| Self::Base64 { media_type: media_type.to_owned(), data: data.to_owned() })
        };
        inline().unwrap_or_else(|| Self::Url(address.to_owned()))
    }

    /// The address that says it, where one does.
    #[must_use]
    pub fn address(&self) -> Option<String> {
        match self {
            Self::Base64 { media_type, data } => Some(format!("data:{media_type};base64,{data}")),
            Self::Url(url) => Some(url.clone()),
            Self::File(_) | Self::Text(_) => None,
        }
    }
}

impl Seal {
    /// One of Claude's; none where it is empty.
    #[must_use]
    pub fn of_claude(kind: SealKind, value: String) -> Option<Self> {
        (!value.is_empty()).then_some(Self { issuer: Issuer::Anthropic, kind, value })
    }
}

impl Part {
    /// The seal, where it is one that Claude can read.
    #[must_use]
    pub fn claudes_seal(&self) -> Option<&Seal> {
        self.seal.as_ref().filter(|seal| seal.issuer == Issuer::Anthropic && !seal.value.is_empty())
    }

    /// A part without opaque state.
    #[must_use]
    pub fn new(content: Content) -> Self {
        Self { content, seal: None, extra: Extra::default() }
    }

    /// A text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Content::Text(text.into()))
    }

    /// Its text, where it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Content::Text(text) = &self.content { Some(text) } else { None }
    }
}

impl ToolCall {
    /// The arguments, where they are a JSON object; none at all are an empty one.
    #[must_use]
    pub fn input(&self) -> Option<Value> {
        let arguments = self.arguments.trim();
        match serde_json::from_str(if arguments.is_empty() { "{}" } else { arguments }).ok()? {
            Value::Null => Some(Value::Object(Map::new())),
            input => Some(input).filter(Value::is_object),
        }
    }
}

impl Message {
    /// A message without further members.
    #[must_use]
    pub fn new(role: Role, parts: Vec<Part>) -> Self {
        Self { role, parts, extra: Extra::default() }
    }

    /// Its texts, joined by `separator`.
    #[must_use]
    pub fn text(&self, separator: &str) -> String {
        self.parts.iter().filter_map(Part::as_text).collect::<Vec<_>>().join(separator)
    }
}
