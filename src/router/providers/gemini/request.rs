//! A chat completion request as a `GenerateContentRequest`.

use serde_json::{Map, Value, json};

use super::contents::{Conversation, conversation};
use super::{Unconvertible, schema, tools};

/// Numbers that both APIs have.
const NUMBERS: [(&str, &str); 6] = [
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("seed", "seed"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
];
/// Google's own members, which a caller may give as they are.
const GOOGLES: [&str; 4] = ["safetySettings", "safety_settings", "cachedContent", "labels"];
/// How many tokens a model may think for, as Google's own OpenAI-compatible API has it.
const BUDGETS: [(&str, u32); 6] =
    [("none", 0), ("minimal", 1024), ("low", 1024), ("medium", 8192), ("high", 24576), ("xhigh", 24576)];

/// The body for Google of the chat completion request `chat`.
///
/// Its `model` should be the one that will answer: models of different generations want a history told differently.
/// Members without counterpart that only tune or account are dropped. Those that would change the answer are refused.
///
/// # Errors
/// Where something has no counterpart; see [`Unconvertible`].
pub fn request(chat: &Value) -> Result<Value, Unconvertible> {
    let Some(members) = chat.as_object() else { return Err(Unconvertible::new("body", "it is no object")) };
    refuse_other_answers(chat)?;
    let model = chat["model"].as_str().unwrap_or_default();
    let Conversation { system, contents } = conversation(&chat["messages"], model)?;
    let mut body = Map::new();
    if !system.is_empty() {
        body.insert("systemInstruction".into(), json!({"parts": system}));
    }
    body.insert("contents".into(), contents.into());
    if let Some((tools, config)) = tools::tools(chat)? {
        body.insert("tools".into(), tools);
        if let Some(config) = config {
            body.insert("toolConfig".into(), config);
        }
    }
    let generation = generation(chat)?;
    if !generation.is_empty() {
        body.insert("generationConfig".into(), generation.into());
    }
    for name in GOOGLES {
        if let Some(value) = members.get(name) {
            body.insert(name.into(), value.clone());
        }
    }
    Ok(body.into())
}

/// What asks for another kind of answer than Google would give.
fn refuse_other_answers(chat: &Value) -> Result<(), Unconvertible> {
    if chat["logprobs"] == true {
        return Err(Unconvertible::new("logprobs", "there are none to be had"));
    }
    if chat["modalities"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind != "text")) {
        return Err(Unconvertible::new("modalities", "the answer is text"));
    }
    if !chat["web_search_options"].is_null() {
        return Err(Unconvertible::new("web_search_options", "searching has no counterpart"));
    }
    Ok(())
}

fn generation(chat: &Value) -> Result<Map<String, Value>, Unconvertible> {
    let mut config = Map::new();
    // The newer of the two names counts, where both are given.
    for name in ["max_completion_tokens", "max_tokens"] {
        if let Some(number) = number(chat, name)? {
            config.entry("maxOutputTokens").or_insert(number);
        }
    }
    for (name, googles) in NUMBERS {
        if let Some(number) = number(chat, name)? {
            config.insert(googles.into(), number);
        }
    }
    if let Some(n) = number(chat, "n")? {
        if n != 1 {
            return Err(Unconvertible::new("n", "only one answer can be asked for"));
        }
        config.insert("candidateCount".into(), n);
    }
    let stops = stops(&chat["stop"])?;
    if !stops.is_empty() {
        config.insert("stopSequences".into(), stops.into());
    }
    format(&chat["response_format"], &mut config)?;
    match &chat["reasoning_effort"] {
        Value::Null => {}
        effort => {
            let budget = BUDGETS.iter().find(|(name, _)| effort == name);
            let (_, budget) = budget.ok_or_else(|| Unconvertible::new("reasoning_effort", "it is not known"))?;
            config.insert("thinkingConfig".into(), json!({"thinkingBudget": budget, "includeThoughts": false}));
        }
    }
    Ok(config)
}

fn number(chat: &Value, name: &str) -> Result<Option<Value>, Unconvertible> {
    match &chat[name] {
        Value::Null => Ok(None),
        number @ Value::Number(_) => Ok(Some(number.clone())),
        _ => Err(Unconvertible::new(name, "it is no number")),
    }
}

fn stops(stop: &Value) -> Result<Vec<Value>, Unconvertible> {
    match stop {
        Value::Null => Ok(Vec::new()),
        Value::String(_) => Ok(vec![stop.clone()]),
        Value::Array(stops) if stops.iter().all(Value::is_string) => Ok(stops.clone()),
        _ => Err(Unconvertible::new("stop", "it is neither a string nor a list of strings")),
    }
}

