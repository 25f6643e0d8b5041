//! What only SQLite can get wrong.

mod faults;
mod plans;

use rusqlite::Connection;

use super::open;

fn database() -> (tempfile::TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let connection = open::writer(&folder.path().join("test.db")).unwrap();
    (folder, connection)
}

#[test]
fn only_one_process_has_the_file_and_the_other_is_told_who() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let first = super::Sqlite::open(&path).unwrap();
    let error = super::Sqlite::open(&path).err().unwrap().to_string();
    assert!(error.contains(&format!("is in use by process {}", std::process::id())), "{error}");
    drop(first);
    assert!(super::Sqlite::open(&path).is_ok());
}

#[test]
fn a_newer_schema_is_refused() {
    let (folder, connection) = database();
    connection
        .execute(
            "INSERT INTO schema_migrations (n, name, checksum, needs) VALUES (99, 'later', x'00', 99)",
            [],
        )
        .unwrap();
    drop(connection);
    let error = super::Sqlite::open(&folder.path().join("test.db")).err().unwrap().to_string();
    assert!(error.contains("has schema 99, this version knows"), "{error}");
}
