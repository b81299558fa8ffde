use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn ask(request: &Value) -> Question {
    chat_question(&Json::parse(request.to_string().as_bytes()).unwrap(), &["user".into()], &[None, None])
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
    assert_eq!(a.reach, Reach::Semantic);
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
    let namespaced =
        chat_question(&Json::parse(base().to_string().as_bytes()).unwrap(), &["user".into()], &[Some("n"), None]);
    assert_ne!(namespaced.fingerprint, original);
    let queried =
        chat_question(&Json::parse(base().to_string().as_bytes()).unwrap(), &["user".into()], &[None, Some("n")]);
    assert!(queried.fingerprint != original && queried.fingerprint != namespaced.fingerprint);
}

#[test]
fn delivery_ignored_fields_nulls_and_the_spelling_of_content_do_not_matter() {
    let original = ask(&base());
    for (key, value) in [
        ("stream", json!(true)),
        ("stream_options", json!({"include_usage": true})),
        ("cache", json!({"ttl": 5})),
        ("user", json!("u1")),
        ("seed", json!(null)),
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
    assert_eq!((question.text.as_str(), question.reach), ("What is it?", Reach::Semantic));
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
        assert!(matches!(ask(&request).reach, Reach::Bypass(_)), "{key}: {request}");
    }
    let twice = br#"{"model": "a", "model": "b", "messages": [{"role": "user", "content": "hi"}]}"#;
    assert!(matches!(chat_question(&Json::parse(twice).unwrap(), &[], &[None, None]).reach, Reach::Bypass(_)));
}

#[test]
fn after_a_tool_result_and_without_words_only_the_exact_request_serves() {
    let mut request = base();
    request["messages"].as_array_mut().unwrap().push(json!({"role": "tool", "tool_call_id": "1", "content": "42"}));
    let question = ask(&request);
    assert!(matches!(question.reach, Reach::ExactOnly(_)));
    let mut other_result = request.clone();
    other_result["messages"][4]["content"] = json!("43");
    assert_ne!(ask(&other_result).fingerprint, question.fingerprint);
    for text in ["", "   ", "?!"] {
        let mut request = base();
        request["messages"][3]["content"] = json!(text);
        assert!(matches!(ask(&request).reach, Reach::ExactOnly(_)), "{text:?}");
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
