//! `refrain check`

use super::CommandError;
use crate::config::{Authentication, Provider, ProviderKind, Settings};
use crate::embed::{Manifest, Model};
use crate::http::Tenants;
use crate::router::Router;

/// What loading the settings didn't check yet, and a summary.
pub(super) fn run(settings: &Settings) -> Result<(), CommandError> {
    Tenants::new(settings)?;
    // Files that it reads are there, and keys in them are keys.
    super::serve::install_tls();
    Router::new(settings, None)?;
    let directory = Model::directory(&settings.embedding.model, &settings.embedding.models_dir)?;
    let manifest = Manifest::of_directory(&directory)?;
    let tenants = match settings.tenants.len() {
        0 => "none configured: one local tenant, no keys needed".to_owned(),
        n => n.to_string(),
    };
    let names = |names: Vec<&String>| match names.as_slice() {
        [] => "none".to_owned(),
        names => names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", "),
    };
    let mut lines = vec![
        ("listen", settings.server.listen.to_string()),
        ("storage", format!("{} ({:?})", settings.storage.path.display(), settings.storage.durability).to_lowercase()),
        ("embedding", format!("{} ({} dimensions)", directory.display(), manifest.dimension)),
        ("tenants", tenants),
        ("providers", names(settings.providers.keys().collect())),
    ];
    let described: Vec<(String, String)> =
        settings.providers.iter().map(|(name, provider)| (format!("  {name}"), describe(provider))).collect();
    lines.extend(described.iter().map(|(name, text)| (name.as_str(), text.clone())));
    lines.push(("models", names(settings.models.keys().collect())));
    if settings.providers.is_empty() {
        lines.push(("note", "without a provider only the cache API and /v1/embeddings answer".into()));
    }
    #[expect(clippy::print_stdout, reason = "this is what the command is for")]
    for (name, value) in lines {
        println!("{name:<10} {value}");
    }
    Ok(())
}

/// Who and where a provider is, and how it learns who calls.
fn describe(provider: &Provider) -> String {
    let mut address = provider.address().ok().and_then(|address| reqwest::Url::parse(&address).ok());
    if let Some(url) = &mut address {
        // Some keep a key there.
        let _ = url.set_password(None);
        url.set_query(None);
    }
    let address = address.map(String::from).unwrap_or_default();
    let preset = provider.preset();
    let who = match (provider.authentication(), provider.key_variable) {
        (Authentication::Keys, Some(variable)) => format!("key from {variable}"),
        (Authentication::Keys, None) => match provider.keys().count() {
            1 => "key from the settings".into(),
            n => format!("{n} keys from the settings"),
        },
        (Authentication::Identity, _) => match provider.api() {
            ProviderKind::Bedrock if provider.access_key_id.is_some() => "signed with keys from the settings".into(),
            ProviderKind::Bedrock => "signed with what AWS's chain of credentials finds".into(),
            ProviderKind::Vertex if provider.service_account.is_some() => "tokens of the service_account".into(),
            ProviderKind::Vertex => "tokens of Google's application default credentials".into(),
            _ if provider.client_secret.is_some() => "tokens of the application's secret".into(),
            _ => "tokens of the identity that Azure gives".into(),
        },
        (Authentication::Caller, _) if preset.key_variables.is_empty() => "no key".into(),
        (Authentication::Caller, _) => {
            "no key of ours; the caller's own, if it is the default provider and there are no tenants".into()
        }
    };
    format!("{} at {address}; {who}", preset.title)
}
