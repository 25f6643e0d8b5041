//! The fields of a submission: what each does, and how each is refused.

use ringback_tests::{Config, Peer, Ringback};
use serde_json::{Value, json};

#[tokio::test]
async fn metadata_comes_back_everywhere() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let api = server.api();
    let metadata = json!({ "order": "42", "ключ": "значение", "": "" });
    let job = json!({ "task": "echo", "metadata": metadata, "callback": receiver.url("/hook") });
    let accepted = api.submit(&job).await.expect(202).json();
    assert_eq!(accepted["metadata"], metadata);
    assert_eq!(receiver.first("/hook").await.json()["data"]["job"]["metadata"], metadata);
    let listed = api.get("/v1/jobs").await.json();
    assert_eq!(listed["items"][0]["metadata"], metadata);
}

#[tokio::test]
async fn custom_headers_are_sent() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let headers = json!({ "X-Tenant": "acme", "Authorization": "Bearer receiver-token", "x-empty": "" });
    let callback = json!({ "url": receiver.url("/hook"), "headers": headers });
    let id = server.api().accepted(&json!({ "task": "echo", "callback": callback })).await;
    let webhook = receiver.first("/hook").await;
    assert_eq!(webhook.header("x-tenant"), "acme");
    assert_eq!(webhook.header("authorization"), "Bearer receiver-token");
    assert_eq!(webhook.header("x-empty"), "");
    webhook.header_map();
    let shown = server.api().get(&format!("/v1/jobs/{id}")).await;
    assert!(!shown.text().contains("receiver-token"));
}

