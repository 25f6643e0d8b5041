//! `ringback storage copy`: everything that a SQLite file holds into an empty PostgreSQL database, under the same ids,
//! numbers and times; then all of it is read back and compared.
//!
//! Each batch is a transaction that also says how far the copy is, so that whoever was killed begins where that one
//! stopped. For as long as it is not finished and checked, the database has a table `unfinished_copy`, and no node
//! joins it; then it is called `finished_copy`.

mod source;
mod tables;
mod target;
#[cfg(test)]
mod tests;

use std::path::Path;

use rusqlite::types::Value;

use self::{
    source::{Layout, Source},
    target::{Begun, Target},
};
use crate::{
    Mismatch, OpenError,
    migrate::{Applied, Migration, missing},
    sqlite::upkeep::UpkeepError,
};

pub(crate) use self::target::{IS_UNFINISHED, UNFINISHED};

/// Rows of a transaction, if nobody asks for another number. One is ended before that by 4 MiB.
pub const BATCH: u32 = 2_000;

/// A row as SQLite has it: also what a row of PostgreSQL's is compared as.
type Row = Vec<Value>;

/// Why nothing was copied, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The file is not there, not ours, in use, or cannot be read.
    #[error(transparent)]
    Source(#[from] UpkeepError),
    /// The database cannot be used.
    #[error(transparent)]
    Target(#[from] OpenError),
    /// The file has not been opened by this version yet.
    #[error("the file's schema is {steps} step(s) behind this version")]
    FileBehind {
        /// How many.
        steps: usize,
    },
    /// A later version has changed the file or the database: we do not know all that is in it.
    #[error("the {what}'s schema is that of a newer version")]
    Newer {
        /// Which of them.
        what: &'static str,
    },
    /// Nodes run on the database.
    #[error("node {node} ({name}) runs on the database")]
    Running {
        /// Which.
        node: i64,
        /// What it is called.
        name: String,
    },
    /// Something is in the database, and it is no copy that could be gone on with.
    #[error("the database is not empty: there are rows in {table}")]
    Occupied {
        /// Where.
        table: &'static str,
    },
    /// A copy is in the database, half or whole, and not of the file as it is now.
    #[error("the database has a copy of another file, or of this one before a node ran on it again")]
    Other,
    /// The same copy runs twice.
    #[error("another copy into the database goes on at the same time")]
    Twice,
    /// What was read back is not what was to be copied.
    #[error("{table} {id} {what}")]
    Different {
        /// Of which table.
        table: &'static str,
        /// Its key: numbers as they are, ids in hexadecimal.
        id: String,
        /// How it differs.
        what: String,
    },
    /// PostgreSQL did not take some rows.
    #[error("PostgreSQL refuses {table} {first} to {last}: {detail}")]
    Refused {
        /// Of which table.
        table: &'static str,
        /// The first of them.
        first: String,
        /// The last.
        last: String,
        /// What it said.
        detail: String,
    },
    /// PostgreSQL stopped answering, or refused.
    #[error("PostgreSQL refuses: {0}")]
    Postgres(String),
}

/// How far a copy is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// All is there, and is being compared.
    pub checking: bool,
    /// In which table.
    pub table: &'static str,
    /// Rows of all tables so far.
    pub done: u64,
    /// Rows of all tables.
    pub all: u64,
}

