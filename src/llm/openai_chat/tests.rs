mod answers;

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{FORMAT, OWN, with_fitting_call_ids};
use crate::llm::chat::{
    Chat, Content, Delivery, Extra, Issuer, Message, Output, Part, Reasoning, ReasoningMode, Role, Seal, SealKind,
    Source, Tool, ToolCall, ToolChoice, ToolResult,
};
use crate::llm::golden::events;
use crate::llm::{
    Answer, Assembler, Delta, Event, Finish, FormatId, Frame, ProviderError, StreamFault, Terminal, Usage, playback,
};

/// The golden files of this kind, with their names.
fn golden(name: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/openai-chat");
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    let text =
        |path: &std::path::PathBuf| Some((path.display().to_string(), fs::read_to_string(path.join(name)).ok()?));
    cases.iter().filter_map(text).collect()
}

fn read(body: Value) -> Chat {
    FORMAT.read_request(body).unwrap()
}

fn frame(include_usage: bool) -> Frame {
    Frame { id: "7".into(), model: "m".into(), created: 9, include_usage, chat: None }
}

fn event(data: &Value) -> Event {
    Event { name: String::new(), data: data.to_string() }
}

/// The steps of a stream, and how it ended.
fn steps(events: &[Event]) -> (Vec<Delta>, Result<(), StreamFault>) {
    let (mut reader, mut out) = (FORMAT.stream_reader(), Vec::new());
    let read = events.iter().try_for_each(|event| reader.read(event, &mut out));
    let end = read.and_then(|()| reader.finish(&mut out));
    (out, end)
}

fn assembled(deltas: Vec<Delta>) -> Option<Answer> {
    let mut assembler = Assembler::default();
    // Parts are dense, grow only while they are open, and are closed before the end.
    let mut open: Vec<bool> = Vec::new();
    for delta in deltas {
        match &delta {
            Delta::PartBegin { index, .. } => {
                assert_eq!(*index, open.len());
                open.push(true);
            }
            Delta::PartGrow { index, .. } => assert!(open[*index], "part {index} grows after its end"),
            Delta::PartEnd { index, .. } => {
                assert!(std::mem::replace(&mut open[*index], false), "part {index} ends twice");
            }
            Delta::Finish(_) => assert!(!open.contains(&true), "the answer ends before its parts"),
            _ => {}
        }
        assembler.add(delta);
    }
    assembler.finish()
}

fn streamed(chunks: &[Value]) -> Result<Answer, StreamFault> {
    let (deltas, end) = steps(&chunks.iter().map(event).collect::<Vec<_>>());
    end.map(|()| assembled(deltas).unwrap())
}

fn written(deltas: &[Delta], include_usage: bool) -> String {
    let (mut writer, mut out) = (FORMAT.stream_writer(&frame(include_usage)), String::new());
    deltas.iter().for_each(|delta| writer.write(delta, &mut out));
    writer.finish(&mut out);
    out
}

fn chunk(delta: Value) -> Value {
    json!({"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m",
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]})
}

fn end(reason: &str) -> Value {
    let mut chunk = chunk(json!({}));
    chunk["choices"][0]["finish_reason"] = reason.into();
    chunk
}

fn reply(message: Value, reason: &str) -> Value {
    json!({"id": "c1", "object": "chat.completion", "created": 7, "model": "m",
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": reason}]})
}

/// `value` with each of its nodes in turn changed by `change`, which also says to what, and where the node is.
fn changed(value: &Value, path: &str, change: &dyn Fn(&Value) -> Vec<Option<Value>>) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let mut add = |at: String, inner: &Value, with: &dyn Fn(Option<Value>) -> Value| {
        all.extend(change(inner).into_iter().map(|new| (at.clone(), with(new))));
        all.extend(changed(inner, &at, change).into_iter().map(|(at, inner)| (at, with(Some(inner)))));
    };
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                add(format!("{path}/{name}"), inner, &|new| {
                    let mut members = members.clone();
                    match new {
                        Some(new) => members.insert(name.clone(), new),
                        None => members.remove(name),
                    };
                    members.into()
                });
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                add(format!("{path}/{index}"), inner, &|new| {
                    let mut items = items.clone();
                    let gone = items.splice(index..=index, new);
                    drop(gone);
                    items.into()
                });
            }
        }
        _ => {}
    }
    all
}

