//! An OpenAI chat completion request as one for Anthropic's `POST /v1/messages`, version 2023-06-01.

use serde_json::{Map, Value, json};

use super::conversation::Conversation;
use super::{Unconvertible, empty_schema, unconvertible};

/// Anthropic wants a limit; OpenAI's callers mostly give none.
const MAX_TOKENS: u64 = 4096;
/// What Anthropic knows and OpenAI doesn't, and so can only be meant for Anthropic.
const PASSED: [&str; 6] = ["cache_control", "container", "context_management", "inference_geo", "mcp_servers", "speed"];
/// What OpenAI's JSON mode asks for; Anthropic has no mode for JSON without a schema.
const JSON_ONLY: &str = "Answer with one valid JSON object and nothing else: no words around it, no code fence.";

/// The body for Anthropic's API that asks for what `chat` asks for.
///
/// Dropped is what doesn't change what an answer means: penalties, `seed`, `logit_bias`, `store`, `stream_options`,
/// `prediction`, `prompt_cache_key`, `safety_identifier`, `verbosity`, `strict` of functions, and whatever else neither
/// API names. Of `metadata` only `user_id` stays, because Anthropic refuses any other member.
///
/// Where `temperature` and `top_p` are both given, the one that differs from 1 stays, and `temperature` where both do:
/// newer models refuse the two together. A model that thinks takes neither, and isn't forced to call a tool.
///
/// # Errors
/// Where the request asks for what an Anthropic model can't do, or isn't a request.
pub fn request(chat: &Value, model: &str) -> Result<Value, Unconvertible> {
    refuse(chat)?;
    let mut conversation = Conversation::read(&chat["messages"])?;
    let output = output_config(chat, &mut conversation)?;
    let thinking = thinking(chat, &conversation)?;
    let thinks = thinking.as_ref().is_some_and(|thinking| thinking["type"] != "disabled");

    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("model", Some(model.into()));
    put("max_tokens", Some(max_tokens(chat, thinking.as_ref())?.into()));
    put("system", conversation.system());
    put("messages", Some(conversation.into_messages()));
    let tools = tools(&chat["tools"])?;
    if !tools.is_empty() {
        put("tool_choice", tool_choice(chat, thinks)?);
        put("tools", Some(tools.into()));
    }
    put("thinking", thinking);
    let (temperature, top_p) = sampling(chat)?;
    if !thinks {
        put("temperature", temperature.map(Value::from));
        put("top_p", top_p.map(Value::from));
        put("top_k", given(chat, "top_k"));
    }
    put("stop_sequences", stop_sequences(&chat["stop"])?);
    put("stream", (chat["stream"] == true).then_some(Value::Bool(true)));
    put("metadata", metadata(chat));
    put("service_tier", service_tier(&chat["service_tier"]));
    put("output_config", output);
    for name in PASSED {
        put(name, given(chat, name));
    }
    Ok(body.into())
}

/// Refuses what would be answered with something else than was asked for.
fn refuse(chat: &Value) -> Result<(), Unconvertible> {
    if !chat.is_object() {
        return Err(Unconvertible("the request must be a JSON object".into()));
    }
    if !chat["n"].is_null() && chat["n"] != 1 {
        return Err(unconvertible("n", "must be 1: an Anthropic model gives one answer"));
    }
    let wants_probabilities = chat["logprobs"] == true || chat["top_logprobs"].as_u64().is_some_and(|count| count > 0);
    if wants_probabilities {
        return Err(unconvertible("logprobs", "can't be had from an Anthropic model"));
    }
    let spoken = chat["modalities"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind != "text"));
    if spoken || !chat["audio"].is_null() {
        let field = if spoken { "modalities" } else { "audio" };
        return Err(unconvertible(field, "asks for more than text, and an Anthropic model answers with text only"));
    }
    for outdated in ["functions", "function_call"] {
        if !chat[outdated].is_null() {
            return Err(unconvertible(outdated, "is outdated; use `tools` and `tool_choice`"));
        }
    }
    if !chat["web_search_options"].is_null() {
        return Err(unconvertible("web_search_options", "is OpenAI's own; add Anthropic's web search to `tools`"));
    }
    Ok(())
}

