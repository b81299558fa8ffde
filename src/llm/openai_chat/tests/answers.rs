use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::super::reply::read_usage;
use super::*;

#[test]
fn wholes_streams_and_playbacks_say_the_same() {
    for (case, text) in golden("reply.json") {
        let whole: Value = serde_json::from_str(&text).unwrap();
        let Ok(answer) = FORMAT.read_reply(whole.clone()) else { continue };
        let write = |answer: &Answer| {
            let mut written = FORMAT.write_reply(answer, &frame(true));
            written["choices"][0]["message"].as_object_mut().unwrap().retain(|_, value| *value != json!([]));
            written
        };
        let expected = write(&answer);
        let mut told = events(&written(&playback(&answer), true));
        let (deltas, ended) = steps(&told);
        assert_eq!(ended, Ok(()), "{case}");
        let again = assembled(deltas).unwrap();
        let fields = "provider_specific_fields";
        let mut again_written = write(&again);
        if let Some(value) = expected["choices"][0]["message"].get(fields) {
            again_written["choices"][0]["message"][fields] = value.clone();
        }
        assert_eq!(again_written, expected, "{case}, played back");
        assert_eq!((again.parts, again.finish, again.lossy), (answer.parts, answer.finish, answer.lossy), "{case}");
        // However events are torn, and without an end mark.
        told.retain(|event| event.data != "[DONE]");
        assert_eq!(steps(&told).1, Ok(()), "{case}");

        let Ok(stream) = fs::read_to_string(Path::new(&case).join("stream.sse")) else { continue };
        let (deltas, ended) = steps(&events(&stream));
        if ended.is_ok() {
            let answer = assembled(deltas).unwrap();
            assert_eq!(answer.lossy, None, "{case}");
            let (mut streamed, mut expected) = (write(&answer), expected);
            for (reply, name) in [(&mut streamed, "usage"), (&mut expected, "usage")] {
                reply.as_object_mut().unwrap().remove(name);
            }
            expected["choices"][0]["message"].as_object_mut().unwrap().remove(fields);
            for name in ["service_tier", "system_fingerprint"] {
                if expected.get(name).is_none() {
                    streamed.as_object_mut().unwrap().remove(name);
                }
            }
            assert_eq!(streamed, expected, "{case}, streamed");
        }
    }
}

