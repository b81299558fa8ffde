use serde_json::{Value, json};

use super::*;
use crate::llm::chat::{Extra, Output, Reasoning, ReasoningMode, Sampling, Source, Tool, ToolChoice};
use crate::llm::error::Unsupported;
use crate::llm::gemini::schema;

#[test]
fn a_model_is_one_segment_of_the_path() {
    for (model, is_stream, path) in [
        (OLD, false, "/models/gemini-2.5-flash:generateContent"),
        ("models/gemini-2.5-flash", true, "/models/gemini-2.5-flash:streamGenerateContent?alt=sse"),
        ("../../v1/x?y#z%2F", false, "/models/..%2F..%2Fv1%2Fx%3Fy%23z%252F:generateContent"),
        ("a:b c\n\u{fc}", false, "/models/a%3Ab%20c%0A%C3%BC:generateContent"),
        ("models/models/x", false, "/models/models%2Fx:generateContent"),
        ("", false, "/models/:generateContent"),
    ] {
        assert_eq!(FORMAT.path(model, is_stream), path);
    }
}

/// The part that a user's part becomes.
fn part_of(content: Content) -> Result<Value, Unsupported> {
    let chat = chat(vec![Message::new(Role::User, vec![Part::new(content)])]);
    FORMAT.write_request(&chat, OLD).map(|mut body| body["contents"][0]["parts"][0].take())
}

#[test]
fn turns_are_joined_and_instructions_kept_apart() {
    let refusal = Part::new(Content::Refusal("d".into()));
    let messages = vec![
        said(Role::System, "Be brief."),
        said(Role::User, "a"),
        Message::new(Role::User, vec![Part::text("b"), Part::text("")]),
        said(Role::Developer, "Be kind."),
        Message::new(Role::Assistant, vec![Part::new(Content::Reasoning("hm".into())), Part::text("c"), refusal]),
        Message::new(Role::Assistant, vec![]),
        said(Role::Assistant, ""),
        said(Role::User, "e"),
    ];
    assert_eq!(
        written(&chat(messages), OLD),
        json!({"systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]}, "contents": [
            {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
            {"role": "model", "parts": [{"text": "c"}, {"text": "d"}]},
            {"role": "user", "parts": [{"text": "e"}]}]})
    );
    for nothing in [vec![], vec![said(Role::User, "")], vec![said(Role::System, "a")]] {
        assert_eq!(refused(&chat(nothing)), "messages");
    }
}

#[test]
fn calls_and_results_belong_together_by_name_and_order() {
    let calls = vec![
        Part::text("See."),
        call("c1", "weather", "{\"city\":\"Bern\"}"),
        call("c2", "weather", " "),
        call("c3", "time", "null"),
    ];
    let messages = vec![
        said(Role::User, "Weather?"),
        Message::new(Role::Assistant, calls),
        result("c3", vec![Part::text("[1, 2]")], false),
        result("c2", vec![Part::text("12")], false),
        result("c1", vec![Part::text("{\"sky\":"), Part::text("\"blue\"}")], false),
        said(Role::User, "And now?"),
    ];
    assert_eq!(
        contents(messages.clone(), OLD),
        json!([
            {"role": "user", "parts": [{"text": "Weather?"}]},
            {"role": "model", "parts": [
                {"text": "See."},
                {"functionCall": {"name": "weather", "args": {"city": "Bern"}}},
                {"functionCall": {"name": "weather", "args": {}}},
                {"functionCall": {"name": "time", "args": {}}}]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "weather", "response": {"sky": "blue"}}},
                {"functionResponse": {"name": "weather", "response": {"result": "12"}}},
                {"functionResponse": {"name": "time", "response": {"result": [1, 2]}}}]},
            {"role": "user", "parts": [{"text": "And now?"}]},
        ])
    );
    let new = contents(messages, NEW);
    // The question after it ends the turn of the calls, so nobody asks for their signature.
    assert_eq!(new[1]["parts"][1], json!({"functionCall": {"name": "weather", "args": {"city": "Bern"}, "id": "c1"}}));
    assert_eq!(new[2]["parts"][0]["functionResponse"]["id"], "c1");
}

