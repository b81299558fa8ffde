//! Whole replies.

use serde_json::{Map, Value, json};

use super::content::{self, BETWEEN_THOUGHTS, Spoken};
use super::{OWN, merge};
use crate::llm::answer::{Answer, Finish, Usage};
use crate::llm::chat::{Content, Extra, Part, ToolCall};
use crate::llm::error::Unsupported;
use crate::llm::members::{Members, Place, map, object, some};
use crate::llm::{Frame, Malformed, openai};

/// Reads a reply.
pub(super) fn read(body: Value) -> Result<Answer, Malformed> {
    if openai::is_told(&body["error"]) {
        return Err(Malformed(format!("it is an error: {}", openai::error_in_stream(&body["error"]).message)));
    }
    Ok(answer(body)?)
}

fn answer(body: Value) -> Result<Answer, Unsupported> {
    let mut body = Members::of(body, Place::ROOT)?;
    let place = Place::ROOT.name("choices");
    let mut choices = body.list("choices")?;
    let (Some(choice), None) = (choices.pop(), choices.pop()) else { return Err(place.wrong("must hold one answer")) };
    let place = place.index(0);
    let mut choice = Members::of(choice, place)?;
    let place = place.name("message");
    let mut message = Members::of(choice.take("message").unwrap_or_default(), place)?;
    let word = choice.required_text("finish_reason")?;
    choice.take("index");
    message.take("role");
    body.take("object");

    let (id, model) = (body.text("id")?.unwrap_or_default(), body.text("model")?.unwrap_or_default());
    let parts = content::read_assistant(&mut message, Some(&id))?;
    // The older way to call a function is never stored, nor what would stand where further members are kept.
    let lossy = message.get("function_call").map(|_| "function_call");
    let lossy =
        lossy.or_else(|| ["message", "choice"].into_iter().find(|name| body.get(name).is_some())).map(str::to_owned);
    let (calls, refuses) = (parts.iter().any(is_call), parts.iter().any(is_refusal));
    let (finish, word) =
        read_finish(&word, choice.get("stop_reason"), calls, refuses).map_err(|why| place.wrong(why))?;
    word.into_iter().for_each(|word| choice.put_back("finish_reason", word.into()));
    let usage = body.take("usage").and_then(read_usage);
    let created = body.take("created").and_then(|created| created.as_u64());
    body.put_back_rest("message", message.into_map());
    body.put_back_rest("choice", choice.into_map());
    Ok(Answer { id, model, created, parts, finish, usage, extra: body.rest(OWN), lossy })
}

/// Why an answer ended, and the provider's word for it where that is another one than OpenAI's for the same.
pub(super) fn read_finish(
    word: &str,
    stop: Option<&Value>,
    calls: bool,
    refuses: bool,
) -> Result<(Finish, Option<String>), &'static str> {
    let finish = match word {
        "error" => return Err("has the finish_reason `error`"),
        "length" | "max_tokens" | "model_length" => Finish::Length,
        "content_filter" => Finish::ContentFilter,
        "refusal" => Finish::Refusal,
        "tool_calls" | "function_call" | "tool_use" => Finish::ToolCalls,
        "stop" | "eos" | "end_turn" | "stop_sequence" if refuses => Finish::Refusal,
        // So say some where tools are called, and OpenAI where one must be.
        "stop" | "eos" | "end_turn" if calls => Finish::ToolCalls,
        "stop" | "eos" | "end_turn" | "stop_sequence" => match stop {
            // vLLM's and SGLang's.
            Some(Value::String(sequence)) => Finish::StopSequence(Some(sequence.clone())),
            _ if word == "stop_sequence" => Finish::StopSequence(None),
            _ => Finish::Stop,
        },
        other => Finish::Other(OWN, other.to_owned()),
    };
    let usual = write_finish(&finish, refuses) == word;
    Ok((finish, (!usual).then(|| word.to_owned())))
}

/// OpenAI's word for why an answer ended. A reason that isn't known is told as `length`: nobody takes such an answer for
/// a whole one.
pub(super) fn write_finish(finish: &Finish, refuses: bool) -> &str {
    match finish {
        Finish::Stop | Finish::StopSequence(_) => "stop",
        Finish::Refusal if refuses => "stop",
        Finish::ToolCalls => "tool_calls",
        Finish::Length => "length",
        Finish::ContentFilter | Finish::Refusal => "content_filter",
        Finish::Other(OWN, word) => word,
        Finish::Other(..) => "length",
    }
}

fn is_call(part: &Part) -> bool {
    matches!(part.content, Content::ToolCall(_))
}

fn is_refusal(part: &Part) -> bool {
    matches!(&part.content, Content::Refusal(text) if !text.is_empty())
}

