//! Of replies, streams and errors.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{asks, assembled, cases, event, frame, read, streamed, written};
use crate::llm::chat::{Content, Issuer, Part, Seal, SealKind, ToolCall};
use crate::llm::golden::events;
use crate::llm::openai_responses::OWN;
use crate::llm::{
    Answer, Delta, Event, Finish, FormatId, Frame, ProviderError, StreamFault, Terminal, Usage, playback,
};

#[test]
fn a_reply_is_written_as_it_came() {
    for (case, text) in cases("reply.json") {
        let reply: Value = serde_json::from_str(&text).unwrap();
        let Ok(answer) = OWN.format().read_reply(reply.clone()) else { continue };
        let chat = read(json!({"input": "Hi", "tools": reply["tools"]}));
        let mut again = OWN.format().write_reply(&answer, &Frame { chat: Some(Arc::new(chat)), ..frame() });
        assert_eq!(OWN.format().read_reply(again.clone()).unwrap(), answer_like(&answer, &again), "{case}");
        if case == "open-model" {
            continue;
        }
        // True is what it means where it isn't said.
        if reply["tools"][0]["strict"] == true {
            again["tools"][0]["strict"] = true.into();
        }
        assert_eq!(without_nulls(again), without_nulls(reply), "{case}");
    }
}

/// `answer` with what a reply always says.
fn answer_like(answer: &Answer, reply: &Value) -> Answer {
    let read = OWN.format().read_reply(reply.clone()).unwrap();
    Answer { extra: read.extra, ..answer.clone() }
}

fn without_nulls(mut value: Value) -> Value {
    value.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    value
}

#[test]
fn a_stream_comes_to_the_whole_reply() {
    let mut compared = 0;
    for (case, text) in cases("stream.sse") {
        let Some((_, reply)) = cases("reply.json").into_iter().find(|(name, _)| *name == case) else { continue };
        let (end, deltas) = streamed(&events(&text));
        let Ok(whole) = OWN.format().read_reply(serde_json::from_str(&reply).unwrap()) else {
            assert!(matches!(end, Err(StreamFault::Provider(_))), "{case}");
            continue;
        };
        assert_eq!(end, Ok(()), "{case}");
        let answer = assembled(deltas).unwrap();
        assert_eq!(answer, whole, "{case}");
        assert_eq!(OWN.format().write_reply(&answer, &frame()), OWN.format().write_reply(&whole, &frame()));
        compared += 1;
    }
    assert!(compared > 8);
}

#[test]
fn an_answer_played_back_is_read_as_the_same() {
    let mut answers: Vec<Answer> = cases("reply.json")
        .into_iter()
        .filter_map(|(_, text)| OWN.format().read_reply(serde_json::from_str(&text).unwrap()).ok())
        .collect();
    let thought = |text: &str, issuer, kind| {
        let mut part = Part::new(Content::Reasoning(text.into()));
        part.seal = Some(Seal { issuer, kind, value: "v+/=".into() });
        part
    };
    let mut signed =
        Part::new(Content::ToolCall(ToolCall { id: "c".into(), name: "f".into(), arguments: "{}".into() }));
    signed.seal = Some(Seal { issuer: Issuer::Google, kind: SealKind::Signature, value: "CiQ".into() });
    answers.push(Answer {
        id: "resp_1".into(),
        model: "m".into(),
        created: Some(3),
        finish: Finish::ToolCalls,
        parts: vec![
            thought("Hm.", Issuer::Anthropic, SealKind::Signature),
            thought("", Issuer::Anthropic, SealKind::Encrypted),
            Part::text("Well."),
            signed,
        ],
        usage: Some(Usage {
            input: 3,
            output: 2,
            raw: Some((OWN, json!({"input_tokens": 3, "output_tokens": 2}).as_object().unwrap().clone())),
            ..Usage::default()
        }),
        ..Answer::default()
    });
    for answer in answers {
        let events: Vec<Event> = written(&playback(&answer), &frame()).iter().map(event).collect();
        let (end, deltas) = streamed(&events);
        assert_eq!(end, Ok(()));
        let again = assembled(deltas).unwrap();
        let expected = if answer.finish == Finish::ToolCalls && answer.extra.is_empty() {
            // Thoughts of another maker keep a mark that they are no items of OpenAI's.
            Answer { parts: again.parts.clone(), ..answer.clone() }
        } else {
            answer.clone()
        };
        assert_eq!(again, Answer { extra: again.extra.clone(), ..expected });
        let bare = |answer: &Answer| {
            answer.parts.iter().map(|part| (part.content.clone(), part.seal.clone())).collect::<Vec<_>>()
        };
        assert_eq!(bare(&again), bare(&answer));
    }
}