fn given(chat: &Value, name: &str) -> Option<Value> {
    chat.get(name).filter(|value| !value.is_null()).cloned()
}

/// The caller's own `thinking`, or a budget for the effort that is asked for. The highest efforts share one: some
/// models write 32,000 tokens at most, thoughts included.
fn thinking(chat: &Value, conversation: &Conversation) -> Result<Option<Value>, Unconvertible> {
    if let Some(own) = given(chat, "thinking") {
        return Ok(Some(own));
    }
    let effort = &chat["reasoning_effort"];
    let budget = match effort.as_str() {
        None if effort.is_null() => None,
        Some("none" | "minimal") => None,
        Some("low") => Some(1024),
        Some("medium") => Some(4096),
        Some("high" | "xhigh" | "max") => Some(16384),
        _ => return Err(unconvertible("reasoning_effort", "must be none, minimal, low, medium, high or xhigh")),
    };
    let budget = budget.filter(|_| conversation.may_think());
    Ok(budget.map(|budget: u64| json!({"type": "enabled", "budget_tokens": budget})))
}

/// The limit, raised to hold thoughts as well: Anthropic counts them, and refuses a budget that leaves no room.
fn max_tokens(chat: &Value, thinking: Option<&Value>) -> Result<u64, Unconvertible> {
    let asked = ["max_completion_tokens", "max_tokens"].into_iter().find(|name| !chat[*name].is_null());
    let limit = match asked {
        None => MAX_TOKENS,
        Some(name) => match chat[name].as_u64() {
            Some(limit) if limit > 0 => limit,
            _ => return Err(unconvertible(name, "must be a whole number from 1 on")),
        },
    };
    let budget = thinking.and_then(|thinking| thinking["budget_tokens"].as_u64()).unwrap_or(0);
    Ok(if limit > budget { limit } else { budget.saturating_add(limit) })
}

fn sampling(chat: &Value) -> Result<(Option<f64>, Option<f64>), Unconvertible> {
    let number = |name: &str| match &chat[name] {
        Value::Null => Ok(None),
        value => value.as_f64().map(Some).ok_or_else(|| unconvertible(name, "must be a number")),
    };
    let temperature = number("temperature")?.map(|temperature| temperature.min(1.0));
    Ok(match (temperature, number("top_p")?) {
        (Some(temperature), Some(top_p)) if temperature >= 1.0 && top_p < 1.0 => (None, Some(top_p)),
        (Some(temperature), _) => (Some(temperature), None),
        (None, top_p) => (None, top_p),
    })
}

fn stop_sequences(stop: &Value) -> Result<Option<Value>, Unconvertible> {
    let wrong = || unconvertible("stop", "must be a text or a list of texts");
    let sequences = match stop {
        Value::Null => return Ok(None),
        Value::String(_) => std::slice::from_ref(stop),
        Value::Array(sequences) => sequences,
        _ => return Err(wrong()),
    };
    for sequence in sequences {
        if sequence.as_str().ok_or_else(wrong)?.trim().is_empty() {
            return Err(unconvertible("stop", "can't be white space only for an Anthropic model"));
        }
    }
    Ok((!sequences.is_empty()).then(|| sequences.to_vec().into()))
}

fn metadata(chat: &Value) -> Option<Value> {
    let user = chat["metadata"]["user_id"].as_str().or(chat["user"].as_str())?;
    Some(json!({"user_id": user}))
}

/// Both APIs have `auto`; OpenAI's other tiers mean no more to Anthropic than not to take the dear one.
fn service_tier(tier: &Value) -> Option<Value> {
    match tier.as_str() {
        Some("auto") => Some("auto".into()),
        Some("default" | "standard_only") => Some("standard_only".into()),
        _ => None,
    }
}

