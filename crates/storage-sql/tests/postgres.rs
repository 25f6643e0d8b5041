//! PostgreSQL, held to the suite that any engine must pass, and beside SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use ringback_storage_sql::{Options, migrate, postgres::Postgres};
use storage::{Engine, conformance::Store};
use testkit::postgres::Cluster;

struct Database {
    url: String,
}

#[async_trait]
impl Store for Database {
    async fn open(&self) -> Arc<dyn Engine> {
        Arc::new(Postgres::open(&self.url, &Options::default()).await.unwrap())
    }

    fn shares(&self) -> bool {
        true
    }

    async fn expire_leases(&self) {
        let name = self.url.rsplit('/').next().unwrap();
        Cluster::shared().sql(name, "UPDATE nodes SET lease_until = 0");
    }
}

async fn fresh() -> Database {
    let url = Cluster::shared().fresh_database();
    migrate(&url).await.unwrap();
    Database { url }
}

storage::conformance!(crate::fresh());
