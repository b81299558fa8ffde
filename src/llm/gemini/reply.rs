//! Replies. A whole one is a `GenerateContentResponse`, and so is each event of a stream.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value, json};

use super::{OWN, call_id, error, open, parts};
use crate::llm::chat::{Content, Extra, Part};
use crate::llm::error::Unsupported;
use crate::llm::members::{Members, Place, merge, object, some};
use crate::llm::{Answer, Finish, Frame, Malformed, Usage};

/// Why a model stopped that has failed. These answers weren't cut or filtered: asking again may well succeed.
const FAILURES: [&str; 5] = [
    "MALFORMED_FUNCTION_CALL",
    "MALFORMED_RESPONSE",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
];
/// The word for an answer that was filtered, where none is known.
const FILTERED: &str = "SAFETY";

/// What a `GenerateContentResponse` says.
#[derive(Default)]
pub(super) struct Response {
    pub(super) id: String,
    /// What calls are named after to which Google gives no id: the id, or what is the same for the same reply.
    pub(super) seed: String,
    pub(super) model: String,
    pub(super) parts: Vec<Part>,
    /// Google's word for why the answer ended, where it has.
    pub(super) end: Option<String>,
    /// Why the model failed.
    pub(super) failure: Option<String>,
    pub(super) usage: Option<Usage>,
    /// What other formats don't know; of the candidate below `candidate`.
    pub(super) extra: Map<String, Value>,
    /// Something that isn't understood.
    pub(super) lossy: Option<String>,
}

impl Response {
    pub(super) fn read(body: Value) -> Result<Self, Unsupported> {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        let mut body = open(body, Place::ROOT)?;
        let mut response = Self { id: body.text("responseId")?.unwrap_or_default(), ..Self::default() };
        let hash = || format!("{:016x}", hasher.finish());
        response.seed = if response.id.is_empty() { hash() } else { response.id.clone() };
        response.model = body.text("modelVersion")?.unwrap_or_default();
        response.usage = body.take("usageMetadata").map(object).and_then(some).map(usage);
        let place = Place::ROOT.name("candidates");
        for (i, candidate) in body.list("candidates")?.into_iter().enumerate() {
            let mut candidate = open(candidate, place.index(i))?;
            candidate.drop_if("index", 0);
            if i > 0 || candidate.get("index").is_some() {
                response.lossy = Some("candidates".into());
            } else {
                response.candidate(&mut candidate)?;
                body.put_back_rest("candidate", candidate.into_map());
            }
        }
        response.extra = body.into_map();
        response.end = response.end.or(is_blocked(&response.extra).then(|| FILTERED.into()));
        Ok(response)
    }

    fn candidate(&mut self, candidate: &mut Members<'_>) -> Result<(), Unsupported> {
        let place = candidate.place();
        if let Some(content) = candidate.take("content") {
            let mut content = open(content, place.name("content"))?;
            content.drop_if("role", "model");
            parts::for_each(&mut content, |part, kind| {
                let part = parts::read(part, kind, true)?;
                if let (Content::Foreign(..), Some(kind)) = (&part.content, kind)
                    && !["executableCode", "codeExecutionResult"].contains(&kind)
                {
                    self.lossy = Some(kind.to_owned());
                }
                self.parts.push(part);
                Ok(())
            })?;
            candidate.put_back_rest("content", content.into_map());
        }
        self.end = candidate.text("finishReason")?;
        if let Some(reason) = self.end.as_ref().filter(|reason| FAILURES.contains(&&***reason)) {
            let why = candidate.get("finishMessage").and_then(Value::as_str).map(|why| format!(": {why}"));
            self.failure = Some(format!("the model failed ({reason}{})", why.unwrap_or_default()));
        }
        Ok(())
    }
}

/// Gives a call an id where Google gave it none. `index` counts the calls of the reply.
pub(super) fn name_call(part: &mut Part, seed: &str, index: &mut usize) {
    if let Content::ToolCall(call) = &mut part.content {
        if call.id.is_empty() {
            call.id = call_id(seed, *index);
        }
        *index += 1;
    }
}

/// Why an answer ended that has calls or none. A word that is not the one for that stays in `extra`.
pub(super) fn finish(end: String, has_calls: bool, extra: &mut Map<String, Value>) -> Finish {
    match &*end {
        // Servers that imitate Google say the second.
        "STOP" | "FUNCTION_CALL" if has_calls => Finish::ToolCalls,
        "STOP" | "FUNCTION_CALL" => Finish::Stop,
        "MAX_TOKENS" => Finish::Length,
        FILTERED => Finish::ContentFilter,
        // RECITATION, BLOCKLIST, SPII, those of images, and whatever comes new: the answer isn't whole, and of the
        // words that clients know this one says so.
        _ => {
            if let Value::Object(candidate) = extra.entry("candidate").or_insert_with(|| json!({})) {
                candidate.insert("finishReason".into(), end.into());
            }
            Finish::ContentFilter
        }
    }
}

