//! PostgreSQL, held to the suite that any engine must pass, and beside SQLite.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{chance::Moment, time::Timestamp};
use ringback_storage_sql::{Options, migrate, postgres::Postgres};
use storage::{Engine, History, conformance::Store};
use testkit::postgres::Cluster;

struct Database {
    url: String,
}

#[async_trait]
impl Store for Database {
    /// With a range of history to come, so that every case has its rows in one, in the default one, or in both.
    async fn open(&self) -> Arc<dyn Engine> {
        let engine = Postgres::open(&self.url, &Options::default()).await.unwrap();
        let now = Timestamp::from_micros(1_767_225_600_000_000) - Duration::from_secs(100);
        engine.drop_old(Duration::from_secs(10 * 24 * 3_600), Moment { now, wall: now }).await.unwrap();
        Arc::new(engine)
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
