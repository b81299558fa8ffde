//! A request for Anthropic's `POST /v1/messages` as an OpenAI chat completion request.

use serde_json::{Map, Value, json};

use super::super::{Unconvertible, empty_schema, unconvertible};

/// What runs at Anthropic, or is promised by it, so that an answer without it would be another one.
const ANTHROPICS_OWN: [&str; 3] = ["container", "inference_geo", "mcp_servers"];
/// Characters of a user's name that OpenAI takes.
const USER: usize = 64;

/// The chat completion request that asks for what `request` asks for.
///
/// Dropped are `top_k`, `service_tier`, `context_management`, `speed`, `strict` of tools and every `cache_control`,
/// which OpenAI's providers don't know and some refuse, thoughts in earlier turns, which no other model can go on from,
/// and whatever neither API names. `metadata.user_id` is cut to the 64 characters that OpenAI takes. A stream is asked
/// to tell its usage, because Anthropic's always do.
///
/// # Errors
/// Where the request needs what runs at Anthropic, or isn't a request.
pub fn to_chat(request: &Value) -> Result<Value, Unconvertible> {
    let model = request["model"].as_str().filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| unconvertible("model", "must name a model"))?;
    if let Some(field) = ANTHROPICS_OWN.into_iter().find(|name| !is_blank(&request[*name])) {
        return Err(unconvertible(field, "needs Anthropic's own servers, and this model runs elsewhere"));
    }
    let mut chat = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            chat.insert(name.to_owned(), value);
        }
    };
    put("model", Some(model.into()));
    put("messages", Some(messages(request)?.into()));
    for name in ["max_tokens", "temperature", "top_p"] {
        put(name, request.get(name).cloned());
    }
    put("stop", request.get("stop_sequences").filter(|sequences| !is_blank(sequences)).cloned());
    if request["stream"] == true {
        put("stream", Some(true.into()));
        put("stream_options", Some(json!({"include_usage": true})));
    }
    let tools = tools(&request["tools"])?;
    if !tools.is_empty() {
        put("tools", Some(tools.into()));
        put("tool_choice", tool_choice(&request["tool_choice"])?);
        put("parallel_tool_calls", (request["tool_choice"]["disable_parallel_tool_use"] == true).then(|| false.into()));
    }
    let user = request["metadata"]["user_id"].as_str();
    put("user", user.map(|user| user.chars().take(USER).collect::<String>().into()));
    put("reasoning_effort", effort(request)?.map(Value::from));
    put("response_format", response_format(request)?);
    Ok(chat.into())
}

fn is_blank(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// Thirds of the limit: a model that may think for most of its answer is to think hard.
fn effort(request: &Value) -> Result<Option<&'static str>, Unconvertible> {
    let thinking = &request["thinking"];
    match thinking["type"].as_str() {
        None if thinking.is_null() => Ok(None),
        Some("disabled") => Ok(None),
        Some("enabled") => {
            let budget = thinking["budget_tokens"].as_u64();
            let budget = budget.ok_or_else(|| unconvertible("thinking.budget_tokens", "must be a whole number"))?;
            let limit = request["max_tokens"].as_u64().unwrap_or(u64::MAX);
            Ok(Some(match budget.saturating_mul(3) / limit.max(1) {
                0 => "low",
                1 => "medium",
                _ => "high",
            }))
        }
        Some("adaptive") => Ok(match request["output_config"]["effort"].as_str() {
            Some("low") => Some("low"),
            Some("medium") => Some("medium"),
            Some("high" | "xhigh" | "max") => Some("high"),
            _ => None,
        }),
        _ => Err(unconvertible("thinking.type", "must be enabled, adaptive or disabled")),
    }
}

