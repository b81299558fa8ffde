//! Of requests.

use serde_json::{Value, json};

use super::{asks, cases, changed, read};
use crate::llm::FormatId;
use crate::llm::chat::{
    Chat, Content, Issuer, Message, Output, Part, Reasoning, Retention, Role, Sampling, Seal, SealKind, Source, Tool,
    ToolCall, ToolChoice, ToolResult,
};
use crate::llm::openai_responses::OWN;

/// Everything that has a field, and an unknown member at every level. No value is a default.
pub(super) fn rich() -> Value {
    json!({
        "model": "gpt-5.1", "instructions": "Be brief.", "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Metric.", "x": 1}],
                "y": 2},
            {"role": "user", "content": [
                {"type": "input_text", "text": "Look."},
                {"type": "input_image", "image_url": "https://a/b.png", "detail": "high"},
                {"type": "input_image", "file_id": "file-1", "x": 1},
                {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"},
                {"type": "input_file", "file_data": "AAAA"},
                {"type": "input_file", "file_url": "https://a/b.pdf"},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "input_scent", "scent": {"of": "rose"}}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "One."},
                {"type": "summary_text", "text": "Two."}], "content": [{"type": "reasoning_text", "text": "Raw."}],
                "encrypted_content": "gAAA", "x": 1},
            {"type": "message", "role": "assistant", "id": "msg_1", "phase": "commentary", "content": [
                {"type": "output_text", "text": "Well.", "annotations": [{"type": "url_citation", "url": "https://a"}]},
                {"type": "refusal", "refusal": "No."}]},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{\"a\": 1}", "x": 1},
            {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "t"},
                {"type": "input_text", "text": "u"}], "id": "fco_1"},
            {"type": "function_call_output", "call_id": "c1", "output": "done"},
            {"type": "item_reference", "id": "msg_0"},
            {"type": "teleport_call", "where": ["Rome"]},
            {"role": "assistant", "content": "Done."}],
        "tools": [{"type": "function", "name": "f", "description": "Does.", "strict": false, "defer_loading": true,
            "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}, {"type": "web_search",
                "size": 1}],
        "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
        "parallel_tool_calls": false, "max_output_tokens": 100, "temperature": 0.5, "top_p": 0.5, "top_logprobs": 2,
        "text": {"format": {"type": "json_schema", "name": "n", "description": "d", "schema": {"type": "object"},
            "strict": true, "x": 1}, "verbosity": "low"},
        "reasoning": {"effort": "high", "summary": "auto", "x": 1}, "include": ["reasoning.encrypted_content"],
        "truncation": "auto", "previous_response_id": "resp_0", "background": true, "conversation": {"id": "conv_1"},
        "prompt": {"id": "pmpt_1", "variables": {"a": "b"}}, "max_tool_calls": 3, "top_k": 4, "seed": 5,
            "stop": ["END"],
        "frequency_penalty": 0.5, "presence_penalty": 0.5, "unheard_of": {"a": [1]}, "context_management": [{"x": 1}],
    })
}

#[test]
fn requests_that_differ_in_a_value_are_read_differently() {
    let rich = rich();
    let chat = read(rich.clone());
    let change = |value: &Value| match value {
        Value::String(text) => vec![json!(format!("{text}x")), Value::Null],
        Value::Number(number) => vec![json!(number.as_f64().unwrap() + 1.0)],
        Value::Bool(flag) => vec![json!(!flag)],
        Value::Array(items) => vec![items.iter().skip(1).cloned().collect(), Value::Null],
        Value::Object(members) => {
            let mut more = members.clone();
            more.insert("new".into(), json!(1));
            let mut all = vec![Value::from(more), Value::Null];
            all.extend(members.keys().map(|name| {
                let mut fewer = members.clone();
                fewer.shift_remove(name);
                fewer.into()
            }));
            all
        }
        Value::Null => vec![],
    };
    let changed = changed(&rich, &change);
    assert!(changed.len() > 300);
    for (path, body) in changed {
        // A message needs no type, nor does a reference, nor a part that is a text.
        let says_nothing = |body: &Value| {
            let mut with = body.clone();
            for item in with["input"]
                .as_array_mut()
                .into_iter()
                .flatten()
                .filter(|item| item.get("role").is_some() || item["type"] == "item_reference")
            {
                item.as_object_mut().unwrap().shift_remove("type");
            }
            for pointer in [
                "/input/0/content",
                "/input/1/content",
                "/input/2/summary",
                "/input/2/content",
                "/input/3/content",
                "/input/5/output",
            ] {
                for part in with.pointer_mut(pointer).and_then(Value::as_array_mut).into_iter().flatten() {
                    if part.get("text").is_some() && part.is_object() {
                        part.as_object_mut().unwrap().shift_remove("type");
                    }
                }
            }
            fn strip(value: &mut Value) {
                match value {
                    Value::Object(members) => {
                        members.retain(|_, value| !value.is_null());
                        members.values_mut().for_each(strip);
                    }
                    Value::Array(items) => items.iter_mut().for_each(strip),
                    _ => {}
                }
            }
            strip(&mut with);
            with
        };
        if says_nothing(&body) == says_nothing(&rich) {
            continue;
        }
        if let Ok(other) = OWN.format().read_request(body.clone()) {
            assert_ne!(other, chat, "{path}: {body}");
        }
    }
}

