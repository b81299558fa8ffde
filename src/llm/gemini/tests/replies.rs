use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::llm::{Finish, ProviderError, Terminal, Usage, playback};

#[test]
fn errors_are_told_with_their_codes_and_waits() {
    let quota = |delay: &str| {
        json!({"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED", "details": [
            {"@type": "x"}, {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]}})
    };
    let read = |status: u16, body: &str| FORMAT.read_error(status, &|_| None, body.as_bytes());
    for (delay, expected) in [
        ("17s", Some(Duration::from_secs(17))),
        ("0.5s", Some(Duration::from_millis(500))),
        ("0s", Some(Duration::ZERO)),
        ("-1s", None),
        ("1e400s", None),
        ("NaNs", None),
        ("17", None),
        ("", None),
    ] {
        let told = read(429, &json!([quota(delay)]).to_string());
        let code = Some("RESOURCE_EXHAUSTED".to_owned());
        let expected = ProviderError { code, retry_after: expected, ..ProviderError::new(429, "slow down") };
        assert_eq!(told, expected, "{delay}");
        assert_eq!(read(429, &FORMAT.write_error(&told).to_string()), told);
    }
    let nothing = "the provider answered with status 502";
    for body in
        ["", "  ", "<html>Bad gateway</html>", "{}", "[]", "{\"error\": {}}", "{\"error\": {\"message\": \"\"}}"]
    {
        assert_eq!(read(502, body), ProviderError::new(502, nothing), "{body}");
    }
    assert_eq!(read(502, " upstream gone \n").message, "upstream gone");
    assert_eq!(read(502, &"\u{fc}".repeat(9_000)).message.chars().count(), 500);
    let oauth = read(400, r#"{"error": "invalid_grant", "error_description": "Account not found"}"#);
    assert_eq!((oauth.message.as_str(), oauth.code.as_deref()), ("Account not found", Some("invalid_grant")));
    for (status, word) in [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (413, "INVALID_ARGUMENT"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (529, "UNAVAILABLE"),
    ] {
        assert_eq!(FORMAT.write_error(&ProviderError::new(status, "x"))["error"]["status"], word);
    }
}

#[test]
fn endings() {
    let of = |parts: Value, reason: &str| FORMAT.read_reply(reply(parts, reason)).map(|answer| answer.finish);
    let (text, calls) = (json!([{"text": "a"}]), json!([{"functionCall": {"name": "f"}}]));
    assert_eq!(of(text.clone(), "STOP"), Ok(Finish::Stop));
    assert_eq!(of(calls.clone(), "STOP"), Ok(Finish::ToolCalls));
    assert_eq!(of(calls.clone(), "FUNCTION_CALL"), Ok(Finish::ToolCalls));
    assert_eq!(of(calls, "MAX_TOKENS"), Ok(Finish::Length));
    for filtered in
        ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "OTHER", "IMAGE_SAFETY", "NEW"]
    {
        assert_eq!(of(text.clone(), filtered), Ok(Finish::ContentFilter), "{filtered}");
    }
    for failure in [
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
    ] {
        assert!(of(text.clone(), failure).is_err());
    }
    for (finish, word) in [
        (Finish::Stop, "STOP"),
        (Finish::StopSequence(None), "STOP"),
        (Finish::ToolCalls, "STOP"),
        (Finish::Length, "MAX_TOKENS"),
        (Finish::Refusal, "SAFETY"),
        (Finish::Other(FormatId::OpenAiChat, "x".into()), "OTHER"),
    ] {
        let answer = Answer { finish, ..Answer::of_text("a") };
        assert_eq!(FORMAT.write_reply(&answer, &Frame::default())["candidates"][0]["finishReason"], word);
    }
}

#[test]
fn usage_counts_thoughts_as_output() {
    let mut body = reply(json!([{"text": "a"}]), "STOP");
    body["usageMetadata"] = json!({"promptTokenCount": 10, "toolUsePromptTokenCount": 2, "candidatesTokenCount": 5,
        "thoughtsTokenCount": 7, "cachedContentTokenCount": 4, "totalTokenCount": 24});
    let usage = FORMAT.read_reply(body).unwrap().usage.unwrap();
    assert_eq!((usage.input, usage.cached_input, usage.output, usage.reasoning), (12, 4, 12, 7));
    let answer = Answer { usage: Some(Usage { raw: None, ..usage }), ..Answer::of_text("a") };
    assert_eq!(
        FORMAT.write_reply(&answer, &Frame::default())["usageMetadata"],
        json!({"promptTokenCount": 12, "candidatesTokenCount": 5, "totalTokenCount": 24, "cachedContentTokenCount": 4,
            "thoughtsTokenCount": 7})
    );
    assert_eq!(FORMAT.read_reply(reply(json!([{"text": "a"}]), "STOP")).unwrap().usage, None);
}

#[test]
fn what_is_no_answer_is_an_error() {
    for body in [
        json!({}),
        json!([]),
        json!("x"),
        json!({"candidates": []}),
        json!({"candidates": [], "promptFeedback": {}}),
        json!({"candidates": [{"content": {"parts": [{"text": "a"}]}}]}),
        json!({"candidates": {"a": 1}}),
        json!({"candidates": [{"finishReason": "STOP"}, {"finishReason": "STOP", "index": 1}]}),
        json!({"error": {"message": "x"}}),
        json!([{"error": {"code": 500}}]),
        reply(json!([{"text": 5}]), "STOP"),
        reply(json!([{"text": "a", "functionCall": {"name": "f"}}]), "STOP"),
        reply(json!([{"functionCall": {"name": ""}}]), "STOP"),
        reply(json!([{"functionCall": {"name": "f", "args": "{}"}}]), "STOP"),
        reply(json!([{"functionCall": {"name": "f", "willContinue": true}}]), "STOP"),
        reply(json!(["text"]), "STOP"),
    ] {
        assert!(FORMAT.read_reply(body.clone()).is_err(), "{body}");
        assert!(streamed(std::slice::from_ref(&body)).1.is_some() || body["candidates"][1].is_object(), "{body}");
    }
    let drawn = FORMAT.read_reply(reply(json!([{"text": "a"}, {"hologram": 1}]), "STOP")).unwrap();
    assert_eq!((drawn.text().as_str(), drawn.lossy.as_deref()), ("a", Some("hologram")));
}

#[test]
fn ids_of_calls_are_made_the_same_way_each_time() {
    let nameless = json!({"functionCall": {"name": "f"}});
    let parts = json!([nameless, {"functionCall": {"name": "f", "id": "own"}}, nameless]);
    let ids = |answer: &Answer| -> Vec<String> {
        let ids = answer
            .parts
            .iter()
            .filter_map(|part| if let Content::ToolCall(call) = &part.content { Some(call.id.clone()) } else { None });
        ids.collect()
    };
    let mut body = reply(parts.clone(), "STOP");
    let answer = FORMAT.read_reply(body.clone()).unwrap();
    assert_eq!(ids(&answer), ["call_r1_0", "own", "call_r1_2"]);
    let written = FORMAT.write_reply(&answer, &Frame::default());
    let told =
        ["args", "id"].map(|name| written["candidates"][0]["content"]["parts"][2]["functionCall"].get(name).cloned());
    assert_eq!(told, [Some(json!({})), None]);
    let mut first = reply(json!([parts[0], parts[1]]), "STOP");
    first["candidates"][0].as_object_mut().unwrap().shift_remove("finishReason");
    assert_eq!(ids(&assembled(&[first, reply(json!([parts[2]]), "STOP")])), ids(&answer));
    body["responseId"] = json!("");
    let unnamed = ids(&FORMAT.read_reply(body.clone()).unwrap());
    assert_eq!(unnamed, ids(&FORMAT.read_reply(body.clone()).unwrap()));
    body["usageMetadata"] = json!({"promptTokenCount": 7});
    assert_ne!(unnamed, ids(&FORMAT.read_reply(body.clone()).unwrap()));
    body["responseId"] = json!("x+/".repeat(100));
    assert!(ids(&FORMAT.read_reply(body).unwrap())[0].len() <= 40);
}

#[test]
fn a_stream_says_what_a_whole_reply_says() {
    for case in ["text", "tools", "parallel-tools", "thinking"] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gemini").join(case);
        let events = golden::events(&std::fs::read_to_string(folder.join("stream.sse")).unwrap());
        let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(&event.data).unwrap()).collect();
        let whole: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("reply.json")).unwrap()).unwrap();
        assert_eq!(FORMAT.write_reply(&assembled(&events), &Frame::default()), whole, "{case}");
        for (i, end) in events.iter().enumerate() {
            let is_last = i + 1 == events.len();
            assert_eq!(FORMAT.terminal(&event(end)), is_last.then_some(Terminal::Whole), "{case}");
            assert_eq!(streamed(&events[..i]).1, Some(StreamFault::Truncated), "{case}");
        }
    }
}