/// `output_config.format`, or `output_format`, as it was called at first.
fn response_format(request: &Value) -> Result<Option<Value>, Unconvertible> {
    let formats =
        [("output_config.format", &request["output_config"]["format"]), ("output_format", &request["output_format"])];
    let Some((field, format)) = formats.into_iter().find(|(_, format)| !format.is_null()) else { return Ok(None) };
    if format["type"] != "json_schema" || !format["schema"].is_object() {
        return Err(unconvertible(field, "must be a json_schema with a schema"));
    }
    let schema = json!({"name": "answer", "schema": format["schema"]});
    Ok(Some(json!({"type": "json_schema", "json_schema": schema})))
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
    if let Some(kind) = tool["type"].as_str().filter(|kind| *kind != "custom") {
        return Err(unconvertible(place, format!("is Anthropic's own tool `{kind}`, and this model runs elsewhere")));
    }
    let Some(name) = tool["name"].as_str() else {
        return Err(unconvertible(format!("{place}.name"), "is missing"));
    };
    let mut function = Map::new();
    function.insert("name".into(), name.into());
    if tool["description"].is_string() {
        function.insert("description".into(), tool["description"].clone());
    }
    let schema = &tool["input_schema"];
    function.insert("parameters".into(), if schema.is_null() { empty_schema() } else { schema.clone() });
    Ok(json!({"type": "function", "function": function}))
}

fn tool_choice(choice: &Value) -> Result<Option<Value>, Unconvertible> {
    match choice["type"].as_str() {
        None if choice.is_null() => Ok(None),
        Some("auto") => Ok(Some("auto".into())),
        Some("any") => Ok(Some("required".into())),
        Some("none") => Ok(Some("none".into())),
        Some("tool") => match choice["name"].as_str() {
            Some(name) => Ok(Some(json!({"type": "function", "function": {"name": name}}))),
            None => Err(unconvertible("tool_choice.name", "is missing")),
        },
        _ => Err(unconvertible("tool_choice.type", "must be auto, any, tool or none")),
    }
}

fn messages(request: &Value) -> Result<Vec<Value>, Unconvertible> {
    let turns = request["messages"].as_array();
    let turns = turns.ok_or_else(|| unconvertible("messages", "must be a list of messages"))?;
    let mut messages = Vec::new();
    system(&request["system"], "system", &mut messages)?;
    let instructions = messages.len();
    for (index, turn) in turns.iter().enumerate() {
        let place = format!("messages[{index}]");
        match turn["role"].as_str() {
            Some("user") => user(&turn["content"], &format!("{place}.content"), &mut messages)?,
            Some("assistant") => assistant(&turn["content"], &format!("{place}.content"), &mut messages)?,
            Some("system") => system(&turn["content"], &format!("{place}.content"), &mut messages)?,
            _ => return Err(unconvertible(format!("{place}.role"), "must be user or assistant")),
        }
    }
    if messages.len() == instructions {
        return Err(unconvertible("messages", "must hold a message that isn't empty"));
    }
    Ok(messages)
}

fn system(content: &Value, place: &str, messages: &mut Vec<Value>) -> Result<(), Unconvertible> {
    let text = match content {
        Value::Null => return Ok(()),
        content => texts(content, place)?.join("\n\n"),
    };
    if !text.is_empty() {
        messages.push(json!({"role": "system", "content": text}));
    }
    Ok(())
}

/// The texts of a content that may hold nothing else.
fn texts<'v>(content: &'v Value, place: &str) -> Result<Vec<&'v str>, Unconvertible> {
    match content {
        Value::String(text) => Ok(vec![text]),
        Value::Array(blocks) => blocks
            .iter()
            .enumerate()
            .map(|(index, block)| match block["text"].as_str() {
                Some(text) if block["type"] == "text" => Ok(text),
                _ => Err(unconvertible(format!("{place}[{index}]"), "must be a text block")),
            })
            .collect(),
        _ => Err(unconvertible(place, "must be a text or a list of blocks")),
    }
}

/// Blocks of a content, each with its place; a text is one block.
fn blocks(content: &Value, place: &str) -> Result<Vec<(Value, String)>, Unconvertible> {
    match content {
        Value::String(text) => Ok(vec![(json!({"type": "text", "text": text}), place.to_owned())]),
        Value::Array(blocks) => {
            Ok(blocks.iter().enumerate().map(|(index, block)| (block.clone(), format!("{place}[{index}]"))).collect())
        }
        _ => Err(unconvertible(place, "must be a text or a list of blocks")),
    }
}