fn begins(index: usize, content: Content) -> Delta {
    Delta::PartBegin { index, part: Part::new(content) }
}

fn grows(index: usize, text: &str) -> Delta {
    Delta::PartGrow { index, text: text.into() }
}

fn calls(id: &str) -> Content {
    Content::ToolCall(ToolCall { id: id.into(), name: "f".into(), arguments: String::new() })
}

#[test]
fn items_are_written_one_after_the_other() {
    let deltas = [
        Delta::Begin(Answer::default()),
        begins(0, Content::Reasoning(String::new())),
        grows(0, "Hm."),
        begins(1, Content::Text(String::new())),
        grows(1, "We"),
        grows(0, " Late."),
        grows(1, "ll."),
        begins(2, calls("a")),
        begins(3, calls("b")),
        grows(2, "{\"x\""),
        grows(3, "{\"y\""),
        grows(2, ":1}"),
        grows(3, ":2}"),
        Delta::Finish(Finish::ToolCalls),
    ];
    let events = written(&deltas, &frame());
    let order: Vec<u64> = events.iter().filter_map(|event| event["output_index"].as_u64()).collect();
    assert!(order.is_sorted(), "{order:?}");
    let output = &events.last().unwrap()["response"]["output"];
    let kinds: Vec<&str> = output.as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reasoning", "message", "reasoning", "message", "function_call", "function_call"]);
    assert_eq!((&output[4]["arguments"], &output[5]["arguments"]), (&json!("{\"x\":1}"), &json!("{\"y\":2}")));
    assert_eq!(output[2]["summary"][0]["text"], " Late.");
    let texts: String = events
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta")
        .map(|event| event["delta"].as_str().unwrap())
        .collect();
    assert_eq!(texts, "Well.");
}

#[test]
fn how_answers_end() {
    let says = |content| vec![Part::new(content)];
    for (finish, parts, status, reason) in [
        (Finish::Stop, says(Content::Text("a".into())), "completed", Value::Null),
        (Finish::StopSequence(None), says(Content::Text("a".into())), "completed", Value::Null),
        (Finish::Length, says(Content::Text("a".into())), "incomplete", json!("max_output_tokens")),
        (Finish::ContentFilter, vec![], "incomplete", json!("content_filter")),
        (Finish::Refusal, vec![], "incomplete", json!("content_filter")),
        (Finish::Refusal, says(Content::Refusal("no".into())), "completed", Value::Null),
        (Finish::Other(FormatId::Anthropic, "pause_turn".into()), vec![], "incomplete", json!("pause_turn")),
    ] {
        let answer = Answer { finish, parts, ..Answer::default() };
        let reply = OWN.format().write_reply(&answer, &frame());
        assert_eq!((&reply["status"], &reply["incomplete_details"]["reason"]), (&json!(status), &reason));
        let last = written(&playback(&answer), &frame()).pop().unwrap();
        assert_eq!((&last["type"], &last["response"]), (&json!(format!("response.{status}")), &reply));
        assert_eq!(reply["id"], "resp_01X");
        assert_eq!(reply["usage"]["total_tokens"], 0);
    }
}

