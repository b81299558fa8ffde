//! What of a chat request curated entries may depend on, and which chats they answer at all.

use crate::prompt::Json;
use crate::store::ChatContext;

/// Members of a request that leave open what a good answer is, beside those that are looked at below. Any other may ask for
/// something that a text written beforehand isn't.
const HARMLESS: [&str; 33] = [
    "model",
    "messages",
    "cache",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "n",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "tools",
    "parallel_tool_calls",
    "functions",
    "reasoning_effort",
    "reasoning",
    "thinking",
    "verbosity",
    "modalities",
    "store",
    "metadata",
    "service_tier",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
];

/// What curated entries are asked with for a chat request in OpenAI's shape. None where no curated entry may answer: in a
/// conversation of several turns the last text alone doesn't say what is asked, and who demands a tool call or JSON isn't served with
/// prose.
#[must_use]
pub fn chat_context(chat: &Json, namespace: Option<&str>) -> Option<ChatContext> {
    let Json::Object(members) = chat else { return None };
    let is_open = members.iter().filter(|(_, value)| **value != Json::Null).all(|(name, value)| match name.as_str() {
        "tool_choice" | "function_call" => matches!(value.as_str(), Some("auto" | "none")),
        "response_format" => value.get("type").and_then(Json::as_str) == Some("text"),
        name => HARMLESS.contains(&name),
    });
    let (last, before) = chat.get("messages").and_then(Json::as_array)?.split_last()?;
    if !is_open || role(last) != Some("user") || texts(last)?.len() != 1 {
        return None;
    }
    let mut system = Vec::new();
    for message in before {
        if !matches!(role(message), Some("system" | "developer")) {
            return None;
        }
        system.push(texts(message)?.concat());
    }
    Some(ChatContext {
        model: chat.get("model").and_then(Json::as_str).map(str::to_owned),
        system: (!system.is_empty()).then(|| system.join("\n")),
        namespace: namespace.map(str::to_owned),
    })
}

fn role(message: &Json) -> Option<&str> {
    message.get("role").and_then(Json::as_str)
}

/// The texts of a message that says nothing but texts.
fn texts(message: &Json) -> Option<Vec<&str>> {
    let Json::Object(members) = message else { return None };
    let is_plain = members.iter().all(|(name, value)| *value == Json::Null || name == "role" || name == "content");
    match message.get("content").filter(|_| is_plain)? {
        Json::String(text) => Some(vec![text]),
        Json::Array(parts) => {
            let text = |part: &Json| part.get("type").and_then(Json::as_str) == Some("text");
            let texts = parts.iter().map(|part| part.get("text").filter(|_| text(part)).and_then(Json::as_str));
            texts.collect()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn context(chat: &Value) -> Option<ChatContext> {
        chat_context(&Json::parse(chat.to_string().as_bytes()).unwrap(), Some("n"))
    }

    fn with(member: &str, value: Value) -> Value {
        let mut chat = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        chat[member] = value;
        chat
    }

    #[test]
    fn one_user_turn_with_or_without_a_system_prompt_is_read() {
        let chat = json!({"model": "m", "temperature": 0, "tools": [], "tool_choice": "auto", "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
            {"role": "user", "content": [{"type": "text", "text": "hi"}], "name": null},
        ]});
        let owned = |text: &str| Some(text.to_owned());
        let expected = ChatContext { model: owned("m"), system: owned("Be kind.\nBe brief."), namespace: owned("n") };
        assert_eq!(context(&chat), Some(expected));
        let plain = ChatContext { model: owned("m"), system: None, namespace: owned("n") };
        assert_eq!(context(&with("stream", json!(true))), Some(plain));
    }

    #[test]
    fn other_chats_are_left_to_the_model() {
        let user = json!({"role": "user", "content": "hi"});
        let turns = |more: Value| with("messages", json!([more, user]));
        for chat in [
            turns(json!({"role": "assistant", "content": "hello"})),
            turns(json!({"role": "user", "content": "earlier"})),
            turns(json!({"role": "tool", "tool_call_id": "1", "content": "5"})),
            with("messages", json!([user, {"role": "tool", "tool_call_id": "1", "content": "5"}])),
            with("messages", json!([{"role": "system", "content": "Be kind."}])),
            with("messages", json!([{"role": "user", "name": "Ann", "content": "hi"}])),
            with(
                "messages",
                json!([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]),
            ),
            with(
                "messages",
                json!([{"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "b"}]}]),
            ),
            with("messages", json!([])),
            with("tool_choice", json!("required")),
            with("tool_choice", json!({"type": "function", "function": {"name": "f"}})),
            with("function_call", json!({"name": "f"})),
            with("response_format", json!({"type": "json_object"})),
            with("guided_json", json!({})),
            json!(["hi"]),
        ] {
            assert_eq!(context(&chat), None, "{chat}");
        }
    }
}
