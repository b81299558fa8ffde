//! Whether a value matches a JSON schema, within bounds: schemas come from callers and values from models, and either may be
//! made to take long.
//!
//! A schema of some kilobytes can ask for more steps than there are atoms: `anyOf` of twice the same reference, thirty times
//! over. A long chain of references overflows the stack of whoever follows it. So all that checking could come to is
//! counted before, and a schema that is too expensive isn't used.

use jsonschema::PatternOptions;
use serde_json::{Map, Value};

/// Steps of a check, at most: each takes about a tenth of a microsecond. Arbitrary; an answer of a megabyte takes some tens
/// of thousands.
const MAX_STEPS: usize = 250_000;
/// Steps within one another, at most, so that the stack of a worker thread (2 MiB) is enough.
const MAX_DEPTH: usize = 1000;
/// Levels of a schema times its references, at most: as deep as whoever follows all of them may come.
const MAX_LEVELS: usize = 4000;
/// Regular expressions of a schema, at most.
const MAX_PATTERNS: usize = 200;
/// Bytes that a compiled regular expression takes, at most, and steps that it may take back.
const MAX_PATTERN_SIZE: usize = 256 << 10;
const MAX_BACKTRACKING: usize = 10_000;
/// What matching one text is counted as, in steps.
const PATTERN_STEPS: usize = 50;
/// Characters of an explanation, at most: it cites what it is about.
const SHOWN: usize = 300;

/// Checks `value`. A schema that can't be used, such as one that refers to an address or is too expensive, demands nothing.
///
/// # Errors
/// What doesn't match, for people.
pub(super) fn check(value: &Value, schema: &Value) -> Result<(), String> {
    if !is_affordable(value, schema) {
        return Ok(());
    }
    let patterns = PatternOptions::fancy_regex().backtrack_limit(MAX_BACKTRACKING).size_limit(MAX_PATTERN_SIZE);
    let Ok(validator) = jsonschema::options().with_pattern_options(patterns).build(schema) else { return Ok(()) };
    validator.validate(value).map_err(|error| error.to_string().chars().take(SHOWN).collect())
}

fn is_affordable(value: &Value, schema: &Value) -> bool {
    // Which spells `$id` as `id`.
    let is_old = schema["$schema"].as_str().is_some_and(|uri| uri.contains("draft-04"));
    let mut size = Size { is_old, ..Size::default() };
    size.add(schema, 0);
    let is_small = size.patterns <= MAX_PATTERNS
        && size.depth.saturating_mul(size.references + 1) <= MAX_LEVELS
        && !size.has_bases;
    let mut steps = Steps { root: schema, left: MAX_STEPS };
    is_small && steps.check(schema, value, 0).is_some()
}

/// What there is in a schema, whether it is reached or not.
#[derive(Debug, Default)]
struct Size {
    depth: usize,
    references: usize,
    patterns: usize,
    is_old: bool,
    /// Whether a schema within it has an address of its own, to which references would be relative.
    has_bases: bool,
}

impl Size {
    fn add(&mut self, value: &Value, depth: usize) {
        self.depth = self.depth.max(depth);
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.add(item, depth + 1)),
            Value::Object(members) => {
                for (name, value) in members {
                    match (name.as_str(), value) {
                        ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(_)) => self.references += 1,
                        ("$id" | "$schema", Value::String(_)) => self.has_bases |= depth > 0,
                        ("id", Value::String(_)) => self.has_bases |= self.is_old && depth > 0,
                        ("pattern", Value::String(_)) => self.patterns += 1,
                        ("patternProperties", Value::Object(patterns)) => self.patterns += patterns.len(),
                        _ => {}
                    }
                    self.add(value, depth + 1);
                }
            }
            _ => {}
        }
    }
}

/// Counts the steps of a check as if nothing in it were decided early.
struct Steps<'s> {
    root: &'s Value,
    left: usize,
}

impl<'s> Steps<'s> {
    /// None where they are too many, or can't be known.
    fn check(&mut self, schema: &'s Value, value: &Value, depth: usize) -> Option<()> {
        self.spend(1)?;
        let Some(members) = schema.as_object() else { return Some(()) };
        if depth > MAX_DEPTH {
            return None;
        }
        // What these look at is checked once more to know what has been evaluated.
        let is_repeated = members.contains_key("unevaluatedProperties") || members.contains_key("unevaluatedItems");
        for _ in 0..=usize::from(is_repeated) {
            for (keyword, inner) in members {
                self.keyword(keyword, inner, value, depth + 1)?;
            }
        }
        Some(())
    }

