//! JSON bodies of any kind: parsed, and patched.

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::llm::raw::{self, RawMembers};
use crate::llm::{Document, without_lone_surrogates};

/// What `bytes` say as JSON, where they do, with whole characters in place of halves.
pub(crate) fn parse(bytes: &[u8]) -> Option<Document> {
    let parsed = Document::parse(bytes);
    if let Ok(document) = &parsed {
        let again = again(&document.value.to_string());
        assert!(again.is_some_and(|again| again == document.value), "what was parsed is written as another value");
    }
    if let Ok(document) = parsed {
        return Some(document);
    }
    let repaired = without_lone_surrogates(std::str::from_utf8(bytes).ok()?)?;
    assert_eq!(without_lone_surrogates(&repaired), None, "half a character is left");
    Document::parse(repaired.as_bytes()).ok()
}

/// What was written, read again. None where it is deeper than is read: arguments of calls are JSON in a text in some formats,
/// and in others they stand within the body.
pub(crate) fn again(written: &str) -> Option<Value> {
    serde_json::from_str::<IgnoredAny>(written).expect("what is written is JSON");
    Document::parse(written.as_bytes()).ok().map(|document| document.value)
}

/// Patches a body as the router does: it stays JSON, and only what is patched changes.
pub(crate) fn patch(bytes: &[u8]) {
    let Some(members) = RawMembers::parse(bytes) else {
        assert_eq!(raw::with_model(bytes, "m"), None);
        assert_eq!(raw::without(bytes, "model"), None);
        return;
    };
    let names: Vec<String> = match Document::parse(bytes) {
        Ok(Document { value: Value::Object(members), .. }) => members.into_iter().map(|(name, _)| name).collect(),
        // Values that only others can read, such as deep ones, are members all the same.
        _ => vec!["messages".into()],
    };
    let is_same = |patched: &[u8], except: &str| {
        serde_json::from_slice::<IgnoredAny>(patched).expect("a patched body is JSON");
        let patched = RawMembers::parse(patched).expect("a patched body is an object");
        for name in names.iter().filter(|name| *name != except) {
            assert_eq!(patched.get(name), members.get(name), "{name}");
        }
    };
    is_same(&members.write(), "");
    if let Some(patched) = raw::with_model(bytes, "a \"model\"") {
        is_same(&patched, "model");
        assert_eq!(RawMembers::parse(&patched).unwrap().get("model"), Some("\"a \\\"model\\\"\""));
    }
    if let Some(patched) = raw::without(bytes, "cache") {
        is_same(&patched, "cache");
        assert_eq!(RawMembers::parse(&patched).unwrap().get("cache"), None);
    }
}
