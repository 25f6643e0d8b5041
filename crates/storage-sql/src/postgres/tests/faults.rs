//! Outages, lost outcomes, poisoned batches, and a node that lives on past its lease.

use std::{
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use domain::{id::Tenant, lane::Lane, task::TaskName, time::Timestamp};
use storage::{
    ClaimedJob, Engine, Idempotency, JobTaker, Jobs, Listener, Nodes, StorageError, Submitted, Takers, Wake,
};
use testkit::postgres::{Cluster, Mode};

use super::{AT, Postgres, database, name, open, submission};

/// Takes every job, and hears of lost outcomes.
#[derive(Default)]
struct Taker {
    jobs: Mutex<Vec<ClaimedJob>>,
    uncertain: tokio::sync::Notify,
    reserved: Mutex<i64>,
}

impl Taker {
    fn behind(engine: &Postgres) -> Arc<Self> {
        let taker = Arc::new(Self::default());
        let (jobs, listener): (Weak<Self>, Weak<Self>) = (Arc::downgrade(&taker), Arc::downgrade(&taker));
        engine.attach(Takers { jobs: Some(jobs), deliveries: None, listeners: vec![listener] });
        taker
    }
}

impl JobTaker for Taker {
    fn reserve(&self, _: &TaskName, _: Lane, _: Timestamp) -> bool {
        *self.reserved.lock().unwrap() += 1;
        true
    }

    fn unreserve(&self, _: &TaskName, _: Lane) {
        *self.reserved.lock().unwrap() -= 1;
    }

    fn take(&self, job: ClaimedJob) {
        self.jobs.lock().unwrap().push(job);
    }
}

impl Listener for Taker {
    fn woken(&self, wakes: &[Wake]) {
        if wakes.iter().any(|wake| matches!(wake, Wake::Uncertain)) {
            self.uncertain.notify_one();
        }
    }
}

/// Makes every commit that queues a job take its time, so that it can be hit.
const SLOW_COMMIT: &str = "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS \
     'BEGIN PERFORM pg_sleep(3); RETURN NULL; END'; \
     CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON job_queue DEFERRABLE INITIALLY DEFERRED \
     FOR EACH ROW EXECUTE FUNCTION dawdle()";

const END_SLOW_COMMIT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
     WHERE datname = current_database() AND query = 'COMMIT' AND state = 'active'";

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_unknown_and_told() {
    let cluster = Cluster::shared();
    let url = database(cluster).await;
    let engine = open(&url).await;
    let taker = Taker::behind(&engine);
    cluster.sql(name(&url), SLOW_COMMIT);
    let submitting = tokio::spawn({
        let engine = engine.clone();
        async move { engine.submit(submission(1)).await }
    });
    let mut ended = String::new();
    while ended.is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        ended = cluster.sql(name(&url), END_SLOW_COMMIT);
    }
    let answer = submitting.await.unwrap();
    assert!(matches!(answer, Err(StorageError::Unavailable { unknown: true, .. })), "{answer:?}");
    taker.uncertain.notified().await;
    assert_eq!((*taker.reserved.lock().unwrap(), taker.jobs.lock().unwrap().len()), (0, 0));
    cluster.sql(name(&url), "DROP TRIGGER dawdle ON job_queue");
    // What is done then finds nothing of it, and goes on.
    assert_eq!(engine.give_back(Some(vec![]), None, AT).await.unwrap().jobs, 0);
    assert!(matches!(engine.submit(submission(2)).await, Ok(Submitted::Accepted(_))));
    assert_eq!(taker.jobs.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_outage_refuses_and_heals_by_itself() {
    let cluster = Cluster::start().unwrap();
    let url = database(&cluster).await;
    let engine = open(&url).await;
    let taker = Taker::behind(&engine);
    engine.submit(submission(1)).await.unwrap();
    cluster.stop(Mode::Immediate);
    for number in 2..5 {
        let refused = engine.submit(submission(number)).await;
        assert!(matches!(refused, Err(StorageError::Unavailable { .. })), "{refused:?}");
    }
    assert!(engine.job(Tenant::DEFAULT, submission(1).job.id).await.is_err());
    assert!(engine.check().await.is_err());
    cluster.resume();
    assert!(engine.job(Tenant::DEFAULT, submission(1).job.id).await.unwrap().is_some());
    assert!(matches!(engine.submit(submission(9)).await, Ok(Submitted::Accepted(_))));
    assert!(engine.check().await.is_ok());
    let reserved = *taker.reserved.lock().unwrap();
    assert_eq!((reserved, taker.jobs.lock().unwrap().len()), (2, 2));
}

#[tokio::test]
async fn a_poisoned_command_fails_by_itself() {
    let url = database(Cluster::shared()).await;
    let engine = open(&url).await;
    engine.submit(submission(1)).await.unwrap();
    // The same id again is a mistake of ours, and no reason to refuse its neighbours.
    let batch: Vec<_> = [2, 1, 3, 4]
        .into_iter()
        .map(|number| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.submit(submission(number)).await })
        })
        .collect();
    let mut accepted = Vec::new();
    for submitted in batch {
        accepted.push(submitted.await.unwrap().is_ok());
    }
    assert_eq!(accepted, [true, false, true, true]);
}

