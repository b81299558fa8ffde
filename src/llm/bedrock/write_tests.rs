//! Requests in other formats, written for Bedrock.

use serde_json::{Map, Value, json};

use super::FORMAT;
use super::tests::call;
use crate::llm::FormatId;
use crate::llm::chat::{
    Chat, Content, Extra, Issuer, Message, Output, Part, Reasoning, ReasoningMode, Role, Sampling, Seal, SealKind,
    Source, Tool, ToolCall, ToolChoice, ToolResult,
};

const OLD: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const NEW: &str = "global.anthropic.claude-opus-4-6-v1";
const LLAMA: &str = "meta.llama3-3-70b-instruct-v1:0";
const NOVA: &str = "amazon.nova-lite-v1:0";
const OSS: &str = "openai.gpt-oss-20b-1:0";

fn user(parts: Vec<Part>) -> Message {
    Message::new(Role::User, parts)
}

/// A question of another format's caller.
fn asking() -> Chat {
    Chat { messages: vec![user(vec![Part::text("hi")])], ..Chat::default() }
}

fn written(chat: &Chat, model: &str) -> Value {
    FORMAT.write_request(chat, model).unwrap()
}

fn function(name: &str) -> Tool {
    Tool::Function { name: name.into(), description: None, parameters: None, strict: None, extra: Extra::default() }
}

fn result(id: &str, parts: Vec<Part>, is_error: bool) -> Message {
    let result = Content::ToolResult(ToolResult { call_id: id.into(), parts, is_error });
    Message::new(Role::Tool, vec![Part::new(result)])
}

fn marked(mut part: Part, format: FormatId, mark: Value) -> Part {
    part.extra = Extra::new(format, Map::from_iter([("cache_control".into(), mark)]));
    part
}

#[test]
fn a_request_of_another_format() {
    let members = json!({"guardrailConfig": {"guardrailIdentifier": "g"},
        "additionalModelRequestFields": {"min_p": 0.1},
        "outputConfig": {"effort": "low"}, "logit_bias": {"5": 1}});
    let chat = Chat {
        messages: vec![Message::new(Role::System, vec![Part::text("Be brief.")]), user(vec![Part::text("hi")])],
        tools: vec![function("f")],
        sampling: Sampling {
            max_tokens: Some(50),
            temperature: Some(1.5),
            top_p: Some(0.9),
            top_k: Some(40),
            stop: vec!["END".into()],
            seed: Some(7),
            ..Sampling::default()
        },
        reasoning: Reasoning { effort: Some("low".into()), ..Reasoning::default() },
        extra: Extra::new(FormatId::OpenAiChat, members.as_object().unwrap().clone()),
        unseen: Map::from_iter([("metadata".into(), json!({})), ("serviceTier".into(), json!({"type": "flex"}))]),
        ..Chat::default()
    };
    assert_eq!(
        written(&chat, LLAMA),
        json!({
            "system": [{"text": "Be brief."}],
            "messages": [{"role": "user", "content": [{"text": "hi"}]}],
            "inferenceConfig": {"maxTokens": 50, "temperature": 1.0, "topP": 0.9, "stopSequences": ["END"]},
            "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object",
                "properties": {}}}}}]},
            "serviceTier": {"type": "flex"},
            "guardrailConfig": {"guardrailIdentifier": "g"},
            "additionalModelRequestFields": {"min_p": 0.1},
            "outputConfig": {"effort": "low"},
        })
    );
    let members = json!({"additionalModelRequestFields": 5}).as_object().unwrap().clone();
    let odd = Chat { extra: Extra::new(FormatId::OpenAiChat, members), ..asking() };
    assert_eq!(FORMAT.write_request(&odd, OLD).unwrap_err().field, "additionalModelRequestFields");
}

