//! What settings say of who calls a provider, and what the environment says where they don't.

use serde::Deserialize;

use super::{ApiKey, Provider, ProviderKind};

/// Who calls a provider, where it isn't said by a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialSource {
    /// This machine, this container or this job, by the identity that its cloud gave it.
    Identity,
    /// Whoever calls us: the caller's own credentials go on, to the default provider only, and only without tenants.
    Caller,
}

/// How a provider learns who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// By a key of ours.
    Keys,
    /// By an account of ours in the provider's cloud, or by the machine's identity there.
    Identity,
    /// By whatever the caller sent.
    Caller,
}

impl Provider {
    /// How the provider learns who calls.
    #[must_use]
    pub fn authentication(&self) -> Authentication {
        match self.credentials {
            Some(CredentialSource::Caller) => Authentication::Caller,
            Some(CredentialSource::Identity) => Authentication::Identity,
            None if self.keys().next().is_some() => Authentication::Keys,
            None if self.has_account() => Authentication::Identity,
            None if self.base_url.is_none() && self.has_identities() => Authentication::Identity,
            None => Authentication::Caller,
        }
    }

    /// Whether an account of ours in the provider's cloud is set.
    fn has_account(&self) -> bool {
        self.access_key_id.is_some() || self.service_account.is_some() || self.client_secret.is_some()
    }

    /// Whether a machine of the provider's own cloud may have an identity there.
    fn has_identities(&self) -> bool {
        matches!(self.api(), ProviderKind::Azure | ProviderKind::Vertex | ProviderKind::Bedrock)
    }

