//! JSON schemas as Gemini takes them.
//!
//! `parametersJsonSchema` and `responseJsonSchema` take JSON Schema, where the older `parameters` and `responseSchema` want
//! a dialect of OpenAPI and refuse a request for one keyword that they don't know. So little has to change.

use serde_json::{Map, Value};

/// Keywords whose value is a schema, or a list of schemas.
const SCHEMAS: [&str; 8] =
    ["items", "prefixItems", "additionalProperties", "anyOf", "oneOf", "allOf", "not", "contains"];
/// Keywords whose value has a schema under each name. The names are the caller's: one that reads `$ref` is no reference.
const NAMED_SCHEMAS: [&str; 4] = ["properties", "$defs", "definitions", "patternProperties"];

/// The schema of a function's arguments, or nothing where the function takes none.
pub(super) fn of_arguments(schema: &Value) -> Option<Value> {
    let mut schema = without_dialect(schema.as_object()?);
    if schema.is_empty() {
        return None;
    }
    // Google wants to be told that arguments are an object. OpenAI takes it for granted.
    let says_what_it_is =
        ["type", "$ref", "anyOf", "oneOf", "allOf"].iter().any(|keyword| schema.contains_key(*keyword));
    if !says_what_it_is {
        schema.insert("type".into(), "object".into());
    }
    Some(Value::Object(schema))
}

/// The schema of an answer.
///
/// Google refuses a `$ref` with anything beside it there, which Pydantic writes where a member of such a type has a
/// description; and it knows `const` as a list of one only.
pub(super) fn of_answer(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => adapted(&Value::Object(without_dialect(members))),
        other => other.clone(),
    }
}

/// Without the name of the dialect at the root, which Google's parser has no field for.
fn without_dialect(schema: &Map<String, Value>) -> Map<String, Value> {
    schema.iter().filter(|(keyword, _)| *keyword != "$schema").map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn adapted(schema: &Value) -> Value {
    let members = match schema {
        Value::Object(members) => members,
        Value::Array(schemas) => return schemas.iter().map(adapted).collect(),
        other => return other.clone(),
    };
    let refers = members.get("$ref").is_some_and(Value::is_string);
    let mut out = Map::new();
    for (keyword, value) in members {
        match (keyword.as_str(), value) {
            (name, _) if refers && !name.starts_with('$') => {}
            ("const", Value::String(_) | Value::Number(_)) if !members.contains_key("enum") => {
                out.insert("enum".into(), vec![value.clone()].into());
            }
            (name, Value::Object(named)) if NAMED_SCHEMAS.contains(&name) => {
                let named: Map<String, Value> = named.iter().map(|(k, v)| (k.clone(), adapted(v))).collect();
                out.insert(keyword.clone(), named.into());
            }
            (name, _) if SCHEMAS.contains(&name) => {
                out.insert(keyword.clone(), adapted(value));
            }
            _ => {
                out.insert(keyword.clone(), value.clone());
            }
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_keep_what_they_say() {
        let schema = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
            "properties": {"$schema": {"type": ["string", "null"]}, "at": {"$ref": "#/$defs/At", "description": "when"}},
            "$defs": {"At": {"type": "string", "format": "date-time"}}, "required": ["at"], "additionalProperties": false});
        let mut expected = schema.clone();
        expected.as_object_mut().unwrap().remove("$schema");
        assert_eq!(of_arguments(&schema), Some(expected));
    }

    #[test]
    fn arguments_are_an_object() {
        assert_eq!(
            of_arguments(&json!({"properties": {"a": {}}})),
            Some(json!({"properties": {"a": {}}, "type": "object"}))
        );
        assert_eq!(of_arguments(&json!({"$ref": "#/$defs/A"})), Some(json!({"$ref": "#/$defs/A"})));
        for none in [json!({}), json!(null), json!({"$schema": "x"}), json!("x")] {
            assert_eq!(of_arguments(&none), None, "{none}");
        }
    }

    #[test]
    fn answers_lose_what_google_refuses_and_nothing_else() {
        let schema = json!({"$schema": "x", "type": "object", "properties": {
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
        assert_eq!(of_answer(&schema), expected);
        assert_eq!(of_answer(&json!(true)), json!(true));
    }
}
