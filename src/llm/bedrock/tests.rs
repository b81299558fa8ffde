//! What Converse says, read and written again.

use serde_json::{Map, Value, json};

use super::FORMAT;
use crate::llm::chat::{Chat, Content, Extra, Issuer, Part, Seal, SealKind, ToolCall};
use crate::llm::golden::events;
use crate::llm::{Answer, Assembler, Delta, Event, Finish, FormatId, Frame, StreamFault, Terminal, Usage, playback};

const OLD: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

/// `value` with each of its nodes in turn replaced by each of some odd values, and where.
fn spoilt(value: &Value) -> Vec<(String, Value)> {
    let odd = [json!(null), json!(true), json!(-1.5), json!(u64::MAX), json!("\u{fc}{"), json!([[5]]), json!({"": {}})];
    let mut all: Vec<_> = odd.into_iter().filter(|odd| odd != value).map(|odd| (String::new(), odd)).collect();
    let inner: Vec<(String, &Value)> = match value {
        Value::Array(items) => items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect(),
        Value::Object(members) => members.iter().map(|(name, member)| (name.clone(), member)).collect(),
        _ => Vec::new(),
    };
    for (step, item) in inner {
        for (place, other) in spoilt(item) {
            let mut whole = value.clone();
            match &mut whole {
                Value::Array(items) => items[step.parse::<usize>().unwrap()] = other,
                whole => whole[&step] = other,
            }
            all.push((format!("/{step}{place}"), whole));
        }
    }
    all
}

fn rich_request() -> Value {
    json!({
        "system": [{"text": "s"}, {"cachePoint": {"type": "default"}}, {"guardContent": {"text": {"text": "g"}}}],
        "messages": [
            {"role": "user", "content": [
                {"text": "t"}, {"cachePoint": {"type": "default", "ttl": "1h"}},
                {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
                {"document": {"format": "pdf", "name": "d", "source": {"bytes": "AAAA"}, "context": "c",
                    "citations": {"enabled": true}}},
                {"document": {"format": "md", "name": "e", "source": {"text": "x"}}},
                {"audio": {"format": "mp3", "source": {"bytes": "AAAA"}}},
                {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://b/k"}}}}], "novel": 1},
            {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "h", "signature": "s"}}},
                {"reasoningContent": {"redactedContent": "RXRN"}},
                {"citationsContent": {"content": [{"text": "cited"}], "citations": [{"title": "t"}]}},
                {"toolUse": {"toolUseId": "a", "name": "f", "input": {"x": 1}, "novel": 1}}]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "a", "content": [{"json": {"y": 2}}, {"text": "r"}],
                    "status": "error", "novel": 1}},
                {"text": "u"}]},
        ],
        "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["a"], "novel": 1},
        "toolConfig": {"tools": [
            {"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": {"type": "object"}},
                "strict": true, "novel": 1}},
            {"cachePoint": {"type": "default"}}, {"systemTool": {"name": "n"}}],
            "toolChoice": {"tool": {"name": "f"}}, "novel": 1},
        "outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {
            "schema": "{\"type\":\"object\",\"additionalProperties\":false}", "name": "n",
                "description": "d"}}}, "novel": 1},
        "additionalModelRequestFields": {"top_k": 3, "thinking": {"type": "enabled", "budget_tokens": 2000}},
        "guardrailConfig": {"guardrailIdentifier": "g"}, "requestMetadata": {"a": "b"}, "novel": {"a": 1},
    })
}

