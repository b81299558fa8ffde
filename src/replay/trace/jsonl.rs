//! Requests as lines, one JSON object each.

use std::io::BufRead;
use std::time::UNIX_EPOCH;

use serde::Deserialize;
use serde_json::Value;

use super::{Found, Reading, Request, Trace};

/// The member that has a prompt's vector.
pub(super) const EMBEDDING: &str = "embedding";

/// In UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A line's members. What may be of several types is a [`Value`].
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    prompt: Option<String>,
    group: Option<Value>,
    response: Option<Value>,
    messages: Option<Vec<Value>>,
    model: Option<String>,
    cache: Option<String>,
    at: Option<Value>,
    embedding: Option<Vec<f32>>,
}

/// Reads lines, `most` requests of them.
pub(super) fn read(lines: impl BufRead, most: usize) -> std::io::Result<Trace> {
    let mut reading = Reading::new(most);
    for (number, line) in (1..).zip(lines.split(b'\n')) {
        let line = line?;
        // Windows' editors begin a file with it.
        let line = line.strip_prefix(BYTE_ORDER_MARK).filter(|_| number == 1).unwrap_or(&line);
        if line.trim_ascii().is_empty() {
            continue;
        }
        if reading.wanted() == 0 {
            break;
        }
        reading.take(number, found(line));
    }
    Ok(reading.trace)
}

fn found(line: &[u8]) -> Result<Found, String> {
    // A list would do for a struct.
    if line.trim_ascii_start().first() != Some(&b'{') {
        return Err("it is no JSON object".into());
    }
    let mut text = serde_json::Deserializer::from_slice(line);
    let line: Line = serde_path_to_error::deserialize(&mut text).map_err(|error| match error.path().iter().next() {
        Some(_) => format!("{}: {}", error.path(), error.inner()),
        None => error.inner().to_string(),
    })?;
    text.end().map_err(|error| error.to_string())?;
    let Line { prompt, group, response, messages, model, cache, at, embedding } = line;
    let group = match group {
        None => None,
        Some(Value::String(text)) => Some(text),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(_) => return Err("its group is neither a string nor a number".into()),
    };
    let response = response.map(|response| match response {
        Value::String(text) => text,
        json => json.to_string(),
    });
    let prompt = prompt.or_else(|| last_user_text(messages.as_deref()?));
    let messages = messages.map(Value::Array);
    let at = at
        .map(|at| millis(&at).ok_or("its `at` is neither milliseconds since 1970 nor an RFC 3339 time"))
        .transpose()?;
    Ok(Found { prompt, group, rest: Request { response, messages, model, cache, at, embedding, ..Request::default() } })
}

/// The text of the last user message, all its parts together.
fn last_user_text(messages: &[Value]) -> Option<String> {
    let member = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let last = messages.iter().rfind(|message| member(message, "role").as_deref() == Some("user"))?;
    match last.get("content")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let texts = parts.iter().filter(|part| member(part, "type").as_deref() == Some("text"));
            texts.map(|part| member(part, "text")).collect()
        }
        _ => None,
    }
}

/// Milliseconds since 1970.
fn millis(at: &Value) -> Option<u64> {
    match at {
        Value::Number(number) => number.as_u64().or_else(|| {
            let fraction = number.as_f64().filter(|millis| (0.0..u64::MAX as f64).contains(millis))?;
            Some(fraction as u64)
        }),
        Value::String(text) => rfc3339_millis(text),
        _ => None,
    }
}

