//! Requests.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::OWN;
use crate::llm::chat::{Chat, Content, Delivery, Message, Part, Role};
use crate::llm::error::Unsupported;
use crate::llm::members::{Members, Place, object};
use crate::llm::openai;

/// What says the same as nothing.
static DEFAULTS: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    object(json!({
        "n": 1, "best_of": 1, "echo": false, "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0, "logit_bias": {},
        "stop": [],
    }))
});

/// Reads a request.
pub(super) fn read(body: Value) -> Result<Chat, Unsupported> {
    let mut members = Members::of(body, Place::ROOT)?;
    members.drop_all_of(&DEFAULTS);
    let mut chat = Chat {
        format: OWN,
        model: members.text("model")?.unwrap_or_default(),
        indispensable: Some("prompt"),
        ..Chat::default()
    };
    match read_prompt(members.take("prompt"))? {
        Some(part) => chat.messages.push(Message::new(Role::User, vec![part])),
        None => chat.uncacheable = Some("there is no prompt"),
    }
    chat.delivery = openai::delivery(&mut members, &mut chat.unseen)?;
    chat.unseen.append(&mut members.take_all(["metadata"].into_iter().chain(openai::UNSEEN)));
    chat.user = members.text("user")?;
    // It is said to Refrain, and no provider knows it.
    members.take("cache");
    chat.extra = members.rest(OWN);
    Ok(chat)
}

/// A list of one text asks for the same as that text.
fn read_prompt(prompt: Option<Value>) -> Result<Option<Part>, Unsupported> {
    match prompt {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(Part::text(text))),
        Some(Value::Array(prompts)) if !prompts.is_empty() => Ok(Some(match prompts.as_slice() {
            [Value::String(text)] => Part::text(text.clone()),
            _ => Part::new(Content::Foreign(OWN, prompts.into())),
        })),
        Some(_) => Err(Place::ROOT.name("prompt").wrong("must be a text, a list of texts, or tokens")),
    }
}

/// Writes a request that was read in this format.
pub(super) fn write(chat: &Chat, model: &str) -> Result<Value, Unsupported> {
    if !chat.is_continuation() {
        return Err(Unsupported::new("messages", "are a conversation, which this API has no place for"));
    }
    let mut request = Map::new();
    request.insert("model".into(), model.into());
    let part = chat.messages.first().and_then(|message| message.parts.first());
    request.extend(part.and_then(|part| match &part.content {
        Content::Text(text) => Some(("prompt".to_owned(), text.clone().into())),
        Content::Foreign(_, prompts) => Some(("prompt".to_owned(), prompts.clone())),
        _ => None,
    }));
    request.extend(chat.extra.of(OWN).cloned().unwrap_or_default());
    if chat.delivery.is_stream() {
        request.insert("stream".into(), true.into());
    }
    request.extend(chat.unseen.clone());
    if chat.delivery == Delivery::StreamWithUsage {
        let options = request.entry("stream_options").or_insert_with(|| json!({}));
        options["include_usage"] = true.into();
    }
    request.extend(chat.user.clone().map(|user| ("user".to_owned(), user.into())));
    Ok(request.into())
}