/// What has been copied.
#[derive(Debug)]
pub struct Copied {
    /// By an earlier run: this one changed nothing.
    pub already: bool,
    /// Every table, with its rows.
    pub tables: Vec<(&'static str, u64)>,
}

/// Copies all of the file at `from` into the database that `to` names, or goes on with that; `batch` rows a transaction.
///
/// # Errors
/// If the file is in use or either of them is not as it must be; if a row was refused, or differs afterwards. What was
/// copied until then stays, and the next run goes on behind it.
pub async fn copy(
    from: &Path,
    to: &str,
    batch: u32,
    mut progress: impl FnMut(Progress),
) -> Result<Copied, CopyError> {
    let source = Source::open(from)?;
    let layouts = source.layouts()?;
    let tables = layouts.iter().map(|layout| (layout.table.name, layout.rows)).collect();
    let target = Target::open(to).await?;
    let mut work = Work { all: layouts.iter().map(|layout| layout.rows).sum(), source, target, batch };
    match work.target.begin(&work.source.fingerprint(&layouts)?, &layouts).await? {
        Begun::Finished => return Ok(Copied { already: true, tables }),
        Begun::Copied(copied) => work.fill(&layouts, &copied, &mut progress).await?,
    }
    work.check(&layouts, &mut progress).await?;
    work.target.finish().await?;
    Ok(Copied { already: false, tables })
}

struct Work {
    source: Source,
    target: Target,
    batch: u32,
    all: u64,
}

impl Work {
    /// Copies what is not there yet; `copied` of each table is.
    async fn fill(
        &mut self,
        layouts: &[Layout],
        copied: &[u64],
        progress: &mut impl FnMut(Progress),
    ) -> Result<(), CopyError> {
        let mut done = copied.iter().sum();
        for (layout, &copied) in layouts.iter().zip(copied) {
            let (mut copied, mut after) = (copied, None);
            if copied > 0 {
                after = self.target.greatest(layout).await?;
            }
            while copied < layout.rows {
                let page = self.source.page(layout, after.as_deref(), self.batch)?;
                let Some(last) = page.last() else { break };
                self.target.insert(layout, &page, copied).await?;
                after = Some(layout.key_of(last).to_vec());
                copied += page.len() as u64;
                done += page.len() as u64;
                progress(Progress { checking: false, table: layout.table.name, done, all: self.all });
            }
        }
        Ok(())
    }

    /// Reads all of it back, in the order of keys on both sides.
    async fn check(
        &mut self,
        layouts: &[Layout],
        progress: &mut impl FnMut(Progress),
    ) -> Result<(), CopyError> {
        self.target.begin_reading().await?;
        let mut done = 0;
        for layout in layouts {
            let mut after = None;
            loop {
                let page = self.source.page(layout, after.as_deref(), self.batch)?;
                let last = page.last().map(|last| layout.key_of(last).to_vec());
                // Behind the last there must be nothing.
                let found = self.target.page(layout, after.as_deref(), last.as_deref(), page.len()).await?;
                compare(layout, &page, &found)?;
                if last.is_none() {
                    break;
                }
                after = last;
                done += page.len() as u64;
                progress(Progress { checking: true, table: layout.table.name, done, all: self.all });
            }
        }
        self.target.end_reading().await
    }
}

/// Says which row of two pages is the first to differ.
fn compare(layout: &Layout, wanted: &[Row], found: &[Row]) -> Result<(), CopyError> {
    let same = wanted.iter().zip(found).take_while(|(wanted, found)| wanted == found).count();
    let different = |row: &Row, what: String| {
        Err(CopyError::Different { table: layout.table.name, id: layout.id(row), what })
    };
    let is_found = |row: &Row| found.iter().any(|one| layout.key_of(one) == layout.key_of(row));
    match (wanted.get(same), found.get(same)) {
        (None, None) => Ok(()),
        (Some(wanted), Some(found)) if layout.key_of(wanted) == layout.key_of(found) => {
            let columns = layout.columns.iter().zip(wanted.iter().zip(found));
            let differ: Vec<_> = columns
                .filter(|(_, (wanted, found))| wanted != found)
                .map(|(c, _)| c.name.as_str())
                .collect();
            different(wanted, format!("differs in {}", differ.join(", ")))
        }
        (Some(wanted), found) => match found.filter(|_| is_found(wanted)) {
            Some(found) => different(found, "is in the copy alone".into()),
            None => different(wanted, "is not in the copy".into()),
        },
        (None, Some(found)) => different(found, "is in the copy alone".into()),
    }
}

/// Whether a schema is this version's: no step less, and none more. `Ok` of how many it is behind.
fn behind(known: &[Migration], applied: &[Applied], what: &'static str) -> Result<usize, CopyError> {
    match missing(known, applied) {
        Ok(_) if applied.len() > known.len() => Err(CopyError::Newer { what }),
        Ok(left) => Ok(left.len()),
        Err(Mismatch::Newer { .. }) => Err(CopyError::Newer { what }),
        Err(changed) => Err(OpenError::Schema(changed).into()),
    }
}