#[test]
fn what_says_nothing_is_read_as_nothing() {
    for members in [
        json!({"tools": [], "tool_choice": "auto", "parallel_tool_calls": true, "top_p": 1, "top_logprobs": 0,
            "background": false,
            "truncation": "disabled", "include": [], "stream": false, "conversation": null, "prompt": null,
                "instructions": "",
            "text": {"format": {"type": "text"}, "verbosity": "medium"}, "reasoning": {"effort": null},
                "presence_penalty": 0}),
        json!({"input": [{"role": "user", "content": "Hi"}]}),
        json!({"input": [{"type": "message", "status": "completed", "role": "user",
            "content": [{"type": "input_text", "text": "Hi"}]}]}),
    ] {
        assert_eq!(asks(members.clone()), asks(json!({})), "{members}");
    }
    let call = |extra: Value| {
        let mut item = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"});
        item.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        asks(json!({"input": [item]}))
    };
    assert_eq!(call(json!({"id": "fc_refrain_01A_0", "status": "completed"})), call(json!({})));
    let seen =
        asks(json!({"metadata": {"a": "b"}, "service_tier": "flex", "user": "u", "store": true, "stream": true}));
    assert_eq!(Chat { unseen: Default::default(), user: None, delivery: Default::default(), ..seen }, asks(json!({})));
    let strict = |said: Value| {
        let schema = json!({"type": "object", "properties": {}, "required": [], "additionalProperties": false});
        let tool = json!({"type": "function", "name": "f", "strict": said, "parameters": schema});
        asks(json!({"tools": [tool]})).tools.remove(0)
    };
    assert_eq!(strict(Value::Null), strict(json!(true)));
    assert!(matches!(strict(json!(true)), Tool::Function { strict: Some(true), .. }));
    assert!(matches!(strict(json!(false)), Tool::Function { strict: None, .. }));
    // Absent, it means "if possible": others are told that it isn't.
    let open = asks(json!({"tools": [{"type": "function", "name": "f", "parameters": {"type": "object",
            "properties": {"a": {}}}}]}));
    assert!(matches!(&open.tools[0], Tool::Function { strict: None, .. }));
    assert_eq!(OWN.format().write_request(&open, "m").unwrap()["tools"][0].get("strict"), None);
}

