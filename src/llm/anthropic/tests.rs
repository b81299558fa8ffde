use serde_json::{Map, Value, json};

use crate::llm::chat::{
    Chat, Content, Extra, Issuer, Message, Output, Part, Reasoning, ReasoningMode, Role, Sampling, Seal, SealKind,
    Source, Tool, ToolCall, ToolChoice, ToolResult,
};
use crate::llm::golden::events;
use crate::llm::{
    Answer, Assembler, Delivery, Delta, Event, Finish, FormatId, Frame, ProviderError, StreamFault, Terminal, Usage,
    playback, without_unsigned_thinking,
};

use super::FORMAT;

const OWN: FormatId = FormatId::Anthropic;

fn read(body: Value) -> Chat {
    FORMAT.read_request(body).unwrap()
}

/// A request with these members.
fn with(members: Value) -> Value {
    let mut request = json!({"model": "m", "max_tokens": 900, "messages": [{"role": "user", "content": "Hi"}]});
    for (name, value) in members.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

/// A request with something of everything, in the form in which it is written again.
fn rich() -> Value {
    let mark = json!({"type": "ephemeral"});
    json!({
        "model": "claude-opus-4-5", "max_tokens": 900,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": mark}, {"type": "text", "text": "Be kind."}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "See:", "cache_control": mark},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "image", "source": {"type": "url", "url": "https://a/b.png", "of_source": 1}},
                {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
                {"type": "document", "title": "T", "context": "C", "citations": {"enabled": true},
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
                {"type": "document", "title": "U",
                    "source": {"type": "content", "content": [{"type": "text", "text": "a"}]}},
                {"type": "document", "source": {"type": "content", "content": [
                    {"type": "image", "source": {"type": "url", "url": "https://c"}}]}},
                {"type": "search_result", "title": "S", "source": "https://s",
                    "content": [{"type": "text", "text": "found"}]},
                {"type": "container_upload", "file_id": "f"}], "of_message": 1},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "s"}, {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "I'll look.", "citations": [{"type": "char_location", "cited_text": "a"}]},
                {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "q"}},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": {"y": [1.5, "z"]}},
                    "caller": {"type": "direct"}},
                {"type": "tool_use", "id": "b", "name": "g", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": [
                    {"type": "text", "text": "one", "of_text": 1}, {"type": "tool_reference", "tool_name": "g"}]},
                {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "no such file"}],
                    "is_error": true, "of_result": 1},
                {"type": "text", "text": "So?"}]},
            {"role": "system", "content": [{"type": "text", "text": "Speak French."}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Well"}]}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true, "of_choice": 1},
        "tools": [
            {"name": "f", "description": "Does f.",
                "input_schema": {"type": "object", "properties": {"x": {"enum": [1]}}},
                "strict": true, "defer_loading": true, "input_examples": [{"x": 1}], "cache_control": mark},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}],
        "output_config": {"effort": "low", "of_config": 1,
            "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "temperature": 0.5, "top_k": 5, "stop_sequences": ["END", "FIN"], "stream": true,
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}, "container": "c", "speed": "fast",
        "unheard_of": {"a": [1]}, "metadata": {"user_id": "u"}, "service_tier": "auto"
    })
}

/// `value` with each of its nodes in turn replaced by what `others` gives for it, or left out, or with a member more.
fn changed(value: &Value, others: &dyn Fn(&Value) -> Vec<Value>) -> Vec<Value> {
    let mut all = others(value);
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let mut less = items.clone();
                less.remove(index);
                all.push(less.into());
                all.extend(changed(item, others).into_iter().map(|other| {
                    let mut items = items.clone();
                    items[index] = other;
                    items.into()
                }));
            }
        }
        Value::Object(members) => {
            let mut more = members.clone();
            more.insert("more".into(), 1.into());
            all.push(more.into());
            for (name, member) in members {
                let mut less = members.clone();
                less.shift_remove(name);
                all.push(less.into());
                all.extend(changed(member, others).into_iter().map(|other| {
                    let mut members = members.clone();
                    members.insert(name.clone(), other);
                    members.into()
                }));
            }
        }
        _ => {}
    }
    all
}

fn spoilt(value: &Value) -> Vec<Value> {
    let odd =
        [json!(null), json!(-1.5), json!(u64::MAX), json!("\u{fc}{"), json!([[5]]), json!({"type": "x"}), json!(true)];
    changed(value, &|_| odd.to_vec())
}

#[test]
fn any_difference_makes_another_chat() {
    let other = |value: &Value| match value {
        Value::String(text) => vec![format!("{text}x").into()],
        Value::Number(number) => vec![(number.as_f64().unwrap() + 1.0).into()],
        Value::Bool(flag) => vec![(!flag).into()],
        _ => vec![],
    };
    let asked = |body: Value| {
        let chat = FORMAT.read_request(body).ok()?;
        Some(Chat { unseen: Map::new(), user: None, delivery: Delivery::Whole, ..chat })
    };
    let says = |body: &Value| {
        let mut body = body.clone();
        for name in ["metadata", "service_tier", "stream"] {
            body.as_object_mut().map(|members| members.shift_remove(name));
        }
        body.to_string().replace("\"media_type\":\"text/plain\",", "").replace(",\"input\":{}", "")
    };
    for thinking in [
        json!({"type": "enabled", "budget_tokens": 300, "display": "omitted", "of_thinking": 1}),
        json!({"type": "between_tools", "of_thinking": 1}),
    ] {
        let mut whole = rich();
        whole["thinking"] = thinking;
        let expected = asked(whole.clone()).unwrap();
        let (mut compared, all) = (0, changed(&whole, &other));
        for body in all.iter().filter(|body| says(body) != says(&whole)) {
            if let Some(chat) = asked(body.clone()) {
                compared += 1;
                assert!(chat != expected, "{body}");
            }
        }
        assert!(compared > 250, "{compared}");
    }
}