#[test]
fn a_reply_repeats_the_request() {
    let chat =
        asks(json!({"instructions": "Be brief.", "temperature": 0.5, "metadata": {"a": "b"}, "max_output_tokens": 99,
        "tools": [{"type": "function", "name": "f", "strict": false}], "tool_choice": "required",
            "parallel_tool_calls": false,
        "text": {"verbosity": "low"}, "reasoning": {"effort": "low"}, "store": true, "user": "u",
            "truncation": "auto"}));
    let reply = OWN.format().write_reply(&Answer::of_text("Hi"), &Frame { chat: Some(Arc::new(chat)), ..frame() });
    for (name, value) in [
        ("instructions", json!("Be brief.")),
        ("temperature", json!(0.5)),
        ("metadata", json!({"a": "b"})),
        ("max_output_tokens", json!(99)),
        ("tool_choice", json!("required")),
        ("parallel_tool_calls", json!(false)),
        ("text", json!({"format": {"type": "text"}, "verbosity": "low"})),
        ("truncation", json!("auto")),
        ("model", json!("asked")),
        ("reasoning", json!({"effort": "low", "summary": null})),
        ("store", json!(false)),
        ("user", json!("u")),
    ] {
        assert_eq!(reply[name], value, "{name}");
    }
    let closed = json!({"type": "object", "properties": {}, "required": [], "additionalProperties": false});
    let function = |name: &str, parameters: &Value| json!({"type": "function", "name": name, "parameters": parameters});
    let mut said = function("said", &closed);
    said["strict"] = true.into();
    let chat =
        asks(json!({"tools": [said, function("closed", &closed), function("open", &json!({"type": "object"}))]}));
    let reply = OWN.format().write_reply(&Answer::of_text("Hi"), &Frame { chat: Some(Arc::new(chat)), ..frame() });
    let strict: Vec<&Value> = reply["tools"].as_array().unwrap().iter().map(|tool| &tool["strict"]).collect();
    assert_eq!(strict, [true, true, false], "a function is strict where that is said, or nothing and it can be");
    // What one caller said isn't told to another.
    let theirs = json!({"id": "resp_9", "object": "response", "metadata": {"secret": "s"}, "user": "v",
        "instructions": "i",
        "output": [], "status": "completed"});
    let answer = OWN.format().read_reply(theirs).unwrap();
    let reply = OWN.format().write_reply(&answer, &frame());
    assert_eq!((&reply["metadata"], &reply["user"], &reply["instructions"]), (&json!({}), &Value::Null, &Value::Null));
}

/// The events of a stream in which these stand between its begin and its end.
fn told(middle: &[Value], output: Value) -> (Result<(), StreamFault>, Option<Answer>) {
    let mut all =
        vec![json!({"type": "response.created", "response": {"id": "resp_1", "model": "m", "created_at": 1}})];
    all.extend(middle.iter().cloned());
    all.push(
        json!({"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": output}}),
    );
    let events: Vec<Event> = all.iter().map(event).collect();
    let (end, deltas) = streamed(&events);
    (end, assembled(deltas))
}

#[test]
fn oddities_of_other_servers_are_survived() {
    let text = |id: &str| {
        json!({"type": "message", "id": id, "role": "assistant",
        "content": [{"type": "output_text", "text": "Hello"}]})
    };
    let delta = |members: Value| {
        let mut event = json!({"type": "response.output_text.delta"});
        event.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        event
    };
    let added = |item: Value| json!({"type": "response.output_item.added", "output_index": 0, "item": item});
    let done = |item: Value| json!({"type": "response.output_item.done", "output_index": 0, "item": item});
    for (case, middle, output) in [
        ("only the end", vec![], json!([text("m")])),
        ("only whole items", vec![done(text("m"))], json!([text("m")])),
        ("no output in the end", vec![delta(json!({"delta": "Hel"})), delta(json!({"delta": "lo"}))], Value::Null),
        (
            "ids that change",
            vec![
                added(text("a")),
                delta(json!({"item_id": "b", "output_index": 0, "delta": "Hello"})),
                done(text("c")),
            ],
            json!([text("d")]),
        ),
        (
            "a piece is missing",
            vec![delta(json!({"delta": "Hel"})), json!({"type": "response.output_text.done", "text": "Hello"})],
            json!([]),
        ),
        ("a piece is missing until the end", vec![delta(json!({"delta": "Hel"}))], json!([text("m")])),
        (
            "unknown events",
            vec![
                json!({"type": "response.hologram.delta", "delta": 5}),
                json!({"x": 1}),
                delta(json!({"delta": "Hello"})),
            ],
            json!([text("m")]),
        ),
        (
            "no begin of the item",
            vec![delta(json!({"item_id": "m", "delta": "Hello"})), done(text("m"))],
            json!([text("m")]),
        ),
    ] {
        let (end, answer) = told(&middle, output);
        let answer = answer.unwrap();
        assert_eq!(
            (end, answer.text().as_str(), answer.lossy.as_deref(), answer.parts.len()),
            (Ok(()), "Hello", None, 1),
            "{case}"
        );
        assert_eq!((answer.id.as_str(), &answer.finish), ("resp_1", &Finish::Stop));
    }
    let part = |text: &str| json!({"type": "output_text", "text": text});
    let parts =
        json!({"type": "message", "id": "m", "role": "assistant", "content": [part(""), part("Hel"), part("lo")]});
    let piece = |place: u64, more: &str| delta(json!({"item_id": "m", "content_index": place, "delta": more}));
    let pieces = [piece(1, "Hel"), piece(2, "lo")];
    let (_, with_an_empty_part) = told(&[&pieces[..], &[done(parts.clone())]].concat(), json!([parts]));
    let with_an_empty_part = with_an_empty_part.unwrap();
    assert_eq!((with_an_empty_part.text().as_str(), with_an_empty_part.lossy), ("Hello", None));
    let (_, disagrees) = told(&[delta(json!({"delta": "Bye"}))], json!([text("m")]));
    assert!(disagrees.unwrap().lossy.is_some());
    let (_, other) = told(
        &[done(text("m"))],
        json!([{"type": "message", "id": "m", "content": [{"type": "output_text", "text": "Bye"}]}]),
    );
    assert!(other.unwrap().lossy.is_some());
    let (_, cited) = told(
        &[delta(json!({"delta": "a"})), json!({"type": "response.output_text.annotation.added", "annotation": {}})],
        json!([]),
    );
    assert_eq!(cited.unwrap().lossy.as_deref(), Some("annotations"));
}