#[test]
fn what_the_provider_keeps_is_known() {
    for (members, retention, indispensable, uncacheable) in [
        (json!({}), Retention::Answer, None, false),
        (json!({"store": true}), Retention::Answer, None, false),
        (json!({"store": false}), Retention::Nothing, None, false),
        (json!({"previous_response_id": "r", "store": false}), Retention::Answer, Some("previous_response_id"), false),
        (json!({"conversation": "c"}), Retention::Changing, Some("conversation"), false),
        (json!({"background": true, "store": true}), Retention::Changing, Some("background"), false),
        (json!({"prompt": {"id": "p"}, "input": null}), Retention::Answer, Some("prompt"), true),
        (json!({"top_logprobs": 2}), Retention::Answer, Some("top_logprobs"), true),
        (json!({"include": ["message.output_text.logprobs"]}), Retention::Answer, Some("top_logprobs"), true),
        (json!({"tools": [{"type": "file_search"}]}), Retention::Answer, None, true),
        (json!({"tools": [{"type": "custom", "name": "x"}]}), Retention::Answer, None, false),
        (json!({"input": [{"id": "msg_1"}]}), Retention::Answer, None, true),
        (json!({"input": [{"type": "compaction", "id": "x"}]}), Retention::Answer, None, true),
        (json!({"input": [{"role": "user", "content": [{"type": "odd"}]}]}), Retention::Answer, None, true),
        (json!({"input": [{"role": "assistant", "content": [{"type": "odd"}]}]}), Retention::Answer, None, true),
        (json!({"input": [{"type": "custom_tool_call", "call_id": "x"}]}), Retention::Answer, None, false),
    ] {
        let chat = asks(members.clone());
        let found = (chat.retention, chat.indispensable, chat.uncacheable.is_some());
        assert_eq!(found, (retention, indispensable, uncacheable), "{members}");
    }
    for wrong in [
        json!([]),
        json!({"model": "m"}),
        json!({"input": 5}),
        json!({"input": [7]}),
        json!({"input": [{"x": 1}]}),
        json!({"input": [{"role": "tool", "content": ""}]}),
        json!({"input": "", "tools": [{"type": "function"}]}),
    ] {
        assert!(OWN.format().read_request(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn a_turn_of_items_is_one_message() {
    let call = |id: &str| json!({"type": "function_call", "call_id": id, "name": "f", "arguments": "{}"});
    let output = |id: &str| json!({"type": "function_call_output", "call_id": id, "output": "x"});
    let said = |text: &str| json!({"role": "assistant", "content": text});
    let thought = json!({"type": "reasoning", "summary": [], "encrypted_content": "g"});
    let chat =
        asks(json!({"input": [said("a"), said("b"), call("1"), call("2"), output("1"), output("2"), thought, thought,
            call("3")]}));
    let shape: Vec<(Role, usize)> = chat.messages.iter().map(|message| (message.role, message.parts.len())).collect();
    assert_eq!(
        shape,
        [(Role::Assistant, 1), (Role::Assistant, 3), (Role::Tool, 1), (Role::Tool, 1), (Role::Assistant, 3)]
    );
    let again = OWN.format().write_request(&chat, "m").unwrap();
    assert_eq!(again["input"].as_array().unwrap().len(), 9);
    assert_eq!(read(again), Chat { model: "m".into(), ..chat });
}

#[test]
fn written_again_a_request_means_the_same() {
    let mut bodies: Vec<Value> =
        cases("request.json").iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect();
    bodies.push(rich());
    for body in bodies {
        let chat = read(body.clone());
        let again = OWN.format().write_request(&chat, &chat.model).unwrap();
        let second = read(again.clone());
        if !body.to_string().contains("_refrain_") {
            assert_eq!(second, chat, "{again}");
        }
        assert_eq!(OWN.format().write_request(&second, &chat.model).unwrap(), again);
    }
}

/// A request that came in Anthropic's format.
fn foreign(messages: Vec<Message>) -> Chat {
    Chat { format: FormatId::Anthropic, messages, ..Chat::default() }
}

fn text_of(role: Role, text: &str) -> Message {
    Message::new(role, vec![Part::text(text)])
}

#[test]
fn requests_of_other_apis_are_said_in_items() {
    let sealed = |issuer, kind, value: &str| Some(Seal { issuer, kind, value: value.into() });
    let long = "toolu_".repeat(20);
    let call = ToolCall { id: long.clone(), name: "f".into(), arguments: String::new() };
    let image = Source::Base64 { media_type: "image/png".into(), data: "AA".into() };
    let document = |source, name: Option<&str>| Part::new(Content::Document { source, name: name.map(str::to_owned) });
    let pdf = Source::Base64 { media_type: "application/pdf".into(), data: "AA".into() };
    let mut thought = Part::new(Content::Reasoning("Hm.".into()));
    thought.seal = sealed(Issuer::Anthropic, SealKind::Signature, "s");
    let mut own = Part::new(Content::Reasoning(String::new()));
    own.seal = sealed(Issuer::OpenAi, SealKind::Encrypted, "gAAA");
    let result =
        |parts, is_error| Part::new(Content::ToolResult(ToolResult { call_id: long.clone(), parts, is_error }));
    let chat = foreign(vec![
        Message::new(Role::System, vec![Part::text("One."), Part::text("Two.")]),
        Message::new(
            Role::User,
            vec![
                Part::text("Look."),
                Part::new(Content::Image(image)),
                document(pdf, None),
                document(Source::Text("Body".into()), Some("Title")),
            ],
        ),
        Message::new(Role::Assistant, vec![thought, own, Part::text("Well."), Part::new(Content::ToolCall(call))]),
        Message::new(Role::Tool, vec![result(vec![Part::text("boom")], true)]),
        text_of(Role::System, "Three."),
    ]);
    let body = OWN.format().write_request(&chat, "gpt-5.1").unwrap();
    let id = body["input"][3]["call_id"].as_str().unwrap();
    assert!(id.len() <= 64 && id.starts_with("toolu_"));
    assert_eq!(
        body,
        json!({"model": "gpt-5.1", "instructions": "One.\n\nTwo.", "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Look."},
            {"type": "input_image", "image_url": "data:image/png;base64,AA"},
            {"type": "input_file", "file_data": "data:application/pdf;base64,AA", "filename": "document.pdf"},
            {"type": "input_text", "text": "Title\n\nBody"}]},
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"},
        {"type": "message", "role": "assistant", "content": "Well."},
        {"type": "function_call", "status": "completed", "arguments": "{}", "call_id": id, "name": "f"},
        {"type": "function_call_output", "call_id": id, "output": "Error: boom"},
        {"type": "message", "role": "system", "content": "Three."}], "store": false})
    );
}

