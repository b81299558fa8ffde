//! What of a chat request is meaning, and what may be cached at all.

use super::fingerprint::{Fingerprint, MeaningHasher, Unclear};
use super::json::Json;
use super::{Question, Reach};

/// How an answer is delivered, and what is said to the cache itself: never part of the meaning.
const DELIVERY: [&str; 3] = ["stream", "stream_options", "cache"];

/// Where in the messages the last user text stands.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    message: usize,
    part: usize,
}

/// The question that a chat request asks. `ignored` names further top-level fields that don't matter; requests that differ
/// in anything of `apart`, such as a namespace, don't share answers.
///
/// What can't be cached *right* gets [`Reach::Bypass`]: the request is forwarded and its answer not kept. That includes
/// whatever this function doesn't understand, except unknown top-level fields, which are part of the fingerprint.
#[must_use]
pub fn chat_question(request: &Json, ignored: &[String], apart: &[Option<&str>]) -> Question {
    let messages = request.get("messages").and_then(Json::as_array).unwrap_or_default();
    let place = last_user_text(messages);
    let text = place.and_then(|place| parts(&messages[place.message]).nth(place.part)).and_then(text_of).unwrap_or("");
    let reach = match refusal(request, messages) {
        Some(why) => Reach::Bypass(why),
        None => match place {
            Some(place) if place.message + 1 == messages.len() => Reach::of_text(text),
            // After tool results, what is asked is in the results as much as in the text.
            _ => Reach::ExactOnly("the last message is not the user's"),
        },
    };
    let hashed = Fingerprint::of("chat", |hasher| {
        for part in apart {
            hasher.text(part.unwrap_or(""));
        }
        hash_request(hasher, request, messages, place, ignored)
    });
    match hashed {
        Ok(fingerprint) => Question { fingerprint, text: text.to_owned(), reach },
        Err(Unclear(why)) => {
            Question { fingerprint: Fingerprint::NONE, text: text.to_owned(), reach: Reach::Bypass(why) }
        }
    }
}

/// Why the answer to `request` can't be cached, if so.
fn refusal(request: &Json, messages: &[Json]) -> Option<&'static str> {
    if let Json::Unclear(why) = request {
        return Some(why);
    }
    if messages.is_empty() {
        return Some("there are no messages");
    }
    if request.get("n").is_some_and(|n| n.as_u64() != Some(1)) {
        return Some("n asks for several answers");
    }
    if request.get("logprobs").is_some_and(|on| on.as_bool() != Some(false)) || request.get("top_logprobs").is_some() {
        return Some("log probabilities are asked for");
    }
    if request.get("audio").is_some() {
        return Some("audio is asked for");
    }
    let only_text = |modalities: &Json| {
        modalities.as_array().is_some_and(|list| list.iter().all(|modality| modality.as_str() == Some("text")))
    };
    if request.get("modalities").is_some_and(|modalities| !only_text(modalities)) {
        return Some("an answer other than text is asked for");
    }
    if request.get("web_search_options").is_some() {
        return Some("a web search is asked for, whose result changes with time");
    }
    if request.get("store").is_some_and(|on| on.as_bool() != Some(false)) {
        return Some("the provider is asked to keep the answer");
    }
    let client_tool = |tool: &Json| tool.get("type").and_then(Json::as_str) == Some("function");
    if request.get("tools").is_some_and(|tools| !tools.as_array().is_some_and(|list| list.iter().all(client_tool))) {
        return Some("a tool runs at the provider");
    }
    messages.iter().find_map(|message| {
        if !matches!(message, Json::Object(_)) {
            return Some("a message is no object");
        }
        if message.get("audio").is_some() {
            return Some("a message refers to audio that the provider keeps");
        }
        match message.get("content") {
            None | Some(Json::String(_)) => None,
            Some(Json::Array(parts)) => parts.iter().find_map(part_refusal),
            Some(_) => Some("a message's content is neither text nor parts"),
        }
    })
}