    /// Takes from the environment what is usual for this kind of provider and isn't set: parts of the address, and the key.
    /// A key goes to the usual address only, so it isn't taken where `base_url` is set.
    pub(super) fn complete(&mut self, variable: impl Fn(&str) -> Option<String>) -> Result<(), (&'static str, String)> {
        let Some(preset) = self.kind else { return Ok(()) };
        let first = |names: &[&'static str]| names.iter().find_map(|name| Some((*name, variable(name)?)));
        for (name, variables) in preset.address_settings {
            if self.address_setting(name).is_some() {
                continue;
            }
            let found = first(variables).map(|(_, value)| value);
            match *name {
                "account_id" => self.account_id = found,
                "region" => self.region = found,
                "project" => self.project = found,
                "location" => self.location = found,
                _ => {}
            }
        }
        let is_said = self.credentials.is_some() || self.has_account() || self.keys().next().is_some();
        if !is_said
            && self.base_url.is_none()
            && let Some((name, key)) = first(preset.key_variables)
        {
            let key = ApiKey::new(&key).map_err(|why| ("api_key", format!("environment variable {name}: {why}")))?;
            self.api_key = Some(key);
            self.key_variable = Some(name);
        }
        Ok(())
    }

    /// What is said of who calls fits together.
    pub(super) fn check_who_calls(&self) -> Result<(), (&'static str, String)> {
        let has_key = self.keys().next().is_some();
        let (id, secret) = (self.access_key_id.is_some(), self.secret_access_key.is_some());
        let (key, why) = match self.credentials {
            _ if id != secret || (self.session_token.is_some() && !id) => {
                ("access_key_id", "access_key_id and secret_access_key must both be set")
            }
            _ if id && has_key => ("access_key_id", "either api_key or access_key_id may be set"),
            _ if self.client_secret.is_some() && has_key => {
                ("client_secret", "either api_key or client_secret may be set")
            }
            _ if self.client_secret.is_some() && (self.tenant_id.is_none() || self.client_id.is_none()) => {
                ("client_secret", "tenant_id and client_id must be set too")
            }
            _ if self.authentication() == Authentication::Identity
                && self.api() == ProviderKind::Bedrock
                && self.region.is_none() =>
            {
                ("region", "must be set: requests are signed for one")
            }
            Some(CredentialSource::Identity) if !self.has_identities() => {
                ("credentials", "only azure, vertex and bedrock know identities of machines")
            }
            Some(CredentialSource::Identity) if has_key => {
                ("credentials", "either api_key or credentials = \"identity\" may be set")
            }
            Some(CredentialSource::Caller) if has_key || self.has_account() => {
                ("credentials", "with credentials = \"caller\" no key and no account may be set")
            }
            _ => return Ok(()),
        };
        Err((key, why.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(settings: &str, variables: &[(&str, &str)]) -> Result<Provider, (&'static str, String)> {
        let mut provider: Provider = toml::from_str(settings).map_err(|error| ("toml", error.to_string()))?;
        provider.complete(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })?;
        provider.check("mistral")?;
        Ok(provider)
    }

    fn key(provider: &Provider) -> Vec<&str> {
        provider.keys().map(ApiKey::expose).collect()
    }

    #[test]
    fn a_kind_and_a_key_are_enough() {
        let mistral = provider("kind = \"mistral\"\napi_key = \"k\"", &[("MISTRAL_API_KEY", "other")]).unwrap();
        assert_eq!(mistral.address().as_deref(), Ok("https://api.mistral.ai/v1"));
        assert_eq!((key(&mistral), mistral.authentication()), (vec!["k"], Authentication::Keys));
        let ollama = provider("kind = \"ollama\"", &[]).unwrap();
        assert_eq!(ollama.address().as_deref(), Ok("http://127.0.0.1:11434/v1"));
        assert_eq!(ollama.authentication(), Authentication::Caller);
        let account = "https://api.cloudflare.com/client/v4/accounts/a1/ai/v1";
        assert_eq!(
            provider("kind = \"cloudflare\"\naccount_id = \"a1\"", &[]).unwrap().address().as_deref(),
            Ok(account)
        );
    }

    #[test]
    fn the_environment_says_what_the_settings_leave_out() {
        let known = [
            ("MISTRAL_API_KEY", "m"),
            ("CLOUDFLARE_ACCOUNT_ID", "a1"),
            ("CLOUDFLARE_API_KEY", "c"),
            ("AWS_DEFAULT_REGION", "eu-central-1"),
            ("GOOGLE_CLOUD_PROJECT", "p"),
            ("GOOGLE_CLOUD_LOCATION", "global"),
        ];
        let mistral = provider("kind = \"mistral\"", &known).unwrap();
        assert_eq!((key(&mistral), mistral.key_variable), (vec!["m"], Some("MISTRAL_API_KEY")));
        let cloudflare = provider("kind = \"cloudflare\"", &known).unwrap();
        assert_eq!((cloudflare.account_id.as_deref(), key(&cloudflare)), (Some("a1"), vec!["c"]));
        let bedrock = provider("kind = \"bedrock\"", &known).unwrap();
        assert_eq!(bedrock.address().as_deref(), Ok("https://bedrock-runtime.eu-central-1.amazonaws.com"));
        assert_eq!(bedrock.authentication(), Authentication::Identity);
        let elsewhere = "kind = \"bedrock\"\nbase_url = \"http://x\"\ncredentials = \"identity\"";
        assert_eq!(provider(elsewhere, &known).unwrap().region.as_deref(), Some("eu-central-1"));
        assert_eq!(provider("kind = \"vertex\"", &known).unwrap().authentication(), Authentication::Identity);
        assert!(
            provider("kind = \"mistral\"", &[("MISTRAL_API_KEY", "a b")])
                .is_err_and(|(_, why)| why.contains("MISTRAL_API_KEY"))
        );
    }

    #[test]
    fn a_key_of_the_environment_goes_to_the_usual_address_only() {
        let known = [("OPENAI_API_KEY", "o"), ("MISTRAL_API_KEY", "m"), ("AWS_BEARER_TOKEN_BEDROCK", "b")];
        for settings in [
            "base_url = \"http://x\"",
            "kind = \"mistral\"\nbase_url = \"http://x\"",
            "kind = \"openai\"\nbase_url = \"http://x\"",
            "kind = \"mistral\"\ncredentials = \"caller\"",
        ] {
            let provider = provider(settings, &known).unwrap();
            assert_eq!((key(&provider), provider.authentication()), (vec![], Authentication::Caller), "{settings}");
        }
        // Nor where other credentials are set.
        let signed = "kind = \"bedrock\"\nregion = \"r\"\naccess_key_id = \"i\"\nsecret_access_key = \"s\"";
        assert_eq!(key(&provider(signed, &known).unwrap()), Vec::<&str>::new());
        assert_eq!(
            key(&provider("kind = \"bedrock\"\nregion = \"r\"\ncredentials = \"identity\"", &known).unwrap()),
            Vec::<&str>::new()
        );
    }

    #[test]
    fn a_machine_has_an_identity_where_its_cloud_is_asked_and_no_key_is_set() {
        let authentication = |settings: &str| provider(settings, &[]).unwrap().authentication();
        assert_eq!(authentication("kind = \"azure\"\nresource = \"r\""), Authentication::Identity);
        assert_eq!(authentication("kind = \"azure\"\nresource = \"r\"\napi_key = \"k\""), Authentication::Keys);
        assert_eq!(authentication("kind = \"azure\"\nbase_url = \"http://x\""), Authentication::Caller);
        assert_eq!(
            authentication("kind = \"azure\"\nbase_url = \"http://x\"\ncredentials = \"identity\""),
            Authentication::Identity
        );
        let secret =
            "kind = \"azure\"\nbase_url = \"http://x\"\ntenant_id = \"t\"\nclient_id = \"c\"\nclient_secret = \"s\"";
        assert_eq!(authentication(secret), Authentication::Identity);
        assert_eq!(
            authentication("kind = \"bedrock\"\nregion = \"r\"\ncredentials = \"caller\""),
            Authentication::Caller
        );
    }

    #[test]
    fn what_does_not_fit_together_is_said() {
        for (settings, said) in [
            ("kind = \"mistrl\"", "did you mean `mistral`"),
            ("", "base_url: must be set, or kind = \"mistral\""),
            ("kind = \"azure\"", "resource: must be set, or base_url"),
            ("kind = \"cloudflare\"", "account_id: must be set, or the environment variable CLOUDFLARE_ACCOUNT_ID"),
            ("kind = \"cloudflare\"\naccount_id = \"a/../b\"", "account_id must be letters"),
            ("kind = \"azure\"\nresource = \"evil.example/\"", "resource must be letters"),
            ("kind = \"mistral\"\nregion = \"r\"", "region: is a setting of kind = \"bedrock\""),
            ("kind = \"mistral\"\ncredentials = \"identity\"", "only azure, vertex and bedrock"),
            ("kind = \"mistral\"\ncredentials = \"caller\"\napi_key = \"k\"", "no key and no account"),
            (
                "kind = \"vertex\"\nbase_url = \"http://x\"\ncredentials = \"identity\"\napi_key = \"k\"",
                "either api_key",
            ),
            ("kind = \"azure\"\nresource = \"r\"\nclient_secret = \"s\"", "tenant_id and client_id"),
            ("kind = \"bedrock\"\nbase_url = \"http://x\"\ncredentials = \"identity\"", "region: must be set"),
            ("kind = \"bedrock\"\nregion = \"r\"\naccess_key_id = \"i\"", "must both be set"),
        ] {
            let (key, why) = provider(settings, &[]).err().unwrap_or_default();
            assert!(format!("{key}: {why}").contains(said), "{settings}: {key}: {why}");
        }
    }
}