#[test]
fn an_id_that_comes_again_is_the_later_call() {
    let turn = |first: &str, second: &str| {
        let calls = vec![call("0", first, ""), call("1", second, "")];
        [Message::new(Role::Assistant, calls), result("1", vec![], false), result("0", vec![], false)]
    };
    let contents = contents([turn("a", "b"), turn("c", "d")].concat(), OLD);
    for (content, names) in [(1, ["a", "b"]), (3, ["c", "d"])] {
        let names = names.map(|name| json!({"functionResponse": {"name": name, "response": {"result": ""}}}));
        assert_eq!(contents[content]["parts"], json!(names));
    }
}

#[test]
fn results_of_any_form_become_an_object() {
    for (text, is_error, expected) in [
        ("{\"a\":1}", false, json!({"a": 1})),
        ("", false, json!({"result": ""})),
        ("sunny", false, json!({"result": "sunny"})),
        ("{\"a\":", false, json!({"result": "{\"a\":"})),
        ("12345678901234567890123", false, json!({"result": "12345678901234567890123"})),
        ("{\"a\":1}", true, json!({"error": "{\"a\":1}"})),
    ] {
        let messages = vec![
            Message::new(Role::Assistant, vec![call("x", "f", "")]),
            result("x", vec![Part::text(text)], is_error),
        ];
        assert_eq!(contents(messages, OLD)[1]["parts"][0]["functionResponse"]["response"], expected);
    }
    let image = Part::new(Content::Image(Source::Base64 { media_type: "image/png".into(), data: "AA==".into() }));
    let messages = vec![Message::new(Role::Assistant, vec![call("x", "f", "")]), result("x", vec![image], false)];
    let response = contents(messages.clone(), NEW)[1]["parts"][0]["functionResponse"].take();
    assert_eq!(response["parts"], json!([{"inlineData": {"mimeType": "image/png", "data": "AA=="}}]));
    assert_eq!(refused(&chat(messages)), "messages[1].content[0].content[0]");
}

#[test]
fn signatures_go_back_and_missing_ones_are_excused() {
    let messages = vec![
        said(Role::User, "go"),
        Message::new(Role::Assistant, vec![sealed(call("a", "f", "{}"), Issuer::Google, "c2ln"), call("b", "g", "{}")]),
        result("a", vec![Part::text("1")], false),
        result("b", vec![Part::text("2")], false),
        Message::new(Role::Assistant, vec![sealed(call("c", "f", "{}"), Issuer::Anthropic, "x"), call("d", "g", "{}")]),
    ];
    for (model, excuse) in [(OLD, Value::Null), (NEW, json!("skip_thought_signature_validator"))] {
        let contents = contents(messages.clone(), model);
        assert_eq!(contents[1]["parts"][0]["thoughtSignature"], "c2ln");
        assert_eq!(contents[1]["parts"][1]["thoughtSignature"], Value::Null);
        assert_eq!(contents[3]["parts"][0]["thoughtSignature"], excuse);
        assert_eq!(contents[3]["parts"][1]["thoughtSignature"], Value::Null);
    }
    let thought = || Part::new(Content::Reasoning("hm".into()));
    let parts = vec![
        sealed(thought(), Issuer::Google, "s"),
        sealed(thought(), Issuer::Anthropic, "t"),
        sealed(Part::text(""), Issuer::Google, "u"),
    ];
    assert_eq!(
        contents(vec![Message::new(Role::Assistant, parts)], NEW)[0]["parts"],
        json!([{"text": "hm", "thought": true, "thoughtSignature": "s"}, {"text": "", "thoughtSignature": "u"}])
    );
}