#[test]
fn pieces_of_calls_are_joined_only_where_they_can_be_told_apart() {
    let call = |id: &str, arguments: &str| {
        json!({"type": "function_call", "id": id, "call_id": id, "name": "f",
        "arguments": arguments})
    };
    let added = |id: &str, index: u64| {
        json!({"type": "response.output_item.added", "output_index": index,
        "item": call(id, "")})
    };
    let delta = |members: Value, text: &str| {
        let mut event = json!({"type": "response.function_call_arguments.delta", "delta": text});
        event.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        event
    };
    let whole = json!([call("a", "{\"x\":1}"), call("b", "{\"y\":2}")]);
    let by = |key: &str, a: Value, b: Value, index: u64| {
        let at = |value: &Value| json!({key: value});
        vec![
            added("a", 0),
            added("b", index),
            delta(at(&a), "{\"x\""),
            delta(at(&b), "{\"y\""),
            delta(at(&a), ":1}"),
            delta(at(&b), ":2}"),
        ]
    };
    for middle in [
        by("output_index", json!(0), json!(1), 1),
        by("item_id", json!("a"), json!("b"), 1),
        by("item_id", json!("a"), json!("b"), 0),
    ] {
        for output in [whole.clone(), json!([])] {
            let (end, answer) = told(&middle, output);
            let answer = answer.unwrap();
            let arguments: Vec<&str> = answer
                .parts
                .iter()
                .map(|part| match &part.content {
                    Content::ToolCall(call) => call.arguments.as_str(),
                    _ => "",
                })
                .collect();
            assert_eq!((end, arguments, answer.lossy), (Ok(()), vec!["{\"x\":1}", "{\"y\":2}"], None));
            assert_eq!(answer.finish, Finish::ToolCalls);
        }
    }
    let (end, _) = told(&by("output_index", json!(0), json!(0), 0), whole);
    assert!(matches!(end, Err(StreamFault::Malformed(_))));
    // Without its name there is no call.
    let (_, nameless) = told(&[delta(json!({}), "{}")], json!([]));
    assert!(nameless.unwrap().lossy.is_some());
    let (_, named) = told(
        &[
            delta(json!({"output_index": 0}), "{}"),
            json!({"type": "response.output_item.done", "output_index": 0, "item": call("a", "{}")}),
        ],
        json!([]),
    );
    assert_eq!((named.as_ref().unwrap().parts.len(), named.unwrap().lossy), (1, None));
}

