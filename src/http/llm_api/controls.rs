//! What a request says to the cache: `Cache-Control`, headers of ours, and the `cache` object in the body.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use serde_json::Value;

use super::error::ApiError;
use crate::config::DEFAULT_CACHE;
use crate::store::Tags;

const CACHE: HeaderName = HeaderName::from_static("x-refrain-cache");
const TAGS: HeaderName = HeaderName::from_static("x-refrain-tags");
const MAX_ERROR_RATE: HeaderName = HeaderName::from_static("x-refrain-max-error-rate");

/// What a request says to the cache. Whatever is said twice counts in its stricter sense.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Controls {
    /// The cache to use.
    pub(super) cache: String,
    /// Requests of different namespaces don't share answers.
    pub(super) namespace: Option<String>,
    /// Don't answer from the cache.
    pub(super) no_cache: bool,
    /// Don't keep the answer.
    pub(super) no_store: bool,
    /// Answer from the cache or not at all.
    pub(super) only_if_cached: bool,
    /// Oldest answer accepted, in milliseconds.
    pub(super) max_age_millis: Option<u64>,
    /// How long the answer is kept, in milliseconds; longer than the operator's setting is cut to it.
    pub(super) ttl_millis: Option<u64>,
    /// Largest probability of a wrong answer accepted.
    pub(super) max_error_rate: Option<f64>,
    /// What the answer can be deleted by.
    pub(super) tags: Tags,
}