#[test]
fn calls_are_told_apart_or_the_answer_is_lossy() {
    let piece = |index: Option<u64>, id: &str, name: &str, arguments: &str| {
        let mut piece =
            json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        piece.as_object_mut().unwrap().retain(|_, value| !value.is_null() && value != "");
        chunk(json!({"tool_calls": [piece]}))
    };
    let calls = |pieces: &[Value]| {
        let mut chunks = pieces.to_vec();
        chunks.push(end("tool_calls"));
        let answer = streamed(&chunks).unwrap();
        let calls = answer.parts.iter().map(|part| match &part.content {
            Content::ToolCall(call) => format!("{} {} {}", call.id, call.name, call.arguments),
            other => panic!("{other:?}"),
        });
        (calls.collect::<Vec<_>>().join("; "), answer.lossy.is_some())
    };
    for (pieces, expected, lossy) in [
        (
            vec![
                piece(Some(0), "a", "f", ""),
                piece(Some(0), "", "", "{\"x\":"),
                piece(Some(1), "b", "g", "{}"),
                piece(Some(0), "", "", "1}"),
            ],
            "a f {\"x\":1}; b g {}",
            false,
        ),
        // An id and a name with every piece.
        (vec![piece(Some(0), "a", "f", "{\"x\""), piece(Some(0), "a", "f", ":1}")], "a f {\"x\":1}", false),
        // Several calls share an index.
        (vec![piece(Some(0), "a", "f", "{}"), piece(Some(0), "b", "g", "{}")], "a f {}; b g {}", true),
        (vec![piece(Some(0), "", "f", "{}"), piece(Some(0), "", "f", "{}")], "call_c1_0 f {}; call_c1_1 f {}", true),
        // No index, no ids; numbers that don't begin at 0.
        (vec![piece(None, "", "f", "{}"), piece(None, "", "g", "{}")], "call_c1_0 f {}; call_c1_1 g {}", false),
        (
            vec![piece(None, "a", "f", "{"), piece(None, "", "", "}"), piece(None, "b", "f", "{}")],
            "a f {}; b f {}",
            false,
        ),
        (vec![piece(Some(2), "a", "f", "{"), piece(Some(2), "", "", "}")], "a f {}", false),
        // The name comes late.
        (vec![piece(Some(0), "a", "", "{"), piece(Some(0), "", "f", "}")], "a f {}", false),
    ] {
        assert_eq!(calls(&pieces), (expected.to_owned(), lossy));
    }
    let late =
        [piece(Some(0), "a", "f", "{}"), piece(Some(1), "b", "g", "{}"), piece(Some(0), "", "", "x"), end("stop")];
    assert!(matches!(streamed(&late), Err(StreamFault::Malformed(_))));
    assert!(matches!(streamed(&[piece(Some(0), "a", "", "{}"), end("stop")]), Err(StreamFault::Malformed(_))));
    let custom = chunk(json!({"tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "c"}}]}));
    assert!(streamed(&[custom, chunk(json!({"content": "x"})), end("stop")]).unwrap().lossy.is_some());
}

#[test]
fn members_that_cannot_be_joined_are_lossy_and_others_are_not() {
    let text = chunk(json!({"content": "a"}));
    let of = |delta: Value| streamed(&[text.clone(), chunk(delta.clone()), chunk(delta), end("stop")]).unwrap();
    assert_eq!(of(json!({"hologram": [1]})).lossy, None);
    assert_eq!(of(json!({"annotations": [1]})).extra.get().unwrap().1["message"]["annotations"], json!([1, 1]));
    assert_eq!(of(json!({"provider_specific_fields": {"refusal": null}, "x": [], "y": ""})).extra, Extra::default());
    let both = of(json!({"reasoning_content": "a", "reasoning": "a"}));
    assert_eq!(both.extra.get().unwrap().1["message"]["reasoning"], "aa");
    let lossy =
        |first: Value, second: Value| streamed(&[text.clone(), first, second, end("stop")]).unwrap().lossy.is_some();
    assert!(lossy(chunk(json!({"x": {"a": 1}})), chunk(json!({"x": {"a": 2}}))));
    assert!(lossy(chunk(json!({"audio": {"data": "a"}})), chunk(json!({"audio": {"data": "b"}}))));
    assert!(lossy(chunk(json!({"function_call": {"name": "f"}})), text.clone()));
    assert!(lossy(chunk(json!({"content": [{"type": "hologram"}]})), text.clone()));
    let mut second = text.clone();
    second["choices"][0]["index"] = 1.into();
    assert!(lossy(second, text.clone()));
    let mut logged = text.clone();
    logged["choices"][0]["logprobs"] = json!({"content": [1]});
    assert!(lossy(logged, text.clone()));
    // What isn't a chunk says nothing.
    assert!(!lossy(json!({"type": "ping"}), text.clone()));
}

#[test]
fn streams_end_in_many_ways() {
    let text = chunk(json!({"content": "a"}));
    let done = |chunks: &[Value]| {
        let mut events: Vec<Event> = chunks.iter().map(event).collect();
        events.push(Event { name: String::new(), data: "[DONE]".into() });
        steps(&events).1
    };
    assert_eq!(done(&[text.clone(), end("stop")]), Ok(()));
    assert_eq!(done(std::slice::from_ref(&text)), Err(StreamFault::Truncated));
    assert_eq!(streamed(std::slice::from_ref(&text)), Err(StreamFault::Truncated));
    // Usage anywhere; text with the reason, and after it; two reasons.
    let mut with_usage = text.clone();
    with_usage["usage"] = json!({"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5});
    with_usage["choices"][0]["finish_reason"] = "stop".into();
    let answer = streamed(&[with_usage, chunk(json!({"content": "b"})), end("length"), end("stop")]).unwrap();
    assert_eq!((answer.text().as_str(), answer.finish), ("ab", Finish::Length));
    assert_eq!(answer.usage.unwrap().output, 3);

    let fails = |name: &str, data: &str| steps(&[Event { name: name.into(), data: data.into() }]).1.unwrap_err();
    for (name, data, status, message) in [
        ("", r#"{"error": {"message": "Slow down", "code": 429}}"#, 429, "Slow down"),
        ("", r#"{"error": {"message": "No", "code": "x"}, "choices": [{"finish_reason": "error"}]}"#, 502, "No"),
        ("", r#"{"error": "boom"}"#, 502, "boom"),
        ("error", r#"{"error": {"message": "boom", "status": "503"}}"#, 503, "boom"),
        ("error", r#"{"message": "boom", "type": "x"}"#, 502, "boom"),
        ("error", "boom", 502, "boom"),
        ("error", "{}", 502, "the provider doesn't say why"),
    ] {
        let StreamFault::Provider(error) = fails(name, data) else { panic!("{data}") };
        assert_eq!((error.status, error.message.as_str()), (status, message));
    }
    for data in ["{oops", "[]", "5", r#"{"choices": {}}"#, r#"{"choices": [5]}"#] {
        assert!(matches!(fails("", data), StreamFault::Malformed(_)), "{data}");
    }
    assert!(matches!(streamed(&[end("error")]), Err(StreamFault::Malformed(_))));
}

#[test]
fn what_an_answer_says_is_not_its_end() {
    let terminal = |name: &str, data: &str| FORMAT.terminal(&Event { name: name.into(), data: data.into() });
    assert_eq!(terminal("", "[DONE]"), Some(Terminal::End));
    assert_eq!(terminal("", &end("stop").to_string()), Some(Terminal::Whole));
    assert_eq!(terminal("", &format!("{:#}", end("length"))), Some(Terminal::Whole));
    assert_eq!(terminal("", &end("error").to_string()), Some(Terminal::Error));
    assert_eq!(terminal("", r#"{"error": {"message": "no"}}"#), Some(Terminal::Error));
    assert_eq!(terminal("error", "no"), Some(Terminal::Error));
    for text in ["[DONE]", "\"error\"", "{\"error\": {\"message\": 1}}", "\"finish_reason\": \"stop\"", "finish_reason"]
    {
        assert_eq!(terminal("", &chunk(json!({"content": text})).to_string()), None, "{text}");
    }
    assert_eq!(terminal("", r#"{"error": null, "choices": []}"#), None);
    assert_eq!(terminal("", r#"{"usage": {}, "choices": []}"#), None);
}

#[test]
fn what_is_no_answer_is_malformed() {
    let text = json!({"role": "assistant", "content": "a"});
    let mut two = reply(text.clone(), "stop");
    two["choices"] = json!([two["choices"][0], two["choices"][0]]);
    for body in [
        json!(null),
        json!([]),
        json!({}),
        json!({"choices": 5}),
        json!({"choices": []}),
        two,
        reply(json!(null), "stop"),
        reply(text.clone(), "error"),
        reply(json!({"content": 5}), "stop"),
        reply(json!({"tool_calls": [{"id": "c", "type": "function", "function": {"name": ""}}]}), "stop"),
        json!({"error": {"message": "x"}, "choices": [{"message": text, "finish_reason": "stop"}]}),
    ] {
        assert!(FORMAT.read_reply(body.clone()).is_err(), "{body}");
    }
    assert!(
        FORMAT
            .read_reply(reply(json!({"content": null, "function_call": {"name": "f"}}), "stop"))
            .unwrap()
            .lossy
            .is_some()
    );
}

#[test]
fn reasons_usage_and_ids_are_understood() {
    let read = |message: Value, word: &str| FORMAT.read_reply(reply(message, word)).unwrap();
    let text = json!({"content": "a"});
    let call = json!({"tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]});
    for (message, word, finish) in [
        (&text, "stop", Finish::Stop),
        (&text, "eos", Finish::Stop),
        (&call, "stop", Finish::ToolCalls),
        (&call, "tool_calls", Finish::ToolCalls),
        (&call, "length", Finish::Length),
        (&text, "max_tokens", Finish::Length),
        (&text, "content_filter", Finish::ContentFilter),
        (&json!({"refusal": "no"}), "stop", Finish::Refusal),
        (&text, "abort", Finish::Other(OWN, "abort".into())),
    ] {
        let answer = read(message.clone(), word);
        assert_eq!(answer.finish, finish, "{word}");
        assert_eq!(FORMAT.write_reply(&answer, &frame(false))["choices"][0]["finish_reason"], word);
    }
    let expected = ToolCall { id: "call_c1_0".into(), name: "f".into(), arguments: "{\"x\":1}".into() };
    assert_eq!(read(call, "stop").parts[0].content, Content::ToolCall(expected));
    let mut stopped = reply(text, "stop");
    stopped["choices"][0]["stop_reason"] = "END".into();
    assert_eq!(FORMAT.read_reply(stopped).unwrap().finish, Finish::StopSequence(Some("END".into())));

    let counts = |usage: Value| {
        let usage = read_usage(usage).unwrap();
        [usage.input, usage.cached_input, usage.cache_write, usage.output, usage.reasoning]
    };
    let details = json!({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 20, "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 7}});
    assert_eq!(counts(details), [9, 3, 0, 11, 7]);
    assert_eq!(
        counts(json!({"prompt_tokens": 9, "prompt_cache_hit_tokens": 5, "completion_tokens": 1})),
        [9, 5, 0, 1, 0]
    );
    assert_eq!(
        counts(json!({"prompt_tokens": 9, "cache_creation_input_tokens": 2, "total_tokens": 3})),
        [9, 0, 2, 0, 0]
    );
    assert_eq!(read_usage(json!({})), None);
}

#[test]
fn answers_of_other_formats() {
    let mut cited = Part::text("hot");
    let page = json!({"citations": [{"url": "https://a", "title": "A"}, {"type": "char_location"}]});
    cited.extra = Extra::new(FormatId::Anthropic, page.as_object().unwrap().clone());
    let answer = Answer {
        parts: vec![
            sealed(Content::Reasoning("Hm.".into()), Issuer::Anthropic, SealKind::Signature),
            sealed(Content::Reasoning(String::new()), Issuer::Anthropic, SealKind::Encrypted),
            sealed(Content::Text("\u{e9}t\u{e9}: ".into()), Issuer::Google, SealKind::Signature),
            cited,
            Part::new(Content::Foreign(FormatId::Anthropic, json!({"type": "server_tool_use"}))),
            sealed(Content::ToolCall(call("")), Issuer::Google, SealKind::Signature),
            Part::new(Content::ToolCall(call("own"))),
        ],
        finish: Finish::Other(FormatId::Anthropic, "pause_turn".into()),
        usage: Some(Usage { input: 3, cached_input: 1, output: 2, ..Usage::default() }),
        ..Answer::default()
    };
    let google = json!({"google": {"thought_signature": "s"}});
    let expected = json!({"id": "chatcmpl-7", "object": "chat.completion", "created": 9, "model": "m", "choices": [{"index": 0,
        "message": {"role": "assistant", "content": "\u{e9}t\u{e9}: hot", "refusal": null, "reasoning_content": "Hm.",
            "annotations": [{"type": "url_citation", "url_citation": {"start_index": 5, "end_index": 8, "url": "https://a", "title": "A"}}],
            "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "redacted_thinking", "data": "s"}],
            "tool_calls": [
                {"id": "call__0", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": google},
                {"id": "own", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            "extra_content": google},
        "logprobs": null, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 0}}});
    assert_eq!(FORMAT.write_reply(&answer, &frame(false)), expected);
    let (deltas, ended) = steps(&events(&written(&playback(&answer), true)));
    ended.unwrap();
    let mut streamed = FORMAT.write_reply(&assembled(deltas).unwrap(), &frame(false));
    streamed["choices"][0]["message"]["tool_calls"][0]["id"] = "call__0".into();
    assert_eq!(streamed, expected);
    // A signature that comes with a call's end, as late as that.
    let late = [
        Delta::Begin(Answer::default()),
        Delta::PartBegin { index: 0, part: Part::new(Content::ToolCall(call("c"))) },
        Delta::PartEnd { index: 0, seal: answer.parts[5].seal.clone(), extra: Extra::default() },
        Delta::Finish(Finish::ToolCalls),
    ];
    let (deltas, _) = steps(&events(&written(&late, false)));
    assert_eq!(assembled(deltas).unwrap().parts[0].seal, answer.parts[5].seal);
    assert_eq!(FORMAT.write_reply(&Answer::of_text("x"), &frame(false)).get("usage"), None);
    assert!(!written(&playback(&Answer::of_text("x")), true).contains("prompt_tokens"));
}

#[test]
fn errors_of_all_shapes() {
    let read = |status, body: &str| FORMAT.read_error(status, &|_| None, body.as_bytes());
    for (status, body, message, code) in [
        (
            429,
            r#"{"error": {"message": "Slow", "type": "tokens", "code": "rate_limit_exceeded"}}"#,
            "Slow",
            Some("rate_limit_exceeded"),
        ),
        (
            400,
            r#"{"error": {"message": "maximum context length is 5", "code": null}}"#,
            "maximum context length is 5",
            Some("context_length_exceeded"),
        ),
        (400, r#"{"object": "error", "message": "no", "code": 400}"#, "no", None),
        (400, r#"[{"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}]"#, "no", None),
        (500, r#"{"error": "boom"}"#, "boom", None),
        (404, r#"{"error": null, "detail": "Not Found"}"#, "Not Found", None),
        (422, r#"{"detail": [{"loc": ["body"], "msg": "Field required", "type": "missing"}]}"#, "Field required", None),
        (401, r#"{"message": "Unauthorized"}"#, "Unauthorized", None),
        (502, "", "the provider answered with status 502 and no explanation", None),
        (502, "[5]", "the provider answered with status 502 and: [5]", None),
    ] {
        let error = read(status, body);
        assert_eq!((error.status, error.message.as_str(), error.code.as_deref()), (status, message, code), "{body}");
    }
    assert!(FORMAT.read_error(500, &|_| None, &[0xff, 0xfe]).message.contains("500"));
    for (status, kind, code) in [
        (400, "invalid_request_error", None),
        (401, "authentication_error", Some("invalid_api_key")),
        (403, "permission_error", None),
        (404, "not_found_error", None),
        (429, "rate_limit_error", Some("rate_limit_exceeded")),
        (529, "server_error", None),
    ] {
        let written = FORMAT.write_error(&ProviderError::new(status, "m"));
        assert_eq!(written, json!({"error": {"message": "m", "type": kind, "param": null, "code": code}}));
    }
}