#[test]
fn streams_end_and_fail() {
    for (name, data, expected) in [
        ("response.completed", "{}", Some(Terminal::End)),
        ("", r#"{"type":"response.completed","response":{}}"#, Some(Terminal::End)),
        ("message", r#"{"type": "response.incomplete"}"#, Some(Terminal::End)),
        ("response.failed", "{}", Some(Terminal::Error)),
        ("error", "{}", Some(Terminal::Error)),
        ("", r#"{"error":{"message":"no"}}"#, Some(Terminal::Error)),
        ("", r#"{"type":"response.in_progress","response":{"error":null}}"#, None),
        ("", r#"{"type":"response.output_text.delta","delta":"\"response.completed\" \"error\""}"#, None),
        ("response.output_text.delta", r#"{"delta":"response.completed"}"#, None),
        ("", "[DONE]", None),
    ] {
        assert_eq!(OWN.format().terminal(&Event { name: name.into(), data: data.into() }), expected, "{name} {data}");
    }
    for (data, status, message) in [
        (json!({"type": "error", "code": "rate_limit_exceeded", "message": "Slow", "sequence_number": 1}), 429, "Slow"),
        (
            json!({"type": "error", "error": {"type": "invalid_request_error", "message": "Long",
                "code": "context_length_exceeded"}}),
            400,
            "Long",
        ),
        (
            json!({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "Oops"}}}),
            500,
            "Oops",
        ),
        (json!({"error": {"code": 503, "message": "Busy"}}), 503, "Busy"),
        (json!({"error": "plain"}), 502, "plain"),
        (
            json!({"type": "response.completed", "response": {"status": "failed", "error": {"message": "late"}}}),
            502,
            "late",
        ),
    ] {
        let (end, _) = streamed(&[event(&data)]);
        let Err(StreamFault::Provider(error)) = end else { panic!("{data}: {end:?}") };
        assert_eq!((error.status, error.message.as_str()), (status, message));
    }
    assert_eq!(streamed(&[]).0, Err(StreamFault::Truncated));
    let done = Event { name: String::new(), data: "[DONE]".into() };
    assert_eq!(streamed(&[done]).0, Err(StreamFault::Truncated));
    assert!(matches!(streamed(&[Event { name: String::new(), data: "{".into() }]).0, Err(StreamFault::Malformed(_))));
}

#[test]
fn replies_that_are_no_answers() {
    for body in [
        json!([]),
        json!({}),
        json!({"error": {"message": "x"}}),
        json!({"output": [], "status": "queued"}),
        json!({"output": [], "status": "failed", "error": {"message": "x"}}),
        json!({"output": [{"type": "function_call"}]}),
        json!({"output": [{"type": "message", "content": 5}]}),
    ] {
        assert!(OWN.format().read_reply(body.clone()).is_err(), "{body}");
    }
}

#[test]
fn errors_in_words() {
    let read = |status, body: &str| OWN.format().read_error(status, &|_| None, body.as_bytes());
    for (wait, expected) in [("20s", 20_000), ("857ms", 857), ("1m2.5s.", 62_500), ("6m0s", 360_000)] {
        let error = read(429, &json!({"error": {"message": format!("Please try again in {wait}. Bye")}}).to_string());
        assert_eq!(error.retry_after, Some(Duration::from_millis(expected)), "{wait}");
    }
    for odd in ["soon", "", "s", "9999999999999999999999999h", "\u{e9}s", "1.2.3s"] {
        assert_eq!(
            read(429, &json!({"message": format!("try again in {odd}")}).to_string()).retry_after,
            None,
            "{odd}"
        );
    }
    assert!(read(500, "").message.contains("500"));
    assert_eq!(OWN.format().write_error(&ProviderError::new(429, "Slow"))["error"]["code"], "rate_limit_exceeded");
}

proptest! {
    /// Parts that grow by turns, whether their ends are told or not, are all written.
    #[test]
    fn every_piece_is_written(steps in prop::collection::vec((0..5usize, 0..4usize, "[a-z]{1,4}"), 0..30)) {
        let (mut deltas, mut count, mut ended) = (vec![Delta::Begin(Answer::default())], 0, Vec::new());
        let mut said = String::new();
        for (what, index, text) in steps {
            match what {
                0 => {
                    let contents = [Content::Text(text.clone()), Content::Reasoning(text.clone()),
                        Content::Refusal(text.clone()), calls("c")];
                    let content = contents.into_iter().nth(index).unwrap();
                    if index < 3 {
                        said.push_str(&text);
                    }
                    deltas.push(begins(count, content));
                    ended.push(false);
                    count += 1;
                }
                1 if index < count => {
                    deltas.push(Delta::PartEnd { index, seal: None, extra: Default::default() });
                    ended[index] = true;
                }
                _ if index < count && !ended[index] => {
                    said.push_str(&text);
                    deltas.push(grows(index, &text));
                }
                _ => {}
            }
        }
        deltas.push(Delta::Finish(Finish::Stop));
        let events = written(&deltas, &frame());
        let pieces = events.iter().filter_map(|event| event["delta"].as_str());
        let mut told: Vec<char> = pieces.flat_map(str::chars).collect();
        let mut said: Vec<char> = said.chars().collect();
        told.sort_unstable();
        said.sort_unstable();
        prop_assert_eq!(told, said);
        let read: Vec<Event> = events.iter().map(event).collect();
        let (end, deltas) = streamed(&read);
        prop_assert_eq!(end, Ok(()));
        prop_assert_eq!(assembled(deltas).unwrap().lossy, None);
    }
}