/// Why a request with this content part can't be cached, if so.
fn part_refusal(part: &Json) -> Option<&'static str> {
    match part.get("type").and_then(Json::as_str) {
        Some("text") if part.get("text").and_then(Json::as_str).is_some() => None,
        Some("refusal" | "input_audio") => None,
        Some("image_url") => {
            let url = part.get("image_url").and_then(|image| image.get("url").unwrap_or(image).as_str());
            let inline = url.is_some_and(|url| url.starts_with("data:"));
            (!inline).then_some("an image is referred to by address, and may change")
        }
        Some("file") => {
            let inline = part.get("file").is_some_and(|file| {
                file.get("file_data").and_then(Json::as_str).is_some_and(|data| data.starts_with("data:"))
                    && file.get("file_id").is_none()
            });
            (!inline).then_some("a file is referred to by name, and may change")
        }
        _ => Some("a message has a part of unknown type"),
    }
}

/// A message's content parts; a plain string is one text part.
fn parts(message: &Json) -> impl Iterator<Item = &Json> {
    match message.get("content") {
        Some(Json::Array(parts)) => parts.as_slice(),
        Some(text @ Json::String(_)) => std::slice::from_ref(text),
        _ => &[],
    }
    .iter()
}

/// The text of a part, or of a content that is a plain string.
fn text_of(part: &Json) -> Option<&str> {
    match part {
        Json::String(text) => Some(text),
        _ if part.get("type").and_then(Json::as_str) == Some("text") => part.get("text").and_then(Json::as_str),
        _ => None,
    }
}

fn last_user_text(messages: &[Json]) -> Option<Place> {
    let is_users = |message: &Json| message.get("role").and_then(Json::as_str) == Some("user");
    let message = messages.iter().rposition(is_users)?;
    let part = parts(&messages[message]).enumerate().filter(|(_, part)| text_of(part).is_some()).last()?.0;
    Some(Place { message, part })
}

fn hash_request(
    hasher: &mut MeaningHasher,
    request: &Json,
    messages: &[Json],
    place: Option<Place>,
    ignored: &[String],
) -> Result<(), Unclear> {
    let Json::Object(members) = request else { return hasher.value(request) };
    let matters = |key: &String, value: &Json| {
        *value != Json::Null && key != "messages" && !DELIVERY.contains(&key.as_str()) && !ignored.contains(key)
    };
    for (key, value) in members.iter().filter(|(key, value)| matters(key, value)) {
        hasher.text(key);
        hasher.value(value)?;
    }
    hasher.text("messages");
    hasher.begin_array(messages.len());
    for (i, message) in messages.iter().enumerate() {
        hash_message(hasher, message, place.filter(|place| place.message == i).map(|place| place.part))?;
    }
    Ok(())
}

/// `hole` is the part, if any, whose text is left out.
fn hash_message(hasher: &mut MeaningHasher, message: &Json, hole: Option<usize>) -> Result<(), Unclear> {
    let Json::Object(members) = message else { return hasher.value(message) };
    let members = members.iter().filter(|(_, value)| **value != Json::Null);
    hasher.begin_object(members.clone().count());
    for (key, value) in members {
        hasher.text(key);
        if key != "content" {
            hasher.value(value)?;
            continue;
        }
        hasher.begin_array(parts(message).count());
        for (i, part) in parts(message).enumerate() {
            hash_part(hasher, part, hole == Some(i))?;
        }
    }
    Ok(())
}

/// A plain string and a text part of that text hash alike.
fn hash_part(hasher: &mut MeaningHasher, part: &Json, hole: bool) -> Result<(), Unclear> {
    let text = |hasher: &mut MeaningHasher, text: &str| if hole { hasher.hole() } else { hasher.text(text) };
    match part {
        Json::String(plain) => {
            hasher.begin_object(2);
            hasher.text("text");
            text(hasher, plain);
            hasher.text("type");
            hasher.text("text");
        }
        Json::Object(members) => {
            hasher.begin_object(members.len());
            for (key, value) in members {
                hasher.text(key);
                match value {
                    Json::String(value) if key == "text" => text(hasher, value),
                    _ => hasher.value(value)?,
                }
            }
        }
        other => hasher.value(other)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests;
