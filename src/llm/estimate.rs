//! How many tokens a request takes, about, where no provider can be asked.

use serde_json::Value;

use super::chat::{Chat, Content, Message, Output, Part, Source, Tool};

/// Bytes of text in a token, about: English prose with a tokenizer of 100,000 tokens or more.
const BYTES: usize = 4;
/// Tokens around a message, a tool or a part. Arbitrary, from OpenAI's cookbook.
const OVERHEAD: usize = 4;
/// Tokens of a picture: most providers scale larger ones down to about this.
const IMAGE: usize = 1600;
/// Tokens of a document that isn't in the request, and of the shortest one that is: a page.
const PAGE: usize = 1500;
/// Base64 bytes of a document for each token. PDFs hold far more than their text.
const DOCUMENT_BYTES: usize = 60;

/// The tokens of a request, about.
#[must_use]
pub fn estimate_tokens(chat: &Chat) -> u64 {
    let messages: usize = chat.messages.iter().map(of_message).sum();
    let tools: usize = chat.tools.iter().map(of_tool).sum();
    let schema = if let Output::JsonSchema { schema, .. } = &chat.output { of_json(schema) } else { 0 };
    (messages + tools + schema).try_into().unwrap_or(u64::MAX)
}

fn of_message(message: &Message) -> usize {
    OVERHEAD + message.parts.iter().map(of_part).sum::<usize>()
}

fn of_part(part: &Part) -> usize {
    match &part.content {
        Content::Text(text) | Content::Refusal(text) | Content::Reasoning(text) => of_text(text),
        Content::Image(_) => IMAGE,
        Content::Document { source: Source::Text(text), .. } => of_text(text),
        Content::Document { source: Source::Base64 { data, .. }, .. } => PAGE.max(data.len() / DOCUMENT_BYTES),
        Content::Document { .. } | Content::Audio { .. } => PAGE,
        Content::ToolCall(call) => OVERHEAD + of_text(&call.name) + of_text(&call.arguments),
        Content::ToolResult(result) => OVERHEAD + result.parts.iter().map(of_part).sum::<usize>(),
        Content::Foreign(_, whole) => of_json(whole),
    }
}

fn of_tool(tool: &Tool) -> usize {
    OVERHEAD
        + match tool {
            Tool::Function { name, description, parameters, .. } => {
                let description = description.as_deref().map_or(0, of_text);
                of_text(name) + description + parameters.as_ref().map_or(0, of_json)
            }
            Tool::Foreign(_, whole) => of_json(whole),
        }
}

fn of_text(text: &str) -> usize {
    text.len().div_ceil(BYTES)
}

fn of_json(value: &Value) -> usize {
    of_text(&value.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::llm::chat::{Role, ToolResult};

    #[test]
    fn texts_count_by_length_and_pictures_by_number() {
        let picture = Part::new(Content::Image(Source::Url("https://example.com/a.png".into())));
        let result =
            ToolResult { call_id: "a".into(), parts: vec![Part::text("x".repeat(40)), picture], is_error: false };
        let chat = Chat {
            messages: vec![
                Message::new(Role::User, vec![Part::text("x".repeat(400))]),
                Message::new(Role::Tool, vec![Part::new(Content::ToolResult(result))]),
            ],
            tools: vec![Tool::Foreign(crate::llm::FormatId::Anthropic, json!({"type": "bash"}))],
            ..Chat::default()
        };
        assert_eq!(estimate_tokens(&chat), 4 + 100 + 8 + 10 + 1600 + 4 + 4);
        assert_eq!(estimate_tokens(&Chat::default()), 0);
    }

    #[test]
    fn documents_count_by_size() {
        let document = |source| Part::new(Content::Document { source, name: None });
        let large = Source::Base64 { media_type: "application/pdf".into(), data: "A".repeat(600_000) };
        assert_eq!(of_part(&document(large)), 10_000);
        assert_eq!(of_part(&document(Source::File("f".into()))), PAGE);
        assert_eq!(of_part(&document(Source::Text("x".repeat(8000)))), 2000);
    }
}
