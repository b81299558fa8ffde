//! Whole replies and refusals of providers.

use std::collections::HashSet;

use crate::bodies;
use crate::llm::chat::Content;
use crate::llm::{Answer, Assembler, Finish, FormatId, Frame, playback};

pub(crate) fn check(format: FormatId, bytes: &[u8]) {
    refusal(format, bytes);
    let Some(document) = bodies::parse(bytes) else { return };
    let _ = FormatId::of_reply(&document.value.to_string());
    let Ok(answer) = format.format().read_reply(document.value) else { return };
    let mut assembler = Assembler::default();
    playback(&answer).into_iter().for_each(|delta| assembler.add(delta));
    assert_eq!(assembler.finish().as_ref(), Some(&answer), "an answer that is played back is another one");
    if !has_distinct_calls(&answer) {
        return;
    }
    for to in FormatId::ALL {
        let frame = Frame { id: "id".into(), model: "m".into(), created: 1, include_usage: true, chat: None };
        let written = to.format().write_reply(&answer, &frame).to_string();
        let Some(again) = bodies::again(&written) else { continue };
        let again = to.format().read_reply(again);
        let again =
            again.unwrap_or_else(|why| panic!("what is written in {} can't be read: {why}\n{written}", to.name()));
        same(to, &answer, &again, &written);
    }
}

/// Refusals can be anything.
fn refusal(format: FormatId, bytes: &[u8]) {
    let header = |name: &str| (name == "x-amzn-errortype").then(|| String::from_utf8_lossy(bytes).into_owned());
    let status = [400, 429, 503][bytes.len() % 3];
    let error = format.format().read_error(status, &header, bytes);
    for to in FormatId::ALL {
        let written = to.format().write_error(&error).to_string();
        bodies::again(&written).expect("a refusal isn't deep");
        to.format().stream_writer(&Frame::default()).fail(&error, &mut String::new());
    }
}

/// An answer that went through the format `through` says and calls the same, and isn't complete where it wasn't.
pub(crate) fn same(through: FormatId, before: &Answer, after: &Answer, written: &str) {
    assert_eq!(said(after), said(before), "{}\n{written}", through.name());
    assert_eq!(called(after), called(before), "{}\n{written}", through.name());
    assert!(!is_complete(after) || is_complete(before), "{:?}: {}\n{written}", before.finish, through.name());
}

/// Whether no two of its calls have the same id: pieces of a stream are told apart by it.
pub(crate) fn has_distinct_calls(answer: &Answer) -> bool {
    let ids = answer.parts.iter().filter_map(|part| match &part.content {
        Content::ToolCall(call) => Some(call.id.as_str()),
        _ => None,
    });
    let mut seen = HashSet::new();
    ids.into_iter().all(|id| seen.insert(id))
}

/// What it says; refusals too, which are texts to some formats.
fn said(answer: &Answer) -> String {
    let texts = answer.parts.iter().filter_map(|part| match &part.content {
        Content::Text(text) | Content::Refusal(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

/// The tools that it calls.
fn called(answer: &Answer) -> Vec<&str> {
    let calls = answer.parts.iter().filter_map(|part| match &part.content {
        Content::ToolCall(call) => Some(call.name.as_str()),
        _ => None,
    });
    calls.collect()
}

fn is_complete(answer: &Answer) -> bool {
    matches!(answer.finish, Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls)
}
