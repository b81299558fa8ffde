//! JSON schemas of answers.

use serde_json::Value;

/// A schema whose objects have no members that it doesn't name, unless it says otherwise itself: Anthropic and
/// Bedrock demand that it be said, OpenAI in strict mode only.
pub(super) fn closed(schema: &Value) -> Value {
    let mut schema = schema.clone();
    close(&mut schema);
    schema
}

fn close(schema: &mut Value) {
    let kind = &schema["type"];
    let is_object = kind == "object" || kind.as_array().is_some_and(|kinds| kinds.contains(&"object".into()));
    let Some(members) = schema.as_object_mut() else { return };
    for (name, value) in members.iter_mut() {
        match (name.as_str(), value) {
            ("properties" | "$defs" | "definitions", Value::Object(schemas)) => schemas.values_mut().for_each(close),
            ("anyOf" | "allOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => schemas.iter_mut().for_each(close),
            ("items" | "additionalProperties", schema) => close(schema),
            _ => {}
        }
    }
    if is_object {
        members.entry("additionalProperties").or_insert(Value::Bool(false));
    }
}
