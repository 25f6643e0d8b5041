//! Ranges of history against what else goes on in the database.

use std::{collections::BTreeSet, time::Duration};

use domain::chance::Moment;
use storage::{History, Submitted};
use testkit::postgres::Cluster;

use super::{
    super::{Postgres, claims, finish, line::Verb, link::Address, midway, settle, submit},
    AT, database, name, open, submission,
};

const DAY: Duration = Duration::from_secs(24 * 3_600);
const KEPT: Duration = Duration::from_secs(10 * 24 * 3_600);

/// So long before or after what [`AT`] is.
fn after(span: Duration) -> Moment {
    Moment { now: AT.now + span, wall: AT.wall + span }
}

/// With a range that began a minute ago, and five thousand jobs in it that have ended.
async fn filled(url: &str) -> std::sync::Arc<Postgres> {
    let engine = open(url).await;
    let before = Duration::from_secs(120);
    let before = Moment { now: AT.now - before, wall: AT.wall - before };
    engine.drop_old(KEPT, before).await.unwrap();
    engine.submit_one(1).await;
    Cluster::shared().sql(
        name(url),
        "DELETE FROM job_queue; UPDATE jobs SET status = 2, finished_at = created_at; \
         INSERT INTO jobs SELECT (j).* FROM (SELECT jsonb_populate_record(j, jsonb_build_object('id', \
         '\\x' || left(encode(j.id, 'hex'), 12) || right(md5(n::text), 20), 'metadata', repeat('x', 500))) AS j \
         FROM jobs j, generate_series(1, 5000) n) made",
    );
    assert_eq!(count(url, "jobs_1"), 5_001);
    engine
}

trait Submits {
    async fn submit_one(&self, number: u128);
}

impl Submits for Postgres {
    async fn submit_one(&self, number: u128) {
        use storage::Jobs;
        let answer = self.submit(submission(number)).await.unwrap();
        assert!(matches!(answer, Submitted::Accepted(_)), "{answer:?}");
    }
}

fn count(url: &str, table: &str) -> u64 {
    let sql = format!("SELECT count(*) FROM {table}");
    Cluster::shared().sql(name(url), &sql).trim().parse().unwrap()
}

fn size(url: &str) -> u64 {
    let sql = "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('jobs')";
    Cluster::shared().sql(name(url), sql).trim().parse().unwrap()
}

fn ranges(url: &str) -> String {
    let sql = "SELECT string_agg(n || CASE WHEN buried_at IS NULL THEN '' ELSE '!' END, ' ' ORDER BY n) FROM history_ranges";
    Cluster::shared().sql(name(url), sql).trim().to_owned()
}

#[tokio::test]
async fn a_range_is_stored_as_the_default_tables_are() {
    let url = database(Cluster::shared()).await;
    let _engine = filled(&url).await;
    let options = |suffix: &str| {
        let sql = format!(
            "SELECT string_agg(regexp_replace(relname, '_[^_]*$', '') || ' ' || reloptions::text, ', ' ORDER BY relname) \
             FROM pg_class WHERE relkind = 'r' AND relispartition AND relname LIKE '%\\_{suffix}'"
        );
        Cluster::shared().sql(name(&url), &sql).trim().to_owned()
    };
    assert_eq!(options("1"), "deliveries {fillfactor=50}");
    assert_eq!(options("1"), options("rest"));
}

/// Rows that are deleted stay on the disk for as long as somebody may still see them; a table that is dropped does not.
#[tokio::test]
async fn a_range_is_given_back_while_a_transaction_stays_open() {
    let url = database(Cluster::shared()).await;
    let engine = filled(&url).await;
    let full = size(&url);
    let open = Address::parse(&url, super::LEASE).unwrap().connect().await.unwrap();
    open.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM tenants").await.unwrap();
    engine.drop_old(KEPT, after(KEPT + DAY)).await.unwrap();
    assert_eq!(ranges(&url), "2", "the first is gone, and one is there for what comes");
    assert_eq!((count(&url, "jobs"), count(&url, "tombstones")), (0, 5_001));
    assert!(size(&url) * 4 < full, "{} of {full} bytes are left", size(&url));
    open.batch_execute("COMMIT").await.unwrap();
}

