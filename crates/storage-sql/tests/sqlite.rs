//! SQLite passes the suite that any engine must pass.

use std::sync::Arc;

use ringback_storage_sql::sqlite::Sqlite;
use storage::{Engine, conformance::Store};

struct File(tempfile::TempDir);

impl File {
    async fn fresh() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait::async_trait]
impl Store for File {
    async fn open(&self) -> Arc<dyn Engine> {
        Arc::new(Sqlite::open(&self.0.path().join("test.db")).unwrap())
    }

    async fn expire_leases(&self) {}
}

storage::conformance!(File::fresh());
