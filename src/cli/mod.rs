//! The subcommands.

mod backup;
pub mod bench;
mod calibrate;
mod check;
mod check_data;
mod control;
mod model;
mod reembed;
mod replay;
mod serve;
mod transfer;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, ConfigError, Settings};
use serve::Vectors;

/// The settings file that is used when none is named, where there is one.
const DEFAULT_FILE: &str = "refrain.toml";

/// A semantic cache for LLM traffic.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the cache API and the OpenAI-compatible API.
    Serve {
        /// Where the vectors are another model's than the settings name, make them anew; until then, those before serve.
        #[arg(long)]
        reembed: bool,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Check the settings and say what they amount to, or look at a data directory and say what is wrong with it.
    Check {
        #[command(flatten)]
        data: check_data::DataArguments,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Copy all data, as it is at one moment, into a new directory, with a server running or not.
    Backup {
        /// The directory; it must not exist yet.
        directory: PathBuf,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Put a backup where the data should be.
    Restore {
        /// A directory that `refrain backup` made.
        directory: PathBuf,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Write entries to a file, one JSON object a line.
    Export {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        cache: transfer::CacheArgument,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Store the entries of a file: one JSON object a line, of which `prompt` (or `messages`) and `response` are enough.
    Import {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        cache: transfer::CacheArgument,
        /// Take the entries for curated ones, such as an FAQ's, unless a line says otherwise: they answer chats too.
        #[arg(long)]
        curated: bool,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Make the vectors of all entries anew with the model that the settings name, with a server running or not; a server
    /// goes over to it when that is done.
    Reembed(ConfigArgument),
    /// Run a trace of prompts through caches with different policies, and tell what each would have served, right and wrong.
    Replay {
        #[command(flatten)]
        arguments: replay::ReplayArguments,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Make the prior of the model that the settings name, from labelled pairs and traces: by it caches decide until they have labels
    /// of their own.
    Calibrate {
        #[command(flatten)]
        arguments: calibrate::CalibrateArguments,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Measure parts of Refrain on this machine.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// The embedding models.
    #[command(subcommand)]
    Model(model::ModelCommand),
}

#[derive(Subcommand)]
enum BenchCommand {
    /// How fast each engine embeds: milliseconds per text and texts per second by tokens and texts at once.
    Embed {
        #[command(flatten)]
        config: ConfigArgument,
        #[command(flatten)]
        options: bench::EmbedOptions,
    },
}

#[derive(clap::Args)]
struct ConfigArgument {
    /// The settings file [default: refrain.toml, if there is one]
    #[arg(long, value_name = "FILE", env = "REFRAIN_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigArgument {
    fn file(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.exists()))
    }

    fn load(&self) -> Result<Settings, ConfigError> {
        // A variable that isn't UTF-8 is none of ours.
        let variables = std::env::vars_os();
        config::load(
            self.file().as_deref(),
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }
}

/// Why a command failed: a sentence for whoever typed it.
pub type CommandError = Box<dyn std::error::Error>;

/// Runs the command that was typed.
#[must_use]
pub fn run() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Serve { reembed, config } => {
            let vectors = if reembed { Vectors::Reembed } else { Vectors::OfTheModel };
            config.load().map_err(CommandError::from).and_then(|settings| serve::run(settings, config.file(), vectors))
        }
        Command::Check { data, config } => match data.directory() {
            Some(directory) => check_data::run(directory, &data),
            None => config.load().map_err(CommandError::from).and_then(|settings| check::run(&settings)),
        },
        Command::Bench(BenchCommand::Embed { config, options }) => {
            config.load().map_err(CommandError::from).and_then(|settings| bench::embed(&settings.embedding, &options))
        }
        Command::Backup { directory, config } => {
            config.load().map_err(CommandError::from).and_then(|settings| backup::backup(settings, &directory))
        }
        Command::Restore { directory, config } => {
            config.load().map_err(CommandError::from).and_then(|settings| backup::restore(&settings, &directory))
        }
        Command::Export { file, cache, config } => {
            config.load().map_err(CommandError::from).and_then(|settings| transfer::export(settings, &file, &cache))
        }
        Command::Import { file, cache, curated, config } => {
            let settings = config.load().map_err(CommandError::from);
            settings.and_then(|settings| transfer::import(settings, file, &cache, curated))
        }
        Command::Reembed(argument) => argument.load().map_err(CommandError::from).and_then(reembed::run),
        Command::Replay { arguments, config } => {
            config.load().map_err(CommandError::from).and_then(|settings| replay::run(settings, &arguments))
        }
        Command::Calibrate { arguments, config } => {
            config.load().map_err(CommandError::from).and_then(|settings| calibrate::run(settings, &arguments))
        }
        Command::Model(command) => model::run(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("refrain: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}