/// Results of tools become messages of their own, which OpenAI wants right after the calls; what the user says follows.
/// OpenAI's results are texts, so images and documents in them go to the user's message.
fn user(content: &Value, place: &str, messages: &mut Vec<Value>) -> Result<(), Unconvertible> {
    let (mut shown, mut said) = (Vec::new(), Vec::new());
    for (block, place) in blocks(content, place)? {
        if block["type"] == "tool_result" {
            messages.push(tool_result(&block, &place, &mut shown)?);
        } else {
            parts(&block, &place, &mut said)?;
        }
    }
    shown.append(&mut said);
    match shown.as_slice() {
        [] => {}
        [one] if one["type"] == "text" => messages.push(json!({"role": "user", "content": one["text"]})),
        several => messages.push(json!({"role": "user", "content": several})),
    }
    Ok(())
}

fn tool_result(block: &Value, place: &str, shown: &mut Vec<Value>) -> Result<Value, Unconvertible> {
    let Some(id) = block["tool_use_id"].as_str() else {
        return Err(unconvertible(format!("{place}.tool_use_id"), "is missing"));
    };
    let mut found = Vec::new();
    if !block["content"].is_null() {
        for (block, place) in blocks(&block["content"], &format!("{place}.content"))? {
            parts(&block, &place, &mut found)?;
        }
    }
    let (texts, others): (Vec<Value>, Vec<Value>) = found.into_iter().partition(|part| part["type"] == "text");
    let mut texts: Vec<&str> = texts.iter().filter_map(|part| part["text"].as_str()).collect();
    if !others.is_empty() {
        texts.push("(What this tool shows is in the user's next message.)");
        shown.push(text_part(&format!("(Shown by the tool call {id}:)")));
        shown.extend(others);
    }
    let text = texts.join("\n");
    let text = if block["is_error"] == true { format!("Error: {text}") } else { text };
    Ok(json!({"role": "tool", "tool_call_id": id, "content": text}))
}

/// What a user's block is in OpenAI's parts.
fn parts(block: &Value, place: &str, parts: &mut Vec<Value>) -> Result<(), Unconvertible> {
    match block["type"].as_str() {
        Some("text") => match block["text"].as_str() {
            Some(text) => parts.push(text_part(text)),
            None => return Err(unconvertible(format!("{place}.text"), "must be a text")),
        },
        Some("image") => parts.push(image(&block["source"], place)?),
        Some("document") => document(block, place, parts)?,
        Some("search_result") => {
            let head = [&block["title"], &block["source"]].into_iter().filter_map(Value::as_str);
            let body = texts(&block["content"], &format!("{place}.content"))?;
            parts.push(text_part(&head.chain(body).collect::<Vec<_>>().join("\n")));
        }
        Some(kind) => {
            return Err(unconvertible(place, format!("is of type `{kind}`, which only Anthropic's models take here")));
        }
        None => return Err(unconvertible(format!("{place}.type"), "must be a text")),
    }
    Ok(())
}

