//! Behind PgBouncer in transaction mode, where a session lasts for a transaction and nobody can listen.

use std::time::Duration;

use ringback_tests::{Peer, Reply, Ringback};
use serde_json::json;
use testkit::postgres::{Cluster, Pooler};

use super::{config, faults::name, with_work, work};

#[tokio::test]
async fn two_nodes_share_a_few_connections_and_hear_of_each_other() {
    let cluster = Cluster::shared();
    let database = cluster.fresh_database();
    let pooler = Pooler::start(cluster, name(&database), 6).expect("PgBouncer");
    let (upstream, receiver) = (Peer::start().await, Peer::start().await);
    upstream.answer("/work", |_| Reply::json("1").after(Duration::from_millis(20)));
    let config = with_work(config(), &upstream, 8).with("storage.pooled", "true");
    let mut first = Ringback::over(config.clone(), pooler.url());
    first.run(&["migrate"]).expect("ringback migrate");
    first.launch().await;
    let second = first.beside(config).await;
    for n in 0..60 {
        let node = if n % 2 == 0 { &first } else { &second };
        node.api().accepted(&work(json!(n), &receiver)).await;
    }
    receiver.wait_for("/hook", 60).await;
    receiver.stays_at("/hook", 60, Duration::from_millis(300)).await;
    assert_eq!(upstream.requests("/work").len(), 60);
    let servers = cluster.sql(
        name(&database),
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    assert!(servers.parse::<u32>().is_ok_and(|servers| servers <= 6), "{servers} sessions");
    // A setting of ours stays in no session that others may get.
    let left = pooler.sql("SHOW enable_seqscan");
    assert_eq!(left, "on");
}

#[tokio::test]
async fn what_one_does_the_other_hears_of() {
    let cluster = Cluster::shared();
    let database = cluster.fresh_database();
    let pooler = Pooler::start(cluster, name(&database), 6).expect("PgBouncer");
    Ringback::over(config(), &database).run(&["migrate"]).expect("ringback migrate");
    super::wakes::heard_over(config().with("storage.pooled", "true"), pooler.url(), super::wakes::LOOKED)
        .await;
}