#[test]
fn what_says_nothing_makes_no_difference() {
    let plain = read(with(json!({})));
    for said in [
        json!({"top_p": 1}),
        json!({"tools": [], "stop_sequences": [], "mcp_servers": [], "system": ""}),
        json!({"tool_choice": {"type": "auto", "disable_parallel_tool_use": false}}),
        json!({"system": null, "thinking": null, "output_config": {"format": null}, "container": null}),
        json!({"messages": [{"role": "user", "content": [text("Hi"), text("")]}], "stream": false}),
    ] {
        assert_eq!(read(with(said.clone())), plain, "{said}");
    }
    let tools = |tool: Value| read(with(json!({"tools": [tool]})));
    assert_eq!(tools(json!({"type": "custom", "name": "f", "strict": false})), tools(json!({"name": "f"})));
    let one = |format: Value| read(with(format)).output;
    let format = json!({"type": "json_schema", "schema": {}});
    assert_eq!(one(json!({"output_format": format})), one(json!({"output_config": {"format": format}})));
}

#[test]
fn a_request_is_written_as_it_was_read() {
    let chat = read(rich());
    assert_eq!(FORMAT.write_request(&chat, "claude-opus-4-5").unwrap(), rich());
    assert_eq!((chat.delivery, chat.user.as_deref()), (Delivery::StreamWithUsage, Some("u")));
    assert_eq!(chat.indispensable, Some("container"));
    assert_eq!(chat.sampling.stop, ["END", "FIN"]);
    let roles: Vec<Role> = chat.messages.iter().map(|message| message.role).collect();
    let (system, user, tool, assistant) = (Role::System, Role::User, Role::Tool, Role::Assistant);
    assert_eq!(roles, [system, user, assistant, tool, tool, user, system, assistant]);
    let search = &chat.messages[1].parts[8].content;
    let expected = Content::Document { source: Source::Text("https://s\nfound".into()), name: Some("S".into()) };
    assert_eq!(search, &expected);
}

#[test]
fn what_runs_at_the_provider_is_never_cached() {
    let of = |members: Value| {
        let chat = read(with(members));
        (chat.uncacheable.is_some(), chat.indispensable)
    };
    let block = |block: Value| json!({"messages": [{"role": "user", "content": [block]}]});
    assert_eq!(of(json!({})), (false, None));
    assert_eq!(of(json!({"container": "c"})), (true, Some("container")));
    assert_eq!(of(json!({"mcp_servers": [{}]})), (true, Some("mcp_servers")));
    assert_eq!(of(json!({"inference_geo": "eu"})), (false, Some("inference_geo")));
    assert_eq!(of(json!({"tools": [{"type": "web_search_20250305", "name": "w"}]})), (true, None));
    assert_eq!(of(json!({"tools": [{"type": "bash_20250124", "name": "bash"}]})), (false, None));
    assert_eq!(of(block(json!({"type": "hologram"}))), (true, None));
    assert_eq!(of(block(json!({"type": "tool_result", "tool_use_id": "a", "content": [{"type": "x"}]}))), (true, None));
}

#[test]
fn what_is_no_request_names_its_place() {
    let user = |block: Value| json!({"messages": [{"role": "user", "content": [block]}]});
    let source = |source: Value| user(json!({"type": "image", "source": source}));
    for (members, place) in [
        (json!({"messages": null}), "`messages`"),
        (json!({"messages": [5]}), "`messages[0]`"),
        (json!({"messages": [{"role": "tool"}]}), "`messages[0].role`"),
        (json!({"messages": [{"role": "user"}]}), "`messages[0].content`"),
        (json!({"system": 5}), "`system`"),
        (json!({"tools": 5}), "`tools`"),
        (json!({"tools": [{"description": "d"}]}), "`tools[0].name`"),
        (json!({"tool_choice": {"type": "tool"}}), "`tool_choice.name`"),
        (json!({"tool_choice": "auto"}), "`tool_choice`"),
        (json!({"thinking": {"budget_tokens": 5}}), "`thinking.type`"),
        (json!({"stop_sequences": [5]}), "`stop_sequences`"),
        (json!({"max_tokens": -1}), "`max_tokens`"),
        (user(json!(5)), "`messages[0].content[0].type`"),
        (user(json!({"type": "text"})), "`messages[0].content[0].text`"),
        (source(json!({"type": "base64", "data": ""})), "`messages[0].content[0].source.media_type`"),
        (user(json!({"type": "tool_result"})), "`messages[0].content[0].tool_use_id`"),
        (user(json!({"type": "tool_result", "tool_use_id": "a", "content": 5})), "`messages[0].content[0].content`"),
    ] {
        let message = FORMAT.read_request(with(members)).unwrap_err().to_string();
        assert!(message.starts_with(place), "{message} instead of {place}");
    }
    assert!(FORMAT.read_request(json!([])).is_err());
}

/// A chat as a caller of OpenAI's API has it.
fn chat(parts: Vec<Part>) -> Chat {
    Chat { messages: vec![Message::new(Role::User, parts)], ..Chat::default() }
}

fn hi() -> Chat {
    chat(vec![Part::text("Hi")])
}

fn written(chat: &Chat) -> Value {
    FORMAT.write_request(chat, "claude-sonnet-4-5").unwrap()
}

