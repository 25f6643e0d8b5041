//! Stopping, dying and coming back.

use std::{sync::Arc, time::Duration};

use ringback_tests::{Config, Engine, Peer, Reply, Ringback, both_engines, clock, wait};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{echo, sleep};

both_engines!(
    a_graceful_stop_finishes_what_is_in_flight,
    an_idle_server_stops_at_once,
    a_restart_takes_the_dead_ones_work_back,
    work_that_kills_its_node_ends,
    nothing_waiting_is_lost,
);

async fn a_graceful_stop_finishes_what_is_in_flight(engine: Engine) {
    let (upstream, receiver) = (Peer::start().await, Peer::start().await);
    let (work, hook) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    upstream.script("/work", [Reply::json("1").behind(&work)]);
    receiver.script("/hook", [Reply::ok().behind(&hook)]);
    let spec = format!(r#"run = "http", url = "{}", timeout = "60s""#, upstream.url("/work"));
    let mut server = Ringback::start(Config::on(engine).task("work", &spec)).await;
    let api = server.api().clone();
    let running = api.accepted(&json!({ "task": "work" })).await;
    let sending = api.accepted(&echo(json!(1), &receiver)).await;
    upstream.first("/work").await;
    receiver.first("/hook").await;
    server.terminate();
    // Neither ready nor taking more, or no longer listening.
    wait::until("the server is not ready", || async {
        match api.attempt(http::Method::GET, "/readyz", &[], "").await {
            Ok(answer) => (answer.status == 503).then_some(()),
            Err(_) => Some(()),
        }
    })
    .await;
    work.add_permits(1);
    hook.add_permits(1);
    let (status, _) = server.ends_within(Duration::from_secs(15)).await;
    assert_eq!(status.code(), Some(0), "after SIGTERM");
    server.launch().await;
    let api = server.api();
    let job = api.job_is(&running, "succeeded").await;
    assert_eq!(job["attempt"], 1, "{job}");
    let delivery = api.delivery_is(&sending, "succeeded").await;
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), 1, "{delivery:#}");
    assert_eq!((upstream.requests("/work").len(), receiver.requests("/hook").len()), (1, 1));
}

async fn an_idle_server_stops_at_once(engine: Engine) {
    let mut server = Ringback::on(engine).await;
    server.api().get("/v1/jobs").await.expect(200);
    let took = server.stop().await;
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut server = Ringback::sqlite().await;
    let id = server.api().accepted(&sleep("60s")).await;
    server.api().job_is(&id, "running").await;
    server.terminate();
    wait::until("draining", || async { server.log().contains("drain").then_some(()) }).await;
    server.terminate();
    server.ends_within(Duration::from_secs(2)).await;
}

/// What does not end within the drain is given back: not counted, and run by the next life.
#[tokio::test]
async fn what_outlives_the_drain_is_given_back_uncounted() {
    let mut server = Ringback::start(Config::sqlite().with("node.drain", r#""500ms""#)).await;
    let id = server.api().accepted(&sleep("4s")).await;
    server.api().job_is(&id, "running").await;
    server.terminate();
    let (status, took) = server.ends_within(Duration::from_secs(5)).await;
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(3), "{took:?}");
    server.launch().await;
    let job = server.api().ended(&id).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("succeeded"), &json!(1)));
}

async fn a_restart_takes_the_dead_ones_work_back(engine: Engine) {
    let (upstream, receiver) = (Peer::start().await, Peer::start().await);
    upstream.script("/work", [Reply::hang(), Reply::json("1")]);
    receiver.script("/hook", [Reply::hang(), Reply::ok()]);
    let spec = format!(r#"run = "http", url = "{}", timeout = "60s""#, upstream.url("/work"));
    let mut server = Ringback::start(Config::on(engine).task("work", &spec)).await;
    let api = server.api().clone();
    let job = api.accepted(&json!({ "task": "work" })).await;
    let told = api.accepted(&echo(json!(1), &receiver)).await;
    upstream.first("/work").await;
    receiver.first("/hook").await;
    server.kill();
    let died = clock::now();
    server.launch().await;
    let again = [upstream.wait_for("/work", 2).await[1].at, receiver.wait_for("/hook", 2).await[1].at];
    // SQLite has one process: what the dead one held is free at once. On PostgreSQL its lease must run out.
    let limit = match engine {
        Engine::Sqlite => Duration::from_secs(2),
        Engine::Postgres => Duration::from_secs(5 + 2),
    };
    for at in again {
        let took = at.duration_since(died);
        assert!(took < limit, "{took:?}");
    }
    let api = server.api();
    let job = api.ended(&job).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("succeeded"), &json!(2)), "the lost start counts");
    let delivery = api.delivery_is(&told, "succeeded").await;
    let outcomes: Vec<_> =
        delivery["attempts"].as_array().unwrap().iter().map(|a| a["outcome"].clone()).collect();
    assert_eq!(outcomes, ["interrupted", "delivered"]);
    let requests = receiver.requests("/hook");
    assert_eq!(requests[0].webhook_id(), requests[1].webhook_id());
    assert_eq!(requests[0].body, requests[1].body);
}