fn odd(_: &Value) -> Vec<Option<Value>> {
    let odd = json!([null, true, -1.5, "", "data:,\u{fc}", [[5]], {"type": "x"}]);
    odd.as_array().unwrap().iter().cloned().map(Some).chain([None]).collect()
}

#[test]
fn whatever_comes_nothing_panics() {
    for (_, body) in changed(&rich(), "", &odd) {
        if let Ok(mut chat) = FORMAT.read_request(body) {
            let _ = FORMAT.write_request(&chat, "gpt-5");
            (chat.format, chat.indispensable) = (FormatId::Anthropic, None);
            let _ = FORMAT.write_request(&chat, "claude-x");
        }
    }
    for (_, text) in golden("reply.json") {
        for (_, body) in changed(&serde_json::from_str(&text).unwrap(), "", &odd) {
            if let Ok(answer) = FORMAT.read_reply(body) {
                let _ = FORMAT.write_reply(&answer, &frame(true));
                written(&playback(&answer), true);
            }
        }
    }
    for (case, text) in golden("stream.sse") {
        let events = events(&text);
        if !["tools", "litellm"].iter().any(|name| case.ends_with(name)) {
            continue;
        }
        for place in 0..events.len() {
            let Ok(data) = serde_json::from_str(&events[place].data) else { continue };
            for (_, data) in changed(&data, "", &odd) {
                let mut events = events.clone();
                events[place].data = data.to_string();
                let _ = FORMAT.terminal(&events[place]);
                let (deltas, ended) = steps(&events);
                written(&deltas, true);
                assert!(ended.is_err() || assembled(deltas).is_some());
            }
        }
    }
}

/// A request with everything that there is.
fn rich() -> Value {
    // Too long for the macro.
    let text = r#"{
        "model": "gpt-4.1", "temperature": 0.5, "top_p": 0.9, "top_k": 5, "max_completion_tokens": 10, "max_tokens": 11,
        "stop": ["a", "b"], "seed": -4, "frequency_penalty": 0.1, "presence_penalty": 0.2, "logit_bias": {"5": 1},
        "reasoning_effort": "low", "thinking": {"type": "enabled", "budget_tokens": 9, "x": 1}, "verbosity": "high",
        "reasoning": {"effort": "high", "max_tokens": 7, "enabled": true, "summary": "auto", "exclude": true},
        "n": 2, "logprobs": true, "top_logprobs": 3, "audio": {"voice": "a"}, "modalities": ["text", "audio"],
        "web_search_options": {"x": 1}, "functions": [{"name": "f"}], "function_call": "auto", "x_top": {"y": [1, "z"]},
        "response_format": {"type": "json_schema", "json_schema":
            {"name": "n", "description": "d", "schema": {"type": "object", "x": 1}, "strict": true}},
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true,
                "x": 1}, "x": 2},
            {"type": "web_search_20250305", "name": "w", "max_uses": 2}, {"type": "custom", "custom": {"name": "c"}}
        ],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required",
            "tools": [{"type": "function", "function": {"name": "f"}}]}},
        "parallel_tool_calls": false,
        "messages": [
            {"role": "system", "content": "s", "name": "n"},
            {"role": "developer", "content": [{"type": "text", "text": "t", "x": 1}, {"type": "text", "text": "u"}]},
            {"role": "user", "x": 1, "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low", "x": 1}, "x": 2},
                {"type": "image_url", "image_url": {"url": "https://e"}},
                {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav", "x": 1}, "x": 2},
                {"type": "file", "file": {"file_id": "f", "filename": "n", "file_data": "d"}, "x": 2},
                {"type": "file", "file": {"filename": "n", "file_data": "data:application/pdf;base64,AA", "x": 1}},
                {"type": "hologram", "x": {"y": 1}}]},
            {"role": "assistant", "content": [{"type": "text", "text": "t", "x": 1}, {"type": "refusal", "refusal": "r", "x": 1},
                {"type": "thinking", "thinking": [{"type": "text", "text": "t"}], "closed": true}],
                "reasoning_content": "a", "reasoning": "b", "name": "n", "refusal": "no", "audio": {"id": "a"},
                "reasoning_details": [{"type": "reasoning.text", "text": "t"}], "function_call": {"name": "f", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": "s", "x": 1}, "x": 2}},
            {"role": "assistant", "content": "c", "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "s", "x": 1},
                {"type": "redacted_thinking", "data": "d"}], "provider_specific_fields": {"x": 1},
                "tool_calls": [
                    {"id": "i", "type": "function", "function": {"name": "f", "arguments": "{}", "x": 1}, "x": 2,
                        "extra_content": {"google": {"thought_signature": "s"}}, "index": 5},
                    {"id": "j", "type": "custom", "custom": {"name": "c", "input": "i"}}]},
            {"role": "tool", "tool_call_id": "i", "content": "r", "name": "n"},
            {"role": "tool", "tool_call_id": "i", "content": [{"type": "text", "text": "t"}, {"type": "hologram"}]},
            {"role": "function", "name": "f", "content": "r"}
        ],
        "metadata": {"a": "b"}, "service_tier": "flex", "user": "u", "store": true, "prompt_cache_key": "k", "stream": true,
        "stream_options": {"include_usage": true, "include_obfuscation": false}
    }"#;
    serde_json::from_str(text).unwrap()
}

