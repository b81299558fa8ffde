//! A chat completion request as one for Converse.

use serde_json::{Map, Value, json};

use super::conversation::Conversation;
use super::maker::{self, Fields, Maker};
use super::{Unconvertible, schema, tools};

/// Converse's own members, which a caller may give as they are.
const CONVERSES: [&str; 8] = [
    "additionalModelResponseFieldPaths",
    "guardrailConfig",
    "outputConfig",
    "performanceConfig",
    "projectIdentifier",
    "promptVariables",
    "requestMetadata",
    "serviceTier",
];
/// Converse's own member for what only some models understand.
const ADDITIONAL: &str = "additionalModelRequestFields";
/// Tokens for the answer of a model that thinks, where the caller names no limit: the thoughts count too, and what a
/// model writes at most by default may be less than they take.
const ANSWER: u64 = 4096;
/// What OpenAI's JSON mode asks for; Converse has no mode for JSON without a schema.
const JSON_ONLY: &str = "Answer with one valid JSON object and nothing else: no words around it, no code fence.";
/// What `tool_choice: "none"` asks for, where the tools have to stay.
const NO_CALLS: &str = "Don't call any tool now. Answer in words.";

/// The body for Converse of the chat completion request `chat`, to be answered by `model`, which is Bedrock's name of it.
///
/// Members without counterpart that only tune or account are dropped: penalties, `seed`, `logit_bias`,
/// `parallel_tool_calls`, `strict`, `service_tier`, `metadata`, `user` and the like. Those that would change the answer
/// are refused. A schema for the answer goes along whatever the model; those that can't keep to one refuse it.
///
/// # Errors
/// Where something has no counterpart; see [`Unconvertible`].
pub fn request(chat: &Value, model: &str) -> Result<Value, Unconvertible> {
    let Some(members) = chat.as_object() else { return Err(Unconvertible::new("body", "it is no object")) };
    refuse_other_answers(chat)?;
    let mut conversation = Conversation::read(&chat["messages"])?;
    let tools = tools::tools(chat, &conversation.called)?;
    if tools.is_barred {
        conversation.instruct(NO_CALLS);
    }
    let format = format(&chat["response_format"], &mut conversation)?;
    // Claude refuses to think where it has to call a tool, and the call matters more.
    let Fields { members: mut fields, budget, thinks } =
        maker::fields(chat, model, conversation.may_think() && !tools.is_forced)?;
    let inference = inference(chat, Maker::of(model), budget, thinks)?;

    let mut body = Map::new();
    if !conversation.system.is_empty() {
        body.insert("system".into(), std::mem::take(&mut conversation.system).into());
    }
    body.insert("messages".into(), conversation.into_messages());
    if !inference.is_empty() {
        body.insert("inferenceConfig".into(), inference.into());
    }
    if let Some(config) = tools.config {
        body.insert("toolConfig".into(), config);
    }
    match members.get(ADDITIONAL) {
        None | Some(Value::Null) => {}
        Some(Value::Object(own)) => fields.extend(own.clone()),
        Some(_) => return Err(Unconvertible::new(ADDITIONAL, "it is no object")),
    }
    if !fields.is_empty() {
        body.insert(ADDITIONAL.into(), fields.into());
    }
    for name in CONVERSES {
        if let Some(value) = members.get(name).filter(|value| !value.is_null()) {
            body.insert(name.into(), value.clone());
        }
    }
    if let Some(format) = format {
        let config = body.entry("outputConfig").or_insert_with(|| json!({}));
        let config = config.as_object_mut().ok_or_else(|| Unconvertible::new("outputConfig", "it is no object"))?;
        config.insert("textFormat".into(), format);
    }
    Ok(body.into())
}

/// What asks for another kind of answer than Bedrock would give.
fn refuse_other_answers(chat: &Value) -> Result<(), Unconvertible> {
    if !chat["n"].is_null() && chat["n"] != 1 {
        return Err(Unconvertible::new("n", "only one answer can be asked for"));
    }
    if chat["logprobs"] == true {
        return Err(Unconvertible::new("logprobs", "there are none to be had"));
    }
    if chat["modalities"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind != "text")) {
        return Err(Unconvertible::new("modalities", "the answer is text"));
    }
    for (name, why) in [("audio", "the answer is text"), ("web_search_options", "searching has no counterpart")] {
        if !chat[name].is_null() {
            return Err(Unconvertible::new(name, why));
        }
    }
    Ok(())
}