/// Reads counts, in the members of OpenAI, DeepSeek, LiteLLM and OpenRouter.
pub(super) fn read_usage(usage: Value) -> Option<Usage> {
    let count = |places: &[&str]| places.iter().find_map(|place| usage.pointer(place)?.as_u64()).unwrap_or(0);
    let input = count(&["/prompt_tokens"]);
    let reasoning = count(&["/completion_tokens_details/reasoning_tokens"]);
    let output = count(&["/completion_tokens"]);
    // xAI and Google leave thoughts out of the answer's tokens, and not out of the total.
    let rest = if input > 0 { count(&["/total_tokens"]).saturating_sub(input) } else { 0 };
    let cached = ["/prompt_tokens_details/cached_tokens", "/prompt_cache_hit_tokens", "/cache_read_input_tokens"];
    let written = ["/cache_creation_input_tokens", "/prompt_tokens_details/cache_write_tokens"];
    let (cached_input, cache_write) = (count(&cached).min(input), count(&written).min(input));
    let Value::Object(raw) = usage else { return None };
    let raw = Some((OWN, some(raw)?));
    Some(Usage { input, cached_input, cache_write, output: output.max(rest), reasoning, raw })
}

/// Writes counts.
pub(super) fn write_usage(usage: &Usage) -> Value {
    usage.raw_of(OWN).cloned().map(Value::from).unwrap_or_else(|| {
        json!({
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output,
            "total_tokens": usage.input.saturating_add(usage.output),
            "prompt_tokens_details": {"cached_tokens": usage.cached_input},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
        })
    })
}

/// What a reply and each chunk of a stream begin with.
pub(super) fn write_frame(answer: &Answer, frame: &Frame, kind: &str) -> Map<String, Value> {
    let id = if answer.id.is_empty() { format!("chatcmpl-{}", frame.id) } else { answer.id.clone() };
    let (created, model) = (answer.created.unwrap_or(frame.created), frame.model_of(answer));
    object(json!({"id": id, "object": kind, "created": created, "model": model}))
}

/// Writes a reply.
pub(super) fn write(answer: &Answer, frame: &Frame) -> Value {
    let (mut rest, message, mut choice) = split_extra(&answer.extra);
    let word = choice.shift_remove("finish_reason");
    let refuses = answer.parts.iter().any(is_refusal);
    let finish = word.unwrap_or_else(|| write_finish(&answer.finish, refuses).into());
    let mut told = write_message(answer);
    merge(&mut told, &message);
    let mut told_choice = write_choice("message", told.into(), finish);
    merge(&mut told_choice, &choice);
    let mut reply = write_frame(answer, frame, "chat.completion");
    reply.insert("choices".into(), json!([told_choice]));
    reply.extend(answer.usage.as_ref().map(|usage| ("usage".to_owned(), write_usage(usage))));
    rest.retain(|name, _| !reply.contains_key(name));
    reply.extend(rest);
    reply.into()
}

/// The choice that a reply, or a chunk of a stream, has.
pub(super) fn write_choice(name: &str, told: Value, finish: Value) -> Map<String, Value> {
    map(json!({"index": 0, name: told, "logprobs": null, "finish_reason": finish}))
}

/// Further members of the reply, of the message and of the choice.
pub(super) fn split_extra(extra: &Extra) -> (Map<String, Value>, Map<String, Value>, Map<String, Value>) {
    let mut rest = extra.members(OWN);
    let mut take = |name: &str| map(rest.shift_remove(name).unwrap_or_default());
    let (message, choice) = (take("message"), take("choice"));
    (rest, message, choice)
}

fn write_message(answer: &Answer) -> Map<String, Value> {
    let id = |call: &ToolCall, number| content::call_id(&call.id, &answer.id, number);
    let Spoken { said, refusal, blocks, calls, seal } = Spoken::of(&answer.parts, id, |_| true);
    let (mut text, mut annotations, mut characters) = (String::new(), Vec::new(), 0);
    for part in &said {
        let (start, more) = (characters, part.as_text().unwrap_or_default());
        characters += more.chars().count();
        annotations.extend(content::annotations(&part.extra, start, characters));
        text.push_str(more);
    }
    let is_list = said.iter().any(|part| match &part.content {
        Content::Text(_) => part.extra.of(OWN).is_some(),
        content => matches!(content, Content::Foreign(OWN, _) | Content::Reasoning(_) | Content::Refusal(_)),
    });
    let listed = || said.iter().filter_map(content::write_part).collect();
    let content: Value = if is_list { listed() } else { some(text).into() };
    let mut message = map(json!({"role": "assistant", "content": content, "refusal": some(refusal)}));
    message.extend(object(json!({
        "annotations": some(annotations),
        "tool_calls": some(calls),
        content::thoughts_member(&answer.parts): some(content::thoughts_of(&answer.parts, BETWEEN_THOUGHTS)),
        "thinking_blocks": some(blocks),
        "extra_content": content::write_google_seal(seal),
    })));
    message
}
