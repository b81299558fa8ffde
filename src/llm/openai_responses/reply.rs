//! Whole replies.

use serde_json::{Map, Value, json};

use super::items::{self, Side};
use super::request::INSTRUCTIONS;
use super::{OWN, error, write_request};
use crate::llm::chat::{Content, Extra, Part};
use crate::llm::error::Malformed;
use crate::llm::members::Place;
use crate::llm::{Answer, Finish, Frame, Usage};

/// What a reply repeats of the request though no model sees it, or at length. It isn't kept with the answer, which
/// another caller may be given, but written from that caller's request.
const REPEATED: [&str; 9] = [
    INSTRUCTIONS,
    "tools",
    "metadata",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt",
    "previous_response_id",
];

/// Reads a whole reply.
pub(super) fn read(body: Value) -> Result<Answer, Malformed> {
    let status = body["status"].as_str().unwrap_or("completed").to_owned();
    if !body["error"].is_null() || !matches!(status.as_str(), "completed" | "incomplete") {
        return Err(Malformed(format!("it is {status}: {}", error::of_event(&body).message)));
    }
    let Value::Object(mut members) = body else { return Err(Malformed("it must be an object".into())) };
    let Some(Value::Array(output)) = members.shift_remove("output") else {
        return Err(Malformed("it has no output".into()));
    };
    let details = members.shift_remove("incomplete_details").unwrap_or_default();
    let mut answer = head(members);
    for (index, item) in output.into_iter().enumerate() {
        let parts = items::read(item, Place::ROOT.name("output").index(index))?;
        items::append(&mut answer.parts, parts);
    }
    answer.finish = finish(&status, &details, &answer.parts);
    Ok(answer)
}

/// What a response says beside its output and its end.
pub(super) fn head(mut members: Map<String, Value>) -> Answer {
    for name in ["status", "error", "output", "incomplete_details"].into_iter().chain(REPEATED) {
        members.shift_remove(name);
    }
    let mut text = |name: &str| match members.shift_remove(name) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let (id, model) = (text("id"), text("model"));
    let created = members.shift_remove("created_at").and_then(|created| created.as_f64());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds since 1970, saturating")]
    let created = created.map(|created| created as u64);
    let usage = members.shift_remove("usage").and_then(usage);
    Answer { id, model, created, usage, extra: Extra::new(OWN, members), ..Answer::default() }
}

fn usage(value: Value) -> Option<Usage> {
    let count = |place: &Value| place.as_u64().unwrap_or_default();
    let usage = Usage {
        input: count(&value["input_tokens"]),
        cached_input: count(&value["input_tokens_details"]["cached_tokens"]),
        cache_write: count(&value["input_tokens_details"]["cache_write_tokens"]),
        output: count(&value["output_tokens"]),
        reasoning: count(&value["output_tokens_details"]["reasoning_tokens"]),
        raw: None,
    };
    let Value::Object(raw) = value else { return None };
    Some(Usage { raw: Some((OWN, raw)), ..usage })
}

/// Why an answer of these parts ended.
pub(super) fn finish(status: &str, details: &Value, parts: &[Part]) -> Finish {
    if status == "incomplete" {
        return match details["reason"].as_str() {
            None | Some("max_output_tokens" | "max_tokens") => Finish::Length,
            Some("content_filter") => Finish::ContentFilter,
            Some(reason) => Finish::Other(OWN, reason.to_owned()),
        };
    }
    if parts.iter().any(items::is_callers) {
        Finish::ToolCalls
    } else if parts.iter().any(|part| matches!(part.content, Content::Refusal(_))) {
        Finish::Refusal
    } else {
        Finish::Stop
    }
}

/// Writes a whole reply.
pub(super) fn write(answer: &Answer, frame: &Frame) -> Value {
    let groups = items::groups(&answer.parts);
    let side = |index: usize| Side::Output(&frame.id, index);
    let mut output: Vec<Value> =
        groups.iter().enumerate().filter_map(|(index, group)| items::write(group, side(index))).collect();
    let reason = cut(&answer.finish, &answer.parts);
    if let Some(item) = output.last_mut().filter(|_| reason.is_some()) {
        mark_cut(item);
    }
    response(answer, frame, Some(reason), output)
}

/// The reason for which an answer is incomplete, where it is.
pub(super) fn cut<'f>(finish: &'f Finish, parts: &[Part]) -> Option<&'f str> {
    match finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls => None,
        Finish::Refusal => {
            let is_said = parts.iter().any(|part| matches!(part.content, Content::Refusal(_)));
            (!is_said).then_some("content_filter")
        }
        Finish::Length => Some("max_output_tokens"),
        Finish::ContentFilter => Some("content_filter"),
        Finish::Other(_, reason) => Some(reason),
    }
}

/// Says of an item that the answer was cut in it.
pub(super) fn mark_cut(item: &mut Value) {
    if item["status"] == "completed" {
        item["status"] = "incomplete".into();
    }
}

/// The response object: in progress, or ended with the reason for which it is incomplete, if it is.
pub(super) fn response(head: &Answer, frame: &Frame, end: Option<Option<&str>>, output: Vec<Value>) -> Value {
    let own = head.extra.members(OWN);
    let id = match head.id.as_str() {
        id if !id.is_empty() && (!own.is_empty() || id.starts_with("resp_")) => id.to_owned(),
        _ => format!("resp_{}", frame.id),
    };
    let status = match end {
        None => "in_progress",
        Some(None) => "completed",
        Some(Some(_)) => "incomplete",
    };
    let mut response = json!({
        "id": id, "object": "response", "created_at": head.created.unwrap_or(frame.created), "status": status,
        "background": false, "error": null,
        "incomplete_details": end.flatten().map(|reason| json!({"reason": reason})),
        "instructions": null, "max_output_tokens": null, "max_tool_calls": null,
        "model": frame.model_of(head),
        "output": output, "parallel_tool_calls": true, "previous_response_id": null, "prompt_cache_key": null,
        "reasoning": {"effort": null, "summary": null}, "safety_identifier": null, "service_tier": "default",
        "store": false, "temperature": 1.0, "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto", "tools": [], "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled",
        "usage": end.map(|_| written_usage(head.usage.as_ref())), "user": null, "metadata": {},
    });
    let Some(members) = response.as_object_mut() else { return response };
    let request = frame.chat.as_ref().and_then(|chat| write_request::repeated(chat, &frame.model));
    for (name, said) in request.as_ref().and_then(Value::as_object).into_iter().flatten() {
        match (members.get_mut(name), said) {
            (Some(Value::Object(usual)), Value::Object(said)) => usual.extend(said.clone()),
            // Where and how it was served isn't known from what was asked for.
            (Some(place), said) if !matches!(name.as_str(), "model" | "store" | "service_tier") => {
                *place = said.clone();
            }
            _ => {}
        }
    }
    members.extend(own);
    response
}

/// The usage as it came, or as it is counted here. Clients want one, so an answer that nobody generated used nothing.
fn written_usage(usage: Option<&Usage>) -> Value {
    let usage = usage.cloned().unwrap_or_default();
    if let Some(raw) = usage.raw_of(OWN) {
        return raw.clone().into();
    }
    json!({"input_tokens": usage.input, "input_tokens_details": {"cached_tokens": usage.cached_input},
        "output_tokens": usage.output, "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input.saturating_add(usage.output)})
}
