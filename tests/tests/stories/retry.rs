//! Retries: when the next attempt comes, what it bears, and how it ends.

use std::time::Duration;

use ringback_tests::{Config, Engine, Peer, Reply, Request, Ringback, both_engines, verify};
use serde_json::{Value, json};

use super::{echo, gap, micros};

both_engines!(the_schedule_is_kept_with_the_same_bytes, a_dead_letter_keeps_everything);

/// The story's receivers are slow to be asked by at most this: two cores, many servers.
const SLACK: Duration = Duration::from_millis(700);

fn assert_spaced(requests: &[Request], delays: &[u64]) {
    for (pair, delay) in requests.windows(2).zip(delays) {
        let (gap, delay) = (gap(&pair[0], &pair[1]), Duration::from_millis(*delay));
        assert!(gap >= delay && gap < delay + SLACK, "{gap:?} where the policy says {delay:?}");
    }
}

fn assert_same_webhook(requests: &[Request]) {
    for request in requests {
        assert_eq!(request.webhook_id(), requests[0].webhook_id());
        assert_eq!(request.body, requests[0].body);
    }
}

async fn the_schedule_is_kept_with_the_same_bytes(engine: Engine) {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(500), Reply::reset(), Reply::status(429), Reply::ok()]);
    let server = Ringback::on(engine).await;
    let api = server.api();
    let id = api.accepted(&echo(json!({ "n": 1.50 }), &receiver)).await;
    let requests = receiver.wait_for("/hook", 4).await;
    assert_spaced(&requests, &[200, 400, 800]);
    assert_same_webhook(&requests);
    let secret = api.signing_secret().await;
    for request in &requests {
        verify::assert_genuine(&secret, request);
    }
    let delivery = api.delivery_is(&id, "succeeded").await;
    let attempts = delivery["attempts"].as_array().unwrap();
    let of = |member: &str| attempts.iter().map(|a| a[member].clone()).collect::<Vec<_>>();
    assert_eq!(of("number"), [1, 2, 3, 4]);
    assert_eq!(of("outcome"), ["http_status", "reset", "http_status", "delivered"]);
    assert_eq!(of("status"), [json!(500), Value::Null, json!(429), json!(200)]);
    assert_eq!(delivery["attempt"], 4);
    for pair in attempts.windows(2) {
        assert!(
            micros(&pair[0]["ended_at"]) <= micros(&pair[1]["started_at"]),
            "delays count from the attempt's end"
        );
    }
    receiver.stays_at("/hook", 4, Duration::from_millis(500)).await;
}

async fn a_dead_letter_keeps_everything(engine: Engine) {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(503)]);
    let server = Ringback::on(engine).await;
    let api = server.api();
    let id = api.accepted(&echo(json!(1), &receiver)).await;
    let delivery = api.delivery_is(&id, "failed").await;
    assert_eq!(delivery["reason"], "exhausted");
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), 4);
    assert_eq!(delivery["next_attempt_at"], Value::Null);
    assert!(delivery["finished_at"].is_string());
    let requests = receiver.requests("/hook");
    assert_eq!(requests.len(), 4);
    assert_eq!(delivery["body"], requests[0].text());
    assert_eq!(api.job(&id).await["status"], "succeeded", "the job has its own end");
}

#[tokio::test]
async fn retry_after_is_a_floor() {
    let receiver = Peer::start().await;
    receiver.script("/seconds", [Reply::status(503).header("retry-after", "2"), Reply::ok()]);
    receiver.script("/short", [Reply::status(429).header("retry-after", "0"), Reply::ok()]);
    receiver.script("/other", [Reply::status(500).header("retry-after", "5"), Reply::ok()]);
    let server = Ringback::sqlite().await;
    for path in ["/seconds", "/short", "/other"] {
        server.api().accepted(&json!({ "task": "echo", "callback": receiver.url(path) })).await;
    }
    let floored = receiver.wait_for("/seconds", 2).await;
    assert_spaced(&floored, &[2000]);
    assert_spaced(&receiver.wait_for("/short", 2).await, &[200]);
    assert_spaced(&receiver.wait_for("/other", 2).await, &[200]);
}

