//! `refrain model`

use std::path::PathBuf;

use clap::Subcommand;

use super::CommandError;
use crate::embed::{Manifest, Model, fetch};

#[derive(Subcommand)]
pub(super) enum ModelCommand {
    /// Fetch a model's files and check them against the hashes in its manifest.
    Fetch {
        /// The model: a name under the models directory, or a directory with a manifest.toml.
        #[arg(default_value = "all-MiniLM-L6-v2")]
        name: String,
        #[command(flatten)]
        models: ModelsArgument,
    },
    /// List the models in the models directory.
    List(ModelsArgument),
}

#[derive(clap::Args)]
pub(super) struct ModelsArgument {
    /// Where models are looked for.
    #[arg(long, value_name = "DIR", default_value = "models")]
    models_dir: PathBuf,
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(super) fn run(command: &ModelCommand) -> Result<(), CommandError> {
    match command {
        ModelCommand::Fetch { name, models } => {
            super::serve::install_tls();
            let directory = Model::directory(name, &models.models_dir)?;
            let fetched = fetch::ensure(&directory)?;
            println!("{} is {}", directory.display(), if fetched { "complete" } else { "complete already" });
        }
        ModelCommand::List(models) => {
            for name in Model::list(&models.models_dir) {
                let directory = models.models_dir.join(&name);
                let manifest = Manifest::of_directory(&directory)?;
                let there = Manifest::REQUIRED.iter().all(|file| directory.join(file).is_file());
                let state = if there { "there" } else { "not fetched" };
                println!("{name:<24} {} dimensions, {:?} pooling, {state}", manifest.dimension, manifest.pooling);
            }
        }
    }
    Ok(())
}
