//! That nothing is forgotten, now or by a later migration, and that a copy is cut short, spoiled and refused as it must be.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use rusqlite::{Connection, params_from_iter, types::Value};
use storage::Nodes;
use testkit::postgres::{Cluster, Pooler};

use super::{
    BATCH, Copied, CopyError,
    source::{Kind, Layout, Source},
    tables::{LEFT_OUT, SEQUENCES, TABLES},
};
use crate::{OpenError, Options, postgres, sqlite};

/// A file with rows in every table, and a migrated database that is empty.
struct Places {
    folder: tempfile::TempDir,
    url: String,
}

impl Places {
    async fn new(rows: i64) -> Self {
        let places = Self { folder: tempfile::tempdir().unwrap(), url: Cluster::shared().fresh_database() };
        postgres::migrate(&places.url).await.unwrap();
        drop(sqlite::open::writer(&places.file()).unwrap());
        let layouts = Source::open(&places.file()).unwrap().layouts().unwrap();
        let connection = places.sqlite();
        for layout in &layouts {
            (0..rows).for_each(|n| insert(&connection, layout, n));
        }
        places
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("test.db")
    }

    fn sqlite(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }

    fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap()
    }

    fn sql(&self, text: &str) -> String {
        Cluster::shared().sql(self.name(), text)
    }

    async fn copy(&self) -> Result<Copied, CopyError> {
        super::copy(&self.file(), &self.url, BATCH, |_| ()).await
    }

    async fn refused(&self) -> CopyError {
        self.copy().await.expect_err("refused")
    }
}

/// A row with the greatest, the least and the oddest of what its columns can hold, and with null wherever that may be.
fn insert(connection: &Connection, layout: &Layout, n: i64) {
    let may_be_null = "SELECT \"notnull\" = 0 AND pk = 0 FROM pragma_table_info(?1) WHERE name = ?2";
    let value = |(place, column): (usize, &super::source::Column)| {
        let null: bool =
            connection.query_row(may_be_null, [layout.table.name, &column.name], |row| row.get(0)).unwrap();
        match column.kind {
            // Or it would be a node that runs.
            _ if column.name == "lease_until" => Value::Integer(0),
            _ if column.name == "position" => Value::Integer(n - 2),
            _ if null && (n + place as i64) % 3 == 0 => Value::Null,
            // As many as there are rows differ, on both sides of 0.
            Kind::Int if place < layout.key => Value::Integer(n - 2),
            Kind::Int => Value::Integer([i64::MAX, i64::MIN, 0, n][n as usize % 4]),
            Kind::Text => Value::Text(format!("{n} Ä\u{1F980}\t\"\\' {}", "Z_a".repeat(n as usize))),
            Kind::Bytes => Value::Blob([&[0, 255, n as u8][..], &vec![7; n as usize * 50]].concat()),
        }
    };
    let values: Vec<_> = layout.columns.iter().enumerate().map(value).collect();
    let marks = vec!["?"; values.len()].join(", ");
    let (table, list) = (layout.table.name, Layout::list(&layout.columns));
    let sql = format!("INSERT INTO {table} ({list}) VALUES ({marks})");
    connection.execute(&sql, params_from_iter(values)).unwrap();
}