/// What of a chat is part of the question.
fn question(chat: Chat) -> Chat {
    Chat { unseen: Map::new(), delivery: Delivery::Whole, user: None, ..chat }
}

#[test]
fn whatever_differs_reads_differently() {
    let other = |value: &Value| match value {
        Value::String(text) => vec![Some(format!("{text}x").into()), None],
        Value::Number(number) => vec![Some((number.as_f64().unwrap() + 1.0).into()), None],
        Value::Bool(flag) => vec![Some((!flag).into())],
        _ => vec![None],
    };
    let unseen = ["/metadata", "/service_tier", "/user", "/store", "/prompt_cache_key", "/stream"];
    let original = question(read(rich()));
    let mut compared = 0;
    for (path, body) in changed(&rich(), "", &other) {
        let kind_is_gone = body.pointer(&path).is_none();
        let Ok(chat) = FORMAT.read_request(body) else { continue };
        compared += 1;
        let is_unseen = unseen.iter().any(|name| path.starts_with(name)) || path == "/stream_options";
        // A function is what is called where no type is given.
        let is_unseen = is_unseen || path.ends_with("/type") && kind_is_gone;
        assert!(is_unseen || question(chat) != original, "{path} makes no difference");
    }
    assert!(compared > 250, "{compared}");
}

#[test]
fn what_is_read_is_written_again() {
    let mut expected = rich();
    expected["messages"][3].as_object_mut().unwrap().remove("refusal");
    let refusal = json!({"type": "refusal", "refusal": "r", "x": 1});
    assert_eq!(expected["messages"][3]["content"][1], refusal);
    expected["messages"][3]["refusal"] = "no".into();
    assert_eq!(FORMAT.write_request(&read(rich()), "gpt-4.1").unwrap(), expected);
    for (case, text) in golden("request.json") {
        let chat = read(serde_json::from_str(&text).unwrap());
        let again = read(FORMAT.write_request(&chat, &chat.model).unwrap());
        assert_eq!(again, chat, "{case}");
    }
}