#[test]
fn streams_end_for_the_worse_of_two_reasons() {
    let text = json!([{"text": "a"}]);
    let twice = |first: &str, second: &str| assembled(&[reply(text.clone(), first), reply(json!([]), second)]).finish;
    assert_eq!(twice("STOP", "STOP"), Finish::Stop);
    assert_eq!(twice("STOP", "SAFETY"), Finish::ContentFilter);
    assert_eq!(twice("MAX_TOKENS", "STOP"), Finish::Length);
    let late = json!({"usageMetadata": {"promptTokenCount": 1}});
    let answer = assembled(&[reply(text.clone(), "STOP"), parts(json!([{"text": "b"}])), late]);
    assert_eq!((answer.text().as_str(), answer.usage.unwrap().input), ("ab", 1));
    let blocked = assembled(&[json!({"promptFeedback": {"blockReason": "OTHER"}})]);
    assert_eq!((blocked.finish, blocked.parts.len()), (Finish::ContentFilter, 0));
}

#[test]
fn errors_within_a_stream_end_it() {
    for (fault, status, message) in [
        (json!({"error": {"code": 429, "message": "slow down"}}), 429, "slow down"),
        (json!([{"error": {"code": 503, "message": "overloaded"}}]), 503, "overloaded"),
        (json!({"error": {}}), 500, "the provider answered with status 500"),
        (json!({"error": {"code": 1_000_000}}), 500, "the provider answered with status 500"),
        (reply(json!([]), "MALFORMED_FUNCTION_CALL"), 502, "the model failed (MALFORMED_FUNCTION_CALL)"),
    ] {
        assert_eq!(FORMAT.terminal(&event(&fault)), Some(Terminal::Error));
        let (mut reader, mut out) = (FORMAT.stream_reader(), Vec::new());
        reader.read(&event(&reply(json!([{"text": "a"}]), "STOP")), &mut out).unwrap();
        match reader.read(&event(&fault), &mut out) {
            Err(StreamFault::Provider(error)) => assert_eq!((error.status, error.message.as_str()), (status, message)),
            other => panic!("{other:?}"),
        }
        assert_eq!(reader.read(&event(&reply(json!([]), "STOP")), &mut out), Err(StreamFault::Truncated));
        assert_eq!(reader.finish(&mut out), Err(StreamFault::Truncated));
    }
    for data in
        ["oops", "[]", "5", "null", "{\"candidates\": 5}", "{\"candidates\": [{\"content\": {\"parts\": [5]}}]}"]
    {
        let told = Event { name: String::new(), data: data.into() };
        assert!(
            matches!(FORMAT.stream_reader().read(&told, &mut Vec::new()), Err(StreamFault::Malformed(_))),
            "{data}"
        );
        assert_eq!(FORMAT.terminal(&told), None);
    }
}