fn format(format: &Value, config: &mut Map<String, Value>) -> Result<(), Unconvertible> {
    if format.is_null() {
        return Ok(());
    }
    match format["type"].as_str() {
        Some("text") => return Ok(()),
        Some("json_object") => {}
        Some("json_schema") => {
            let schema = &format["json_schema"]["schema"];
            if !schema.is_null() {
                config.insert("responseJsonSchema".into(), schema::of_answer(schema));
            }
        }
        _ => return Err(Unconvertible::new("response_format.type", "it is not known")),
    }
    config.insert("responseMimeType".into(), "application/json".into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request with these members besides a question.
    fn asking(mut members: Value) -> Value {
        members["messages"] = json!([{"role": "user", "content": "hi"}]);
        members
    }

    fn configured(members: Value) -> Value {
        request(&asking(members)).unwrap()["generationConfig"].clone()
    }

    #[test]
    fn a_whole_request() {
        let chat = json!({
            "model": "gemini-2.5-flash",
            "messages": [{"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAEC"}}]}],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
            "tool_choice": "auto", "parallel_tool_calls": true,
            "max_completion_tokens": 50, "max_tokens": 99, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 7,
            "presence_penalty": 0.1, "frequency_penalty": -0.2, "stop": "END", "n": 1, "reasoning_effort": "low",
            "stream": true, "stream_options": {"include_usage": true}, "user": "u", "metadata": {}, "store": false,
            "logprobs": false, "logit_bias": {"5": 1}, "service_tier": "auto", "modalities": ["text"],
            "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
            "cachedContent": "cachedContents/x", "labels": {"team": "a"},
        });
        assert_eq!(
            request(&chat).unwrap(),
            json!({
                "systemInstruction": {"parts": [{"text": "Be brief."}]},
                "contents": [{"role": "user", "parts": [{"text": "What is it?"},
                    {"inlineData": {"mimeType": "image/png", "data": "AAEC"}}]}],
                "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object", "properties": {}}}]}],
                "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
                "generationConfig": {"maxOutputTokens": 50, "temperature": 0.5, "topP": 0.9, "topK": 40, "seed": 7,
                    "presencePenalty": 0.1, "frequencyPenalty": -0.2, "candidateCount": 1, "stopSequences": ["END"],
                    "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": false}},
                "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
                "cachedContent": "cachedContents/x",
                "labels": {"team": "a"},
            })
        );
    }

    #[test]
    fn the_least_request() {
        let least = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
        assert_eq!(request(&asking(json!({}))), Ok(least.clone()));
        let nulls = json!({"max_tokens": null, "temperature": null, "stop": null, "n": null, "response_format": null,
            "tools": null, "tool_choice": null, "reasoning_effort": null, "logprobs": null, "modalities": null});
        assert_eq!(request(&asking(nulls)), Ok(least.clone()));
        assert_eq!(request(&asking(json!({"stop": [], "response_format": {"type": "text"}}))), Ok(least));
    }

    #[test]
    fn googles_own_members_are_not_touched() {
        let body = request(&asking(json!({"safety_settings": [{"x": 1}]}))).unwrap();
        assert_eq!(body["safety_settings"], json!([{"x": 1}]));
    }

    #[test]
    fn stops_are_a_list() {
        assert_eq!(configured(json!({"stop": ["a", "b"]})), json!({"stopSequences": ["a", "b"]}));
    }

    #[test]
    fn formats() {
        let json = "application/json";
        assert_eq!(configured(json!({"response_format": {"type": "json_object"}})), json!({"responseMimeType": json}));
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false});
        assert_eq!(
            configured(
                json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema}}})
            ),
            json!({"responseJsonSchema": schema, "responseMimeType": json})
        );
        assert_eq!(
            configured(json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}})),
            json!({"responseMimeType": json})
        );
    }

    #[test]
    fn efforts_are_budgets() {
        for (effort, budget) in [("none", 0), ("minimal", 1024), ("low", 1024), ("medium", 8192), ("high", 24576)] {
            assert_eq!(
                configured(json!({"reasoning_effort": effort})),
                json!({"thinkingConfig": {"thinkingBudget": budget, "includeThoughts": false}})
            );
        }
    }

    #[test]
    fn what_has_no_counterpart_is_refused_with_its_name() {
        for (members, field) in [
            (json!({"n": 2}), "n"),
            (json!({"n": "1"}), "n"),
            (json!({"logprobs": true}), "logprobs"),
            (json!({"modalities": ["text", "audio"]}), "modalities"),
            (json!({"web_search_options": {}}), "web_search_options"),
            (json!({"max_tokens": "many"}), "max_tokens"),
            (json!({"temperature": []}), "temperature"),
            (json!({"stop": [1]}), "stop"),
            (json!({"stop": 1}), "stop"),
            (json!({"response_format": "json"}), "response_format.type"),
            (json!({"response_format": {"type": "grammar"}}), "response_format.type"),
            (json!({"reasoning_effort": "heroic"}), "reasoning_effort"),
            (json!({"reasoning_effort": 5}), "reasoning_effort"),
            (json!({"tools": [{"type": "custom"}]}), "tools[0].type"),
        ] {
            assert_eq!(request(&asking(members.clone())).unwrap_err().field, field, "{members}");
        }
        for body in [json!([]), json!("x"), json!(null)] {
            assert_eq!(request(&body).unwrap_err().field, "body");
        }
        assert_eq!(request(&json!({})).unwrap_err().field, "messages");
    }
}