#[test]
fn what_says_the_same_as_nothing_reads_the_same() {
    let plain = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"},
        {"role": "assistant", "tool_calls": [{"id": "i", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}],
        "tools": [{"type": "function", "function": {"name": "f"}}], "max_tokens": 5, "stop": ["a"]});
    for (at, value) in [
        ("/n", json!(1)),
        ("/n", json!(1.0)),
        ("/logprobs", json!(false)),
        ("/top_logprobs", json!(0)),
        ("/top_p", json!(1.0)),
        ("/frequency_penalty", json!(0)),
        ("/presence_penalty", json!(0.0)),
        ("/logit_bias", json!({})),
        ("/modalities", json!(["text"])),
        ("/response_format", json!({"type": "text"})),
        ("/parallel_tool_calls", json!(true)),
        ("/tool_choice", json!("auto")),
        ("/verbosity", json!("medium")),
        ("/store", json!(false)),
        ("/stream", json!(false)),
        ("/temperature", json!(null)),
        ("/stop", json!("a")),
        ("/cache", json!({"ttl": 5})),
        ("/messages/0/content", json!([{"type": "text", "text": "Hi"}])),
        ("/messages/0/name", json!(null)),
        ("/messages/1/content", json!("")),
        ("/messages/1/content", json!(null)),
        ("/messages/1/refusal", json!(null)),
        ("/messages/1/tool_calls/0/index", json!(0)),
        ("/tools/0/function/strict", json!(false)),
    ] {
        let mut body = plain.clone();
        let (parent, name) = at.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[name] = value;
        assert_eq!(read(body.clone()), read(plain.clone()), "{at}");
        assert_eq!(read(body).uncacheable, None, "{at}");
    }
    let mut newer = plain.clone();
    newer.as_object_mut().unwrap().remove("max_tokens");
    newer["max_completion_tokens"] = 5.into();
    assert_eq!(question(read(newer.clone())), question(read(plain.clone())));
    assert_eq!(FORMAT.write_request(&read(newer.clone()), "deployment").unwrap()["max_completion_tokens"], 5);
    assert_eq!(FORMAT.write_request(&read(plain.clone()), "deployment").unwrap()["max_tokens"], 5);
    assert_eq!(FORMAT.write_request(&read(plain), "gpt-5").unwrap()["max_completion_tokens"], 5);
}

