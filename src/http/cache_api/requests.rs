//! What callers of the cache API send.

use super::problem::Problem;
use super::reader::Reader;
use crate::cache::{Cache, Lookup, Save, Strategy};
use crate::decide::Demand;
use crate::embed::Cosine;
use crate::llm::FormatId;
use crate::prompt::{Json, Partition, Question, Reach};
use crate::store::{Answer, Attributes};

/// The most entries that one search may ask for.
const MAX_RESULTS: u64 = 100;

/// A search, and whether it should be explained.
pub(super) struct SearchRequest {
    pub(super) lookup: Lookup,
    pub(super) explain: bool,
}

impl SearchRequest {
    pub(super) fn read(body: &[u8], cache: &Cache) -> Result<Self, Problem> {
        let mut reader = Reader::new(body)?;
        #[expect(clippy::cast_possible_truncation, reason = "cosines are f32")]
        let min_cosine = reader
            .number("similarityThreshold", 0.0..=1.0)
            .map(|normalised| Cosine::from_normalised(normalised as f32));
        let max_error_rate = reader.number("maxErrorRate", 0.0..=1.0);
        let strategies = strategies(&mut reader);
        let max_results = reader.integer("maxResults", 1..=MAX_RESULTS).unwrap_or(1);
        let attributes = reader.attributes("attributes");
        let explain = reader.flag("explain");
        let question = question(&mut reader, cache);
        reader.finish()?;
        let lookup = Lookup {
            question,
            attributes,
            strategies,
            demand: Demand { min_cosine, max_error_rate, max_age_millis: None },
            max_results: usize::try_from(max_results).unwrap_or(1),
            // A tool call has no text to reply with.
            usable: |answer| !answer.text.is_empty(),
        };
        Ok(Self { lookup, explain })
    }
}

/// A store.
pub(super) fn read_save(body: &[u8], cache: &Cache) -> Result<Save, Problem> {
    let mut reader = Reader::new(body)?;
    let text = reader.required_text("response");
    let ttl_millis = reader.integer("ttlMillis", 1..=u64::MAX);
    let attributes = reader.attributes("attributes");
    let question = question(&mut reader, cache);
    reader.finish()?;
    if let Reach::Bypass(why) = question.reach {
        return Err(Problem::invalid(format!("the answer to this request can't be cached: {why}")));
    }
    let answer = Answer { text, completion: None };
    Ok(Save { question, answer, attributes, ttl_millis, semantic: true, took: None, embedding: None })
}

/// The attributes of the entries to be deleted. As in LangCache, an empty object means every entry; a missing one is more
/// likely a mistake.
pub(super) fn read_deletion(body: &[u8]) -> Result<Attributes, Problem> {
    let mut reader = Reader::new(body)?;
    if !reader.has("attributes") {
        reader.wrong("attributes", "required", "is missing; {} stands for every entry");
    }
    let attributes = reader.attributes("attributes");
    reader.finish()?;
    Ok(attributes)
}

/// Either `prompt`, within an optional `scope`, or `messages` with all the fields of a chat request: the same question
/// then as that chat request asks.
fn question(reader: &mut Reader, cache: &Cache) -> Question {
    if !reader.has("messages") {
        let prompt = reader.required_text("prompt");
        let scope = reader.take("scope").unwrap_or(Json::Null);
        return Question::plain(&prompt, &scope).unwrap_or_else(|unclear| {
            reader.wrong("scope", "unclear", format!("has {}", unclear.0));
            Question::bypassing("", "the scope is not understood")
        });
    }
    for other in ["prompt", "scope"] {
        if reader.take(other).is_some() {
            reader.wrong(other, "exclusive", "can't be combined with `messages`");
        }
    }
    if !reader.has("model") {
        reader.wrong("model", "required", "is needed beside `messages`: answers of different models are not shared");
    }
    let namespace = namespace(reader);
    let request = Json::Object(reader.take_rest());
    if request.get("messages").and_then(Json::as_array).is_none_or(<[Json]>::is_empty) {
        reader.wrong("messages", "type", "must be a list of at least one message");
    }
    match FormatId::OpenAiChat.format().read_request(request.into()) {
        Ok(chat) => {
            // As a chat request without a query, headers or a choice of targets has it.
            let apart = [namespace.as_deref(), None, None, None, None, None, None];
            let ignored = cache.ignored_fields();
            Question::of_chat(&chat, &Partition { ignored: &ignored, apart: &apart, provider_keeps_answers: false })
        }
        Err(why) => {
            reader.wrong(&why.field, "type", why.why);
            Question::bypassing("", "the messages are not understood")
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