fn function(name: &str) -> Tool {
    Tool::Function {
        name: name.into(),
        description: None,
        parameters: None,
        strict: Some(true),
        extra: Extra::default(),
    }
}

fn call(id: &str, arguments: &str) -> Part {
    Part::new(Content::ToolCall(ToolCall { id: id.into(), name: "f".into(), arguments: arguments.into() }))
}

fn result(id: &str, parts: Vec<Part>) -> Message {
    let result = ToolResult { call_id: id.into(), parts, is_error: false };
    Message::new(Role::Tool, vec![Part::new(Content::ToolResult(result))])
}

fn thought(text: &str, issuer: Issuer, kind: SealKind, value: &str) -> Part {
    let seal = Some(Seal { issuer, kind, value: value.into() });
    Part { seal, ..Part::new(Content::Reasoning(text.into())) }
}

fn extra(members: Value) -> Extra {
    Extra::new(FormatId::OpenAiChat, members.as_object().unwrap().clone())
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

#[test]
fn a_chat_of_another_format() {
    let mark = json!({"type": "ephemeral"});
    let mut chat = hi();
    chat.messages.insert(0, Message::new(Role::System, vec![Part::text("Be brief.")]));
    chat.messages
        .push(Message { extra: extra(json!({"cache_control": mark, "name": "n"})), ..chat.messages[1].clone() });
    chat.messages.push(Message::new(Role::Developer, vec![Part::text("Be kind."), Part::text(" ")]));
    chat.tools = vec![function("f"), Tool::Foreign(OWN, json!({"type": "web_search_20250305", "name": "w"}))];
    chat.tool_choice = ToolChoice::Required;
    chat.parallel_tool_calls = Some(false);
    chat.sampling = Sampling { temperature: Some(1.7), seed: Some(1), stop: vec!["END".into()], ..Sampling::default() };
    chat.delivery = Delivery::Stream;
    chat.user = Some("u".into());
    chat.unseen.insert("service_tier".into(), "default".into());
    chat.unseen.insert("metadata".into(), json!({"run": "7"}));
    chat.extra = extra(json!({"logit_bias": {"1": 2}, "output_config": {"task": 1}, "speed": "fast"}));
    chat.output = Output::JsonSchema {
        name: Some("n".into()),
        description: None,
        schema: json!({"type": "object", "properties": {
            "type": {"type": ["object", "null"]},
            "list": {"type": "array", "items": {"type": "object", "additionalProperties": true}},
            "either": {"anyOf": [{"type": "object"}, {"const": {"type": "object"}}]}}}),
        strict: Some(false),
    };
    let schema = json!({"type": "object", "properties": {
        "type": {"type": ["object", "null"], "additionalProperties": false},
        "list": {"type": "array", "items": {"type": "object", "additionalProperties": true}},
        "either": {"anyOf": [{"type": "object", "additionalProperties": false}, {"const": {"type": "object"}}]}},
        "additionalProperties": false});
    assert_eq!(
        written(&chat),
        json!({
            "model": "claude-sonnet-4-5", "max_tokens": 4096, "system": [text("Be brief."), text("Be kind.")],
            "messages": [{"role": "user", "content": [
                text("Hi"), {"type": "text", "text": "Hi", "cache_control": mark}]}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
            "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}},
                {"type": "web_search_20250305", "name": "w"}],
            "temperature": 1.0, "stop_sequences": ["END"], "stream": true, "speed": "fast",
            "output_config": {"format": {"type": "json_schema", "schema": schema}, "task": 1},
            "metadata": {"user_id": "u"}, "service_tier": "standard_only",
        })
    );
    let object = Chat { output: Output::JsonObject, ..hi() };
    assert_eq!(written(&object)["system"], json!([text(crate::llm::claude::JSON_ONLY)]));
}

#[test]
fn turns_are_as_anthropic_wants_them() {
    let mut chat = chat(vec![Part::text("Go"), Part::text("\n")]);
    chat.messages.extend([
        Message::new(Role::Assistant, vec![]),
        Message::new(Role::User, vec![Part::text("now")]),
        Message::new(
            Role::Assistant,
            vec![
                thought("a", Issuer::Anthropic, SealKind::Signature, "s"),
                thought("", Issuer::Anthropic, SealKind::Encrypted, "d"),
                thought("b", Issuer::Google, SealKind::Signature, "s"),
                thought("c", Issuer::Anthropic, SealKind::Signature, ""),
                Part::new(Content::Reasoning("e".into())),
                Part::new(Content::Refusal("No.".into())),
                call("functions.f:1", "{\"x\": 1}"),
                call("b", " "),
            ],
        ),
        Message::new(Role::User, vec![Part::text("Wait.")]),
        result("functions.f:1", vec![Part::text("one")]),
        result("b", vec![]),
        Message::new(Role::Assistant, vec![Part::text("Once upon a time \n")]),
    ]);
    assert_eq!(
        written(&chat)["messages"],
        json!([
            {"role": "user", "content": [text("Go"), text("now")]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "a", "signature": "s"}, {"type": "redacted_thinking", "data": "d"},
                text("No."),
                {"type": "tool_use", "id": "functions_f_1", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "b", "name": "f", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "functions_f_1", "content": [text("one")]},
                {"type": "tool_result", "tool_use_id": "b"}, text("Wait.")]},
            {"role": "assistant", "content": [text("Once upon a time")]}])
    );
    chat.messages.drain(..3);
    assert_eq!(written(&chat)["messages"][0]["content"], json!([text("(The assistant begins.)")]));
}

