//! A chat completion: which ones are kept, and as what.

use serde_json::Value;

use crate::store::Answer;

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// What is stored.
    pub answer: Answer,
    /// Whether the model calls tools. Their arguments hang on each word of the prompt, so such an answer serves the same
    /// text only.
    pub calls_tools: bool,
}

/// What of a message is kept, and can be told in a stream's deltas. A message with anything else in it, such as the
/// annotations of a web search, is not understood and so not kept.
const KEPT: [&str; 6] = ["role", "content", "refusal", "reasoning_content", "reasoning", "tool_calls"];
/// Where a whole reply says that it failed, or that it was looked up and will age.
const TOP_REFUSED: [&str; 3] = ["error", "citations", "search_results"];
/// What one caller asked for in an answer.
const CHOICE_REFUSED: [&str; 1] = ["logprobs"];

/// Why a reply is not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// It isn't a chat completion.
    #[error("it is no chat completion: {0}")]
    Malformed(String),
    /// It doesn't hold exactly one answer.
    #[error("it holds {0} answers")]
    Choices(usize),
    /// The answer was cut, filtered or has failed.
    #[error("it is not complete (finish_reason {0})")]
    Incomplete(String),
    /// The model refuses.
    #[error("it is a refusal")]
    Refusal,
    /// Neither text nor a tool call.
    #[error("it is empty")]
    Empty,
    /// It has something that can't be kept.
    #[error("it has `{0}`, which can't be kept")]
    Unknown(String),
    /// The stream ended without its end mark.
    #[error("the stream broke off")]
    BrokenOff,
}

/// What is kept of a reply with the status 200: the whole of it, if it is one complete answer.
///
/// # Errors
/// See [`NotKept`].
pub fn record(body: &[u8]) -> Result<Recording, NotKept> {
    let completion: Value = serde_json::from_slice(body).map_err(|error| NotKept::Malformed(error.to_string()))?;
    let text = std::str::from_utf8(body).map_err(|error| NotKept::Malformed(error.to_string()))?;
    recording(&completion, text.trim().to_owned())
}

/// Checks `completion`, which is spelled `text`.
pub(super) fn recording(completion: &Value, text: String) -> Result<Recording, NotKept> {
    let choices = completion["choices"].as_array().ok_or_else(|| NotKept::Malformed("it has no choices".into()))?;
    let [choice] = choices.as_slice() else { return Err(NotKept::Choices(choices.len())) };
    match choice["finish_reason"].as_str() {
        Some("stop" | "tool_calls") => {}
        reason => return Err(NotKept::Incomplete(reason.unwrap_or("missing").to_owned())),
    }
    let message = &choice["message"];
    if !is_blank(&message["refusal"]) {
        return Err(NotKept::Refusal);
    }
    for (object, refused) in [(completion, &TOP_REFUSED[..]), (choice, &CHOICE_REFUSED[..])] {
        if let Some(name) = refused.iter().find(|name| !is_blank(&object[**name])) {
            return Err(NotKept::Unknown((*name).to_owned()));
        }
    }
    let members = message.as_object().ok_or_else(|| NotKept::Malformed("it has no message".into()))?;
    if let Some((name, _)) = members.iter().find(|(name, value)| !is_blank(value) && !KEPT.contains(&name.as_str())) {
        return Err(NotKept::Unknown(name.clone()));
    }
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    if let Some(other) = calls.map(|call| &call["type"]).find(|kind| *kind != "function") {
        return Err(NotKept::Unknown(format!("a tool call of type {other}")));
    }
    let content = match &message["content"] {
        Value::String(content) => content.clone(),
        Value::Null => String::new(),
        _ => return Err(NotKept::Unknown("content that is not text".into())),
    };
    let calls_tools = !is_blank(&message["tool_calls"]);
    if content.trim().is_empty() && !calls_tools {
        return Err(NotKept::Empty);
    }
    Ok(Recording { answer: Answer { text: content, completion: Some(text) }, calls_tools })
}

/// Whether a member says nothing.
pub(super) fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn completion(finish: &str, message: Value) -> Value {
        json!({"id": "x", "object": "chat.completion", "choices": [{"index": 0, "finish_reason": finish, "message": message}],
            "usage": {"total_tokens": 3}})
    }

    #[test]
    fn a_complete_answer_is_kept_as_it_was_written() {
        let body =
            completion("stop", json!({"role": "assistant", "content": "Paris", "reasoning_content": "hm"})).to_string();
        let recording = record(format!("\n{body}\n").as_bytes()).unwrap();
        assert_eq!(recording.answer, Answer { text: "Paris".into(), completion: Some(body) });
        assert!(!recording.calls_tools);
    }

    #[test]
    fn tool_calls_are_kept_and_known_as_such() {
        let calls = json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
        let body = completion("tool_calls", json!({"role": "assistant", "content": null, "tool_calls": calls}));
        assert!(record(body.to_string().as_bytes()).unwrap().calls_tools);
    }

    #[test]
    fn what_is_not_one_complete_answer_is_not_kept() {
        let text = json!({"role": "assistant", "content": "a"});
        let mut two = completion("stop", text.clone());
        two["choices"] = json!([two["choices"][0], two["choices"][0]]);
        let mut cited = completion("stop", text.clone());
        cited["citations"] = json!(["https://example.com"]);
        for (body, why) in [
            (completion("length", text.clone()), NotKept::Incomplete("length".into())),
            (completion("content_filter", text.clone()), NotKept::Incomplete("content_filter".into())),
            (two, NotKept::Choices(2)),
            (completion("stop", json!({"content": null, "refusal": "no"})), NotKept::Refusal),
            (completion("stop", json!({"content": " \n"})), NotKept::Empty),
            (
                completion("stop", json!({"content": [{"type": "text"}]})),
                NotKept::Unknown("content that is not text".into()),
            ),
            (completion("stop", json!({"content": "a", "audio": {"id": "x"}})), NotKept::Unknown("audio".into())),
            (
                completion("stop", json!({"content": "a", "annotations": [{"type": "url_citation"}]})),
                NotKept::Unknown("annotations".into()),
            ),
            (cited, NotKept::Unknown("citations".into())),
            (
                completion("tool_calls", json!({"tool_calls": [{"type": "custom"}]})),
                NotKept::Unknown("a tool call of type \"custom\"".into()),
            ),
        ] {
            assert_eq!(record(body.to_string().as_bytes()), Err(why));
        }
        for body in ["<html>", "{}", "[]", "{\"error\": {}}", "{\"choices\": 5}"] {
            assert!(matches!(record(body.as_bytes()), Err(NotKept::Malformed(_))), "{body}");
        }
    }
}
