//! The functions that a model may call, and whether it has to.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value, json};

use super::{Unconvertible, schema};

/// What a request says about tools.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tools {
    /// Converse's `toolConfig`, where there is one.
    pub(super) config: Option<Value>,
    /// Whether the model has to call a tool.
    pub(super) is_forced: bool,
    /// Whether the model mustn't call any, although it knows some.
    pub(super) is_barred: bool,
}

enum Choice<'c> {
    Unsaid,
    Auto,
    None,
    Any,
    One(&'c str),
}

/// The tools of the request `chat`, in whose conversation those in `called` were called.
///
/// Converse can't say that no tool may be called. So the tools stay away then, except where the conversation has calls in
/// it, which Bedrock refuses without a `toolConfig`: there they stay, without a choice, and the model has to be told in
/// words. If such a conversation comes without any tools, those that were called are declared by their names.
pub(super) fn tools(chat: &Value, called: &BTreeSet<String>) -> Result<Tools, Unconvertible> {
    for old in ["functions", "function_call"] {
        if !chat[old].is_null() {
            return Err(Unconvertible::new(old, "it was replaced by `tools` and `tool_choice`"));
        }
    }
    let mut specs = Vec::new();
    match &chat["tools"] {
        Value::Null => {}
        Value::Array(tools) => {
            for (i, tool) in tools.iter().enumerate() {
                specs.push(spec(tool, &format!("tools[{i}]"))?);
            }
        }
        _ => return Err(Unconvertible::new("tools", "it is no list")),
    }
    if specs.is_empty() {
        let specs: Vec<Value> = called.iter().map(|name| tool_spec(name, None, &Value::Null)).collect();
        return Ok(barred(specs, called));
    }
    let choice = &chat["tool_choice"];
    let choice = if choice["type"] == "allowed_tools" { allowed(choice, &mut specs)? } else { read(choice)? };
    let choice = match choice {
        Choice::None => return Ok(barred(specs, called)),
        Choice::Unsaid => None,
        Choice::Auto => Some(json!({"auto": {}})),
        Choice::Any => Some(json!({"any": {}})),
        Choice::One(name) => Some(json!({"tool": {"name": name}})),
    };
    let is_forced = choice.as_ref().is_some_and(|choice| choice.get("auto").is_none());
    let mut config = Map::new();
    config.insert("tools".into(), specs.into());
    config.extend(choice.map(|choice| ("toolChoice".to_owned(), choice)));
    Ok(Tools { config: Some(config.into()), is_forced, is_barred: false })
}

fn barred(specs: Vec<Value>, called: &BTreeSet<String>) -> Tools {
    if called.is_empty() {
        return Tools::default();
    }
    Tools { config: Some(json!({"tools": specs})), is_forced: false, is_barred: true }
}

fn spec(tool: &Value, field: &str) -> Result<Value, Unconvertible> {
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
    Ok(tool_spec(name, function["description"].as_str(), parameters))
}

fn tool_spec(name: &str, description: Option<&str>, parameters: &Value) -> Value {
    let mut spec = Map::new();
    spec.insert("name".into(), name.into());
    if let Some(description) = description.filter(|description| !description.trim().is_empty()) {
        spec.insert("description".into(), description.into());
    }
    spec.insert("inputSchema".into(), json!({"json": schema::of_arguments(parameters)}));
    json!({"toolSpec": spec})
}

fn read(choice: &Value) -> Result<Choice<'_>, Unconvertible> {
    let refuse = |why: &str| Err(Unconvertible::new("tool_choice", why));
    match choice {
        Value::Null => Ok(Choice::Unsaid),
        Value::String(word) => match word.as_str() {
            "auto" => Ok(Choice::Auto),
            "none" => Ok(Choice::None),
            "required" | "any" => Ok(Choice::Any),
            other => refuse(&format!("`{other}` is not known")),
        },
        _ if choice["type"] == "function" => match choice["function"]["name"].as_str() {
            Some(name) => Ok(Choice::One(name)),
            None => refuse("it names no function"),
        },
        _ => refuse("it is not known"),
    }
}

