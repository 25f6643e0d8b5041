//! When work runs: delay, run_at, expiry, timeouts, retries of what is built in.

use std::time::Duration;

use ringback_tests::{Config, Engine, Peer, Ringback, both_engines, clock};
use serde_json::{Value, json};

use super::{echo, from_now, micros, sleep};

both_engines!(work_waits_for_its_time, what_is_not_started_in_time_expires);

async fn work_waits_for_its_time(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::on(engine).await;
    let api = server.api();
    for (path, field) in [("/delay", "delay"), ("/run_at", "run_at")] {
        let start = clock::now();
        let in_time = Duration::from_millis(1500);
        let value = if field == "delay" { "1500ms".to_owned() } else { from_now(in_time) };
        let accepted = api
            .submit(&json!({ "task": "echo", "input": 1, "callback": receiver.url(path), field: value }))
            .await
            .expect(202)
            .json();
        assert_eq!(accepted["status"], "queued");
        let wait = micros(&accepted["run_at"]) - micros(&accepted["created_at"]);
        assert!((1_000_000..=1_600_000).contains(&wait), "{field}: {wait}");
        assert!(accepted["queue"].is_object(), "{accepted}");
        let took = receiver.first(path).await.at.duration_since(start);
        assert!(took >= Duration::from_millis(1350) && took < Duration::from_secs(3), "{field}: {took:?}");
    }
    // A time that has passed is now.
    let mut job = echo(json!(1), &receiver);
    job["run_at"] = json!("2020-01-01T00:00:00Z");
    api.accepted(&job).await;
    receiver.first("/hook").await;
}

async fn what_is_not_started_in_time_expires(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::start(Config::on(engine).task("one", r#"run = "sleep", concurrency = 1"#)).await;
    let api = server.api();
    let blocker = api.accepted(&json!({ "task": "one", "input": { "for": "3s" } })).await;
    api.job_is(&blocker, "running").await;
    let start = clock::now();
    let job =
        json!({ "task": "one", "input": { "for": "1ms" }, "ttl": "1s", "callback": receiver.url("/hook") });
    let accepted = api.submit(&job).await.expect(202).json();
    let ttl = micros(&accepted["expires_at"]) - micros(&accepted["created_at"]);
    assert!((950_000..=1_050_000).contains(&ttl), "{ttl}");
    let webhook = receiver.first("/hook").await;
    let took = webhook.at.duration_since(start);
    assert!(
        took >= Duration::from_millis(950) && took < Duration::from_millis(2500),
        "the sweep is prompt: {took:?}"
    );
    let event = webhook.json();
    assert_eq!(event["type"], "job.failed");
    assert_eq!(event["data"]["job"]["error"]["type"], "/problems/expired");
    let job = api.job(accepted["id"].as_str().unwrap()).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("failed"), &json!(0)));
    assert_eq!(job["started_at"], Value::Null);
    assert_eq!(api.ended(&blocker).await["status"], "succeeded");
}

#[tokio::test]
async fn running_work_does_not_expire() {
    let server = Ringback::sqlite().await;
    let mut job = sleep("1500ms");
    job["expires_at"] = json!(from_now(Duration::from_millis(500)));
    let id = server.api().accepted(&job).await;
    assert_eq!(server.api().ended(&id).await["status"], "succeeded");
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_tried_again_and_then_fails() {
    let spec =
        r#"run = "sleep", timeout = "300ms", retry = { initial = "100ms", max_attempts = 2, jitter = 0.0 }"#;
    let server = Ringback::start(Config::sqlite().task("slow", spec)).await;
    let id = server.api().accepted(&json!({ "task": "slow", "input": { "for": "20s" } })).await;
    let job = server.api().ended(&id).await;
    assert_eq!(job["status"], "failed");
    assert_eq!(job["attempt"], 2);
    assert_eq!(job["error"]["type"], "/problems/timeout");
    let took = micros(&job["finished_at"]) - micros(&job["created_at"]);
    assert!((700_000..2_500_000).contains(&took), "{took}");
}

#[tokio::test]
async fn failures_are_retried_as_the_task_says() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let twice = api.accepted(&json!({ "task": "fail", "input": { "times": 2 } })).await;
    let always = api.accepted(&json!({ "task": "fail" })).await;
    let once = api.accepted(&json!({ "task": "fail", "max_attempts": 1 })).await;
    let job = api.ended(&twice).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("succeeded"), &json!(3)));
    let took = micros(&job["finished_at"]) - micros(&job["created_at"]);
    assert!(took >= 300_000, "100 ms and 200 ms: {took}");
    let job = api.ended(&always).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("failed"), &json!(3)));
    let job = api.ended(&once).await;
    assert_eq!(
        (&job["status"], &job["attempt"], &job["max_attempts"]),
        (&json!("failed"), &json!(1), &json!(1))
    );
}
