//! Whole replies.

use serde_json::{Map, Value, json};

use super::{OWN, block, error};
use crate::llm::answer::{Answer, Finish, Usage};
use crate::llm::chat::{Content, Part};
use crate::llm::members::{Members, Place, merge};
use crate::llm::{Frame, Malformed};

/// Reads a message.
pub(super) fn read(body: Value) -> Result<Answer, Malformed> {
    if !body["error"].is_null() {
        return Err(Malformed(format!("it is an error: {}", error::read_event(&body).message)));
    }
    let (Some(blocks), Some(reason)) = (body["content"].as_array(), body["stop_reason"].as_str()) else {
        return Err(Malformed("it has no list `content` or no `stop_reason`".into()));
    };
    let finish = finish(reason, &body["stop_sequence"]);
    let place = Place::ROOT.name("content");
    let parts = blocks.iter().enumerate().map(|(index, part)| block::read(part.clone(), &place.index(index)));
    let parts = parts.collect::<Result<_, _>>()?;
    Ok(Answer { parts, finish, ..head(body) })
}

/// What a message says beside its content and its end: the id, the model, the usage and further members.
pub(super) fn head(message: Value) -> Answer {
    let Ok(mut members) = Members::of(message, Place::ROOT) else { return Answer::default() };
    for name in ["type", "role", "content", "stop_reason", "stop_sequence"] {
        members.take(name);
    }
    let mut text =
        |name: &str| members.take(name).and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default();
    let (id, model) = (text("id"), text("model"));
    let usage = members.take("usage").and_then(|usage| usage.as_object().cloned()).map(usage);
    Answer { id, model, usage, extra: members.rest(OWN), ..Answer::default() }
}

/// Anthropic counts what it read from its cache and wrote to it apart, the other APIs all together.
pub(super) fn usage(raw: Map<String, Value>) -> Usage {
    let count = |name: &str| raw.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (cached_input, cache_write) = (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
    Usage {
        input: count("input_tokens").saturating_add(cached_input).saturating_add(cache_write),
        cached_input,
        cache_write,
        output: count("output_tokens"),
        reasoning: raw.get("output_tokens_details").and_then(|all| all["thinking_tokens"].as_u64()).unwrap_or(0),
        raw: Some((OWN, raw)),
    }
}

/// The counts of a reply; zeros where it has none, because clients insist on some.
pub(super) fn write_usage(usage: Option<&Usage>) -> Value {
    let usage = usage.cloned().unwrap_or_default();
    match usage.raw_of(OWN) {
        Some(raw) => raw.clone().into(),
        None => json!({
            "input_tokens": usage.input.saturating_sub(usage.cached_input).saturating_sub(usage.cache_write),
            "cache_creation_input_tokens": usage.cache_write,
            "cache_read_input_tokens": usage.cached_input,
            "output_tokens": usage.output,
        }),
    }
}

/// Why the answer ended. The words that have no counterpart are `pause_turn` and `model_context_window_exceeded`.
pub(super) fn finish(stop_reason: &str, stop_sequence: &Value) -> Finish {
    match stop_reason {
        "end_turn" => Finish::Stop,
        "stop_sequence" => Finish::StopSequence(stop_sequence.as_str().map(str::to_owned)),
        "tool_use" => Finish::ToolCalls,
        "max_tokens" => Finish::Length,
        "refusal" => Finish::Refusal,
        other => Finish::Other(OWN, other.to_owned()),
    }
}

/// `stop_reason` and `stop_sequence`. Clients call tools only where that is the reason, and some providers say that
/// they just stopped. A reason that isn't known is told as `max_tokens`: nobody takes such an answer for a whole one.
pub(super) fn stop<'a>(finish: &'a Finish, parts: impl Iterator<Item = &'a Part>) -> Value {
    let (mut calls, mut refuses) = (false, false);
    for part in parts {
        calls |= matches!(part.content, Content::ToolCall(_));
        refuses |= matches!(part.content, Content::Refusal(_));
    }
    let (reason, sequence) = match finish {
        Finish::Refusal | Finish::ContentFilter => ("refusal", None),
        Finish::Other(OWN, word) => (word.as_str(), None),
        Finish::Length | Finish::Other(..) => ("max_tokens", None),
        _ if refuses => ("refusal", None),
        Finish::StopSequence(sequence @ Some(_)) => ("stop_sequence", sequence.as_deref()),
        _ if calls => ("tool_use", None),
        Finish::ToolCalls | Finish::Stop | Finish::StopSequence(None) => ("end_turn", None),
    };
    json!({"stop_reason": reason, "stop_sequence": sequence})
}

/// Whether a part says anything. Blank blocks are refused once clients send them back, and half a call that the limit
/// cut off is no use to anybody.
pub(super) fn is_told(part: &Part, finish: &Finish) -> bool {
    match &part.content {
        Content::Text(text) | Content::Refusal(text) => !text.is_empty() || !part.extra.is_empty(),
        Content::Reasoning(text) => !text.is_empty() || part.claudes_seal().is_some(),
        Content::ToolCall(call) => *finish != Finish::Length || call.input().is_some(),
        _ => true,
    }
}

/// A message with this content, which ends as `stop` says.
pub(super) fn message(answer: &Answer, frame: &Frame, content: Vec<Value>, stop: &Value, usage: &Value) -> Value {
    let (id, model) = (frame.id_of(answer), frame.model_of(answer));
    let id = if id.starts_with("msg_") { id.to_owned() } else { format!("msg_{id}") };
    let mut message = json!({"id": id, "type": "message", "role": "assistant", "model": model, "content": content,
        "stop_reason": stop["stop_reason"], "stop_sequence": stop["stop_sequence"], "usage": usage});
    if let (Some(members), Some(own)) = (message.as_object_mut(), answer.extra.of(OWN)) {
        merge(members, own);
    }
    message
}

/// Writes a message.
pub(super) fn write(answer: &Answer, frame: &Frame) -> Value {
    let id = frame.id_of(answer);
    let parts = answer.parts.iter().enumerate().filter(|(_, part)| is_told(part, &answer.finish));
    let content = parts.filter_map(|(position, part)| block::told(part, id, position)).collect();
    let stop = stop(&answer.finish, answer.parts.iter());
    message(answer, frame, content, &stop, &write_usage(answer.usage.as_ref()))
}
