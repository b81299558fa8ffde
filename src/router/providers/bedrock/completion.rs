//! A whole reply as a chat completion.

use serde_json::{Map, Value, json};

use super::{Malformed, reply};

/// OpenAI's chat completion for Converse's `reply`. `model` is how the caller calls the model, and `created` the time in
/// seconds since 1970.
///
/// # Errors
/// Where the reply isn't one complete answer that can be told in full, or the model has failed.
pub fn completion(reply: &Value, model: &str, created: u64) -> Result<Value, Malformed> {
    let content = &reply["output"]["message"]["content"];
    let blocks = content.as_array().ok_or_else(|| Malformed("it has no message with a list `content`".into()))?;
    let stop_reason = reply["stopReason"].as_str().ok_or_else(|| Malformed("it has no `stopReason`".into()))?;
    let mut said = Said::default();
    for block in blocks {
        said.add(block)?;
    }
    let finish_reason = reply::finish_reason(stop_reason, !said.calls.is_empty())
        .ok_or_else(|| Malformed(reply::failure(stop_reason)))?;
    let mut completion = Map::new();
    completion.insert("id".into(), reply::id(created).into());
    completion.insert("object".into(), "chat.completion".into());
    completion.insert("created".into(), created.into());
    completion.insert("model".into(), model.into());
    completion.insert(
        "choices".into(),
        json!([{"index": 0, "message": said.message(), "logprobs": null, "finish_reason": finish_reason}]),
    );
    if let Some(usage) = reply::usage(&reply["usage"]) {
        completion.insert("usage".into(), usage);
    }
    Ok(completion.into())
}

/// What an answer consists of.
#[derive(Default)]
struct Said {
    text: String,
    thoughts: String,
    calls: Vec<Value>,
}

impl Said {
    fn add(&mut self, block: &Value) -> Result<(), Malformed> {
        let members = block.as_object().ok_or_else(|| Malformed("a block is no object".into()))?;
        let Some((name, value)) = members.iter().find(|(_, value)| !value.is_null()) else { return Ok(()) };
        match name.as_str() {
            "text" => self.text.push_str(text(value)?),
            "citationsContent" => {
                for part in value["content"].as_array().into_iter().flatten() {
                    self.text.push_str(text(&part["text"])?);
                }
            }
            // Thoughts may be encrypted, and then there is nothing to tell.
            "reasoningContent" => {
                self.thoughts.push_str(value["reasoningText"]["text"].as_str().unwrap_or_default());
            }
            // What ran at the provider's is not the caller's to call.
            "toolResult" => {}
            "toolUse" if value["type"] == "server_tool_use" => {}
            "toolUse" => self.calls.push(tool_call(value)?),
            // Half an answer that looks whole would be worse than none.
            other => return Err(Malformed(format!("a block of type `{other}` has no counterpart"))),
        }
        Ok(())
    }

    fn message(self) -> Value {
        let mut message = Map::new();
        message.insert("role".into(), "assistant".into());
        message.insert("content".into(), if self.text.is_empty() { Value::Null } else { self.text.into() });
        message.insert("refusal".into(), Value::Null);
        if !self.thoughts.is_empty() {
            message.insert("reasoning_content".into(), self.thoughts.into());
        }
        if !self.calls.is_empty() {
            message.insert("tool_calls".into(), self.calls.into());
        }
        message.into()
    }
}

fn text(value: &Value) -> Result<&str, Malformed> {
    value.as_str().ok_or_else(|| Malformed("a text is no string".into()))
}

fn tool_call(call: &Value) -> Result<Value, Malformed> {
    let (id, name) = id_and_name(call)?;
    let arguments = if call["input"].is_null() { "{}".to_owned() } else { call["input"].to_string() };
    Ok(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}))
}

