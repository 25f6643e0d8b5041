//! A lane of many rows is drained from its mark on, and nothing that is behind it is lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    chance::Moment,
    lane::{Ask, Caps, Group, Lane, Lanes},
};
use storage::{ClaimedJob, Jobs, LaneClaim};
use testkit::postgres::Cluster;

use super::{
    super::{Postgres, link::Address},
    AT, database, name, open, submission,
};

fn at(seconds: u64) -> Moment {
    let span = Duration::from_secs(seconds);
    Moment { now: AT.now + span, wall: AT.wall + span }
}

fn ask(lane: Lane, k: u32) -> Ask {
    let mut lanes = Lanes::new(Caps { start: 1_000, most: 1_000, ahead: 0 });
    lanes.set_group(Group(0), 1_000);
    lanes.touch(lane, Group(0), AT.now);
    let mut ask = lanes.pick(AT.now, 1).remove(0);
    ask.k = k;
    ask
}

/// So many jobs of one lane, a microsecond apart.
async fn waiting(url: &str, count: u32) -> (Arc<Postgres>, Lane) {
    let engine = open(url).await;
    let submit = submission(1);
    let lane = submit.job.lane();
    engine.submit(submit).await.unwrap();
    let clone = |table: &str, change: &str| {
        format!(
            "INSERT INTO {table} SELECT (made).* FROM (SELECT jsonb_populate_record(x, jsonb_build_object('id', '\\x' || \
             left(encode(x.id, 'hex'), 12) || right(md5(n::text), 20){change})) AS made FROM {table} x, \
             generate_series(1, {count}) n) m; "
        )
    };
    Cluster::shared().sql(
        name(url),
        &(clone("jobs", "")
            + &clone("job_queue", ", 'due_at', x.due_at + n")
            + "DELETE FROM job_queue WHERE due_at = (SELECT min(due_at) FROM job_queue)"),
    );
    (engine, lane)
}

async fn claim(engine: &Postgres, lane: Lane, k: u32, at: Moment) -> LaneClaim<ClaimedJob> {
    engine.claim_jobs(vec![ask(lane, k)], at).await.unwrap().remove(0)
}

#[tokio::test]
async fn what_comes_behind_a_mark_is_found_in_the_end() {
    let url = database(Cluster::shared()).await;
    let (engine, lane) = waiting(&url, 25).await;
    let behind = || {
        let (at, id) = (AT.now.micros() - 1_000_000, "(SELECT id FROM jobs ORDER BY id LIMIT 1)");
        let sql = format!(
            "INSERT INTO job_queue (id, tenant, lane, due_at, attempt) VALUES ({id}, 1, {}, {at}, 0)",
            lane.0
        );
        Cluster::shared().sql(name(&url), &sql);
    };
    assert_eq!(claim(&engine, lane, 10, at(1)).await.claimed.len(), 10);
    Cluster::shared().sql(name(&url), "DELETE FROM job_queue WHERE node IS NOT NULL");
    behind();
    // Another ten from the mark on; then the rest, and nothing is left but what is behind.
    let next = claim(&engine, lane, 10, at(2)).await;
    assert!(next.claimed.iter().all(|claimed| claimed.due > AT.now) && next.claimed.len() == 10);
    let last = claim(&engine, lane, 10, at(2)).await;
    assert_eq!(last.claimed.len(), 5);
    assert!(last.next_due.is_some_and(|due| due < AT.now), "{:?}", last.next_due);
    let found = claim(&engine, lane, 10, at(2)).await;
    assert_eq!((found.claimed.len(), found.next_due), (1, None));
}

#[tokio::test]
async fn a_lane_that_is_never_empty_is_walked_from_its_beginning_every_two_seconds() {
    let url = database(Cluster::shared()).await;
    let (engine, lane) = waiting(&url, 60).await;
    assert_eq!(claim(&engine, lane, 10, at(1)).await.claimed.len(), 10);
    let back = "UPDATE job_queue SET node = NULL, epoch = NULL WHERE node IS NOT NULL";
    Cluster::shared().sql(name(&url), back);
    let ten = |claim: LaneClaim<ClaimedJob>| claim.claimed.iter().map(|c| c.due).min().unwrap();
    let beyond = ten(claim(&engine, lane, 10, at(2)).await);
    let again = ten(claim(&engine, lane, 10, at(3)).await);
    assert!(again < beyond, "{again} {beyond}");
}

/// What a drain costs while somebody else's transaction is open, with marks and without: run it by itself with
/// `cargo test --workspace --lib postgres::tests::marks -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement, which takes a minute"]
#[allow(clippy::print_stdout, clippy::disallowed_methods, reason = "what it costs is what is asked")]
async fn what_a_drain_costs_beside_an_open_transaction() {
    for marked in [false, true] {
        let url = database(Cluster::shared()).await;
        let (engine, lane) = waiting(&url, 100_000).await;
        let held = Address::parse(&url, super::LEASE).unwrap().connect().await.unwrap();
        held.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM tenants")
            .await
            .unwrap();
        let mut times = Vec::new();
        loop {
            if !marked {
                engine.hub.marks[0].set(lane.0, None, AT.now);
            }
            let begin = Instant::now();
            let claimed = claim(&engine, lane, 500, at(1)).await.claimed;
            times.push(begin.elapsed());
            if claimed.is_empty() {
                break;
            }
            let ids: Vec<_> = claimed.iter().map(|c| format!("'\\x{:032x}'", c.job.id.as_u128())).collect();
            let gone = format!("DELETE FROM job_queue WHERE id IN ({})", ids.join(","));
            Cluster::shared().sql(name(&url), &gone);
        }
        let mean = |of: &[Duration]| of.iter().sum::<Duration>() / u32::try_from(of.len()).unwrap();
        let (first, last) = (mean(&times[1..11]), mean(&times[times.len() - 11..times.len() - 1]));
        println!("marks: {marked}; a claim of 500, of the first 10: {first:?}, of the last 10: {last:?}");
    }
}
