//! Chats as the cache API and imports say them, and which chats curated entries answer.

use serde_json::Value;

use crate::llm::chat::{Chat, Extra, Message, Output, Part, Retention, Role, ToolChoice};
use crate::llm::{FormatId, Unsupported};
use crate::prompt::{Partition, Question};
use crate::store::ChatContext;

/// Members that only some formats have and that leave open what a good answer is. Any other may ask for something that a
/// text written beforehand isn't.
const HARMLESS: [&str; 9] = [
    "cache_control",
    "logit_bias",
    "min_p",
    "reasoning",
    "repetition_penalty",
    "text",
    "thinking",
    "truncation",
    "verbosity",
];

/// A chat with the members of a chat completion request.
///
/// # Errors
/// Where it isn't one.
pub fn read_chat(request: Value) -> Result<Chat, Unsupported> {
    FormatId::OpenAiChat.format().read_request(request)
}

/// The question that a chat request with this chat asks, without a query, headers or a choice of targets.
#[must_use]
pub fn chat_question(chat: &Chat, ignored: &[String], namespace: Option<&str>) -> Question {
    let apart = [namespace, None, None, None, None, None, None];
    Question::of_chat(chat, &Partition { ignored, apart: &apart, provider_keeps_answers: false })
}

/// What curated entries are asked with for a chat request. None where no curated entry may answer: in a conversation of
/// several turns the last text alone doesn't say what is asked, and who demands a tool call or JSON isn't served with prose.
#[must_use]
pub fn chat_context(chat: &Chat, namespace: Option<&str>) -> Option<ChatContext> {
    let is_open = !chat.is_continuation()
        && chat.uncacheable.is_none()
        && chat.retention != Retention::Changing
        && chat.output == Output::Text
        && matches!(chat.tool_choice, ToolChoice::Auto | ToolChoice::None)
        && has_only(&chat.extra, &HARMLESS);
    let (last, before) = chat.messages.split_last()?;
    if !is_open || last.role != Role::User || last.parts.len() != 1 || !is_plain(last) {
        return None;
    }
    if !before.iter().all(|message| matches!(message.role, Role::System | Role::Developer) && is_plain(message)) {
        return None;
    }
    let system: Vec<String> = before.iter().map(|message| message.text("")).collect();
    Some(ChatContext {
        model: Some(chat.model.clone()).filter(|model| !model.is_empty()),
        system: (!system.is_empty()).then(|| system.join("\n")),
        namespace: namespace.map(str::to_owned),
    })
}

/// Whether a message says nothing but texts.
fn is_plain(message: &Message) -> bool {
    let is_text = |part: &Part| part.as_text().is_some() && has_only(&part.extra, &["cache_control"]);
    message.extra.is_empty() && message.parts.iter().all(is_text)
}

fn has_only(extra: &Extra, names: &[&str]) -> bool {
    extra.get().is_none_or(|(_, members)| members.keys().all(|name| names.contains(&name.as_str())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn context(chat: &Value) -> Option<ChatContext> {
        chat_context(&read_chat(chat.clone()).ok()?, Some("n"))
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
