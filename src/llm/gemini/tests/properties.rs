use serde_json::{Value, json};

use super::*;
use crate::llm::playback;

/// Calls `with` with copies of `value`, in each of which one node is replaced by one of `odd` or has one member more.
fn each_change(value: &Value, odd: &[Value], with: &mut dyn FnMut(&str, Value)) {
    fn places(value: &Value, at: &str, out: &mut Vec<String>) {
        out.push(at.to_owned());
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| {
                places(value, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), out);
            }),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, item)| places(item, &format!("{at}/{i}"), out));
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    places(value, "", &mut all);
    for place in all {
        for odd in odd {
            let mut changed = value.clone();
            *changed.pointer_mut(&place).unwrap() = odd.clone();
            with(&place, changed);
        }
        let mut changed = value.clone();
        if let Some(Value::Object(members)) = changed.pointer_mut(&place) {
            members.insert("added".into(), json!({"x": 1}));
            with(&format!("{place}/added"), changed);
        }
    }
}

fn odd() -> Vec<Value> {
    vec![
        json!(null),
        json!("changed"),
        json!(-3),
        json!(2.5),
        json!(12345678901u64),
        json!(true),
        json!([]),
        json!({}),
        json!([{"text": "x"}]),
        json!({"x": [null]}),
    ]
}

#[test]
fn requests_that_differ_are_read_as_different_ones() {
    let unseen = ["/labels", "/serviceTier", "/store"];
    for body in golden_inputs("request.json") {
        let original = FORMAT.read_request(body.clone()).unwrap();
        each_change(&body, &odd(), &mut |place, changed| {
            let Ok(read) = FORMAT.read_request(changed.clone()) else { return };
            if read != original {
                return;
            }
            // Spellings of the same: what isn't said, and words whose case doesn't matter.
            let says_nothing = |value: &Value| value.is_null() || *value == json!([]) || *value == json!({});
            let before = body.pointer(place).cloned().unwrap_or_default();
            let after = changed.pointer(place).cloned().unwrap_or_default();
            let is_same = before == after || before.as_f64().is_some_and(|before| after.as_f64() == Some(before));
            let is_default = says_nothing(&after) && !place.ends_with("/text");
            assert!(is_same || is_default || unseen.iter().any(|it| place.starts_with(it)), "{place}: {after}\n{body}");
        });
    }
}

#[test]
fn nothing_panics_and_the_same_format_gives_the_same_meaning() {
    let models = [OLD, NEW];
    for body in golden_inputs("request.json") {
        each_change(&body, &odd(), &mut |place, changed| {
            let Ok(read) = FORMAT.read_request(changed) else { return };
            for model in models {
                let Ok(written) = FORMAT.write_request(&read, model) else { continue };
                // Results without a call move.
                if place.ends_with("/name") || place.ends_with("/id") {
                    continue;
                }
                let again = FORMAT.read_request(written.clone()).unwrap();
                assert_eq!(FORMAT.write_request(&again, model).as_ref(), Ok(&written), "{place}");
            }
        });
    }
    for body in golden_inputs("reply.json") {
        each_change(&body, &odd(), &mut |place, changed| {
            let _ = (FORMAT.terminal(&event(&changed)), streamed(std::slice::from_ref(&changed)));
            let Ok(read) = FORMAT.read_reply(changed) else { return };
            let written = FORMAT.write_reply(&read, &Frame::default());
            let again = FORMAT.read_reply(written.clone()).unwrap();
            assert_eq!(FORMAT.write_reply(&again, &Frame::default()), written, "{place}");
            through_a_stream(&playback(&read));
        });
    }
    for told in golden_inputs("error.json") {
        each_change(&told["body"], &odd(), &mut |_, changed| {
            let read = FORMAT.read_error(400, &|_| None, changed.to_string().as_bytes());
            let _ = FORMAT.write_error(&read);
        });
    }
}