#[test]
fn pictures_and_documents() {
    let base64 = |media_type: &str, data: &str| Source::Base64 { media_type: media_type.into(), data: data.into() };
    let document = |source| Part::new(Content::Document { source, name: Some("a".into()) });
    let chat = chat(vec![
        Part::new(Content::Image(base64("image/jpg", "AAAA"))),
        Part::new(Content::Image(Source::Url("https://a".into()))),
        document(base64("application/pdf", "JVBE")),
        document(base64("text/markdown", "SGk=")),
        document(Source::Text("Hi".into())),
        document(Source::Url("https://a.pdf".into())),
    ]);
    let text =
        json!({"type": "document", "title": "a", "source": {"type": "text", "media_type": "text/plain", "data": "Hi"}});
    assert_eq!(
        written(&chat)["messages"][0]["content"],
        json!([
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}},
            {"type": "image", "source": {"type": "url", "url": "https://a"}},
            {"type": "document", "title": "a",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}},
            text, text,
            {"type": "document", "title": "a", "source": {"type": "url", "url": "https://a.pdf"}}])
    );
}

#[test]
fn choices_of_tools() {
    let chosen = |tool_choice: ToolChoice, model: &str| {
        let chat = Chat { tools: vec![function("f"), function("g")], tool_choice, ..hi() };
        let body = FORMAT.write_request(&chat, model).unwrap();
        (body["tool_choice"].clone(), body["tools"].as_array().unwrap().len(), body["system"].clone())
    };
    let named = || ToolChoice::Named("g".into());
    let allowed = |required| ToolChoice::Allowed { names: vec!["g".into()], required };
    let old = "claude-sonnet-4-5";
    for (choice, model, expected) in [
        (ToolChoice::Auto, old, (json!(null), 2, json!(null))),
        (ToolChoice::None, old, (json!({"type": "none"}), 2, json!(null))),
        (ToolChoice::Required, old, (json!({"type": "any"}), 2, json!(null))),
        (named(), old, (json!({"type": "tool", "name": "g"}), 2, json!(null))),
        (allowed(true), old, (json!({"type": "any"}), 1, json!(null))),
        (allowed(false), old, (json!(null), 1, json!(null))),
        (named(), "claude-opus-5-5", (json!(null), 2, json!([text("Call the tool g now.")]))),
    ] {
        assert_eq!(chosen(choice.clone(), model), expected, "{choice:?}");
    }
    let without = Chat { tool_choice: ToolChoice::Required, ..hi() };
    assert_eq!(written(&without).get("tool_choice"), None);
}

#[test]
fn models_think_as_they_can() {
    let effort = |effort: &str| Reasoning { effort: Some(effort.into()), ..Reasoning::default() };
    let asked = |reasoning: Reasoning, max_tokens: Option<u64>, model: &str| {
        let sampling = Sampling { max_tokens, temperature: Some(0.5), top_k: Some(3), ..Sampling::default() };
        let body = FORMAT.write_request(&Chat { reasoning, sampling, ..hi() }, model).unwrap();
        let config = body["output_config"]["effort"].clone();
        (body["thinking"].clone(), config, body["max_tokens"].clone(), body.get("temperature").is_some())
    };
    let budget = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens});
    let adaptive = || json!({"type": "adaptive"});
    let none = || json!(null);
    for (word, limit, model, expected) in [
        ("low", None, "claude-sonnet-4-5", (budget(1024), none(), json!(5120), false)),
        ("xhigh", Some(64000), "claude-opus-4-1", (budget(16384), none(), json!(64000), false)),
        ("low", Some(100), "claude-haiku-4-5", (budget(1024), none(), json!(1124), false)),
        ("low", Some(100), "claude-3-5-haiku-latest", (none(), none(), json!(100), true)),
        ("minimal", None, "claude-sonnet-4-5", (none(), none(), json!(4096), true)),
        ("xhigh", Some(100), "claude-opus-4-6", (adaptive(), json!("high"), json!(100), false)),
        ("xhigh", None, "claude-opus-4-8", (adaptive(), json!("xhigh"), json!(20480), false)),
        ("none", None, "claude-opus-4-8", (none(), none(), json!(4096), false)),
        ("none", Some(100), "claude-sonnet-5", (json!({"type": "disabled"}), none(), json!(100), false)),
        ("none", Some(100), "claude-sonnet-5-5", (json!({"type": "between_tools"}), none(), json!(100), false)),
        ("none", None, "claude-opus-5-5", (none(), json!("low"), json!(5120), false)),
        ("medium", None, "some-alias", (budget(4096), none(), json!(8192), false)),
    ] {
        assert_eq!(asked(effort(word), limit, model), expected, "{word} {model}");
    }
    let shown = Reasoning { budget: Some(5000), summary: Some("auto".into()), ..Reasoning::default() };
    let summarized = json!({"type": "adaptive", "display": "summarized"});
    assert_eq!(asked(shown.clone(), Some(9000), "claude-opus-5").0, summarized);
    assert_eq!(asked(shown, Some(9000), "claude-opus-4-5").0, budget(5000));
    let unsaid = asked(Reasoning::default(), None, "claude-opus-5-5");
    assert_eq!(unsaid, (none(), none(), json!(20480), false));
    let vast = Chat { reasoning: effort("vast"), ..hi() };
    assert!(FORMAT.write_request(&vast, "m").unwrap_err().to_string().starts_with("`reasoning_effort`"));
    let own = Reasoning { mode: Some(ReasoningMode::Enabled), budget: Some(9000), ..effort("low") };
    assert_eq!(asked(own, None, "claude-sonnet-4-5"), (budget(9000), none(), json!(13096), false));
    let forced =
        Chat { reasoning: effort("low"), tools: vec![function("f")], tool_choice: ToolChoice::Required, ..hi() };
    assert_eq!(written(&forced).get("thinking"), None);
    assert_eq!(FORMAT.write_request(&forced, "claude-sonnet-5").unwrap()["thinking"], json!({"type": "disabled"}));
    let off = Chat {
        format: OWN,
        reasoning: Reasoning { mode: Some(ReasoningMode::Disabled), ..Reasoning::default() },
        ..hi()
    };
    assert_eq!(written(&off)["thinking"], json!({"type": "disabled"}));
}

