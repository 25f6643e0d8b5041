//! What went wrong in a transaction, and what follows from it.

use storage::StorageError;
use tokio_postgres::{Error, error::SqlState};

/// Why a verb stopped.
#[derive(Debug)]
pub(crate) enum Fault {
    /// PostgreSQL said so, or the connection to it broke.
    Sql(Error),
    /// There is no session to write over: one could not be made.
    Unconnected(Error),
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

    /// The connection is gone, or about to be.
    pub(crate) fn is_disconnect(&self) -> bool {
        let Fault::Sql(error) = self else { return false };
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
            Fault::Unconnected(_) => return true,
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
            Fault::Answer(error) => error,
        }
    }
}
