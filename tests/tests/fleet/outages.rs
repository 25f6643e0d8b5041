//! The database goes, freezes, comes back, and is stingy.

use std::time::Duration;

use ringback_tests::{Peer, Reply, Ringback, ask, clock, wait};
use serde_json::json;
use testkit::postgres::{Cluster, Mode};

use super::{LEASE, TAKEN_OVER, config, faults, with_work, work};

/// Once PostgreSQL is there again, so is everything.
const BACK: Duration = Duration::from_secs(3);

/// How long a submission waits at most for a database that says nothing, with a second to spare.
const REFUSED: Duration = Duration::from_secs(6);

async fn pair(cluster: &Cluster, upstream: &Peer) -> [Ringback; 2] {
    let url = cluster.fresh_database();
    let config = with_work(config(), upstream, 8);
    let mut first = Ringback::over(config.clone(), &url);
    first.run(&["migrate"]).expect("ringback migrate");
    first.launch().await;
    let second = first.beside(config).await;
    [first, second]
}

/// Submits until it is accepted; its id.
async fn accepted(node: &Ringback, job: &serde_json::Value) -> String {
    wait::until("it is accepted", || async {
        let headers = [("content-type", "application/json")];
        let answer =
            node.api().attempt(http::Method::POST, "/v1/jobs", &headers, job.to_string()).await.ok()?;
        (answer.status == 202).then(|| answer.json()["id"].as_str().unwrap().to_owned())
    })
    .await
}

#[tokio::test]
async fn a_database_that_crashed_is_used_again_within_seconds() {
    let cluster = Cluster::start().unwrap();
    let (upstream, receiver) = (Peer::start().await, Peer::start().await);
    upstream.answer("/work", |_| Reply::json("1").after(Duration::from_millis(700)));
    let nodes = pair(&cluster, &upstream).await;
    let mut jobs = Vec::new();
    for n in 0..6 {
        jobs.push(nodes[n % 2].api().accepted(&work(json!(n), &receiver)).await);
    }
    cluster.stop(Mode::Immediate);
    for node in &nodes {
        wait::until("it is not ready", || async {
            (node.api().get("/readyz").await.status == 503).then_some(())
        })
        .await;
        node.api().submit(&work(json!(9), &receiver)).await.problem(503, "storage-unavailable");
        assert_eq!(node.api().get("/livez").await.status, 200);
    }
    cluster.resume();
    let back = clock::now();
    for node in &nodes {
        let id = accepted(node, &work(json!("after"), &receiver)).await;
        node.api().ended(&id).await;
        jobs.push(id);
    }
    assert!(back.elapsed() < BACK + Duration::from_millis(700), "{:?}", back.elapsed());
    for job in &jobs {
        assert_eq!(nodes[0].api().ended(job).await["status"], "succeeded");
        nodes[0].api().delivery_is(job, "succeeded").await;
    }
    let events: std::collections::HashSet<_> =
        receiver.all().iter().map(|request| request.webhook_id().to_owned()).collect();
    assert_eq!(events.len(), jobs.len(), "an event each");
}