#[tokio::test]
async fn retry_after_may_be_a_date() {
    let receiver = Peer::start().await;
    receiver.answer("/hook", {
        let mut first = true;
        move |request| {
            if !std::mem::replace(&mut first, false) {
                return Reply::ok();
            }
            Reply::status(503).header("retry-after", &http_date(request.wall.as_secs() + 3))
        }
    });
    let server = Ringback::sqlite().await;
    let id = server.api().accepted(&echo(json!(1), &receiver)).await;
    let requests = receiver.wait_for("/hook", 2).await;
    let (gap, due) = (gap(&requests[0], &requests[1]), Duration::from_secs(requests[0].wall.as_secs() + 3));
    assert!(gap > Duration::from_millis(1900) && gap < Duration::from_secs(5), "{gap:?}");
    assert!(requests[1].wall + Duration::from_millis(50) >= due);
    server.api().delivery_is(&id, "succeeded").await;
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(seconds: u64) -> String {
    let output = std::process::Command::new("date")
        .env("LC_ALL", "C")
        .args(["-u", "-d", &format!("@{seconds}"), "+%a, %d %b %Y %H:%M:%S GMT"])
        .output()
        .expect("date runs");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[tokio::test]
async fn a_410_ends_it() {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(500), Reply::status(410)]);
    let server = Ringback::sqlite().await;
    let id = server.api().accepted(&echo(json!(1), &receiver)).await;
    let delivery = server.api().delivery_is(&id, "failed").await;
    assert_eq!(delivery["reason"], "gone");
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), 2);
    receiver.stays_at("/hook", 2, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_callback_brings_its_own_policy() {
    let receiver = Peer::start().await;
    for path in ["/schedule", "/backoff", "/elapsed"] {
        receiver.script(path, [Reply::status(500)]);
    }
    let server = Ringback::sqlite().await;
    let api = server.api();
    let with = |path: &str, retry: Value| json!({ "task": "echo", "callback": { "url": receiver.url(path), "retry": retry } });
    let schedule = api.accepted(&with("/schedule", json!({ "schedule": ["100ms"], "jitter": 0 }))).await;
    let backoff = json!({ "initial": "100ms", "multiplier": 3, "max_interval": "400ms", "max_attempts": 4, "jitter": 0 });
    let backoff = api.accepted(&with("/backoff", backoff)).await;
    let elapsed =
        json!({ "initial": "300ms", "multiplier": 1, "max_elapsed": "1s", "max_attempts": 30, "jitter": 0 });
    let elapsed = api.accepted(&with("/elapsed", elapsed)).await;
    for id in [&schedule, &backoff, &elapsed] {
        assert_eq!(api.delivery_is(id, "failed").await["reason"], "exhausted");
    }
    assert_eq!(receiver.requests("/schedule").len(), 2, "n delays are n + 1 attempts");
    let requests = receiver.requests("/backoff");
    assert_eq!(requests.len(), 4);
    assert_spaced(&requests, &[100, 300, 400]);
    let count = receiver.requests("/elapsed").len();
    assert!(
        (2..=5).contains(&count),
        "{count} attempts, 300 ms apart, when what is older than one second fails"
    );
}

#[tokio::test]
async fn a_callback_brings_its_own_timeout() {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::hang()]);
    let server = Ringback::sqlite().await;
    let callback = json!({ "url": receiver.url("/hook"), "timeout": "300ms", "retry": { "schedule": [] } });
    let id = server.api().accepted(&json!({ "task": "echo", "callback": callback })).await;
    let delivery = server.api().delivery_is(&id, "failed").await;
    let attempt = &delivery["attempts"][0];
    assert_eq!(attempt["outcome"], "timeout");
    let took = micros(&attempt["ended_at"]) - micros(&attempt["started_at"]);
    assert!((250_000..1_300_000).contains(&took), "{took} µs");
}

#[tokio::test]
async fn a_waiting_delivery_says_until_when() {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(500)]);
    let server =
        Ringback::start(Config::sqlite().with("delivery.retry", r#"{ schedule = ["1h"], jitter = 0.2 }"#))
            .await;
    let id = server.api().accepted(&echo(json!(1), &receiver)).await;
    let waiting = |delivery: &Value| delivery["next_attempt_at"].is_string();
    let delivery = server.api().delivery_where(&id, "waits", waiting).await;
    assert_eq!(delivery["status"], "pending");
    assert_eq!(delivery["waiting_for"], "timer");
    let wait = micros(&delivery["next_attempt_at"]) - micros(&delivery["attempts"][0]["ended_at"]);
    let hour = 3_600_000_000;
    assert!((hour..=hour * 12 / 10).contains(&wait), "jitter only adds, a fifth at most: {wait}");
}
