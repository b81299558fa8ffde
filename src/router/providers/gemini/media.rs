//! Parts of a user's message: texts, images, sounds, files.

use serde_json::{Value, json};

use super::Unconvertible;

/// What a file is, by the extension of its address.
const TYPES: [(&str, &str); 23] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("webp", "image/webp"),
    ("gif", "image/gif"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("svg", "image/svg+xml"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("mp3", "audio/mp3"),
    ("wav", "audio/wav"),
    ("flac", "audio/flac"),
    ("ogg", "audio/ogg"),
    ("m4a", "audio/m4a"),
    ("mp4", "video/mp4"),
    ("mov", "video/quicktime"),
    ("webm", "video/webm"),
    ("mpeg", "video/mpeg"),
];
/// What an image is taken for whose address doesn't tell. Google looks at the bytes of images, but Vertex AI insists on a
/// type being named.
const UNTOLD: &str = "image/jpeg";

/// Google's part for one of OpenAI's, found at `field`; nothing for an empty text, which Google refuses.
pub(super) fn part(part: &Value, field: &str) -> Result<Option<Value>, Unconvertible> {
    match part["type"].as_str() {
        Some("text") => {
            let text = part["text"].as_str().ok_or_else(|| Unconvertible::new(field, "its `text` is no string"))?;
            Ok((!text.is_empty()).then(|| json!({"text": text})))
        }
        Some("image_url") => {
            // Some clients write the address itself where the object with it belongs.
            let image = &part["image_url"];
            let url = image["url"].as_str().or_else(|| image.as_str());
            let field = format!("{field}.image_url");
            addressed(url.ok_or_else(|| Unconvertible::new(&*field, "it has no `url`"))?, &field).map(Some)
        }
        Some("input_audio") => {
            let (audio, field) = (&part["input_audio"], format!("{field}.input_audio"));
            let data = audio["data"].as_str().ok_or_else(|| Unconvertible::new(&*field, "it has no `data`"))?;
            let format = audio["format"].as_str().unwrap_or_default();
            if format.is_empty() || !format.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return Err(Unconvertible::new(field, "its `format` is not known"));
            }
            Ok(Some(inline(&format!("audio/{}", format.to_ascii_lowercase()), data)))
        }
        Some("file") => {
            let field = format!("{field}.file");
            let why = "a file has to come with the request, as a data: URL in `file_data`";
            let data = part["file"]["file_data"].as_str().ok_or_else(|| Unconvertible::new(&*field, why))?;
            embedded(data, &field)?.map(Some).ok_or_else(|| Unconvertible::new(&*field, why))
        }
        Some(other) => Err(Unconvertible::new(field, format!("parts of type `{other}` have no counterpart"))),
        None => Err(Unconvertible::new(field, "it has no type")),
    }
}

/// The part for what is in or behind `url`.
fn addressed(url: &str, field: &str) -> Result<Value, Unconvertible> {
    if let Some(part) = embedded(url, field)? {
        return Ok(part);
    }
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    if !["http", "https", "gs"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(Unconvertible::new(field, "its `url` is neither data:, http(s): nor gs:"));
    }
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit_once('/').map_or("", |(_, name)| name);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let known = TYPES.iter().find(|(known, _)| extension.eq_ignore_ascii_case(known));
    Ok(json!({"fileData": {"mimeType": known.map_or(UNTOLD, |(_, kind)| kind), "fileUri": url}}))
}

/// The part for what a `data:` URL holds; nothing if it is no such URL.
fn embedded(url: &str, field: &str) -> Result<Option<Value>, Unconvertible> {
    let Some((scheme, rest)) = url.split_once(':') else { return Ok(None) };
    if !scheme.eq_ignore_ascii_case("data") {
        return Ok(None);
    }
    let (head, data) = rest.split_once(',').ok_or_else(|| Unconvertible::new(field, "its data: URL has no data"))?;
    let mut settings = head.split(';').map(str::trim);
    let kind = settings.next().unwrap_or_default();
    if !settings.any(|setting| setting.eq_ignore_ascii_case("base64")) {
        return Err(Unconvertible::new(field, "its data: URL is not in base64"));
    }
    if !kind.contains('/') {
        return Err(Unconvertible::new(field, "its data: URL names no media type"));
    }
    Ok(Some(inline(kind, data)))
}

