//! What OpenAI's APIs have in common, and those who offer either.

use serde_json::{Map, Value, json};

use super::ProviderError;
use super::chat::{Delivery, Sampling, ToolChoice};
use super::error::{CONTEXT_TOO_LONG, Unsupported};
use super::members::{Members, is_blank};

/// Members that no model sees and that both APIs have.
pub(super) const UNSEEN: [&str; 4] =
    ["service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"];
/// How OpenAI, vLLM, Mistral, DeepSeek, OpenRouter and others say that a conversation is too long.
const TOO_LONG_WORDS: [&str; 6] = [
    "maximum context length",
    "context window",
    "context length",
    "prompt is too long",
    "input is too long",
    "too large for model with",
];
/// The status of an error in a stream that doesn't tell one.
pub(super) const IN_STREAM: u16 = 502;

/// How an answer is sampled, but for its limit, which each API calls by another name. A seed that is no whole number stays
/// where it is.
pub(super) fn sampling(members: &mut Members<'_>, max_tokens: Option<u64>) -> Result<Sampling, Unsupported> {
    let stop = match members.take("stop") {
        None => Vec::new(),
        Some(Value::String(one)) => vec![one],
        Some(several) => {
            members.put_back("stop", several);
            members.texts("stop")?
        }
    };
    let seed = members.get("seed").and_then(Value::as_i64);
    if seed.is_some() {
        members.take("seed");
    }
    Ok(Sampling {
        max_tokens,
        temperature: members.number("temperature")?,
        top_p: members.number("top_p")?,
        top_k: members.integer("top_k")?,
        stop,
        seed,
        frequency_penalty: members.number("frequency_penalty")?,
        presence_penalty: members.number("presence_penalty")?,
    })
}

/// How chat completions and the older completions ask for their answer to be delivered. What else `stream_options` say stays
/// in `unseen`.
pub(super) fn delivery(members: &mut Members<'_>, unseen: &mut Map<String, Value>) -> Result<Delivery, Unsupported> {
    let is_stream = members.flag("stream")? == Some(true);
    let mut options = members.take("stream_options").unwrap_or_default();
    let wants_usage = options["include_usage"] == true;
    if let Value::Object(rest) = &mut options {
        rest.shift_remove("include_usage");
        if !rest.is_empty() {
            unseen.insert("stream_options".into(), options);
        }
    }
    Ok(match (is_stream, wants_usage) {
        (false, _) => Delivery::Whole,
        (true, false) => Delivery::Stream,
        (true, true) => Delivery::StreamWithUsage,
    })
}

/// A choice of tools, where `function` names one and `allowed` says in which mode some may be called; none where it says the
/// same as nothing.
pub(super) fn tool_choice(
    choice: &ToolChoice,
    function: fn(&String) -> Value,
    allowed: fn(&str, Vec<Value>) -> Value,
) -> Option<Value> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some("none".into()),
        ToolChoice::Required => Some("required".into()),
        ToolChoice::Named(name) => Some(function(name)),
        ToolChoice::Allowed { names, required } => {
            let mode = if *required { "required" } else { "auto" };
            Some(allowed(mode, names.iter().map(function).collect()))
        }
        ToolChoice::Foreign(_, whole) => Some(whole.clone()),
    }
}

/// A number that stands for the id of a call: FNV-1a, 64 bits.
pub(super) fn hash(id: &str) -> u64 {
    id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// An id of exactly so many letters and digits, and the same one for the same `id`: `id` itself where it is one.
pub(super) fn exact_id(id: &str, length: usize) -> String {
    if id.len() == length && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return id.to_owned();
    }
    let mut rest = hash(id);
    let digits = std::iter::repeat_with(|| {
        let digit = u32::try_from(rest % 36).ok().and_then(|digit| char::from_digit(digit, 36));
        rest /= 36;
        digit.unwrap_or('0')
    });
    digits.take(length).collect()
}

/// Whether `error` is one. Some providers write `"error": null` into every reply.
pub(super) fn is_told(error: &Value) -> bool {
    !is_blank(error) && *error != false
}

/// Reads the body of a refusal.
pub(super) fn read_error(status: u16, body: &[u8]) -> ProviderError {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    // Google's endpoint puts it into a list.
    let parsed = parsed.get(0).unwrap_or(&parsed);
    let error = if is_told(&parsed["error"]) { &parsed["error"] } else { parsed };
    of_object(status, error).unwrap_or_else(|| ProviderError::unreadable(status, body))
}

/// Reads an error that a stream, or a reply with the status 200, tells.
pub(super) fn error_in_stream(error: &Value) -> ProviderError {
    let status = status_in(error).unwrap_or(IN_STREAM);
    of_object(status, error).unwrap_or_else(|| ProviderError::new(status, "the provider doesn't say why"))
}

/// The status that an error object has, if it has one.
pub(super) fn status_in(error: &Value) -> Option<u16> {
    let told = ["status", "status_code", "code"].iter().find_map(|name| {
        let status = &error[name];
        status.as_u64().or_else(|| status.as_str()?.parse().ok()).and_then(|status| u16::try_from(status).ok())
    });
    told.filter(|status| (400..600).contains(status))
}

/// Reads an error object, or what stands in its place: a text, or what FastAPI and its like say.
fn of_object(status: u16, error: &Value) -> Option<ProviderError> {
    let detail = &error["detail"];
    let texts = [&error["message"], error, detail, &detail[0]["msg"], &error["error_description"], &error["title"]];
    let message = texts.iter().find_map(|text| text.as_str().map(str::trim).filter(|text| !text.is_empty()))?;
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let lower = message.to_lowercase();
    let is_too_long = matches!(status, 400 | 413 | 422) && TOO_LONG_WORDS.iter().any(|words| lower.contains(words));
    // A number only repeats the status.
    let code = text(&error["code"]).filter(|code| code.parse::<u16>().is_err());
    let code = if is_too_long { Some(CONTEXT_TOO_LONG.to_owned()) } else { code };
    Some(ProviderError { code, param: text(&error["param"]), ..ProviderError::new(status, message) })
}

/// Writes an error. `of_server` is the code of those that are the server's.
pub(super) fn write_error(error: &ProviderError, of_server: Option<&str>) -> Value {
    let (kind, usual_code) = match error.status {
        401 => ("authentication_error", Some("invalid_api_key")),
        403 => ("permission_error", None),
        404 => ("not_found_error", None),
        408 | 424 | 500.. => ("server_error", of_server),
        429 => ("rate_limit_error", Some("rate_limit_exceeded")),
        _ => ("invalid_request_error", None),
    };
    let code = error.code.as_deref().or(usual_code);
    json!({"error": {"message": error.message, "type": kind, "param": error.param, "code": code}})
}