fn text_part(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn image(source: &Value, place: &str) -> Result<Value, Unconvertible> {
    let url = match (source["type"].as_str(), source["url"].as_str()) {
        (Some("url"), Some(url)) => Some(url.to_owned()),
        (Some("base64"), _) => data_url(source),
        _ => None,
    };
    match url {
        Some(url) => Ok(json!({"type": "image_url", "image_url": {"url": url}})),
        None => Err(unconvertible(format!("{place}.source"), "must be an address or base64 with its media_type")),
    }
}

fn data_url(source: &Value) -> Option<String> {
    Some(format!("data:{};base64,{}", source["media_type"].as_str()?, source["data"].as_str()?))
}

fn document(block: &Value, place: &str, parts: &mut Vec<Value>) -> Result<(), Unconvertible> {
    let source = &block["source"];
    let title = block["title"].as_str();
    match source["type"].as_str() {
        Some("base64") => match data_url(source) {
            Some(data) => {
                let name = title.unwrap_or("document.pdf");
                parts.push(json!({"type": "file", "file": {"filename": name, "file_data": data}}));
            }
            None => return Err(unconvertible(format!("{place}.source"), "must have media_type and data")),
        },
        Some("text") => match source["data"].as_str() {
            Some(data) => parts.push(text_part(&title.into_iter().chain([data]).collect::<Vec<_>>().join("\n\n"))),
            None => return Err(unconvertible(format!("{place}.source.data"), "must be a text")),
        },
        Some("content") => {
            parts.extend(title.map(text_part));
            let place = format!("{place}.source.content");
            for (inner, place) in blocks(&source["content"], &place)? {
                // Anthropic allows texts and images here; no document in a document, so this goes one level down at
                // most.
                match inner["type"].as_str() {
                    Some("image") => parts.push(image(&inner["source"], &place)?),
                    _ => parts.extend(texts(&json!([inner]), &place)?.into_iter().map(text_part)),
                }
            }
        }
        _ => {
            let why = "must be in the request itself: other providers don't fetch documents";
            return Err(unconvertible(format!("{place}.source"), why));
        }
    }
    Ok(())
}

/// Texts are joined as they are: Anthropic cuts one text into several blocks where it cites.
fn assistant(content: &Value, place: &str, messages: &mut Vec<Value>) -> Result<(), Unconvertible> {
    let mut text = String::new();
    let mut calls = Vec::new();
    for (block, place) in blocks(content, place)? {
        match block["type"].as_str() {
            Some("text") => text.push_str(block["text"].as_str().unwrap_or_default()),
            Some("thinking" | "redacted_thinking") => {}
            Some("tool_use") => calls.push(tool_call(&block, &place)?),
            Some(kind) => {
                return Err(unconvertible(
                    place,
                    format!("is of type `{kind}`, which only Anthropic's models take here"),
                ));
            }
            None => return Err(unconvertible(format!("{place}.type"), "must be a text")),
        }
    }
    if text.is_empty() && calls.is_empty() {
        return Ok(());
    }
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    message.insert("content".into(), if text.is_empty() { Value::Null } else { text.into() });
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    messages.push(message.into());
    Ok(())
}

fn tool_call(block: &Value, place: &str) -> Result<Value, Unconvertible> {
    let (Some(id), Some(name)) = (block["id"].as_str(), block["name"].as_str()) else {
        return Err(unconvertible(place, "must have an id and a name"));
    };
    let arguments = super::super::completion::arguments(&block["input"]);
    Ok(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a request with these members.
    fn converted(members: Value) -> Result<Value, Unconvertible> {
        let mut request = json!({"model": "m", "max_tokens": 900, "messages": [{"role": "user", "content": "Hi"}]});
        for (name, value) in members.as_object().unwrap() {
            request[name] = value.clone();
        }
        to_chat(&request)
    }

    fn said(turns: Value) -> Value {
        converted(json!({"messages": turns})).unwrap()["messages"].clone()
    }

    #[test]
    fn a_small_request() {
        assert_eq!(
            converted(json!({})).unwrap(),
            json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 900})
        );
    }

    #[test]
    fn a_request_with_everything() {
        let long = "u".repeat(100);
        let chat = converted(json!({
            "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "Be kind."}],
            "temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop_sequences": ["END"], "stream": true,
            "tools": [
                {"name": "f", "description": "Does f.", "strict": true, 
                    "input_schema": {"type": "object", "properties": {"x": {}}}, "cache_control": {"type": "ephemeral"}},
                {"type": "custom", "name": "g"},
            ],
            "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
            "metadata": {"user_id": long}, "service_tier": "auto", "context_management": {}, "speed": "fast", "unheard_of": 1,
            "container": null, "mcp_servers": [], "thinking": {"type": "enabled", "budget_tokens": 300},
            "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        }))
        .unwrap();
        assert_eq!(
            chat,
            json!({
                "model": "m",
                "messages": [{"role": "system", "content": "Be brief.\n\nBe kind."}, {"role": "user", "content": "Hi"}],
                "max_tokens": 900, "temperature": 0.5, "top_p": 0.9, "stop": ["END"], "stream": true,
                "stream_options": {"include_usage": true},
                "tools": [
                    {"type": "function", "function": {"name": "f", "description": "Does f.",
                        "parameters": {"type": "object", "properties": {"x": {}}}}},
                    {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}},
                ],
                "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false,
                "user": "u".repeat(64), "reasoning_effort": "medium",
                "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
            })
        );
    }

    #[test]
    fn choices_of_tools() {
        let chosen = |choice: Value| {
            converted(json!({"tools": [{"name": "f"}], "tool_choice": choice})).map(|chat| chat["tool_choice"].clone())
        };
        assert_eq!(chosen(json!(null)).unwrap(), Value::Null);
        for (kind, expected) in [("auto", "auto"), ("any", "required"), ("none", "none")] {
            assert_eq!(chosen(json!({"type": kind})).unwrap(), expected);
        }
        assert!(chosen(json!({"type": "tool"})).is_err() && chosen(json!("auto")).is_err());
        let without =
            converted(json!({"tools": [], "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}))
                .unwrap();
        assert_eq!(without, converted(json!({})).unwrap());
    }

    #[test]
    fn budgets_become_efforts_by_thirds() {
        let effort = |thinking: Value| {
            converted(json!({"thinking": thinking, "output_config": {"effort": "max"}})).unwrap()["reasoning_effort"]
                .clone()
        };
        for (budget, expected) in
            [(0, "low"), (299, "low"), (300, "medium"), (599, "medium"), (600, "high"), (u64::MAX, "high")]
        {
            assert_eq!(effort(json!({"type": "enabled", "budget_tokens": budget})), expected, "{budget}");
        }
        assert_eq!(effort(json!({"type": "adaptive"})), "high");
        assert_eq!(effort(json!({"type": "disabled"})), Value::Null);
        assert_eq!(converted(json!({"output_config": {"effort": "low"}})).unwrap().get("reasoning_effort"), None);
        let unlimited = json!({"max_tokens": null, "thinking": {"type": "enabled", "budget_tokens": 5}});
        assert_eq!(converted(unlimited).unwrap()["reasoning_effort"], "low");
    }

    #[test]
    fn pictures_and_documents() {
        let parts = said(json!([{"role": "user", "content": [
            {"type": "text", "text": "See:", "cache_control": {"type": "ephemeral"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
            {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}},
            {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
            {"type": "document", "source": {"type": "content", "content": "whole"}},
            {"type": "document", "title": "U", "source": {"type": "content", "content": [
                {"type": "text", "text": "a"}, {"type": "image", "source": {"type": "url", "url": "https://c"}}]}},
            {"type": "search_result", "title": "S", "source": "https://s", "content": [{"type": "text", "text": "found"}]},
        ]}]))[0]["content"]
            .clone();
        assert_eq!(
            parts,
            json!([
                {"type": "text", "text": "See:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
                {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
                {"type": "text", "text": "T\n\nwords"},
                {"type": "text", "text": "whole"},
                {"type": "text", "text": "U"},
                {"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "https://c"}},
                {"type": "text", "text": "S\nhttps://s\nfound"},
            ])
        );
    }

    #[test]
    fn calls_thoughts_and_results() {
        let messages = said(json!([
            {"role": "user", "content": [{"type": "text", "text": "Go"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "s"}, {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "I'll "}, {"type": "text", "text": "look."},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "b", "name": "g", "input": {}}]},
            {"role": "user", "content": [
                {"type": "text", "text": "So?"},
                {"type": "tool_result", "tool_use_id": "a", "content": [
                    {"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
                {"type": "tool_result", "tool_use_id": "b", "content": "no such file", "is_error": true},
                {"type": "tool_result", "tool_use_id": "c"}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "d", "name": "see", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "d", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]},
                {"type": "text", "text": "What is it?"}]},
        ]));
        assert_eq!(
            messages,
            json!([
                {"role": "user", "content": "Go"},
                {"role": "assistant", "content": "I'll look.", "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
                    {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "a", "content": "one\ntwo"},
                {"role": "tool", "tool_call_id": "b", "content": "Error: no such file"},
                {"role": "tool", "tool_call_id": "c", "content": ""},
                {"role": "user", "content": "So?"},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "d", "type": "function", "function": {"name": "see", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "d", "content": "(What this tool shows is in the user's next message.)"},
                {"role": "user", "content": [
                    {"type": "text", "text": "(Shown by the tool call d:)"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "text", "text": "What is it?"}]},
            ])
        );
    }

    #[test]
    fn instructions_between_turns_stay_there_and_nulls_say_nothing() {
        let messages = said(json!([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]));
        assert_eq!(messages, json!([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]));
        let nothing = json!({"system": "", "temperature": null, "top_p": null, "stop_sequences": [], "tools": null,
            "tool_choice": null, "metadata": null, "thinking": null, "output_config": {"format": null}, "stream": false});
        assert_eq!(converted(nothing).unwrap(), converted(json!({})).unwrap());
    }

    #[test]
    fn what_cannot_be_said_names_its_place() {
        let user = |block: Value| json!({"messages": [{"role": "user", "content": [block]}]});
        let assistant = |block: Value| json!({"messages": [{"role": "assistant", "content": [block]}]});
        for (members, place) in [
            (json!({"model": null}), "`model`"),
            (json!({"model": ""}), "`model`"),
            (json!({"messages": null}), "`messages`"),
            (json!({"messages": []}), "`messages`"),
            (json!({"messages": [{"role": "user", "content": []}]}), "`messages`"),
            (json!({"messages": [5]}), "`messages[0].role`"),
            (json!({"messages": [{"role": "user"}]}), "`messages[0].content`"),
            (json!({"messages": [{"role": "assistant", "content": 5}]}), "`messages[0].content`"),
            (json!({"system": 5}), "`system`"),
            (json!({"system": [{"type": "image"}]}), "`system[0]`"),
            (json!({"container": "c"}), "`container`"),
            (json!({"mcp_servers": [{}]}), "`mcp_servers`"),
            (json!({"inference_geo": "eu"}), "`inference_geo`"),
            (json!({"tools": 5}), "`tools`"),
            (
                json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
                "`tools[0]` is Anthropic's own tool `web_search_20250305`",
            ),
            (json!({"tools": [{"description": "d"}]}), "`tools[0].name`"),
            (json!({"thinking": {"type": "deep"}}), "`thinking.type`"),
            (json!({"thinking": {"type": "enabled"}}), "`thinking.budget_tokens`"),
            (json!({"output_config": {"format": {"type": "regex"}}}), "`output_config.format`"),
            (json!({"output_format": {"type": "json_schema"}}), "`output_format`"),
            (user(json!(5)), "`messages[0].content[0].type`"),
            (user(json!({"type": "text"})), "`messages[0].content[0].text`"),
            (user(json!({"type": "container_upload"})), "`messages[0].content[0]`"),
            (
                user(json!({"type": "image", "source": {"type": "file", "file_id": "f"}})),
                "`messages[0].content[0].source`",
            ),
            (user(json!({"type": "image", "source": {"type": "base64"}})), "`messages[0].content[0].source`"),
            (
                user(json!({"type": "document", "source": {"type": "url", "url": "https://a"}})),
                "`messages[0].content[0].source`",
            ),
            (user(json!({"type": "document", "source": {"type": "base64"}})), "`messages[0].content[0].source`"),
            (user(json!({"type": "document", "source": {"type": "text"}})), "`messages[0].content[0].source.data`"),
            (
                user(json!({"type": "document", "source": {"type": "content", "content": [{}]}})),
                "`messages[0].content[0].source.content[0]",
            ),
            (user(json!({"type": "search_result"})), "`messages[0].content[0].content`"),
            (user(json!({"type": "tool_result"})), "`messages[0].content[0].tool_use_id`"),
            (
                user(json!({"type": "tool_result", "tool_use_id": "a", "content": 5})),
                "`messages[0].content[0].content`",
            ),
            (assistant(json!({"type": "tool_use", "name": "f"})), "`messages[0].content[0]`"),
            (assistant(json!({"type": "server_tool_use"})), "`messages[0].content[0]`"),
            (assistant(json!("a")), "`messages[0].content[0].type`"),
        ] {
            let message = converted(members).unwrap_err().to_string();
            assert!(message.starts_with(place), "{message} instead of {place}");
        }
        for no_object in [json!(null), json!([]), json!("a"), json!(1)] {
            assert!(to_chat(&no_object).is_err());
        }
    }
}
