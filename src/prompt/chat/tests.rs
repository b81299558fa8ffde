use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::llm::FormatId;

fn ask_apart(request: &Value, apart: &[Option<&str>]) -> Question {
    let partition = Partition { ignored: &["user".into()], apart, provider_keeps_answers: false };
    match FormatId::OpenAiChat.format().read_request(request.clone()) {
        Ok(chat) => Question::of_chat(&chat, &partition),
        Err(_) => Question::bypassing("", "the request is not understood"),
    }
}

fn ask(request: &Value) -> Question {
    ask_apart(request, &[None, None])
}

fn base() -> Value {
    json!({
        "model": "fast",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": "What is the capital of France?"},
        ],
        "temperature": 0.2,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "response_format": {"type": "text"},
    })
}

#[test]
fn the_last_user_text_is_the_question_and_nothing_of_it_is_in_the_fingerprint() {
    let mut other = base();
    other["messages"][3]["content"] = json!("And of Spain?");
    let (a, b) = (ask(&base()), ask(&other));
    assert_eq!(a.text, "What is the capital of France?");
    assert_eq!(b.text, "And of Spain?");
    assert_eq!(a.fingerprint, b.fingerprint);
    assert_eq!(a.cacheability, Cacheability::Semantic);
}

#[test]
fn whatever_else_changes_changes_the_fingerprint() {
    let changes: [(&str, Value); 14] = [
        ("/model", json!("slow")),
        ("/messages/0/content", json!("Be verbose.")),
        ("/messages/0/role", json!("developer")),
        ("/messages/1/content", json!("Hey")),
        ("/messages/2/content", json!("Hello?")),
        ("/messages/3", json!({"role": "user", "content": "What is the capital of France?", "name": "bob"})),
        ("/messages/3/content", json!([{"type": "text", "text": "Context"}, {"type": "text", "text": "What?"}])),
        ("/temperature", json!(0.3)),
        ("/tools/0/function/name", json!("g")),
        ("/tools/0/function/parameters/type", json!("array")),
        ("/response_format", json!({"type": "json_object"})),
        ("/response_format/type", json!("json_object")),
        ("/tools", json!(null)),
        ("/messages/1/role", json!("assistant")),
    ];
    let original = ask(&base()).fingerprint;
    for (path, value) in changes {
        let mut changed = base();
        *changed.pointer_mut(path).unwrap() = value;
        assert_ne!(ask(&changed).fingerprint, original, "{path}");
    }
    for (key, value) in
        [("seed", json!(1)), ("max_tokens", json!(5)), ("reasoning_effort", json!("low")), ("x", json!(0))]
    {
        let mut changed = base();
        changed[key] = value;
        assert_ne!(ask(&changed).fingerprint, original, "{key}");
    }
    let mut shorter = base();
    shorter["messages"].as_array_mut().unwrap().remove(1);
    assert_ne!(ask(&shorter).fingerprint, original);
    let namespaced = ask_apart(&base(), &[Some("n"), None]);
    assert_ne!(namespaced.fingerprint, original);
    let queried = ask_apart(&base(), &[None, Some("n")]);
    assert!(queried.fingerprint != original && queried.fingerprint != namespaced.fingerprint);
}

#[test]
fn delivery_ignored_fields_nulls_and_the_spelling_of_content_do_not_matter() {
    let original = ask(&base());
    for (key, value) in [
        ("stream", json!(true)),
        ("stream_options", json!({"include_usage": true})),
        ("user", json!("u1")),
        ("seed", json!(null)),
        ("metadata", json!({"run": "7"})),
        ("service_tier", json!("flex")),
        ("store", json!(false)),
        ("n", json!(1)),
        ("logprobs", json!(false)),
        ("top_p", json!(1)),
        ("frequency_penalty", json!(0.0)),
        ("logit_bias", json!({})),
        ("parallel_tool_calls", json!(true)),
        ("tool_choice", json!("auto")),
        ("response_format", json!(null)),
    ] {
        let mut changed = base();
        changed[key] = value;
        assert_eq!(ask(&changed), original, "{key}");
    }
    let mut parts = base();
    parts["messages"][3]["content"] = json!([{"type": "text", "text": "What is the capital of France?"}]);
    assert_eq!(ask(&parts), original);
}

#[test]
fn the_text_of_several_parts_is_the_last_one() {
    let mut request = base();
    request["messages"][3]["content"] = json!([
        {"type": "text", "text": "Look at this."},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "text", "text": "What is it?"},
    ]);
    let question = ask(&request);
    assert_eq!((question.text.as_str(), question.cacheability), ("What is it?", Cacheability::Semantic));
    let mut other_image = request.clone();
    other_image["messages"][3]["content"][1]["image_url"]["url"] = json!("data:image/png;base64,BBBB");
    assert_ne!(ask(&other_image).fingerprint, question.fingerprint);
    let mut other_first = request.clone();
    other_first["messages"][3]["content"][0]["text"] = json!("Look at that.");
    assert_ne!(ask(&other_first).fingerprint, question.fingerprint);
}

