//! Where a request goes, below the API's base address.

/// The path of `model`'s method, for a whole reply or for a stream of events.
///
/// The model is one segment of the path, whatever is in it: ARNs have colons and slashes.
#[must_use]
pub fn path(model: &str, is_stream: bool) -> String {
    let model = match model {
        // Clients take these for steps of a path, escaped or not, unless they are escaped twice. No model is called so.
        "." | ".." => model.replace('.', "%252E"),
        _ => percent_encoded(model),
    };
    format!("/model/{model}/{}", if is_stream { "converse-stream" } else { "converse" })
}

/// `text` with everything escaped but letters, digits, `-`, `.`, `_` and `~`.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_a_path_for_each_method() {
        let model = "anthropic.claude-3-7-sonnet-20250219-v1:0";
        assert_eq!(path(model, false), "/model/anthropic.claude-3-7-sonnet-20250219-v1%3A0/converse");
        assert_eq!(path(model, true), "/model/anthropic.claude-3-7-sonnet-20250219-v1%3A0/converse-stream");
    }

    #[test]
    fn a_model_stays_one_segment() {
        assert_eq!(
            path("arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.amazon.nova-lite-v1:0", false),
            "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Ainference-profile%2Feu.amazon.nova-lite-v1%3A0/converse"
        );
        assert_eq!(path("../../v1/x?y#z%2F", false), "/model/..%2F..%2Fv1%2Fx%3Fy%23z%252F/converse");
        assert_eq!(path("a b\n\u{fc}", false), "/model/a%20b%0A%C3%BC/converse");
        assert_eq!(path("..", true), "/model/%252E%252E/converse-stream");
        assert_eq!(path("", false), "/model//converse");
    }
}