/// Leaves only the tools that are allowed, because Converse can't tell them from the others.
fn allowed(choice: &Value, specs: &mut Vec<Value>) -> Result<Choice<'static>, Unconvertible> {
    let allowed = &choice["allowed_tools"];
    let listed = allowed["tools"].as_array().into_iter().flatten();
    let names: HashSet<&str> = listed.filter_map(|tool| tool["function"]["name"].as_str()).collect();
    specs.retain(|spec| spec["toolSpec"]["name"].as_str().is_some_and(|name| names.contains(name)));
    match allowed["mode"].as_str() {
        _ if specs.is_empty() => Err(Unconvertible::new("tool_choice", "it allows none of the functions")),
        Some("required") => Ok(Choice::Any),
        Some("auto") => Ok(Choice::Auto),
        _ => Err(Unconvertible::new("tool_choice", "its `mode` is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(tools: Value, choice: Value, called: &[&str]) -> Result<Tools, Unconvertible> {
        let called: BTreeSet<String> = called.iter().map(ToString::to_string).collect();
        super::tools(&json!({"tools": tools, "tool_choice": choice}), &called)
    }

    fn function(name: &str) -> Value {
        json!({"type": "function", "function": {"name": name}})
    }

    fn declared(name: &str) -> Value {
        json!({"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object", "properties": {}}}}})
    }

    #[test]
    fn functions_are_declared_with_their_schemas() {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
        let tools = json!([{"type": "function", "function": {"name": "weather", "description": "of a city", "strict": true,
            "parameters": schema}}, {"type": "function", "function": {"name": "now", "description": " ", "parameters": {}}}]);
        let told = with(tools, Value::Null, &[]).unwrap();
        assert_eq!(
            told.config,
            Some(json!({"tools": [
                {"toolSpec": {"name": "weather", "description": "of a city", "inputSchema": {"json": schema}}},
                declared("now")]}))
        );
        assert!(!told.is_forced && !told.is_barred);
    }

    #[test]
    fn choices() {
        let allowed =
            |mode: &str| json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [function("g")]}});
        for (choice, expected, is_forced, names) in [
            (json!("auto"), json!({"auto": {}}), false, "fg"),
            (json!("required"), json!({"any": {}}), true, "fg"),
            (function("f"), json!({"tool": {"name": "f"}}), true, "fg"),
            (allowed("auto"), json!({"auto": {}}), false, "g"),
            (allowed("required"), json!({"any": {}}), true, "g"),
        ] {
            let told = with(json!([function("f"), function("g")]), choice, &["f"]).unwrap();
            let tools: Vec<Value> = names.chars().map(|name| declared(&name.to_string())).collect();
            let config = Some(json!({"tools": tools, "toolChoice": expected}));
            assert_eq!(told, Tools { config, is_forced, is_barred: false });
        }
    }

    #[test]
    fn no_calls_are_asked_for_by_silence_or_else_in_words() {
        assert_eq!(with(json!([function("f")]), json!("none"), &[]), Ok(Tools::default()));
        let both = Some(json!({"tools": [declared("f"), declared("g")]}));
        let expected = Tools { config: both, is_forced: false, is_barred: true };
        assert_eq!(with(json!([function("f"), function("g")]), json!("none"), &["f"]), Ok(expected));
        for none in [Value::Null, json!([])] {
            assert_eq!(with(none.clone(), json!("auto"), &[]), Ok(Tools::default()));
            let told = with(none, Value::Null, &["f", "g"]).unwrap();
            assert_eq!(told.config, Some(json!({"tools": [declared("f"), declared("g")]})));
            assert!(told.is_barred);
        }
    }

    #[test]
    fn what_has_no_counterpart_is_refused_with_its_place() {
        let some = || json!([function("f")]);
        let allowed = |tools: Value, mode: &str| json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}});
        for (tools, choice, field) in [
            (json!({}), Value::Null, "tools"),
            (json!([{"type": "web_search"}]), Value::Null, "tools[0].type"),
            (json!([function("f"), 5]), Value::Null, "tools[1].type"),
            (json!([{"type": "function"}]), Value::Null, "tools[0].function.name"),
            (
                json!([{"type": "function", "function": {"name": "f", "parameters": "x"}}]),
                Value::Null,
                "tools[0].function.parameters",
            ),
            (some(), json!("sometimes"), "tool_choice"),
            (some(), json!(5), "tool_choice"),
            (some(), json!({"type": "function"}), "tool_choice"),
            (some(), allowed(json!([function("g")]), "auto"), "tool_choice"),
            (some(), allowed(json!([function("f")]), "never"), "tool_choice"),
        ] {
            assert_eq!(with(tools.clone(), choice, &[]).unwrap_err().field, field, "{tools}");
        }
        for old in ["functions", "function_call"] {
            assert_eq!(super::tools(&json!({old: []}), &BTreeSet::new()).unwrap_err().field, old);
        }
    }
}