#[test]
fn words_within_an_answer_end_no_stream() {
    let text = "{\"error\": {\"code\": 1}, \"finishReason\": \"STOP\", \"blockReason\": \"x\"}";
    let args: Value = serde_json::from_str(text).unwrap();
    for told in [json!([{"text": text}]), json!([{"functionCall": {"name": "f", "args": args}}])] {
        assert_eq!(FORMAT.terminal(&event(&parts(told.clone()))), None);
        assert_eq!(streamed(&[parts(told)]).1, Some(StreamFault::Truncated));
    }
    for data in ["", " \n", "[DONE]"] {
        let told = Event { name: String::new(), data: data.into() };
        assert_eq!(FORMAT.stream_reader().read(&told, &mut Vec::new()), Ok(()));
    }
}

#[test]
fn what_cannot_be_joined_is_lossy() {
    let cited = |at: u64| {
        let mut told = reply(json!([{"text": "a"}]), "STOP");
        told["candidates"][0]["citationMetadata"] = json!({"at": at});
        told["candidates"][0]["safetyRatings"] = json!([at]);
        told
    };
    assert_eq!(assembled(&[cited(1), cited(1)]).lossy, None);
    assert_eq!(assembled(&[cited(1), cited(2)]).lossy.as_deref(), Some("citationMetadata"));
    let mut second = parts(json!([{"text": "b"}]));
    second["candidates"][0]["index"] = 1.into();
    let answer = assembled(&[reply(json!([{"text": "a"}]), "STOP"), second]);
    assert_eq!((answer.text().as_str(), answer.lossy.as_deref()), ("a", Some("candidates")));
}

