//! What can go wrong in an engine.

/// What every call of the port answers with.
pub type Result<T> = std::result::Result<T, StorageError>;

/// Why storage did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// The writer does not keep up: too many submissions wait for it, or it waits for somebody else's lock. Nothing was
    /// recorded.
    #[error("the writer is behind: too many submissions wait, or somebody keeps what it writes locked")]
    Overloaded,
    /// Storage cannot be reached, is full, or refused. Nothing was recorded, unless `unknown`: then the commit may have
    /// happened and its answer was lost.
    #[error("storage is unavailable: {detail}")]
    Unavailable {
        /// For the log: what the engine said.
        detail: String,
        /// True if the commit's outcome is not known.
        unknown: bool,
    },
    /// A row does not hold what this version writes.
    #[error("{table}.{column} of {id} holds what this version cannot read: {detail}")]
    BadRow {
        /// Which table.
        table: &'static str,
        /// Which column.
        column: &'static str,
        /// Which row.
        id: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The engine has been closed.
    #[error("storage is closed")]
    Closed,
}

impl StorageError {
    /// A refusal that recorded nothing.
    pub fn refused(detail: impl std::fmt::Display) -> Self {
        Self::Unavailable { detail: detail.to_string(), unknown: false }
    }
}
