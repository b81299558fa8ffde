//! JSON schemas, as Bedrock wants them.

use serde_json::{Map, Value, json};

/// The schema of a function's arguments. Bedrock demands one, and that it says that they are an object.
pub(super) fn of_arguments(schema: &Value) -> Value {
    let Some(members) = schema.as_object().filter(|members| !members.is_empty()) else {
        return json!({"type": "object", "properties": {}});
    };
    let mut members = members.clone();
    members.entry("type").or_insert_with(|| "object".into());
    members.into()
}

/// The schema of an answer: objects have no members that it doesn't name, unless it says otherwise itself. Bedrock
/// demands that this be said, OpenAI in strict mode only.
pub(super) fn of_answer(schema: &Value) -> Value {
    let Value::Object(members) = schema else { return schema.clone() };
    let mut closed = Map::new();
    for (name, value) in members {
        let value = match (name.as_str(), value) {
            ("properties" | "$defs" | "definitions", Value::Object(schemas)) => {
                schemas.iter().map(|(name, schema)| (name.clone(), of_answer(schema))).collect()
            }
            ("anyOf" | "allOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => {
                schemas.iter().map(of_answer).collect()
            }
            ("items", schema) => of_answer(schema),
            (_, value) => value.clone(),
        };
        closed.insert(name.clone(), value);
    }
    let kind = &schema["type"];
    if kind == "object" || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "object")) {
        closed.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    closed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_an_object() {
        let nothing = json!({"type": "object", "properties": {}});
        assert_eq!(of_arguments(&Value::Null), nothing);
        assert_eq!(of_arguments(&json!({})), nothing);
        assert_eq!(of_arguments(&json!({"properties": {"a": {}}})), json!({"type": "object", "properties": {"a": {}}}));
        let whole = json!({"type": "object", "properties": {"type": {"type": "string"}}, "required": ["type"]});
        assert_eq!(of_arguments(&whole), whole);
    }

    #[test]
    fn answers_are_closed_unless_they_say_otherwise() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": ["object", "null"], "properties": {}},
            "b": {"type": "array", "items": {"anyOf": [{"type": "object"}, {"type": "string"}]}},
            "c": {"type": "object", "additionalProperties": true},
            "additionalProperties": {"type": "string"}}});
        let expected = json!({"type": "object", "additionalProperties": false, "properties": {
            "a": {"type": ["object", "null"], "properties": {}, "additionalProperties": false},
            "b": {"type": "array", "items": {"anyOf": [{"type": "object", "additionalProperties": false}, {"type": "string"}]}},
            "c": {"type": "object", "additionalProperties": true},
            "additionalProperties": {"type": "string"}}});
        assert_eq!(of_answer(&schema), expected);
        assert_eq!(of_answer(&json!(true)), json!(true));
    }
}
