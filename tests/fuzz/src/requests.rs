//! Bodies of requests: each is read or refused, and what was read means the same wherever it is written.

use std::collections::HashSet;

use serde_json::Value;

use crate::bodies;
use crate::llm::chat::Content;
use crate::llm::estimate::estimate_tokens;
use crate::llm::{Chat, FormatId, without_unsigned_thinking};
use crate::prompt::{Partition, Question};

/// A model of each format's own.
fn model(format: FormatId) -> &'static str {
    match format {
        FormatId::OpenAiChat => "gpt-4.1",
        FormatId::OpenAiCompletions => "gpt-3.5-turbo-instruct",
        FormatId::OpenAiResponses => "gpt-5.1",
        FormatId::Anthropic => "claude-sonnet-4-5",
        FormatId::Gemini => "gemini-2.5-pro",
        FormatId::Bedrock => "anthropic.claude-sonnet-4-5-20250929-v1:0",
    }
}

pub(crate) fn check(format: FormatId, bytes: &[u8]) {
    bodies::patch(bytes);
    let Some(document) = bodies::parse(bytes) else { return };
    if !document.value.is_object() {
        return;
    }
    if format == FormatId::Anthropic {
        let _ = without_unsigned_thinking(&document.value);
    }
    let Ok(chat) = format.format().read_request(document.value) else { return };
    let _ = estimate_tokens(&chat);
    assert_eq!(question(&chat), question(&chat.clone()));
    // One that nothing is converted into is written in itself all the same.
    let itself = Some(format).filter(|format| !FormatId::ALL.contains(format));
    for to in FormatId::ALL.into_iter().chain(itself) {
        let _ = to.format().path(&chat.model, chat.delivery.is_stream());
        let Ok(written) = to.format().write_request(&chat, model(to)) else { continue };
        let Some(again) = read(to, &written) else { continue };
        if to == format && is_coherent(&again) {
            let written = to.format().write_request(&again, model(to)).expect("what was written is written again");
            assert_eq!(read(to, &written).as_ref(), Some(&again), "it isn't the same when it is read again\n{written}");
        }
    }
}

/// Whether each result is one of a call that was made before, and no two calls have the same id. Writers move others.
fn is_coherent(chat: &Chat) -> bool {
    let mut called = HashSet::new();
    chat.messages.iter().flat_map(|message| &message.parts).all(|part| match &part.content {
        Content::ToolCall(call) => called.insert(call.id.as_str()),
        Content::ToolResult(result) => called.contains(result.call_id.as_str()),
        _ => true,
    })
}

/// What is written, read again with its spelling on the wire. A hollow chat is hollow in any format, and may be refused.
fn read(format: FormatId, written: &Value) -> Option<Chat> {
    format.format().read_request(bodies::again(&written.to_string())?).ok()
}

fn question(chat: &Chat) -> Question {
    Question::of_chat(chat, &Partition::default())
}
