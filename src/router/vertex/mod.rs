//! Gemini on Google's Vertex AI: the same bodies as the Gemini API's, at other addresses, with a token instead
//! of a key.

use crate::llm::path_segment;

/// The base address for the models of `project` in `location`, below which the paths of Gemini's format lead on.
///
/// `global` and the multi-regions `us` and `eu` have hosts of their own; all other locations are regions.
#[must_use]
pub(super) fn base_url(project: &str, location: &str) -> String {
    // A location is part of the host's name. What can't be in one is left out, so that none leads to somebody else's host.
    let label: String = location.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let host = match label.as_str() {
        "global" => "aiplatform.googleapis.com".to_owned(),
        "us" | "eu" => format!("aiplatform.{label}.rep.googleapis.com"),
        region => format!("{region}-aiplatform.googleapis.com"),
    };
    format!("https://{host}/v1/projects/{}/locations/{label}/publishers/google", path_segment(project))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_have_hosts() {
        for (location, expected) in [
            ("global", "https://aiplatform.googleapis.com/v1/projects/p-1/locations/global/publishers/google"),
            (
                "europe-west4",
                "https://europe-west4-aiplatform.googleapis.com/v1/projects/p-1/locations/europe-west4/publishers/google",
            ),
            ("eu", "https://aiplatform.eu.rep.googleapis.com/v1/projects/p-1/locations/eu/publishers/google"),
        ] {
            assert_eq!(base_url("p-1", location), expected);
        }
    }

    #[test]
    fn names_lead_nowhere_else() {
        assert_eq!(
            base_url("a/../b?c", "evil.example/x@"),
            "https://evilexamplex-aiplatform.googleapis.com/v1/projects/a%2F..%2Fb%3Fc/locations/evilexamplex/publishers/google"
        );
        assert!(base_url("example.com:p", "global").contains("/projects/example.com%3Ap/"));
    }
}
