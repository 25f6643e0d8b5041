//! A node that starts changes no schema; it says who does.

use storage::{Jobs, Nodes};
use testkit::postgres::Cluster;

use super::{Postgres, migrate, name};
use crate::{
    Mismatch, OpenError, Options,
    migrate::Migration,
    postgres::migrate::{MIGRATIONS, apply},
};

async fn refused(url: &str) -> OpenError {
    Postgres::open(url, &Options::default()).await.err().expect("it is refused")
}

#[tokio::test]
async fn an_empty_database_is_refused_by_name_of_the_command() {
    let url = Cluster::shared().fresh_database();
    let error = refused(&url).await;
    assert!(error.to_string().contains("`ringback migrate`"), "{error}");
    assert_eq!(migrate(&url).await.unwrap(), ["one_job"]);
    assert!(migrate(&url).await.unwrap().is_empty(), "once");
    assert!(Postgres::open(&url, &Options::default()).await.is_ok());
}

#[tokio::test]
async fn a_schema_of_another_version_is_refused() {
    let url = super::database(Cluster::shared()).await;
    let sql = |text: &str| Cluster::shared().sql(name(&url), text);
    sql("INSERT INTO schema_migrations (n, name, checksum, needs) VALUES (99, 'later', '', 99)");
    assert!(matches!(refused(&url).await, OpenError::Schema(Mismatch::Newer { found: 99, .. })));
    assert!(matches!(migrate(&url).await, Err(OpenError::Schema(Mismatch::Newer { .. }))));
    sql("DELETE FROM schema_migrations WHERE n = 99; UPDATE schema_migrations SET checksum = 'x'");
    assert!(matches!(refused(&url).await, OpenError::Schema(Mismatch::Changed { n: 1 })));
}

#[tokio::test]
async fn eight_that_migrate_at_once_wait_for_each_other() {
    let url = Cluster::shared().fresh_database();
    let migrations: Vec<_> = (0..8)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { migrate(&url).await.unwrap().len() })
        })
        .collect();
    let mut applied = 0;
    for migration in migrations {
        applied += migration.await.unwrap();
    }
    assert_eq!(applied, 1);
}

/// The steps of a later version: ours, and these.
fn and(later: &[(&'static str, &'static str, i64)]) -> Vec<Migration> {
    let ours = MIGRATIONS.iter().map(|Migration { name, sql, needs }| Migration { name, sql, needs: *needs });
    let later = later.iter().map(|&(name, sql, needs)| Migration { name, sql, needs });
    ours.chain(later).collect()
}

#[tokio::test]
async fn two_versions_share_a_schema_until_it_is_contracted() {
    let cluster = Cluster::shared();
    let url = super::database(cluster).await;
    let ours = MIGRATIONS.len() as i64;
    let running = super::open(&url).await;
    let expand = ("planted_expand", "ALTER TABLE jobs ADD COLUMN planted TEXT", ours);
    assert_eq!(apply(&url, &and(&[expand])).await.unwrap(), ["planted_expand"]);
    // The version before goes on, and may start anew.
    running.submit(super::submission(1)).await.unwrap();
    let check = running.check().await.unwrap();
    assert_eq!(i64::from(check.schema), ours + 1);
    assert!(migrate(&url).await.unwrap().is_empty(), "it has nothing to add");
    let another = super::open(&url).await;
    another.leave().await.unwrap();
    let contract = ("planted_contract", "ALTER TABLE jobs DROP COLUMN planted", ours + 1);
    let steps = and(&[expand, contract]);
    let error = apply(&url, &steps).await.unwrap_err();
    assert!(matches!(error, OpenError::Holdout { step: "planted_contract", .. }), "{error}");
    assert!(running.check().await.is_ok());
    // It is gone, as far as anybody knows; and should it come back, it is not ready.
    cluster.sql(name(&url), "UPDATE nodes SET lease_until = 0");
    assert_eq!(apply(&url, &steps).await.unwrap(), ["planted_contract"]);
    let error = running.check().await.unwrap_err().to_string();
    assert!(error.contains("newer version"), "{error}");
    assert!(matches!(refused(&url).await, OpenError::Schema(Mismatch::Newer { .. })));
}