    fn keyword(&mut self, keyword: &str, inner: &'s Value, value: &Value, depth: usize) -> Option<()> {
        match (keyword, inner) {
            ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(address)) => {
                let target = self.root.pointer(address.strip_prefix('#')?)?;
                self.check(target, value, depth)
            }
            ("allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => {
                schemas.iter().try_for_each(|schema| self.check(schema, value, depth))
            }
            ("not" | "if" | "then" | "else", schema) => self.check(schema, value, depth),
            ("dependentSchemas" | "dependencies", Value::Object(schemas)) => {
                schemas.values().try_for_each(|schema| self.check(schema, value, depth))
            }
            ("enum", Value::Array(values)) => self.spend(values.len()),
            ("pattern", _) => self.spend(PATTERN_STEPS),
            ("prefixItems" | "items", Value::Array(schemas)) => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                schemas.iter().zip(items).try_for_each(|(schema, item)| self.check(schema, item, depth))
            }
            ("items" | "additionalItems" | "unevaluatedItems" | "contains", schema) => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                items.iter().try_for_each(|item| self.check(schema, item, depth))
            }
            (_, schema) => match value.as_object() {
                Some(members) => self.of_members(keyword, schema, members, depth),
                None => Some(()),
            },
        }
    }

    fn of_members(
        &mut self,
        keyword: &str,
        inner: &'s Value,
        members: &Map<String, Value>,
        depth: usize,
    ) -> Option<()> {
        match (keyword, inner) {
            ("properties", Value::Object(schemas)) => {
                self.spend(schemas.len())?;
                let both = schemas.iter().filter_map(|(name, schema)| Some((schema, members.get(name)?)));
                both.into_iter().try_for_each(|(schema, member)| self.check(schema, member, depth))
            }
            ("patternProperties", Value::Object(schemas)) => schemas.values().try_for_each(|schema| {
                self.spend(PATTERN_STEPS.saturating_mul(members.len()))?;
                members.values().try_for_each(|member| self.check(schema, member, depth))
            }),
            ("additionalProperties" | "unevaluatedProperties", schema) => {
                members.values().try_for_each(|member| self.check(schema, member, depth))
            }
            ("propertyNames", schema) => members.iter().try_for_each(|_| self.check(schema, &Value::Null, depth)),
            _ => Some(()),
        }
    }

    fn spend(&mut self, steps: usize) -> Option<()> {
        self.left = self.left.checked_sub(steps)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `{"d0": …, "d1": …}`, each of which is made of the address of the next one.
    fn chain(length: usize, link: impl Fn(Value) -> Value) -> Value {
        let next = |n| link(json!({"$ref": format!("#/$defs/d{}", n + 1)}));
        let mut links: Map<String, Value> = (0..length).map(|n| (format!("d{n}"), next(n))).collect();
        links.insert(format!("d{length}"), json!({"type": "string"}));
        json!({"$ref": "#/$defs/d0", "$defs": links})
    }

    #[test]
    fn ordinary_schemas_are_used() {
        let person = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": "#/$defs/person", "$defs": {
            "person": {"type": "object", "properties": {"name": {"type": "string", "pattern": "^[A-Z]"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/person"}}},
                "required": ["name"], "additionalProperties": false}}});
        let mut family = json!({"name": "Z"});
        for _ in 0..60 {
            family = json!({"name": "A", "children": [family, {"name": "B"}]});
        }
        assert_eq!(check(&family, &person), Ok(()));
        assert!(check(&json!({"name": "a"}), &person).is_err());
        assert!(check(&json!({"name": "A", "children": [{"name": "B", "age": 5}]}), &person).is_err());
        let long = json!({"type": "array", "items": {"type": "integer", "minimum": 0}});
        assert_eq!(check(&(0..100_000).collect(), &long), Ok(()));
        assert!(check(&json!(["x"]), &long).is_err());
        let chosen = json!({"anyOf": [{"enum": ["a", "b"]}, {"type": "object", "unevaluatedProperties": false}]});
        assert!(check(&json!("c"), &chosen).is_err());
    }

    #[test]
    fn a_chain_of_references_overflows_no_stack() {
        // As large as the stack of a worker, and a fourth of that for what is used.
        let on_a_stack = |size: usize, test: fn()| {
            let thread = std::thread::Builder::new().stack_size(size).spawn(test).unwrap();
            thread.join().unwrap();
        };
        on_a_stack(2 << 20, || {
            assert_eq!(check(&json!(5), &chain(20_000, |next| next)), Ok(()));
            assert_eq!(check(&json!(5), &chain(20_000, |next| json!({"properties": {"a": next}}))), Ok(()));
        });
        on_a_stack(512 << 10, || {
            assert!(check(&json!(5), &chain(150, |next| next)).is_err());
            let nested = chain(60, |next| (0..25).fold(next, |inner, _| json!({"allOf": [inner]})));
            check(&json!(5), &nested).unwrap_or_default();
            let deep = (0..120).fold(json!(5), |inner, _| json!([inner]));
            check(&deep, &json!({"allOf": [{"items": {"$ref": "#"}}]})).unwrap();
        });
    }

    #[test]
    fn what_would_take_for_ever_is_not_begun() {
        let doubled = |next: Value| json!({"anyOf": [next, next]});
        assert!(check(&json!(5), &chain(10, doubled)).is_err());
        assert_eq!(check(&json!(5), &chain(100, doubled)), Ok(()));
        let below = |next: Value| json!({"properties": {"a": {"anyOf": [next, next]}}});
        let deep = (0..90).fold(json!(5), |inner, _| json!({"a": inner}));
        assert_eq!(check(&deep, &chain(90, below)), Ok(()));
        // Within a schema with an address of its own, the same reference is another one.
        let hidden = json!({"allOf": [{"$id": "https://example.com/", "$ref": "#/x"}], "x": false});
        assert_eq!(check(&json!(5), &hidden), Ok(()));
        let unevaluated = (0..50).fold(
            json!({"unevaluatedProperties": true}),
            |inner, _| json!({"allOf": [inner], "unevaluatedProperties": true}),
        );
        assert_eq!(check(&json!({"a": 1}), &unevaluated), Ok(()));
        let patterns = vec![json!({"pattern": "(a{1000}){1000}"}); MAX_PATTERNS + 1];
        assert_eq!(check(&json!("b"), &json!({"anyOf": patterns})), Ok(()));
        let explained = check(&json!("x".repeat(10_000)), &json!({"type": "integer"})).unwrap_err();
        assert!(explained.chars().count() <= SHOWN);
    }
}