#[test]
fn models_think_as_their_makers_have_it() {
    let fields = |reasoning: &Reasoning, model: &str| {
        let sampling = Sampling { top_k: Some(5), ..Sampling::default() };
        let body = written(&Chat { reasoning: reasoning.clone(), sampling, ..asking() }, model);
        body["additionalModelRequestFields"].clone()
    };
    let effort = |word: &str| Reasoning { effort: Some(word.into()), ..Reasoning::default() };
    let enabled = |budget: u64| json!({"thinking": {"type": "enabled", "budget_tokens": budget}});
    let adaptive = |word: &str| json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": word}});
    for (asked, model, expected) in [
        (effort("low"), OLD, enabled(1024)),
        (effort("xhigh"), OLD, enabled(16384)),
        (effort("high"), NEW, adaptive("high")),
        (effort("xhigh"), NEW, adaptive("high")),
        (effort("none"), OLD, json!({"top_k": 5})),
        (effort("minimal"), NEW, json!({"top_k": 5})),
        (effort("high"), "anthropic.claude-3-5-sonnet-20241022-v2:0", json!({"top_k": 5})),
        (effort("high"), "anthropic.claude-v2", json!({"top_k": 5})),
        (effort("minimal"), OSS, json!({"reasoning_effort": "low"})),
        (effort("max"), OSS, json!({"reasoning_effort": "high"})),
        (effort("none"), OSS, json!(null)),
        (effort("high"), NOVA, json!({"inferenceConfig": {"topK": 5}})),
        (effort("high"), "deepseek.r1-v1:0", json!(null)),
        (
            Reasoning { budget: Some(3000), mode: Some(ReasoningMode::Enabled), ..Reasoning::default() },
            OLD,
            enabled(3000),
        ),
        (
            Reasoning { budget: Some(3000), mode: Some(ReasoningMode::Enabled), ..Reasoning::default() },
            NEW,
            adaptive("low"),
        ),
        (Reasoning { mode: Some(ReasoningMode::Adaptive), ..Reasoning::default() }, OLD, enabled(16384)),
        (Reasoning { mode: Some(ReasoningMode::Disabled), ..Reasoning::default() }, OLD, json!({"top_k": 5})),
        (
            Reasoning { mode: Some(ReasoningMode::Disabled), ..Reasoning::default() },
            "anthropic.claude-opus-5-v1:0",
            json!({"thinking": {"type": "disabled"}}),
        ),
    ] {
        assert_eq!(fields(&asked, model), expected, "{asked:?} {model}");
    }
    let heroic = Chat { reasoning: effort("heroic"), ..asking() };
    assert_eq!(FORMAT.write_request(&heroic, OLD).unwrap_err().field, "reasoning_effort");
    // An effort of Anthropic's callers asks for no thoughts.
    let own = Chat { reasoning: effort("low"), format: FormatId::Anthropic, ..asking() };
    assert_eq!(written(&own, NEW)["additionalModelRequestFields"], json!({"output_config": {"effort": "low"}}));
}

#[test]
fn a_claude_that_thinks_has_room_for_it_and_is_not_forced() {
    let mut chat = Chat {
        reasoning: Reasoning { effort: Some("medium".into()), ..Reasoning::default() },
        sampling: Sampling { max_tokens: Some(100), temperature: Some(0.5), top_k: Some(3), ..Sampling::default() },
        ..asking()
    };
    assert_eq!(written(&chat, OLD)["inferenceConfig"], json!({"maxTokens": 4196}));
    chat.sampling.max_tokens = Some(5000);
    assert_eq!(written(&chat, OLD)["inferenceConfig"], json!({"maxTokens": 5000}));
    chat.sampling.max_tokens = None;
    assert_eq!(written(&chat, OLD)["inferenceConfig"], json!({"maxTokens": 8192}));
    chat.tools = vec![function("f")];
    chat.tool_choice = ToolChoice::Required;
    let body = written(&chat, OLD);
    assert_eq!(body["toolConfig"]["toolChoice"], json!({"any": {}}));
    assert_eq!(body["additionalModelRequestFields"], json!({"top_k": 3}));
    let body = written(&chat, "anthropic.claude-opus-5-5-v1:0");
    assert_eq!((&body["system"], body["toolConfig"].get("toolChoice")), (&json!([{"text": "Call a tool now."}]), None));
}

#[test]
fn sampling_is_what_the_model_takes() {
    for (temperature, top_p, model, expected) in [
        (Some(0.5), Some(0.9), OLD, json!({"temperature": 0.5})),
        (Some(1.0), Some(0.9), OLD, json!({"topP": 0.9})),
        (Some(2.0), None, OLD, json!({"temperature": 1.0})),
        (None, Some(0.9), OLD, json!({"topP": 0.9})),
        (Some(0.0), None, OLD, json!({"temperature": 0.0})),
        (Some(0.5), Some(0.9), LLAMA, json!({"temperature": 0.5, "topP": 0.9})),
        (Some(0.5), Some(0.9), "anthropic.claude-opus-4-7-v1", json!(null)),
    ] {
        let sampling = Sampling { temperature, top_p, ..Sampling::default() };
        assert_eq!(written(&Chat { sampling, ..asking() }, model)["inferenceConfig"], expected);
    }
    for (sampling, field) in [
        (Sampling { max_tokens: Some(0), ..Sampling::default() }, "max_tokens"),
        (Sampling { stop: vec![String::new()], ..Sampling::default() }, "stop"),
    ] {
        assert_eq!(FORMAT.write_request(&Chat { sampling, ..asking() }, OLD).unwrap_err().field, field);
    }
}