fn inference(
    chat: &Value,
    maker: Maker,
    budget: Option<u64>,
    thinks: bool,
) -> Result<Map<String, Value>, Unconvertible> {
    let mut config = Map::new();
    if let Some(limit) = max_tokens(chat, budget)? {
        config.insert("maxTokens".into(), limit.into());
    }
    // Converse ends where many models do, at 1.
    let temperature =
        number(chat, "temperature")?.map(|number| if number.as_f64() > Some(1.0) { json!(1) } else { number });
    let top_p = number(chat, "top_p")?;
    // Newer Claudes refuse the two together: the one that differs from 1 stays, and the first where both do.
    let is_whole = |number: &Option<Value>| number.as_ref().is_none_or(|number| number.as_f64() >= Some(1.0));
    let (temperature, top_p) = match (maker, temperature, top_p) {
        _ if thinks => (None, None),
        (Maker::Anthropic, temperature @ Some(_), top_p) if is_whole(&top_p) || !is_whole(&temperature) => {
            (temperature, None)
        }
        (Maker::Anthropic, _, top_p) => (None, top_p),
        (_, temperature, top_p) => (temperature, top_p),
    };
    for (name, number) in [("temperature", temperature), ("topP", top_p)] {
        config.extend(number.map(|number| (name.to_owned(), number)));
    }
    let stops = stops(&chat["stop"])?;
    if !stops.is_empty() {
        config.insert("stopSequences".into(), stops.into());
    }
    Ok(config)
}

/// The limit; the newer of the two names counts, where both are given. It is raised to hold the thoughts as well.
fn max_tokens(chat: &Value, budget: Option<u64>) -> Result<Option<u64>, Unconvertible> {
    let mut limit = None;
    for name in ["max_tokens", "max_completion_tokens"] {
        match &chat[name] {
            Value::Null => {}
            number => match number.as_u64() {
                Some(number) if number > 0 => limit = Some(number),
                _ => return Err(Unconvertible::new(name, "it is no whole number from 1 on")),
            },
        }
    }
    Ok(match (limit, budget) {
        (None, Some(budget)) => Some(budget.saturating_add(ANSWER)),
        (Some(limit), Some(budget)) if limit <= budget => Some(budget.saturating_add(limit)),
        (limit, _) => limit,
    })
}

fn number(chat: &Value, name: &str) -> Result<Option<Value>, Unconvertible> {
    match &chat[name] {
        Value::Null => Ok(None),
        number @ Value::Number(_) => Ok(Some(number.clone())),
        _ => Err(Unconvertible::new(name, "it is no number")),
    }
}

fn stops(stop: &Value) -> Result<Vec<Value>, Unconvertible> {
    let stops = match stop {
        Value::Null => return Ok(Vec::new()),
        Value::String(_) => vec![stop.clone()],
        Value::Array(stops) => stops.clone(),
        _ => return Err(Unconvertible::new("stop", "it is neither a string nor a list of strings")),
    };
    match stops.iter().find(|stop| stop.as_str().is_none_or(str::is_empty)) {
        Some(_) => Err(Unconvertible::new("stop", "one of it is no string, or an empty one")),
        None => Ok(stops),
    }
}