impl Controls {
    /// From the headers, and the member `cache` of the body.
    pub(super) fn read(headers: &HeaderMap, cache: Option<&Value>) -> Result<Self, ApiError> {
        let mut controls = Self {
            cache: DEFAULT_CACHE.to_owned(),
            namespace: None,
            no_cache: false,
            no_store: false,
            only_if_cached: false,
            max_age_millis: None,
            ttl_millis: None,
            max_error_rate: None,
            tags: Tags::default(),
        };
        let mut tags = Vec::new();
        for value in headers.get_all(TAGS) {
            let value = value.to_str().map_err(|_| ApiError::invalid("x-refrain-tags is not ASCII"))?;
            tags.extend(value.split(',').map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()));
        }
        if let Some(cache) = text(headers, &CACHE)? {
            controls.cache = cache.to_owned();
        }
        if let Some(rate) = text(headers, &MAX_ERROR_RATE)? {
            let rate = rate.parse().ok().filter(|rate| (0.0..=1.0).contains(rate));
            controls.max_error_rate =
                Some(rate.ok_or_else(|| ApiError::invalid("x-refrain-max-error-rate must lie between 0 and 1"))?);
        }
        for value in headers.get_all(header::CACHE_CONTROL) {
            let value = value.to_str().map_err(|_| ApiError::invalid("Cache-Control is not ASCII"))?;
            value.split(',').try_for_each(|directive| controls.directive(directive.trim()))?;
        }
        if let Some(object) = cache {
            controls.object(object, &mut tags)?;
        }
        if let Some(flaw) = tags.iter().find_map(|tag| Tags::flaw(tag)) {
            return Err(ApiError::invalid(format!("a tag of the answer {}", flaw.message)));
        }
        controls.tags = Tags::new(tags);
        if controls.tags.len() > Tags::MAX {
            return Err(ApiError::invalid(format!("an answer may have at most {} tags", Tags::MAX)));
        }
        Ok(controls)
    }

    /// # Errors
    /// Where the caller wants an answer from the cache or none, which `status` tells of.
    pub(super) fn may_forward(&self, status: &[(HeaderName, HeaderValue)]) -> Result<(), ApiError> {
        if self.only_if_cached {
            let message = "only-if-cached was asked for, and the cache has no answer";
            let error = ApiError::new(StatusCode::GATEWAY_TIMEOUT, "not_cached", message);
            return Err(error.with(status.iter().cloned()));
        }
        Ok(())
    }

    /// One directive of `Cache-Control`; those that aren't known are ignored, as RFC 9111 asks.
    fn directive(&mut self, directive: &str) -> Result<(), ApiError> {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-cache" => self.no_cache = true,
            "no-store" => self.no_store = true,
            "only-if-cached" => self.only_if_cached = true,
            "max-age" => {
                let seconds = value.trim().trim_matches('"').parse().ok();
                self.younger_than(seconds.ok_or_else(|| ApiError::invalid("Cache-Control: max-age needs seconds"))?);
            }
            _ => {}
        }
        Ok(())
    }

    fn object(&mut self, object: &Value, tags: &mut Vec<String>) -> Result<(), ApiError> {
        let Value::Object(members) = object else { return Err(ApiError::invalid("`cache` must be an object")) };
        for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
            let wrong = |wanted: &str| ApiError::invalid(format!("`cache.{name}` must be {wanted}"));
            let flag = || value.as_bool().ok_or_else(|| wrong("true or false"));
            let seconds = || value.as_u64().ok_or_else(|| wrong("a whole number of seconds"));
            match name.as_str() {
                "no-cache" => self.no_cache |= flag()?,
                "no-store" => self.no_store |= flag()?,
                // LiteLLM's switch for caches that are off by default; ours aren't.
                "use-cache" => {
                    let bypass = !flag()?;
                    self.no_cache |= bypass;
                    self.no_store |= bypass;
                }
                "ttl" => self.ttl_millis = Some(seconds()?.saturating_mul(1000)),
                "s-maxage" => self.younger_than(seconds()?),
                "tags" => {
                    let tag = |item: &Value| item.as_str().map(str::to_owned);
                    let list = value.as_array().and_then(|items| items.iter().map(tag).collect::<Option<Vec<_>>>());
                    tags.extend(list.ok_or_else(|| wrong("a list of strings"))?);
                }
                "namespace" => {
                    self.namespace = Some(value.as_str().ok_or_else(|| wrong("a string"))?.to_owned());
                }
                _ => {
                    return Err(ApiError::invalid(format!(
                        "`cache.{name}` is not known; known are ttl, s-maxage, no-cache, no-store, namespace, tags, use-cache"
                    )));
                }
            }
        }
        Ok(())
    }

    fn younger_than(&mut self, seconds: u64) {
        let millis = seconds.saturating_mul(1000);
        self.max_age_millis = Some(self.max_age_millis.map_or(millis, |other| other.min(millis)));
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ApiError> {
    let value =
        headers.get(name).map(|value| value.to_str().map_err(|_| ApiError::invalid(format!("{name} is not ASCII"))));
    value.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cache_control: &'static str, body: &str) -> Result<Controls, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache_control));
        Controls::read(&headers, serde_json::from_str::<Value>(body).unwrap().get("cache"))
    }

    #[test]
    fn directives_are_read_whatever_their_spelling_and_company() {
        let controls = read("No-Cache, private,only-if-cached , MAX-AGE=\"60\", x=\"y\"", "{}").unwrap();
        assert!(controls.no_cache && controls.only_if_cached && !controls.no_store);
        assert_eq!(controls.max_age_millis, Some(60_000));
    }

    #[test]
    fn the_stricter_of_two_ages_counts() {
        let controls = read("max-age=60", "{\"cache\": {\"s-maxage\": 5, \"ttl\": 7, \"namespace\": \"n\"}}").unwrap();
        assert_eq!((controls.max_age_millis, controls.ttl_millis), (Some(5_000), Some(7_000)));
        assert_eq!(controls.namespace.as_deref(), Some("n"));
    }

    #[test]
    fn tags_come_in_a_header_and_in_the_body() {
        let mut headers = HeaderMap::new();
        headers.append("x-refrain-tags", HeaderValue::from_static("docs, v1.2,,docs"));
        headers.append("x-refrain-tags", HeaderValue::from_static("prices"));
        let cache = serde_json::json!({"tags": ["team-a"]});
        let controls = Controls::read(&headers, Some(&cache)).unwrap();
        assert_eq!(controls.tags.iter().collect::<Vec<_>>(), ["docs", "prices", "team-a", "v1.2"]);
        headers.append("x-refrain-tags", HeaderValue::from_static("a b"));
        assert!(Controls::read(&headers, Some(&cache)).is_err());
    }

    #[test]
    fn what_is_not_understood_is_refused_where_it_is_said_to_us_alone() {
        for (header, body) in [
            ("max-age=soon", "{}"),
            ("", "{\"cache\": {\"ttl\": -1}}"),
            ("", "{\"cache\": {\"no-cache\": \"yes\"}}"),
            ("", "{\"cache\": {\"tll\": 1}}"),
            ("", "{\"cache\": true}"),
            ("", "{\"cache\": {\"tags\": \"a\"}}"),
            ("", "{\"cache\": {\"tags\": [\"a b\"]}}"),
        ] {
            assert!(read(header, body).is_err(), "{header} {body}");
        }
    }
}
