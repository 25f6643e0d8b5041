use std::sync::atomic::Ordering;

use axum::{body::Body, http::Method};
use serde_json::Value;

use crate::harness::{Call, KEY, MAX_BODY, World, description};

const NOBODY: &str = "/v1/jobs/job_00000000000000000000000000";

#[tokio::test]
async fn keys_come_before_everything_under_v1() {
    let world = World::new().await;
    let mut bodies = Vec::new();
    let in_query = format!("/v1/jobs?key={KEY}");
    for (method, uri) in [
        (Method::GET, "/v1/jobs"),
        (Method::GET, "/v1/nothing"),
        (Method::GET, "/v1"),
        (Method::DELETE, "/v1/jobs"),
        (Method::POST, "/v1/jobs"),
        (Method::GET, NOBODY),
        (Method::GET, &in_query),
    ] {
        for wrong in [None, Some("Bearer wrong"), Some(KEY), Some("Basic eDp5")] {
            let call = Call::new(method.clone(), uri, Body::empty()).without("authorization");
            let answer = world.send(match wrong {
                None => call,
                Some(value) => call.with("authorization", value),
            });
            let answer = answer.await;
            let mut problem = answer.is_problem(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            problem["request_id"] = Value::Null;
            problem["instance"] = Value::Null;
            bodies.push(problem);
        }
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]));
}

#[tokio::test]
async fn unknown_paths_ids_and_methods() {
    let world = World::new().await;
    let delivery = NOBODY.replace("job_", "dlv_").replace("jobs", "deliveries");
    for uri in [
        NOBODY,
        &format!("{NOBODY}/input"),
        &format!("{NOBODY}/result"),
        &format!("{NOBODY}/stream"),
        "/v1/jobs/x",
        "/v1/jobs/%FF",
        "/v1/jobs/dlv_00000000000000000000000000",
        &delivery,
        "/v1/deliveries/x",
        "/v1/tasks/nope",
        "/v1/keys/0000000000000000/x",
        "/v1",
        "/",
        "/problems/nope",
        "/problems/%FF",
    ] {
        world.get(uri).await.is_problem(404, "not-found");
    }
    world.send(Call::post("/v1/batches", "{}")).await.is_problem(404, "not-found");
    for (method, uri, allow) in [
        (Method::DELETE, "/v1/jobs", &["GET", "HEAD", "POST"][..]),
        (Method::POST, NOBODY, &["DELETE", "GET", "HEAD"]),
        (Method::GET, &format!("{NOBODY}/cancel"), &["POST"]),
        (Method::PUT, "/v1/signing-secret", &["GET", "HEAD"]),
        (Method::POST, "/livez", &["GET", "HEAD"]),
    ] {
        let answer = world.send(Call::new(method, uri, Body::empty())).await;
        answer.is_problem(405, "method-not-allowed");
        let mut listed: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
        listed.sort();
        assert_eq!(listed, allow, "{uri}");
    }
}

