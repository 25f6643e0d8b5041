//! What went wrong in a transaction, and what follows from it.

use std::{future::Future, time::Duration};

use storage::StorageError;
use tokio_postgres::{Error, error::SqlState};

/// How long a server may say nothing to what is rather refused than kept waiting: well over its own bound for a lock, and
/// longer than a disk that is merely slow takes for a commit.
const SILENT: Duration = Duration::from_secs(5);

/// As far as `work` is over within [`SILENT`].
pub(crate) async fn answered<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::time::timeout(SILENT, work).await.unwrap_or(Err(Fault::Silent))
}

/// Why a verb stopped.
#[derive(Debug)]
pub(crate) enum Fault {
    /// PostgreSQL said so, or the connection to it broke.
    Sql(Error),
    /// There is no session to write over: one could not be made.
    Unconnected(Error),
    /// It said nothing for [`SILENT`], though the connection stands.
    Silent,
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

/// The message that PostgreSQL gave, which the client's own error only hints at.
pub(crate) fn words(error: &Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

impl Fault {
    /// The node's row is gone: somebody took its work over.
    pub(crate) fn is_lost_lease(&self) -> bool {
        matches!(self, Fault::Sql(error) if error.code() == Some(&SqlState::DIVISION_BY_ZERO))
    }

    /// The connection is gone, or about to be, or of no use.
    pub(crate) fn is_disconnect(&self) -> bool {
        let error = match self {
            Fault::Sql(error) => error,
            Fault::Silent => return true,
            Fault::Unconnected(_) | Fault::Answer(_) => return false,
        };
        error.code().is_none_or(|code| {
            // 57P: the server stops, or an operator ended the session. 25P: it sat too long in a transaction.
            code.code().starts_with("08") || code.code().starts_with("57P") || code.code().starts_with("25P0")
        })
    }

    /// Somebody else kept something locked for too long. Nothing was written.
    pub(crate) fn is_lock_timeout(&self) -> bool {
        let (Fault::Sql(error) | Fault::Unconnected(error)) = self else { return false };
        error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
    }

    /// Every other command of the batch would meet the same: full, short of memory, read-only.
    pub(crate) fn is_of_the_server(&self) -> bool {
        let error = match self {
            Fault::Sql(error) => error,
            Fault::Unconnected(_) | Fault::Silent => return true,
            Fault::Answer(_) => return false,
        };
        let code = error.code().map_or("", SqlState::code);
        self.is_disconnect()
            || self.is_lost_lease()
            || ["53", "58", "25006"].iter().any(|class| code.starts_with(class))
    }

    pub(crate) fn into_answer(self) -> StorageError {
        if self.is_lost_lease() {
            return StorageError::refused("this node's lease is over");
        }
        if self.is_lock_timeout() {
            return StorageError::Overloaded;
        }
        match self {
            Fault::Sql(error) | Fault::Unconnected(error) => StorageError::refused(words(&error)),
            Fault::Silent => StorageError::refused(format!("PostgreSQL said nothing for {SILENT:?}")),
            Fault::Answer(error) => error,
        }
    }
}
