//! SQLite and PostgreSQL behind the port of `storage`: decisions, commands and row shapes are shared, the hot verbs are
//! one file an engine. `api`, `executor` and `dispatcher` feed it through the port; `server` alone opens it, by URL.
//!
//! It decides nothing about jobs or deliveries: it writes what `domain` decided, if the row still is what the decision
//! was made on. It reads no clock and draws no randomness: every command bears its moment, every id comes in.

mod access;
mod address;
mod admission;
mod bounds;
mod cold;
mod columns;
pub mod copy;
mod effects;
mod hints;
mod migrate;
pub mod postgres;
mod rows;
pub mod sqlite;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use crate::migrate::Mismatch;
use storage::Engine;

/// What the operator may set.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many connections PostgreSQL is given; SQLite has as many as it needs.
    pub connections: u32,
    /// The connections to PostgreSQL are those of a pooler that lends them out for a transaction each.
    pub pooled: bool,
    /// Other nodes are heard of and looked for. False where there can be none and time is moved by hand, as in the seeded
    /// world: looking goes by the machine's clock.
    pub watches: bool,
    /// This node's lease: whatever hangs is given up well before.
    pub lease: Duration,
    /// What this node is called, for people.
    pub name: String,
    /// Which version of Ringback it is.
    pub version: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: 16,
            watches: true,
            pooled: false,
            lease: Duration::from_secs(30),
            name: "a node".into(),
            version: "0".into(),
        }
    }
}

/// Why storage could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no engine.
    #[error("a storage URL begins with `sqlite:` or `postgres://`")]
    UnknownUrl,
    /// Another process has the file.
    #[error("{} is in use by {}; stop that process, or name another file", path.display(), who(*holder))]
    InUse {
        /// Which file.
        path: PathBuf,
        /// Its process id, if it could be read.
        holder: Option<u32>,
    },
    /// A file could not be opened.
    #[error("{} cannot be opened", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The file's system has no shared memory for a write-ahead log.
    #[error("{} cannot have a write-ahead log (SQLite keeps it in mode `{mode}`); put it on a local disk", path.display())]
    NoLog {
        /// Which file.
        path: PathBuf,
        /// What SQLite chose.
        mode: String,
    },
    /// The library is one with a known loss.
    #[error("SQLite {found} can lose commits; 3.51.3 or later is needed")]
    Library {
        /// Its version.
        found: String,
    },
    /// The schema is not one for this version.
    #[error(transparent)]
    Schema(#[from] Mismatch),
    /// The schema is behind, and a node that starts does not change it.
    #[error("the database's schema is {steps} step(s) behind this version; run `ringback migrate` first")]
    Behind {
        /// How many.
        steps: usize,
    },
    /// A copy of a SQLite file into the database has begun and not ended.
    #[error("{}", copy::UNFINISHED)]
    Unfinished,
    /// A node that runs could not work with the schema any more.
    #[error(
        "schema step `{step}` takes away what version {version} still uses, and node {node} ({name}) runs it; stop that node, or bring it to this version, first"
    )]
    Holdout {
        /// Which step.
        step: &'static str,
        /// Which node.
        node: i64,
        /// What it is called.
        name: String,
        /// What it runs.
        version: String,
    },
    /// The server is not one to keep jobs in.
    #[error("{what}")]
    Server {
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// The file of `sslrootcert` cannot be used.
    #[error("{} holds no certificates to trust: {error}", path.display())]
    Authorities {
        /// Which.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// Encryption could not be set up.
    #[error("encryption could not be set up: {0}")]
    Tls(String),
    /// PostgreSQL could not be reached, or refused.
    #[error("PostgreSQL cannot be used{}", what_to_do(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// SQLite refused.
    #[error("SQLite refused")]
    Sqlite(#[from] rusqlite::Error),
    /// A thread could not be started.
    #[error("a storage thread could not be started")]
    Thread(#[from] io::Error),
}

/// Where the reason alone does not say it.
fn what_to_do(error: &tokio_postgres::Error) -> &'static str {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.to_string().contains("invalid peer certificate") {
            return " (its certificate must be of an authority that is trusted, and for the host in storage.url: \
                    ?sslrootcert=FILE names authorities of your own)";
        }
        cause = error.source();
    }
    ""
}

fn who(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"))
}

/// True of a URL that names PostgreSQL.
pub fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// Opens the storage that `url` names: `sqlite:PATH`, made if it is not there, or `postgres://…`, whose schema must be
/// this version's ([`migrate`]).
pub async fn open(url: &str, options: Options) -> Result<Arc<dyn Engine>, OpenError> {
    if is_postgres(url) {
        return Ok(Arc::new(postgres::Postgres::open(url, &options).await?));
    }
    Ok(Arc::new(sqlite::Sqlite::open_as(sqlite_path(url)?, &options)?))
}

/// The file that a URL `sqlite:PATH` or `sqlite://PATH` names.
///
/// # Errors
/// If it names no file.
pub fn sqlite_path(url: &str) -> Result<&Path, OpenError> {
    let path = url.strip_prefix("sqlite:").ok_or(OpenError::UnknownUrl)?;
    Ok(Path::new(path.strip_prefix("//").unwrap_or(path)))
}

/// The statements that [`migrate`] would run on the PostgreSQL database that `url` names, for whoever lets nobody but a
/// person change a schema. Empty if there are none; `None` of SQLite, which is migrated whenever it is opened.
pub async fn pending_sql(url: &str) -> Result<Option<String>, OpenError> {
    if is_postgres(url) { postgres::pending_sql(url).await.map(Some) } else { Ok(None) }
}

/// Brings the schema of the storage that `url` names up to this version; answers with the names of the steps that it
/// applied. SQLite does so whenever it is opened.
pub async fn migrate(url: &str) -> Result<Vec<&'static str>, OpenError> {
    if is_postgres(url) {
        postgres::migrate(url).await
    } else {
        open(url, Options::default()).await.map(|_| Vec::new())
    }
}
