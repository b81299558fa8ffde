//! Which provider gets a request.

use super::{Provider, Router};

/// A provider and the name of the model there.
#[derive(Clone, Copy)]
pub struct Route<'r> {
    /// The provider.
    pub provider: &'r Provider,
    /// Its name of the model.
    pub model: &'r str,
}

/// Why a request can't be sent anywhere. Each message says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The settings name no provider.
    #[error(
        "no provider is configured, so this can't be forwarded. Set OPENAI_API_KEY, or REFRAIN_PROVIDERS__NAME__BASE_URL, \
         or add [providers.NAME] with base_url and api_key to the settings"
    )]
    NoProviders,
    /// Several providers, and nothing says which.
    #[error(
        "`{0}` is no configured model, and several providers are configured. Add [models.{0}], write `provider/model` \
         with one of {1}, or set router.default_provider"
    )]
    UnknownModel(String, String),
    /// Several providers, and the request names neither a model nor a provider.
    #[error(
        "several providers are configured; name one of {0} in the header x-refrain-provider, or set router.default_provider"
    )]
    NoDefault(String),
    /// The request names a provider that isn't there.
    #[error("there is no provider `{0}`; configured: {1}")]
    UnknownProvider(String, String),
}

impl Router {
    /// Where a request for `model` goes: an alias's targets in order, else `provider/model`, else the default provider.
    ///
    /// # Errors
    /// See [`RouteError`].
    pub fn route<'r>(&'r self, model: &'r str) -> Result<Vec<Route<'r>>, RouteError> {
        if let Some(targets) = self.aliases.get(model) {
            let routes = targets
                .iter()
                .filter_map(|(provider, model)| Some(Route { provider: self.providers.get(provider)?, model }));
            return Ok(routes.collect());
        }
        if let Some((provider, rest)) = model.split_once('/')
            && let Some(provider) = self.providers.get(provider)
        {
            return Ok(vec![Route { provider, model: rest }]);
        }
        match self.default_provider() {
            Some(provider) => Ok(vec![Route { provider, model }]),
            None if self.providers.is_empty() => Err(RouteError::NoProviders),
            None => Err(RouteError::UnknownModel(model.to_owned(), self.names())),
        }
    }

    /// Where a request goes that names no model: the provider `named` in a header, else the default one.
    ///
    /// # Errors
    /// See [`RouteError`].
    pub fn provider_for(&self, named: Option<&str>) -> Result<&Provider, RouteError> {
        match named {
            Some(name) => {
                self.providers.get(name).ok_or_else(|| RouteError::UnknownProvider(name.to_owned(), self.names()))
            }
            None if self.providers.is_empty() => Err(RouteError::NoProviders),
            None => self.default_provider().ok_or_else(|| RouteError::NoDefault(self.names())),
        }
    }

    /// Whether `provider` gets what names no other one.
    #[must_use]
    pub fn is_default(&self, provider: &Provider) -> bool {
        provider.is_default
    }

    fn default_provider(&self) -> Option<&Provider> {
        self.providers.get(self.default_provider.as_deref()?)
    }

    fn names(&self) -> String {
        self.providers.keys().cloned().collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use crate::config::load;
    use crate::router::Router;

    fn router(text: &str) -> Router {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Router::new(&load(Some(file.path()), []).unwrap()).unwrap()
    }

    fn routes(router: &Router, model: &str) -> Result<Vec<(String, String)>, String> {
        let routes = router.route(model).map_err(|error| error.to_string())?;
        Ok(routes.iter().map(|route| (route.provider.name().to_owned(), route.model.to_owned())).collect())
    }

    fn pair(provider: &str, model: &str) -> (String, String) {
        (provider.into(), model.into())
    }

    const TWO: &str = "[providers.a]\nbase_url = \"http://a/v1\"\n[providers.b]\nbase_url = \"http://b/v1\"\n";

    #[test]
    fn an_alias_goes_to_its_targets_in_order() {
        let text = format!(
            "{TWO}[models.fast]\ntargets = [{{ provider = \"b\", model = \"x\" }}, {{ provider = \"a\", model = \"y\" }}]\n"
        );
        assert_eq!(routes(&router(&text), "fast").unwrap(), [pair("b", "x"), pair("a", "y")]);
    }

    #[test]
    fn a_prefix_names_the_provider_and_a_slash_in_a_model_name_does_not() {
        assert_eq!(routes(&router(TWO), "b/org/m").unwrap(), [pair("b", "org/m")]);
        let one = router("[providers.a]\nbase_url = \"http://a/v1\"\n");
        assert_eq!(routes(&one, "org/m").unwrap(), [pair("a", "org/m")]);
    }

    #[test]
    fn an_unknown_model_is_an_error_only_where_no_default_takes_it() {
        assert!(routes(&router(TWO), "gpt").unwrap_err().contains("[models.gpt]"));
        let with_default = router(&format!("{TWO}[router]\ndefault_provider = \"b\"\n"));
        assert_eq!(routes(&with_default, "gpt").unwrap(), [pair("b", "gpt")]);
    }
}