#[tokio::test]
async fn bodies_that_are_not_taken() {
    let world = World::new().await;
    let post = |body: &'static [u8]| {
        world.send(Call::new(Method::POST, "/v1/jobs", body).with("content-type", "application/json"))
    };
    for body in [
        &b""[..],
        b"{",
        b"{}x",
        b"{\"task\":\"echo\"}{}",
        b"{\"task\":\"\xff\"}",
        b"{\"task\":\"echo\",\"task\":\"echo\"}",
        b"{\"task\":\"echo\",\"input\":{\"a\":1,\"\\u0061\":2}}",
        b"{'task':1}",
        b"\xef\xbb\xbf{}",
        b"nope",
    ] {
        post(body).await.is_problem(400, "malformed-json");
    }
    let deep = |n: usize| format!(r#"{{"task":"echo","input":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    world.send(Call::post("/v1/jobs", &deep(128))).await.is_problem(400, "malformed-json");
    assert_eq!(world.send(Call::post("/v1/jobs", &deep(127))).await.status, 202);
    let brackets = "[".repeat(4_000);
    world.send(Call::post("/v1/jobs", &brackets)).await.is_problem(400, "malformed-json");

    for content_type in
        ["text/plain", "application/json; charset=latin1", "application/x-www-form-urlencoded"]
    {
        let call = Call::new(Method::POST, "/v1/jobs", "{}").with("content-type", content_type);
        world.send(call).await.is_problem(415, "unsupported-media-type");
    }
    world.send(Call::new(Method::POST, "/v1/jobs", "{}")).await.is_problem(415, "unsupported-media-type");
    let zipped = Call::post("/v1/jobs", "{}").with("content-encoding", "gzip");
    world.send(zipped).await.is_problem(415, "unsupported-media-type");

    // By length before it is read, and by count while it is.
    let padded = |bytes: usize| format!(r#"{{"task":"echo"}}{}"#, " ".repeat(bytes - 15));
    assert_eq!(world.send(Call::post("/v1/jobs", &padded(MAX_BODY))).await.status, 202);
    world.send(Call::post("/v1/jobs", &padded(MAX_BODY + 1))).await.is_problem(413, "payload-too-large");
}

#[tokio::test]
async fn heads_that_are_not_taken() {
    let world = World::new().await;
    let long = |bytes: usize| format!("/v1/jobs?{}", "x".repeat(bytes));
    world.get(&long(8 * 1024)).await.is_problem(414, "uri-too-long");
    world.get(&long(8_000)).await.is_problem(422, "validation-failed");
    let large = |bytes: usize| Call::get("/v1/jobs").with("x-large", &"v".repeat(bytes));
    world.send(large(32 * 1024)).await.is_problem(431, "headers-too-large");
    assert_eq!(world.send(large(31 * 1024)).await.status, 200);
    world.send(Call::post("/v1/jobs?validate_only=true", "{}")).await.is_problem(422, "validation-failed");
}

#[tokio::test]
async fn problems_have_their_pages() {
    let world = World::new().await;
    let problem = world.get(NOBODY).await.is_problem(404, "not-found");
    assert_eq!(problem["instance"], NOBODY);
    let page = world.send(Call::get(problem["type"].as_str().unwrap()).without("authorization")).await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.text().contains(problem["title"].as_str().unwrap()));
}

#[tokio::test]
async fn lives_and_is_ready_until_it_drains() {
    let world = World::new().await;
    let bare = |uri: &'static str| world.send(Call::get(uri).without("authorization"));
    assert_eq!(bare("/livez").await.status, 200);
    let ready = bare("/readyz").await;
    assert_eq!(
        (ready.status.as_u16(), &ready.json()["checks"]["storage"]["status"]),
        (200, &Value::from("ok"))
    );
    world.submit(serde_json::json!({"task": "echo"})).await;
    let metrics = bare("/metrics").await;
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    for line in ["ringback_jobs_accepted_total 1", "ringback_jobs_running{task=\"echo\"} 1", "# EOF"] {
        assert!(metrics.text().lines().any(|known| known == line), "{line} in {}", metrics.text());
    }
    world.draining.store(true, Ordering::SeqCst);
    let stopping = bare("/readyz").await;
    assert_eq!(stopping.status, 503);
    assert_eq!(stopping.json()["checks"]["draining"]["status"], "failing");
    assert_eq!(bare("/livez").await.status, 200);
    // Closed storage: 503 with Retry-After, and not ready.
    world.draining.store(false, Ordering::SeqCst);
    world.engine.close().await;
    let refused = world.send(Call::post("/v1/jobs", r#"{"task":"echo"}"#)).await;
    refused.is_problem(503, "storage-unavailable");
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(bare("/readyz").await.status, 503);
}

/// What is described is what is served: every path has the methods of its description, and no other.
#[tokio::test]
async fn every_call_that_is_described_is_served() {
    let world = World::new().await;
    for (path, mut methods) in description().calls() {
        if methods.iter().any(|method| method == "GET") {
            methods.push("HEAD".into());
        }
        methods.sort();
        let path = path.replace("{id}", "x").replace("{slug}", "not-found");
        let answer = world.send(Call::new(Method::PUT, &path, Body::empty())).await;
        answer.is_problem(405, "method-not-allowed");
        let mut allowed: Vec<_> = answer.header("allow").split(',').map(str::to_owned).collect();
        allowed.sort();
        assert_eq!(allowed, methods, "{path}");
    }
}