#[test]
fn outputs_are_closed_schemas_or_instructions() {
    let schema = json!({"type": "object", "properties": {
        "a": {"type": ["object", "null"], "properties": {}},
        "b": {"type": "array", "items": {"anyOf": [{"type": "object"}, {"type": "string"}]}},
        "c": {"type": "object", "additionalProperties": true}, "additionalProperties": {"type": "string"}}});
    let closed = json!({"type": "object", "additionalProperties": false, "properties": {
        "a": {"type": ["object", "null"], "properties": {}, "additionalProperties": false},
        "b": {"type": "array", "items": {"anyOf": [{"type": "object", "additionalProperties": false},
            {"type": "string"}]}},
        "c": {"type": "object", "additionalProperties": true}, "additionalProperties": {"type": "string"}}});
    let output = Output::JsonSchema { name: Some("x".into()), description: None, schema, strict: Some(true) };
    let mut format = written(&Chat { output, ..asking() }, LLAMA)["outputConfig"]["textFormat"].clone();
    let told = format["structure"]["jsonSchema"]["schema"].take();
    assert_eq!(serde_json::from_str::<Value>(told.as_str().unwrap()).unwrap(), closed);
    assert_eq!(format, json!({"type": "json_schema", "structure": {"jsonSchema": {"schema": null, "name": "x"}}}));
    let body = written(&Chat { output: Output::JsonObject, ..asking() }, LLAMA);
    assert!(body["system"][0]["text"].as_str().unwrap().contains("JSON object") && body.get("outputConfig").is_none());
    let foreign = Output::Foreign(FormatId::Gemini, json!({}));
    assert_eq!(
        FORMAT.write_request(&Chat { output: foreign, ..asking() }, LLAMA).unwrap_err().field,
        "response_format"
    );
}

#[test]
fn tools_and_choices() {
    let declared =
        |name: &str| json!({"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object", "properties": {}}}}});
    let called = || {
        vec![
            user(vec![Part::text("hi")]),
            Message::new(Role::Assistant, vec![call("a", "")]),
            result("a", vec![], false),
        ]
    };
    let config = |tools: &[&str], choice: ToolChoice, messages: Vec<Message>| {
        let tools = tools.iter().map(|name| function(name)).collect();
        written(&Chat { tools, tool_choice: choice, messages, ..asking() }, OLD)
    };
    let question = || asking().messages;
    let allowed = |required| ToolChoice::Allowed { names: vec!["g".into(), "x".into()], required };
    for (choice, expected, names) in [
        (ToolChoice::Auto, json!(null), "fg"),
        (ToolChoice::Required, json!({"any": {}}), "fg"),
        (ToolChoice::Named("f".into()), json!({"tool": {"name": "f"}}), "fg"),
        (allowed(false), json!(null), "g"),
        (allowed(true), json!({"any": {}}), "g"),
    ] {
        let told = config(&["f", "g"], choice, question());
        let tools: Value = names.chars().map(|name| declared(&name.to_string())).collect();
        assert_eq!((&told["toolConfig"]["tools"], &told["toolConfig"]["toolChoice"]), (&tools, &expected));
    }
    assert_eq!(config(&["f"], ToolChoice::None, question()).get("toolConfig"), None);
    assert_eq!(config(&[], ToolChoice::Required, question()).get("toolConfig"), None);
    let told = config(&["f", "g"], ToolChoice::None, called());
    assert_eq!(told["toolConfig"], json!({"tools": [declared("f"), declared("g")]}));
    assert_eq!(told["system"], json!([{"text": "Don't call any tool now. Answer in words."}]));
    assert_eq!(config(&[], ToolChoice::Auto, called())["toolConfig"], json!({"tools": [declared("f")]}));
    let whole = json!({"properties": {"type": {"type": "string"}}});
    let tool = |parameters| Tool::Function {
        name: "f".into(),
        description: Some(" ".into()),
        parameters: Some(parameters),
        strict: Some(true),
        extra: Extra::default(),
    };
    let told = written(&Chat { tools: vec![tool(whole)], ..asking() }, OLD);
    let schema = json!({"properties": {"type": {"type": "string"}}, "type": "object"});
    assert_eq!(told["toolConfig"]["tools"], json!([{"toolSpec": {"name": "f", "inputSchema": {"json": schema}}}]));
    for (tools, tool_choice, field) in [
        (vec![function("f"), Tool::Foreign(FormatId::OpenAiResponses, json!({}))], ToolChoice::Auto, "tools[1]"),
        (vec![function("f")], allowed(true), "tool_choice"),
        (vec![function("f")], ToolChoice::Foreign(FormatId::OpenAiChat, json!({})), "tool_choice"),
    ] {
        assert_eq!(FORMAT.write_request(&Chat { tools, tool_choice, ..asking() }, OLD).unwrap_err().field, field);
    }
}

