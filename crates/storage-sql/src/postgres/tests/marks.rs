//! A lane of many rows is drained from its mark on, and nothing that is behind it is lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    chance::Moment,
    lane::{Ask, Caps, Group, Lane, Lanes},
};
use storage::{ClaimedJob, Jobs, LaneClaim, Submit, Wake};
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

/// A job of this lane that nobody tells of, due a second before all others.
fn behind(url: &str, lane: Lane) {
    let due = AT.now.micros() - 1_000_000;
    let sql = format!(
        "INSERT INTO job_queue (id, tenant, lane, due_at, attempt) VALUES ((SELECT id FROM jobs EXCEPT SELECT id FROM job_queue), 1, {}, \
         {due}, 0)",
        lane.0
    );
    Cluster::shared().sql(name(url), &sql);
}

#[tokio::test]
async fn a_claim_that_empties_its_lane_leaves_a_mark_too() {
    let url = database(Cluster::shared()).await;
    let (engine, lane) = waiting(&url, 25).await;
    let all = claim(&engine, lane, 100, at(1)).await;
    assert_eq!((all.claimed.len(), all.next_due), (25, None));
    behind(&url, lane);
    let none = claim(&engine, lane, 100, at(2)).await;
    assert_eq!((none.claimed.len(), none.next_due), (0, None), "it was not looked for");
    assert_eq!(claim(&engine, lane, 100, at(3)).await.claimed.len(), 1, "two seconds are over");
}

#[tokio::test]
async fn what_was_told_of_is_found_at_once() {
    let url = database(Cluster::shared()).await;
    let (engine, lane) = waiting(&url, 25).await;
    assert_eq!(claim(&engine, lane, 10, at(1)).await.claimed.len(), 10);
    behind(&url, lane);
    let beyond = claim(&engine, lane, 10, at(2)).await;
    assert!(beyond.claimed.iter().all(|claimed| claimed.due > AT.now), "it was not looked for");
    let task = submission(1).job.task;
    let due = AT.now - Duration::from_secs(1);
    engine.hub.hear(&[Wake::JobDue { lane, task, due }]);
    let found = claim(&engine, lane, 10, at(2)).await;
    assert_eq!(found.claimed.iter().filter(|claimed| claimed.due < AT.now).count(), 1);
}

/// Each is due before all that came before it, and comes while claims are out.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_beside_claims_is_found_from_their_marks() {
    const MANY: u32 = 400;
    let url = database(Cluster::shared()).await;
    let (one, two) = (open(&url).await, open(&url).await);
    for (n, from) in (0..).zip([&one, &two]) {
        let from = from.clone();
        let submits = tokio::spawn(async move {
            for number in 1..=MANY {
                let submit = submission(u128::from(n * MANY + number));
                let due = AT.now + Duration::from_micros((MANY - number).into());
                from.submit(Submit { due, ..submit }).await.unwrap();
            }
        });
        let (lane, mut found) = (submission(1).job.lane(), 0);
        // No mark ends: time stands still.
        while !submits.is_finished() {
            found += claim(&one, lane, 100, at(1)).await.claimed.len();
        }
        submits.await.unwrap();
        let rest = async {
            while found < MANY as usize {
                found += claim(&one, lane, 100, at(1)).await.claimed.len();
            }
        };
        let all = tokio::time::timeout(Duration::from_secs(2), rest).await;
        assert!(all.is_ok(), "{found} were found of node {n}'s");
    }
}

#[tokio::test]
async fn what_somebody_had_locked_is_not_passed_over() {
    let url = database(Cluster::shared()).await;
    let (engine, lane) = waiting(&url, 25).await;
    let locks = Address::parse(&url, super::LEASE).unwrap().connect().await.unwrap();
    let lock = "BEGIN; SELECT 1 FROM job_queue ORDER BY due_at LIMIT 3 FOR UPDATE";
    locks.batch_execute(lock).await.unwrap();
    let rest = claim(&engine, lane, 100, at(1)).await;
    assert_eq!(rest.claimed.len(), 22);
    assert!(rest.next_due.is_some_and(|due| due < at(1).now), "{:?}", rest.next_due);
    locks.batch_execute("ROLLBACK").await.unwrap();
    let rest = claim(&engine, lane, 100, at(1)).await;
    assert_eq!((rest.claimed.len(), rest.next_due), (3, None));
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
                engine.hub.marks[0].clear();
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
