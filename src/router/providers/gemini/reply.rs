//! What a `GenerateContentResponse` says. A whole reply is one, and so is each event of a stream.

use serde_json::{Value, json};

use super::Malformed;

/// Members of a part that tell about it and aren't content themselves.
const ABOUT: [&str; 5] = ["thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"];
/// Why a model that has failed stopped. These aren't answers that were cut or filtered; asking again may well succeed.
const FAILURES: [&str; 5] = [
    "MALFORMED_FUNCTION_CALL",
    "MALFORMED_RESPONSE",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
];
/// How much of Google's id goes into an id of a call, so that the whole has at most the 40 characters that OpenAI takes.
const ID_PART: usize = 24;

/// A part of an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'r> {
    Text(&'r str),
    /// Thoughts, or rather a summary of them.
    Thought(&'r str),
    Call(Call<'r>),
}

/// A call of a function.
#[derive(Debug, PartialEq)]
pub(super) struct Call<'r> {
    id: Option<&'r str>,
    name: &'r str,
    arguments: String,
    signature: Option<&'r str>,
}

impl Call<'_> {
    /// OpenAI's tool call, the `index`th of the reply `reply`.
    pub(super) fn tool_call(&self, reply: &str, index: usize) -> Value {
        let id = self.id.map_or_else(|| call_id(reply, index), str::to_owned);
        let mut call =
            json!({"id": id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}});
        if let (Some(signature), Value::Object(call)) = (self.signature, &mut call) {
            // This is where Google's own OpenAI-compatible API has it, so clients that know it send it back.
            call.insert("extra_content".into(), json!({"google": {"thought_signature": signature}}));
        }
        call
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    Stop,
    Length,
    Filtered,
    /// The model failed; what is said of it.
    Failed(String),
}

impl Ending {
    /// OpenAI's word for it; a failure has none.
    pub(super) fn finish_reason(&self, has_calls: bool) -> &'static str {
        match self {
            Self::Stop if has_calls => "tool_calls",
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Filtered | Self::Failed(_) => "content_filter",
        }
    }
}

/// The id of a reply, and what its calls are named after; made of the time where Google gives none.
pub(super) fn id(reply: &Value, created: u64) -> String {
    match reply["responseId"].as_str() {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => created.to_string(),
    }
}

fn call_id(reply: &str, index: usize) -> String {
    let part: String =
        reply.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(ID_PART).collect();
    format!("call_{part}_{index}")
}

/// The one answer of a reply, if it has any.
pub(super) fn candidate(reply: &Value) -> Result<Option<&Value>, Malformed> {
    if !reply.is_object() {
        return Err(Malformed("it is no object".into()));
    }
    match &reply["candidates"] {
        Value::Null => Ok(None),
        Value::Array(candidates) => {
            if candidates.iter().any(|candidate| !candidate.is_object()) {
                return Err(Malformed("a candidate is no object".into()));
            }
            Ok(candidates.iter().find(|candidate| candidate["index"].as_u64().unwrap_or(0) == 0))
        }
        _ => Err(Malformed("its candidates are no list".into())),
    }
}

/// What an answer consists of, in order.
pub(super) fn pieces(candidate: &Value) -> Result<Vec<Piece<'_>>, Malformed> {
    let parts = match &candidate["content"] {
        Value::Null => return Ok(Vec::new()),
        Value::Object(content) => content.get("parts").unwrap_or(&Value::Null),
        _ => return Err(Malformed("a content is no object".into())),
    };
    let parts = match parts {
        Value::Null => return Ok(Vec::new()),
        Value::Array(parts) => parts,
        _ => return Err(Malformed("the parts of a content are no list".into())),
    };
    parts.iter().filter_map(|part| piece(part).transpose()).collect()
}