#[test]
fn no_budget_between_a_call_and_its_result_but_with_the_thoughts_before_it() {
    let mut chat = Chat { reasoning: Reasoning { effort: Some("high".into()), ..Reasoning::default() }, ..hi() };
    chat.messages.extend([Message::new(Role::Assistant, vec![call("a", "{}")]), result("a", vec![Part::text("1")])]);
    assert_eq!(written(&chat).get("thinking"), None);
    assert_eq!(FORMAT.write_request(&chat, "claude-opus-4-7").unwrap()["thinking"], json!({"type": "adaptive"}));
    chat.messages[1].parts.insert(0, thought("Hm", Issuer::Anthropic, SealKind::Signature, "s"));
    assert!(written(&chat)["thinking"].is_object());
    chat.messages.truncate(2);
    assert_eq!(written(&chat).get("thinking"), None);
}

#[test]
fn temperature_and_top_p_go_together_where_they_may() {
    for (temperature, top_p, model, expected) in [
        (Some(0.2), Some(0.9), "claude-sonnet-4-5", (Some(0.2), None)),
        (Some(1.0), Some(0.9), "claude-sonnet-4-5", (None, Some(0.9))),
        (Some(2.0), None, "claude-sonnet-4-5", (Some(1.0), None)),
        (Some(0.2), Some(0.9), "claude-sonnet-4-0", (Some(0.2), Some(0.9))),
        (Some(0.2), Some(0.9), "claude-opus-4-7", (None, None)),
    ] {
        let chat = Chat { sampling: Sampling { temperature, top_p, ..Sampling::default() }, ..hi() };
        let body = FORMAT.write_request(&chat, model).unwrap();
        assert_eq!((body["temperature"].as_f64(), body["top_p"].as_f64()), expected, "{model}");
    }
}

#[test]
fn what_an_anthropic_model_cannot_do_is_refused_by_name() {
    let foreign = || json!({"type": "hologram"});
    let with = |part: Part| chat(vec![part]);
    let content = |content: Content| with(Part::new(content));
    let document = |source| content(Content::Document { source, name: None });
    let said = |part: Part| Chat { messages: vec![Message::new(Role::Assistant, vec![part])], ..hi() };
    for (chat, field) in [
        (Chat { messages: vec![], ..hi() }, "`messages`"),
        (chat(vec![Part::text(" ")]), "`messages`"),
        (Chat { indispensable: Some("n"), ..hi() }, "`n`"),
        (Chat { sampling: Sampling { stop: vec!["\n".into()], ..Sampling::default() }, ..hi() }, "`stop`"),
        (
            Chat { tools: vec![Tool::Foreign(FormatId::OpenAiChat, foreign())], ..hi() },
            "`tools[0]` is of type `hologram`",
        ),
        (
            Chat {
                tool_choice: ToolChoice::Foreign(FormatId::OpenAiChat, foreign()),
                tools: vec![function("f")],
                ..hi()
            },
            "`tool_choice`",
        ),
        (Chat { output: Output::Foreign(FormatId::OpenAiChat, foreign()), ..hi() }, "`response_format`"),
        (content(Content::Foreign(FormatId::OpenAiChat, foreign())), "`messages[0].content[0]` is of type `hologram`"),
        (content(Content::Audio { data: "A".into(), format: "wav".into() }), "`messages[0].content[0]`"),
        (content(Content::Image(Source::File("f".into()))), "`messages[0].content[0]`"),
        (content(Content::Image(Source::Url("gs://a".into()))), "`messages[0].content[0]`"),
        (
            document(Source::Base64 { media_type: "application/zip".into(), data: "A".into() }),
            "`messages[0].content[0]`",
        ),
        (said(call("a", "[1]")), "`messages[0].content[0].arguments`"),
        (said(call("", "{}")), "`messages[0].content[0].id`"),
        (said(Part::new(Content::Image(Source::Url("https://a".into())))), "`messages[0].content[0]`"),
    ] {
        let message = FORMAT.write_request(&chat, "m").unwrap_err().to_string();
        assert!(message.starts_with(field), "{message} instead of {field}");
    }
}

#[test]
fn unsigned_thoughts_are_taken_out_of_requests_that_pass_through() {
    let signed = json!({"type": "thinking", "thinking": "a", "signature": "s"});
    let unsigned = json!({"type": "thinking", "thinking": "b", "signature": ""});
    let used = json!({"type": "tool_use", "id": "a", "name": "f", "input": {}});
    let body = |first: &Value, rest: &[Value]| {
        let said: Vec<&Value> = std::iter::once(first).chain(rest).collect();
        json!({"model": "m", "thinking": {"type": "enabled", "budget_tokens": 1024}, "messages": [
            {"role": "user", "content": "Go"}, {"role": "assistant", "content": said},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]}]})
    };
    assert_eq!(without_unsigned_thinking(&body(&signed, std::slice::from_ref(&used))), None);
    assert_eq!(
        without_unsigned_thinking(&body(&signed, &[unsigned.clone(), used.clone()])),
        Some(body(&signed, std::slice::from_ref(&used)))
    );
    let mut expected = body(&used, &[]);
    expected.as_object_mut().unwrap().shift_remove("thinking");
    assert_eq!(without_unsigned_thinking(&body(&unsigned, &[used])), Some(expected));
    let alone = without_unsigned_thinking(&body(&json!({"type": "thinking", "thinking": "b"}), &[])).unwrap();
    assert_eq!(alone["messages"].as_array().unwrap().len(), 2);
    for body in spoilt(&body(&unsigned, &[])) {
        let _ = without_unsigned_thinking(&body);
    }
}

