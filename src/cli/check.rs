//! `refrain check`

use super::CommandError;
use crate::config::Settings;
use crate::embed::{Manifest, Model};
use crate::http::Tenants;

/// What loading the settings didn't check yet, and a summary.
pub(super) fn run(settings: &Settings) -> Result<(), CommandError> {
    Tenants::new(settings)?;
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
        ("models", names(settings.models.keys().collect())),
    ];
    if settings.providers.is_empty() {
        lines.push(("note", "without a provider only the cache API and /v1/embeddings answer".into()));
    }
    #[expect(clippy::print_stdout, reason = "this is what the command is for")]
    for (name, value) in lines {
        println!("{name:<10} {value}");
    }
    Ok(())
}
