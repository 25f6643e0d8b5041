//! What a receiver can do to an attempt, and how the attempt is classified.

use std::time::Duration;

use ringback_tests::{Config, Peer, Reply, Ringback};
use serde_json::{Value, json};

use super::{assert_id, assert_time};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";

/// One attempt, half a second.
fn one_attempt() -> Config {
    Config::sqlite()
        .with("delivery.retry", "{ schedule = [], jitter = 0.0 }")
        .with("delivery.timeout", r#""700ms""#)
}

async fn attempt_at(server: &Ringback, url: &str) -> Value {
    let api = server.api();
    let id = api.accepted(&json!({ "task": "echo", "callback": url })).await;
    let delivery = api
        .delivery_where(&id, "has ended", |delivery| {
            assert_ne!(delivery["reason"], "gone", "{delivery}");
            delivery["status"] != "pending"
        })
        .await;
    let attempts = delivery["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "{delivery:#}");
    let delivered = attempts[0]["outcome"] == "delivered";
    assert_eq!(delivery["status"], if delivered { "succeeded" } else { "failed" }, "{delivery:#}");
    assert_eq!(delivery["reason"], if delivered { Value::Null } else { json!("exhausted") });
    attempts[0].clone()
}

#[tokio::test]
async fn every_way_to_answer_is_classified() {
    let receiver = Peer::start().await;
    let elsewhere = Peer::start().await;
    let server = Ringback::start(one_attempt()).await;
    let millis = Duration::from_millis;
    let many_fields = |n: usize| -> String { (0..n).map(|i| format!("x-{i}: y\r\n")).collect() };
    let cases: Vec<(&str, Reply, &str, Option<u16>)> = vec![
        ("200", Reply::ok().body("taken"), "delivered", Some(200)),
        ("204", Reply::status(204), "delivered", Some(204)),
        ("299", Reply::status(299), "delivered", Some(299)),
        ("500", Reply::status(500).body("sorry"), "http_status", Some(500)),
        ("404", Reply::status(404), "http_status", Some(404)),
        ("301", Reply::status(301).header("location", &elsewhere.url("/")), "http_status", Some(301)),
        ("302", Reply::status(302).header("location", &elsewhere.url("/")), "http_status", Some(302)),
        ("303", Reply::status(303).header("location", &elsewhere.url("/")), "http_status", Some(303)),
        ("307", Reply::status(307).header("location", &elsewhere.url("/")), "http_status", Some(307)),
        ("308", Reply::status(308).header("location", &elsewhere.url("/")), "http_status", Some(308)),
        (
            "101",
            Reply::raw("HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
            "http_status",
            Some(101),
        ),
        ("hang", Reply::hang(), "timeout", None),
        ("slow", Reply::ok().after(millis(1500)), "timeout", None),
        ("reset", Reply::reset(), "reset", None),
        ("close", Reply::close(), "reset", None),
        ("half-a-head", Reply::raw("HTTP/1.1 200 OK\r\ncontent-le"), "reset", None),
        ("junk", Reply::raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"), "protocol", None),
        ("reset-in-body", Reply::reset_after(HEAD), "delivered", Some(200)),
        ("cut-in-body", Reply::raw(format!("{HEAD}ab")), "delivered", Some(200)),
        ("silent-body", Reply::forever(HEAD, "", Duration::from_secs(60)), "delivered", Some(200)),
        (
            "endless",
            Reply::forever("HTTP/1.1 200 OK\r\n\r\n", "x".repeat(4096), millis(1)),
            "delivered",
            Some(200),
        ),
        ("1-mib", Reply::ok().body("x".repeat(1 << 20)), "delivered", Some(200)),
        ("trickle", Reply::forever("HTTP/1.1 200 OK\r\nx: ", "y", millis(20)), "timeout", None),
        ("103-for-ever", Reply::forever("", "HTTP/1.1 103 Early Hints\r\n\r\n", millis(5)), "timeout", None),
        (
            "100-then-200",
            Reply::raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
            "delivered",
            Some(200),
        ),
        (
            "big-head",
            Reply::raw(format!(
                "HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n",
                "y".repeat(17 << 10)
            )),
            "response_too_large",
            None,
        ),
        (
            "101-fields",
            Reply::raw(format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", many_fields(100))),
            "response_too_large",
            None,
        ),
        (
            "99-fields",
            Reply::raw(format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", many_fields(98))),
            "delivered",
            Some(200),
        ),
    ];
    let mut wrong = Vec::new();
    for (name, reply, outcome, status) in cases {
        let path = format!("/{name}");
        receiver.script(&path, [reply]);
        let attempt = attempt_at(&server, &receiver.url(&path)).await;
        if attempt["outcome"] != outcome || attempt["status"] != json!(status) {
            wrong.push(format!("{name}: wanted {outcome} {status:?}, got {attempt}"));
        }
        assert_eq!(receiver.requests(&path).len(), 1, "{name}: one attempt, one request");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(elsewhere.connections(), 0, "redirects are not followed");
}

#[tokio::test]
async fn an_attempt_is_recorded_whole() {
    let receiver = Peer::start().await;
    let server = Ringback::start(one_attempt()).await;
    receiver.script("/hook", [Reply::status(500).header("x-why", "tired").body("sorry")]);
    let api = server.api();
    let id = api.accepted(&json!({ "task": "echo", "callback": receiver.url("/hook") })).await;
    let delivery = api.delivery_is(&id, "failed").await;
    for member in [
        "id",
        "event",
        "event_type",
        "job",
        "endpoint",
        "url",
        "status",
        "reason",
        "sequence",
        "attempt",
        "next_attempt_at",
        "waiting_for",
        "created_at",
        "finished_at",
        "attempts",
        "body",
    ] {
        assert!(delivery.get(member).is_some(), "{member} is missing in {delivery:#}");
    }
    assert_id(&delivery["id"], "dlv");
    assert_id(&delivery["event"], "evt");
    assert_eq!(delivery["event_type"], "job.succeeded");
    assert_eq!(delivery["job"], id);
    assert_eq!(delivery["url"], receiver.url("/hook"));
    assert_eq!(delivery["attempt"], 1);
    for null in ["endpoint", "sequence", "next_attempt_at", "waiting_for"] {
        assert_eq!(delivery[null], Value::Null, "{null}");
    }
    let attempt = &delivery["attempts"][0];
    assert_eq!(attempt["number"], 1);
    assert_eq!(attempt["trigger"], "policy");
    assert_eq!(attempt["outcome"], "http_status");
    assert_eq!(attempt["status"], 500);
    assert_eq!(attempt["remote_address"], "127.0.0.1");
    assert_time(&attempt["started_at"]);
    assert_time(&attempt["ended_at"]);
    for timing in ["queue", "dns", "connect", "tls", "first_byte", "total"] {
        assert!(attempt["timings_ms"].get(timing).is_some(), "{timing} in {attempt}");
    }
    assert!(attempt["timings_ms"]["total"].is_number(), "{attempt}");
    assert_eq!(attempt["response"]["body"], "sorry");
    assert_eq!(attempt["response"]["encoding"], "utf-8");
    assert_eq!(attempt["response"]["truncated"], false);
    assert!(attempt["response"]["headers"].to_string().contains("tired"), "{attempt}");

    receiver.script("/big", [Reply::status(500).body(vec![0xFF; 40 << 10])]);
    let attempt = attempt_at(&server, &receiver.url("/big")).await;
    assert_eq!(attempt["response"]["truncated"], true);
    assert_eq!(attempt["response"]["encoding"], "base64");
}

#[tokio::test]
async fn the_attempt_in_flight_is_shown() {
    let receiver = Peer::start().await;
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    receiver.script("/hook", [Reply::ok().behind(&gate)]);
    let server = Ringback::sqlite().await;
    let api = server.api();
    let id = api.accepted(&json!({ "task": "echo", "callback": receiver.url("/hook") })).await;
    receiver.first("/hook").await;
    let delivery = &api.deliveries(&id).await[0];
    assert_eq!(delivery["status"], "pending");
    let attempts = delivery["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0]["number"], 1);
    assert_eq!(attempts[0]["outcome"], Value::Null);
    assert_eq!(attempts[0]["ended_at"], Value::Null);
    gate.add_permits(1);
    api.delivery_is(&id, "succeeded").await;
}

#[tokio::test]
async fn nobody_listens() {
    let receiver = Peer::start().await;
    let url = receiver.url("/hook");
    drop(receiver);
    let server = Ringback::start(one_attempt()).await;
    let attempt = attempt_at(&server, &url).await;
    assert_eq!(attempt["outcome"], "connect");
    assert_eq!(attempt["status"], Value::Null);
    assert!(attempt["error"].is_string());
}

#[tokio::test]
async fn a_receiver_without_tls_fails_as_tls() {
    let receiver = Peer::start().await;
    let server = Ringback::start(one_attempt()).await;
    let url = receiver.url("/hook").replace("http://", "https://");
    assert_eq!(attempt_at(&server, &url).await["outcome"], "tls");
    assert!(receiver.all().is_empty());
}

/// What a receiver leaves behind an answer must never become the answer to the next request.
#[tokio::test]
async fn a_connection_with_leftovers_is_not_used_again() {
    let receiver = Peer::start().await;
    receiver.script(
        "/hook",
        [
            Reply::raw(
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            ),
            Reply::status(500),
        ],
    );
    let server = Ringback::start(one_attempt()).await;
    assert_eq!(attempt_at(&server, &receiver.url("/hook")).await["outcome"], "delivered");
    assert_eq!(attempt_at(&server, &receiver.url("/hook")).await["status"], 500);
}

/// A connection that was kept open is used again; one that died meanwhile costs no attempt and no second request.
#[tokio::test]
async fn connections_are_kept() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    for n in 1..=5 {
        let id = server.api().accepted(&json!({ "task": "echo", "callback": receiver.url("/hook") })).await;
        receiver.wait_for("/hook", n).await;
        server.api().delivery_is(&id, "succeeded").await;
    }
    assert_eq!(receiver.connections(), 1, "five deliveries one after the other share a connection");
}