fn message(content: Value, stop_reason: &str) -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": content,
        "stop_reason": stop_reason, "stop_sequence": null, "container": {"id": "c"},
        "usage": {"input_tokens": 10, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 20,
            "output_tokens": 7}})
}

fn blocks() -> Value {
    json!([
        {"type": "thinking", "thinking": "Hm. ", "signature": "s"}, {"type": "redacted_thinking", "data": "x"},
        {"type": "thinking", "thinking": "", "signature": "t"},
        {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "srv",
            "content": [{"type": "web_search_result", "url": "https://a"}]},
        {"type": "text", "text": "It is hot",
            "citations": [{"type": "web_search_result_location", "url": "https://a"}]},
        {"type": "text", "text": "."},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": "\u{e9}", "y": [1.5]},
            "caller": {"type": "direct"}},
        {"type": "tool_use", "id": "b", "name": "g", "input": {}}])
}

fn answer(body: Value) -> Answer {
    FORMAT.read_reply(body).unwrap()
}

fn assembled(text: &str) -> Result<Answer, StreamFault> {
    let (mut reader, mut assembler, mut deltas) = (FORMAT.stream_reader(), Assembler::default(), Vec::new());
    for event in events(text) {
        reader.read(&event, &mut deltas)?;
    }
    reader.finish(&mut deltas)?;
    deltas.into_iter().for_each(|delta| assembler.add(delta));
    Ok(assembler.finish().unwrap())
}

fn streamed(deltas: &[Delta]) -> String {
    let (mut writer, mut out) = (FORMAT.stream_writer(&Frame { id: "f".into(), ..Frame::default() }), String::new());
    deltas.iter().for_each(|delta| writer.write(delta, &mut out));
    writer.finish(&mut out);
    out
}

#[test]
fn replies_are_written_and_played_back_as_they_were_read() {
    for reason in ["end_turn", "tool_use", "max_tokens", "pause_turn", "refusal", "model_context_window_exceeded"] {
        let whole = message(blocks(), reason);
        let read = answer(whole.clone());
        let mut expected = whole.clone();
        if reason == "end_turn" {
            expected["stop_reason"] = "tool_use".into();
        }
        assert_eq!(FORMAT.write_reply(&read, &Frame::default()), expected);
        let mut again = assembled(&streamed(&playback(&read))).unwrap();
        if reason == "end_turn" {
            again.finish = Finish::Stop;
        }
        assert_eq!(again, read);
    }
    let mut stopped = message(json!([]), "stop_sequence");
    stopped["stop_sequence"] = "END".into();
    assert_eq!(FORMAT.write_reply(&answer(stopped.clone()), &Frame::default()), stopped);
    let usage = answer(message(json!([]), "end_turn")).usage.unwrap();
    assert_eq!((usage.input, usage.cached_input, usage.cache_write, usage.output), (33, 20, 3, 7));
}

