mod properties;
mod replies;
mod requests;

use serde_json::{Value, json};

use super::FORMAT;
use crate::llm::chat::{Content, Issuer, Message, Part, Role, Seal, SealKind, ToolCall, ToolResult};
use crate::llm::error::StreamFault;
use crate::llm::{Answer, Assembler, Chat, Delta, Event, FormatId, Frame, golden};

const OLD: &str = "gemini-2.5-flash";
const NEW: &str = "gemini-3.5-flash";

/// A request in another format.
fn chat(messages: Vec<Message>) -> Chat {
    Chat { format: FormatId::OpenAiChat, messages, ..Chat::default() }
}

fn asking() -> Chat {
    chat(vec![said(Role::User, "hi")])
}

fn said(role: Role, text: &str) -> Message {
    Message::new(role, vec![Part::text(text)])
}

fn call(id: &str, name: &str, arguments: &str) -> Part {
    Part::new(Content::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() }))
}

fn result(id: &str, parts: Vec<Part>, is_error: bool) -> Message {
    let content = Content::ToolResult(ToolResult { call_id: id.into(), parts, is_error });
    Message::new(Role::Tool, vec![Part::new(content)])
}

fn sealed(mut part: Part, issuer: Issuer, value: &str) -> Part {
    part.seal = Some(Seal { issuer, kind: SealKind::Signature, value: value.into() });
    part
}

fn written(chat: &Chat, model: &str) -> Value {
    FORMAT.write_request(chat, model).unwrap()
}

fn refused(chat: &Chat) -> String {
    FORMAT.write_request(chat, OLD).unwrap_err().field
}

fn contents(messages: Vec<Message>, model: &str) -> Value {
    written(&chat(messages), model)["contents"].take()
}

/// The part that a user's part becomes.
fn event(data: &Value) -> Event {
    Event { name: String::new(), data: data.to_string() }
}

/// What comes of a stream: its steps, and its fault.
fn streamed(events: &[Value]) -> (Vec<Delta>, Option<StreamFault>) {
    let (mut reader, mut out) = (FORMAT.stream_reader(), Vec::new());
    for told in events {
        if let Err(fault) = reader.read(&event(told), &mut out) {
            return (out, Some(fault));
        }
    }
    let fault = reader.finish(&mut out).err();
    (out, fault)
}

fn assembled(events: &[Value]) -> Answer {
    let (deltas, fault) = streamed(events);
    assert_eq!(fault, None);
    assemble(deltas)
}

fn assemble(deltas: Vec<Delta>) -> Answer {
    let mut assembler = Assembler::default();
    deltas.into_iter().for_each(|delta| assembler.add(delta));
    assembler.finish().unwrap()
}

fn reply(parts: Value, reason: &str) -> Value {
    let content = json!({"parts": parts, "role": "model"});
    json!({"candidates": [{"content": content, "finishReason": reason, "index": 0}], "responseId": "r1"})
}

fn golden_inputs(file: &str) -> Vec<Value> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gemini");
    let cases = std::fs::read_dir(folder).unwrap().map(|case| case.unwrap().path().join(file));
    cases.filter_map(|path| Some(serde_json::from_str(&std::fs::read_to_string(path).ok()?).unwrap())).collect()
}

/// An event with these parts.
fn parts(parts: Value) -> Value {
    json!({"candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0}], "responseId": "r1"})
}

fn through_a_stream(deltas: &[Delta]) -> Answer {
    let (mut writer, mut out) = (FORMAT.stream_writer(&Frame::default()), String::new());
    deltas.iter().for_each(|delta| writer.write(delta, &mut out));
    writer.finish(&mut out);
    let events = golden::events(&out);
    assembled(&events.iter().map(|event| serde_json::from_str(&event.data).unwrap()).collect::<Vec<_>>())
}
