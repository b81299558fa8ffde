//! From a TOML file and the environment to checked [`Settings`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Provider, Settings};

/// Environment variables with this prefix and a double underscore are settings: `REFRAIN_SERVER__LISTEN` is
/// `server.listen`. Others with the prefix aren't ours: `REFRAIN_PORT` is set by Kubernetes beside a service `refrain`.
const PREFIX: &str = "REFRAIN_";
const SEPARATOR: &str = "__";

/// Why settings can't be used. Each message says where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is no TOML, or has an unknown key, or a value of the wrong type. The message shows the line.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// toml's message, with line, column and the line itself.
        message: String,
    },
    /// An environment variable names no setting, or has a value of the wrong type.
    #[error("environment variable {variable}: {message}")]
    Variable {
        /// Its name.
        variable: String,
        /// What is wrong with it.
        message: String,
    },
    /// Well-formed, but it can't work.
    #[error("{key}: {why}")]
    Invalid {
        /// The setting.
        key: String,
        /// Why, and what to do.
        why: String,
    },
}

/// Reads `file` (if any), lays the environment `variables` over it, and checks the result.
///
/// # Errors
/// See [`ConfigError`].
pub fn load(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, ConfigError> {
    let mut table = match file {
        Some(path) => read_file(path)?,
        None => toml::Table::new(),
    };
    let variables: BTreeMap<String, String> =
        variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX) && name.contains(SEPARATOR)).collect();
    for (name, value) in &variables {
        insert(&mut table, name, value)?;
    }
    let mut settings: Settings = serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|error| {
        let path = error.path().to_string();
        let message = error.into_inner().message().to_owned();
        match variables.keys().find(|name| concerns(name, &path)) {
            Some(variable) => ConfigError::Variable { variable: variable.clone(), message },
            None => ConfigError::Invalid { key: path, why: message },
        }
    })?;
    if settings.providers.is_empty() && std::env::var("OPENAI_API_KEY").is_ok_and(|key| !key.is_empty()) {
        settings.providers.insert("openai".into(), Provider::openai_from_environment());
    }
    for (name, provider) in &mut settings.providers {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let invalid = |(key, why)| ConfigError::Invalid { key: format!("providers.{name}.{key}"), why };
        provider.complete(variable).map_err(invalid)?;
    }
    settings.check()?;
    Ok(settings)
}

/// Parses the file on its own first: only here does toml still know the lines.
fn read_file(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let in_file = |message: String| ConfigError::File { path: path.to_owned(), message };
    toml::from_str::<Settings>(&text).map_err(|error| in_file(error.to_string()))?;
    toml::from_str(&text).map_err(|error| in_file(error.to_string()))
}

/// `REFRAIN_CACHES__DEFAULT__TTL` → `["caches", "default", "ttl"]`
fn path_of(variable: &str) -> Vec<String> {
    variable.trim_start_matches(PREFIX).split(SEPARATOR).map(str::to_lowercase).collect()
}

/// Whether an error at `path` may come from `variable`: an unknown key is reported at its own path, which may be the
/// beginning of the variable's, and a wrong value within an array at a longer one.
fn concerns(variable: &str, path: &str) -> bool {
    path_of(variable).iter().zip(path.split(['.', '['])).all(|(mine, theirs)| mine == theirs)
}

fn insert(table: &mut toml::Table, variable: &str, text: &str) -> Result<(), ConfigError> {
    let path = path_of(variable);
    let wrong = |message: &str| ConfigError::Variable { variable: variable.to_owned(), message: message.to_owned() };
    let (last, parents) = path.split_last().ok_or_else(|| wrong("names no setting"))?;
    let mut at = table;
    for key in parents {
        at = at
            .entry(key.clone())
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()
            .ok_or_else(|| wrong("lies inside a setting that is not a table"))?;
    }
    at.insert(last.clone(), value_of(text));
    Ok(())
}

