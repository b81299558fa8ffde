//! Where a request goes, below the API's base address.

/// The path of `model`'s method, for a whole reply or for a stream of events.
///
/// The model is one segment of the path, whatever is in it: a name with slashes, dots or question marks can't lead anywhere
/// else. `models/gemini-…`, as Google's own list of models writes it, is taken as `gemini-…`.
#[must_use]
pub fn path(model: &str, stream: bool) -> String {
    let model = percent_encoded(model.strip_prefix("models/").unwrap_or(model));
    if stream {
        format!("/models/{model}:streamGenerateContent?alt=sse")
    } else {
        format!("/models/{model}:generateContent")
    }
}

/// `text` with everything escaped but letters, digits, `-`, `.`, `_` and `~`.
pub(crate) fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for half in [byte >> 4, byte & 15] {
                out.push(char::from_digit(half.into(), 16).unwrap_or('0').to_ascii_uppercase());
            }
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_a_path_for_each_method() {
        assert_eq!(path("gemini-2.5-flash", false), "/models/gemini-2.5-flash:generateContent");
        assert_eq!(path("models/gemini-2.5-flash", true), "/models/gemini-2.5-flash:streamGenerateContent?alt=sse");
    }

    #[test]
    fn a_model_stays_one_segment() {
        assert_eq!(path("../../v1/x?y#z%2F", false), "/models/..%2F..%2Fv1%2Fx%3Fy%23z%252F:generateContent");
        assert_eq!(path("..", false), "/models/..:generateContent");
        assert_eq!(path("a:b c\n\u{fc}", false), "/models/a%3Ab%20c%0A%C3%BC:generateContent");
        assert_eq!(path("models/models/x", false), "/models/models%2Fx:generateContent");
        assert_eq!(path("", false), "/models/:generateContent");
    }
}
