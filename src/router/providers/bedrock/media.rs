//! Parts of a message: texts, images, sounds, documents.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::Unconvertible;

/// Bedrock's names of formats of images, by media type.
const IMAGES: [(&str, &str); 5] =
    [("image/png", "png"), ("image/jpeg", "jpeg"), ("image/jpg", "jpeg"), ("image/gif", "gif"), ("image/webp", "webp")];
/// Bedrock's names of formats of documents, by media type; the names are the extensions of files, too.
const DOCUMENTS: [(&str, &str); 9] = [
    ("application/pdf", "pdf"),
    ("text/csv", "csv"),
    ("application/msword", "doc"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("text/html", "html"),
    ("text/plain", "txt"),
    ("text/markdown", "md"),
];
/// The formats of sounds that OpenAI's clients name and Bedrock knows.
const SOUNDS: [&str; 7] = ["wav", "mp3", "flac", "opus", "ogg", "aac", "m4a"];
/// What a document without a name is called.
const UNNAMED: &str = "document";
/// How much of a file's name is kept. Bedrock takes 200 characters, and a number may follow.
const LONGEST_NAME: usize = 180;

/// How often each name was given to a document: no two of a request may have the same.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, usize>);

impl Names {
    /// A name for the file `file` with nothing in it but what Bedrock admits.
    fn name(&mut self, file: &str) -> String {
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let is_admitted = |c: &char| c.is_ascii_alphanumeric() || "-()[]".contains(*c);
        let admitted: String = stem.chars().map(|c| if is_admitted(&c) { c } else { ' ' }).collect();
        let words = admitted.split_whitespace().collect::<Vec<_>>().join(" ");
        let short: String = words.chars().take(LONGEST_NAME).collect();
        let mut name = if short.is_empty() { UNNAMED.to_owned() } else { short.trim_end().to_owned() };
        loop {
            let given = self.0.entry(name.to_lowercase()).or_default();
            *given = given.saturating_add(1);
            if *given == 1 {
                return name;
            }
            name = format!("{name} ({given})");
        }
    }
}

/// Converse's block for one of OpenAI's parts, found at `field`; nothing for a blank text, which Bedrock refuses.
pub(super) fn part(part: &Value, field: &str, names: &mut Names) -> Result<Option<Value>, Unconvertible> {
    match part["type"].as_str() {
        Some("text") => {
            let text = part["text"].as_str().ok_or_else(|| Unconvertible::new(field, "its `text` is no string"))?;
            Ok((!text.trim().is_empty()).then(|| json!({"text": text})))
        }
        Some("image_url") => {
            // Some clients write the address itself where the object with it belongs.
            let image = &part["image_url"];
            let url = image["url"].as_str().or_else(|| image.as_str());
            let field = format!("{field}.image_url");
            let url = url.ok_or_else(|| Unconvertible::new(&*field, "it has no `url`"))?;
            let why = "an image has to come with the request, as a data: URL, because Bedrock fetches none";
            let (kind, data) = embedded(url, &field)?.ok_or_else(|| Unconvertible::new(&*field, why))?;
            let block = image_block(kind, data);
            let why = "it has to be of type image/png, image/jpeg, image/gif or image/webp";
            block.map(Some).ok_or_else(|| Unconvertible::new(field, why))
        }
        Some("input_audio") => {
            let (audio, field) = (&part["input_audio"], format!("{field}.input_audio"));
            let data = audio["data"].as_str().ok_or_else(|| Unconvertible::new(&*field, "it has no `data`"))?;
            let format = audio["format"].as_str().and_then(|format| SOUNDS.iter().find(|known| **known == format));
            let format = format.ok_or_else(|| Unconvertible::new(field, "its `format` is not known"))?;
            Ok(Some(json!({"audio": {"format": format, "source": {"bytes": data}}})))
        }
        Some("file") => file(&part["file"], &format!("{field}.file"), names).map(Some),
        Some(other) => Err(Unconvertible::new(field, format!("parts of type `{other}` have no counterpart"))),
        None => Err(Unconvertible::new(field, "it has no type")),
    }
}

fn file(file: &Value, field: &str, names: &mut Names) -> Result<Value, Unconvertible> {
    let why = "a file has to come with the request, as a data: URL in `file_data`";
    let url = file["file_data"].as_str().ok_or_else(|| Unconvertible::new(field, why))?;
    let (kind, data) = embedded(url, field)?.ok_or_else(|| Unconvertible::new(field, why))?;
    if let Some(image) = image_block(kind, data) {
        return Ok(image);
    }
    let name = file["filename"].as_str().unwrap_or_default();
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    // The extension helps where the type says as little as application/octet-stream does.
    let known = DOCUMENTS.iter().find(|(known, _)| kind.eq_ignore_ascii_case(known));
    let known = known.or_else(|| DOCUMENTS.iter().find(|(_, format)| extension.eq_ignore_ascii_case(format)));
    let why = "it has to be an image or a document: pdf, csv, doc, docx, xls, xlsx, html, txt or md";
    let (_, format) = known.ok_or_else(|| Unconvertible::new(field, why))?;
    Ok(json!({"document": {"format": format, "name": names.name(name), "source": {"bytes": data}}}))
}

fn image_block(kind: &str, data: &str) -> Option<Value> {
    let (_, format) = IMAGES.iter().find(|(known, _)| kind.eq_ignore_ascii_case(known))?;
    Some(json!({"image": {"format": format, "source": {"bytes": data}}}))
}

/// Media type and base64 of a `data:` URL; nothing if it is no such URL.
fn embedded<'u>(url: &'u str, field: &str) -> Result<Option<(&'u str, &'u str)>, Unconvertible> {
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
    if data.is_empty() {
        return Err(Unconvertible::new(field, "its data: URL has no data"));
    }
    Ok(Some((kind, data)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(given: Value) -> Value {
        part(&given, "f", &mut Names::default()).unwrap().unwrap()
    }

    fn image(url: &str) -> Value {
        json!({"type": "image_url", "image_url": {"url": url, "detail": "high"}})
    }

    fn named(name: &str, kind: &str) -> Value {
        json!({"type": "file", "file": {"filename": name, "file_data": format!("data:{kind};base64,AA==")}})
    }

    #[test]
    fn texts() {
        assert_eq!(converted(json!({"type": "text", "text": "Gr\u{fc}ezi "})), json!({"text": "Gr\u{fc}ezi "}));
        for blank in ["", " \n"] {
            assert_eq!(part(&json!({"type": "text", "text": blank}), "f", &mut Names::default()), Ok(None));
        }
    }

    #[test]
    fn images_and_sounds_come_with_the_request() {
        for (kind, format) in [("png", "png"), ("jpeg", "jpeg"), ("JPG", "jpeg"), ("gif", "gif"), ("webp", "webp")] {
            let expected = json!({"image": {"format": format, "source": {"bytes": "AAEC"}}});
            let url = format!("DATA:image/{kind};charset=utf-8; BASE64,AAEC");
            assert_eq!(converted(image(&url)), expected);
            assert_eq!(converted(json!({"type": "image_url", "image_url": url})), expected);
        }
        assert_eq!(
            converted(json!({"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}})),
            json!({"audio": {"format": "mp3", "source": {"bytes": "AA=="}}})
        );
    }

    #[test]
    fn files_are_documents_or_images() {
        for (kind, format) in DOCUMENTS {
            assert_eq!(
                converted(named("report", kind)),
                json!({"document": {"format": format, "name": "report", "source": {"bytes": "AA=="}}})
            );
            let other = named(&format!("a.{}", format.to_uppercase()), "application/octet-stream");
            assert_eq!(converted(other)["document"]["format"], format);
        }
        assert_eq!(converted(named("a.txt", "image/png"))["image"]["format"], "png");
    }

    #[test]
    fn names_hold_what_is_admitted_and_differ() {
        let mut names = Names::default();
        for (file, name) in [
            ("Q3 report_v1.final.pdf", "Q3 report v1 final"),
            ("a-b (c) [d].txt", "a-b (c) [d]"),
            ("  \u{e9}t\u{e9}\t\nx.md", "t x"),
            ("", "document"),
            (".pdf", "document (2)"),
            ("\u{5831}\u{544a}.pdf", "document (3)"),
            ("DOCUMENT", "DOCUMENT (4)"),
            ("x (2)", "x (2)"),
            ("x", "x"),
            ("x", "x (2) (2)"),
        ] {
            assert_eq!(names.name(file), name, "{file}");
        }
        assert!(names.name(&"y".repeat(900)).len() <= 200 && names.name(&"y".repeat(900)).len() <= 200);
    }

    #[test]
    fn what_has_no_counterpart_is_refused_with_its_place() {
        for (given, field) in [
            (json!({"type": "text", "text": 5}), "f"),
            (json!({"type": "video_url"}), "f"),
            (json!({"text": "no type"}), "f"),
            (json!("text"), "f"),
            (image("https://x.example/a.png"), "f.image_url"),
            (image("data:image/png;base64"), "f.image_url"),
            (image("data:image/png;base64,"), "f.image_url"),
            (image("data:image/png,abc"), "f.image_url"),
            (image("data:image/tiff;base64,AA"), "f.image_url"),
            (image("/a.png"), "f.image_url"),
            (json!({"type": "image_url", "image_url": {}}), "f.image_url"),
            (json!({"type": "input_audio", "input_audio": {"data": "AA", "format": "a/b"}}), "f.input_audio"),
            (json!({"type": "input_audio", "input_audio": {"format": "wav"}}), "f.input_audio"),
            (json!({"type": "file", "file": {"file_id": "x"}}), "f.file"),
            (json!({"type": "file", "file": {"file_data": "AA=="}}), "f.file"),
            (named("a.exe", "application/octet-stream"), "f.file"),
        ] {
            assert_eq!(part(&given, "f", &mut Names::default()).unwrap_err().field, field, "{given}");
        }
        let why = part(&image("https://x.example/a.png"), "f", &mut Names::default()).unwrap_err().why;
        assert!(why.contains("data: URL"), "{why}");
    }
}
