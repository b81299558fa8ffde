//! The functions that a model may call, and whether it has to.

use serde_json::{Value, json};

use super::{Unconvertible, schema};

/// Google's `tools` and `toolConfig` for the request `chat`; nothing where it has no tools.
pub(super) fn tools(chat: &Value) -> Result<Option<(Value, Option<Value>)>, Unconvertible> {
    for old in ["functions", "function_call"] {
        if !chat[old].is_null() {
            return Err(Unconvertible::new(old, "it was replaced by `tools` and `tool_choice`"));
        }
    }
    let tools = match &chat["tools"] {
        Value::Null => return Ok(None),
        Value::Array(tools) if tools.is_empty() => return Ok(None),
        Value::Array(tools) => tools,
        _ => return Err(Unconvertible::new("tools", "it is no list")),
    };
    let declarations: Vec<Value> = tools
        .iter()
        .enumerate()
        .map(|(i, tool)| declaration(tool, &format!("tools[{i}]")))
        .collect::<Result<_, _>>()?;
    let config = calling(&chat["tool_choice"])?.map(|calling| json!({"functionCallingConfig": calling}));
    Ok(Some((json!([{"functionDeclarations": declarations}]), config)))
}

fn declaration(tool: &Value, field: &str) -> Result<Value, Unconvertible> {
    if tool["type"] != "function" {
        return Err(Unconvertible::new(format!("{field}.type"), "only functions can be called"));
    }
    let function = &tool["function"];
    let name = function["name"].as_str().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Unconvertible::new(format!("{field}.function.name"), "it is missing"))?;
    let parameters = &function["parameters"];
    if !parameters.is_null() && !parameters.is_object() {
        return Err(Unconvertible::new(format!("{field}.function.parameters"), "it is no JSON schema"));
    }
    let mut declaration = serde_json::Map::new();
    declaration.insert("name".into(), name.into());
    if let Some(description) = function["description"].as_str() {
        declaration.insert("description".into(), description.into());
    }
    if let Some(schema) = schema::of_arguments(parameters) {
        declaration.insert("parametersJsonSchema".into(), schema);
    }
    Ok(declaration.into())
}

fn calling(choice: &Value) -> Result<Option<Value>, Unconvertible> {
    let refuse = |why: &str| Err(Unconvertible::new("tool_choice", why));
    match choice {
        Value::Null => Ok(None),
        Value::String(word) => match word.as_str() {
            "auto" => Ok(Some(json!({"mode": "AUTO"}))),
            "none" => Ok(Some(json!({"mode": "NONE"}))),
            "required" | "any" => Ok(Some(json!({"mode": "ANY"}))),
            other => refuse(&format!("`{other}` is not known")),
        },
        _ if choice["type"] == "function" => match choice["function"]["name"].as_str() {
            Some(name) => Ok(Some(json!({"mode": "ANY", "allowedFunctionNames": [name]}))),
            None => refuse("it names no function"),
        },
        _ if choice["type"] == "allowed_tools" => {
            let allowed = &choice["allowed_tools"];
            let names = allowed["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
            let names: Option<Vec<&str>> = names.iter().map(|tool| tool["function"]["name"].as_str()).collect();
            match (allowed["mode"].as_str(), names) {
                (Some("required"), Some(names)) if !names.is_empty() => {
                    Ok(Some(json!({"mode": "ANY", "allowedFunctionNames": names})))
                }
                _ => refuse("allowed tools have to be functions, and one of them has to be required"),
            }
        }
        _ => refuse("it is not known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(tools: Value, choice: Value) -> Result<Option<(Value, Option<Value>)>, Unconvertible> {
        super::tools(&json!({"tools": tools, "tool_choice": choice}))
    }

    fn some() -> Value {
        json!([{"type": "function", "function": {"name": "f"}}])
    }

    #[test]
    fn functions_are_declared_with_their_schemas() {
        let tools = json!([
            {"type": "function", "function": {"name": "weather", "description": "of a city", "strict": true, "parameters": {
                "$schema": "x", "type": "object", "properties": {"city": {"type": ["string", "null"]}}, "additionalProperties": false}}},
            {"type": "function", "function": {"name": "now", "parameters": {}}},
        ]);
        let expected = json!([{"functionDeclarations": [
            {"name": "weather", "description": "of a city", "parametersJsonSchema": {
                "type": "object", "properties": {"city": {"type": ["string", "null"]}}, "additionalProperties": false}},
            {"name": "now"},
        ]}]);
        assert_eq!(with(tools, Value::Null), Ok(Some((expected, None))));
    }

    #[test]
    fn a_choice_is_a_mode() {
        let required = json!({"type": "allowed_tools", "allowed_tools": {"mode": "required",
            "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}]}});
        for (choice, expected) in [
            (json!("auto"), json!({"mode": "AUTO"})),
            (json!("none"), json!({"mode": "NONE"})),
            (json!("required"), json!({"mode": "ANY"})),
            (
                json!({"type": "function", "function": {"name": "f"}}),
                json!({"mode": "ANY", "allowedFunctionNames": ["f"]}),
            ),
            (required, json!({"mode": "ANY", "allowedFunctionNames": ["f", "g"]})),
        ] {
            let (_, config) = with(some(), choice).unwrap().unwrap();
            assert_eq!(config, Some(json!({"functionCallingConfig": expected})));
        }
        assert_eq!(with(Value::Null, json!("auto")), Ok(None));
        assert_eq!(with(json!([]), json!("none")), Ok(None));
    }

    #[test]
    fn what_has_no_counterpart_is_refused_with_its_place() {
        for (tools, choice, field) in [
            (json!({}), Value::Null, "tools"),
            (json!([{"type": "web_search"}]), Value::Null, "tools[0].type"),
            (json!([5]), Value::Null, "tools[0].type"),
            (json!([{"type": "function"}]), Value::Null, "tools[0].function.name"),
            (
                json!([{"type": "function", "function": {"name": "f", "parameters": "x"}}]),
                Value::Null,
                "tools[0].function.parameters",
            ),
            (some(), json!("sometimes"), "tool_choice"),
            (some(), json!(5), "tool_choice"),
            (some(), json!({"type": "function"}), "tool_choice"),
            (some(), json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto"}}), "tool_choice"),
            (
                some(),
                json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}),
                "tool_choice",
            ),
        ] {
            assert_eq!(with(tools.clone(), choice).unwrap_err().field, field, "{tools}");
        }
        for old in ["functions", "function_call"] {
            assert_eq!(super::tools(&json!({old: []})).unwrap_err().field, old);
        }
    }
}
