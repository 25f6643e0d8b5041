//! `ringback config …`

use clap::{Args, Subcommand};

use super::{
    failure::Failure,
    output::{self, Columns, Output},
};
use crate::config::{self, ConfigError, Sources};

/// Look at the configuration.
#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say what is wrong with it, or that nothing is.
    Check,
    /// Show every key, its value, and where that comes from; secrets stay hidden.
    Show(Show),
}

/// How to show it.
#[derive(Args)]
pub(crate) struct Show {
    #[command(flatten)]
    output: Output,
}

const COLUMNS: Columns = &[
    ("key", |setting| setting.cell("key")),
    ("value", |setting| setting.cell("value")),
    ("source", |setting| setting.cell("source")),
];

pub(crate) fn run(command: &ConfigCommand, sources: &Sources) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check => check(sources),
        ConfigCommand::Show(show) => show.run(sources),
    }
}

impl Show {
    fn run(&self, sources: &Sources) -> Result<(), Failure> {
        let settings = config::settings(sources).map_err(refused)?;
        let items = settings.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
        self.output.list(&items.map_err(|error| Failure::failed(error.to_string()))?, None, COLUMNS)
    }
}

fn check(sources: &Sources) -> Result<(), Failure> {
    let config = config::load(sources).map_err(refused)?;
    config.check().map_err(|errors| {
        Failure::usage(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    config.vault().map_err(refused)?;
    if config.bootstrap_key().map_err(refused)?.is_none() {
        output::say(
            "auth.bootstrap_key is not set: `serve` starts if its storage holds a key of an admin or operator.",
        );
    }
    output::say(&format!(
        "The configuration is fine: {} tasks, storage {}.",
        config.tasks.len(),
        config.storage.shown()
    ));
    Ok(())
}

fn refused(error: ConfigError) -> Failure {
    Failure::usage(error.to_string())
}