fn keyed(number: u128) -> storage::Submit {
    let idempotency = Idempotency { digest: [(number % 50) as u8; 16], fingerprint: [7; 32] };
    storage::Submit { idempotency: Some(idempotency), ..submission(number) }
}

/// Submits all of them at once; the answers in their order.
async fn at_once(
    engine: &Arc<Postgres>,
    numbers: std::ops::Range<u128>,
) -> Vec<Result<Submitted, StorageError>> {
    let submit = |number| {
        let engine = engine.clone();
        tokio::spawn(async move { engine.submit(keyed(number)).await })
    };
    let mut answers = Vec::new();
    for submitting in numbers.map(submit).collect::<Vec<_>>() {
        answers.push(submitting.await.unwrap());
    }
    answers
}

/// A session that has something locked, until it is dropped.
async fn locking(url: &str, sql: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(&format!("BEGIN; {sql}")).await.unwrap();
    client
}

#[tokio::test]
async fn whoever_would_wait_for_a_lock_is_refused_after_a_second_and_recorded_nowhere() {
    let url = database(Cluster::shared()).await;
    let engine = open(&url).await;
    let taker = Taker::behind(&engine);
    let lock = locking(&url, "LOCK TABLE jobs").await;
    for _ in 0..3 {
        let answers = tokio::time::timeout(Duration::from_millis(2_500), at_once(&engine, 1..41)).await;
        for answer in answers.expect("all are answered") {
            assert!(matches!(answer, Err(StorageError::Overloaded)), "{answer:?}");
        }
    }
    lock.batch_execute("ROLLBACK").await.unwrap();
    for answer in at_once(&engine, 1..41).await {
        assert!(matches!(answer, Ok(Submitted::Accepted(_))), "{answer:?}");
    }
    assert_eq!((*taker.reserved.lock().unwrap(), taker.jobs.lock().unwrap().len()), (40, 40));
}

#[tokio::test]
async fn a_key_that_somebody_keeps_locked_holds_up_no_other() {
    let url = database(Cluster::shared()).await;
    let engine = open(&url).await;
    let _lock = locking(
        &url,
        "INSERT INTO idempotency (key, fingerprint, tenant, job, created_at) \
         SELECT decode(repeat('07', 16), 'hex'), '', 1, '', 0",
    )
    .await;
    let refused = |answers: &[Result<Submitted, StorageError>]| -> Vec<usize> {
        (1..).zip(answers).filter(|(_, answer)| answer.is_err()).map(|(number, _)| number).collect()
    };
    assert_eq!(refused(&at_once(&engine, 1..21).await), [7]);
    assert_eq!(refused(&at_once(&engine, 55..59).await), [3], "and so again: the others find theirs");
}

/// Its lease passed, another took its work over; then it comes back to what it was in the middle of.
#[tokio::test]
async fn a_node_whose_work_was_taken_over_writes_no_mark() {
    let cluster = Cluster::shared();
    let url = database(cluster).await;
    let (slept, other) = (open(&url).await, open(&url).await);
    let taker = Taker::behind(&slept);
    slept.submit(submission(1)).await.unwrap();
    let held = taker.jobs.lock().unwrap()[0].hold;
    let nobody = "UPDATE nodes SET lease_until = 0 WHERE id = ";
    cluster.sql(name(&url), &format!("{nobody}{}", held.fence.node));
    assert_eq!(other.take_over(AT).await.unwrap().jobs, 1);
    let refused = slept.submit(submission(2)).await;
    assert!(matches!(refused, Err(StorageError::Unavailable { unknown: false, .. })), "{refused:?}");
    assert_eq!(slept.extend(super::LEASE, true).await.unwrap(), storage::Renewed::LeaseLost);
    assert_eq!(*taker.reserved.lock().unwrap(), 1);
    assert_eq!(cluster.sql(name(&url), "SELECT count(*) FROM job_queue WHERE node IS NOT NULL"), "0");
}