/// As a machine that is paused, or a disk that hangs: connections stay open, and nobody answers.
#[tokio::test]
async fn a_database_that_freezes_keeps_nobody_waiting() {
    let cluster = Cluster::start().unwrap();
    let (upstream, receiver) = (Peer::start().await, Peer::start().await);
    upstream.answer("/work", |_| Reply::json("1"));
    let nodes = pair(&cluster, &upstream).await;
    let job = |n: usize| work(json!(n), &receiver).to_string();
    let submitted = async |n: usize| {
        let key = format!("key-{n}");
        let headers = [("content-type", "application/json"), ("idempotency-key", &*key)];
        let api = nodes[n % 2].api();
        api.attempt(http::Method::POST, "/v1/jobs", &headers, job(n)).await.expect("it is answered")
    };
    // Commits take so long that some of them are in one when it freezes. Which one each was refused.
    for set in ["SET commit_delay = 50000", "SET commit_siblings = 0"] {
        cluster.sql("postgres", &format!("ALTER SYSTEM {set}"));
    }
    cluster.sql("postgres", "SELECT pg_reload_conf()");
    let client = async |first: usize| {
        for n in (first..).step_by(4) {
            let asked = clock::now();
            let answer = submitted(n).await;
            assert!(asked.elapsed() < REFUSED, "{:?}", asked.elapsed());
            if answer.status != 202 {
                answer.problem(503, "storage-unavailable");
                assert!(answer.headers.contains_key("retry-after"));
                return n;
            }
        }
        unreachable!()
    };
    let freezes = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster.freeze()
    };
    let (a, b, c, d, frozen) = tokio::join!(client(0), client(1), client(2), client(3), freezes);
    // Whoever asks now does not wait for the end of it either.
    let late = [1_000_000, 1_000_001];
    for n in late {
        let asked = clock::now();
        submitted(n).await.problem(503, "storage-unavailable");
        assert!(asked.elapsed() < REFUSED, "{:?}", asked.elapsed());
    }
    drop(frozen);
    let back = clock::now();
    for node in &nodes {
        let job = accepted(node, &json!({ "task": "echo" })).await;
        node.api().ended(&job).await;
    }
    assert!(back.elapsed() < BACK, "{:?}", back.elapsed());

    // Of some nobody knows whether they were recorded. Repeated with its key, each is there once.
    for n in [a, b, c, d].into_iter().chain(late) {
        let job = submitted(n).await.expect(202).json()["id"].as_str().unwrap().to_owned();
        assert_eq!(nodes[0].api().ended(&job).await["status"], "succeeded");
        nodes[0].api().delivery_is(&job, "succeeded").await;
    }
    let count = "SELECT count(*) FROM jobs WHERE task = 'work'";
    let jobs: usize = cluster.sql(faults::name(nodes[0].storage()), count).parse().unwrap();
    let asked = [a, b, c, d].iter().enumerate().map(|(first, last)| (last - first) / 4 + 1).sum::<usize>();
    assert_eq!(jobs, asked + late.len());
}