#[test]
fn turns_are_joined_and_blanks_gone() {
    let said = |role, texts: &[&str]| Message::new(role, texts.iter().map(|text| Part::text(*text)).collect());
    let thought = Part::new(Content::Reasoning("hm".into()));
    let chat = Chat {
        messages: vec![
            said(Role::Assistant, &["Once"]),
            said(Role::User, &["a"]),
            said(Role::Assistant, &[]),
            said(Role::User, &["b", "\n"]),
            said(Role::Developer, &["Be kind.", " "]),
            Message::new(Role::Assistant, vec![thought, Part::new(Content::Refusal("No.".into())), Part::text("c \n")]),
        ],
        ..Chat::default()
    };
    let text = |text: &str| json!({"text": text});
    assert_eq!(
        written(&chat, OLD),
        json!({"system": [text("Be kind.")], "messages": [
            {"role": "user", "content": [text("(The assistant begins.)")]},
            {"role": "assistant", "content": [text("Once")]},
            {"role": "user", "content": [text("a"), text("b")]},
            {"role": "assistant", "content": [text("No."), text("c")]}]})
    );
    for messages in [vec![], vec![said(Role::System, &["a"])], vec![said(Role::User, &[" "])]] {
        assert_eq!(FORMAT.write_request(&Chat { messages, ..Chat::default() }, OLD).unwrap_err().field, "messages");
    }
}

#[test]
fn calls_and_their_results() {
    let picture =
        Part::new(Content::Image(Source::Base64 { media_type: "IMAGE/png; x=y".into(), data: "AAEC".into() }));
    let long = |end: &str| format!("{end}{}{end}", "a".repeat(99));
    let calls = vec![
        call("call_1", "{\"x\": 1}"),
        call("f#2 \u{fc}", " "),
        call("c3", "null"),
        call(&long("1"), ""),
        call(&long("2"), ""),
    ];
    let chat = Chat {
        messages: vec![
            user(vec![Part::text("Go")]),
            Message::new(Role::Assistant, calls),
            user(vec![Part::text("Wait.")]),
            result("call_1", vec![Part::text("{\"one\": 1}")], true),
            result("f#2 \u{fc}", vec![Part::text("two"), picture], false),
            result("c3", vec![Part::text("")], false),
        ],
        ..Chat::default()
    };
    let body = written(&chat, OLD);
    let used = |id: &str, input: Value| json!({"toolUse": {"toolUseId": id, "name": "f", "input": input}});
    let blocks = body["messages"][1]["content"].as_array().unwrap();
    assert_eq!(blocks[..3], [used("call_1", json!({"x": 1})), used("f_2__", json!({})), used("c3", json!({}))]);
    let id = |place: usize| blocks[place]["toolUse"]["toolUseId"].as_str().unwrap();
    assert!(id(3).len() == 64 && id(4).len() == 64 && id(3) != id(4));
    assert_eq!(
        body["messages"][2]["content"],
        json!([
            {"toolResult": {"toolUseId": "call_1", "content": [{"text": "{\"one\": 1}"}], "status": "error"}},
            {"toolResult": {"toolUseId": "f_2__", "content": [{"text": "two"}, {"image": {"format": "png",
                "source": {"bytes": "AAEC"}}}]}},
            {"toolResult": {"toolUseId": "c3", "content": [{"text": "(no output)"}]}},
            {"text": "Wait."}])
    );
}