/// Converse's `textFormat`, or an instruction in its place.
fn format(format: &Value, conversation: &mut Conversation) -> Result<Option<Value>, Unconvertible> {
    if format.is_null() {
        return Ok(None);
    }
    match format["type"].as_str() {
        Some("text") => Ok(None),
        Some("json_object") => {
            conversation.instruct(JSON_ONLY);
            Ok(None)
        }
        Some("json_schema") => {
            let wanted = &format["json_schema"];
            if !wanted["schema"].is_object() {
                return Err(Unconvertible::new("response_format.json_schema.schema", "it is no JSON schema"));
            }
            let mut told = Map::new();
            // Converse takes the schema as text.
            told.insert("schema".into(), schema::of_answer(&wanted["schema"]).to_string().into());
            for name in ["name", "description"] {
                if let Some(text) = wanted[name].as_str().filter(|text| !text.is_empty()) {
                    told.insert(name.into(), text.into());
                }
            }
            Ok(Some(json!({"type": "json_schema", "structure": {"jsonSchema": told}})))
        }
        _ => Err(Unconvertible::new("response_format.type", "it is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    const LLAMA: &str = "meta.llama3-3-70b-instruct-v1:0";

    /// A request with these members besides a question.
    fn asking(mut members: Value) -> Value {
        members["messages"] = json!([{"role": "user", "content": "hi"}]);
        members
    }

    fn configured(members: Value, model: &str) -> Value {
        request(&asking(members), model).unwrap()["inferenceConfig"].clone()
    }

    #[test]
    fn a_whole_request() {
        let chat = json!({
            "model": "smart",
            "messages": [{"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAEC"}}]}],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
            "tool_choice": "auto", "parallel_tool_calls": true,
            "max_completion_tokens": 50, "max_tokens": 99, "temperature": 1.5, "top_p": 0.9, "top_k": 40, "seed": 7,
            "presence_penalty": 0.1, "frequency_penalty": -0.2, "stop": "END", "n": 1, "reasoning_effort": "low",
            "stream": true, "stream_options": {"include_usage": true}, "user": "u", "metadata": {}, "store": false,
            "logprobs": false, "logit_bias": {"5": 1}, "service_tier": "auto", "modalities": ["text"],
            "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}, "requestMetadata": {"team": "a"},
            "performanceConfig": {"latency": "optimized"}, "serviceTier": {"type": "flex"},
            "promptVariables": {"a": {"text": "b"}}, "additionalModelRequestFields": {"min_p": 0.1},
        });
        assert_eq!(
            request(&chat, LLAMA).unwrap(),
            json!({
                "system": [{"text": "Be brief."}],
                "messages": [{"role": "user", "content": [{"text": "What is it?"},
                    {"image": {"format": "png", "source": {"bytes": "AAEC"}}}]}],
                "inferenceConfig": {"maxTokens": 50, "temperature": 1, "topP": 0.9, "stopSequences": ["END"]},
                "toolConfig": {"tools": [{"toolSpec": {"name": "f",
                    "inputSchema": {"json": {"type": "object", "properties": {}}}}}], "toolChoice": {"auto": {}}},
                "additionalModelRequestFields": {"min_p": 0.1},
                "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
                "performanceConfig": {"latency": "optimized"},
                "promptVariables": {"a": {"text": "b"}},
                "requestMetadata": {"team": "a"},
                "serviceTier": {"type": "flex"},
            })
        );
    }

    #[test]
    fn the_least_request() {
        let least = json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}]});
        assert_eq!(request(&asking(json!({})), CLAUDE), Ok(least.clone()));
        let nulls = json!({"max_tokens": null, "temperature": null, "stop": null, "n": null, "response_format": null,
            "tools": null, "tool_choice": null, "reasoning_effort": null, "logprobs": null, "modalities": null,
            "top_k": null, "additionalModelRequestFields": null, "serviceTier": null});
        assert_eq!(request(&asking(nulls), CLAUDE), Ok(least.clone()));
        assert_eq!(request(&asking(json!({"stop": [], "response_format": {"type": "text"}})), CLAUDE), Ok(least));
    }

    #[test]
    fn claude_takes_one_of_temperature_and_top_p() {
        for (members, expected) in [
            (json!({"temperature": 0.5, "top_p": 0.9}), json!({"temperature": 0.5})),
            (json!({"temperature": 1, "top_p": 0.9}), json!({"topP": 0.9})),
            (json!({"temperature": 2, "top_p": 1}), json!({"temperature": 1})),
            (json!({"top_p": 0.9}), json!({"topP": 0.9})),
            (json!({"temperature": 0}), json!({"temperature": 0})),
        ] {
            assert_eq!(configured(members, CLAUDE), expected);
        }
        let both = json!({"temperature": 0.5, "topP": 0.9});
        assert_eq!(configured(json!({"temperature": 0.5, "top_p": 0.9}), LLAMA), both);
    }

    #[test]
    fn a_claude_that_thinks_has_room_for_it_and_is_not_forced() {
        let mut members = json!({"reasoning_effort": "medium", "temperature": 0.5, "top_k": 3, "max_tokens": 100});
        let body = request(&asking(members.clone()), CLAUDE).unwrap();
        assert_eq!(body["inferenceConfig"], json!({"maxTokens": 4196}));
        let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 4096}});
        assert_eq!(body["additionalModelRequestFields"], thinking);
        members["max_tokens"] = 5000.into();
        assert_eq!(configured(members.clone(), CLAUDE), json!({"maxTokens": 5000}));
        members["max_tokens"] = Value::Null;
        assert_eq!(configured(members.clone(), CLAUDE), json!({"maxTokens": 8192}));
        members["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
        members["tool_choice"] = "required".into();
        let body = request(&asking(members), CLAUDE).unwrap();
        assert_eq!(body["toolConfig"]["toolChoice"], json!({"any": {}}));
        assert_eq!(body["additionalModelRequestFields"], json!({"top_k": 3}));
    }

    #[test]
    fn the_callers_own_fields_count_for_more() {
        let chat = asking(json!({"top_k": 3, "additionalModelRequestFields": {"top_k": 4, "a": 1}}));
        assert_eq!(request(&chat, CLAUDE).unwrap()["additionalModelRequestFields"], json!({"top_k": 4, "a": 1}));
    }

    #[test]
    fn formats() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let format = json!({"type": "json_schema", "json_schema": {"name": "x", "description": "y", "strict": true,
            "schema": schema}});
        let body =
            request(&asking(json!({"response_format": format, "outputConfig": {"effort": "low"}})), LLAMA).unwrap();
        let mut config = body["outputConfig"].clone();
        let told = config["textFormat"]["structure"]["jsonSchema"]["schema"].take();
        let told: Value = serde_json::from_str(told.as_str().unwrap()).unwrap();
        assert_eq!(told, schema::of_answer(&schema));
        assert_eq!(
            config,
            json!({"effort": "low", "textFormat": {"type": "json_schema",
                "structure": {"jsonSchema": {"name": "x", "description": "y", "schema": null}}}})
        );
        let body = request(&asking(json!({"response_format": {"type": "json_object"}})), LLAMA).unwrap();
        assert_eq!((&body["system"], body.get("outputConfig")), (&json!([{"text": JSON_ONLY}]), None));
    }

    #[test]
    fn tools_that_must_not_be_called_are_said_to_be() {
        let call = json!({"id": "a", "function": {"name": "f", "arguments": ""}});
        let chat = json!({"tool_choice": "none", "tools": [{"type": "function", "function": {"name": "f"}}], "messages": [
            {"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": "1"}]});
        let body = request(&chat, CLAUDE).unwrap();
        assert_eq!(body["system"], json!([{"text": NO_CALLS}]));
        assert_eq!(body["toolConfig"]["tools"][0]["toolSpec"]["name"], "f");
        assert_eq!(body["toolConfig"].get("toolChoice"), None);
    }

    #[test]
    fn what_has_no_counterpart_is_refused_with_its_name() {
        for (members, field) in [
            (json!({"n": 2}), "n"),
            (json!({"n": "1"}), "n"),
            (json!({"logprobs": true}), "logprobs"),
            (json!({"modalities": ["text", "audio"]}), "modalities"),
            (json!({"audio": {"voice": "alloy"}}), "audio"),
            (json!({"web_search_options": {}}), "web_search_options"),
            (json!({"max_tokens": "many"}), "max_tokens"),
            (json!({"max_completion_tokens": 0}), "max_completion_tokens"),
            (json!({"temperature": []}), "temperature"),
            (json!({"top_p": "1"}), "top_p"),
            (json!({"top_k": "1"}), "top_k"),
            (json!({"stop": [1]}), "stop"),
            (json!({"stop": ""}), "stop"),
            (json!({"stop": 1}), "stop"),
            (json!({"response_format": "json"}), "response_format.type"),
            (json!({"response_format": {"type": "grammar"}}), "response_format.type"),
            (
                json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}),
                "response_format.json_schema.schema",
            ),
            (json!({"reasoning_effort": "heroic"}), "reasoning_effort"),
            (json!({"tools": [{"type": "custom"}]}), "tools[0].type"),
            (json!({"additionalModelRequestFields": 5}), "additionalModelRequestFields"),
        ] {
            assert_eq!(request(&asking(members.clone()), CLAUDE).unwrap_err().field, field, "{members}");
        }
        for body in [json!([]), json!("x"), json!(null)] {
            assert_eq!(request(&body, CLAUDE).unwrap_err().field, "body");
        }
        assert_eq!(request(&json!({}), CLAUDE).unwrap_err().field, "messages");
    }
}