#[tokio::test]
async fn sessions_that_are_ended_are_made_anew() {
    let cluster = Cluster::shared();
    let (upstream, receiver) = (Peer::start().await, Peer::start().await);
    upstream.answer("/work", |_| Reply::json("1").after(Duration::from_millis(300)));
    let nodes = pair(cluster, &upstream).await;
    let mut jobs = Vec::new();
    for n in 0..10 {
        faults::end_sessions(cluster, nodes[0].storage());
        jobs.push(accepted(&nodes[n % 2], &work(json!(n), &receiver)).await);
    }
    for job in &jobs {
        assert_eq!(nodes[0].api().ended(job).await["status"], "succeeded");
        nodes[0].api().delivery_is(job, "succeeded").await;
    }
    // Hints are heard again, too.
    let start = clock::now();
    let job = accepted(&nodes[0], &json!({ "task": "sleep", "input": { "for": "60s" } })).await;
    nodes[1].api().call(&format!("/v1/jobs/{job}/cancel")).await.expect(202);
    nodes[1].api().job_is(&job, "canceled").await;
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_server_without_connections_to_give_heals_by_itself() {
    let cluster = Cluster::start().unwrap();
    let (upstream, receiver) = (Peer::start().await, Peer::start().await);
    upstream.answer("/work", |_| Reply::json("1"));
    let nodes = pair(&cluster, &upstream).await;
    let held = faults::exhaust(nodes[0].storage()).await;
    assert!(held.len() > 10, "{}", held.len());
    // What the nodes had, somebody else has before they ask again.
    held[0].batch_execute(faults::END_SESSIONS).await.unwrap();
    let more = faults::exhaust(nodes[0].storage()).await;
    let refused = wait::until("it is refused", || async {
        let answer = nodes[0].api().submit(&work(json!(0), &receiver)).await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert!(refused.headers.contains_key("retry-after"));
    drop((held, more));
    let back = clock::now();
    for node in &nodes {
        let job = accepted(node, &work(json!(1), &receiver)).await;
        assert_eq!(node.api().ended(&job).await["status"], "succeeded");
    }
    assert!(back.elapsed() < BACK + TAKEN_OVER, "{:?}", back.elapsed());
}

/// `RINGBACK_FLEET_LOCK` makes it the 30 seconds of somebody who went for a coffee in a transaction.
#[tokio::test]
async fn a_row_that_somebody_keeps_locked_holds_up_no_other() {
    let cluster = Cluster::shared();
    let (upstream, receiver) = (Peer::start().await, Peer::start().await);
    upstream.script("/work", [Reply::hang(), Reply::json("1")]);
    let [mut first, second] = pair(cluster, &upstream).await;
    // One that the dead node holds and somebody else has locked; and one that it holds.
    let locked = first.api().accepted(&work(json!("locked"), &receiver)).await;
    upstream.first("/work").await;
    let sleeps = json!({ "task": "sleep", "input": { "for": "60s" } });
    let asleep = first.api().accepted(&sleeps).await;
    first.api().job_is(&asleep, "running").await;
    let row =
        "SELECT 1 FROM job_queue q JOIN jobs j ON j.tenant = q.tenant AND j.id = q.id WHERE j.task = 'work'";
    let lock = faults::lock(first.storage(), row).await;
    first.kill();
    let killed = clock::now();
    wait::until("the other one was taken over", || async {
        (second.api().job(&asleep).await["attempt"] == 2).then_some(())
    })
    .await;
    assert!(killed.elapsed() <= LEASE + TAKEN_OVER + Duration::from_secs(1), "{:?}", killed.elapsed());
    let deadline = clock::now() + Duration::from_secs(ask::number("RINGBACK_FLEET_LOCK").unwrap_or(3));
    while clock::now() < deadline {
        let start = clock::now();
        let job = second.api().accepted(&json!({ "task": "echo", "callback": receiver.url("/hook") })).await;
        second.api().delivery_is(&job, "succeeded").await;
        assert!(start.elapsed() < Duration::from_secs(2), "held up for {:?}", start.elapsed());
    }
    drop(lock);
    let start = clock::now();
    assert_eq!(second.api().ended(&locked).await["status"], "succeeded");
    assert!(start.elapsed() < BACK, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_submission_that_a_lock_holds_up_is_refused_within_seconds_and_is_not_done() {
    let cluster = Cluster::shared();
    let (upstream, receiver) = (Peer::start().await, Peer::start().await);
    upstream.answer("/work", |_| Reply::json("1"));
    let nodes = pair(cluster, &upstream).await;
    let before = nodes[0].api().accepted(&work(json!("before"), &receiver)).await;
    let lock = faults::connect(nodes[0].storage()).await;
    lock.batch_execute("BEGIN; LOCK TABLE jobs IN EXCLUSIVE MODE").await.expect("it is locked");
    let submit = async |node: &Ringback, key: &str| {
        let headers = [("idempotency-key", key)];
        node.api().post_with("/v1/jobs", &headers, work(json!(key), &receiver).to_string()).await
    };
    let keys = ["one", "two", "three", "four"];
    for key in keys {
        for node in &nodes {
            let start = clock::now();
            let refused = submit(node, key).await;
            refused.problem(503, "overloaded");
            assert_eq!(refused.header("retry-after"), Some("1"));
            assert!(start.elapsed() < Duration::from_secs(5), "after {:?}", start.elapsed());
        }
    }
    lock.batch_execute("ROLLBACK").await.expect("it is let go of");
    // Nothing of them was done, and whoever repeats one gets the job that it makes then.
    let mut jobs = vec![before];
    for key in keys {
        let made = submit(&nodes[0], key).await.expect(202);
        assert_eq!(made.header("idempotency-replayed"), None);
        let again = submit(&nodes[1], key).await.expect(202);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(made.json()["id"], again.json()["id"]);
        jobs.push(made.json()["id"].as_str().unwrap().to_owned());
    }
    for job in &jobs {
        nodes[1].api().delivery_is(job, "succeeded").await;
    }
    let listed = nodes[0].api().get("/v1/jobs").await.expect(200).json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(jobs.len()), "{listed}");
    receiver.stays_at("/hook", jobs.len(), Duration::from_millis(300)).await;
}