#[test]
fn parameters_of_other_apis() {
    let base = || foreign(vec![text_of(Role::User, "Hi")]);
    let write = |chat: &Chat, model: &str| OWN.format().write_request(chat, model);
    let limited = Chat {
        sampling: Sampling {
            max_tokens: Some(9),
            temperature: Some(0.5),
            top_k: Some(3),
            seed: Some(1),
            frequency_penalty: Some(1.0),
            ..Sampling::default()
        },
        output: Output::JsonSchema {
            name: None,
            description: None,
            schema: json!({"type": "object"}),
            strict: Some(true),
        },
        reasoning: Reasoning { budget: Some(8), summary: Some("summarized".into()), ..Reasoning::default() },
        user: Some("u".repeat(99)),
        ..base()
    };
    assert_eq!(
        write(&limited, "some-model").unwrap(),
        json!({"model": "some-model", "input": "Hi", "max_output_tokens": 16,
        "temperature": 0.5, "store": false, "user": "u".repeat(64), "reasoning": {"effort": "high", "summary": "auto"},
        "text": {"format": {"type": "json_schema", "name": "answer", "schema": {"type": "object"}, "strict": true}}})
    );
    let tool = Tool::Function {
        name: "f".into(),
        description: None,
        parameters: None,
        strict: None,
        extra: Default::default(),
    };
    let tools = Chat { tools: vec![tool], tool_choice: ToolChoice::Named("f".into()), ..base() };
    assert_eq!(
        write(&tools, "m").unwrap()["tools"],
        json!([{"type": "function", "name": "f", "strict": false,
        "parameters": {"type": "object", "properties": {}}}])
    );
    for (chat, field) in [
        (Chat { sampling: Sampling { stop: vec!["x".into()], ..Sampling::default() }, ..base() }, "stop"),
        (Chat { tools: vec![Tool::Foreign(FormatId::Anthropic, json!({}))], ..base() }, "tools[0]"),
        (Chat { tool_choice: ToolChoice::Foreign(FormatId::Gemini, json!({})), ..base() }, "tool_choice"),
        (Chat { indispensable: Some("container"), ..base() }, "container"),
        (
            foreign(vec![Message::new(
                Role::User,
                vec![Part::text("a"), Part::new(Content::Foreign(FormatId::Gemini, json!({})))],
            )]),
            "messages[0].content[1]",
        ),
    ] {
        assert_eq!(write(&chat, "m").unwrap_err().field, field);
    }
}