fn piece(part: &Value) -> Result<Option<Piece<'_>>, Malformed> {
    let members = part.as_object().ok_or_else(|| Malformed("a part is no object".into()))?;
    let mut content = members.iter().filter(|(name, value)| !value.is_null() && !ABOUT.contains(&name.as_str()));
    // A part without content brings a signature, as the last one of a stream does.
    let Some((name, value)) = content.next() else { return Ok(None) };
    if let Some((other, _)) = content.next() {
        return Err(Malformed(format!("a part is both `{name}` and `{other}`")));
    }
    match (name.as_str(), value) {
        ("text", Value::String(text)) if text.is_empty() => Ok(None),
        ("text", Value::String(text)) if part["thought"] == true => Ok(Some(Piece::Thought(text))),
        ("text", Value::String(text)) => Ok(Some(Piece::Text(text))),
        ("functionCall", call) => {
            let known = |name: &&String| !["id", "name", "args"].contains(&name.as_str());
            if let Some(other) = call.as_object().and_then(|call| call.keys().find(known)) {
                return Err(Malformed(format!("a call has `{other}`")));
            }
            let name = call["name"].as_str().filter(|name| !name.is_empty());
            let arguments = match &call["args"] {
                Value::Null => "{}".to_owned(),
                arguments @ Value::Object(_) => arguments.to_string(),
                _ => return Err(Malformed("the arguments of a call are no object".into())),
            };
            Ok(Some(Piece::Call(Call {
                id: call["id"].as_str().filter(|id| !id.is_empty()),
                name: name.ok_or_else(|| Malformed("a call names no function".into()))?,
                arguments,
                signature: part["thoughtSignature"].as_str().filter(|signature| !signature.is_empty()),
            })))
        }
        // Half an answer that looks whole would be worse than none.
        (other, _) => Err(Malformed(format!("a part of type `{other}` has no counterpart"))),
    }
}

/// Why the answer ended, if it has: `candidate` is the one of `reply`.
pub(super) fn ending(reply: &Value, candidate: Option<&Value>) -> Option<Ending> {
    let Some(candidate) = candidate else {
        return reply["promptFeedback"]["blockReason"].as_str().map(|_| Ending::Filtered);
    };
    let reason = candidate["finishReason"].as_str()?;
    Some(match reason {
        // Servers that imitate Google say the second.
        "STOP" | "FUNCTION_CALL" => Ending::Stop,
        "MAX_TOKENS" => Ending::Length,
        _ if FAILURES.contains(&reason) => Ending::Failed(match candidate["finishMessage"].as_str() {
            Some(message) => format!("{reason}: {message}"),
            None => reason.to_owned(),
        }),
        // SAFETY, RECITATION, BLOCKLIST, PROHIBITED_CONTENT, SPII, those of images, and whatever comes new: the answer
        // isn't whole, and of OpenAI's words this one says so.
        _ => Ending::Filtered,
    })
}

