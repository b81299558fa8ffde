//! JSON schemas as Gemini takes them.
//!
//! `parametersJsonSchema` and `responseJsonSchema` take JSON Schema. The older `parameters` and `responseSchema` take a
//! dialect of OpenAPI, and refuse a request for one keyword that they don't know.

use serde_json::{Map, Value};

/// Keywords whose value is a schema, or a list of schemas.
const SCHEMAS: [&str; 8] =
    ["items", "prefixItems", "additionalProperties", "anyOf", "oneOf", "allOf", "not", "contains"];
/// Keywords whose value has a schema under each name. The names are the caller's: one named `$ref` is no reference.
const NAMED_SCHEMAS: [&str; 4] = ["properties", "$defs", "definitions", "patternProperties"];

/// The schema of a function's arguments. None where the function takes none.
pub(super) fn of_arguments(schema: &Value) -> Option<Value> {
    let mut schema = without_dialect(schema.as_object()?.clone());
    if schema.is_empty() {
        return None;
    }
    // Google wants to be told that arguments are an object. OpenAI takes that for granted.
    if !["type", "$ref", "anyOf", "oneOf", "allOf"].iter().any(|keyword| schema.contains_key(*keyword)) {
        schema.insert("type".into(), "object".into());
    }
    Some(schema.into())
}

/// The schema of an answer. Google refuses members beside a `$ref` there, which Pydantic writes for members that have a
/// description, and knows `const` as an `enum` of one only.
pub(super) fn of_answer(schema: Value) -> Value {
    let Value::Object(members) = schema else { return schema };
    map(without_dialect(members).into(), &|members| {
        if members.get("$ref").is_some_and(Value::is_string) {
            members.retain(|keyword, _| keyword.starts_with('$'));
        }
        if !members.contains_key("enum") && members.get("const").is_some_and(|it| it.is_string() || it.is_number()) {
            let only = members.shift_remove("const");
            members.insert("enum".into(), only.into_iter().collect());
        }
    })
}

/// JSON Schema, for a schema in the dialect of OpenAPI: `{"type": "STRING", "nullable": true}`.
pub(super) fn of_openapi(schema: Value) -> Value {
    map(schema, &|members| {
        let Some(kind) = members.get_mut("type") else { return };
        if let Value::String(kind) = kind {
            kind.make_ascii_lowercase();
        }
        let with_null = vec![kind.clone(), "null".into()].into();
        if members.get("nullable") == Some(&Value::Bool(true)) {
            members.shift_remove("nullable");
            members.insert("type".into(), with_null);
        }
    })
}

/// Without the name of the dialect at the root, which Google's parser has no field for.
fn without_dialect(mut schema: Map<String, Value>) -> Map<String, Value> {
    schema.shift_remove("$schema");
    schema
}

/// Applies `change` to a schema and to all schemas in it.
fn map(schema: Value, change: &dyn Fn(&mut Map<String, Value>)) -> Value {
    let mut members = match schema {
        Value::Object(members) => members,
        Value::Array(schemas) => return schemas.into_iter().map(|schema| map(schema, change)).collect(),
        other => return other,
    };
    change(&mut members);
    let inner = members.into_iter().map(|(keyword, value)| {
        let value = match value {
            Value::Object(named) if NAMED_SCHEMAS.contains(&&*keyword) => {
                named.into_iter().map(|(name, schema)| (name, map(schema, change))).collect::<Map<_, _>>().into()
            }
            value if SCHEMAS.contains(&&*keyword) => map(value, change),
            value => value,
        };
        (keyword, value)
    });
    Value::Object(inner.collect())
}
