//! Which provider gets a request.

use std::collections::BTreeSet;
use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderName};
use tokio::time::Instant;

use super::conditions::Asked;
use super::order::{Candidate, order};
use super::provider::Provider;
use super::router::{Alias, Router};
use super::sample::sample;
use super::target::{State, Target};
use crate::config::AnswersBy;
use crate::llm::FormatId;

/// A target and the name of the model there, where one is asked for.
#[derive(Clone)]
pub(super) struct Route<'r> {
    pub(super) target: &'r Target,
    pub(super) model: Option<&'r str>,
    pub(super) state: Arc<State>,
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
    /// None of a model's targets is for this request.
    #[error("none of the targets of `{0}` is for this request: their conditions in the settings don't hold")]
    NoTarget(String),
    /// The request names a provider that isn't there.
    #[error("there is no provider `{0}`; configured: {1}")]
    UnknownProvider(String, String),
}

impl Router {
    /// Where a request for `model` goes, first of all first: those of an alias's targets whose conditions hold, else
    /// `provider/model`, else the default provider.
    pub(super) fn route<'r>(
        &'r self,
        model: &'r str,
        asked: &Asked<'_>,
        draw: f64,
    ) -> Result<Vec<Route<'r>>, RouteError> {
        if let Some(alias) = self.aliases.get(model) {
            let routes = alias.routes(asked, draw);
            return if routes.is_empty() { Err(RouteError::NoTarget(model.to_owned())) } else { Ok(routes) };
        }
        if let Some((provider, rest)) = model.split_once('/')
            && let Some(target) = self.direct.get(provider)
        {
            return Ok(vec![Route { target, model: Some(rest), state: self.direct_state(provider, rest) }]);
        }
        match self.default_provider() {
            Some(provider) => {
                let state = self.direct_state(&provider.name, model);
                Ok(vec![Route { model: Some(model), state, ..self.direct_route(provider)? }])
            }
            None if self.providers.is_empty() => Err(RouteError::NoProviders),
            None => Err(RouteError::UnknownModel(model.to_owned(), self.names())),
        }
    }

    /// What of a request's headers decides which target answers for `model`: answers of one aren't those of another. None
    /// where nothing does.
    #[must_use]
    pub fn told_apart_by(&self, model: &str, headers: &HeaderMap) -> Option<String> {
        let alias = self.aliases.get(model)?;
        let names: BTreeSet<&str> =
            alias.targets.iter().flat_map(|target| target.conditions.headers()).map(HeaderName::as_str).collect();
        let said = |name: &str| {
            let values =
                headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            format!("{name}: {}\n", values.collect::<Vec<_>>().join(", "))
        };
        (!names.is_empty()).then(|| names.into_iter().map(said).collect())
    }

    /// Whether a provider that may answer for `model` keeps its answers, so that a later turn can go on from one.
    #[must_use]
    pub fn keeps_answers(&self, model: Option<&str>) -> bool {
        self.providers_of(model.unwrap_or_default()).any(Provider::keeps_answers)
    }

    /// Whether the provider that is asked first for `model` takes requests in `format` as they are.
    #[must_use]
    pub fn speaks(&self, model: &str, format: FormatId) -> bool {
        self.providers_of(model).next().is_some_and(|provider| provider.speaks(format))
    }

    /// The providers that may answer for `model`, the first target's first.
    fn providers_of(&self, model: &str) -> impl Iterator<Item = &Provider> {
        let alias = self.aliases.get(model);
        let named = || model.split_once('/').and_then(|(name, _)| self.providers.get(name)).map(Arc::as_ref);
        let direct = if alias.is_none() { named().or_else(|| self.default_provider()) } else { None };
        let targets = alias.into_iter().flat_map(|alias| &alias.targets);
        targets.map(|target| &*target.provider).chain(direct)
    }

    /// What of the target that answered belongs to the scope of an answer for `model`, by the alias's `answers_by`: nothing
    /// where all targets share answers.
    #[must_use]
    pub fn answer_scope(&self, model: &str, provider: &str, target_model: &str) -> Option<String> {
        let alias = self.aliases.get(model)?;
        let is_first = alias.targets.first().is_some_and(|first| first.is(provider, target_model));
        match alias.answers_by {
            AnswersBy::Alias => None,
            AnswersBy::AliasWithoutFallbacks if is_first => None,
            AnswersBy::AliasWithoutFallbacks | AnswersBy::Target => Some(format!("{provider}/{target_model}")),
        }
    }

    /// The same of the target that a request would be sent to now.
    #[must_use]
    pub fn likely_scope(&self, model: &str, headers: &HeaderMap, tenant: &str, body: &[u8]) -> Option<String> {
        let alias = self.aliases.get(model).filter(|alias| alias.answers_by != AnswersBy::Alias)?;
        let routes = alias.routes(&Asked::new(headers, tenant, body), sample());
        let now = Instant::now();
        let open = routes.iter().find(|route| route.state.health.lock().is_open(now)).or(routes.first())?;
        self.answer_scope(model, &open.target.provider.name, &open.target.model)
    }

    /// Straight to a provider.
    pub(super) fn direct_route(&self, provider: &Provider) -> Result<Route<'_>, RouteError> {
        let target = self.direct.get(&provider.name);
        let unknown = || RouteError::UnknownProvider(provider.name.clone(), self.names());
        let target = target.ok_or_else(unknown)?;
        Ok(Route { target, model: None, state: self.direct_state(&provider.name, "") })
    }

    /// Where a request goes that names no model: the provider `named` in a header, else the default one.
    ///
    /// # Errors
    /// See [`RouteError`].
    pub fn provider_for(&self, named: Option<&str>) -> Result<&Provider, RouteError> {
        match named {
            Some(name) => {
                let named = self.providers.get(name).map(Arc::as_ref);
                named.ok_or_else(|| RouteError::UnknownProvider(name.to_owned(), self.names()))
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

    /// The providers that have the Responses API and so may keep responses, the default one first.
    pub fn keepers(&self) -> impl Iterator<Item = &Provider> {
        let default = self.default_provider();
        let others = self.providers.values().map(Arc::as_ref).filter(|provider| !self.is_default(provider));
        default.into_iter().chain(others).filter(|provider| provider.speaks_responses())
    }

    fn default_provider(&self) -> Option<&Provider> {
        self.providers.get(self.default_provider.as_deref()?).map(Arc::as_ref)
    }

    fn names(&self) -> String {
        self.providers.keys().cloned().collect::<Vec<_>>().join(", ")
    }
}

impl Alias {
    fn routes(&self, asked: &Asked<'_>, draw: f64) -> Vec<Route<'_>> {
        let now = Instant::now();
        let fit: Vec<&Target> = self.targets.iter().filter(|target| target.conditions.hold(asked)).collect();
        let candidates: Vec<Candidate> = fit.iter().map(|target| target.candidate(now)).collect();
        let ordered = order(&candidates, self.strategy, draw).into_iter();
        let route = |place: usize| {
            let target = fit[place];
            Route { target, model: Some(target.model.as_str()), state: target.state.clone().unwrap_or_default() }
        };
        ordered.map(route).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn router(text: &str) -> Router {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Router::new(&load(Some(file.path()), []).unwrap(), None).unwrap()
    }

    fn routes(router: &Router, model: &str) -> Result<Vec<(String, String)>, String> {
        let headers = [("x-tier".parse().unwrap(), "free".parse().unwrap())].into_iter().collect();
        let asked = Asked::new(&headers, "t", b"{}");
        let routes = router.route(model, &asked, 0.5).map_err(|error| error.to_string())?;
        let name =
            |route: &Route<'_>| (route.target.provider.name().to_owned(), route.model.unwrap_or_default().to_owned());
        Ok(routes.iter().map(name).collect())
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
    fn targets_whose_conditions_do_not_hold_are_left_out() {
        let target = |provider: &str, tier: &str| {
            format!("{{ provider = \"{provider}\", model = \"m\", when = {{ headers = {{ x-tier = \"{tier}\" }} }} }}")
        };
        let text = |a: &str| format!("{TWO}[models.fast]\ntargets = [{}, {}]\n", target("a", a), target("b", "free"));
        assert_eq!(routes(&router(&text("pro")), "fast").unwrap(), [pair("b", "m")]);
        let none = text("pro").replace("free", "pro");
        assert!(routes(&router(&none), "fast").unwrap_err().contains("conditions"));
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