#[test]
fn files_are_images_or_documents_with_names_of_their_own() {
    let file = |name: &str, media_type: &str| {
        let source = Source::Base64 { media_type: media_type.into(), data: "AA==".into() };
        Part::new(Content::Document { source, name: Some(name.into()) })
    };
    let told = |part: Part| {
        written(&Chat { messages: vec![user(vec![part])], ..Chat::default() }, OLD)["messages"][0]["content"].clone()
    };
    for (media_type, format) in super::content::DOCUMENTS {
        let block = json!({"document": {"format": format, "name": "report", "source": {"bytes": "AA=="}}});
        assert_eq!(told(file("report", media_type)), json!([block, {"text": "(See the document.)"}]));
        let other = file(&format!("a.{}", format.to_uppercase()), "application/octet-stream");
        assert_eq!(told(other)[0]["document"]["format"], format);
    }
    assert_eq!(told(file("a.txt", "image/JPG"))[0], json!({"image": {"format": "jpeg", "source": {"bytes": "AA=="}}}));
    let plain = Part::new(Content::Document { source: Source::Text("hi".into()), name: None });
    assert_eq!(told(plain)[0], json!({"document": {"format": "txt", "name": "document", "source": {"bytes": "aGk="}}}));
    let names = [
        ("Q3 report_v1.final.pdf", "Q3 report v1 final"),
        ("  \u{e9}t\u{e9}\t\nx.md", "t x"),
        ("", "document"),
        (".pdf", "document (2)"),
        ("DOCUMENT", "DOCUMENT (3)"),
        ("x (2)", "x (2)"),
        ("x", "x"),
        ("x", "x (2) (2)"),
    ];
    let parts = names.iter().map(|(name, _)| file(name, "text/csv")).collect();
    let body = written(&Chat { messages: vec![user(parts)], ..Chat::default() }, OLD);
    let given = body["messages"][0]["content"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|block| block["document"]["name"].as_str());
    assert!(given.eq(names.iter().map(|(_, name)| *name)));
    let mut cited = file("a", "text/plain");
    let members = json!({"context": "c", "citations": {"enabled": true}}).as_object().unwrap().clone();
    cited.extra = Extra::new(FormatId::Anthropic, members);
    assert_eq!(told(cited)[0]["document"]["context"], "c");
}

