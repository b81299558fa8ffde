//! Parts of contents: texts, thoughts, calls, pictures, sounds, documents.

use serde_json::{Map, Value, json};

use super::{OWN, copy_of, open};
use crate::llm::chat::{Content, Issuer, Part, Seal, SealKind, Source, ToolCall};
use crate::llm::error::Unsupported;
use crate::llm::members::{Members, Place, merge, object};

/// Members of a part that tell something about it. Any other one is its content.
const ABOUT: [&str; 5] = ["thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"];
/// What a picture is taken for whose address doesn't tell. Google looks at the bytes, but Vertex AI wants a type.
const IMAGE: &str = "image/jpeg";
/// The same of a document.
const DOCUMENT: &str = "application/pdf";
/// Where the Gemini API keeps files.
const FILES: &str = "https://generativelanguage.googleapis.com/";

/// Calls `then` with each part of a content and with the name of what it holds. A part that holds nothing brings a
/// signature, as the last one of a stream may.
pub(super) fn for_each(
    content: &mut Members<'_>,
    mut then: impl FnMut(Members<'_>, Option<&str>) -> Result<(), Unsupported>,
) -> Result<(), Unsupported> {
    content.each("parts", |part, place| {
        let members = open(part, place)?.into_map();
        let mut kinds = members.iter().filter(|(name, value)| !value.is_null() && !ABOUT.contains(&&***name));
        let kind = kinds.next().map(|(name, _)| name.clone());
        if let (Some(kind), Some((other, _))) = (&kind, kinds.next()) {
            return Err(place.wrong(format_args!("has both `{kind}` and `{other}`")));
        }
        then(Members::of(members.into(), place)?, kind.as_deref())
    })?;
    Ok(())
}

/// Reads the parts of a content of a request.
pub(super) fn read_all(content: &mut Members<'_>) -> Result<Vec<Part>, Unsupported> {
    let mut parts = Vec::new();
    for_each(content, |part, kind| {
        parts.push(read(part, kind, false)?);
        Ok(())
    })?;
    Ok(parts)
}

/// Reads a part of a request, or of a reply, that holds `kind`. Calls to which Google gives no id have an empty one.
pub(super) fn read(mut part: Members<'_>, kind: Option<&str>, is_reply: bool) -> Result<Part, Unsupported> {
    let content = match kind {
        None | Some("text") => {
            let text = part.text("text")?.unwrap_or_default();
            if part.flag("thought")? == Some(true) { Content::Reasoning(text) } else { Content::Text(text) }
        }
        Some("functionCall") => call(&mut part)?,
        // What a model draws can't be told in other formats.
        Some("inlineData") if !is_reply => return inline_data(part),
        Some("fileData") if !is_reply => return file_data(part),
        Some(_) => return Ok(foreign(part)),
    };
    let seal = part.text("thoughtSignature")?.filter(|value| !value.is_empty());
    let seal = seal.map(|value| Seal { issuer: Issuer::Google, kind: SealKind::Signature, value });
    Ok(Part { content, seal, extra: part.rest(OWN) })
}

fn foreign(part: Members<'_>) -> Part {
    Part::new(Content::Foreign(OWN, part.into_map().into()))
}

fn call(part: &mut Members<'_>) -> Result<Content, Unsupported> {
    let place = part.place();
    let place = place.name("functionCall");
    let mut call = open(part.take("functionCall").unwrap_or_default(), place)?;
    // Half a call that looks whole would be worse than none.
    if let Some(name) = ["partialArgs", "willContinue"].into_iter().find(|name| call.get(name).is_some()) {
        return Err(place.name(name).wrong("can't be used: calls must come whole"));
    }
    let name = call.required_text("name")?;
    if name.is_empty() {
        return Err(place.name("name").wrong("is empty"));
    }
    let arguments = match call.take("args") {
        None => "{}".to_owned(),
        Some(arguments @ Value::Object(_)) => arguments.to_string(),
        Some(_) => return Err(place.name("args").wrong("must be an object")),
    };
    let id = call.text("id")?.unwrap_or_default();
    part.put_back_rest("functionCall", call.into_map());
    Ok(Content::ToolCall(ToolCall { id, name, arguments }))
}

fn inline_data(mut part: Members<'_>) -> Result<Part, Unsupported> {
    let place = part.place();
    let mut file = open(part.get("inlineData").cloned().unwrap_or_default(), place.name("inlineData"))?;
    let (media_type, data) = (file.required_text("mimeType")?, file.required_text("data")?);
    let content = match media_type.split_once('/').unwrap_or_default() {
        ("image", _) => Content::Image(Source::Base64 { media_type, data }),
        ("audio", format) if is_audio_format(format) => Content::Audio { data, format: format.to_owned() },
        ("application" | "text", _) => Content::Document { source: Source::Base64 { media_type, data }, name: None },
        _ => return Ok(foreign(part)),
    };
    part.take("inlineData");
    part.put_back_rest("inlineData", file.into_map());
    Ok(Part { extra: part.rest(OWN), ..Part::new(content) })
}

fn file_data(mut part: Members<'_>) -> Result<Part, Unsupported> {
    let place = part.place();
    let Some(mut file) = copy_of(&mut part, "fileData", place.name("fileData"))? else { return Ok(foreign(part)) };
    let uri = file.required_text("fileUri")?;
    let media_type = file.text("mimeType")?.unwrap_or_else(|| type_of(&uri, DOCUMENT));
    let source = if uri.starts_with(FILES) { Source::File(uri) } else { Source::Url(uri) };
    let content = match media_type.split_once('/') {
        Some(("image", _)) => Content::Image(source),
        Some(("application" | "text", _)) => Content::Document { source, name: None },
        _ => return Ok(foreign(part)),
    };
    Ok(Part { extra: part.rest(OWN), ..Part::new(content) })
}

fn is_audio_format(format: &str) -> bool {
    !format.is_empty() && format.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
}

/// The media type of what is at `url`, by the ending of its name.
fn type_of(url: &str, unless_told: &str) -> String {
    let path = url.split_once("://").map_or("", |(_, rest)| rest).split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit_once('/').map_or("", |(_, name)| name);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    match &*ending {
        "png" | "jpeg" | "webp" | "gif" | "heic" | "heif" | "avif" | "bmp" | "tiff" => format!("image/{ending}"),
        "mp3" | "wav" | "flac" | "ogg" | "m4a" => format!("audio/{ending}"),
        "mp4" | "webm" | "mpeg" => format!("video/{ending}"),
        "jpg" => "image/jpeg".into(),
        "svg" => "image/svg+xml".into(),
        "tif" => "image/tiff".into(),
        "mov" => "video/quicktime".into(),
        "pdf" => "application/pdf".into(),
        "txt" => "text/plain".into(),
        _ => unless_told.into(),
    }
}

/// Writes a part, with `id` if it is a call. None for what says nothing: Google refuses empty texts.
pub(super) fn write(
    part: &Part,
    id: Option<&str>,
    place: Place<'_>,
) -> Result<Option<Map<String, Value>>, Unsupported> {
    let signature = part.seal.as_ref().filter(|seal| seal.issuer == Issuer::Google && !seal.value.is_empty());
    let is_empty = |text: &String| text.is_empty() && signature.is_none();
    let mut written = object(match &part.content {
        Content::Text(text) | Content::Refusal(text) | Content::Reasoning(text) if is_empty(text) => return Ok(None),
        Content::Text(text) | Content::Refusal(text) => json!({"text": text}),
        Content::Reasoning(text) => json!({"text": text, "thought": true}),
        Content::ToolCall(call) => {
            let wrong = || place.wrong("calls a tool with arguments that are no JSON object");
            let input = call.input().ok_or_else(wrong)?;
            json!({"functionCall": object(json!({"name": call.name, "args": input, "id": id}))})
        }
        Content::Image(source) => file(source, IMAGE, place)?,
        Content::Document { source, .. } => file(source, DOCUMENT, place)?,
        Content::Audio { data, format } => match format.to_ascii_lowercase() {
            format if is_audio_format(&format) => inline(&format!("audio/{format}"), data),
            _ => return Err(place.wrong(format_args!("is audio in an unknown format, `{format}`"))),
        },
        Content::Foreign(OWN, whole) => whole.clone(),
        Content::Foreign(..) | Content::ToolResult(_) => return Err(place.wrong("has no counterpart in Gemini's API")),
    });
    if let Some(seal) = signature {
        written.insert("thoughtSignature".into(), seal.value.as_str().into());
    }
    merge(&mut written, &part.extra.members(OWN));
    Ok(Some(written))
}

fn file(source: &Source, unless_told: &str, place: Place<'_>) -> Result<Value, Unsupported> {
    let url = match source {
        Source::Base64 { media_type, .. } if !media_type.contains('/') => return Err(place.wrong("has no media type")),
        Source::Base64 { media_type, data } => return Ok(inline(media_type, data)),
        Source::Text(text) => return Ok(json!({"text": text})),
        Source::File(uri) if !uri.starts_with(FILES) => {
            return Err(place.wrong("is a file that another provider keeps"));
        }
        Source::File(url) | Source::Url(url) => url,
    };
    let scheme = url.split_once("://").unwrap_or_default().0.to_ascii_lowercase();
    if !["http", "https", "gs"].contains(&&*scheme) {
        return Err(place.wrong("has an address that is neither data:, http(s): nor gs:"));
    }
    Ok(json!({"fileData": {"mimeType": type_of(url, unless_told), "fileUri": url}}))
}

fn inline(media_type: &str, data: &str) -> Value {
    json!({"inlineData": {"mimeType": media_type, "data": data}})
}