fn rich_reply() -> Value {
    json!({"output": {"message": {"role": "assistant", "content": [
        {"reasoningContent": {"reasoningText": {"text": "h", "signature": "s"}}},
        {"reasoningContent": {"redactedContent": "RXRN"}},
        {"text": "Gr\u{fc}ezi "}, {"text": "\u{1f44b}"},
        {"citationsContent": {"content": [{"text": "b"}], "citations": [{"title": "t"}]}},
        {"toolUse": {"toolUseId": "s", "name": "search", "input": {}, "type": "server_tool_use"}},
        {"toolResult": {"toolUseId": "s", "content": []}},
        {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": ["\u{e9}", 1.0]}, "type": "tool_use"}}],
            "novel": 1}, "novel": 2},
        "stopReason": "tool_use", "usage": {"inputTokens": 4, "outputTokens": 3, "totalTokens": 7},
        "metrics": {"latencyMs": 5}, "novel": 3})
}

fn event(name: &str, data: Value) -> Event {
    Event { name: name.into(), data: data.to_string() }
}

fn delta(index: u64, delta: Value) -> Event {
    event("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta, "p": "ab"}))
}

fn stream() -> Vec<Event> {
    let usage = json!({"inputTokens": 4, "outputTokens": 3, "totalTokens": 9, "cacheReadInputTokens": 2});
    vec![
        event("messageStart", json!({"role": "assistant", "p": "abcd"})),
        event("contentBlockStart", json!({"contentBlockIndex": 0, "start": {"reasoningContent": {}}})),
        delta(0, json!({"reasoningContent": {"text": "Hm."}})),
        delta(0, json!({"reasoningContent": {"signature": "s"}})),
        event("contentBlockStop", json!({"contentBlockIndex": 0})),
        delta(1, json!({"text": "Gr\u{fc}ezi "})),
        event("somethingNew", json!(5)),
        delta(1, json!({"text": "\u{1f44b}"})),
        delta(1, json!({"citation": {"title": "A"}})),
        event("contentBlockStop", json!({"contentBlockIndex": 1})),
        event(
            "contentBlockStart",
            json!({"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}}),
        ),
        delta(2, json!({"toolUse": {"input": "{\"a\":1}"}})),
        event("messageStop", json!({"stopReason": "end_turn"})),
        event("metadata", json!({"usage": usage, "metrics": {"latencyMs": 1}})),
    ]
}

fn read_all(events: &[Event]) -> (Vec<Delta>, Result<(), StreamFault>) {
    let (mut reader, mut out) = (FORMAT.stream_reader(), Vec::new());
    let read = events.iter().try_for_each(|event| reader.read(event, &mut out));
    let result = read.and_then(|()| reader.finish(&mut out));
    (out, result)
}

fn assembled(deltas: Vec<Delta>) -> Answer {
    let mut assembler = Assembler::default();
    deltas.into_iter().for_each(|delta| assembler.add(delta));
    assembler.finish().unwrap()
}

#[test]
fn whatever_comes_nothing_panics() {
    for (_, request) in spoilt(&rich_request()) {
        if let Ok(chat) = FORMAT.read_request(request) {
            let _ = FORMAT.write_request(&chat, OLD);
            let _ = FORMAT.write_request(&Chat { format: FormatId::OpenAiChat, ..chat }, OLD);
        }
    }
    let answer = FORMAT.read_reply(rich_reply()).unwrap();
    for (_, reply) in spoilt(&rich_reply()) {
        let _ = FORMAT.read_error(500, &|_| Some("\u{fc}:#".into()), reply.to_string().as_bytes());
        let mut members = reply.as_object().cloned().unwrap_or_default();
        let _ = FORMAT.read_reply(reply).map(|answer| FORMAT.write_reply(&answer, &Frame::default()));
        members.extend([("output".to_owned(), json!(5))]);
        let answer = Answer { extra: Extra::new(FormatId::Bedrock, members), ..answer.clone() };
        let _ = FORMAT.write_reply(&answer, &Frame::default());
    }
    let events = stream();
    for (place, event) in events.iter().enumerate() {
        for (_, data) in spoilt(&serde_json::from_str(&event.data).unwrap()) {
            let mut events = events.clone();
            events[place].data = data.to_string();
            let (deltas, _) = read_all(&events);
            let (mut writer, mut out) = (FORMAT.stream_writer(&Frame::default()), String::new());
            deltas.iter().for_each(|delta| writer.write(delta, &mut out));
            writer.finish(&mut out);
            let _ = FORMAT.terminal(&events[place]);
        }
    }
}

#[test]
fn requests_that_differ_read_differently() {
    let rich = FORMAT.read_request(rich_request()).unwrap();
    let mut compared = 0;
    for (place, other) in spoilt(&rich_request()) {
        let is_unseen = place.starts_with("/requestMetadata") || place.contains("/cachePoint");
        let Ok(chat) = FORMAT.read_request(other) else { continue };
        if !is_unseen {
            compared += 1;
            assert_ne!(Chat { unseen: Map::new(), ..chat }, Chat { unseen: Map::new(), ..rich.clone() }, "{place}");
        }
    }
    assert!(compared > 300, "{compared}");
    let least = FORMAT.read_request(json!({"messages": [{"role": "user", "content": [{"text": "a"}]}]})).unwrap();
    for (member, says_nothing) in [
        ("system", json!([])),
        ("inferenceConfig", json!({"topP": 1.0, "stopSequences": [], "maxTokens": null})),
        ("toolConfig", json!({"tools": [], "toolChoice": {"auto": {}}})),
        ("outputConfig", json!({})),
        ("additionalModelRequestFields", json!(null)),
    ] {
        let mut request = json!({"messages": [{"role": "user", "content": [{"text": "a"}]}]});
        request[member] = says_nothing;
        assert_eq!(FORMAT.read_request(request).unwrap(), least, "{member}");
    }
    assert_eq!(rich.indispensable, Some("guardrailConfig"));
    assert!(rich.uncacheable.is_some() && least.uncacheable.is_none());
    assert_eq!((rich.sampling.top_k, rich.reasoning.budget), (Some(3), Some(2000)));
}

#[test]
fn what_was_read_is_written_again() {
    let rich = rich_request();
    let chat = FORMAT.read_request(rich.clone()).unwrap();
    assert_eq!(FORMAT.write_request(&chat, OLD).unwrap(), rich);
    let answer = FORMAT.read_reply(rich_reply()).unwrap();
    assert_eq!(FORMAT.write_reply(&answer, &Frame::default()), rich_reply());
    assert_eq!((answer.finish.clone(), answer.lossy.clone()), (Finish::ToolCalls, None));
    let seal = |kind, value: &str| Some(Seal { issuer: Issuer::Anthropic, kind, value: value.into() });
    assert_eq!(answer.parts[0].seal, seal(SealKind::Signature, "s"));
    assert_eq!(answer.parts[1].seal, seal(SealKind::Encrypted, "EtM"));
}

#[test]
fn streams_come_to_whole_replies_and_back() {
    let (deltas, result) = read_all(&stream());
    assert_eq!(result, Ok(()));
    let answer = assembled(deltas);
    let whole = json!({"output": {"message": {"role": "assistant", "content": [
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s"}}},
        {"citationsContent": {"content": [{"text": "Gr\u{fc}ezi \u{1f44b}"}], "citations": [{"title": "A"}]}},
        {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}, "type": "tool_use"}}]}},
        "stopReason": "tool_use", "metrics": {"latencyMs": 1},
        "usage": {"inputTokens": 4, "outputTokens": 3, "totalTokens": 9, "cacheReadInputTokens": 2}});
    let mut told = FORMAT.write_reply(&answer, &Frame::default());
    // The word that the stream had is kept.
    assert_eq!(told["stopReason"].take(), "end_turn");
    told["stopReason"] = "tool_use".into();
    assert_eq!(told, whole);
    assert_eq!(answer.usage.as_ref().map(|usage| (usage.input, usage.cached_input, usage.output)), Some((6, 2, 3)));

    let mut replies = vec![FORMAT.read_reply(whole).unwrap(), answer];
    let mut without = rich_reply();
    let content = without["output"]["message"]["content"].as_array_mut().unwrap();
    content.retain(|block| block.get("toolResult").is_none() && block["toolUse"]["toolUseId"] != "s");
    without["output"] = json!({"message": {"role": "assistant", "content": content}});
    replies.push(FORMAT.read_reply(without).unwrap());
    for answer in replies {
        let (mut writer, mut out) = (FORMAT.stream_writer(&Frame::default()), String::new());
        playback(&answer).iter().for_each(|delta| writer.write(delta, &mut out));
        writer.finish(&mut out);
        let (deltas, result) = read_all(&events(&out));
        assert_eq!(result, Ok(()));
        assert_eq!(assembled(deltas), answer);
    }
}

#[test]
fn parts_that_grow_by_turns_are_written_one_after_the_other() {
    let (mut writer, mut out) = (FORMAT.stream_writer(&Frame::default()), String::new());
    let begin = |index, part| Delta::PartBegin { index, part };
    let grow = |index, text: &str| Delta::PartGrow { index, text: text.into() };
    for delta in [
        Delta::Begin(Answer::default()),
        begin(0, call("a", "")),
        begin(1, call("b", "")),
        grow(1, "{"),
        grow(0, "{}"),
        grow(1, "}"),
        Delta::PartEnd { index: 0, seal: None, extra: Extra::default() },
        Delta::Finish(Finish::ToolCalls),
    ] {
        writer.write(&delta, &mut out);
    }
    writer.finish(&mut out);
    let indices: Vec<_> = events(&out)
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(&event.data).unwrap()["contentBlockIndex"].as_u64())
        .collect();
    assert_eq!(indices, [0, 0, 0, 1, 1, 1, 1]);
    let (deltas, _) = read_all(&events(&out));
    assert_eq!(assembled(deltas).parts, [call("a", "{}"), call("b", "{}")]);
}

#[test]
fn a_stream_that_ends_early_or_is_not_understood_is_no_answer() {
    let events = stream();
    let stop = events.len() - 2;
    for cut in 0..=stop {
        assert_eq!(read_all(&events[..cut]).1, Err(StreamFault::Truncated), "{cut}");
    }
    assert_eq!(read_all(&events[..=stop]).1, Ok(()));
    for (name, data) in [
        ("messageStart", "oops"),
        ("messageStart", ""),
        ("messageStart", "[]"),
        ("contentBlockDelta", "{\"contentBlockIndex\":0}"),
        ("contentBlockDelta", "{\"contentBlockIndex\":0,\"delta\":{\"text\":5}}"),
        ("contentBlockDelta", "{\"contentBlockIndex\":0,\"delta\":{\"toolUse\":{\"input\":\"{\"}}}"),
        ("contentBlockStart", "{\"contentBlockIndex\":0,\"start\":{\"toolUse\":{\"name\":\"f\"}}}"),
        ("contentBlockStart", "{\"start\":{\"toolUse\":{\"toolUseId\":\"a\",\"name\":\"f\"}}}"),
        ("contentBlockStop", "{}"),
    ] {
        let (mut reader, mut out) = (FORMAT.stream_reader(), Vec::new());
        let fault = reader.read(&Event { name: name.into(), data: data.into() }, &mut out);
        assert!(matches!(fault, Err(StreamFault::Malformed(_))), "{name} {data}");
        let stop = event("messageStop", json!({"stopReason": "end_turn"}));
        assert_eq!(reader.read(&stop, &mut out), Err(StreamFault::Truncated));
        assert_eq!(reader.finish(&mut out), Err(StreamFault::Truncated));
    }
    for (name, data, message, status) in [
        ("throttlingException", "{\"message\":\"slow down\"}", "slow down", 429),
        ("modelStreamErrorException", "{\"originalMessage\":\"x\"}", "x", 502),
        ("internalServerException", "oops", "oops", 500),
        ("serviceUnavailableException", "{\"message\":\"x\"}", "x", 503),
        ("validationException", "{\"message\":\"x\"}", "x", 400),
        ("messageStop", "{\"stopReason\":\"malformed_tool_use\"}", "the model failed (malformed_tool_use)", 502),
    ] {
        let event = Event { name: name.into(), data: data.into() };
        let Err(StreamFault::Provider(error)) = read_all(std::slice::from_ref(&event)).1 else { panic!("{name}") };
        assert_eq!((error.message.as_str(), error.status), (message, status));
        assert_eq!(FORMAT.terminal(&event), Some(Terminal::Error));
    }
    let ends: Vec<_> = events.iter().filter_map(|event| FORMAT.terminal(event)).collect();
    assert_eq!(ends, [Terminal::Whole, Terminal::End]);
    // Usage may come first, and nothing follows both.
    let usage_first =
        [&events[..stop], &[events[stop + 1].clone(), events[stop].clone(), event("x", json!(1))]].concat();
    assert_eq!(read_all(&usage_first).1, Ok(()));
}

#[test]
fn what_is_no_answer_is_malformed() {
    let reply = |content: Value| json!({"output": {"message": {"content": content}}, "stopReason": "end_turn"});
    for body in [
        json!(null),
        json!({}),
        json!({"message": "Too many requests"}),
        json!({"output": {"message": {"content": []}}}),
        reply(json!("a")),
        reply(json!([{"text": 5}])),
        reply(json!(["a"])),
        reply(json!([{"toolUse": {"name": "f", "input": {}}}])),
        reply(json!([{"toolUse": {"toolUseId": "t", "name": "", "input": {}}}])),
    ] {
        assert!(FORMAT.read_reply(body.clone()).is_err(), "{body}");
    }
    for content in [json!([]), json!([{"text": ""}]), json!([{}])] {
        assert_eq!(FORMAT.read_reply(reply(content)).unwrap().parts, []);
    }
    assert_eq!(
        FORMAT.read_reply(reply(json!([{"image": {"format": "png"}}]))).unwrap().lossy.as_deref(),
        Some("image")
    );
    for (word, finish) in [
        ("stop_sequence", Finish::StopSequence(None)),
        ("model_context_window_exceeded", Finish::Length),
        ("content_filtered", Finish::ContentFilter),
        ("unheard_of", Finish::Other(FormatId::Bedrock, "unheard_of".into())),
    ] {
        let mut reply = reply(json!([{"text": "a"}]));
        reply["stopReason"] = word.into();
        let answer = FORMAT.read_reply(reply).unwrap();
        assert_eq!(answer.finish, finish);
        assert_eq!(FORMAT.write_reply(&answer, &Frame::default())["stopReason"], word);
    }
    let usage = Usage { input: 33, cached_input: 20, cache_write: 3, output: 7, ..Usage::default() };
    let answer = Answer { usage: Some(usage), ..Answer::of_text("a") };
    assert_eq!(
        FORMAT.write_reply(&answer, &Frame::default())["usage"],
        json!({"inputTokens": 10, "outputTokens": 7, "totalTokens": 40, "cacheReadInputTokens": 20,
            "cacheWriteInputTokens": 3})
    );
}

#[test]
fn errors_have_fitting_statuses_and_codes() {
    let read = |status, kind: Option<&str>, body: &str| {
        let error = FORMAT.read_error(
            status,
            &|name| kind.filter(|_| name == "x-amzn-errortype").map(str::to_owned),
            body.as_bytes(),
        );
        (error.status, error.message, error.code)
    };
    for (status, name, fitting) in [
        (400, "ValidationException", 400),
        (403, "AccessDeniedException", 403),
        (403, "UnrecognizedClientException", 401),
        (404, "ResourceNotFoundException", 404),
        (408, "ModelTimeoutException", 504),
        (424, "ModelErrorException", 502),
        (429, "ThrottlingException", 429),
        (429, "ModelNotReadyException", 503),
        (400, "ServiceQuotaExceededException", 429),
        (503, "ServiceUnavailableException", 503),
        (418, "NewException", 418),
    ] {
        let expected = (fitting, "x".to_owned(), Some(name.to_owned()));
        let header = format!("{name}:http://internal.amazon.com/coral/com.amazon.bedrock/");
        assert_eq!(read(status, Some(name), r#"{"message": "x"}"#), expected);
        assert_eq!(read(status, Some(&header), r#"{"Message": " x "}"#), expected);
        let body = json!({"__type": format!("com.amazon.coral.service#{name}"), "message": "x"});
        assert_eq!(read(status, None, &body.to_string()), expected);
    }
    assert_eq!(read(424, None, r#"{"error": {"message": "x"}}"#), (502, "x".into(), None));
    for message in
        ["Input is too long for requested model.", "prompt is too long: 9 > 8", "1 + 9 exceed context limit: 9"]
    {
        let (.., code) = read(400, Some("ValidationException"), &json!({"message": message}).to_string());
        assert_eq!(code.as_deref(), Some("context_length_exceeded"));
    }
    for body in ["", "  ", "<html>Bad gateway</html>", "{}", "[]", "{\"message\": \"\"}", "{\"message\": 5}"] {
        assert_eq!(read(502, Some(""), body), (502, "the provider answered with status 502".into(), None), "{body}");
    }
    assert_eq!(read(502, None, " upstream gone \n").1, "upstream gone");
    assert_eq!(read(502, None, &"\u{fc}".repeat(9_000)).1.chars().count(), 500);
}

#[test]
fn a_model_is_one_segment_of_the_path() {
    for (model, segment) in [
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", "anthropic.claude-3-7-sonnet-20250219-v1%3A0"),
        ("../../v1/x?y#z%2F", "..%2F..%2Fv1%2Fx%3Fy%23z%252F"),
        ("a b\n\u{fc}", "a%20b%0A%C3%BC"),
        ("..", "%252E%252E"),
        ("", ""),
    ] {
        assert_eq!(FORMAT.path(model, false), format!("/model/{segment}/converse"));
        assert_eq!(FORMAT.path(model, true), format!("/model/{segment}/converse-stream"));
    }
}

pub(super) fn call(id: &str, arguments: &str) -> Part {
    Part::new(Content::ToolCall(ToolCall { id: id.into(), name: "f".into(), arguments: arguments.into() }))
}
