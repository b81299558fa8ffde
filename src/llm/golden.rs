//! Golden files: what each format's requests, replies, streams and errors become in every format.
//!
//! `tests/golden/FORMAT/CASE/` holds one or more of `request.json`, `reply.json`, `stream.sse` and `error.json`, written by
//! hand in that format, and beside each what it becomes: `request.OTHER.json` and so on, for every format, its own included.
//! `REFRAIN_GOLDEN=write` writes those anew, for review as a diff. A stream of Bedrock's is written down as events, one
//! server-sent event for each of its frames. An error is `{"status", "headers", "body"}`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Delta, Document, Event, FormatId, Frame, ProviderError, StreamFault};

fn frame(chat: Option<super::Chat>) -> Frame {
    Frame {
        id: "01GOLDEN".into(),
        model: "asked-for".into(),
        created: 1_764_000_000,
        include_usage: true,
        chat: chat.map(Arc::new),
    }
}

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

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn request(from: FormatId, to: FormatId, text: &str) -> String {
    let document = Document::parse(text.as_bytes()).unwrap();
    let chat = from.format().read_request(document.value);
    match chat.and_then(|chat| to.format().write_request(&chat, model(to))) {
        Ok(written) => pretty(&written),
        Err(unsupported) => pretty(&json!({"unsupported": unsupported.to_string()})),
    }
}

fn reply(from: FormatId, to: FormatId, text: &str) -> String {
    match from.format().read_reply(serde_json::from_str(text).unwrap()) {
        Ok(answer) => pretty(&to.format().write_reply(&answer, &frame(None))),
        Err(malformed) => pretty(&json!({"malformed": malformed.to_string()})),
    }
}

/// Events as they stand in a file.
pub(super) fn events(text: &str) -> Vec<Event> {
    let mut events = Vec::new();
    for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let mut event = Event::default();
        for line in block.lines() {
            if let Some(name) = line.strip_prefix("event:") {
                event.name = name.trim().into();
            } else if let Some(data) = line.strip_prefix("data:") {
                event.data.push_str(data.trim_start());
            }
        }
        events.push(event);
    }
    events
}

fn stream(from: FormatId, to: FormatId, text: &str) -> String {
    let (mut reader, mut writer) = (from.format().stream_reader(), to.format().stream_writer(&frame(None)));
    let mut out = String::new();
    let mut fault = None;
    let mut deltas: Vec<Delta> = Vec::new();
    for event in events(text) {
        if let Err(why) = reader.read(&event, &mut deltas) {
            fault = Some(why);
            break;
        }
        if reader.is_complete() {
            break;
        }
    }
    if fault.is_none() {
        fault = reader.finish(&mut deltas).err();
    }
    deltas.iter().for_each(|delta| writer.write(delta, &mut out));
    match fault {
        None => writer.finish(&mut out),
        Some(StreamFault::Provider(error)) => writer.fail(&error, &mut out),
        Some(other) => writer.fail(&ProviderError::new(502, other.to_string()), &mut out),
    }
    out
}

fn error(from: FormatId, to: FormatId, text: &str) -> String {
    let told: Value = serde_json::from_str(text).unwrap();
    let body = match &told["body"] {
        Value::String(text) => text.clone(),
        body => body.to_string(),
    };
    let header = |name: &str| told["headers"][name].as_str().map(str::to_owned);
    let status = u16::try_from(told["status"].as_u64().unwrap()).unwrap();
    let error = from.format().read_error(status, &header, body.as_bytes());
    pretty(&json!({"status": error.status, "retry_after": error.retry_after.map(|wait| wait.as_secs_f64()),
        "body": to.format().write_error(&error)}))
}

type Convert = fn(FormatId, FormatId, &str) -> String;

const KINDS: [(&str, &str, Convert); 4] =
    [("request", "json", request), ("reply", "json", reply), ("stream", "sse", stream), ("error", "json", error)];

fn cases(format: FormatId) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format.name());
    let Ok(found) = fs::read_dir(folder) else { return Vec::new() };
    let mut cases: Vec<PathBuf> = found.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

#[test]
fn every_format_becomes_every_other_as_the_golden_files_say() {
    let is_writing = std::env::var("REFRAIN_GOLDEN").is_ok_and(|how| how == "write");
    let (mut compared, mut wrong) = (0, Vec::new());
    for from in FormatId::ALL {
        for case in cases(from) {
            for (kind, ending, convert) in KINDS {
                let Ok(text) = fs::read_to_string(case.join(format!("{kind}.{ending}"))) else { continue };
                for to in FormatId::ALL {
                    let written = convert(from, to, &text);
                    let path = case.join(format!("{kind}.{}.{ending}", to.name()));
                    compared += 1;
                    if is_writing {
                        fs::write(&path, &written).unwrap();
                    } else if fs::read_to_string(&path).unwrap_or_default() != written {
                        wrong.push(format!("{} is now:\n{written}", path.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 0 || is_writing, "there are no golden files");
}