#[test]
fn what_cannot_be_cached_right_bypasses() {
    let changes: [(&str, Value); 13] = [
        ("n", json!(2)),
        ("logprobs", json!(true)),
        ("top_logprobs", json!(3)),
        ("modalities", json!(["text", "audio"])),
        ("audio", json!({"voice": "x"})),
        ("web_search_options", json!({})),
        ("store", json!(true)),
        ("tools", json!([{"type": "web_search"}])),
        ("messages", json!([])),
        (
            "messages",
            json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]),
        ),
        ("messages", json!([{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}])),
        ("messages", json!([{"role": "user", "content": [{"type": "hologram"}]}])),
        ("messages", json!([{"role": "user", "content": 5}])),
    ];
    for (key, value) in changes {
        let mut request = base();
        request[key] = value;
        assert!(matches!(ask(&request).cacheability, Cacheability::Bypass(_)), "{key}: {request}");
    }
}

#[test]
fn after_a_tool_result_and_without_words_only_the_exact_request_serves() {
    let mut request = base();
    request["messages"].as_array_mut().unwrap().push(json!({"role": "tool", "tool_call_id": "1", "content": "42"}));
    let question = ask(&request);
    assert!(matches!(question.cacheability, Cacheability::ExactOnly(_)));
    let mut other_result = request.clone();
    other_result["messages"][4]["content"] = json!("43");
    assert_ne!(ask(&other_result).fingerprint, question.fingerprint);
    for text in ["", "   ", "?!"] {
        let mut request = base();
        request["messages"][3]["content"] = json!(text);
        assert!(matches!(ask(&request).cacheability, Cacheability::ExactOnly(_)), "{text:?}");
    }
}

#[test]
fn fields_that_the_operator_ignores_do_not_matter() {
    let ignored = ["seed".to_owned(), "temperature".to_owned(), "x".to_owned()];
    let ask = |request: &Value| {
        let chat = FormatId::OpenAiChat.format().read_request(request.clone()).unwrap();
        Question::of_chat(&chat, &Partition { ignored: &ignored, ..Partition::default() }).fingerprint
    };
    let mut other = base();
    (other["seed"], other["temperature"], other["x"]) = (json!(5), json!(0.9), json!([1]));
    assert_eq!(ask(&other), ask(&base()));
    other["top_p"] = json!(0.5);
    assert_ne!(ask(&other), ask(&base()));
}

#[test]
fn what_the_provider_keeps_serves_the_same_request_only() {
    let chat = |store: bool| {
        let request = json!({"model": "m", "input": "What is it?", "store": store});
        FormatId::OpenAiResponses.format().read_request(request).unwrap()
    };
    let ask = |store, provider_keeps_answers| {
        Question::of_chat(&chat(store), &Partition { provider_keeps_answers, ..Partition::default() })
    };
    assert!(matches!(ask(true, true).cacheability, Cacheability::ExactOnly(_)));
    for question in [ask(true, false), ask(false, true), ask(false, false)] {
        assert_eq!(question.cacheability, Cacheability::Semantic);
        assert_eq!(question.fingerprint, ask(true, true).fingerprint);
    }
}

