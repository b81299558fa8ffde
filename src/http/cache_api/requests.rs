//! What callers of the cache API send.

use super::langchain;
use super::problem::Problem;
use super::reader::Reader;
use crate::cache::{AnswerNeed, Cache, Deletion, Lookup, Save, Strategy, chat_context, chat_question, read_chat};
use crate::decide::LookupConstraints;
use crate::decide::text::with_context;
use crate::embed::Cosine;
use crate::prompt::{Cacheability, Json, Question};
use crate::store::{Answer, Attributes, ChatContext, Curation, Tags};

/// The most entries that one search may ask for.
const MAX_RESULTS: u64 = 100;
/// The most prompts that one request may look up.
const MAX_PROMPTS: usize = 100;
/// The most entries for each of them: a reply is held in memory whole.
const MAX_RESULTS_EACH: usize = 10;
/// The most questions of a conversation.
const MAX_CONTEXT: usize = 1000;

/// A search, and whether it should be explained.
pub(super) struct SearchRequest {
    pub(super) lookup: Lookup,
    pub(super) explain: bool,
}

impl SearchRequest {
    pub(super) fn read(body: &[u8], cache: &Cache) -> Result<Self, Problem> {
        let mut reader = Reader::new(body)?;
        let fields = SearchFields::read(&mut reader);
        let asked = question(&mut reader, cache);
        reader.finish()?;
        Ok(fields.of(asked))
    }

    /// A search in a conversation, and what its prompt asks: by itself, or behind its context.
    pub(super) fn read_conversation(body: &[u8]) -> Result<(Self, String), Problem> {
        let mut reader = Reader::new(body)?;
        let fields = SearchFields::read(&mut reader);
        let prompt = reader.required_text("prompt");
        let context = reader.texts("context", 0..=MAX_CONTEXT).unwrap_or_default();
        let actual = with_context(&prompt, &context);
        let asked = plain(&mut reader, &actual);
        reader.finish()?;
        Ok((fields.of(asked), actual))
    }

    /// Searches that differ in their prompts only.
    pub(super) fn read_batch(body: &[u8]) -> Result<Vec<Self>, Problem> {
        let mut reader = Reader::new(body)?;
        let fields = SearchFields::read(&mut reader);
        if fields.max_results > MAX_RESULTS_EACH {
            reader.wrong("maxResults", "range", format!("must be at most {MAX_RESULTS_EACH} for several prompts"));
        }
        let scope = reader.take("scope");
        if !reader.has("prompts") {
            reader.wrong("prompts", "required", "is missing");
        }
        let prompts = reader.texts("prompts", 1..=MAX_PROMPTS).unwrap_or_default();
        if prompts.iter().any(String::is_empty) {
            reader.wrong("prompts", "minLength", "must not be empty texts");
        }
        let asked: Vec<Asked> = prompts.iter().map(|prompt| scoped(&mut reader, prompt, scope.as_ref())).collect();
        reader.finish()?;
        Ok(asked.into_iter().map(|asked| fields.clone().of(asked)).collect())
    }
}

/// What a search says beside what is asked.
#[derive(Clone)]
struct SearchFields {
    attributes: Attributes,
    strategies: Vec<Strategy>,
    constraints: LookupConstraints,
    max_results: usize,
    explain: bool,
}

impl SearchFields {
    fn read(reader: &mut Reader) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "cosines are f32")]
        let min_cosine = reader
            .number("similarityThreshold", 0.0..=1.0)
            .map(|normalised| Cosine::from_normalised(normalised as f32));
        let max_error_rate = reader.number("maxErrorRate", 0.0..=1.0);
        let max_results = reader.integer("maxResults", 1..=MAX_RESULTS).unwrap_or(1);
        Self {
            strategies: strategies(reader),
            attributes: reader.attributes("attributes"),
            constraints: LookupConstraints { min_cosine, max_error_rate, max_age_millis: None },
            max_results: usize::try_from(max_results).unwrap_or(1),
            explain: reader.flag("explain"),
        }
    }

    fn of(self, Asked { question, chat }: Asked) -> SearchRequest {
        let Self { attributes, strategies, constraints, max_results, explain } = self;
        let lookup = Lookup {
            question,
            chat,
            attributes,
            strategies,
            constraints,
            max_results,
            // A tool call has no text to reply with.
            need: AnswerNeed::Text,
        };
        SearchRequest { lookup, explain }
    }
}

/// What is asked, and what of it curated entries may depend on.
struct Asked {
    question: Question,
    chat: Option<ChatContext>,
}