fn usage(raw: Map<String, Value>) -> Usage {
    let count = |name: &str| raw.get(name).and_then(Value::as_u64).unwrap_or(0);
    let reasoning = count("thoughtsTokenCount");
    Usage {
        input: count("promptTokenCount").saturating_add(count("toolUsePromptTokenCount")),
        cached_input: count("cachedContentTokenCount"),
        cache_write: 0,
        output: count("candidatesTokenCount").saturating_add(reasoning),
        reasoning,
        raw: Some((OWN, raw)),
    }
}

/// Reads a whole reply.
pub(super) fn read(body: Value) -> Result<Answer, Malformed> {
    if let Some(error) = error::in_body(&body) {
        return Err(Malformed(format!("it is an error ({})", error.message)));
    }
    let mut response = Response::read(body)?;
    if let Some(failure) = response.failure {
        return Err(Malformed(failure));
    }
    if response.lossy.as_deref() == Some("candidates") {
        return Err(Malformed("it has several candidates".into()));
    }
    let Some(end) = response.end else { return Err(Malformed("it has no finishReason".into())) };
    let mut calls = 0;
    response.parts.iter_mut().for_each(|part| name_call(part, &response.seed, &mut calls));
    response.parts.retain(|part| *part != Part::text(""));
    let finish = finish(end, calls > 0, &mut response.extra);
    Ok(Answer {
        id: response.id,
        model: response.model,
        created: None,
        parts: response.parts,
        finish,
        usage: response.usage,
        extra: Extra::new(OWN, response.extra),
        lossy: response.lossy,
    })
}

/// Writes a whole reply.
pub(super) fn write(answer: &Answer, frame: &Frame) -> Value {
    let mut calls = 0;
    let parts: Vec<Value> = answer.parts.iter().filter_map(|part| part_of(part, &answer.id, &mut calls)).collect();
    let mut extra = answer.extra.members(OWN);
    let told = object(extra.shift_remove("candidate").unwrap_or_default());
    // An answer that was filtered has no content, and a prompt that was blocked no candidate.
    let is_withheld = parts.is_empty() && answer.finish == Finish::ContentFilter;
    let is_blocked = is_withheld && told.is_empty() && is_blocked(&extra);
    let mut candidate = if is_withheld { Map::new() } else { content(parts) };
    let reason = match &answer.finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::ContentFilter | Finish::Refusal => FILTERED,
        Finish::Other(OWN, word) => word,
        Finish::Other(..) => "OTHER",
    };
    candidate.insert("finishReason".into(), reason.into());
    merge(&mut candidate, &told);
    let mut reply = envelope(answer, frame, candidate);
    if is_blocked {
        reply.shift_remove("candidates");
    }
    reply.extend(answer.usage.as_ref().map(|usage| ("usageMetadata".to_owned(), write_usage(usage).into())));
    merge(&mut reply, &extra);
    reply.into()
}

fn is_blocked(extra: &Map<String, Value>) -> bool {
    extra.get("promptFeedback").is_some_and(|told| told["blockReason"].is_string())
}

/// A candidate with these parts.
pub(super) fn content(mut parts: Vec<Value>) -> Map<String, Value> {
    if parts.is_empty() {
        parts.push(json!({"text": ""}));
    }
    object(json!({"content": {"parts": parts, "role": "model"}}))
}

/// A reply, or an event, with this candidate.
pub(super) fn envelope(answer: &Answer, frame: &Frame, mut candidate: Map<String, Value>) -> Map<String, Value> {
    candidate.insert("index".into(), 0.into());
    let (model, id) = (frame.model_of(answer), frame.id_of(answer));
    object(json!({"candidates": [candidate], "modelVersion": model, "responseId": id}))
}

/// A part of the reply `id`. Ids of calls that were made up aren't told, because early models don't take them back.
pub(super) fn part_of(part: &Part, id: &str, calls: &mut usize) -> Option<Value> {
    let Content::ToolCall(call) = &part.content else {
        return parts::write(part, None, Place::ROOT).ok()?.map(Value::from);
    };
    let call_id = Some(&*call.id).filter(|told| !told.is_empty() && *told != call_id(id, *calls));
    *calls += 1;
    if let Ok(written) = parts::write(part, call_id, Place::ROOT) {
        return written.map(Value::from);
    }
    // Another model's arguments that are no JSON: better seen than lost.
    let mut part = part.clone();
    if let Content::ToolCall(call) = &mut part.content {
        call.arguments = json!({"arguments": call.arguments}).to_string();
    }
    parts::write(&part, call_id, Place::ROOT).ok()?.map(Value::from)
}

fn write_usage(usage: &Usage) -> Map<String, Value> {
    if let Some(raw) = usage.raw_of(OWN) {
        return raw.clone();
    }
    let mut written = object(json!({
        "promptTokenCount": usage.input,
        "candidatesTokenCount": usage.output.saturating_sub(usage.reasoning),
        "totalTokenCount": usage.input.saturating_add(usage.output),
    }));
    for (name, count) in [("cachedContentTokenCount", usage.cached_input), ("thoughtsTokenCount", usage.reasoning)] {
        written.extend((count > 0).then(|| (name.to_owned(), count.into())));
    }
    written
}
