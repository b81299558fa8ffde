//! Google's `generateContent` (the Gemini API's v1beta; Vertex AI speaks the same), to and from OpenAI's chat completions.
//!
//! Everything here is pure: bytes and JSON in, JSON out, times handed in.

mod completion;
mod contents;
mod error;
mod media;
mod path;
mod reply;
mod request;
mod schema;
mod stream;
mod tools;

pub use completion::completion;
pub use error::{error, retry_delay};
pub use path::path;
pub(crate) use path::percent_encoded;
pub use request::request;
pub use stream::Chunks;

pub use super::fault::{Malformed, StreamFault, Unconvertible};

/// Whether `model` is of Gemini's third generation or later, whose models match function results to calls by their ids
/// and want thought signatures back. The models before reject a request that has these ids in it.
fn is_gemini_3_or_later(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let Some(rest) = name.strip_prefix("gemini-") else { return false };
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    match digits.parse::<u32>() {
        Ok(generation) => generation >= 3,
        // `gemini-flash-latest` and its like have moved on to the third generation.
        Err(_) => digits.is_empty() && rest.ends_with("-latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_told_apart() {
        for new in ["gemini-3-pro-preview", "gemini-3.5-flash", "models/gemini-12", "gemini-flash-latest"] {
            assert!(is_gemini_3_or_later(new), "{new}");
        }
        for old in ["gemini-2.5-flash", "gemini-1.5-pro-latest", "gemma-3-27b-it", "gemini-", "gemini-pro", "", "gpt-5"]
        {
            assert!(!is_gemini_3_or_later(old), "{old}");
        }
        assert!(!is_gemini_3_or_later("gemini-99999999999999999999-latest"));
    }

    #[test]
    fn messages_say_where_and_why() {
        let error = Unconvertible::new("n", "only one answer can be asked for");
        assert_eq!(error.to_string(), "`n` can't be sent to this model: only one answer can be asked for");
        assert_eq!(StreamFault::from(Malformed("x".into())).to_string(), "the provider's reply is not understood: x");
    }
}