async fn work_that_kills_its_node_ends(engine: Engine) {
    let upstream = Peer::start().await;
    upstream.script("/work", [Reply::hang()]);
    let spec = format!(
        r#"run = "http", url = "{}", timeout = "60s", retry = {{ initial = "1ms", max_attempts = 2 }}"#,
        upstream.url("/work")
    );
    let config = Config::on(engine).task("work", &spec).with("node.lease", r#""3s""#);
    let mut server = Ringback::start(config).await;
    let id = server.api().accepted(&json!({ "task": "work" })).await;
    for attempt in 1..=2 {
        upstream.wait_for("/work", attempt).await;
        server.crash().await;
    }
    let job = server.api().ended(&id).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("failed"), &json!(2)), "{job}");
    assert_eq!(job["error"]["type"], "/problems/lost");
    assert_eq!(upstream.requests("/work").len(), 2);
}

/// Retries keep their times over a crash, delayed jobs theirs.
async fn nothing_waiting_is_lost(engine: Engine) {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(500), Reply::ok()]);
    let config = Config::on(engine)
        .with("delivery.retry", r#"{ schedule = ["4s"], jitter = 0.0 }"#)
        .with("node.lease", r#""3s""#);
    let mut server = Ringback::start(config).await;
    let api = server.api().clone();
    let told = api.accepted(&echo(json!(1), &receiver)).await;
    let mut later = echo(json!(2), &receiver);
    later["callback"] = json!(receiver.url("/later"));
    later["delay"] = json!("4s");
    api.accepted(&later).await;
    let wait = api.delivery_where(&told, "waits", |d| d["next_attempt_at"].is_string()).await;
    server.crash().await;
    let after = &server.api().deliveries(&told).await[0];
    assert_eq!(after["next_attempt_at"], wait["next_attempt_at"]);
    let requests = receiver.wait_for("/hook", 2).await;
    let gap = requests[1].at.duration_since(requests[0].at);
    assert!(gap >= Duration::from_secs(4) && gap < Duration::from_secs(6), "{gap:?}");
    receiver.first("/later").await;
}

#[tokio::test]
async fn a_canceled_job_whose_node_died_is_canceled_not_run_again() {
    let upstream = Peer::start().await;
    // An upstream that the executor cannot leave: it takes the request and the process dies at once.
    upstream.script("/work", [Reply::hang()]);
    let spec = format!(r#"run = "http", url = "{}", timeout = "60s""#, upstream.url("/work"));
    let mut server = Ringback::start(Config::sqlite().task("work", &spec)).await;
    let id = server.api().accepted(&json!({ "task": "work" })).await;
    upstream.first("/work").await;
    server.api().call(&format!("/v1/jobs/{id}/cancel")).await;
    server.crash().await;
    let job = server.api().ended(&id).await;
    assert_eq!((&job["status"], &job["error"]), (&json!("canceled"), &Value::Null));
    upstream.stays_at("/work", 1, Duration::from_millis(500)).await;
}

#[tokio::test]
async fn two_processes_do_not_share_a_sqlite_file() {
    let server = Ringback::sqlite().await;
    let mut other = Ringback::prepare(Config::sqlite());
    Config::sqlite().write(other.config_file(), server.storage());
    other.spawn();
    let (status, _) = other.ends_within(wait::PATIENCE).await;
    assert!(!status.success());
    assert!(other.log().contains(&server.pid().to_string()), "says who holds it: {}", other.log());
    server.api().submit(&json!({ "task": "echo" })).await.expect(202);
}