/// A store.
pub(super) fn read_save(body: &[u8], cache: &Cache) -> Result<Save, Problem> {
    let mut reader = Reader::new(body)?;
    let text = reader.required_text("response");
    let ttl_millis = reader.integer("ttlMillis", 1..=u64::MAX);
    let attributes = reader.attributes("attributes");
    let tags = reader.tags("tags").unwrap_or_default();
    let curated = Curated::read(&mut reader);
    let is_chat = reader.has("messages");
    if curated.is_some() && reader.has("scope") {
        reader.wrong("scope", "exclusive", "can't be combined with `curated`: such an entry answers in every scope");
    }
    if matches!(curated, Some(Curated::For(_))) && is_chat {
        reader.wrong("curated", "exclusive", "must be true beside `messages`, which say which chats are answered");
    }
    // Any model's, where none is named.
    let asked = if is_chat && curated.is_some() { chat(&mut reader, cache) } else { question(&mut reader, cache) };
    reader.finish()?;
    if let Cacheability::Bypass(why) = asked.question.cacheability {
        return Err(Problem::invalid(format!("the answer to this request can't be cached: {why}")));
    }
    let curation = match curated {
        None => None,
        Some(Curated::For(curation)) => Some(curation),
        Some(Curated::Flag) if !is_chat => Some(Curation::default()),
        Some(Curated::Flag) => {
            let chat = asked.chat.ok_or_else(|| Problem::invalid("a curated entry answers chats of one user turn"))?;
            Some(chat.into())
        }
    };
    let answer = Answer { text, ..Answer::default() };
    let question = asked.question;
    Ok(Save { question, answer, attributes, tags, curation, ttl_millis, semantic: true, took: None, embedding: None })
}

/// Which chats an entry answers, where it is more than one request.
enum Curated {
    /// Those that the rest of the request says.
    Flag,
    For(Curation),
}

impl Curated {
    fn read(reader: &mut Reader) -> Option<Self> {
        let members = match reader.take("curated")? {
            Json::Bool(is_curated) => return is_curated.then_some(Self::Flag),
            Json::Object(members) => members,
            _ => {
                reader.wrong("curated", "type", "must be true, or an object of `models`, `system` and `namespace`");
                return None;
            }
        };
        let mut curation = Curation::default();
        for (name, value) in members {
            match (name.as_str(), value) {
                (_, Json::Null) => {}
                ("system", Json::String(text)) => curation.system = Some(text),
                ("namespace", Json::String(text)) => curation.namespace = Some(text),
                ("models", Json::Array(items)) if (1..=Curation::MAX_MODELS).contains(&items.len()) => {
                    let model = |item: &Json| item.as_str().filter(|model| !model.is_empty()).map(str::to_owned);
                    match items.iter().map(model).collect() {
                        Some(models) => curation.models = models,
                        None => reader.wrong("curated.models", "type", "must be names of models"),
                    }
                }
                ("models", _) => {
                    let message = format!("must be a list of 1 to {} names of models", Curation::MAX_MODELS);
                    reader.wrong("curated.models", "type", message);
                }
                ("system" | "namespace", _) => reader.wrong(&format!("curated.{name}"), "type", "must be a string"),
                _ => reader.wrong(&format!("curated.{name}"), "unknown", "is not known here"),
            }
        }
        Some(Self::For(curation))
    }
}

/// Which entries are to be deleted, and whether that is only to be told.
pub(super) struct DeletionRequest {
    pub(super) deletion: Deletion,
    pub(super) is_dry_run: bool,
}

impl DeletionRequest {
    /// As in LangCache, an empty `attributes` object means every entry; a request that names nothing is more likely a mistake.
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        let mut reader = Reader::new(body)?;
        let names = ["attributes", "tags", "olderThanMillis", "near", "curated"];
        if !names.iter().any(|name| reader.has(name)) {
            reader.wrong("attributes", "required", "is missing; {} stands for every entry");
        }
        let deletion = Deletion {
            attributes: reader.attributes("attributes"),
            tags: reader.tags("tags"),
            older_than_millis: reader.integer("olderThanMillis", 0..=u64::MAX),
            near: near(&mut reader),
            curated: reader.has("curated").then(|| reader.flag("curated")),
        };
        if deletion.tags.as_ref().is_some_and(Tags::is_empty) {
            reader.wrong("tags", "minItems", "must name at least one tag");
        }
        let is_dry_run = reader.flag("dryRun");
        reader.finish()?;
        Ok(Self { deletion, is_dry_run })
    }
}