#[tokio::test]
async fn a_submission_may_lower_limits_not_raise_them() {
    let config = Config::sqlite().task("t", r#"run = "echo", timeout = "10s", retry = { max_attempts = 3 }"#);
    let server = Ringback::start(config).await;
    let api = server.api();
    let lowered = json!({ "task": "t", "timeout": "5s", "max_attempts": 2, "priority": 0 });
    let job = api.submit(&lowered).await.expect(202).json();
    assert_eq!(
        (&job["timeout"], &job["max_attempts"], &job["priority"]),
        (&json!("5s"), &json!(2), &json!(0))
    );
    for (field, value) in [("timeout", json!("11s")), ("max_attempts", json!(4))] {
        let answer = api.submit(&json!({ "task": "t", field: value })).await;
        answer.problem_at(422, "validation-failed", &format!("/{field}"));
    }
}

#[tokio::test]
async fn an_input_must_fit_its_schema() {
    let schema = r#"input_schema = { type = "object", required = ["page"], properties = { page = { type = "integer", minimum = 1 } } }"#;
    let server = Ringback::start(Config::sqlite().task("page", &format!(r#"run = "echo", {schema}"#))).await;
    let api = server.api();
    api.submit(&json!({ "task": "page", "input": { "page": 1 } })).await.expect(202);
    let wrong = api.submit(&json!({ "task": "page", "input": { "page": 0 } })).await;
    wrong.problem_at(422, "input-invalid", "/input/page");
    api.submit(&json!({ "task": "page", "input": {} })).await.problem(422, "input-invalid");
    api.submit(&json!({ "task": "page" })).await.problem(422, "input-invalid");
}

/// One wrong field each: the slug and where its pointer points.
#[tokio::test]
async fn every_wrong_field_is_named() {
    let server = Ringback::sqlite().await;
    let many: Value = (0..51).map(|n| (n.to_string(), json!("x"))).collect::<serde_json::Map<_, _>>().into();
    let callback = |more: Value| {
        let mut callback = json!({ "url": "http://127.0.0.1:9000/" });
        callback.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "callback": callback })
    };
    let schedule = |n: usize| json!({ "retry": { "schedule": vec!["1s"; n] } });
    let validation = "validation-failed";
    let cases: Vec<(Value, &str, &str)> = vec![
        (json!({ "task": 1 }), validation, "/task"),
        (json!({ "task": "nothing-of-that-name" }), "unknown-task", "/task"),
        (json!({ "nonsense": 1 }), validation, "/nonsense"),
        (json!({ "ordering_key": "k" }), validation, "/ordering_key"),
        (json!({ "fairness_key": "k" }), validation, "/fairness_key"),
        (json!({ "metadata": [] }), validation, "/metadata"),
        (json!({ "metadata": { "a": 1 } }), validation, "/metadata/a"),
        (json!({ "metadata": many }), validation, "/metadata"),
        (json!({ "metadata": { "a": "x".repeat(4097) } }), validation, "/metadata"),
        (json!({ "delay": 5 }), validation, "/delay"),
        (json!({ "delay": "5" }), validation, "/delay"),
        (json!({ "delay": "-5s" }), validation, "/delay"),
        (json!({ "run_at": "tomorrow" }), validation, "/run_at"),
        (json!({ "expires_at": "2020" }), validation, "/expires_at"),
        (json!({ "ttl": "soon" }), validation, "/ttl"),
        (json!({ "timeout": "0s" }), validation, "/timeout"),
        (json!({ "max_attempts": 0 }), validation, "/max_attempts"),
        (json!({ "priority": 10 }), validation, "/priority"),
        (json!({ "priority": -1 }), validation, "/priority"),
        (json!({ "callback": 5 }), validation, "/callback"),
        (json!({ "callback": {} }), validation, "/callback/url"),
        (callback(json!({ "nonsense": 1 })), validation, "/callback/nonsense"),
        (callback(json!({ "events": ["job.exploded"] })), validation, "/callback/events/0"),
        (callback(json!({ "timeout": "61s" })), validation, "/callback/timeout"),
        (callback(json!({ "retry": { "schedule": ["x"] } })), validation, "/callback/retry"),
        (callback(schedule(30)), validation, "/callback/retry"),
        (callback(json!({ "retry": { "schedule": ["8d"] } })), validation, "/callback/retry"),
        (callback(json!({ "headers": { "Host": "x" } })), "header-forbidden", "/callback/headers/Host"),
        (
            callback(json!({ "headers": { "webhook-id": "x" } })),
            "header-forbidden",
            "/callback/headers/webhook-id",
        ),
        (
            callback(json!({ "headers": { "x-a": "one\r\ntwo" } })),
            "header-forbidden",
            "/callback/headers/x-a",
        ),
        (callback(json!({ "headers": { "x a": "1" } })), "header-forbidden", "/callback/headers/x a"),
        (json!({ "callback": "" }), "callback-url-invalid", "/callback"),
        (callback(json!({ "url": "ftp://a.example/" })), "callback-url-invalid", "/callback/url"),
    ];
    let mut wrong = Vec::new();
    for (fields, slug, pointer) in cases {
        let mut job = json!({ "task": "echo" });
        job.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let answer = server.api().submit(&job).await;
        let body = answer.text();
        let problem: Value = serde_json::from_str(body).unwrap_or_default();
        let pointers: Vec<_> = problem["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|e| e["pointer"].as_str().unwrap_or("?"))
            .collect();
        let pointed =
            pointers.iter().any(|p| *p == pointer || (pointer.ends_with("/retry") && p.starts_with(pointer)));
        if answer.status != 422 || problem["type"] != format!("/problems/{slug}") || !pointed {
            wrong.push(format!("{fields}: wanted {slug} at {pointer}, got {} {body}", answer.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let too_many: Value =
        (0..21).map(|n| (format!("x-{n}"), json!("x"))).collect::<serde_json::Map<_, _>>().into();
    let mut job = callback(json!({ "headers": too_many }));
    job["task"] = json!("echo");
    server.api().submit(&job).await.problem(422, "header-forbidden");
    assert_eq!(server.api().get("/v1/jobs").await.json()["items"], json!([]), "nothing was recorded");
}

#[tokio::test]
async fn what_contradicts_itself_is_refused() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    for job in [
        json!({ "task": "echo", "delay": "1s", "run_at": "2099-01-01T00:00:00Z" }),
        json!({ "task": "echo", "ttl": "1s", "expires_at": "2099-01-01T00:00:00Z" }),
        json!({ "task": "echo", "run_at": "2099-01-02T00:00:00Z", "expires_at": "2099-01-01T00:00:00Z" }),
        json!({ "task": "echo", "expires_at": "2020-01-01T00:00:00Z" }),
    ] {
        api.submit(&job).await.problem(422, "validation-failed");
    }
}

#[tokio::test]
async fn all_that_is_wrong_is_said_at_once() {
    let server = Ringback::sqlite().await;
    let job = json!({ "task": "echo", "priority": 12, "delay": "x", "nonsense": true });
    let answer = server.api().submit(&job).await;
    for pointer in ["/priority", "/delay", "/nonsense"] {
        answer.problem_at(422, "validation-failed", pointer);
    }
}
