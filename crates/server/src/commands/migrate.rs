//! `ringback migrate`

use clap::{Args, Subcommand};

use super::{failure::Failure, output, unopened};
use crate::config::{self, Sources};

/// Bring the schema to this version, or print how.
#[derive(Args)]
pub(crate) struct Migrate {
    #[command(subcommand)]
    command: Option<MigrateCommand>,
}

#[derive(Subcommand)]
enum MigrateCommand {
    /// Print the statements that `migrate` would run on this database, and run none.
    Sql,
}

impl Migrate {
    pub(crate) async fn run(&self, sources: &Sources) -> Result<(), Failure> {
        let config = config::load(sources).map_err(|error| Failure::usage(error.to_string()))?;
        let (url, shown) = (&config.storage.url, config.storage.shown());
        match self.command {
            None => apply(url, &shown).await,
            Some(MigrateCommand::Sql) => print(url, &shown).await,
        }
    }
}

/// Brings the schema to this version, and says by which steps.
async fn apply(url: &str, shown: &str) -> Result<(), Failure> {
    let steps = storage_sql::migrate(url).await.map_err(|error| unopened(&error))?;
    match steps.as_slice() {
        [] => output::say(&format!("{shown} is up to date.")),
        steps => output::say(&format!("{shown} is up to date, by {}.", steps.join(", "))),
    }
    Ok(())
}

async fn print(url: &str, shown: &str) -> Result<(), Failure> {
    match storage_sql::pending_sql(url).await.map_err(|error| unopened(&error))? {
        None => {
            Err(Failure::usage(format!("{shown} is a SQLite file: whatever opens it brings it up to date")))
        }
        Some(sql) if sql.is_empty() => {
            output::say(&format!("{shown} is up to date."));
            Ok(())
        }
        Some(sql) => output::bytes(sql.as_bytes()),
    }
}
