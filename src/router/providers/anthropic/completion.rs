//! An Anthropic message as an OpenAI chat completion.

use serde_json::{Map, Value, json};

use super::Malformed;

/// The chat completion that says what Anthropic's message `reply` says, members in the order in which OpenAI writes
/// them. `created` is in seconds since 1970.
///
/// Blocks that OpenAI's messages have no place for, such as redacted thoughts and what Anthropic's own tools did, are
/// left out; pages that a text cites become annotations. A message without usage becomes a completion without one.
///
/// # Errors
/// Where `reply` is no whole message.
pub fn completion(reply: &Value, created: u64) -> Result<Value, Malformed> {
    if !reply["error"].is_null() {
        let message = reply["error"]["message"].as_str().unwrap_or("it doesn't say why");
        return Err(Malformed(format!("it is an error: {}", super::error::shortened(message))));
    }
    let blocks = reply["content"].as_array().ok_or_else(|| Malformed("it has no list `content`".into()))?;
    let stop_reason = reply["stop_reason"].as_str().ok_or_else(|| Malformed("it has no `stop_reason`".into()))?;
    let mut completion = Map::new();
    completion.insert("id".into(), reply["id"].as_str().unwrap_or_default().into());
    completion.insert("object".into(), "chat.completion".into());
    completion.insert("created".into(), created.into());
    completion.insert("model".into(), reply["model"].as_str().unwrap_or_default().into());
    completion.insert(
        "choices".into(),
        json!([{"index": 0, "message": message(blocks)?, "logprobs": null, "finish_reason": finish_reason(stop_reason)}]),
    );
    if let Some(usage) = usage(&reply["usage"]) {
        completion.insert("usage".into(), usage);
    }
    Ok(completion.into())
}

fn message(blocks: &[Value]) -> Result<Value, Malformed> {
    let (mut text, mut thoughts) = (String::new(), String::new());
    let (mut calls, mut annotations) = (Vec::new(), Vec::new());
    for block in blocks {
        match block["type"].as_str() {
            Some("text") => {
                let start = text.chars().count();
                text.push_str(block["text"].as_str().unwrap_or_default());
                let citations = block["citations"].as_array().into_iter().flatten();
                annotations.extend(citations.filter_map(|citation| annotation(citation, start, text.chars().count())));
            }
            Some("thinking") => thoughts.push_str(block["thinking"].as_str().unwrap_or_default()),
            Some("tool_use") => calls.push(tool_call(block)?),
            _ => {}
        }
    }
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    message.insert("content".into(), if text.is_empty() { Value::Null } else { text.into() });
    message.insert("refusal".into(), Value::Null);
    for (name, list) in [("annotations", annotations), ("tool_calls", calls)] {
        if !list.is_empty() {
            message.insert(name.into(), list.into());
        }
    }
    if !thoughts.is_empty() {
        message.insert("reasoning_content".into(), thoughts.into());
    }
    Ok(message.into())
}

fn tool_call(block: &Value) -> Result<Value, Malformed> {
    let (Some(id), Some(name)) = (block["id"].as_str(), block["name"].as_str()) else {
        return Err(Malformed("a tool_use block has no id or no name".into()));
    };
    let function = json!({"name": name, "arguments": arguments(&block["input"])});
    Ok(json!({"id": id, "type": "function", "function": function}))
}

/// A tool's input as OpenAI tells it, as a text.
pub(super) fn arguments(input: &Value) -> String {
    if input.is_null() { "{}".to_owned() } else { input.to_string() }
}

/// The annotation for a page that a text cites, from the character `start` to `end`. Passages of the caller's own
/// documents are no pages.
pub(super) fn annotation(citation: &Value, start: usize, end: usize) -> Option<Value> {
    let url = citation["url"].as_str()?;
    let title = citation["title"].as_str().unwrap_or_default();
    let cited = json!({"start_index": start, "end_index": end, "url": url, "title": title});
    Some(json!({"type": "url_citation", "url_citation": cited}))
}

/// OpenAI's word for why the model stopped. A reason that isn't known is told as `length`: nobody takes such an answer
/// for a whole one.
pub(super) fn finish_reason(stop_reason: &str) -> &'static str {
    match stop_reason {
        "end_turn" | "stop_sequence" => "stop",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        _ => "length",
    }
}