/// Whoever reads history keeps it; and nobody waits behind the one that would drop it.
#[tokio::test]
async fn a_range_that_is_read_goes_later() {
    let url = database(Cluster::shared()).await;
    let engine = filled(&url).await;
    let reads = Address::parse(&url, super::LEASE).unwrap().connect().await.unwrap();
    reads.batch_execute("BEGIN; SELECT count(*) FROM jobs").await.unwrap();
    let (dropped, ()) = tokio::join!(engine.drop_old(KEPT, after(KEPT + DAY)), engine.submit_one(2));
    dropped.unwrap();
    assert_eq!(ranges(&url), "1!", "it has its tombstones, and is there; the next one is made later, too");
    assert_eq!(count(&url, "jobs_1"), 5_002);
    reads.batch_execute("COMMIT").await.unwrap();
    engine.drop_old(KEPT, after(KEPT + DAY)).await.unwrap();
    assert_eq!(ranges(&url), "2");
    assert_eq!(count(&url, "jobs"), 1, "what was submitted meanwhile was carried over");
    assert_eq!(count(&url, "tombstones"), 5_001);
}

#[tokio::test]
async fn two_nodes_make_and_drop_each_range_once() {
    let url = database(Cluster::shared()).await;
    let (one, two) = (filled(&url).await, open(&url).await);
    for day in [1, 2, 3, 11, 12, 13, 14] {
        let at = after(DAY * day);
        let (one, two) = tokio::join!(one.drop_old(KEPT, at), two.drop_old(KEPT, at));
        one.and(two).unwrap();
    }
    one.drop_old(KEPT, after(DAY * 14)).await.unwrap();
    let left = ranges(&url);
    assert!(!left.contains('!') && !left.split(' ').any(|n| n == "1"), "{left}");
    let sql = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'jobs'::regclass";
    let tables: usize = Cluster::shared().sql(name(&url), sql).trim().parse().unwrap();
    assert_eq!(tables, left.split(' ').count() + 1, "and the default one: {left}");
}

/// A role that owns nothing serves all the same: history goes by steps.
#[tokio::test]
async fn a_role_that_may_not_make_tables_does_without_ranges() {
    let cluster = Cluster::shared();
    let url = database(cluster).await;
    let role = format!("reader_{}", name(&url));
    cluster.sql(
        name(&url),
        &format!(
            "CREATE ROLE {role} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; \
             GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}"
        ),
    );
    let (scheme, rest) = url.split_once("://").unwrap();
    let (_, rest) = rest.split_once('@').unwrap();
    let engine = open(&format!("{scheme}://{role}@{rest}")).await;
    assert_eq!(engine.drop_old(KEPT, AT).await.unwrap(), None);
    assert_eq!(count(&url, "history_ranges"), 0);
    engine.submit_one(1).await;
}

/// Those that are not looked at are left out when the statement begins. A plan that looks at every range costs a millisecond for each of them.
#[tokio::test]
async fn what_is_hot_plans_for_one_range() {
    let url = database(Cluster::shared()).await;
    let engine = filled(&url).await;
    for day in 1..8 {
        engine.drop_old(KEPT, after(DAY * day)).await.unwrap();
    }
    assert_eq!(ranges(&url), "1 2 3 4 5 6 7 8");
    let client = Address::parse(&url, super::LEASE).unwrap().reading().await.unwrap();
    client.batch_execute(super::plans::MODES[1]).await.unwrap();
    let hot = [
        submit::Submissions::STATEMENTS,
        claims::ClaimJobs::STATEMENTS,
        claims::ClaimDeliveries::STATEMENTS,
        finish::Finishes::STATEMENTS,
        midway::Requeues::STATEMENTS,
        settle::Settlements::STATEMENTS,
    ];
    let mut seen = 0;
    // The table that is updated cannot be joined so: its plan is made for all of them, in 0.4 ms a batch.
    let updates = |sql: &str| sql.starts_with("UPDATE jobs") || sql.starts_with("UPDATE deliveries");
    for sql in hot.concat().into_iter().filter(|sql| !updates(sql)) {
        let plan = super::plans::plan_for_samples(&client, &super::super::reads::for_postgres(sql)).await;
        for table in ["jobs", "events", "deliveries", "attempts", "payload"] {
            let prefix = format!("{table}_");
            // What follows is what the statement calls it, which may be the name of another.
            let tables = plan.split(" on ").skip(1).filter_map(|rest| rest.split_whitespace().next());
            let parts: BTreeSet<_> = tables
                .filter_map(|table| table.strip_prefix(&*prefix))
                .filter(|part| *part == "rest" || part.parse::<u32>().is_ok())
                .collect();
            seen += parts.len();
            assert!(parts.len() <= 1, "{parts:?} of {table} in {sql}\n{plan}");
        }
    }
    assert!(seen > 7, "{seen}");
}