/// Of a `toolUse`, or of what begins one in a stream.
pub(super) fn id_and_name(call: &Value) -> Result<(&str, &str), Malformed> {
    match (call["toolUseId"].as_str(), call["name"].as_str()) {
        (Some(id), Some(name)) if !id.is_empty() && !name.is_empty() => Ok((id, name)),
        _ => Err(Malformed("a call has no id or no name".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(content: Value, stop_reason: &str) -> Value {
        json!({"output": {"message": {"role": "assistant", "content": content}}, "stopReason": stop_reason,
            "usage": {"inputTokens": 4, "outputTokens": 3, "totalTokens": 7}, "metrics": {"latencyMs": 5}})
    }

    fn choice(reply: &Value) -> Value {
        completion(reply, "m", 7).unwrap()["choices"][0].clone()
    }

    #[test]
    fn a_text_with_thoughts_and_usage() {
        let content = json!([{"reasoningContent": {"reasoningText": {"text": "Let me think.", "signature": "s"}}},
            {"reasoningContent": {"redactedContent": "AA=="}}, {"text": "Gr\u{fc}ezi "}, {"text": "\u{1f44b}"}]);
        let expected = json!({"id": "chatcmpl-1700000000", "object": "chat.completion", "created": 1_700_000_000,
            "model": "fast",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Gr\u{fc}ezi \u{1f44b}", "refusal": null,
                "reasoning_content": "Let me think."}, "logprobs": null, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 0}}});
        let converted = completion(&reply(content, "end_turn"), "fast", 1_700_000_000).unwrap();
        assert_eq!(converted, expected);
        // The same members in the same order, in a build whose objects keep one.
        assert_eq!(converted.to_string(), expected.to_string());
    }

    #[test]
    fn calls() {
        let content = json!([{"text": "I'll look."},
            {"toolUse": {"toolUseId": "s", "name": "search", "input": {}, "type": "server_tool_use"}},
            {"toolResult": {"toolUseId": "s", "content": []}},
            {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": ["\u{e9}", 1.0]}}},
            {"toolUse": {"toolUseId": "t2", "name": "g"}}]);
        assert_eq!(
            choice(&reply(content, "tool_use")),
            json!({"index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": "I'll look.", "refusal": null, "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":[\"\u{e9}\",1.0]}"}},
                    {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}}]}})
        );
    }

    #[test]
    fn endings_have_openais_words() {
        let call = json!([{"toolUse": {"toolUseId": "t", "name": "f", "input": {}}}]);
        for (content, stop_reason, expected) in [
            (json!([{"text": "a"}]), "stop_sequence", "stop"),
            (json!([{"text": "a"}]), "max_tokens", "length"),
            (json!([{"text": "Blocked."}]), "guardrail_intervened", "content_filter"),
            (call.clone(), "tool_use", "tool_calls"),
            (call, "end_turn", "tool_calls"),
        ] {
            assert_eq!(choice(&reply(content, stop_reason))["finish_reason"], expected, "{stop_reason}");
        }
    }

    #[test]
    fn texts_that_cite_are_texts_and_nothing_said_is_null() {
        let cited = json!([{"text": "It is "}, {"citationsContent": {"content": [{"text": "hot"}, {"text": "."}], "citations": []}}]);
        assert_eq!(choice(&reply(cited, "end_turn"))["message"]["content"], "It is hot.");
        for content in [json!([]), json!([{"text": ""}]), json!([{}])] {
            let message = &choice(&reply(content, "end_turn"))["message"];
            assert_eq!(message, &json!({"role": "assistant", "content": null, "refusal": null}));
        }
        let mut without = reply(json!([]), "end_turn");
        without["usage"] = Value::Null;
        assert_eq!(completion(&without, "m", 7).unwrap().get("usage"), None);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for reply in [
            json!(null),
            json!([]),
            json!({}),
            json!({"message": "Too many requests"}),
            json!({"output": {"message": {"content": "a"}}, "stopReason": "end_turn"}),
            json!({"output": {"message": {"content": []}}}),
            reply(json!([{"image": {"format": "png"}}]), "end_turn"),
            reply(json!([{"hologram": 1}]), "end_turn"),
            reply(json!([{"text": 5}]), "end_turn"),
            reply(json!(["a"]), "end_turn"),
            reply(json!([{"toolUse": {"name": "f", "input": {}}}]), "tool_use"),
            reply(json!([{"toolUse": {"toolUseId": "t", "input": {}}}]), "tool_use"),
            reply(json!([{"text": "a"}]), "malformed_tool_use"),
        ] {
            assert!(completion(&reply, "m", 7).is_err(), "{reply}");
        }
    }
}