/// `{prompt, minCosine}`, or `similarityThreshold` in its place.
fn near(reader: &mut Reader) -> Option<(String, Cosine)> {
    let Json::Object(members) = reader.take("near")? else {
        reader.wrong("near", "type", "must be an object of `prompt` and `minCosine` or `similarityThreshold`");
        return None;
    };
    let (mut text, mut least) = (None, None);
    for (name, value) in members {
        #[expect(clippy::cast_precision_loss, reason = "compared with small bounds")]
        let number = match value {
            Json::Integer(value) => Some(value as f64),
            Json::Fraction(value) => Some(value),
            _ => None,
        };
        #[expect(clippy::cast_possible_truncation, reason = "cosines are f32")]
        match (name.as_str(), value, number) {
            ("prompt", Json::String(prompt), _) if !prompt.is_empty() => text = Some(prompt),
            ("minCosine", _, Some(cosine)) if (-1.0..=1.0).contains(&cosine) => {
                least = Some(Cosine::new(cosine as f32));
            }
            ("similarityThreshold", _, Some(similarity)) if (0.0..=1.0).contains(&similarity) => {
                least = Some(Cosine::from_normalised(similarity as f32));
            }
            _ => reader.wrong(&format!("near.{name}"), "type", "is not known here, or of the wrong type or range"),
        }
    }
    if text.is_none() || least.is_none() {
        reader.wrong("near", "required", "needs a `prompt`, and a `minCosine` or a `similarityThreshold`");
    }
    text.zip(least)
}

/// Either `prompt`, within an optional `scope`, or `messages` with all the fields of a chat request: the same question
/// then as that chat request asks.
fn question(reader: &mut Reader, cache: &Cache) -> Asked {
    if !reader.has("messages") {
        let prompt = reader.required_text("prompt");
        return plain(reader, &prompt);
    }
    if !reader.has("model") {
        reader.wrong("model", "required", "is needed beside `messages`: answers of different models are not shared");
    }
    chat(reader, cache)
}

/// A prompt within an optional `scope`.
fn plain(reader: &mut Reader, prompt: &str) -> Asked {
    let scope = reader.take("scope");
    scoped(reader, prompt, scope.as_ref())
}

fn scoped(reader: &mut Reader, prompt: &str, scope: Option<&Json>) -> Asked {
    if let Some(question) = langchain::question(prompt).filter(|_| scope.is_none()) {
        // Whoever asks in this way couldn't read an answer that is only text.
        return Asked { question, chat: None };
    }
    match Question::plain(prompt, scope.unwrap_or(&Json::Null)) {
        Ok(question) => Asked { question, chat: Some(ChatContext::default()) },
        Err(unclear) => {
            reader.wrong("scope", "unclear", format!("has {}", unclear.0));
            Asked { question: Question::bypassing("", "the scope is not understood"), chat: None }
        }
    }
}

/// What a chat request with these members asks.
fn chat(reader: &mut Reader, cache: &Cache) -> Asked {
    for other in ["prompt", "scope"] {
        if reader.take(other).is_some() {
            reader.wrong(other, "exclusive", "can't be combined with `messages`");
        }
    }
    let namespace = namespace(reader);
    let request = Json::Object(reader.take_rest());
    if request.get("messages").and_then(Json::as_array).is_none_or(<[Json]>::is_empty) {
        reader.wrong("messages", "type", "must be a list of at least one message");
    }
    match read_chat(request.into()) {
        Ok(chat) => Asked {
            question: chat_question(&chat, &cache.ignored_fields(), namespace.as_deref()),
            chat: chat_context(&chat, namespace.as_deref()),
        },
        Err(why) => {
            reader.wrong(&why.field, "type", why.why);
            Asked { question: Question::bypassing("", "the messages are not understood"), chat: None }
        }
    }
}

/// As in a chat request's `cache` object, whose other members say what this API has fields of its own for.
fn namespace(reader: &mut Reader) -> Option<String> {
    match reader.take("cache")? {
        Json::Object(members) if members.keys().all(|name| name == "namespace") => {
            members.get("namespace").and_then(Json::as_str).map(str::to_owned)
        }
        _ => {
            reader.wrong("cache", "type", "may hold a `namespace` only; the rest has fields of its own here");
            None
        }
    }
}

fn strategies(reader: &mut Reader) -> Vec<Strategy> {
    let default = vec![Strategy::Exact, Strategy::Semantic];
    let Some(value) = reader.take("searchStrategies") else { return default };
    let named = |item: &Json| match item.as_str() {
        Some("exact") => Some(Strategy::Exact),
        Some("semantic") => Some(Strategy::Semantic),
        _ => None,
    };
    match value.as_array().and_then(|items| items.iter().map(named).collect::<Option<Vec<_>>>()) {
        Some(strategies) if !strategies.is_empty() => strategies,
        _ => {
            reader.wrong("searchStrategies", "enum", "must be a list of \"exact\" and \"semantic\", at least one");
            default
        }
    }
}
