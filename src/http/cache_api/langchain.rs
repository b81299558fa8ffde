//! Prompts of LangChain's caches, which are a list of messages as its `dumps` writes them.

use std::collections::BTreeMap;

use crate::cache::read_chat;
use crate::prompt::{Cacheability, Json, Partition, Question};

/// Tells these questions from those of chat requests.
const APART: &str = "langchain";
/// What differs from call to call and says nothing.
const VOLATILE: [&str; 5] = ["id", "type", "response_metadata", "usage_metadata", "additional_kwargs"];

/// The question that a list of LangChain's messages asks, as if a chat had asked it. None where `prompt` is something else, or the
/// messages can't be told apart by what of them is understood: then it is a text like any other.
pub(super) fn question(prompt: &str) -> Option<Question> {
    // Most prompts are no JSON, and needn't be parsed to see that.
    let is_list = prompt.trim_start().starts_with('[');
    let Json::Array(dumped) = is_list.then(|| Json::parse(prompt.as_bytes()).ok()).flatten()? else { return None };
    let messages = dumped.into_iter().map(message).collect::<Option<Vec<_>>>()?;
    let chat = Json::Object(BTreeMap::from([("messages".to_owned(), Json::Array(messages))]));
    let chat = read_chat(chat.into()).ok()?;
    let question = Question::of_chat(&chat, &Partition { apart: &[Some(APART), None], ..Partition::default() });
    (!matches!(question.cacheability, Cacheability::Bypass(_)) && !question.text.is_empty()).then_some(question)
}

/// A message of `{"lc": 1, "type": "constructor", "id": […, "HumanMessage"], "kwargs": {"content": …}}`.
fn message(dumped: Json) -> Option<Json> {
    let is_message = dumped.get("lc").is_some() && dumped.get("type").and_then(Json::as_str) == Some("constructor");
    let class = dumped.get("id").and_then(Json::as_array)?.last()?.as_str().filter(|_| is_message)?;
    let role = match class.strip_suffix("Chunk").unwrap_or(class) {
        "HumanMessage" => "user",
        "SystemMessage" => "system",
        "AIMessage" => "assistant",
        "ToolMessage" => "tool",
        "FunctionMessage" => "function",
        _ => return None,
    };
    let Json::Object(mut members) = dumped else { return None };
    let Some(Json::Object(said)) = members.remove("kwargs") else { return None };
    let is_blank = |value: &Json| match value {
        Json::Null => true,
        Json::Array(items) => items.is_empty(),
        Json::Object(members) => members.is_empty(),
        _ => false,
    };
    // What a provider put beside the text, such as calls of tools, may be kept there alone.
    let matters =
        |name: &str, value: &Json| !is_blank(value) && (name == "additional_kwargs" || !VOLATILE.contains(&name));
    let mut message: BTreeMap<String, Json> = said.into_iter().filter(|(name, value)| matters(name, value)).collect();
    message.insert("role".to_owned(), Json::String(role.to_owned()));
    Some(Json::Object(message))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn dumped(class: &str, kwargs: Value) -> Value {
        json!({"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", class], "kwargs": kwargs})
    }

    fn ask(messages: &Value) -> Option<Question> {
        question(&messages.to_string())
    }

    #[test]
    fn the_last_human_text_is_asked_within_all_else() {
        let system = dumped("SystemMessage", json!({"content": "Be kind.", "type": "system"}));
        let human = |text: &str, id: &str| dumped("HumanMessage", json!({"content": text, "type": "human", "id": id}));
        let first = ask(&json!([system, human("What is Rust?", "1")])).unwrap();
        assert_eq!((first.text.as_str(), first.cacheability), ("What is Rust?", Cacheability::Semantic));
        let second = ask(&json!([system, human("What's Rust?", "2")])).unwrap();
        assert_eq!(first.fingerprint, second.fingerprint);
        let other = ask(&json!([human("What is Rust?", "1")])).unwrap();
        assert_ne!(first.fingerprint, other.fingerprint);
        let answer = dumped("AIMessage", json!({"content": "A fungus.", "tool_calls": [], "usage_metadata": {"n": 1}}));
        let later = ask(&json!([human("What is Rust?", "1"), answer, human("Really?", "3")])).unwrap();
        assert_eq!(later.text, "Really?");
        assert_ne!(later.fingerprint, other.fingerprint);
    }

    #[test]
    fn what_is_no_list_of_messages_is_a_text() {
        for text in ["What is Rust?", "[1, 2]", "[]", "[{\"lc\": 1}]", "[", "{\"lc\": 1}"] {
            assert_eq!(question(text), None, "{text}");
        }
        assert_eq!(ask(&json!([dumped("Prompt", json!({"content": "a"}))])), None);
        let by_address =
            json!([{"type": "image_url", "image_url": {"url": "https://x/y.png"}}, {"type": "text", "text": "a"}]);
        assert_eq!(ask(&json!([dumped("HumanMessage", json!({"content": by_address}))])), None);
    }
}
