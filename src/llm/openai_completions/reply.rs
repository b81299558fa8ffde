//! Whole replies.

use serde_json::{Map, Value, json};

use super::{FORMAT, OBJECT, OWN};
use crate::llm::Frame;
use crate::llm::answer::{Answer, Finish, Usage};
use crate::llm::chat::{Extra, Part};
use crate::llm::error::Unsupported;
use crate::llm::members::{Members, Place};

/// The member of an [`Extra`] that has all choices, as they came.
const CHOICES: &str = "choices";

/// Reads a reply. Its first choice is the answer's text; all of them stay beside it.
pub(super) fn read(body: Value) -> Result<Answer, Unsupported> {
    let mut body = Members::of(body, Place::ROOT)?;
    if let Some(error) = body.get("error").filter(|error| **error != false && **error != "") {
        let told = FORMAT.read_error(502, &|_| None, json!({"error": error}).to_string().as_bytes());
        return Err(Place::ROOT.name("error").wrong(format_args!("is told: {}", told.message)));
    }
    if body.text("object")?.as_deref() != Some(OBJECT) {
        return Err(Place::ROOT.name("object").wrong(format_args!("must be {OBJECT}")));
    }
    let place = Place::ROOT.name(CHOICES);
    let choices = body.list(CHOICES)?;
    let (mut text, mut finish) = (None, Finish::Stop);
    for (index, choice) in choices.iter().enumerate() {
        let wrong = |name: &str| place.index(index).name(name).wrong("is missing");
        let told = choice["text"].as_str().ok_or_else(|| wrong("text"))?;
        text.get_or_insert_with(|| told.to_owned());
        // The answer is whole where all choices are.
        let own = read_finish(choice["finish_reason"].as_str().ok_or_else(|| wrong("finish_reason"))?);
        finish = if finish == Finish::Stop { own } else { finish };
    }
    let text = text.ok_or_else(|| place.wrong("must hold an answer"))?;
    body.put_back(CHOICES, choices.into());
    let (id, model) = (body.text("id")?.unwrap_or_default(), body.text("model")?.unwrap_or_default());
    let created = body.take("created").and_then(|created| created.as_u64());
    let usage = body.take("usage").and_then(read_usage);
    let parts = vec![Part::text(text)];
    Ok(Answer { id, model, created, parts, finish, usage, extra: body.rest(OWN), lossy: None })
}

/// Why a choice ended, in the words of OpenAI and of those who offer the same API.
fn read_finish(word: &str) -> Finish {
    match word {
        "stop" | "eos" | "eos_token" | "end_turn" | "stop_sequence" => Finish::Stop,
        "length" | "max_tokens" | "model_length" => Finish::Length,
        "content_filter" => Finish::ContentFilter,
        other => Finish::Other(OWN, other.to_owned()),
    }
}

fn write_finish(finish: &Finish) -> &str {
    match finish {
        Finish::Length => "length",
        Finish::ContentFilter | Finish::Refusal => "content_filter",
        Finish::Other(_, word) => word,
        Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls => "stop",
    }
}

fn read_usage(usage: Value) -> Option<Usage> {
    let Value::Object(raw) = usage else { return None };
    let count = |name: &str| raw.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (input, output) = (count("prompt_tokens"), count("completion_tokens"));
    Some(Usage { input, output, raw: Some((OWN, raw)), ..Usage::default() })
}

/// Writes counts.
pub(super) fn write_usage(usage: &Usage) -> Value {
    usage.raw_of(OWN).cloned().map(Value::from).unwrap_or_else(|| {
        json!({
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output,
            "total_tokens": usage.input.saturating_add(usage.output),
        })
    })
}

/// What a reply and each chunk of a stream begin with.
pub(super) fn write_frame(answer: &Answer, frame: &Frame) -> Map<String, Value> {
    let id = if answer.id.is_empty() { format!("cmpl-{}", frame.id) } else { answer.id.clone() };
    let model = if answer.model.is_empty() { &frame.model } else { &answer.model };
    let created = answer.created.unwrap_or(frame.created);
    let mut reply = Map::new();
    for (name, value) in
        [("id", id.into()), ("object", OBJECT.into()), ("created", created.into()), ("model", model.clone().into())]
    {
        reply.insert(name.to_owned(), value);
    }
    reply
}

/// The choices of an answer that came in this format, as they came.
pub(super) fn choices(extra: &Extra) -> Option<Vec<Value>> {
    extra.member(OWN, CHOICES).and_then(Value::as_array).cloned()
}

/// A choice of nothing but text. Where it goes on, it has no `finish` yet.
pub(super) fn write_choice(text: &str, finish: Option<&Finish>) -> Value {
    json!({"text": text, "index": 0, "logprobs": null, "finish_reason": finish.map(write_finish)})
}

/// Writes a reply.
pub(super) fn write(answer: &Answer, frame: &Frame) -> Value {
    let mut reply = write_frame(answer, frame);
    let choices = choices(&answer.extra);
    let choices = choices.unwrap_or_else(|| vec![write_choice(&answer.text(), Some(&answer.finish))]);
    reply.insert(CHOICES.to_owned(), choices.into());
    reply.extend(answer.usage.as_ref().map(|usage| ("usage".to_owned(), write_usage(usage))));
    reply.extend(others(&answer.extra));
    reply.into()
}

/// Further members of the whole reply.
pub(super) fn others(extra: &Extra) -> Map<String, Value> {
    let mut members = extra.of(OWN).cloned().unwrap_or_default();
    members.shift_remove(CHOICES);
    members
}