/// A variable's text as TOML where it is a number, boolean, array or table, else as a string.
fn value_of(text: &str) -> toml::Value {
    #[derive(Deserialize)]
    struct Line {
        v: toml::Value,
    }
    match toml::from_str::<Line>(&format!("v = {text}")) {
        Ok(Line { v }) if !v.is_datetime() => v,
        _ => toml::Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PolicyName;

    fn from_text(text: &str, variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(Some(file.path()), variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let message = from_text("[server]\nlisten = \"127.0.0.1:1\"\nlissten = 3\n", &[]).unwrap_err().to_string();
        assert!(message.contains("line 3") && message.contains("lissten"), "{message}");
    }

    #[test]
    fn variables_override_the_file_and_a_wrong_one_is_named() {
        let settings = from_text(
            "[caches.default]\nmin_cosine = 0.5\n",
            &[("REFRAIN_CACHES__DEFAULT__MIN_COSINE", "0.7"), ("REFRAIN_SERVER__LISTEN", "127.0.0.1:9")],
        )
        .unwrap();
        assert_eq!(settings.cache("any").min_cosine, Some(0.7));
        assert_eq!(settings.server.listen.port(), 9);

        let message = from_text("", &[("REFRAIN_SERVER__LISTN", "x")]).unwrap_err().to_string();
        assert!(message.contains("REFRAIN_SERVER__LISTN") && message.contains("unknown field"), "{message}");
        let message = from_text("", &[("REFRAIN_NO_SUCH__KEY", "x")]).unwrap_err().to_string();
        assert!(message.contains("REFRAIN_NO_SUCH__KEY"), "{message}");
        let message = from_text("", &[("REFRAIN_TENANTS__A__API_KEYS", "[1]")]).unwrap_err().to_string();
        assert!(message.contains("REFRAIN_TENANTS__A__API_KEYS"), "{message}");
    }

    #[test]
    fn a_named_cache_inherits_what_it_does_not_set() {
        let settings =
            from_text("[caches.default]\nmin_cosine = 0.8\nttl = \"1h\"\n[caches.faq]\nmin_cosine = 0.9\n", &[])
                .unwrap();
        let faq = settings.cache("faq");
        assert_eq!((faq.min_cosine, faq.ttl().0.as_secs()), (Some(0.9), 3600));
        assert_eq!(settings.cache("other").min_cosine, Some(0.8));
        assert_eq!(faq.policy.unwrap_or_default(), PolicyName::Budget);
    }

    #[test]
    fn a_public_address_without_keys_is_refused_and_with_keys_is_not() {
        let message = from_text("[server]\nlisten = \"0.0.0.0:80\"\n", &[]).unwrap_err().to_string();
        assert!(message.contains("api_keys"), "{message}");
        from_text("[server]\nlisten = \"0.0.0.0:80\"\n[tenants.a]\napi_keys = [\"k\"]\n", &[]).unwrap();
    }

    #[test]
    fn references_and_ranges_are_checked() {
        for (text, named) in [
            ("[models.fast]\ntargets = [{ provider = \"nobody\", model = \"m\" }]\n", "nobody"),
            ("[caches.default]\nmin_cosine = 1.5\n", "min_cosine"),
            ("[caches.default]\nttl = \"soon\"\n", "soon"),
            ("[caches.default]\nerror_budget = 2\n", "error_budget"),
            ("[caches.default]\naudit_rate = -0.1\n", "audit_rate"),
            ("[caches.default]\npolicy = \"guess\"\n", "static"),
            ("[providers.p]\nbase_url = \"nowhere\"\n", "base_url"),
            ("[providers.p]\nbase_url = \"http://x\"\napi_key = \"env:REFRAIN_NO_SUCH\"\n", "REFRAIN_NO_SUCH"),
        ] {
            let message = from_text(text, &[]).unwrap_err().to_string();
            assert!(message.contains(named), "{text}: {message}");
        }
    }
}
