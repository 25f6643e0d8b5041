//! `ringback storage copy`: from one machine to several.

use std::num::NonZeroU32;

use clap::Args;
use storage_sql::{
    OpenError,
    copy::{BATCH, Copied, CopyError, Progress},
    sqlite::upkeep::UpkeepError,
};

use super::Bar;
use crate::{
    commands::{
        failure::{Exit, Failure, reasons},
        output::{self, Columns, Output},
        unopened,
    },
    config::{self, Sources, without_password},
};

/// What goes where.
#[derive(Args)]
pub(crate) struct Copy {
    /// The SQLite file: `sqlite:PATH`. No node may be running on it; it stays as it is.
    #[arg(long, value_name = "URL")]
    from: String,
    /// The PostgreSQL database: new, migrated and empty. Without it, storage.url of the configuration.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// At most so many rows in one transaction.
    #[arg(long, value_name = "ROWS", default_value_t = DEFAULT)]
    batch: NonZeroU32,
    #[command(flatten)]
    output: Output,
}

const DEFAULT: NonZeroU32 = NonZeroU32::new(BATCH).expect("some rows");

const COLUMNS: Columns = &[("table", |item| item.cell("table")), ("rows", |item| item.cell("rows"))];

impl Copy {
    pub(crate) async fn run(self, sources: &Sources) -> Result<(), Failure> {
        let Self { from, to, batch, output } = self;
        let file = storage_sql::sqlite_path(&from).map_err(|_| {
            Failure::usage("--from is a SQLite file: sqlite:PATH. The other way there is no copy.")
        })?;
        let to = match to {
            Some(url) => url,
            None => config::load(sources).map_err(|error| Failure::usage(error.to_string()))?.storage.url,
        };
        if !storage_sql::is_postgres(&to) {
            return Err(Failure::usage(
                "--to, or storage.url of the configuration, is a PostgreSQL database: postgres://user@host/db. From one \
                 SQLite file to another: `ringback storage backup`.",
            ));
        }
        let mut shown = Shown { bar: Bar::new("copying"), tenths: None };
        let copied = storage_sql::copy::copy(file, &to, batch.get(), |progress| shown.at(progress)).await;
        drop(shown);
        let Copied { already, tables } = copied.map_err(|error| failure(&error))?;
        let rows: u64 = tables.iter().map(|(_, rows)| rows).sum();
        let items: Vec<_> =
            tables.iter().map(|(table, rows)| format!(r#"{{"table":"{table}","rows":{rows}}}"#)).collect();
        output.list(&items, None, COLUMNS)?;
        let url = without_password(&to);
        output::say(&match already {
            true => format!("{url} has this copy already, whole and checked: nothing was done."),
            false => format!(
                "{rows} rows are in {url}, each compared with its original. Now start nodes with that as storage.url and \
                 with the same secrets.master_key and tasks. Keep {} until you are content, and run no node on it any \
                 more: what it holds would be run and sent twice.",
                file.display()
            ),
        });
        Ok(())
    }
}

/// A bar on a terminal; elsewhere a line for each tenth.
struct Shown {
    bar: Bar,
    tenths: Option<(bool, u64)>,
}

impl Shown {
    fn at(&mut self, Progress { checking, table, done, all }: Progress) {
        let what = if checking { "checking" } else { "copying" };
        self.bar.set(format!("{what} {table}"), done, all);
        let tenths = Some((checking, done * 10 / all.max(1)));
        if self.tenths != tenths && !output::is_watched() {
            output::say(&format!("{what}: {done} of {all} rows"));
        }
        self.tenths = tenths;
    }
}

fn failure(error: &CopyError) -> Failure {
    const NEW_ONE: &str = "Make a new database (CREATE DATABASE …), run `ringback migrate` with storage.url set to it, \
         and copy into that.";
    const AGAIN: &str = "Run the same command again: it goes on where this one stopped.";
    let (exit, next) = match error {
        CopyError::Source(UpkeepError::Missing(_)) => (Exit::NotFound, "Is --from right?"),
        CopyError::Source(UpkeepError::Foreign(_)) => (Exit::Failed, "Is --from right?"),
        CopyError::Source(error) => return super::failure(error),
        CopyError::Target(OpenError::Behind { .. }) => {
            (Exit::Failed, "It migrates the database that storage.url (or RINGBACK_STORAGE__URL) names.")
        }
        CopyError::Target(error) => return unopened(error),
        CopyError::FileBehind { .. } => (
            Exit::Failed,
            "Start `ringback serve` of this version on it, which brings it there, stop that, and copy again.",
        ),
        CopyError::Newer { .. } => (Exit::Failed, "Copy with `ringback` of that version."),
        CopyError::Running { .. } => {
            (Exit::Conflict, "Stop every node of it; if it holds nothing that you need, copy into a new one.")
        }
        CopyError::Occupied { .. } | CopyError::Other => (Exit::Conflict, NEW_ONE),
        CopyError::Twice => (Exit::Conflict, "Wait for that one, or stop it and run this again."),
        CopyError::Different { .. } => (
            Exit::Failed,
            "Somebody else wrote to the database, or a disk is damaged. Nothing can be served from it. Make a new \
             database, migrate it, and copy into that.",
        ),
        CopyError::Refused { .. } | CopyError::Postgres(_) => (Exit::Failed, AGAIN),
    };
    Failure::new(exit, format!("{}. {next}", reasons(error)))
}