/// OpenAI's usage, if the reply tells it.
pub(super) fn usage(reply: &Value) -> Option<Value> {
    let usage = reply["usageMetadata"].as_object()?;
    let count = |name: &str| usage.get(name).and_then(Value::as_u64);
    let sum = |names: [&str; 2]| names.iter().filter_map(|name| count(name)).fold(0, u64::saturating_add);
    let prompt = sum(["promptTokenCount", "toolUsePromptTokenCount"]);
    let completion = sum(["candidatesTokenCount", "thoughtsTokenCount"]);
    Some(json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": count("totalTokenCount").unwrap_or_else(|| prompt.saturating_add(completion)),
        "prompt_tokens_details": {"cached_tokens": count("cachedContentTokenCount").unwrap_or(0)},
        "completion_tokens_details": {"reasoning_tokens": count("thoughtsTokenCount").unwrap_or(0)},
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces_of(parts: Value) -> Result<usize, Malformed> {
        pieces(&json!({"content": {"parts": parts}})).map(|pieces| pieces.len())
    }

    #[test]
    fn pieces_come_in_order() {
        let candidate = json!({"content": {"role": "model", "parts": [
            {"text": "hm", "thought": true}, {"text": "a", "thoughtSignature": "x"}, {"text": ""}, {"thoughtSignature": "y"}, {},
            {"functionCall": {"name": "f", "args": {"b": 1.0}}, "thoughtSignature": "z"}, {"text": "c", "thought": false}]}});
        let call = Call { id: None, name: "f", arguments: "{\"b\":1.0}".into(), signature: Some("z") };
        assert_eq!(
            pieces(&candidate).unwrap(),
            [Piece::Thought("hm"), Piece::Text("a"), Piece::Call(call), Piece::Text("c")]
        );
    }

    #[test]
    fn an_answer_may_be_empty() {
        for candidate in
            [json!({}), json!({"content": null}), json!({"content": {}}), json!({"content": {"parts": null}})]
        {
            assert_eq!(pieces(&candidate), Ok(Vec::new()), "{candidate}");
        }
        assert_eq!(pieces_of(json!([])), Ok(0));
    }

    #[test]
    fn parts_that_are_not_understood_are_no_answer() {
        for part in [
            json!({"inlineData": {"mimeType": "image/png", "data": "AA=="}}),
            json!({"executableCode": {"code": "1"}}),
            json!({"hologram": 1}),
            json!({"text": 5}),
            json!({"text": "a", "functionCall": {"name": "f"}}),
            json!({"functionCall": {"args": {}}}),
            json!({"functionCall": {"name": ""}}),
            json!({"functionCall": {"name": "f", "args": "{}"}}),
            json!({"functionCall": {"name": "f", "willContinue": true}}),
            json!({"functionCall": 5}),
            json!("text"),
            json!(null),
        ] {
            assert!(pieces_of(json!([part])).is_err(), "{part}");
        }
        assert!(pieces_of(json!({})).is_err());
        assert!(pieces(&json!({"content": "a"})).is_err());
        for reply in [json!([]), json!("x"), json!({"candidates": 5}), json!({"candidates": [5]})] {
            assert!(candidate(&reply).is_err(), "{reply}");
        }
    }

    #[test]
    fn the_first_candidate_counts() {
        let reply = json!({"candidates": [{"index": 1, "a": 1}, {"index": 0, "a": 2}]});
        assert_eq!(candidate(&reply).unwrap().unwrap()["a"], 2);
        assert_eq!(candidate(&json!({"candidates": [{"index": 1}]})), Ok(None));
        assert_eq!(candidate(&json!({"candidates": []})), Ok(None));
    }

    #[test]
    fn ids_of_calls_are_made_the_same_way_each_time() {
        let call = |id| Call { id, name: "f", arguments: "{}".into(), signature: None };
        assert_eq!(call(Some("abc")).tool_call("r", 0)["id"], "abc");
        assert_eq!(call(None).tool_call("aB-_1/+2", 3)["id"], "call_aB-_12_3");
        let long = call(None).tool_call(&"x".repeat(500), 99);
        assert!(long["id"].as_str().unwrap().len() <= 40);
        assert_eq!(id(&json!({"responseId": "r"}), 5), "r");
        assert_eq!(id(&json!({"responseId": ""}), 5), "5");
        assert_eq!(id(&json!({}), 5), "5");
    }

    #[test]
    fn endings() {
        let of = |reason: &str| ending(&Value::Null, Some(&json!({"finishReason": reason}))).unwrap();
        assert_eq!((of("STOP"), of("MAX_TOKENS")), (Ending::Stop, Ending::Length));
        for filtered in [
            "SAFETY",
            "RECITATION",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "LANGUAGE",
            "OTHER",
            "IMAGE_SAFETY",
            "MODEL_ARMOR",
            "SOMETHING_NEW",
        ] {
            assert_eq!(of(filtered), Ending::Filtered, "{filtered}");
        }
        for failure in FAILURES {
            assert_eq!(of(failure), Ending::Failed(failure.into()));
        }
        let told = json!({"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "bad"});
        assert_eq!(ending(&Value::Null, Some(&told)), Some(Ending::Failed("MALFORMED_FUNCTION_CALL: bad".into())));
        assert_eq!(ending(&Value::Null, Some(&json!({}))), None);
        assert_eq!(ending(&json!({"promptFeedback": {"blockReason": "SAFETY"}}), None), Some(Ending::Filtered));
        assert_eq!(ending(&json!({"promptFeedback": {}}), None), None);
    }

    #[test]
    fn usage_counts_thoughts_as_completion() {
        let reply = json!({"usageMetadata": {"promptTokenCount": 10, "toolUsePromptTokenCount": 2, "candidatesTokenCount": 5,
            "thoughtsTokenCount": 7, "cachedContentTokenCount": 4, "totalTokenCount": 24, "promptTokensDetails": []}});
        assert_eq!(
            usage(&reply),
            Some(json!({"prompt_tokens": 12, "completion_tokens": 12, "total_tokens": 24,
                "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 7}}))
        );
        let little = usage(&json!({"usageMetadata": {"promptTokenCount": 3}})).unwrap();
        assert_eq!((&little["completion_tokens"], &little["total_tokens"]), (&json!(0), &json!(3)));
        let most = json!({"usageMetadata": {"candidatesTokenCount": u64::MAX, "thoughtsTokenCount": u64::MAX}});
        assert_eq!(usage(&most).unwrap()["total_tokens"], u64::MAX);
        assert_eq!(usage(&json!({})), None);
        assert_eq!(usage(&json!({"usageMetadata": 5})), None);
    }
}