/// `table.column` and its type, of every table of the file.
fn columns_of_sqlite(connection: &Connection) -> BTreeSet<(String, String)> {
    let sql = "SELECT t.name || '.' || c.name, c.type FROM sqlite_schema t, pragma_table_info(t.name) c \
               WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// The same of the database, as SQLite calls the types. Partitions are no tables of their own.
fn columns_of_postgres(places: &Places) -> BTreeSet<(String, String)> {
    let rows = places.sql(
        "SELECT c.relname || '.' || a.attname, CASE format_type(a.atttypid, NULL) WHEN 'bigint' THEN 'INTEGER' \
         WHEN 'text' THEN 'TEXT' WHEN 'bytea' THEN 'BLOB' ELSE format_type(a.atttypid, NULL) END \
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition",
    );
    rows.lines().map(|row| row.split_once('|').unwrap()).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

#[tokio::test]
async fn every_table_and_column_is_copied_or_left_out_for_a_reason() {
    let places = Places::new(0).await;
    let (file, database) = (columns_of_sqlite(&places.sqlite()), columns_of_postgres(&places));
    let named = |column: &str, names: &[&str]| {
        let table = column.split('.').next().unwrap();
        names.iter().any(|name| *name == column || *name == table)
    };
    let left_out: Vec<_> = LEFT_OUT.iter().map(|(name, _)| *name).collect();
    let beside: Vec<_> = TABLES
        .iter()
        .flat_map(|table| table.beside.iter().map(|(column, _)| format!("{}.{column}", table.name)))
        .collect();
    let beside: Vec<_> = beside.iter().map(String::as_str).collect();
    let tables: Vec<_> = TABLES.iter().map(|table| table.name).collect();

    for (column, kind) in &file {
        assert!(
            named(column, &tables) || named(column, &left_out),
            "{column} of SQLite's schema is not copied: name its table in TABLES, or in LEFT_OUT with a reason"
        );
        assert!(
            named(column, &left_out) || database.contains(&(column.clone(), kind.clone())),
            "{column} {kind} of SQLite's schema has no counterpart in PostgreSQL's"
        );
    }
    for (column, kind) in &database {
        assert!(
            named(column, &left_out)
                || named(column, &beside)
                || file.contains(&(column.clone(), kind.clone())),
            "{column} {kind} of PostgreSQL's schema is not filled: give it a value beside its table in TABLES, or a \
             reason in LEFT_OUT"
        );
    }
    for name in [left_out, beside, tables].concat() {
        let there = file.iter().chain(&database).any(|(column, _)| named(column, &[name]));
        assert!(there, "{name} is in neither schema any more");
    }
    // A page is read by its key, so that must be one on both sides.
    let unique = places.sql(
        "SELECT c.relname || ': ' || string_agg(a.attname, ', ' ORDER BY k.n) FROM pg_index i \
         JOIN pg_class c ON c.oid = i.indrelid CROSS JOIN UNNEST(i.indkey) WITH ORDINALITY k (column_number, n) \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.column_number \
         WHERE i.indisunique AND i.indpred IS NULL GROUP BY c.relname, i.indexrelid",
    );
    for layout in Source::open(&places.file()).unwrap().layouts().unwrap() {
        let key: Vec<_> = layout.columns[..layout.key].iter().map(|column| column.name.as_str()).collect();
        let key = format!("{}: {}", layout.table.name, key.join(", "));
        assert!(unique.lines().any(|line| line == key), "no unique index for {key} among\n{unique}");
    }
}

#[tokio::test]
async fn every_sequence_is_moved_past_what_was_copied() {
    let places = Places::new(9).await;
    places.copy().await.unwrap();
    let sequences =
        places.sql("SELECT c.oid::regclass FROM pg_class c WHERE c.relkind = 'S' ORDER BY c.relname");
    assert_eq!(sequences.lines().count(), SEQUENCES.len(), "{sequences}");
    for (sequence, table, column) in SEQUENCES {
        let next = places.sql(&format!("SELECT nextval({sequence})"));
        let greatest = places.sql(&format!("SELECT max({column}) FROM {table}"));
        assert_eq!(next.parse::<i64>().unwrap(), greatest.parse::<i64>().unwrap() + 1, "{table}");
    }
}

#[tokio::test]
async fn a_copy_goes_through_a_pooler_of_one_connection() {
    let places = Places::new(9).await;
    let pooler = Pooler::start(Cluster::shared(), places.name(), 1).expect("PgBouncer");
    assert!(!super::copy(&places.file(), pooler.url(), 4, |_| ()).await.unwrap().already);
    assert!(places.copy().await.unwrap().already);
    assert_eq!(pooler.sql("SHOW enable_seqscan"), "on", "no setting stays behind");
}

/// How many batches of two a copy of nine rows a table is.
const BATCHES: u64 = 5 * TABLES.len() as u64;

/// Runs a copy, two rows at a time, and drops it after so many batches: what a kill leaves, since a transaction that was begun is gone with
/// its connection. Gives whether it ended before that.
async fn cut_short(places: &Places, after: u64) -> bool {
    let (cut, batches) = (tokio::sync::Notify::new(), std::cell::Cell::new(0));
    let file = places.file();
    let copying = super::copy(&file, &places.url, 2, |_| {
        batches.set(batches.get() + 1);
        if batches.get() == after {
            cut.notify_one();
        }
    });
    tokio::select! {
        biased;
        () = cut.notified() => false,
        done = copying => !done.unwrap().already,
    }
}

#[tokio::test]
async fn a_copy_goes_on_where_it_was_cut_short_and_says_when_it_is_done() {
    let places = Places::new(9).await;
    // One batch further each time.
    for _ in 0..BATCHES {
        assert!(!cut_short(&places, 1).await);
        let error = postgres::Postgres::open(&places.url, &Options::default()).await.err().unwrap();
        assert!(matches!(error, OpenError::Unfinished), "{error}");
    }
    // What is left is to compare, which begins anew.
    assert_eq!(places.sql("SELECT sum(copied) FROM unfinished_copy"), (9 * TABLES.len()).to_string());
    assert!(!cut_short(&places, 3).await);
    assert!(cut_short(&places, u64::MAX).await);
    let again = places.copy().await.unwrap();
    assert!(again.already && again.tables.iter().all(|(_, rows)| *rows == 9), "{again:?}");
    for (table, _) in again.tables {
        assert_eq!(places.sql(&format!("SELECT count(*) FROM {table}")), "9", "{table}");
    }
    assert_eq!(places.sql("SELECT DISTINCT committed_by FROM events"), "0");
    assert!(postgres::Postgres::open(&places.url, &Options::default()).await.is_ok());
}

#[tokio::test]
async fn a_row_that_differs_is_named() {
    for (spoil, wanted) in [
        ("UPDATE jobs SET metadata = '{}' WHERE tenant = 0", "differs in metadata"),
        ("UPDATE payload SET bytes = bytes || '\\x00' WHERE kind = 1", "differs in bytes"),
        ("DELETE FROM attempts WHERE number = 2", "is not in the copy"),
        ("DELETE FROM delivery_queue", "delivery_queue 00ff00 is not in the copy"),
        ("INSERT INTO paused_tasks (task, paused_at) VALUES ('', 1)", "paused_tasks  is in the copy alone"),
        (
            "INSERT INTO idempotency (key, fingerprint, tenant, job, created_at) VALUES ('\\xff', '', 1, '', 1)",
            "idempotency ff is in the copy alone",
        ),
    ] {
        let places = Places::new(9).await;
        assert!(!cut_short(&places, BATCHES).await, "all is copied, nothing compared");
        places.sql(spoil);
        let error = places.refused().await;
        assert!(error.to_string().contains(wanted), "{spoil}: {error}");
        assert!(matches!(error, CopyError::Different { .. }), "{error}");
        // It is not served, and goes on being refused.
        let open = postgres::Postgres::open(&places.url, &Options::default()).await.err().unwrap();
        assert!(matches!(open, OpenError::Unfinished), "{open}");
    }
}

#[tokio::test]
async fn only_an_empty_database_of_this_version_is_copied_into_and_no_other_file() {
    let places = Places::new(3).await;
    // Not migrated, or by another version.
    let fresh = Cluster::shared().fresh_database();
    let error = super::copy(&places.file(), &fresh, BATCH, |_| ()).await.unwrap_err();
    assert!(matches!(error, CopyError::Target(OpenError::Behind { .. })), "{error}");
    places.sql("INSERT INTO schema_migrations (n, name, checksum, needs) VALUES (99, 'later', '', 1)");
    let error = places.refused().await;
    assert!(matches!(error, CopyError::Newer { what: "database" }), "{error}");
    places.sql("DELETE FROM schema_migrations WHERE n = 99");
    // Somebody's.
    places.sql("INSERT INTO paused_tasks VALUES ('t', 1)");
    let error = places.refused().await;
    assert!(matches!(error, CopyError::Occupied { table: "paused_tasks" }), "{error}");
    places.sql("DELETE FROM paused_tasks");
    // A file that is in use, of another version, or none.
    let node = sqlite::lock::Lock::take(&places.file()).unwrap();
    let error = places.refused().await.to_string();
    assert!(error.contains("is in use by process"), "{error}");
    drop(node);
    let later = "INSERT INTO schema_migrations (n, name, checksum, needs) VALUES (99, 'later', x'', 1)";
    places.sqlite().execute_batch(later).unwrap();
    let error = places.refused().await;
    assert!(matches!(error, CopyError::Newer { what: "file" }), "{error}");
    places.sqlite().execute_batch("DELETE FROM schema_migrations").unwrap();
    let error = places.refused().await;
    assert!(matches!(error, CopyError::FileBehind { .. }), "{error}");
    let error = super::copy(&places.folder.path().join("none"), &places.url, BATCH, |_| ()).await;
    assert!(matches!(error, Err(CopyError::Source(_))), "{error:?}");
    assert!(!places.folder.path().join("none.lock").exists());
    assert_eq!(places.sql("SELECT to_regclass('unfinished_copy')"), "", "nothing was begun");
}

#[tokio::test]
async fn a_copy_goes_on_with_the_file_that_it_began_with() {
    let (places, other) = (Places::new(3).await, Places::new(4).await);
    assert!(!cut_short(&places, 5).await);
    let error = super::copy(&other.file(), &places.url, BATCH, |_| ()).await.unwrap_err();
    assert!(matches!(error, CopyError::Other), "{error}");
    // A node ran on it again: what was copied may be of yesterday.
    places.sqlite().execute_batch("UPDATE nodes SET epoch = epoch - 1 WHERE id = 0").unwrap();
    let error = places.refused().await;
    assert!(matches!(error, CopyError::Other), "{error}");
    places.sqlite().execute_batch("UPDATE nodes SET epoch = epoch + 1 WHERE id = 0").unwrap();
    assert!(!places.copy().await.unwrap().already);
    // Whole, and of another file.
    let error = super::copy(&other.file(), &places.url, BATCH, |_| ()).await.unwrap_err();
    assert!(matches!(error, CopyError::Other), "{error}");
}

#[tokio::test]
async fn where_nodes_run_nothing_is_copied_and_where_a_copy_is_half_done_nobody_joins() {
    let lease = Duration::from_secs(60);
    let places = Places::new(3).await;
    // Both have opened it while it was empty.
    let first = postgres::Postgres::open(&places.url, &Options::default()).await.unwrap();
    let second = postgres::Postgres::open(&places.url, &Options::default()).await.unwrap();
    let fence = first.join(lease).await.unwrap();
    let error = places.refused().await;
    assert!(matches!(error, CopyError::Running { node, .. } if node == fence.node), "{error}");
    first.leave().await.unwrap();
    places.sql("DELETE FROM nodes");
    assert!(!cut_short(&places, 5).await);
    let error = second.join(lease).await.unwrap_err().to_string();
    assert!(error.contains("unfinished copy") && error.contains("storage copy"), "{error}");
    assert_eq!(places.sql("SELECT count(*) FROM nodes"), "0");
    assert!(!places.copy().await.unwrap().already);
    second.join(lease).await.unwrap();
}
