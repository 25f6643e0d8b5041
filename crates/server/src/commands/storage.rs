//! `ringback storage …`: looking after the database itself. SQLite's: PostgreSQL has tools of its own, which are named.

mod copy;

use std::{borrow::Cow, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use storage_sql::{
    OpenError,
    sqlite::upkeep::{self, UpkeepError},
};

use super::{
    failure::{Exit, Failure, reasons},
    output,
};
use crate::config::{self, Sources};

/// Look after the database.
#[derive(Subcommand)]
pub(crate) enum StorageCommand {
    /// Copy a SQLite database into a new file, while a node goes on writing to it or none runs, and check the copy.
    Backup(Destination),
    /// Give the space of deleted rows in a SQLite file back to the disk. No node may be running on it.
    Vacuum,
    /// Copy all of a SQLite file into an empty PostgreSQL database, under the same ids, and check the copy. Run again, it goes
    /// on where it stopped.
    Copy(copy::Copy),
}

/// Where a copy goes.
#[derive(Args)]
pub(crate) struct Destination {
    /// The new file; nothing is overwritten.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) async fn run(command: StorageCommand, sources: &Sources) -> Result<(), Failure> {
    match command {
        StorageCommand::Backup(Destination { file }) => {
            let there = |url: &str| format!("pg_dump --format=custom --file={} '{url}'", file.display());
            backup(path(sources, there)?, file).await
        }
        StorageCommand::Vacuum => vacuum(path(sources, |url| format!("vacuumdb --analyze '{url}'"))?).await,
        StorageCommand::Copy(copy) => copy.run(sources).await,
    }
}

/// The configured file; where that is PostgreSQL, what does it `there`.
fn path(sources: &Sources, there: impl FnOnce(&str) -> String) -> Result<PathBuf, Failure> {
    let config = config::load(sources).map_err(|error| Failure::usage(error.to_string()))?;
    let url = &config.storage.url;
    if storage_sql::is_postgres(url) {
        let what = there(&config.storage.shown());
        return Err(Failure::usage(format!(
            "the storage is PostgreSQL, which has its own tool for this:\n\n    {what}\n"
        )));
    }
    let path = storage_sql::sqlite_path(url);
    path.map(Into::into).map_err(|error| Failure::usage(format!("storage.url: {error}")))
}

async fn backup(from: PathBuf, to: PathBuf) -> Result<(), Failure> {
    let bar = Bar::new("copying");
    let shown = to.display().to_string();
    let half = Half::of(upkeep::partial(&to));
    let done = beside(move || {
        upkeep::backup(&from, &to, |done, of| {
            // Once all pages are there, what follows is the check.
            bar.set(if done == of { "checking" } else { "copying" }, done.into(), of.into());
        })
    })
    .await;
    half.done();
    let size = done.map_err(|error| failure(&error))?;
    output::say(&format!(
        "{shown}: {}, checked. Its secrets can be read with this installation's secrets.master_key alone: keep that \
         too, elsewhere. To go back to it, stop the node and put it in the place of the database.",
        HumanBytes(size)
    ));
    Ok(())
}

async fn vacuum(path: PathBuf) -> Result<(), Failure> {
    let bar = Bar::new("compacting");
    let shown = path.display().to_string();
    let work = move || {
        let _bar = bar;
        upkeep::vacuum(&path)
    };
    let (before, after) = beside(work).await.map_err(|error| failure(&error))?;
    output::say(&format!("{shown}: {} before, {} now.", HumanBytes(before), HumanBytes(after)));
    Ok(())
}

/// Runs on a thread of its own, which nobody waits for if Ctrl-C ends the command first: it ends with the process.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, UpkeepError> + Send + 'static,
) -> Result<T, UpkeepError> {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || tell.send(work()));
    told.await.unwrap_or_else(|_| Err(UpkeepError::Unsound("the thread that made it panicked".into())))
}

/// Half of a copy, deleted if Ctrl-C ends the command in the middle of it; however else it ends, it is dealt with.
struct Half(Option<PathBuf>);

impl Half {
    fn of(path: PathBuf) -> Self {
        // Another backup's is not ours to delete.
        Self((!path.exists()).then_some(path))
    }

    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn failure(error: &UpkeepError) -> Failure {
    let (exit, what_next) = match error {
        UpkeepError::Missing(_) => {
            (Exit::NotFound, "Is storage.url right? `ringback config show` says where it comes from.")
        }
        UpkeepError::Exists(path) if path.extension().is_some_and(|end| end == "partial") => (
            Exit::Conflict,
            "It is what a backup left that was killed, or one that still runs. Delete it if none does.",
        ),
        UpkeepError::Exists(_) => (Exit::Conflict, "Name another file."),
        UpkeepError::Foreign(_) => (Exit::Failed, "Is storage.url right?"),
        UpkeepError::Unsound(_) => (
            Exit::Failed,
            "The original may be damaged, or either disk: look at the system's log, and keep older copies.",
        ),
        UpkeepError::Open(OpenError::InUse { .. }) => (Exit::Conflict, ""),
        UpkeepError::File { .. } | UpkeepError::Open(_) | UpkeepError::Sqlite(_) => {
            (Exit::Failed, "Is there room on the disk, and may this user write there?")
        }
    };
    Failure::new(exit, format!("{}. {what_next}", reasons(error)).trim_end().to_owned())
}

/// A bar on the terminal, if there is one.
struct Bar(ProgressBar);

impl Bar {
    fn new(what: &'static str) -> Self {
        if !output::is_watched() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner().with_message(what);
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }

    /// So much of so much.
    fn set(&self, what: impl Into<Cow<'static, str>>, done: u64, of: u64) {
        if self.0.length().is_none() {
            let style = ProgressStyle::with_template("{spinner} {msg} [{bar:30}] {percent}% {elapsed}");
            self.0.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        }
        self.0.set_message(what);
        self.0.set_length(of);
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
