//! Converse's whole replies, and what streams have in common with them.

use serde_json::{Map, Value, json};

use super::OWN;
use super::content::{block, read_block, reasoning_block, text_block};
use crate::llm::answer::{Answer, Finish, Usage};
use crate::llm::chat::{Content, Extra, Part, Role};
use crate::llm::error::Malformed;
use crate::llm::members::{Place, map, object};

/// Reads a whole reply. It has neither an id nor a time, and doesn't name the model.
pub(super) fn read(body: Value) -> Result<Answer, Malformed> {
    let Value::Object(mut members) = body else { return Err(Malformed("it is no object".into())) };
    let message = members.get_mut("output").and_then(|output| output.get_mut("message")).and_then(Value::as_object_mut);
    let taken = message.and_then(|message| {
        message.retain(|name, value| name != "role" || value != "assistant");
        message.shift_remove("content")
    });
    let Some(Value::Array(blocks)) = taken else {
        return Err(Malformed("it has no message with a list `content`".into()));
    };
    if members.get("output") == Some(&json!({"message": {}})) {
        members.shift_remove("output");
    }
    let mut answer = Answer::default();
    let place = Place::ROOT.name("content");
    for (index, block) in blocks.into_iter().enumerate() {
        let part = read_block(block, &place.index(index), Role::Assistant)?;
        match &part.content {
            Content::Text(text) if text.is_empty() && part.extra.is_empty() => continue,
            Content::Foreign(_, block) if block == &json!({}) => continue,
            // What ran at the provider's is for Converse's callers alone. Anything else may be half of the answer.
            Content::Foreign(_, block) if block.get("toolUse").is_none() && block.get("toolResult").is_none() => {
                let name = block.as_object().and_then(|block| block.keys().next()).cloned();
                answer.lossy = answer.lossy.or(name);
            }
            _ => {}
        }
        answer.parts.push(part);
    }
    answer.finish = finish(&mut members, answer.calls_tools()).map_err(Malformed)?;
    answer.usage = members.shift_remove("usage").and_then(usage);
    answer.extra = Extra::new(OWN, members);
    Ok(answer)
}

/// Takes the reason to stop. The word stays where it isn't the one that would be written.
///
/// A model that has failed is an error, in a sentence: its answer wasn't cut or filtered, and asking again may succeed.
pub(super) fn finish(members: &mut Map<String, Value>, calls_tools: bool) -> Result<Finish, String> {
    let word = members.get("stopReason").and_then(Value::as_str).ok_or("it has no `stopReason`")?;
    let sequence = members.get("additionalModelResponseFields").and_then(|fields| fields["stop_sequence"].as_str());
    let finish = match word {
        // Some models say that they are done where they have called something.
        "tool_use" => Finish::ToolCalls,
        "end_turn" | "stop_sequence" if calls_tools => Finish::ToolCalls,
        "end_turn" => Finish::Stop,
        "stop_sequence" => Finish::StopSequence(sequence.map(str::to_owned)),
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "guardrail_intervened" | "content_filtered" => Finish::ContentFilter,
        "refusal" => Finish::Refusal,
        "malformed_model_output" | "malformed_tool_use" => return Err(format!("the model failed ({word})")),
        other => Finish::Other(OWN, other.to_owned()),
    };
    if word == stop_reason(&finish) {
        members.shift_remove("stopReason");
    }
    Ok(finish)
}

/// Converse's word.
pub(super) fn stop_reason(finish: &Finish) -> &str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::StopSequence(_) => "stop_sequence",
        Finish::ToolCalls => "tool_use",
        Finish::Length => "max_tokens",
        Finish::ContentFilter => "content_filtered",
        Finish::Refusal => "refusal",
        Finish::Other(_, word) => word,
    }
}

/// Bedrock counts what it read from its cache and wrote to it apart.
pub(super) fn usage(usage: Value) -> Option<Usage> {
    let Value::Object(raw) = usage else { return None };
    let count = |name: &str| raw.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (cached_input, cache_write) = (count("cacheReadInputTokens"), count("cacheWriteInputTokens"));
    let input = count("inputTokens").saturating_add(cached_input).saturating_add(cache_write);
    let output = count("outputTokens");
    Some(Usage { input, cached_input, cache_write, output, reasoning: 0, raw: Some((OWN, raw)) })
}

/// Usage in Converse's words, where clients expect one always.
pub(super) fn write_usage(usage: Option<&Usage>) -> Value {
    let none = Usage::default();
    let usage = usage.unwrap_or(&none);
    if let Some(raw) = usage.raw_of(OWN) {
        return raw.clone().into();
    }
    let fresh = usage.input.saturating_sub(usage.cached_input).saturating_sub(usage.cache_write);
    let mut told = json!({"inputTokens": fresh, "outputTokens": usage.output,
        "totalTokens": usage.input.saturating_add(usage.output)});
    for (name, count) in [("cacheReadInputTokens", usage.cached_input), ("cacheWriteInputTokens", usage.cache_write)] {
        if count > 0 {
            told[name] = count.into();
        }
    }
    told
}

/// Writes a whole reply.
pub(super) fn write(answer: &Answer) -> Value {
    let mut body = answer.extra.members(OWN);
    let mut output = object(body.shift_remove("output").unwrap_or_default());
    let mut message = object(output.shift_remove("message").unwrap_or_default());
    let content: Vec<Value> = answer.parts.iter().filter_map(write_block).collect();
    message.extend(map(json!({"role": "assistant", "content": content})));
    output.insert("message".into(), message.into());
    body.insert("output".into(), output.into());
    body.entry("stopReason").or_insert_with(|| stop_reason(&answer.finish).into());
    body.insert("usage".into(), write_usage(answer.usage.as_ref()));
    body.entry("metrics").or_insert_with(|| json!({"latencyMs": 0}));
    body.into()
}

/// The block for a part of an answer; none for what other formats alone have.
pub(super) fn write_block(part: &Part) -> Option<Value> {
    match &part.content {
        Content::Text(text) | Content::Refusal(text) => Some(text_block(text, &part.extra)),
        // Thoughts that another provider keeps to itself.
        Content::Reasoning(text) if text.is_empty() && part.claudes_seal().is_none() => None,
        Content::Reasoning(text) => Some(reasoning_block(text, part)),
        Content::ToolCall(call) => {
            let input: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!(call.arguments));
            let told = json!({"toolUseId": call.id, "name": call.name, "input": input, "type": "tool_use"});
            Some(block("toolUse", told, &part.extra))
        }
        Content::Foreign(OWN, block) => Some(block.clone()),
        _ => None,
    }
}