/// The caller's own `output_config` with the format that `response_format` asks for.
fn output_config(chat: &Value, conversation: &mut Conversation) -> Result<Option<Value>, Unconvertible> {
    let own = given(chat, "output_config");
    let format = &chat["response_format"];
    match format["type"].as_str() {
        Some("json_schema") => {
            let schema = &format["json_schema"]["schema"];
            if !schema.is_object() {
                return Err(unconvertible("response_format.json_schema.schema", "must be a JSON schema"));
            }
            let mut config = own.unwrap_or_else(|| json!({}));
            if let Value::Object(members) = &mut config {
                members.insert("format".into(), json!({"type": "json_schema", "schema": closed(schema)}));
            }
            Ok(Some(config))
        }
        Some("json_object") => {
            conversation.instruct(JSON_ONLY);
            Ok(own)
        }
        None if format.is_null() => Ok(own),
        Some("text") => Ok(own),
        _ => Err(unconvertible("response_format.type", "must be text, json_object or json_schema")),
    }
}

/// A schema whose objects have no members that it doesn't name, unless it says otherwise itself: Anthropic demands that
/// it be said, OpenAI in strict mode only.
fn closed(schema: &Value) -> Value {
    let Value::Object(members) = schema else { return schema.clone() };
    let mut closed_members = Map::new();
    for (name, value) in members {
        let value = match (name.as_str(), value) {
            ("properties" | "$defs" | "definitions", Value::Object(schemas)) => {
                schemas.iter().map(|(name, schema)| (name.clone(), closed(schema))).collect()
            }
            ("anyOf" | "allOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => {
                schemas.iter().map(closed).collect()
            }
            ("items" | "additionalProperties", schema) => closed(schema),
            (_, value) => value.clone(),
        };
        closed_members.insert(name.clone(), value);
    }
    let kind = &schema["type"];
    let is_object = kind == "object" || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "object"));
    if is_object {
        closed_members.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    closed_members.into()
}

fn tools(tools: &Value) -> Result<Vec<Value>, Unconvertible> {
    match tools {
        Value::Null => Ok(Vec::new()),
        Value::Array(tools) => {
            tools.iter().enumerate().map(|(index, each)| tool(each, &format!("tools[{index}]"))).collect()
        }
        _ => Err(unconvertible("tools", "must be a list")),
    }
}

fn tool(tool: &Value, place: &str) -> Result<Value, Unconvertible> {
    // In Anthropic's own form, such as one that runs on its servers.
    if tool["name"].is_string() {
        return Ok(tool.clone());
    }
    if tool["type"] != "function" {
        return Err(unconvertible(format!("{place}.type"), "must be `function` for an Anthropic model"));
    }
    let function = &tool["function"];
    let Some(name) = function["name"].as_str() else {
        return Err(unconvertible(format!("{place}.function.name"), "is missing"));
    };
    let mut converted = Map::new();
    converted.insert("name".into(), name.into());
    if let Some(description) = given(function, "description") {
        converted.insert("description".into(), description);
    }
    converted.insert("input_schema".into(), given(function, "parameters").unwrap_or_else(empty_schema));
    if let Some(mark) = given(tool, "cache_control").or(given(function, "cache_control")) {
        converted.insert("cache_control".into(), mark);
    }
    Ok(converted.into())
}

fn tool_choice(chat: &Value, thinks: bool) -> Result<Option<Value>, Unconvertible> {
    let choice = &chat["tool_choice"];
    let one_at_a_time = chat["parallel_tool_calls"] == false;
    let mut converted = match (choice.as_str(), choice["type"].as_str()) {
        (Some("none"), _) => return Ok(Some(json!({"type": "none"}))),
        _ if choice.is_null() && !one_at_a_time => return Ok(None),
        _ if choice.is_null() => json!({"type": "auto"}),
        (Some("auto"), _) => json!({"type": "auto"}),
        (Some("required"), _) if thinks => json!({"type": "auto"}),
        (Some("required"), _) => json!({"type": "any"}),
        (None, Some("function")) => match choice["function"]["name"].as_str() {
            None => return Err(unconvertible("tool_choice.function.name", "is missing")),
            Some(_) if thinks => json!({"type": "auto"}),
            Some(name) => json!({"type": "tool", "name": name}),
        },
        _ => return Err(unconvertible("tool_choice", "must be auto, none, required or a function")),
    };
    if let Value::Object(members) = &mut converted
        && one_at_a_time
    {
        members.insert("disable_parallel_tool_use".into(), true.into());
    }
    Ok(Some(converted))
}