/// An answer with parts of all kinds.
fn rich() -> Answer {
    let thought = sealed(Part::new(Content::Reasoning("I think. ".repeat(20))), Issuer::Google, "c2ln");
    let text = Part::text("Long text. ".repeat(20));
    let calls =
        [sealed(call("call_a_0", "f", "{\"a\":[1,2.5,\"x\"]}"), Issuer::Google, "dA=="), call("own", "g", "{}")];
    Answer {
        id: "a".into(),
        model: "m".into(),
        parts: [thought, text].into_iter().chain(calls).collect(),
        finish: Finish::ToolCalls,
        usage: Some(Usage { input: 3, output: 5, ..Usage::default() }),
        ..Answer::default()
    }
}

#[test]
fn an_answer_survives_a_stream_whatever_grows_first() {
    let answer = rich();
    let usage = |mut answer: Answer| {
        answer.usage.as_mut().unwrap().raw = None;
        answer
    };
    assert_eq!(usage(through_a_stream(&playback(&answer))), answer);
    let mut deltas = playback(&answer);
    // All parts begin at once and grow by turns.
    deltas.sort_by_key(|delta| match delta {
        Delta::Begin(_) => 0,
        Delta::PartBegin { .. } => 1,
        Delta::PartGrow { .. } => 2,
        Delta::PartEnd { index, .. } => 9 - index,
        _ => 10,
    });
    assert_eq!(usage(through_a_stream(&deltas)), answer);
    let read = FORMAT.read_reply(FORMAT.write_reply(&answer, &Frame::default())).unwrap();
    assert_eq!(usage(read), answer);
}

#[test]
fn replies_of_other_formats_lose_only_what_is_foreign() {
    let parts = vec![
        Part::new(Content::Refusal("no".into())),
        Part::new(Content::Foreign(FormatId::Anthropic, json!({}))),
        call("x", "f", "{\"city\": \""),
    ];
    let answer = Answer { parts, finish: Finish::ToolCalls, ..Answer::default() };
    let frame = Frame { id: "i".into(), model: "m".into(), ..Frame::default() };
    let written = FORMAT.write_reply(&answer, &frame);
    assert_eq!(
        written,
        json!({"candidates": [{"content": {"parts": [{"text": "no"},
            {"functionCall": {"name": "f", "args": {"arguments": "{\"city\": \""}, "id": "x"}}], "role": "model"},
        "finishReason": "STOP", "index": 0}], "modelVersion": "m", "responseId": "i"})
    );
}
