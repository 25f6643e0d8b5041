//! The `http` task: what the upstream gets, and what each of its answers means.

use std::time::Duration;

use ringback_tests::{Config, Engine, Peer, Reply, Ringback, both_engines, verify};
use serde_json::{Value, json};

use super::{gap, micros};

both_engines!(the_upstream_does_the_work);

async fn the_upstream_does_the_work(engine: Engine) {
    let (upstream, receiver) = (Peer::start().await, Peer::start().await);
    upstream.script("/work", [Reply::json(r#"{"pages":10,"price":1.10}"#)]);
    let server = Ringback::start(Config::on(engine).http_task("work", &upstream.url("/work"))).await;
    let api = server.api();
    let input = r#"{"report": 7, "scale": 2.50}"#;
    let body = format!(r#"{{"task":"work","input":{input},"callback":"{}"}}"#, receiver.url("/hook"));
    let id = api.post("/v1/jobs", body).await.expect(202).json()["id"].as_str().unwrap().to_owned();

    let request = upstream.first("/work").await;
    assert_eq!(request.method, "POST");
    assert_eq!(request.text(), input);
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("idempotency-key"), format!("\"{id}\""));
    assert_eq!(request.header("ringback-job-id"), id);
    assert_eq!(request.header("ringback-attempt"), "1");
    let deadline = micros(&json!(request.header("ringback-deadline")))
        - i64::try_from(request.wall.as_micros()).unwrap();
    assert!((1_000_000..=2_100_000).contains(&deadline), "{deadline} µs from now");
    assert!(request.header_all("webhook-signature").is_empty(), "never signed with the tenant's secret");
    assert!(request.header_all("authorization").is_empty());

    let webhook = receiver.first("/hook").await;
    assert!(webhook.text().contains(r#""result":{"pages":10,"price":1.10}"#), "{}", webhook.text());
    assert_eq!(api.job(&id).await["status"], "succeeded");
}

/// What the upstream answers, and: the job's status, how often it was asked, and the error's status.
#[tokio::test]
async fn every_answer_has_its_meaning() {
    let upstream = Peer::start().await;
    let elsewhere = Peer::start().await;
    let cases: Vec<(&str, Reply, &str, usize, Value)> = vec![
        ("200", Reply::json("1"), "succeeded", 1, Value::Null),
        ("201", Reply::status(201), "succeeded", 1, Value::Null),
        ("204", Reply::status(204), "succeeded", 1, Value::Null),
        ("408", Reply::status(408), "failed", 3, json!(408)),
        ("425", Reply::status(425), "failed", 3, json!(425)),
        ("429", Reply::status(429), "failed", 3, json!(429)),
        ("500", Reply::status(500), "failed", 3, json!(500)),
        ("503", Reply::status(503), "failed", 3, json!(503)),
        ("reset", Reply::reset(), "failed", 3, Value::Null),
        ("close", Reply::close(), "failed", 3, Value::Null),
        ("junk", Reply::raw("junk\r\n\r\n"), "failed", 3, Value::Null),
        ("hang", Reply::hang(), "failed", 3, Value::Null),
        ("400", Reply::status(400), "failed", 1, json!(400)),
        ("404", Reply::status(404), "failed", 1, json!(404)),
        ("409", Reply::status(409), "failed", 1, json!(409)),
        ("301", Reply::status(301).header("location", &elsewhere.url("/")), "failed", 1, json!(301)),
        ("307", Reply::status(307).header("location", &elsewhere.url("/")), "failed", 1, json!(307)),
        (
            "202-elsewhere",
            Reply::status(202).header("location", &elsewhere.url("/")),
            "failed",
            1,
            Value::Null,
        ),
    ];
    let mut config = Config::sqlite();
    for (name, reply, ..) in &cases {
        let path = format!("/{name}");
        upstream.script(&path, [reply.clone()]);
        config = config.http_task(&format!("t{name}"), &upstream.url(&path));
    }
    let server = Ringback::start(config).await;
    let api = server.api();
    let mut jobs = Vec::new();
    for (name, ..) in &cases {
        jobs.push(api.accepted(&json!({ "task": format!("t{name}"), "timeout": "1s" })).await);
    }
    let mut wrong = Vec::new();
    for (id, (name, _, status, asked, error)) in jobs.iter().zip(cases) {
        let job = api.ended(id).await;
        let requests = upstream.requests(&format!("/{name}")).len();
        let error_fits = error.is_null() || job["error"]["status"] == error;
        if job["status"] != status || requests != asked || job["attempt"] != asked || !error_fits {
            wrong.push(format!(
                "{name}: wanted {status} after {asked} ({error}), got {requests} requests and {job}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(elsewhere.connections(), 0, "redirects are not followed");
}

#[tokio::test]
async fn a_retry_comes_when_the_policy_says() {
    let upstream = Peer::start().await;
    upstream.script(
        "/work",
        [Reply::status(500), Reply::status(503).header("retry-after", "2"), Reply::json("1")],
    );
    let server = Ringback::start(Config::sqlite().http_task("work", &upstream.url("/work"))).await;
    let api = server.api();
    let id = api.accepted(&json!({ "task": "work" })).await;
    let requests = upstream.wait_for("/work", 3).await;
    let (first, second) = (gap(&requests[0], &requests[1]), gap(&requests[1], &requests[2]));
    assert!(first >= Duration::from_millis(100) && first < Duration::from_millis(800), "{first:?}");
    assert!(second >= Duration::from_secs(2) && second < Duration::from_millis(2900), "{second:?}");
    for (n, request) in requests.iter().enumerate() {
        assert_eq!(request.header("ringback-attempt"), (n + 1).to_string());
        assert_eq!(request.header("idempotency-key"), format!("\"{id}\""), "the same on every attempt");
    }
    let job = api.ended(&id).await;
    assert_eq!((&job["status"], &job["attempt"]), (&json!("succeeded"), &json!(3)));
}

#[tokio::test]
async fn a_waiting_retry_is_queued_with_its_time() {
    let upstream = Peer::start().await;
    upstream.script("/work", [Reply::status(503).header("retry-after", "600")]);
    let server = Ringback::start(Config::sqlite().http_task("work", &upstream.url("/work"))).await;
    let api = server.api();
    let id = api.accepted(&json!({ "task": "work" })).await;
    upstream.first("/work").await;
    let job = api.job_is(&id, "queued").await;
    assert_eq!(job["attempt"], 1);
    let wait = micros(&job["run_at"]) - micros(&job["created_at"]);
    assert!((600_000_000..=610_000_000).contains(&wait), "{wait}");
}

#[tokio::test]
async fn its_problem_becomes_the_error() {
    let upstream = Peer::start().await;
    let problem = r#"{"type":"https://upstream.example/no-paper","title":"No paper","detail":"Tray 2 is empty.","left":0.50}"#;
    upstream.script(
        "/work",
        [Reply::status(422).header("content-type", "application/problem+json").body(problem)],
    );
    upstream.script("/text", [Reply::status(422).header("content-type", "text/plain").body("no paper")]);
    let config =
        Config::sqlite().http_task("work", &upstream.url("/work")).http_task("text", &upstream.url("/text"));
    let server = Ringback::start(config).await;
    let api = server.api();
    let id = api.accepted(&json!({ "task": "work" })).await;
    assert_eq!(api.ended(&id).await["status"], "failed");
    assert!(api.get(&format!("/v1/jobs/{id}")).await.text().contains(problem));
    let id = api.accepted(&json!({ "task": "text" })).await;
    assert_eq!(api.ended(&id).await["error"]["status"], 422);
}

#[tokio::test]
async fn a_202_with_a_location_is_polled() {
    let upstream = Peer::start().await;
    upstream.script("/work", [Reply::status(202).header("location", "/status/1").header("retry-after", "1")]);
    upstream.script(
        "/status/1",
        [Reply::status(202).header("retry-after", "1"), Reply::json(r#"{"done":true}"#)],
    );
    let spec = format!(r#"run = "http", url = "{}", timeout = "20s""#, upstream.url("/work"));
    let server = Ringback::start(Config::sqlite().task("work", &spec)).await;
    let api = server.api();
    let id = api.accepted(&json!({ "task": "work" })).await;
    let job = api.ended(&id).await;
    assert_eq!(job["status"], "succeeded", "{job}");
    assert_eq!(job["result"], json!({ "done": true }));
    assert_eq!(upstream.requests("/work").len(), 1);
    let polls = upstream.requests("/status/1");
    assert!(polls.iter().all(|poll| poll.method == "GET"));
    assert!(gap(&polls[0], &polls[1]) >= Duration::from_millis(950));
}

#[tokio::test]
async fn a_task_with_a_secret_signs_its_requests() {
    let upstream = Peer::start().await;
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let spec = format!(r#"run = "http", url = "{}", secret = "{secret}""#, upstream.url("/work"));
    let server = Ringback::start(Config::sqlite().task("work", &spec)).await;
    server.api().accepted(&json!({ "task": "work", "input": { "any": "bytes" } })).await;
    verify::assert_genuine(secret, &upstream.first("/work").await);
}

#[tokio::test]
async fn an_attempt_takes_no_longer_than_the_timeout() {
    let upstream = Peer::start().await;
    upstream.script("/work", [Reply::hang()]);
    let server = Ringback::start(Config::sqlite().http_task("work", &upstream.url("/work"))).await;
    let api = server.api();
    let id = api.accepted(&json!({ "task": "work", "timeout": "300ms", "max_attempts": 2 })).await;
    let job = api.ended(&id).await;
    assert_eq!(job["status"], "failed");
    assert_eq!(job["error"]["type"], "/problems/timeout");
    assert_eq!(upstream.requests("/work").len(), 2, "max_attempts counts the first");
    let requests = upstream.requests("/work");
    let apart = gap(&requests[0], &requests[1]);
    assert!(apart >= Duration::from_millis(380) && apart < Duration::from_millis(1500), "{apart:?}");
}
