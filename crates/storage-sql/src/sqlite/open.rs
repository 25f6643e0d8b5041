//! Opening a file: the library's version, the file's settings, its schema.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};

use crate::{
    OpenError,
    migrate::{self, Applied, Migration},
};

/// Every step of the schema, in order.
pub(crate) const MIGRATIONS: &[Migration] =
    &[Migration { name: "one_job", sql: include_str!("../../migrations/sqlite/0001_one_job.sql"), needs: 1 }];

/// Earlier ones could lose a commit when a log was reset.
const LEAST: i32 = 3_051_003;

/// The writer's own, in KiB: what a batch touches stays in memory. Not more: a commit that split a page walks the whole
/// cache (`pcache1TruncateUnsafe`, since splits number pages past the file's end for a moment), which was 18 % of the
/// writer with 32 MiB.
const WRITER_CACHE: &str = "PRAGMA cache_size = -8192";

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // The bundled library was built with them on; the schema has none.
    connection.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// The writer's connection, on a file that has this version's schema.
pub(crate) fn writer(path: &Path) -> Result<Connection, OpenError> {
    if rusqlite::version_number() < LEAST {
        return Err(OpenError::Library { found: rusqlite::version().into() });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut connection = connect(path, flags)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenError::NoLog { path: path.to_owned(), mode });
    }
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0")?;
    connection.execute_batch(WRITER_CACHE)?;
    // Nobody else writes: what is busy now is not worth waiting for.
    connection.busy_timeout(Duration::ZERO)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// The checkpoints' connection.
pub(crate) fn checkpointer(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0")?;
    connection.busy_timeout(Duration::ZERO)?;
    Ok(connection)
}

/// A connection that only reads.
pub(crate) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    Ok(connection)
}

/// The steps of a file's schema.
pub(crate) fn applied(connection: &Connection) -> rusqlite::Result<Vec<Applied>> {
    let mut applied = connection.prepare(migrate::APPLIED)?;
    let read =
        |row: &rusqlite::Row<'_>| Ok(Applied { n: row.get(0)?, checksum: row.get(1)?, needs: row.get(2)? });
    applied.query_map([], read)?.collect()
}

fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let created = "SELECT 1 FROM sqlite_schema WHERE name = 'schema_migrations'";
    let applied = if connection.prepare(created)?.exists([])? { applied(connection)? } else { Vec::new() };
    let missing = migrate::missing(MIGRATIONS, &applied)?;
    if missing.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    transaction.execute_batch(migrate::schema_migrations!("BLOB"))?;
    for (n, migration) in missing {
        transaction.execute_batch(migration.sql)?;
        transaction.execute(migrate::RECORD, (n, migration.name, migration.checksum(), migration.needs))?;
    }
    Ok(transaction.commit()?)
}
