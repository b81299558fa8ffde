//! All providers, and which model goes where.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::adjust::Adjustments;
use super::concurrency::Capacity;
use super::conditions::Conditions;
use super::health::Patience;
use super::provider::Provider;
use super::setup_error::RouterError;
use super::target::{State, Target};
use crate::config::{self, AnswersBy, Settings, Strategy};

/// Models that requests name themselves of which something is remembered.
const MODELS: usize = 4096;
/// Bytes of their names.
const NAME: usize = 256;

/// All providers, and which model goes where.
pub struct Router {
    pub(super) providers: BTreeMap<String, Arc<Provider>>,
    pub(super) aliases: BTreeMap<String, Alias>,
    /// Of each provider, for models that no alias names.
    pub(super) direct: BTreeMap<String, Target>,
    pub(super) default_provider: Option<String>,
    pub(super) retries: Retries,
    /// How many requests each model of a provider may be working on, and how many may wait.
    capacities: BTreeMap<String, Capacity>,
    /// By provider and model, of what aliases name.
    states: HashMap<(String, String), Arc<State>>,
    /// Of what requests name themselves.
    direct_states: Arc<quick_cache::sync::Cache<(String, String), Arc<State>>>,
}

/// What users ask for.
pub(super) struct Alias {
    pub(super) targets: Vec<Target>,
    pub(super) strategy: Strategy,
    pub(super) answers_by: AnswersBy,
}

/// How often and for how long failed requests are tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retries {
    pub(super) attempts: u32,
    pub(super) within: Duration,
    pub(super) patience: Patience,
}

impl Router {
    /// From checked settings. Needs a TLS provider to be installed. What is known of targets, keys and open connections is
    /// taken over from `before`, where settings have changed while the program runs.
    ///
    /// # Errors
    /// See [`RouterError`].
    pub fn new(settings: &Settings, before: Option<&Self>) -> Result<Self, RouterError> {
        let only = settings.providers.keys().next().filter(|_| settings.providers.len() == 1);
        let default_provider = settings.router.default_provider.as_ref().or(only).cloned();
        let mut providers = BTreeMap::new();
        for (name, provider) in &settings.providers {
            let is_default = default_provider.as_ref() == Some(name);
            let known = before.and_then(|before| before.providers.get(name));
            let made = Provider::new(name, provider, is_default, known.map(Arc::as_ref))?;
            providers.insert(name.clone(), Arc::new(made));
        }
        let capacity = |set: &config::Provider| Capacity { most: set.max_concurrent, queue: set.queue };
        let capacities = settings.providers.iter().map(|(name, set)| (name.clone(), capacity(set)));
        let capacities: BTreeMap<String, Capacity> = capacities.collect();
        let mut states = HashMap::new();
        let mut place = |provider: &str, model: &str| {
            let (capacity, made) = (capacities[provider], Arc::clone(&providers[provider]));
            let name = (provider.to_owned(), model.to_owned());
            let known = before.and_then(|before| before.states.get(&name)).cloned();
            let state = states.entry(name).or_insert_with(|| {
                let unchanged = known.filter(|known| known.concurrency.capacity() == capacity);
                unchanged.unwrap_or_else(|| State::new(capacity))
            });
            (made, Arc::clone(state))
        };
        let mut aliases = BTreeMap::new();
        for (alias, model) in &settings.models {
            let key = format!("models.{alias}.targets");
            let mut targets = Vec::with_capacity(model.targets.len());
            for set in &model.targets {
                let (provider, state) = place(&set.provider, &set.model);
                targets.push(Target {
                    adjustments: Adjustments::new(&provider.defaults, set, &key)?,
                    conditions: Conditions::new(&set.when, &key)?,
                    model: set.model.clone(),
                    weight: set.weight,
                    provider,
                    state: Some(state),
                });
            }
            aliases.insert(alias.clone(), Alias { targets, strategy: model.strategy, answers_by: model.answers_by });
        }
        let mut direct = BTreeMap::new();
        for name in settings.providers.keys() {
            let provider = Arc::clone(&providers[name]);
            let adjustments = Adjustments::of_provider(&provider.defaults, name)?;
            let (model, conditions) = (String::new(), Conditions::default());
            direct.insert(name.clone(), Target { provider, model, weight: 1.0, conditions, adjustments, state: None });
        }
        let retries = Retries {
            attempts: settings.router.attempts.get(),
            within: settings.router.retry_for.0,
            patience: Patience { failures: settings.router.failures.get(), recovery: settings.router.recovery.0 },
        };
        // What is known of models that requests name goes with a change of the settings only where a capacity does.
        let is_unchanged =
            |before: &&Self| before.capacities.iter().all(|(name, was)| capacities.get(name) == Some(was));
        let direct_states = match before.filter(is_unchanged) {
            Some(before) => Arc::clone(&before.direct_states),
            None => Arc::new(quick_cache::sync::Cache::new(MODELS)),
        };
        Ok(Self { providers, aliases, direct, default_provider, retries, capacities, states, direct_states })
    }

    /// What is known of a model that a request names itself.
    pub(super) fn direct_state(&self, provider: &str, model: &str) -> Arc<State> {
        let name = (provider.to_owned(), model[..model.floor_char_boundary(NAME)].to_owned());
        let capacity = self.capacities.get(provider).copied().unwrap_or_default();
        let made = || Ok::<_, std::convert::Infallible>(State::new(capacity));
        match self.direct_states.get_or_insert_with(&name, made) {
            Ok(state) => state,
            Err(never) => match never {},
        }
    }

    /// The providers, by name.
    pub fn providers(&self) -> impl Iterator<Item = &Provider> {
        self.providers.values().map(Arc::as_ref)
    }

    /// A provider, by its name.
    #[must_use]
    pub fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.get(name).map(Arc::as_ref)
    }

    /// The model names that the settings define.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        self.aliases.keys().map(String::as_str)
    }
}
