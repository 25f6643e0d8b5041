//! Two engines that were told the same hold the same, row by row.

use std::sync::Arc;

use async_trait::async_trait;
use ringback_storage_sql::{Options, migrate, open};
use storage::{
    Engine,
    conformance::{Store, history::two_engines_hold_the_same},
};
use testkit::postgres::Cluster;

struct Place {
    url: String,
}

#[async_trait]
impl Store for Place {
    async fn open(&self) -> Arc<dyn Engine> {
        open(&self.url, Options::default()).await.unwrap()
    }

    async fn expire_leases(&self) {
        if let Some((_, name)) = self.url.rsplit_once('/').filter(|_| self.url.starts_with("postgres")) {
            Cluster::shared().sql(name, "UPDATE nodes SET lease_until = 0");
        }
    }
}

#[tokio::test]
async fn sqlite_and_postgresql_hold_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Place { url: format!("sqlite:{}", folder.path().join("test.db").display()) };
    let postgres = Place { url: Cluster::shared().fresh_database() };
    migrate(&postgres.url).await.unwrap();
    two_engines_hold_the_same(&sqlite, &postgres).await;
}