#[cfg(test)]
mod tests {
    use super::super::messages::to_chat;
    use super::*;

    /// What becomes of a request with these members.
    fn converted(members: Value) -> Result<Value, Unconvertible> {
        let mut chat = json!({"model": "alias", "messages": [{"role": "user", "content": "Hi"}]});
        for (name, value) in members.as_object().unwrap() {
            chat[name] = value.clone();
        }
        request(&chat, "claude")
    }

    fn tool() -> Value {
        json!({"type": "function", "function": {"name": "f"}})
    }

    #[test]
    fn a_small_request() {
        assert_eq!(
            converted(json!({})).unwrap(),
            json!({"model": "claude", "max_tokens": 4096,
                "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]})
        );
    }

    #[test]
    fn a_request_with_everything() {
        let body = converted(json!({
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            "max_tokens": 9, "max_completion_tokens": 100, "temperature": 1.7, "top_p": 1, "stop": ["END", "FIN"], "stream": true,
            "user": "u1", "service_tier": "default", "top_k": 5, "container": "c", "mcp_servers": [],
            "cache_control": {"type": "ephemeral"},
            "tools": [
                {"type": "function", "function": {"name": "f", "description": "Does f.", "strict": true,
                    "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}},
                    "cache_control": {"type": "ephemeral"}},
                tool(),
                {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
            ],
            "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false,
            "frequency_penalty": 1, "presence_penalty": 1, "seed": 1, "logit_bias": {}, "store": true, "prediction": {},
            "stream_options": {"include_usage": true}, "prompt_cache_key": "k", "safety_identifier": "s", "verbosity": "low",
            "n": 1, "logprobs": false, "modalities": ["text"], "response_format": {"type": "text"},
            "cache": {"ttl": 1}, "unheard_of": 1,
            "metadata": {"run": "7"},
        }))
        .unwrap();
        assert_eq!(
            body,
            json!({
                "model": "claude", "max_tokens": 100, "system": "Be brief.",
                "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
                "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
                "tools": [
                    {"name": "f", "description": "Does f.",
                        "input_schema": {"type": "object", "properties": {"x": {"type": "integer"}}},
                        "cache_control": {"type": "ephemeral"}},
                    {"name": "f", "input_schema": {"type": "object", "properties": {}}},
                    {"type": "web_search_20250305", "name": "web_search", "max_uses": 2},
                ],
                "temperature": 1.0, "top_k": 5, "stop_sequences": ["END", "FIN"], "stream": true,
                "metadata": {"user_id": "u1"}, "service_tier": "standard_only",
                "cache_control": {"type": "ephemeral"}, "container": "c", "mcp_servers": [],
            })
        );
    }

    #[test]
    fn nulls_say_nothing() {
        let names = [
            "max_tokens",
            "temperature",
            "top_p",
            "stop",
            "stream",
            "user",
            "tools",
            "tool_choice",
            "reasoning_effort",
            "response_format",
            "n",
            "logprobs",
            "modalities",
            "audio",
            "thinking",
            "top_k",
            "metadata",
        ];
        let nulls: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
        assert_eq!(converted(nulls.into()).unwrap(), converted(json!({})).unwrap());
    }

    #[test]
    fn choices_of_tools() {
        let chosen = |members: Value| {
            let mut members = members;
            members["tools"] = json!([tool()]);
            converted(members).map(|body| body["tool_choice"].clone())
        };
        let one = json!({"type": "auto", "disable_parallel_tool_use": true});
        assert_eq!(chosen(json!({})).unwrap(), Value::Null);
        assert_eq!(
            chosen(json!({"tool_choice": "auto", "parallel_tool_calls": true})).unwrap(),
            json!({"type": "auto"})
        );
        assert_eq!(
            chosen(json!({"tool_choice": "none", "parallel_tool_calls": false})).unwrap(),
            json!({"type": "none"})
        );
        assert_eq!(chosen(json!({"tool_choice": "required"})).unwrap(), json!({"type": "any"}));
        assert_eq!(chosen(json!({"parallel_tool_calls": false})).unwrap(), one);
        assert_eq!(
            chosen(json!({"tool_choice": "required", "reasoning_effort": "low", "parallel_tool_calls": false}))
                .unwrap(),
            one
        );
        assert_eq!(converted(json!({"tools": [], "tool_choice": "auto"})).unwrap(), converted(json!({})).unwrap());
        for wrong in [json!("any"), json!(5), json!({"type": "allowed_tools"}), json!({"type": "function"})] {
            assert!(chosen(json!({"tool_choice": wrong})).unwrap_err().to_string().starts_with("`tool_choice"));
        }
    }

    #[test]
    fn effort_becomes_a_budget_with_room_for_the_answer() {
        for (effort, limit, budget, max_tokens) in [
            ("low", json!(null), 1024, 4096),
            ("medium", json!(null), 4096, 8192),
            ("high", json!(null), 16384, 20480),
            ("xhigh", json!(64000), 16384, 64000),
            ("low", json!(100), 1024, 1124),
        ] {
            let body = converted(
                json!({"reasoning_effort": effort, "max_tokens": limit, "temperature": 0.5, "top_p": 0.5, "top_k": 3}),
            )
            .unwrap();
            assert_eq!(body["thinking"], json!({"type": "enabled", "budget_tokens": budget}), "{effort}");
            assert_eq!(body["max_tokens"], max_tokens, "{effort}");
            assert!(["temperature", "top_p", "top_k"].iter().all(|name| body.get(name).is_none()), "{body}");
        }
        for effort in ["none", "minimal"] {
            assert_eq!(converted(json!({"reasoning_effort": effort})).unwrap(), converted(json!({})).unwrap());
        }
        assert!(converted(json!({"reasoning_effort": "vast"})).is_err());
    }

    #[test]
    fn a_callers_own_thinking_goes_first() {
        let own = json!({"type": "enabled", "budget_tokens": 9000});
        let body = converted(json!({"thinking": own, "reasoning_effort": "low", "temperature": 0.1})).unwrap();
        assert_eq!((&body["thinking"], &body["max_tokens"], body.get("temperature")), (&own, &json!(13096), None));
        let off = converted(json!({"thinking": {"type": "disabled"}, "reasoning_effort": "low", "temperature": 0.5}))
            .unwrap();
        assert_eq!((&off["thinking"]["type"], &off["temperature"]), (&json!("disabled"), &json!(0.5)));
    }

    #[test]
    fn no_thinking_between_a_call_and_its_result() {
        let messages = json!([
            {"role": "user", "content": "Go"},
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
        ]);
        let body = converted(json!({"messages": messages, "reasoning_effort": "high", "temperature": 0.5})).unwrap();
        assert_eq!((body.get("thinking"), &body["temperature"]), (None, &json!(0.5)));
    }

    #[test]
    fn temperature_and_top_p_are_not_sent_together() {
        for (asked, temperature, top_p) in [
            (json!({"temperature": 0.2, "top_p": 0.9}), json!(0.2), json!(null)),
            (json!({"temperature": 1, "top_p": 0.9}), json!(null), json!(0.9)),
            (json!({"temperature": 2, "top_p": 1}), json!(1.0), json!(null)),
            (json!({"top_p": 0.9}), json!(null), json!(0.9)),
            (json!({"temperature": 0}), json!(0.0), json!(null)),
        ] {
            let body = converted(asked).unwrap();
            assert_eq!((&body["temperature"], &body["top_p"]), (&temperature, &top_p));
        }
    }

    #[test]
    fn formats_of_the_answer() {
        let object = converted(json!({"response_format": {"type": "json_object"}})).unwrap();
        assert_eq!(object["system"], JSON_ONLY);
        let schema = json!({"type": "object", "properties": {
            "type": {"type": ["object", "null"]},
            "list": {"type": "array", "items": {"type": "object", "additionalProperties": true}},
            "either": {"anyOf": [{"type": "object"}, {"const": {"type": "object"}}]}}});
        let format = json!({"type": "json_schema", "json_schema": {"name": "n", "strict": false, "schema": schema}});
        let body = converted(json!({"response_format": format, "output_config": {"effort": "low"}})).unwrap();
        assert_eq!(
            body["output_config"],
            json!({"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object", "properties": {
                "type": {"type": ["object", "null"], "additionalProperties": false},
                "list": {"type": "array", "items": {"type": "object", "additionalProperties": true}},
                "either": {"anyOf": [{"type": "object", "additionalProperties": false}, {"const": {"type": "object"}}]},
            }, "additionalProperties": false}}})
        );
        for wrong in [json!({"type": "json_schema"}), json!({"type": "grammar"}), json!("json")] {
            assert!(
                converted(json!({"response_format": wrong})).unwrap_err().to_string().starts_with("`response_format")
            );
        }
    }

    #[test]
    fn users_and_tiers() {
        assert_eq!(
            converted(json!({"metadata": {"user_id": "m", "x": 1}, "user": "u"})).unwrap()["metadata"],
            json!({"user_id": "m"})
        );
        for (tier, expected) in
            [("auto", json!("auto")), ("standard_only", json!("standard_only")), ("flex", json!(null))]
        {
            assert_eq!(converted(json!({"service_tier": tier})).unwrap()["service_tier"], expected);
        }
    }

    #[test]
    fn what_an_anthropic_model_cannot_do_is_refused_by_name() {
        for (members, field) in [
            (json!({"n": 2}), "`n`"),
            (json!({"logprobs": true}), "`logprobs`"),
            (json!({"top_logprobs": 3}), "`logprobs`"),
            (json!({"modalities": ["text", "audio"]}), "`modalities`"),
            (json!({"audio": {"voice": "v"}}), "`audio`"),
            (json!({"functions": []}), "`functions`"),
            (json!({"web_search_options": {}}), "`web_search_options`"),
            (json!({"max_tokens": 0}), "`max_tokens`"),
            (json!({"max_completion_tokens": "many"}), "`max_completion_tokens`"),
            (json!({"temperature": "hot"}), "`temperature`"),
            (json!({"stop": "\n"}), "`stop`"),
            (json!({"stop": [5]}), "`stop`"),
            (json!({"stop": 5}), "`stop`"),
            (json!({"tools": 5}), "`tools`"),
            (json!({"tools": [{"type": "custom", "custom": {}}]}), "`tools[0].type`"),
            (json!({"tools": [{"type": "function"}]}), "`tools[0].function.name`"),
            (json!({"messages": null}), "`messages`"),
        ] {
            let message = converted(members).unwrap_err().to_string();
            assert!(message.starts_with(field), "{message}");
        }
        for no_object in [json!(null), json!([]), json!("a"), json!(1)] {
            assert!(request(&no_object, "m").is_err());
        }
    }

    #[test]
    fn there_and_back_a_request_means_the_same() {
        let chat = json!({
            "model": "claude",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}}]},
                {"role": "assistant", "content": "Let me see.", "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
                    {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "a", "content": "one"},
                {"role": "tool", "tool_call_id": "b", "content": "two"},
                {"role": "user", "content": "So?"},
            ],
            "max_tokens": 50, "temperature": 0.5, "stop": ["END"], "stream": true, "stream_options": {"include_usage": true},
            "tools": [{"type": "function", "function": {"name": "f", "description": "d",
                "parameters": {"type": "object", "properties": {}}}}],
            "tool_choice": "required", "parallel_tool_calls": false, "user": "u",
        });
        assert_eq!(to_chat(&request(&chat, "claude").unwrap()).unwrap(), chat);
        for effort in ["low", "medium", "high"] {
            let chat = json!({"messages": [{"role": "user", "content": "Hi"}], "reasoning_effort": effort});
            assert_eq!(to_chat(&request(&chat, "m").unwrap()).unwrap()["reasoning_effort"], effort);
        }
    }
}