/// One request that says about everything, in each format that callers speak.
fn rich(format: FormatId) -> Value {
    let schema = json!({"type": "object", "properties": {"x": {"type": "integer", "enum": [1, 2]}}, "required": ["x"]});
    match format {
        FormatId::Anthropic => json!({
            "model": "m", "max_tokens": 100, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop_sequences": ["END"],
            "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
            "tools": [{"name": "f", "description": "d", "input_schema": schema, "strict": true, "defer_loading": true,
                "input_examples": [{"x": 1}]}],
            "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
            "thinking": {"type": "enabled", "budget_tokens": 50}, "unheard_of": {"a": [1, {"b": "c"}]},
            "output_config": {"format": {"type": "json_schema", "schema": schema}},
            "messages": [
                {"role": "user", "content": [
                    {"type": "document", "title": "t", "context": "c", "citations": {"enabled": true},
                        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    {"type": "text", "text": "Look.", "x": 1}]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s1"}, {"type": "redacted_thinking", "data": "d1"},
                    {"type": "text", "text": "Well."}, {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "a", "is_error": true, "content": [{"type": "text", "text": "r"}]},
                    {"type": "text", "text": "And then?"}]},
            ],
        }),
        FormatId::OpenAiResponses => json!({
            "model": "m", "instructions": "Be brief.", "max_output_tokens": 100, "temperature": 0.5, "top_p": 0.9,
            "tools": [{"type": "function", "name": "f", "description": "d", "parameters": schema, "strict": false}],
            "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": false, "truncation": "auto",
            "reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"],
            "text": {"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": true}, "verbosity": "low"},
            "unheard_of": {"a": [1, {"b": "c"}]},
            "input": [
                {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
                {"role": "user", "content": [
                    {"type": "input_text", "text": "Look."},
                    {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
                    {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}]},
                {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "e"},
                {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "f", "arguments": "{\"x\":1}"},
                {"type": "function_call_output", "call_id": "a", "output": "r"},
                {"role": "assistant", "content": [{"type": "output_text", "text": "Well."}]},
                {"role": "user", "content": "And then?"},
            ],
        }),
        _ => json!({
            "model": "m", "max_tokens": 100, "temperature": 0.5, "top_p": 0.9, "stop": ["END"], "seed": 7,
            "frequency_penalty": 0.1, "presence_penalty": 0.2, "reasoning_effort": "low", "verbosity": "low",
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema, "strict": true}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false,
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": true}},
            "unheard_of": {"a": [1, {"b": "c"}]}, "logit_bias": {"50": 1},
            "messages": [
                {"role": "system", "content": "Be brief."}, {"role": "developer", "content": "Be kind.", "name": "op"},
                {"role": "user", "content": [
                    {"type": "text", "text": "Look.", "x": 1},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}}]},
                {"role": "assistant", "content": "Well.", "reasoning_content": "hm", "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"},
                        "extra_content": {"google": {"thought_signature": "s1"}}}]},
                {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "r"}]},
                {"role": "user", "content": "And then?"},
            ],
        }),
    }
}

/// Where each value stands that holds no other.
fn leaves(value: &Value, path: &str, out: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Array(items) => items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect(),
        Value::Object(members) => members.iter().map(|(name, item)| (name.clone(), item)).collect(),
        _ => return out.push(path.to_owned()),
    };
    inner.into_iter().for_each(|(step, item)| leaves(item, &format!("{path}/{step}"), out));
}

/// A request in which one value is another one than in `request`: changed a little, replaced, renamed, or gone.
fn changed(request: &Value, place: usize, how: usize, salt: u64) -> (String, Value) {
    let mut places = Vec::new();
    leaves(request, "", &mut places);
    let path = places[place % places.len()].clone();
    let mut other = request.clone();
    let leaf = other.pointer_mut(&path).unwrap();
    *leaf = match (&*leaf, how % 3) {
        (Value::String(text), 0) => format!("{text}{salt}").into(),
        (Value::String(text), 1) => format!("{salt}{}", text.to_uppercase()).into(),
        (Value::Number(number), 0 | 1) => (number.as_f64().unwrap() + 1.0 + salt as f64).into(),
        (Value::Bool(flag), _) => (!flag).into(),
        _ => json!([salt]),
    };
    (path, other)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    /// Requests that differ in one value never share answers, whichever format they are in.
    #[test]
    fn requests_that_differ_in_one_value_do_not_share_answers(
        format in prop_oneof![Just(FormatId::OpenAiChat), Just(FormatId::OpenAiResponses), Just(FormatId::Anthropic)],
        place in any::<usize>(), how in 0..3usize, salt in 0..1000u64,
    ) {
        let request = rich(format);
        let (path, other) = changed(&request, place, how, salt);
        let Ok(chat) = format.format().read_request(request) else { panic!("the request must be read") };
        // What can't be read, or not be cached, shares nothing.
        let Ok(other) = format.format().read_request(other) else { return Ok(()) };
        let (a, b) = (Question::of_chat(&chat, &Partition::default()), Question::of_chat(&other, &Partition::default()));
        if !matches!(b.cacheability, Cacheability::Bypass(_)) {
            prop_assert!(a.fingerprint != b.fingerprint || a.text != b.text, "{:?} {}", format, path);
        }
    }
}

proptest! {
    /// Whatever a client sends: a question or a bypass, never a panic; and moving a character between the text and its
    /// neighbours is never the same question.
    #[test]
    fn texts_and_their_neighbours_do_not_run_together(a in "[ab]{0,3}", b in "[ab]{0,3}", c in "[ab]{0,3}", d in "[ab]{0,3}") {
        let two = |x: &str, y: &str| ask(&json!({"model": "m", "messages": [
            {"role": "user", "content": [{"type": "text", "text": x}, {"type": "text", "text": y}]}]}));
        let (p, q) = (two(&a, &b), two(&c, &d));
        prop_assert_eq!(p.fingerprint == q.fingerprint && p.text == q.text, a == c && b == d);
    }
}