fn inline(kind: &str, data: &str) -> Value {
    json!({"inlineData": {"mimeType": kind, "data": data}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(given: Value) -> Value {
        part(&given, "f").unwrap().unwrap()
    }

    fn image(url: &str) -> Value {
        json!({"type": "image_url", "image_url": {"url": url, "detail": "high"}})
    }

    #[test]
    fn texts() {
        assert_eq!(converted(json!({"type": "text", "text": "Gr\u{fc}ezi"})), json!({"text": "Gr\u{fc}ezi"}));
        assert_eq!(part(&json!({"type": "text", "text": ""}), "f"), Ok(None));
    }

    #[test]
    fn what_comes_with_the_request_goes_with_it() {
        let png = json!({"inlineData": {"mimeType": "image/png", "data": "AAEC"}});
        for url in ["data:image/png;base64,AAEC", "DATA:image/png;charset=utf-8; BASE64,AAEC"] {
            assert_eq!(converted(image(url)), png, "{url}");
        }
        assert_eq!(converted(json!({"type": "image_url", "image_url": "data:image/png;base64,AAEC"})), png);
        assert_eq!(
            converted(json!({"type": "input_audio", "input_audio": {"data": "AA==", "format": "WAV"}})),
            json!({"inlineData": {"mimeType": "audio/wav", "data": "AA=="}})
        );
        assert_eq!(
            converted(
                json!({"type": "file", "file": {"filename": "a", "file_data": "data:application/pdf;base64,AA=="}})
            ),
            json!({"inlineData": {"mimeType": "application/pdf", "data": "AA=="}})
        );
    }

    #[test]
    fn addresses_tell_what_is_behind_them() {
        for (url, kind) in [
            ("https://x.example/a.PNG?size=1.gif#b.bmp", "image/png"),
            ("http://x.example/a.b/c.webp", "image/webp"),
            ("gs://bucket/a.jpeg", "image/jpeg"),
            ("gs://bucket/a.pdf", "application/pdf"),
            ("https://x.png/a.b/c", UNTOLD),
            ("https://x.png", UNTOLD),
            ("https://x.example/a.", UNTOLD),
        ] {
            assert_eq!(converted(image(url)), json!({"fileData": {"mimeType": kind, "fileUri": url}}));
        }
    }

    #[test]
    fn what_has_no_counterpart_is_refused_with_its_place() {
        for (given, field) in [
            (json!({"type": "text", "text": 5}), "f"),
            (json!({"type": "video_url"}), "f"),
            (json!({"text": "no type"}), "f"),
            (json!("text"), "f"),
            (json!(null), "f"),
            (image("data:image/png;base64"), "f.image_url"),
            (image("data:image/png,abc"), "f.image_url"),
            (image("data:;base64,AA"), "f.image_url"),
            (image("file:///etc/passwd"), "f.image_url"),
            (image("/a.png"), "f.image_url"),
            (image(""), "f.image_url"),
            (json!({"type": "image_url", "image_url": {}}), "f.image_url"),
            (json!({"type": "input_audio", "input_audio": {"data": "AA"}}), "f.input_audio"),
            (json!({"type": "input_audio", "input_audio": {"data": "AA", "format": "a/b"}}), "f.input_audio"),
            (json!({"type": "input_audio", "input_audio": {"format": "wav"}}), "f.input_audio"),
            (json!({"type": "file", "file": {"file_id": "x"}}), "f.file"),
            (json!({"type": "file", "file": {"file_data": "AA=="}}), "f.file"),
        ] {
            assert_eq!(part(&given, "f").unwrap_err().field, field, "{given}");
        }
    }
}
