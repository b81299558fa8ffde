//! What tests share.

mod replies;
mod requests;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::llm::chat::Chat;
use crate::llm::golden::events;
use crate::llm::openai_responses::OWN;
use crate::llm::{Answer, Assembler, Delta, Event, FormatId, Frame, StreamFault, playback};

fn read(body: Value) -> Chat {
    OWN.format().read_request(body).unwrap()
}

fn asks(members: Value) -> Chat {
    let mut body = json!({"model": "m", "input": "Hi"});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    read(body)
}

fn frame() -> Frame {
    Frame { id: "01X".into(), model: "asked".into(), created: 7, ..Frame::default() }
}

fn cases(name: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(OWN.name());
    let cases = fs::read_dir(folder).unwrap().map(|case| case.unwrap().path());
    let mut found: Vec<_> = cases
        .filter_map(|case| Some((case.file_name()?.to_str()?.to_owned(), fs::read_to_string(case.join(name)).ok()?)))
        .collect();
    found.sort();
    assert!(found.len() > 5);
    found
}

fn streamed(events: &[Event]) -> (Result<(), StreamFault>, Vec<Delta>) {
    let (mut reader, mut out) = (OWN.format().stream_reader(), Vec::new());
    for event in events {
        if let Err(fault) = reader.read(event, &mut out) {
            return (Err(fault), out);
        }
    }
    (reader.finish(&mut out), out)
}

fn assembled(deltas: Vec<Delta>) -> Option<Answer> {
    let mut assembler = Assembler::default();
    let begun = |delta: &Delta| if let Delta::PartBegin { index, .. } = delta { Some(*index) } else { None };
    let indices: Vec<usize> = deltas.iter().filter_map(begun).collect();
    assert_eq!(indices, (0..indices.len()).collect::<Vec<_>>());
    deltas.into_iter().for_each(|delta| assembler.add(delta));
    assembler.finish()
}

fn written(deltas: &[Delta], frame: &Frame) -> Vec<Value> {
    let (mut writer, mut out) = (OWN.format().stream_writer(frame), String::new());
    deltas.iter().for_each(|delta| writer.write(delta, &mut out));
    writer.finish(&mut out);
    let events: Vec<Value> = events(&out).iter().map(|event| serde_json::from_str(&event.data).unwrap()).collect();
    assert!(events.iter().enumerate().all(|(index, event)| event["sequence_number"] == index));
    events
}

fn event(data: &Value) -> Event {
    Event { name: String::new(), data: data.to_string() }
}

/// `value` with each of its nodes changed in turn by `change`, and where.
fn changed(value: &Value, change: &dyn Fn(&Value) -> Vec<Value>) -> Vec<(String, Value)> {
    fn walk(value: &Value, path: &str, found: &mut Vec<String>) {
        found.push(path.to_owned());
        match value {
            Value::Object(members) => {
                members.iter().for_each(|(name, value)| walk(value, &format!("{path}/{name}"), found));
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, value)| walk(value, &format!("{path}/{index}"), found));
            }
            _ => {}
        }
    }
    let mut paths = Vec::new();
    walk(value, "", &mut paths);
    let mut all = Vec::new();
    for path in paths {
        for new in change(value.pointer(&path).unwrap()) {
            let mut whole = value.clone();
            *whole.pointer_mut(&path).unwrap() = new;
            all.push((path.clone(), whole));
        }
    }
    all
}

#[test]
fn nothing_panics_whatever_comes() {
    let odd = |value: &Value| {
        let mut all = vec![json!(null), json!(-1e300), json!("\u{e9}"), json!([[1]]), json!({"type": 5})];
        all.retain(|new| new != value);
        all
    };
    let write = |chat: &Chat| FormatId::ALL.map(|format| format.format().write_request(chat, "m").is_ok());
    for (_, body) in changed(&requests::rich(), &odd) {
        if let Ok(chat) = OWN.format().read_request(body) {
            write(&chat);
        }
    }
    for (_, text) in cases("reply.json") {
        for (_, body) in changed(&serde_json::from_str(&text).unwrap(), &odd).into_iter().step_by(5) {
            if let Ok(answer) = OWN.format().read_reply(body) {
                let _ = OWN.format().write_reply(&answer, &frame());
                written(&playback(&answer), &frame());
            }
        }
    }
    for (_, text) in cases("stream.sse") {
        let all = events(&text);
        for (at, each) in all.iter().enumerate() {
            let Ok(data) = serde_json::from_str(&each.data) else { continue };
            for (_, data) in changed(&data, &odd).into_iter().step_by(47) {
                let mut all = all.clone();
                all[at] = event(&data);
                let (_, deltas) = streamed(&all);
                written(&deltas, &frame());
                let _ = OWN.format().terminal(&all[at]);
            }
        }
    }
}
