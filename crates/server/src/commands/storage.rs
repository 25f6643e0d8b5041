//! `ringback storage …`: looking after the database itself. SQLite alone: PostgreSQL has tools of its own, which are named.

use std::{path::PathBuf, time::Duration};

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
}

/// Where a copy goes.
#[derive(Args)]
pub(crate) struct Destination {
    /// The new file; nothing is overwritten.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) async fn run(command: StorageCommand, sources: &Sources) -> Result<(), Failure> {
    let config = config::load(sources).map_err(|error| Failure::usage(error.to_string()))?;
    let url = &config.storage.url;
    if storage_sql::is_postgres(url) {
        return Err(postgres(&command, &config.storage.shown()));
    }
    let path =
        storage_sql::sqlite_path(url).map_err(|error| Failure::usage(format!("storage.url: {error}")))?;
    match command {
        StorageCommand::Backup(Destination { file }) => backup(path.to_owned(), file).await,
        StorageCommand::Vacuum => vacuum(path.to_owned()).await,
    }
}

/// What does it there.
fn postgres(command: &StorageCommand, shown: &str) -> Failure {
    let what = match command {
        StorageCommand::Backup(Destination { file }) => {
            format!("pg_dump --format=custom --file={} '{shown}'", file.display())
        }
        StorageCommand::Vacuum => format!("vacuumdb --analyze '{shown}'"),
    };
    Failure::usage(format!("the storage is PostgreSQL, which has its own tool for this:\n\n    {what}\n"))
}

async fn backup(from: PathBuf, to: PathBuf) -> Result<(), Failure> {
    let bar = Bar::new("copying");
    let shown = to.display().to_string();
    let half = Half::of(upkeep::partial(&to));
    let done = beside(move || upkeep::backup(&from, &to, |done, of| bar.at(done, of))).await;
    half.done();
    let size = done.map_err(failure)?;
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
    let (before, after) = beside(work).await.map_err(failure)?;
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

fn failure(error: UpkeepError) -> Failure {
    let (exit, what_next) = match &error {
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
    Failure::new(exit, format!("{}. {what_next}", reasons(&error)).trim_end().to_owned())
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

    /// So many pages of so many; once all are there, what follows is the check.
    fn at(&self, done: u32, of: u32) {
        if self.0.length().is_none() {
            let style = ProgressStyle::with_template("{spinner} {msg} [{bar:30}] {percent}% {elapsed}");
            self.0.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        }
        self.0.set_length(of.into());
        self.0.set_position(done.into());
        if done == of {
            self.0.set_message("checking");
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
