//! Canceling: queued, running, too late; the first terminal write wins.

use std::time::Duration;

use ringback_tests::{Config, Engine, Peer, Reply, Ringback, both_engines, clock};
use serde_json::{Value, json};

use super::{assert_time, echo, sleep};

both_engines!(running_work_is_stopped, queued_work_never_starts);

async fn running_work_is_stopped(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::on(engine).await;
    let api = server.api();
    let mut job = sleep("60s");
    job["callback"] = json!(receiver.url("/hook"));
    let id = api.accepted(&job).await;
    api.job_is(&id, "running").await;
    let start = clock::now();
    let answer = api.call(&format!("/v1/jobs/{id}/cancel")).await;
    assert!(answer.status == 202 || answer.status == 200, "{answer:?}");
    assert_time(&answer.json()["cancel_requested_at"]);
    let event = receiver.first("/hook").await.json();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(event["type"], "job.canceled");
    assert_eq!(event["data"]["job"]["status"], "canceled");
    assert_time(&event["data"]["job"]["cancel_requested_at"]);
    let job = api.job(&id).await;
    assert_eq!(job["status"], "canceled");
    assert_eq!((&job["result"], &job["error"]), (&Value::Null, &Value::Null));
    api.call(&format!("/v1/jobs/{id}/cancel")).await.problem(409, "job-finished");
    receiver.stays_at("/hook", 1, Duration::from_millis(300)).await;
}

async fn queued_work_never_starts(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::on(engine).await;
    let api = server.api();
    let mut job = echo(json!(1), &receiver);
    job["delay"] = json!("1h");
    let id = api.accepted(&job).await;
    assert_eq!(api.job(&id).await["status"], "queued");
    let canceled = api.call(&format!("/v1/jobs/{id}/cancel")).await.expect(200).json();
    assert_eq!(canceled["status"], "canceled");
    assert_eq!(canceled["started_at"], Value::Null);
    assert_eq!(receiver.first("/hook").await.json()["type"], "job.canceled");
    api.call(&format!("/v1/jobs/{id}/cancel")).await.problem(409, "job-finished");
    assert_eq!(api.job(&id).await["attempt"], 0);
}

#[tokio::test]
async fn too_late_is_too_late() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let api = server.api();
    let id = api.accepted(&echo(json!(1), &receiver)).await;
    api.ended(&id).await;
    api.call(&format!("/v1/jobs/{id}/cancel")).await.problem(409, "job-finished");
    let job = api.job(&id).await;
    assert_eq!((&job["status"], &job["result"]), (&json!("succeeded"), &json!(1)));
}

#[tokio::test]
async fn a_canceled_upstream_call_is_dropped() {
    let upstream = Peer::start().await;
    upstream.script("/work", [Reply::hang()]);
    let spec = format!(r#"run = "http", url = "{}", timeout = "60s""#, upstream.url("/work"));
    let server = Ringback::start(Config::sqlite().task("work", &spec)).await;
    let api = server.api();
    let id = api.accepted(&json!({ "task": "work" })).await;
    upstream.first("/work").await;
    api.call(&format!("/v1/jobs/{id}/cancel")).await;
    api.job_is(&id, "canceled").await;
    upstream.stays_at("/work", 1, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_retry_that_waits_is_canceled_at_once() {
    let upstream = Peer::start().await;
    upstream.script("/work", [Reply::status(503).header("retry-after", "600")]);
    let server = Ringback::start(Config::sqlite().http_task("work", &upstream.url("/work"))).await;
    let api = server.api();
    let id = api.accepted(&json!({ "task": "work" })).await;
    upstream.first("/work").await;
    api.job_is(&id, "queued").await;
    let job = api.call(&format!("/v1/jobs/{id}/cancel")).await.expect(200).json();
    assert_eq!((&job["status"], &job["attempt"]), (&json!("canceled"), &json!(1)));
}
