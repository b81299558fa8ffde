//! Changes to a request's body: its model, parameters that settings give, bound or force, and what a provider is known to
//! refuse. All else stays as it was written.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use crate::config::{ChatQuirks, Clamp, ConfigError};
use crate::llm::raw::{self, RawMembers};

/// What is changed for one target.
#[derive(Debug, Clone, Default)]
pub(super) struct Adjustments {
    /// As JSON.
    defaults: Vec<(String, String)>,
    overrides: Vec<(String, String)>,
    clamps: Vec<(String, Clamp)>,
}

impl Adjustments {
    /// `target`'s before `provider`'s.
    pub(super) fn new(
        provider: &BTreeMap<String, toml::Value>,
        target: &crate::config::Target,
        key: &str,
    ) -> Result<Self, ConfigError> {
        let json = |member| json(member, key);
        let of_provider = provider.iter().filter(|(name, _)| !target.defaults.contains_key(*name));
        Ok(Self {
            defaults: target.defaults.iter().chain(of_provider).map(json).collect::<Result<_, _>>()?,
            overrides: target.overrides.iter().map(json).collect::<Result<_, _>>()?,
            clamps: target.clamp.iter().map(|(name, clamp)| (name.clone(), *clamp)).collect(),
        })
    }

    /// `provider`'s own, for models that no alias names.
    pub(super) fn of_provider(provider: &BTreeMap<String, toml::Value>, key: &str) -> Result<Self, ConfigError> {
        let defaults = provider.iter().map(|member| json(member, key)).collect::<Result<_, _>>()?;
        Ok(Self { defaults, ..Self::default() })
    }

    pub(super) fn are_none(&self) -> bool {
        self.defaults.is_empty() && self.overrides.is_empty() && self.clamps.is_empty()
    }

    /// `body` for this target and its `model`; unchanged where it is no object.
    pub(super) fn apply(&self, body: &Bytes, model: &str) -> Bytes {
        if self.are_none() {
            return raw::with_model(body, model).map_or_else(|| body.clone(), Bytes::from);
        }
        let Some(mut list) = RawMembers::parse(body) else { return body.clone() };
        if list.get("model").is_some() {
            list.set("model", Value::from(model).to_string());
        }
        for (name, value) in &self.defaults {
            if list.get(name).is_none() {
                list.set(name, value.clone());
            }
        }
        for (name, clamp) in &self.clamps {
            clamp_in(&mut list, name, *clamp);
        }
        for (name, value) in &self.overrides {
            list.set(name, value.clone());
        }
        list.write().into()
    }
}

/// A chat completion without what its provider is known to refuse; `body` itself where nothing of it is there.
pub(super) fn fit(quirks: &ChatQuirks, body: Bytes) -> Bytes {
    if *quirks == ChatQuirks::NONE {
        return body;
    }
    let Some(mut list) = RawMembers::parse(&body) else { return body };
    let mut is_changed = false;
    for (name, theirs) in quirks.renamed {
        if let Some(value) = list.get(name).map(str::to_owned) {
            list.remove(name);
            if list.get(theirs).is_none() {
                list.set(theirs, value);
            }
            is_changed = true;
        }
    }
    for name in quirks.left_out {
        is_changed |= list.remove(name);
    }
    if is_changed { list.write().into() } else { body.clone() }
}

fn json((name, value): (&String, &toml::Value), key: &str) -> Result<(String, String), ConfigError> {
    let invalid = |error: serde_json::Error| ConfigError::Invalid { key: key.into(), why: error.to_string() };
    Ok((name.clone(), serde_json::to_string(value).map_err(invalid)?))
}

fn clamp_in(list: &mut RawMembers<'_>, name: &str, clamp: Clamp) {
    let Some(Ok(value)) = list.get(name).map(serde_json::from_str::<Value>) else { return };
    let Some(number) = value.as_f64() else { return };
    let clamped = number.max(clamp.min.unwrap_or(f64::NEG_INFINITY)).min(clamp.max.unwrap_or(f64::INFINITY));
    if clamped.total_cmp(&number).is_eq() {
        return;
    }
    // A whole number stays one.
    #[expect(clippy::cast_possible_truncation, reason = "whole and far below 2^53")]
    let text = match clamped.fract() == 0.0 && clamped.abs() < 9e15 && value.is_i64() {
        true => (clamped as i64).to_string(),
        false => Value::from(clamped).to_string(),
    };
    list.set(name, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adjusted(settings: &str, body: &str) -> String {
        let target: crate::config::Target =
            toml::from_str(&format!("provider = \"p\"\nmodel = \"m\"\n{settings}")).unwrap();
        let provider = [("seed".to_owned(), toml::Value::Integer(1)), ("top_p".to_owned(), toml::Value::Float(0.5))];
        let adjustments = Adjustments::new(&provider.into(), &target, "k").unwrap();
        String::from_utf8(adjustments.apply(&Bytes::copy_from_slice(body.as_bytes()), "m").to_vec()).unwrap()
    }

    #[test]
    fn what_a_provider_refuses_is_renamed_or_left_out_and_the_rest_stays_as_written() {
        let of = |kind: &str, body: &'static str| {
            fit(&crate::config::Preset::named(kind).unwrap().chat, Bytes::from_static(body.as_bytes()))
        };
        let body = r#"{"model":"m", "seed":1e0,"max_completion_tokens":9,"stream":true,"stream_options":{"include_usage":true},"user":"u"}"#;
        assert_eq!(&*of("mistral", body), &br#"{"model":"m","stream":true,"random_seed":1e0,"max_tokens":9}"#[..]);
        assert_eq!(&*of("openai", body), body.as_bytes());
        assert_eq!(&*of("groq", body), body.as_bytes(), "byte for byte where there is nothing to change");
        assert_eq!(&*of("groq", r#"{"store":false,"metadata":{},"n" : 1}"#), &br#"{"n":1}"#[..]);
        let both = r#"{"max_completion_tokens":9,"max_tokens":5}"#;
        assert_eq!(&*of("ollama", both), &br#"{"max_tokens":5}"#[..], "what it knows counts");
        for odd in ["<html>", "[1]", "", "{\"seed\""] {
            assert_eq!(&*of("mistral", odd), odd.as_bytes());
        }
    }

    #[test]
    fn parameters_are_given_bounded_and_forced_and_the_rest_stays_as_written() {
        assert_eq!(
            adjusted("defaults = { top_p = 0.9 }", r#"{"model":"x", "n" : 1.00}"#),
            r#"{"model":"m","n":1.00,"top_p":0.9,"seed":1}"#
        );
        assert_eq!(
            adjusted("overrides = { seed = 7 }", r#"{"model":"x","seed":5,"top_p":1}"#),
            r#"{"model":"m","seed":7,"top_p":1}"#
        );
        let clamp = "clamp = { max_tokens = { max = 100 }, temperature = { min = 0.5, max = 1.0 } }";
        assert_eq!(
            adjusted(clamp, r#"{"seed":0,"top_p":1,"max_tokens":4000,"temperature":0}"#),
            r#"{"seed":0,"top_p":1,"max_tokens":100,"temperature":0.5}"#
        );
        assert_eq!(
            adjusted(clamp, r#"{"seed":0,"top_p":1,"max_tokens":50,"temperature":"hot"}"#),
            r#"{"seed":0,"top_p":1,"max_tokens":50,"temperature":"hot"}"#
        );
        assert_eq!(adjusted(clamp, "<html>"), "<html>");
    }
}
