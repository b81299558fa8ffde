//! An OpenAI chat completion as an Anthropic message.

use serde_json::{Map, Value, json};

use super::super::Malformed;

/// Anthropic's message that says what `completion` says. The name of the model and the counts are the provider's; a
/// completion without usage has counts of 0, because Anthropic's clients insist on some.
///
/// # Errors
/// Where `completion` is no whole answer.
pub fn reply(completion: &Value) -> Result<Value, Malformed> {
    if !completion["error"].is_null() {
        let message = completion["error"]["message"].as_str().unwrap_or("it doesn't say why");
        return Err(Malformed(format!("it is an error: {}", super::super::error::shortened(message))));
    }
    let choice = &completion["choices"][0];
    let message = &choice["message"];
    if !message.is_object() {
        return Err(Malformed("it has no message".into()));
    }
    let finish = choice["finish_reason"].as_str();
    let finish = finish.ok_or_else(|| Malformed("it has no `finish_reason`".into()))?;
    let id = completion["id"].as_str().unwrap_or_default();
    let content = content(message, id, finish)?;
    let calls = content.iter().any(|block| block["type"] == "tool_use");
    let refused = message["refusal"].as_str().is_some_and(|refusal| !refusal.is_empty());
    let stop_reason = stop_reason(finish, calls, refused)?;
    let mut reply = frame(id, completion["model"].as_str().unwrap_or_default());
    reply.insert("content".into(), content.into());
    reply.insert("stop_reason".into(), stop_reason.into());
    reply.insert("stop_sequence".into(), Value::Null);
    reply.insert("usage".into(), usage(&completion["usage"]));
    Ok(reply.into())
}

/// What every message begins with.
pub(super) fn frame(id: &str, model: &str) -> Map<String, Value> {
    let id = if id.starts_with("msg_") { id.to_owned() } else { format!("msg_{id}") };
    let mut frame = Map::new();
    frame.insert("id".into(), id.into());
    frame.insert("type".into(), "message".into());
    frame.insert("role".into(), "assistant".into());
    frame.insert("model".into(), model.into());
    frame
}

fn content(message: &Value, id: &str, finish: &str) -> Result<Vec<Value>, Malformed> {
    let mut content = Vec::new();
    let thoughts = thoughts(message);
    if !thoughts.is_empty() {
        // Clients expect a signature, and no provider but Anthropic signs.
        content.push(json!({"type": "thinking", "thinking": thoughts, "signature": ""}));
    }
    let mut text = text(&message["content"]);
    text.push_str(message["refusal"].as_str().unwrap_or_default());
    if !text.is_empty() {
        content.push(json!({"type": "text", "text": text}));
    }
    for (index, call) in message["tool_calls"].as_array().into_iter().flatten().enumerate() {
        let function = &call["function"];
        let name = function["name"].as_str().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Malformed("a tool call has no function name".into()))?;
        match input(&function["arguments"]) {
            Some(input) => {
                let id = call_id(call["id"].as_str().unwrap_or_default(), id, index);
                content.push(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
            }
            // The limit cut the call off, and half a call is no use to anybody.
            None if finish == "length" => {}
            None => return Err(Malformed(format!("the arguments for `{name}` are no JSON object"))),
        }
    }
    Ok(content)
}

/// The thoughts in a message or a delta, under either of the names that providers use.
pub(super) fn thoughts(message: &Value) -> &str {
    let named = ["reasoning_content", "reasoning"].into_iter().filter_map(|name| message[name].as_str());
    named.into_iter().find(|thoughts| !thoughts.is_empty()).unwrap_or_default()
}

/// A content's text, which some providers write in parts.
pub(super) fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// What a tool is called with: nothing at all is an empty object.
pub(super) fn input(arguments: &Value) -> Option<Value> {
    let input = match arguments {
        Value::Null => json!({}),
        Value::String(text) if text.trim().is_empty() => json!({}),
        Value::String(text) => serde_json::from_str(text).ok()?,
        arguments => arguments.clone(),
    };
    input.is_object().then_some(input)
}

/// A call's id. Results name their call by it, so one that has none gets one.
pub(super) fn call_id(id: &str, message: &str, index: usize) -> String {
    if id.is_empty() { format!("toolu_{message}_{index}") } else { id.to_owned() }
}

/// Anthropic's word for why the model stopped. Some providers say `stop` where tools are called, and Anthropic's
/// clients call tools only where that is the reason. Providers' own words mostly mean a usual end.
pub(super) fn stop_reason(finish: &str, calls: bool, refused: bool) -> Result<&'static str, Malformed> {
    match finish {
        "error" => Err(Malformed("its `finish_reason` is `error`".into())),
        "length" => Ok("max_tokens"),
        "content_filter" => Ok("refusal"),
        _ if refused => Ok("refusal"),
        _ if calls => Ok("tool_use"),
        _ => Ok("end_turn"),
    }
}