/// Anthropic counts what it read from its cache and wrote to it apart, OpenAI all together.
pub(super) fn usage(usage: &Value) -> Option<Value> {
    usage.is_object().then(|| {
        let count = |name: &str| usage[name].as_u64().unwrap_or(0);
        let cached = count("cache_read_input_tokens");
        let prompt = count("input_tokens").saturating_add(cached).saturating_add(count("cache_creation_input_tokens"));
        let completion = count("output_tokens");
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt.saturating_add(completion),
            "prompt_tokens_details": {"cached_tokens": cached},
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::messages;
    use super::*;

    fn reply(content: Value, stop_reason: &str) -> Value {
        json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": content,
            "stop_reason": stop_reason, "stop_sequence": null,
            "usage": {"input_tokens": 10, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 20, "output_tokens": 7}})
    }

    fn told(content: Value) -> Value {
        completion(&reply(content, "end_turn"), 5).unwrap()["choices"][0]["message"].clone()
    }

    #[test]
    fn a_text() {
        let expected = json!({
            "id": "msg_1", "object": "chat.completion", "created": 5, "model": "claude-x",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris.", "refusal": null},
                "logprobs": null, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 33, "completion_tokens": 7, "total_tokens": 40, "prompt_tokens_details": {"cached_tokens": 20}},
        });
        let converted = completion(&reply(json!([{"type": "text", "text": "Paris."}]), "end_turn"), 5).unwrap();
        assert_eq!(converted, expected);
        // The same members in the same order, in a build whose objects keep one.
        assert_eq!(converted.to_string(), expected.to_string());
    }

    #[test]
    fn thoughts_texts_and_calls() {
        let content = json!([
            {"type": "thinking", "thinking": "Hm. ", "signature": "s"}, {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "I'll "}, {"type": "text", "text": "look."},
            {"type": "thinking", "thinking": "Well."},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": "\u{e9}"}}, {"type": "tool_use", "id": "t2", "name": "g"},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, {"no": "type"}, 5,
        ]);
        let converted = completion(&reply(content, "tool_use"), 5).unwrap();
        assert_eq!(
            converted["choices"][0],
            json!({"index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": "I'll look.", "refusal": null, "reasoning_content": "Hm. Well.", "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":\"\u{e9}\"}"}},
                    {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}}]}})
        );
    }

    #[test]
    fn nothing_said_is_null() {
        assert_eq!(told(json!([])), json!({"role": "assistant", "content": null, "refusal": null}));
        assert_eq!(told(json!([{"type": "text", "text": ""}]))["content"], Value::Null);
        assert_eq!(told(json!([{"type": "hologram"}]))["content"], Value::Null);
    }

    #[test]
    fn cited_pages_become_annotations() {
        let page = json!({"type": "web_search_result_location", "url": "https://a", "title": "A", "cited_text": "b"});
        let passage = json!({"type": "char_location", "document_index": 0});
        let message = told(
            json!([{"type": "text", "text": "\u{e9}t\u{e9}: "}, {"type": "text", "text": "hot", "citations": [page, passage]}]),
        );
        let cited = json!({"start_index": 5, "end_index": 8, "url": "https://a", "title": "A"});
        assert_eq!(message["annotations"], json!([{"type": "url_citation", "url_citation": cited}]));
    }

    #[test]
    fn reasons_to_stop() {
        for (stop_reason, expected) in [
            ("end_turn", "stop"),
            ("stop_sequence", "stop"),
            ("pause_turn", "length"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
            ("tool_use", "tool_calls"),
            ("refusal", "content_filter"),
            ("unheard_of", "length"),
        ] {
            let converted = completion(&reply(json!([]), stop_reason), 5).unwrap();
            assert_eq!(converted["choices"][0]["finish_reason"], expected, "{stop_reason}");
        }
    }

    #[test]
    fn usage_may_be_missing_or_partial() {
        let mut without = reply(json!([]), "end_turn");
        without["usage"] = Value::Null;
        assert_eq!(completion(&without, 5).unwrap().get("usage"), None);
        without["usage"] = json!({"output_tokens": 2, "input_tokens": u64::MAX, "cache_read_input_tokens": null});
        assert_eq!(completion(&without, 5).unwrap()["usage"]["total_tokens"], u64::MAX);
    }

    #[test]
    fn what_is_no_message_is_malformed() {
        for rubbish in [
            json!(null),
            json!([]),
            json!("text"),
            json!({}),
            json!({"content": "a", "stop_reason": "end_turn"}),
            json!({"content": [], "stop_reason": null}),
            json!({"content": [{"type": "tool_use", "name": "f"}], "stop_reason": "tool_use"}),
            json!({"type": "error", "error": {"message": "Overloaded"}, "content": [], "stop_reason": "end_turn"}),
        ] {
            assert!(completion(&rubbish, 5).is_err(), "{rubbish}");
        }
    }

    #[test]
    fn there_and_back_a_completion_means_the_same() {
        for (message, finish_reason) in [
            (json!({"role": "assistant", "content": "Paris.", "refusal": null}), "stop"),
            (json!({"role": "assistant", "content": "Par", "refusal": null, "reasoning_content": "Hm."}), "length"),
            (
                json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
                    {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}]}),
                "tool_calls",
            ),
        ] {
            let whole = json!({"id": "msg_1", "object": "chat.completion", "created": 5, "model": "m",
                "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason}],
                "usage": {"prompt_tokens": 30, "completion_tokens": 7, "total_tokens": 37,
                "prompt_tokens_details": {"cached_tokens": 20}}});
            assert_eq!(completion(&messages::reply(&whole).unwrap(), 5).unwrap(), whole);
        }
    }
}