/// `humantime` knows no offset but 0.
fn rfc3339_millis(text: &str) -> Option<u64> {
    const OFFSET: usize = "+00:00".len();
    let text = text.to_ascii_uppercase();
    let (local, east) = match text.strip_suffix('Z') {
        Some(local) => (local, 0),
        None => {
            let (local, offset) = text.split_at_checked(text.len().checked_sub(OFFSET)?)?;
            let &[sign @ (b'+' | b'-'), h, hh, b':', m, mm] = offset.as_bytes() else { return None };
            let (hours, minutes) = (two_digits(h, hh)?, two_digits(m, mm)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let east = (hours * 60 + minutes) * 60_000;
            (local, if sign == b'+' { east } else { -east })
        }
    };
    let local = humantime::parse_rfc3339_weak(&format!("{local}Z")).ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(local.as_millis()).ok()?.checked_sub_signed(east)
}

fn two_digits(tens: u8, ones: u8) -> Option<i64> {
    let digit = |byte: u8| char::from(byte).to_digit(10).map(i64::from);
    Some(digit(tens)? * 10 + digit(ones)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn one(line: &Value) -> Result<Request, String> {
        let mut trace = read(line.to_string().as_bytes(), usize::MAX).unwrap();
        trace.requests.pop().ok_or_else(|| trace.broken.remove(0).1)
    }

    #[test]
    fn broken_lines_are_numbered_and_the_others_read() {
        let lines = [
            &br#"{"prompt": "a", "group": "g", "at": 5}"#[..],
            b"",
            b"{",
            br#"{"prompt": "b"}"#,
            br#"{"prompt": "", "group": "g"}"#,
            b"\xff",
            br#"{"prompt": "c", "group": "h", "embedding": [0, 1]}"#,
            br#"{"group": "g"}"#,
            br#"["d", "g"]"#,
            br#"{"prompt": 1, "group": "g"}"#,
            br#"{"prompt": "d", "group": ["g"]}"#,
            br#"{"prompt": "d", "group": "g", "at": "noon"}"#,
            br#"{"prompt": "d", "group": "g", "messages": {}}"#,
            br#"{"prompt": "d", "group": "g", "model": 4}"#,
            br#"{"prompt": "d", "response": ""}"#,
            br#"{"prompt": "d", "group": "g", "embedding": [1, 2, 3]}"#,
            br#"{"prompt": "d", "group": "g", "embedding": [1e99, 0]}"#,
            br#"{"prompt": "d", "group": "g", "embedding": [0, 0.0]}"#,
            br#"{"prompt": "d", "group": "g", "embedding": [0, null]}"#,
            br#"{"prompt": "d", "group": "g"} more"#,
            br#"{"prompt": "e", "group": "h", "embedding": [1, 0]}"#,
        ];
        let text = lines.join(&b'\n');
        let trace = read(&text[..], usize::MAX).unwrap();
        let prompts: Vec<&str> = trace.requests.iter().map(|request| request.prompt.as_str()).collect();
        let broken: Vec<u64> = trace.broken.iter().map(|(number, _)| *number).collect();
        let numbers: Vec<u64> = (3..7).chain(8..21).collect();
        assert_eq!((prompts.as_slice(), &broken, trace.skipped), (&["a", "c", "e"][..], &numbers, 17));
        let why = |line: u64| trace.broken.iter().find(|(number, _)| *number == line).unwrap().1.as_str();
        assert_eq!(why(4), "it has neither a group nor a response");
        assert_eq!(why(5), "its prompt is empty");
        assert_eq!(why(8), "it has no prompt");
        assert_eq!(why(9), "it is no JSON object");
        assert_eq!(why(10), "prompt: invalid type: integer `1`, expected a string at line 1 column 12");
        assert_eq!(why(11), "its group is neither a string nor a number");
        assert_eq!(why(12), "its `at` is neither milliseconds since 1970 nor an RFC 3339 time");
        assert_eq!(why(15), "it has no group, and its response is empty");
        assert_eq!(why(16), "its embedding has 3 dimensions, the first one has 2");
        assert_eq!(why(17), "embedding[0]: number out of range at line 1 column 48");
        assert_eq!(why(18), "its embedding is all zeros");
        assert!(why(19).starts_with("embedding[1]: invalid type: null"), "{}", why(19));
        assert_eq!(read(&text[..], 1).unwrap().requests.len(), 1);
        let bad = b"{\n".repeat(30);
        let trace = read(&bad[..], usize::MAX).unwrap();
        assert_eq!((trace.broken.len(), trace.skipped), (20, 30));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        let text = b"\xEF\xBB\xBF{\"prompt\": \"a\", \"group\": 1}\n\xEF\xBB\xBF{\"prompt\": \"b\", \"group\": 1}\n";
        let trace = read(&text[..], usize::MAX).unwrap();
        assert_eq!((trace.requests.len(), trace.requests[0].prompt.as_str(), trace.skipped), (1, "a", 1));
    }

    #[test]
    fn a_line_has_all_that_a_request_has() {
        let messages = json!([{"role": "user", "content": "a"}]);
        let line = json!({
            "prompt": "a", "group": 7, "response": {"b": 1}, "messages": messages, "model": "m", "cache": "c",
            "at": 1.5e12, "embedding": [1, 0.5], "other": {},
        });
        let request = Request {
            prompt: "a".into(),
            group: "7".into(),
            response: Some("{\"b\":1}".into()),
            messages: Some(messages),
            model: Some("m".into()),
            cache: Some("c".into()),
            at: Some(1_500_000_000_000),
            embedding: Some(vec![1.0, 0.5]),
        };
        assert_eq!(one(&line), Ok(request));
        let nothing =
            json!({"prompt": "a", "group": "g", "response": null, "messages": null, "at": null, "embedding": null});
        assert_eq!(one(&nothing), Ok(Request { prompt: "a".into(), group: "g".into(), ..Request::default() }));
    }

    #[test]
    fn an_export_is_a_trace() {
        let line = json!({
            "tenant": "t", "cache": "c", "fingerprint": "00", "prompt": "a", "response": "yes",
            "attributes": {"a": "b"}, "created": 5, "expires": 6, "costMillis": 7, "uses": 8, "semantic": true,
            "vector": {"model": "m", "blurred": false, "components": "AAAA"},
        });
        let [prompt, yes, cache] = ["a", "yes", "c"].map(str::to_owned);
        let request =
            Request { prompt, group: yes.clone(), response: Some(yes), cache: Some(cache), ..Request::default() };
        assert_eq!(one(&line), Ok(request));
    }

    #[test]
    fn the_last_user_message_is_the_prompt() {
        let prompt = |messages: Value| one(&json!({"messages": messages, "group": 1})).map(|request| request.prompt);
        let content = json!([{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]);
        let messages = json!([
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "answer"},
            {"role": "user", "content": content},
            {"role": "assistant", "content": "answer"},
        ]);
        assert_eq!(prompt(messages).as_deref(), Ok("ab"));
        assert_eq!(prompt(json!([{"role": "user", "content": "a"}])).as_deref(), Ok("a"));
        for none in [json!([]), json!([5, {}]), json!([{"role": "user"}]), json!([{"role": "system", "content": "a"}])]
        {
            assert_eq!(prompt(none).unwrap_err(), "it has no prompt");
        }
        let both = json!({"prompt": "mine", "messages": [{"role": "user", "content": "a"}], "group": 1});
        assert_eq!(one(&both).unwrap().prompt, "mine");
    }

    #[test]
    fn times_are_milliseconds_or_rfc_3339() {
        let at = |at: Value| millis(&at);
        assert_eq!(at(json!(1_700_000_000_123_u64)), Some(1_700_000_000_123));
        assert_eq!(at(json!(1.25)), Some(1));
        for noon in [
            "2023-11-14T22:13:20.123Z",
            "2023-11-14t22:13:20.123456z",
            "2023-11-14 22:13:20.123+00:00",
            "2023-11-15T03:43:20.123+05:30",
            "2023-11-14T14:13:20.123-08:00",
        ] {
            assert_eq!(at(json!(noon)), Some(1_700_000_000_123), "{noon}");
        }
        for none in [json!(-1), json!(1e30), json!(true), json!("2023-11-14"), json!("2023-11-14T22:13:20")] {
            assert_eq!(at(none.clone()), None, "{none}");
        }
        for none in ["2023-11-14T22:13:20+24:00", "2023-11-14T22:13:20+0000", "1970-01-01T00:00:00+01:00", "ü+00:00"] {
            assert_eq!(at(json!(none)), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            read(&bytes[..], usize::MAX).unwrap();
        }

        #[test]
        fn no_member_makes_the_reader_panic(name in "prompt|group|messages|at|embedding", text in "\\PC{0,30}") {
            let line = format!("{{\"prompt\": \"a\", \"{name}\": {text}}}\n{{\"{name}\": {}}}", json!(text));
            let trace = read(line.as_bytes(), usize::MAX).unwrap();
            prop_assert_eq!(trace.requests.len() as u64 + trace.skipped, 2);
        }

        #[test]
        fn no_text_makes_the_time_panic(text in "[0-9TZtz:+. é-]{0,30}") {
            rfc3339_millis(&text);
        }
    }
}