#[test]
fn what_has_no_counterpart_is_refused_with_its_place() {
    let place = "messages[1].content[0]";
    let audio = |format: &str| Part::new(Content::Audio { data: "AA".into(), format: format.into() });
    let image = |source| Part::new(Content::Image(source));
    let base64 = |media_type: &str| Source::Base64 { media_type: media_type.into(), data: "AA".into() };
    let named = |name: &str| {
        Part::new(Content::ToolCall(ToolCall { id: "a".into(), name: name.into(), arguments: String::new() }))
    };
    for (role, part, field) in [
        (Role::User, image(Source::Url("https://x.example/a.png".into())), place.to_owned()),
        (Role::User, image(Source::File("x".into())), place.to_owned()),
        (Role::User, image(base64("image/tiff")), place.to_owned()),
        (Role::User, image(base64("application/pdf")), place.to_owned()),
        (Role::User, audio("a/b"), place.to_owned()),
        (Role::Assistant, audio("wav"), place.to_owned()),
        (Role::System, image(base64("image/png")), place.to_owned()),
        (Role::User, Part::new(Content::Foreign(FormatId::Anthropic, json!({}))), place.to_owned()),
        (Role::Assistant, call("", ""), format!("{place}.id")),
        (Role::Assistant, call("a", "{oops"), format!("{place}.arguments")),
        (Role::Assistant, call("a", "[1]"), format!("{place}.arguments")),
        (Role::Assistant, named(""), format!("{place}.name")),
        (Role::Tool, result("a", vec![audio("wav")], false).parts.remove(0), format!("{place}.content[0]")),
    ] {
        let messages = vec![user(vec![Part::text("a")]), Message::new(role, vec![part])];
        assert_eq!(FORMAT.write_request(&Chat { messages, ..Chat::default() }, OLD).unwrap_err().field, field);
    }
    let sound = user(vec![audio("mp3")]);
    let body = written(&Chat { messages: vec![sound], ..Chat::default() }, NOVA);
    assert_eq!(body["messages"][0]["content"], json!([{"audio": {"format": "mp3", "source": {"bytes": "AA"}}}]));
    let chat = Chat { indispensable: Some("previous_response_id"), ..asking() };
    assert_eq!(FORMAT.write_request(&chat, OLD).unwrap_err().field, "previous_response_id");
    for (body, field) in [
        (json!([]), ""),
        (json!({"messages": {}}), "messages"),
        (json!({"messages": [{"role": "system", "content": []}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user", "content": [{"text": 5}]}]}), "messages[0].content[0].text"),
        (json!({"messages": [{"role": "user", "content": ["a"]}]}), "messages[0].content[0]"),
        (json!({"messages": [], "inferenceConfig": {"stopSequences": [1]}}), "inferenceConfig.stopSequences"),
        (json!({"messages": [], "toolConfig": {"tools": [{"toolSpec": {}}]}}), "toolConfig.tools[0].toolSpec.name"),
    ] {
        assert_eq!(FORMAT.read_request(body).unwrap_err().field, field);
    }
}

#[test]
fn claude_gets_its_own_thoughts_back_and_thinks_within_calls_only_with_them() {
    let seal = |issuer| Some(Seal { issuer, kind: SealKind::Signature, value: "s".into() });
    let thought = |seal| Part { seal, ..Part::new(Content::Reasoning("hm".into())) };
    let chat = |part: Part| Chat {
        messages: vec![
            user(vec![Part::text("Go")]),
            Message::new(Role::Assistant, vec![part, call("a", "")]),
            result("a", vec![], false),
        ],
        reasoning: Reasoning { effort: Some("low".into()), ..Reasoning::default() },
        ..Chat::default()
    };
    for (given, model, goes, thinks) in [
        (seal(Issuer::Anthropic), OLD, true, true),
        (seal(Issuer::Google), OLD, false, false),
        (None, OLD, false, false),
        (None, NEW, false, true),
        (seal(Issuer::Anthropic), LLAMA, false, false),
    ] {
        let body = written(&chat(thought(given)), model);
        let block = &body["messages"][1]["content"][0];
        assert_eq!(block.get("reasoningContent").is_some(), goes, "{block}");
        assert_eq!(body["additionalModelRequestFields"]["thinking"].is_object(), thinks);
    }
    let prefilled = Chat {
        messages: vec![user(vec![Part::text("Go")]), Message::new(Role::Assistant, vec![Part::text("Well,")])],
        ..chat(Part::text(""))
    };
    assert_eq!(written(&prefilled, OLD).get("additionalModelRequestFields"), None);
}

#[test]
fn marks_become_cache_points_where_the_model_takes_them() {
    let mark = json!({"type": "ephemeral", "ttl": "1h"});
    let extra =
        |mark: &Value| Extra::new(FormatId::Anthropic, Map::from_iter([("cache_control".into(), mark.clone())]));
    let text = |text: &str| marked(Part::text(text), FormatId::Anthropic, mark.clone());
    let Tool::Function { name, .. } = function("f") else { unreachable!() };
    let tool = Tool::Function { name, description: None, parameters: None, strict: None, extra: extra(&mark) };
    let chat = Chat {
        format: FormatId::Anthropic,
        messages: vec![
            Message::new(Role::System, vec![text("s"), Part::text("t")]),
            user(vec![text("a"), Part::text("b")]),
            Message { extra: extra(&mark), ..Message::new(Role::Assistant, vec![Part::text("c")]) },
            user(vec![Part::text("d")]),
        ],
        tools: vec![tool, function("g")],
        extra: extra(&mark),
        ..Chat::default()
    };
    for (model, long, places) in [
        (OLD, true, [true, true]),
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", false, [true, true]),
        (NOVA, false, [true, false]),
        ("anthropic.claude-3-haiku-20240307-v1:0", false, [false, false]),
        (LLAMA, false, [false, false]),
    ] {
        let point = if long {
            json!({"cachePoint": {"type": "default", "ttl": "1h"}})
        } else {
            json!({"cachePoint": {"type": "default"}})
        };
        let body = written(&chat, model);
        let has = |blocks: &Value, place: usize| blocks.get(place) == Some(&point);
        let contents = [
            &body["system"],
            &body["messages"][0]["content"],
            &body["messages"][1]["content"],
            &body["messages"][2]["content"],
        ];
        assert_eq!(contents.map(|blocks| has(blocks, 1)), [places[0]; 4], "{model}");
        assert_eq!(has(&body["toolConfig"]["tools"], 1), places[1], "{model}");
        assert!(!body.to_string().contains("cache_control"));
    }
}