#[test]
fn answers_of_other_formats() {
    let parts = vec![
        thought("Hm.", Issuer::Google, SealKind::Signature, "s"),
        thought("", Issuer::OpenAi, SealKind::Encrypted, "s"),
        Part::text(""),
        Part::new(Content::Refusal("No.".into())),
        call("", " "),
        call("b", "{\"x\":"),
        Part::new(Content::Foreign(FormatId::Gemini, json!({}))),
    ];
    let usage = Usage { input: 30, cached_input: 20, output: 7, ..Usage::default() };
    let answer = Answer { id: "chatcmpl-1".into(), parts, usage: Some(usage), ..Answer::default() };
    let frame = Frame { model: "asked".into(), ..Frame::default() };
    let expected = |content: Value, reason: &str| {
        json!({"id": "msg_chatcmpl-1", "type": "message", "role": "assistant", "model": "asked", "content": content,
            "stop_reason": reason, "stop_sequence": null,
            "usage": {"input_tokens": 10, "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 20, "output_tokens": 7}})
    };
    let mut content = vec![
        json!({"type": "thinking", "thinking": "Hm.", "signature": ""}),
        text("No."),
        json!({"type": "tool_use", "id": "toolu_chatcmpl-1_4", "name": "f", "input": {}}),
        json!({"type": "tool_use", "id": "b", "name": "f", "input": {"INVALID_JSON": "{\"x\":"}}),
    ];
    assert_eq!(FORMAT.write_reply(&answer, &frame), expected(content.clone().into(), "refusal"));
    content.pop();
    let cut = Answer { finish: Finish::Length, ..answer };
    assert_eq!(FORMAT.write_reply(&cut, &frame), expected(content.into(), "max_tokens"));
    let of = |finish: Finish| {
        let answer = Answer { finish, ..Answer::of_text("a") };
        FORMAT.write_reply(&answer, &frame)["stop_reason"].clone()
    };
    assert_eq!(of(Finish::ContentFilter), "refusal");
    assert_eq!(of(Finish::StopSequence(None)), "end_turn");
    assert_eq!(of(Finish::Other(FormatId::Gemini, "RECITATION".into())), "max_tokens");
    assert_eq!(FORMAT.write_reply(&Answer::of_text("a"), &frame)["usage"]["output_tokens"], 0);
}

#[test]
fn what_is_no_message_is_malformed() {
    for rubbish in [
        json!(null),
        json!([]),
        json!({}),
        json!({"content": "a", "stop_reason": "end_turn"}),
        json!({"content": [], "stop_reason": null}),
        json!({"content": [{"type": "tool_use", "name": "f"}], "stop_reason": "tool_use"}),
        json!({"type": "error", "error": {"message": "Overloaded"}, "content": [], "stop_reason": "end_turn"}),
    ] {
        assert!(FORMAT.read_reply(rubbish.clone()).is_err(), "{rubbish}");
    }
}

/// What happens to blocks, in short: `0+text`, `0:words`, `0.` and `ping`.
fn script(text: &str) -> Vec<String> {
    let short = |event: Event| {
        let data: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(data["type"], event.name.as_str());
        let index = &data["index"];
        match event.name.as_str() {
            "content_block_start" => Some(format!("{index}+{}", data["content_block"]["type"].as_str().unwrap())),
            "content_block_delta" => {
                let delta = &data["delta"];
                let text =
                    ["text", "thinking", "partial_json", "signature"].iter().find_map(|name| delta[*name].as_str());
                Some(format!("{index}:{}", text.unwrap()))
            }
            "content_block_stop" => Some(format!("{index}.")),
            "message_delta" => Some(data["delta"]["stop_reason"].as_str().unwrap().to_owned()),
            "ping" => Some("ping".into()),
            _ => None,
        }
    };
    events(text).into_iter().filter_map(short).collect()
}

#[test]
fn parts_that_grow_by_turns_are_told_one_after_another() {
    let begin = |index: usize, part: Part| Delta::PartBegin { index, part };
    let more = |index: usize, text: &str| Delta::PartGrow { index, text: text.into() };
    let end = |index: usize| Delta::PartEnd { index, seal: None, extra: Extra::default() };
    let finish = |reason: Finish| Delta::Finish(reason);
    let thinking = || Part::new(Content::Reasoning(String::new()));
    for (deltas, expected) in [
        // Nobody has said that the thoughts are at their end.
        (
            vec![
                begin(0, thinking()),
                more(0, "Hm."),
                begin(1, Part::text("")),
                more(1, "a"),
                more(1, "b"),
                finish(Finish::Stop),
            ],
            vec!["0+thinking", "0:Hm.", "0.", "1+text", "1:a", "1:b", "1.", "end_turn"],
        ),
        (
            vec![
                begin(0, call("a", "")),
                more(0, "{\"x\":"),
                begin(1, call("b", "")),
                more(1, "{\"y\":"),
                begin(2, Part::text("")),
                more(2, "And"),
                more(1, "2}"),
                more(0, "1}"),
                more(2, " so."),
                finish(Finish::ToolCalls),
            ],
            vec![
                "0+tool_use",
                "0:{\"x\":",
                "ping",
                "ping",
                "ping",
                "0:1}",
                "0.",
                "1+tool_use",
                "1:{\"y\":2}",
                "1.",
                "2+text",
                "2:And",
                "2: so.",
                "2.",
                "tool_use",
            ],
        ),
        // Text that goes on after a call, which begins with all of its arguments.
        (
            vec![begin(0, Part::text("a")), begin(1, call("a", "{}")), more(0, "b"), end(1), finish(Finish::Stop)],
            vec!["0+text", "0:a", "0.", "1+tool_use", "1:{}", "1.", "2+text", "2:b", "2.", "tool_use"],
        ),
        (
            vec![begin(0, call("a", "{\"x\"")), begin(1, call("b", "{\"y\"")), finish(Finish::Length)],
            vec!["0+tool_use", "0:{\"x\"", "0.", "max_tokens"],
        ),
        (
            vec![
                begin(0, Part::text("")),
                end(0),
                begin(1, Part::new(Content::Refusal("No.".into()))),
                finish(Finish::Stop),
            ],
            vec!["0+text", "0:No.", "0.", "refusal"],
        ),
        (
            vec![
                begin(0, thinking()),
                Delta::PartEnd {
                    index: 0,
                    extra: Extra::default(),
                    seal: Some(Seal { issuer: Issuer::Anthropic, kind: SealKind::Signature, value: "s".into() }),
                },
                finish(Finish::Stop),
            ],
            vec!["0+thinking", "0:s", "0.", "end_turn"],
        ),
    ] {
        assert_eq!(script(&streamed(&deltas)), expected);
    }
}

fn text_stream() -> String {
    let whole = message(
        json!([{"type": "thinking", "thinking": "Hm", "signature": "s"}, text("Gr\u{fc}ezi mitenand, \
        und noch etwas")]),
        "end_turn",
    );
    streamed(&playback(&answer(whole)))
}

#[test]
fn a_stream_cut_anywhere_is_not_complete() {
    let stream = text_stream();
    let blocks: Vec<&str> = stream.split_inclusive("\n\n").collect();
    for cut in 0..blocks.len() {
        let is_whole = cut == blocks.len() - 1;
        assert_eq!(assembled(&blocks[..cut].concat()).is_ok(), is_whole, "{cut}");
    }
    let [.., delta, stop] = blocks.as_slice() else { panic!() };
    let of = |block: &str| FORMAT.terminal(&events(block)[0]);
    assert_eq!((of(delta), of(stop)), (Some(Terminal::Whole), Some(Terminal::End)));
    assert!(blocks[..blocks.len() - 2].iter().all(|block| of(block).is_none()));
    assert_eq!(of("data: {\"type\":\"message_stop\"}\n\n"), Some(Terminal::End));
    assert_eq!(of("data: {\"error\":{\"message\":\"boom\"}}\n\n"), Some(Terminal::Error));
    let words = json!({"type": "content_block_delta", "delta": {"text": "{\"type\":\"message_stop\"} error"}});
    assert_eq!(of(&format!("data: {words}\n\n")), None);
}

#[test]
fn faults_of_streams() {
    let begin = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n";
    let provider = |text: &str| match assembled(&format!("{begin}{text}")) {
        Err(StreamFault::Provider(error)) => (error.status, error.message, error.code),
        other => panic!("{other:?}"),
    };
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let overloaded = &format!("event: error\ndata: {error}\n\n");
    assert_eq!(provider(overloaded), (529, "Overloaded".into(), None));
    assert_eq!(provider("data: {\"error\":\"boom\"}\n\n"), (500, "boom".into(), None));
    assert!(provider("event: error\ndata: no JSON\n\n").1.contains("no JSON"));
    for text in [
        "event: content_block_stop\ndata: {}\n\n",
        &format!("{begin}data: {{\"type\":\"message_stop\"}}\n\n"),
        &format!("{begin}data: {{\"type\":\"content_block_start\",\"content_block\":{{\"type\":\"tool_use\"}}}}\n\n"),
        "data: {oops\n\n",
    ] {
        assert!(matches!(assembled(text), Err(StreamFault::Malformed(_))), "{text}");
    }
    let odd = "data: {\"type\":\"ping\"}\n\ndata: {\"type\":\"hologram\"}\n\ndata: {}\n\ndata: [DONE]\n\n";
    assert_eq!(assembled(&format!("{odd}{begin}{odd}")), Err(StreamFault::Truncated));
    let mut stream = text_stream();
    stream.insert_str(
        stream.find("event: message_delta").unwrap(),
        "data: {\"type\":\"content_block_delta\",\"index\":9}\n\n",
    );
    assert_eq!(assembled(&stream).unwrap().lossy.as_deref(), Some("delta"));
}

#[test]
fn errors() {
    let of = |status: u16, body: &str| {
        let error = FORMAT.read_error(status, &|_| None, body.as_bytes());
        (error.message.clone(), error.code.clone(), FORMAT.write_error(&error)["error"]["type"].clone())
    };
    let slow = r#"{"type":"error","error":{"type":"rate_limit_error","message":"Slow down"},"request_id":"req_1"}"#;
    assert_eq!(of(429, slow), ("Slow down".into(), Some("rate_limit_exceeded".into()), json!("rate_limit_error")));
    let long = r#"{"error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}"#;
    assert_eq!(of(400, long).1.as_deref(), Some("context_length_exceeded"));
    let billing = r#"{"error":{"type":"billing_error","message":"Pay"}}"#;
    assert_eq!(of(400, billing), ("Pay".into(), Some("billing_error".into()), json!("billing_error")));
    assert_eq!(of(500, r#"{"error": "boom"}"#), ("boom".into(), None, json!("api_error")));
    assert_eq!(of(404, r#"{"message": "no such path"}"#).2, "not_found_error");
    assert_eq!(of(502, "").0, "the provider answered with status 502 and no explanation");
    let page = "<html>\r\n\t<b>Bad\u{0}Gateway</b>";
    assert_eq!(of(502, page).0, "the provider answered with status 502 and: <html> <b>Bad Gateway</b>");
    assert!(of(503, &"\u{1f44b} ".repeat(9000)).0.chars().count() < 500);
    for (status, kind) in [
        (422, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (413, "request_too_large"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ] {
        assert_eq!(FORMAT.write_error(&ProviderError::new(status, ""))["error"]["type"], kind, "{status}");
    }
    let full =
        ProviderError { code: Some("context_length_exceeded".into()), ..ProviderError::new(400, "128001 tokens") };
    assert_eq!(FORMAT.write_error(&full)["error"]["message"], "prompt is too long: 128001 tokens");
}

#[test]
fn whatever_comes_nothing_panics() {
    for body in spoilt(&rich()) {
        if let Ok(chat) = FORMAT.read_request(body) {
            let _ = FORMAT.write_request(&chat, "claude-opus-4-7");
            let _ = FORMAT.write_request(&Chat { format: FormatId::Gemini, ..chat }, "claude-3-7-sonnet");
        }
    }
    for body in spoilt(&message(blocks(), "tool_use")) {
        if let Ok(answer) = FORMAT.read_reply(body.clone()) {
            let _ = FORMAT.write_reply(&answer, &Frame::default());
            streamed(&playback(&answer));
        }
        let _ = FORMAT.read_error(400, &|_| None, body.to_string().as_bytes());
    }
    let stream = events(&streamed(&playback(&answer(message(blocks(), "tool_use")))));
    for (index, event) in stream.iter().enumerate() {
        let data: Value = serde_json::from_str(&event.data).unwrap();
        for spoilt in changed(&data, &|_| vec![json!(null), json!([[5]])]) {
            let (mut reader, mut deltas) = (FORMAT.stream_reader(), Vec::new());
            for (place, event) in stream.iter().enumerate() {
                let odd = Event { name: event.name.clone(), data: spoilt.to_string() };
                let _ = reader.read(if place == index { &odd } else { event }, &mut deltas);
            }
            let _ = reader.finish(&mut deltas);
            streamed(&deltas);
        }
    }
}