/// OpenAI counts what was read from a cache as part of the prompt, Anthropic apart.
pub(super) fn usage(usage: &Value) -> Value {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let cached = count(&usage["prompt_tokens_details"]["cached_tokens"]);
    json!({
        "input_tokens": count(&usage["prompt_tokens"]).saturating_sub(cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": count(&usage["completion_tokens"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(message: Value, finish_reason: &str) -> Value {
        json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 5, "model": "gpt-x",
            "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason}],
            "usage": {"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 37,
                "prompt_tokens_details": {"cached_tokens": 20}}})
    }

    fn told(message: Value) -> Value {
        reply(&completion(message, "stop")).unwrap()["content"].clone()
    }

    #[test]
    fn a_text() {
        let expected = json!({
            "id": "msg_chatcmpl-1", "type": "message", "role": "assistant", "model": "gpt-x",
            "content": [{"type": "text", "text": "Paris."}], "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 20, "output_tokens": 7},
        });
        let converted =
            reply(&completion(json!({"role": "assistant", "content": "Paris.", "refusal": null}), "stop")).unwrap();
        assert_eq!(converted, expected);
        assert_eq!(converted.to_string(), expected.to_string());
    }

    #[test]
    fn thoughts_text_and_calls() {
        let call = |id: Value, arguments: Value| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
        let message = json!({"role": "assistant", "content": "Let me.", "reasoning": "Hm.", "reasoning_content": "", "tool_calls": [
            call(json!("a"), json!("{\"x\":1}")), call(json!(""), json!(" ")), call(json!(null), json!({"y": 2}))]});
        let converted = reply(&completion(message, "stop")).unwrap();
        assert_eq!(
            converted["content"],
            json!([
                {"type": "thinking", "thinking": "Hm.", "signature": ""},
                {"type": "text", "text": "Let me."},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "toolu_chatcmpl-1_1", "name": "f", "input": {}},
                {"type": "tool_use", "id": "toolu_chatcmpl-1_2", "name": "f", "input": {"y": 2}},
            ])
        );
        assert_eq!(converted["stop_reason"], "tool_use");
    }

    #[test]
    fn little_or_odd_content() {
        assert_eq!(told(json!({"content": null})), json!([]));
        assert_eq!(told(json!({"content": ""})), json!([]));
        assert_eq!(told(json!({})), json!([]));
        let parts =
            json!({"content": [{"type": "text", "text": "a"}, {"type": "hologram"}, {"type": "text", "text": "b"}]});
        assert_eq!(told(parts), json!([{"type": "text", "text": "ab"}]));
    }

    #[test]
    fn reasons_to_stop() {
        let text = json!({"content": "a"});
        for (finish_reason, expected) in
            [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal"), ("eos", "end_turn")]
        {
            assert_eq!(reply(&completion(text.clone(), finish_reason)).unwrap()["stop_reason"], expected);
        }
        let refusal = reply(&completion(json!({"content": null, "refusal": "No."}), "stop")).unwrap();
        assert_eq!((&refusal["stop_reason"], &refusal["content"][0]["text"]), (&json!("refusal"), &json!("No.")));
    }

    #[test]
    fn a_call_that_the_limit_cut_off_is_left_out() {
        let message =
            json!({"content": "Now", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{\"x\":"}}]});
        let converted = reply(&completion(message.clone(), "length")).unwrap();
        assert_eq!(converted["content"], json!([{"type": "text", "text": "Now"}]));
        assert_eq!(converted["stop_reason"], "max_tokens");
        assert!(reply(&completion(message, "tool_calls")).is_err());
    }

    #[test]
    fn ids_and_usage_may_be_missing() {
        let mut bare = completion(json!({"content": "a"}), "stop");
        bare["id"] = "msg_7".into();
        assert_eq!(reply(&bare).unwrap()["id"], "msg_7");
        for name in ["id", "model", "usage"] {
            bare[name] = Value::Null;
        }
        let converted = reply(&bare).unwrap();
        assert_eq!((&converted["id"], &converted["model"]), (&json!("msg_"), &json!("")));
        let zero = json!({"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0});
        assert_eq!(converted["usage"], zero);
        bare["usage"] = json!({"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 5}});
        assert_eq!(reply(&bare).unwrap()["usage"]["input_tokens"], 0);
    }

    #[test]
    fn what_is_no_answer_is_malformed() {
        let call =
            |function: Value| completion(json!({"tool_calls": [{"id": "a", "function": function}]}), "tool_calls");
        for rubbish in [
            json!(null),
            json!([]),
            json!("text"),
            json!({}),
            json!({"choices": []}),
            json!({"choices": [{"finish_reason": "stop"}]}),
            json!({"choices": [{"message": {"content": "a"}, "finish_reason": null}]}),
            json!({"error": {"message": "boom"}}),
            completion(json!({"content": "a"}), "error"),
            call(json!({"arguments": "{}"})),
            call(json!({"name": "f", "arguments": "[1]"})),
        ] {
            assert!(reply(&rubbish).is_err(), "{rubbish}");
        }
    }
}
