//! What an operator does to a file beside running a node on it: a copy while it is written to, and giving back what
//! deleted rows left free.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
    config::DbConfig,
};

use super::{lock::Lock, open::applied};
use crate::OpenError;

/// Pages copied between two reports of progress: 4 MiB.
const STEP: i32 = 1024;

/// Why a file could not be copied or compacted.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// There is nothing to copy.
    #[error("{} is not there", .0.display())]
    Missing(PathBuf),
    /// Something else has that name.
    #[error("{} is there already, and is not overwritten", .0.display())]
    Exists(PathBuf),
    /// It is a file, and not one of ours.
    #[error("{} is no database of Ringback", .0.display())]
    Foreign(PathBuf),
    /// The copy was made, and does not hold together. It is deleted.
    #[error("the copy is not sound: {0}")]
    Unsound(String),
    /// A file could not be written.
    #[error("{} cannot be written", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// Another process has the file, or it cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// SQLite refused.
    #[error("SQLite refused")]
    Sqlite(#[from] rusqlite::Error),
}

/// Copies the database at `from` to a new file at `to`, as it is at one moment, while others go on writing to it; then
/// opens the copy and checks all of it. `progress` hears of pages copied and of all there are.
///
/// While it runs, the log beside the original cannot be restarted and grows by what is written meanwhile. Gives the size
/// of the copy in bytes.
///
/// # Errors
/// If there is nothing to copy, something at `to`, no room, or the copy is not sound. Then nothing is at `to`.
pub fn backup(from: &Path, to: &Path, progress: impl FnMut(u32, u32)) -> Result<u64, UpkeepError> {
    let source = ours(from)?;
    if to.exists() {
        return Err(UpkeepError::Exists(to.to_owned()));
    }
    // Under another name until it is whole, so that no half of a copy is ever taken for one.
    let partial = Partial::create(partial(to))?;
    copy(&source, &partial.path, progress)?;
    let cannot = |error| UpkeepError::File { path: partial.path.clone(), error };
    File::open(&partial.path).and_then(|file| file.sync_all()).map_err(cannot)?;
    check(&source, &partial.path)?;
    partial.become_whole(to)?;
    fs::metadata(to).map(|file| file.len()).map_err(|error| UpkeepError::File { path: to.to_owned(), error })
}

/// Rewrites the database at `path` without what deleted rows left free; gives its size before and after, in bytes.
///
/// # Errors
/// If another process has it open, or there is not as much room again beside it.
pub fn vacuum(path: &Path) -> Result<(u64, u64), UpkeepError> {
    drop(ours(path)?);
    let _lock = Lock::take(path)?;
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let size = || fs::metadata(path).map(|file| file.len()).unwrap_or_default();
    // What lies in the log belongs to the size before.
    let empty_log = "PRAGMA wal_checkpoint(TRUNCATE)";
    connection.query_row(empty_log, [], |_| Ok(()))?;
    let before = size();
    connection.execute_batch("PRAGMA synchronous = FULL; VACUUM")?;
    connection.query_row(empty_log, [], |_| Ok(()))?;
    Ok((before, size()))
}

/// A connection to a file that a node made. It takes nothing out of the log when it is closed: that is the node's to do.
pub(crate) fn ours(path: &Path) -> Result<Connection, UpkeepError> {
    if !path.is_file() {
        return Err(UpkeepError::Missing(path.to_owned()));
    }
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    match applied(&connection) {
        Ok(_) => Ok(connection),
        Err(error) if is_foreign(&error) => Err(UpkeepError::Foreign(path.to_owned())),
        Err(error) => Err(error.into()),
    }
}

fn is_foreign(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::NotADatabase;
    let no_table =
        |message: &Option<String>| message.as_deref().is_some_and(|m| m.starts_with("no such table"));
    match error {
        rusqlite::Error::SqliteFailure(failure, message) => failure.code == NotADatabase || no_table(message),
        rusqlite::Error::SqlInputError { msg, .. } => msg.starts_with("no such table"),
        _ => false,
    }
}

fn copy(source: &Connection, to: &Path, mut progress: impl FnMut(u32, u32)) -> Result<(), UpkeepError> {
    // One snapshot for all steps: without it, each commit of the node would begin the copy anew.
    let snapshot = source.unchecked_transaction()?;
    snapshot.query_row("SELECT count(*) FROM schema_migrations", [], |_| Ok(()))?;
    let mut target = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // It is synced as a whole before it gets its name.
    target.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
    let backup = Backup::new(&snapshot, &mut target)?;
    loop {
        match backup.step(STEP)? {
            StepResult::Done => break,
            StepResult::More => {}
            // A checkpoint holds the file for a moment.
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
        let at = backup.progress();
        let pages = |n: i32| u32::try_from(n).unwrap_or_default();
        progress(pages(at.pagecount - at.remaining), pages(at.pagecount));
    }
    Ok(())
}

/// Opens the copy by itself and reads all of it.
fn check(source: &Connection, copy: &Path) -> Result<(), UpkeepError> {
    // Immutable: it has no log yet, and shall get none from being looked at.
    let name = copy.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let opened = Connection::open_with_flags(format!("file:{name}?immutable=1"), flags)?;
    let said: String = opened.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if said != "ok" {
        return Err(UpkeepError::Unsound(said));
    }
    if applied(&opened)? != applied(source)? {
        return Err(UpkeepError::Unsound("its schema is another".into()));
    }
    Ok(())
}

/// Where a copy is that is not whole yet: for whoever ends a process in the middle of it.
pub fn partial(to: &Path) -> PathBuf {
    let mut path = to.as_os_str().to_owned();
    path.push(".partial");
    path.into()
}

/// A file on its way. Deleted unless it becomes whole.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn create(path: PathBuf) -> Result<Self, UpkeepError> {
        // It holds everything that the database does: for its owner alone.
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match created {
            Ok(_) => Ok(Self { path }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(UpkeepError::Exists(path)),
            Err(error) => Err(UpkeepError::File { path, error }),
        }
    }

    /// A link in place of a rename: it refuses to take the place of what came there meanwhile.
    fn become_whole(self, to: &Path) -> Result<(), UpkeepError> {
        fs::hard_link(&self.path, to).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => UpkeepError::Exists(to.to_owned()),
            _ => UpkeepError::File { path: to.to_owned(), error },
        })?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| UpkeepError::File { path: to.to_owned(), error })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
