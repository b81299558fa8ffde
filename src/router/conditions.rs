//! Which requests a target is for.

use std::cell::OnceCell;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::config::{self, ConfigError};

/// Bytes of a body that are about one token.
const BYTES_PER_TOKEN: usize = 4;

/// What must be true of a request, ready to be asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Conditions {
    headers: Vec<(HeaderName, HeaderValue)>,
    fields: Vec<(String, Value)>,
    tenants: Vec<String>,
    tokens: (usize, usize),
}

/// What conditions are asked of.
pub(super) struct Asked<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) tenant: &'a str,
    pub(super) body: &'a [u8],
    parsed: OnceCell<Value>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(headers: &'a HeaderMap, tenant: &'a str, body: &'a [u8]) -> Self {
        Self { headers, tenant, body, parsed: OnceCell::new() }
    }

    /// A field of the body, which is read when the first one asks.
    fn field(&self, name: &str) -> Option<&Value> {
        self.parsed.get_or_init(|| serde_json::from_slice(self.body).unwrap_or_default()).get(name)
    }
}

impl Conditions {
    pub(super) fn new(settings: &config::Conditions, key: &str) -> Result<Self, ConfigError> {
        let invalid = |what: String| ConfigError::Invalid { key: key.to_owned(), why: what };
        let header = |(name, value): (&String, &String)| {
            let name = HeaderName::try_from(name.as_str()).map_err(|_| invalid(format!("`{name}` is no header")))?;
            let value = HeaderValue::try_from(value.as_str()).map_err(|_| invalid(format!("`{value}` is no value")))?;
            Ok::<_, ConfigError>((name, value))
        };
        let field = |(name, value): (&String, &toml::Value)| {
            let value = serde_json::to_value(value).map_err(|error| invalid(error.to_string()))?;
            Ok::<_, ConfigError>((name.clone(), value))
        };
        Ok(Self {
            headers: settings.headers.iter().map(header).collect::<Result<_, _>>()?,
            fields: settings.fields.iter().map(field).collect::<Result<_, _>>()?,
            tenants: settings.tenants.clone(),
            tokens: (settings.min_tokens.unwrap_or(0), settings.max_tokens.unwrap_or(usize::MAX)),
        })
    }

    /// The headers that are looked at.
    pub(super) fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.iter().map(|(name, _)| name)
    }

    /// Whether a request fulfils them all.
    pub(super) fn hold(&self, asked: &Asked<'_>) -> bool {
        let tokens = asked.body.len() / BYTES_PER_TOKEN;
        (self.tokens.0..=self.tokens.1).contains(&tokens)
            && (self.tenants.is_empty() || self.tenants.iter().any(|tenant| tenant == asked.tenant))
            && self.headers.iter().all(|(name, value)| asked.headers.get(name) == Some(value))
            && self.fields.iter().all(|(name, value)| asked.field(name).is_some_and(|field| equal(field, value)))
    }
}

/// 1 and 1.0 are the same number.
fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b).is_eq(),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_conditions_must_hold() {
        let holds = |conditions: &str, body: &str| {
            let settings: config::Conditions = toml::from_str(conditions).unwrap();
            let headers = [("x-tier".parse().unwrap(), "free".parse().unwrap())].into_iter().collect();
            Conditions::new(&settings, "k").unwrap().hold(&Asked::new(&headers, "acme", body.as_bytes()))
        };
        let body = r#"{"tier": "pro", "n": 1.0, "pad": "0123456789012345678901234567890123456789"}"#;
        assert!(holds("", body) && holds("", "no json"));
        assert!(holds("headers = { X-Tier = \"free\" }", body) && !holds("headers = { X-Tier = \"pro\" }", body));
        assert!(
            holds("fields = { tier = \"pro\", n = 1 }", body) && !holds("fields = { tier = \"pro\", n = 2 }", body)
        );
        assert!(!holds("fields = { other = 1 }", body) && !holds("fields = { tier = \"pro\" }", "no json"));
        assert!(holds("tenants = [\"acme\"]", body) && !holds("tenants = [\"other\"]", body));
        assert!(holds("min_tokens = 10", body) && !holds("min_tokens = 100", body));
        assert!(!holds("max_tokens = 10", body) && holds("max_tokens = 100", body));
    }
}
