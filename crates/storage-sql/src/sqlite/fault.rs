//! What went wrong in a transaction, and what follows from it.

use rusqlite::{Error, ErrorCode, ffi};
use storage::StorageError;

/// Why a verb stopped.
#[derive(Debug)]
pub(crate) enum Fault {
    /// SQLite said so.
    Sql(Error),
    /// The verb itself has no better answer.
    Answer(StorageError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Sql(error)
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        Fault::Answer(error)
    }
}

impl Fault {
    pub(crate) fn into_answer(self) -> StorageError {
        match self {
            Fault::Sql(error) => StorageError::refused(error),
            Fault::Answer(error) => error,
        }
    }

    /// The disk is full, failing or gone: every other command of the batch would meet the same.
    pub(crate) fn is_of_the_disk(&self) -> bool {
        let Fault::Sql(Error::SqliteFailure(error, _)) = self else { return false };
        matches!(
            error.code,
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::OutOfMemory
        )
    }
}

/// Ends the process if a sync failed. What the kernel then holds of the file is unknown, and a second sync that
/// succeeds proves nothing: only a restart, which reads the file again, knows what is there.
pub(crate) fn die_of_failed_sync(error: &Error) {
    let Error::SqliteFailure(failure, _) = error else { return };
    if matches!(
        failure.extended_code,
        ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC | ffi::SQLITE_IOERR_COMMIT_ATOMIC
    ) {
        tracing::error!(%error, "a sync failed; the process ends, since nothing written is certain any more");
        std::process::abort();
    }
}