#[test]
fn files_have_a_media_type() {
    let image = |url: &str| part_of(Content::Image(Source::Url(url.into())));
    for (url, kind) in [
        ("https://x.example/a.PNG?size=1.gif#b.bmp", "image/png"),
        ("http://x.example/a.b/c.webp", "image/webp"),
        ("gs://bucket/a.jpg", "image/jpeg"),
        ("gs://bucket/a.pdf", "application/pdf"),
        ("https://x.png/a.b/c", "image/jpeg"),
        ("HTTPS://x.png", "image/jpeg"),
        ("https://x.example/a.", "image/jpeg"),
    ] {
        assert_eq!(image(url), Ok(json!({"fileData": {"mimeType": kind, "fileUri": url}})));
    }
    let base64 = |media_type: &str| Source::Base64 { media_type: media_type.into(), data: "AA==".into() };
    let document = |source| part_of(Content::Document { source, name: Some("a".into()) });
    let inline = |kind: &str| Ok(json!({"inlineData": {"mimeType": kind, "data": "AA=="}}));
    assert_eq!(part_of(Content::Image(base64("image/png"))), inline("image/png"));
    assert_eq!(document(base64("application/pdf")), inline("application/pdf"));
    assert_eq!(document(Source::Text("a".into())), Ok(json!({"text": "a"})));
    assert_eq!(document(Source::Url("https://x.example/a".into())).unwrap()["fileData"]["mimeType"], "application/pdf");
    let audio = |format: &str| part_of(Content::Audio { data: "AA==".into(), format: format.into() });
    assert_eq!(audio("WAV"), inline("audio/wav"));
    for refused in [
        image("file:///etc/passwd"),
        image("/a.png"),
        image(""),
        image("data:image/png,x"),
        audio(""),
        audio("a/b"),
        document(base64("")),
        document(Source::File("file-1".into())),
        part_of(Content::Foreign(FormatId::Anthropic, json!({}))),
    ] {
        assert_eq!(refused.unwrap_err().field, "messages[0].content[0]");
    }
}

#[test]
fn tools_and_choices() {
    let function = |name: &str, parameters: Option<Value>| Tool::Function {
        name: name.into(),
        description: Some("d".into()),
        parameters,
        strict: Some(true),
        extra: Extra::default(),
    };
    let with = |tools: Vec<Tool>, tool_choice| Chat { tools, tool_choice, ..asking() };
    let schema = json!({"$schema": "x", "type": "object", "properties": {"city": {"type": ["string", "null"]}}});
    let tools = vec![function("f", Some(schema)), function("g", Some(json!({}))), function("h", None)];
    let body = written(&with(tools.clone(), ToolChoice::Auto), OLD);
    assert_eq!(
        body["tools"],
        json!([{"functionDeclarations": [
        {"name": "f", "description": "d", "parametersJsonSchema":
            {"type": "object", "properties": {"city": {"type": ["string", "null"]}}}},
        {"name": "g", "description": "d"}, {"name": "h", "description": "d"}]}])
    );
    assert_eq!(body.get("toolConfig"), None);
    let names = || vec!["f".to_owned(), "g".to_owned()];
    for (choice, expected) in [
        (ToolChoice::None, json!({"mode": "NONE"})),
        (ToolChoice::Required, json!({"mode": "ANY"})),
        (ToolChoice::Named("f".into()), json!({"mode": "ANY", "allowedFunctionNames": ["f"]})),
        (
            ToolChoice::Allowed { names: names(), required: true },
            json!({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}),
        ),
        (
            ToolChoice::Allowed { names: names(), required: false },
            json!({"mode": "VALIDATED", "allowedFunctionNames": ["f", "g"]}),
        ),
    ] {
        let body = written(&with(tools.clone(), choice), OLD);
        assert_eq!(body["toolConfig"], json!({"functionCallingConfig": expected}));
    }
    assert_eq!(written(&with(vec![], ToolChoice::None), OLD).get("toolConfig"), None);
    for (tools, choice, field) in [
        (vec![Tool::Foreign(FormatId::OpenAiChat, json!({}))], ToolChoice::Auto, "tools[0]"),
        (vec![function("", None)], ToolChoice::Auto, "tools[0]"),
        (vec![function("f", Some(json!("x")))], ToolChoice::Auto, "tools[0]"),
        (tools.clone(), ToolChoice::Allowed { names: vec![], required: true }, "tool_choice"),
        (tools, ToolChoice::Foreign(FormatId::OpenAiChat, json!({})), "tool_choice"),
    ] {
        assert_eq!(refused(&with(tools, choice)), field);
    }
}