#[test]
fn what_cannot_be_cached_or_said_elsewhere_is_known() {
    let with = |name: &str, value: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
        body[name] = value;
        let chat = read(body);
        (chat.uncacheable.is_some(), chat.indispensable)
    };
    let message = |message: Value| with("messages", json!([message]));
    for (name, value, expected) in [
        ("n", json!(2), (true, Some("n"))),
        ("logprobs", json!(true), (true, Some("logprobs"))),
        ("audio", json!({}), (true, Some("audio"))),
        ("modalities", json!(["text", "audio"]), (true, Some("modalities"))),
        ("web_search_options", json!({}), (true, Some("web_search_options"))),
        ("functions", json!([{"name": "f"}]), (false, Some("functions"))),
        ("store", json!(true), (true, None)),
        ("mcp_servers", json!([{}]), (true, None)),
        ("mcp_servers", json!([]), (false, None)),
        ("tools", json!([{"type": "web_search_20250305", "name": "w"}]), (true, None)),
        ("messages", json!([]), (true, None)),
        ("x", json!(1), (false, None)),
    ] {
        assert_eq!(with(name, value.clone()), expected, "{name} {value}");
    }
    assert_eq!(message(json!({"role": "user", "content": [{"type": "hologram"}]})), (true, None));
    assert_eq!(message(json!({"role": "assistant", "audio": {"id": "a"}})), (true, Some("audio")));
    assert_eq!(message(json!({"role": "function", "name": "f", "content": "r"})), (false, Some("function_call")));
    for (body, why) in [
        (json!([]), "must be an object"),
        (json!({"messages": 5}), "`messages` must be a list"),
        (json!({"messages": [{"content": "a"}]}), "`messages[0].role` is missing"),
        (json!({"messages": [{"role": "oracle"}]}), "`messages[0].role` must be system"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
            "`messages[0].content[0].text` is missing",
        ),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [{}]}]}),
            "`messages[0].tool_calls[0].function` is missing",
        ),
        (json!({"tools": [{"type": "function", "function": {}}]}), "`tools[0].function.name` is missing"),
        (json!({"stop": [1]}), "`stop` must be a list of texts"),
    ] {
        let told = FORMAT.read_request(body).unwrap_err().to_string();
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn effort_and_user_are_found_wherever_they_are_said() {
    let body =
        json!({"messages": [], "thinking": {"type": "enabled", "budget_tokens": 5}, "metadata": {"user_id": "u"}});
    let chat = read(body.clone());
    assert_eq!((chat.reasoning.budget, chat.reasoning.mode), (Some(5), Some(ReasoningMode::Enabled)));
    assert_eq!(chat.user.as_deref(), Some("u"));
    let again = FORMAT.write_request(&chat, "m").unwrap();
    assert_eq!(
        (&again["thinking"], &again["user"], &again["reasoning_effort"]),
        (&body["thinking"], &Value::Null, &Value::Null)
    );
    let chat = read(json!({"messages": [], "reasoning": {"effort": "high", "enabled": false}}));
    assert_eq!((chat.reasoning.effort.as_deref(), chat.reasoning.mode), (Some("high"), Some(ReasoningMode::Disabled)));
}

/// A chat of another format, to a model of this one.
fn foreign(format: FormatId, messages: Vec<Message>) -> Chat {
    Chat { format, messages, ..Chat::default() }
}

fn says(role: Role, texts: &[&str]) -> Message {
    Message::new(role, texts.iter().map(|text| Part::text(*text)).collect())
}

fn sealed(content: Content, issuer: Issuer, kind: SealKind) -> Part {
    Part { seal: Some(Seal { issuer, kind, value: "s".into() }), ..Part::new(content) }
}

fn call(id: &str) -> ToolCall {
    ToolCall { id: id.into(), name: "f".into(), arguments: "{}".into() }
}

#[test]
fn conversations_of_other_formats() {
    let image = Part::new(Content::Image(Source::of_address("data:image/png;base64,AA")));
    let result = |parts, is_error| {
        Message::new(
            Role::Tool,
            vec![Part::new(Content::ToolResult(ToolResult { call_id: "t".into(), parts, is_error }))],
        )
    };
    let long = "t".repeat(50);
    let thought = sealed(Content::Reasoning("Hm.".into()), Issuer::Anthropic, SealKind::Signature);
    let mut marked = Part::text("Hi");
    marked.extra = Extra::new(FormatId::Anthropic, json!({"cache_control": {}}).as_object().unwrap().clone());
    let page =
        json!({"type": "search_result", "title": "T", "source": "S", "content": [{"type": "text", "text": "C"}]});
    let chat = foreign(
        FormatId::Anthropic,
        vec![
            says(Role::System, &["Be brief.", "Be kind."]),
            says(Role::Developer, &["D"]),
            Message::new(Role::User, vec![marked]),
            Message::new(
                Role::Assistant,
                vec![
                    thought.clone(),
                    Part::text("I'll "),
                    Part::text("look."),
                    Part::new(Content::ToolCall(call(&long))),
                ],
            ),
            result(vec![Part::text("a"), Part::text("b"), image.clone()], true),
            result(vec![], false),
            says(Role::User, &["So?"]),
            Message::new(Role::Assistant, vec![thought.clone()]),
            result(vec![image], false),
            says(Role::Assistant, &["Done."]),
            Message::new(
                Role::User,
                vec![
                    Part::new(Content::Document {
                        source: Source::of_address("data:application/pdf;base64,AA"),
                        name: None,
                    }),
                    Part::new(Content::Document { source: Source::Text("body".into()), name: Some("Title".into()) }),
                    Part::new(Content::Foreign(FormatId::Anthropic, page)),
                ],
            ),
        ],
    );
    let shown = json!({"type": "text", "text": "(Shown by the tool call t:)"});
    let picture = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}});
    let elsewhere = "(What this tool shows is in the user's next message.)";
    let written = FORMAT.write_request(&chat, "llama-4").unwrap();
    let id = written["messages"][3]["tool_calls"][0]["id"].clone();
    assert!(id.as_str().unwrap().len() <= 40);
    assert_eq!(
        written["messages"],
        json!([
            {"role": "system", "content": "Be brief.\n\nBe kind."},
            {"role": "system", "content": "D"},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "I'll look.", "tool_calls": [
                {"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "t", "content": format!("Error: a\nb\n{elsewhere}")},
            {"role": "tool", "tool_call_id": "t", "content": ""},
            {"role": "user", "content": [shown, picture, {"type": "text", "text": "So?"}]},
            {"role": "tool", "tool_call_id": "t", "content": elsewhere},
            {"role": "user", "content": [shown, picture]},
            {"role": "assistant", "content": "Done."},
            {"role": "user", "content": [
                {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,AA"}},
                {"type": "text", "text": "Title\n\nbody"}, {"type": "text", "text": "T\nS\nC"}]},
        ])
    );
    // Claude, behind this API, gets its thoughts back.
    let blocks = json!([{"type": "thinking", "thinking": "Hm.", "signature": "s"}]);
    let written = FORMAT.write_request(&chat, "anthropic/claude-sonnet-4.5").unwrap();
    assert_eq!(written["messages"][3]["thinking_blocks"], blocks);
    assert_eq!(FORMAT.write_request(&chat, "gpt-4.1").unwrap()["messages"][1]["role"], "developer");
}

#[test]
fn mistral_takes_ids_of_nine_letters_and_digits_only() {
    let calls = json!([{"id": "toolu_01A", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "aB3dE6gH9", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"},
        {"role": "assistant", "content": null, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "toolu_01A", "content": "1"},
        {"role": "tool", "tool_call_id": "aB3dE6gH9", "content": "2"}]});
    let ids = |body: &Value| {
        let call = |index: usize| body["messages"][1]["tool_calls"][index]["id"].clone();
        let result = |index: usize| body["messages"][index]["tool_call_id"].clone();
        [call(0), result(2), call(1), result(3)]
    };
    for format in [OWN, FormatId::Anthropic] {
        let chat = Chat { format, ..read(body.clone()) };
        let [made, result, kept, other] = ids(&FORMAT.write_request(&chat, "mistral-large-latest").unwrap());
        let made = made.as_str().unwrap();
        assert!(made.len() == 9 && made.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{made}");
        assert_eq!((&result, &kept, &other), (&made.into(), &"aB3dE6gH9".into(), &"aB3dE6gH9".into()));
        // A request that passes through has the same ones.
        let fitting = with_fitting_call_ids(&body, "mistral-large-latest").unwrap();
        assert_eq!(ids(&fitting), [made.into(), result, kept, other]);
        assert_eq!(with_fitting_call_ids(&fitting, "mistral-large-latest"), None);
    }
    assert_eq!(with_fitting_call_ids(&body, "gpt-4.1"), None);
}

#[test]
fn thoughts_of_several_parts_are_set_apart() {
    let thought = |text: &str| Part::new(Content::Reasoning(text.into()));
    let answer = Answer { parts: vec![thought("First."), thought("Then."), Part::text("Yes.")], ..Answer::default() };
    let reply = FORMAT.write_reply(&answer, &frame(false));
    assert_eq!(reply["choices"][0]["message"]["reasoning_content"], "First.\n\nThen.");
    let told = events(&written(&playback(&answer), false));
    let pieces = told.iter().filter_map(|event| serde_json::from_str::<Value>(&event.data).ok());
    let thoughts =
        pieces.filter_map(|chunk| chunk["choices"][0]["delta"]["reasoning_content"].as_str().map(str::to_owned));
    assert_eq!(thoughts.collect::<String>(), "First.\n\nThen.");
    // Claude's come back as they were signed.
    let signed = |text: &str| sealed(Content::Reasoning(text.into()), Issuer::Anthropic, SealKind::Signature);
    let answer = Answer { parts: vec![signed("First."), signed("Then."), Part::text("Yes.")], ..Answer::default() };
    let read_again = FORMAT.read_reply(FORMAT.write_reply(&answer, &frame(false))).unwrap();
    assert_eq!((read_again.parts, read_again.extra.is_empty()), (answer.parts.clone(), true));
    let (deltas, end) = steps(&events(&written(&playback(&answer), false)));
    assert_eq!((end, assembled(deltas).unwrap().parts), (Ok(()), answer.parts));
}

#[test]
fn a_signature_that_comes_after_its_call_is_missed_and_the_stream_goes_on() {
    let call = |index: u32, name: &str| {
        let function = json!({"name": name, "arguments": "{}"});
        chunk(json!({"tool_calls": [{"index": index, "id": name, "type": "function", "function": function}]}))
    };
    let late = |more: Value| {
        let mut piece = json!({"index": 0});
        piece.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        [call(0, "f"), call(1, "g"), chunk(json!({"tool_calls": [piece]})), end("tool_calls")]
    };
    let signature = json!({"extra_content": {"google": {"thought_signature": "s"}}});
    for (more, is_lossy) in [(signature, true), (json!({"more": 1}), true), (json!({"id": "f"}), false)] {
        let (deltas, read) = steps(&late(more).iter().map(event).collect::<Vec<_>>());
        assert_eq!((read, deltas.iter().any(|delta| matches!(delta, Delta::Lossy(_)))), (Ok(()), is_lossy));
        let names = assembled(deltas).unwrap().parts.into_iter().map(|part| match part.content {
            Content::ToolCall(call) => (call.name, call.arguments),
            other => panic!("{other:?}"),
        });
        assert!(names.eq([("f".into(), "{}".into()), ("g".into(), "{}".into())]));
    }
    // What is missing of what it says is another matter.
    assert!(streamed(&late(json!({"function": {"arguments": "{}"}}))).is_err());
}

#[test]
fn what_other_formats_ask_for() {
    let base = foreign(FormatId::Anthropic, vec![says(Role::User, &["Hi"])]);
    let tool = |name: &str| Tool::Function {
        name: name.into(),
        description: None,
        parameters: None,
        strict: Some(true),
        extra: Extra::default(),
    };
    let mut chat = Chat { tools: vec![tool("f"), tool("g")], user: Some("u".repeat(100)), ..base.clone() };
    chat.tool_choice = ToolChoice::Allowed { names: vec!["g".into()], required: true };
    chat.reasoning = Reasoning { budget: Some(300), ..Reasoning::default() };
    chat.sampling.max_tokens = Some(900);
    chat.sampling.temperature = Some(0.5);
    chat.sampling.top_k = Some(5);
    chat.output = Output::JsonSchema { name: None, description: None, schema: json!({"type": "object"}), strict: None };
    chat.delivery = Delivery::StreamWithUsage;
    let function = json!({"name": "g", "parameters": {"type": "object", "properties": {}}});
    let mut expected = json!({"model": "llama-4", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 900,
        "temperature": 0.5, "tool_choice": "required", "tools": [{"type": "function", "function": function}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
        "reasoning_effort": "medium", "user": "u".repeat(64), "stream": true, "stream_options": {"include_usage": true}});
    assert_eq!(FORMAT.write_request(&chat, "llama-4").unwrap(), expected);
    // A reasoning model of OpenAI's takes no temperature, and others of OpenAI's no effort.
    let written = FORMAT.write_request(&chat, "gpt-5").unwrap();
    assert_eq!((&written["temperature"], &written["max_completion_tokens"]), (&Value::Null, &json!(900)));
    expected.as_object_mut().unwrap().remove("reasoning_effort");
    expected["model"] = "gpt-4o".into();
    assert_eq!(FORMAT.write_request(&chat, "gpt-4o").unwrap(), expected);
    for (effort, model, told) in [("max", "llama-4", "high"), ("max", "gpt-5.2", "xhigh"), ("minimal", "o3", "low")] {
        chat.reasoning.effort = Some(effort.into());
        assert_eq!(FORMAT.write_request(&chat, model).unwrap()["reasoning_effort"], told);
    }
    let without_tools = Chat { tool_choice: ToolChoice::Required, parallel_tool_calls: Some(false), ..base.clone() };
    assert_eq!(
        FORMAT.write_request(&without_tools, "m").unwrap(),
        json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
    );

    let user =
        |content: Content| foreign(FormatId::Anthropic, vec![Message::new(Role::User, vec![Part::new(content)])]);
    let document = |source| user(Content::Document { source, name: None });
    for (chat, place) in [
        (Chat { indispensable: Some("container"), ..base.clone() }, "`container`"),
        (Chat { tools: vec![Tool::Foreign(FormatId::Anthropic, json!({}))], ..base.clone() }, "`tools[0]`"),
        (Chat { tool_choice: ToolChoice::Foreign(FormatId::Gemini, json!({})), ..base.clone() }, "`tool_choice`"),
        (Chat { output: Output::Foreign(FormatId::Gemini, json!({})), ..base }, "`response_format`"),
        (user(Content::Foreign(FormatId::Anthropic, json!({"type": "x"}))), "`messages[0].content[0]`"),
        (user(Content::Image(Source::File("f".into()))), "`messages[0].content[0]`"),
        (document(Source::Url("https://e".into())), "`messages[0].content[0]`"),
        (document(Source::File("f".into())), "`messages[0].content[0]`"),
        (foreign(FormatId::Anthropic, vec![says(Role::System, &["s"])]), "`messages`"),
    ] {
        let told = FORMAT.write_request(&chat, "m").unwrap_err().to_string();
        assert!(told.starts_with(place), "{told}");
    }
}