#[test]
fn sampling_output_and_googles_own_members() {
    let schema = json!({"type": "object", "properties": {"a": {"const": "x"}}});
    let own =
        json!({"safetySettings": [{"x": 1}], "cachedContent": "cachedContents/x", "labels": {"team": "a"}, "other": 1});
    let chat = Chat {
        sampling: Sampling {
            max_tokens: Some(50),
            temperature: Some(0.5),
            top_p: Some(0.9),
            top_k: Some(40),
            seed: Some(-7),
            stop: vec!["END".into()],
            presence_penalty: Some(0.1),
            frequency_penalty: Some(-0.2),
        },
        output: Output::JsonSchema { name: Some("n".into()), description: None, schema, strict: Some(true) },
        extra: Extra::new(FormatId::OpenAiChat, own.as_object().unwrap().clone()),
        parallel_tool_calls: Some(false),
        user: Some("u".into()),
        ..asking()
    };
    assert_eq!(
        written(&chat, OLD),
        json!({
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {"maxOutputTokens": 50, "temperature": 0.5, "topP": 0.9, "topK": 40, "seed": -7,
            "presencePenalty": 0.1, "frequencyPenalty": -0.2, "stopSequences": ["END"],
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object", "properties": {"a": {"enum": ["x"]}}}},
        "safetySettings": [{"x": 1}], "cachedContent": "cachedContents/x", "labels": {"team": "a"}})
    );
    let json_mode = Chat { output: Output::JsonObject, ..asking() };
    assert_eq!(written(&json_mode, OLD)["generationConfig"], json!({"responseMimeType": "application/json"}));
    assert_eq!(
        refused(&Chat { output: Output::Foreign(FormatId::OpenAiChat, json!({})), ..asking() }),
        "response_format"
    );
    assert_eq!(refused(&Chat { indispensable: Some("n"), ..asking() }), "n");
}

#[test]
fn models_are_told_to_think_in_their_own_terms() {
    let pro = "gemini-2.5-pro";
    let effort = |effort: &str| Reasoning { effort: Some(effort.into()), ..Reasoning::default() };
    let mode = |mode, budget| Reasoning { mode: Some(mode), budget, ..Reasoning::default() };
    for (reasoning, model, expected) in [
        (effort("none"), OLD, json!({"thinkingBudget": 0})),
        (effort("none"), pro, json!({"thinkingBudget": 128})),
        (effort("minimal"), OLD, json!({"thinkingBudget": 1024})),
        (effort("medium"), OLD, json!({"thinkingBudget": 8192})),
        (effort("max"), OLD, json!({"thinkingBudget": 24_576})),
        (effort("none"), NEW, json!({"thinkingLevel": "MINIMAL"})),
        (effort("none"), "gemini-3.1-pro-preview", json!({"thinkingLevel": "LOW"})),
        (effort("xhigh"), NEW, json!({"thinkingLevel": "HIGH"})),
        (effort("high"), "gemini-2.0-flash", Value::Null),
        (mode(ReasoningMode::Disabled, Some(5)), OLD, json!({"thinkingBudget": 0})),
        (mode(ReasoningMode::Enabled, Some(100_000)), OLD, json!({"thinkingBudget": 24_576, "includeThoughts": true})),
        (mode(ReasoningMode::Enabled, Some(1)), pro, json!({"thinkingBudget": 128, "includeThoughts": true})),
        (mode(ReasoningMode::Enabled, Some(400)), NEW, json!({"thinkingLevel": "MEDIUM", "includeThoughts": true})),
        (mode(ReasoningMode::Adaptive, None), OLD, json!({"thinkingBudget": -1, "includeThoughts": true})),
        (Reasoning { summary: Some("omitted".into()), ..mode(ReasoningMode::Adaptive, None) }, NEW, Value::Null),
        (
            Reasoning { summary: Some("auto".into()), ..effort("low") },
            OLD,
            json!({"thinkingBudget": 1024, "includeThoughts": true}),
        ),
        (Reasoning::default(), NEW, Value::Null),
    ] {
        let sampling = Sampling { max_tokens: Some(1000), ..Sampling::default() };
        let chat = Chat { reasoning: reasoning.clone(), sampling, ..asking() };
        assert_eq!(written(&chat, model)["generationConfig"]["thinkingConfig"], expected, "{reasoning:?} {model}");
    }
    assert_eq!(refused(&Chat { reasoning: effort("heroic"), ..asking() }), "reasoning_effort");
}

#[test]
fn what_has_no_counterpart_is_refused_with_its_place() {
    let with = |part: Part| chat(vec![Message::new(Role::Assistant, vec![part])]);
    let image = Part::new(Content::Image(Source::Url("https://x.example/".into())));
    for (chat, field) in [
        (with(call("x", "f", "{oops")), "messages[0].content[0]"),
        (with(call("x", "f", "[1]")), "messages[0].content[0]"),
        (chat(vec![said(Role::User, "a"), Message::new(Role::System, vec![image])]), "messages[1].content[0]"),
        (chat(vec![result("x", vec![], false)]), "messages[0].content[0]"),
    ] {
        assert_eq!(refused(&chat), field);
    }
}

#[test]
fn schemas_lose_what_google_refuses_and_nothing_else() {
    let arguments = json!({"$schema": "x", "properties": {"$schema": {"type": ["string", "null"]},
        "at": {"$ref": "#/$defs/At", "description": "d"}}});
    assert_eq!(
        schema::of_arguments(&arguments),
        Some(json!({"properties": arguments["properties"], "type": "object"}))
    );
    assert_eq!(schema::of_arguments(&json!({"$ref": "#/$defs/A"})), Some(json!({"$ref": "#/$defs/A"})));
    for none in [json!({}), json!(null), json!({"$schema": "x"}), json!("x")] {
        assert_eq!(schema::of_arguments(&none), None, "{none}");
    }
    let answer = json!({"$schema": "x", "type": "object", "properties": {
            "kind": {"const": "cat", "title": "Kind"},
            "both": {"const": 1, "enum": [1, 2]},
            "flag": {"const": true},
            "owner": {"$ref": "#/$defs/Owner", "description": "who", "default": {"$ref": "kept"}},
            "$ref": {"type": "string", "description": "a member with that name"},
            "list": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/Owner", "title": "T"}, {"type": "null"}]}},
            "free": {"default": {"const": "x", "$ref": "y", "description": "z"}, "type": "object"}},
        "$defs": {"Owner": {"type": "object", "additionalProperties": {"const": "c"}}}});
    let expected = json!({"type": "object", "properties": {
            "kind": {"enum": ["cat"], "title": "Kind"},
            "both": {"const": 1, "enum": [1, 2]},
            "flag": {"const": true},
            "owner": {"$ref": "#/$defs/Owner"},
            "$ref": {"type": "string", "description": "a member with that name"},
            "list": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/Owner"}, {"type": "null"}]}},
            "free": {"default": {"const": "x", "$ref": "y", "description": "z"}, "type": "object"}},
        "$defs": {"Owner": {"type": "object", "additionalProperties": {"enum": ["c"]}}}});
    assert_eq!(schema::of_answer(answer), expected);
    assert_eq!(schema::of_answer(json!(true)), json!(true));
    let openapi =
        json!({"type": "OBJECT", "properties": {"type": {"type": "STRING", "nullable": true}}, "nullable": false});
    let expected = json!({"type": "object", "properties": {"type": {"type": ["string", "null"]}}, "nullable": false});
    assert_eq!(schema::of_openapi(openapi), expected);
}

#[test]
fn requests_mean_the_same_to_other_formats() {
    let body = json!({
        "contents": [
            {"parts": [{"text": "a"}, {"inlineData": {"mimeType": "application/pdf", "data": "AA=="}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f"}, "thoughtSignature": "s"},
                {"functionCall": {"name": "f"}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "x"}}}, {"text": "b"},
                {"functionResponse": {"name": "f", "response": {"error": "y"}}}]}],
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "any"}},
        "generationConfig": {"responseMimeType": "application/json", "responseSchema": {"type": "ARRAY"},
            "thinkingConfig": {"thinkingBudget": -1, "includeThoughts": true}},
    });
    let chat = FORMAT.read_request(body).unwrap();
    let pdf = Content::Document {
        source: Source::Base64 { media_type: "application/pdf".into(), data: "AA==".into() },
        name: None,
    };
    assert_eq!(chat.messages[0], Message::new(Role::User, vec![Part::text("a"), Part::new(pdf)]));
    let calls = vec![sealed(call("call_0", "f", "{}"), Issuer::Google, "s"), call("call_1", "f", "{}")];
    assert_eq!(chat.messages[1], Message::new(Role::Assistant, calls));
    for (i, text, is_error) in [(0, "x", false), (1, "y", true)] {
        let expected = ToolResult { call_id: format!("call_{i}"), parts: vec![Part::text(text)], is_error };
        assert_eq!(chat.messages[2 + i].parts[0].content, Content::ToolResult(expected));
    }
    assert_eq!(chat.messages[4], said(Role::User, "b"));
    assert!(
        matches!(&chat.tools[0], Tool::Function { parameters: Some(schema), .. } if *schema == json!({"type": "object"}))
    );
    assert_eq!(chat.tool_choice, ToolChoice::Required);
    assert!(matches!(&chat.output, Output::JsonSchema { schema, .. } if *schema == json!({"type": "array"})));
    let reasoning =
        Reasoning { mode: Some(ReasoningMode::Adaptive), summary: Some("auto".into()), ..Reasoning::default() };
    assert_eq!((chat.reasoning, chat.uncacheable, chat.indispensable), (reasoning, None, None));
    for (member, value) in
        [("candidateCount", json!(2)), ("responseLogprobs", json!(true)), ("responseModalities", json!(["IMAGE"]))]
    {
        let body = json!({"contents": [], "generationConfig": {member: value}});
        let chat = FORMAT.read_request(body).unwrap();
        assert_eq!((chat.uncacheable.is_some(), chat.indispensable), (true, Some(member)));
    }
}

#[test]
fn what_says_nothing_is_no_part_of_the_question() {
    let least = json!({"contents": [{"role": "user", "parts": [{"text": "a"}]}]});
    let read = |body: Value| FORMAT.read_request(body).unwrap();
    let expected = read(least.clone());
    for (member, value) in [
        ("tools", json!([])),
        ("safetySettings", json!([])),
        ("toolConfig", json!({"functionCallingConfig": {"mode": "AUTO"}})),
        (
            "generationConfig",
            json!({"candidateCount": 1, "responseLogprobs": false, "responseModalities": ["TEXT"], "topK": null,
            "responseMimeType": "text/plain", "presencePenalty": 0, "frequencyPenalty": 0.0, "stopSequences": [],
            "thinkingConfig": {"includeThoughts": false}}),
        ),
        ("systemInstruction", json!(null)),
    ] {
        let mut body = least.clone();
        body[member] = value;
        assert_eq!(read(body), expected, "{member}");
    }
}
