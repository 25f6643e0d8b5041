//! `[limits]`: how much a tenant may submit and have waiting. A refusal says when to come back, and costs nothing.

use std::time::Duration;

use http::Method;
use ringback_tests::{Answer, Config, Engine, Ringback, both_engines, clock, wait};
use serde_json::{Value, json};

use super::{keys, sleep};

both_engines!(so_many_may_wait, so_many_endpoints_may_be_there);

fn echo() -> Value {
    json!({ "task": "echo" })
}

/// The numbers of `"name";r=17;t=1` in a field with one such item.
fn parameter(answer: &Answer, field: &str, name: &str) -> u64 {
    let text = answer.header(field).unwrap_or_else(|| panic!("no {field}: {answer:?}"));
    let value = text.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[tokio::test]
async fn so_many_may_be_submitted_in_a_time() {
    let config = Config::sqlite().with("limits.submit_per_tenant", r#""5/1h""#);
    let server = Ringback::start(config).await;
    let api = server.api();
    let key = [("idempotency-key", "first")];
    let first = api.post_with("/v1/jobs", &key, echo().to_string()).await.expect(202);
    assert_eq!(first.header("ratelimit-policy"), Some(r#""submit";q=5;w=3600"#));
    assert_eq!(first.header("ratelimit"), Some(r#""submit";r=4;t=720"#));
    // What is refused for another reason counts for nothing.
    api.submit(&json!({ "task": "none" })).await.problem(422, "unknown-task");
    for left in [3, 2, 1, 0] {
        let answer = api.submit(&echo()).await.expect(202);
        assert_eq!(parameter(&answer, "ratelimit", "r"), left);
    }
    let fresh = [("idempotency-key", "second")];
    let refused = api.post_with("/v1/jobs", &fresh, echo().to_string()).await;
    let problem = refused.problem(429, "rate-limited");
    assert!(problem["detail"].as_str().unwrap().contains("5/1h"), "{problem}");
    let again: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((700..=720).contains(&again), "{again}: one comes back every 12 minutes");
    assert_eq!(refused.header("ratelimit-policy"), Some(r#""submit";q=5;w=3600"#));
    assert_eq!(parameter(&refused, "ratelimit", "r"), 0);

    // A rerun is a submission. A replay is none, and what another tenant does is its own affair.
    let id = first.json()["id"].as_str().unwrap().to_owned();
    api.ended(&id).await;
    api.call(&format!("/v1/jobs/{id}/rerun")).await.problem(429, "rate-limited");
    let replay = api.post_with("/v1/jobs", &key, echo().to_string()).await.expect(202);
    assert_eq!((replay.header("idempotency-replayed"), &replay.json()["id"]), (Some("true"), &json!(id)));
    let reused = api.post_with("/v1/jobs", &key, sleep("1s").to_string()).await;
    reused.problem(422, "idempotency-key-reused");
    let tenant = api.post("/v1/tenants", r#"{"name":"other"}"#).await.expect(201).json();
    let (other, _) = keys::make(api, json!({ "role": "submitter", "tenant": tenant["id"] })).await;
    api.with_key(Some(&other)).accepted(&echo()).await;
    // Reading is not limited.
    assert_eq!(api.get("/v1/jobs").await.expect(200).header("ratelimit"), None);
}

#[tokio::test]
async fn who_waits_as_long_as_told_is_served() {
    let config = Config::sqlite().with("limits.submit_per_tenant", r#""2/2s""#);
    let server = Ringback::start(config).await;
    let api = server.api();
    let key = [("idempotency-key", "one")];
    let refused = loop {
        let answer = api.submit(&echo()).await;
        if answer.status != 202 {
            break api.post_with("/v1/jobs", &key, echo().to_string()).await;
        }
    };
    let again: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert_eq!(again, 1);
    let start = clock::now();
    tokio::time::sleep(Duration::from_secs(again)).await;
    // The refusal used up no key: it makes its job now.
    let answer = api.post_with("/v1/jobs", &key, echo().to_string()).await.expect(202);
    assert_eq!(answer.header("idempotency-replayed"), None);
    assert!(start.elapsed() >= Duration::from_secs(1));
}

async fn so_many_may_wait(engine: Engine) {
    let config = Config::on(engine).with("limits.waiting_per_tenant", "2");
    let mut server = Ringback::start(config).await;
    let api = server.api().clone();
    let later = json!({ "task": "echo", "delay": "1h" });
    let one = api.submit(&later).await.expect(202);
    assert_eq!(one.header("ratelimit-policy"), Some(r#""waiting";q=2;qu="jobs""#));
    assert_eq!(one.header("ratelimit"), Some(r#""waiting";r=2"#), "before it came");
    api.accepted(&later).await;
    let refused = api.submit(&later).await;
    refused.problem(429, "rate-limited");
    assert_eq!(refused.header("ratelimit"), Some(r#""waiting";r=0"#));
    assert!(refused.header("retry-after").is_some());
    let tenant = api.post("/v1/tenants", r#"{"name":"other"}"#).await.expect(201).json();
    let (other, _) = keys::make(&api, json!({ "role": "submitter", "tenant": tenant["id"] })).await;
    api.with_key(Some(&other)).accepted(&later).await;

    // A start counts what it finds.
    server.crash().await;
    let api = server.api().clone();
    api.submit(&later).await.problem(429, "rate-limited");
    let one = one.json()["id"].as_str().unwrap().to_owned();
    api.call(&format!("/v1/jobs/{one}/cancel")).await.expect(200);
    wait::until("there is room", || async { (api.submit(&later).await.status == 202).then_some(()) }).await;
    api.submit(&later).await.problem(429, "rate-limited");
}

async fn so_many_endpoints_may_be_there(engine: Engine) {
    let config = Config::on(engine).with("limits.endpoints_per_tenant", "3");
    let server = Ringback::start(config.clone()).await;
    // The limit is the installation's, where there are several nodes.
    let other = if engine == Engine::Postgres { Some(server.beside(config).await) } else { None };
    let nodes = [server.api(), other.as_ref().unwrap_or(&server).api()];
    let endpoint = json!({ "url": "http://127.0.0.1:9999/hook" }).to_string();
    let mut racing = tokio::task::JoinSet::new();
    for n in 0..12 {
        let (node, endpoint) = (nodes[n % 2].clone(), endpoint.clone());
        racing.spawn(async move { node.post("/v1/endpoints", endpoint).await });
    }
    let (made, refused): (Vec<_>, Vec<_>) =
        racing.join_all().await.into_iter().partition(|answer| answer.status == 201);
    assert_eq!((made.len(), refused.len()), (3, 9));
    for refused in refused {
        let problem = refused.problem(429, "rate-limited");
        assert!(problem["detail"].as_str().unwrap().contains("3 endpoints"), "{problem}");
        assert_eq!(refused.header("ratelimit-policy"), Some(r#""endpoints";q=3;qu="endpoints""#));
        assert_eq!(refused.header("ratelimit"), Some(r#""endpoints";r=0"#));
        assert_eq!(refused.header("retry-after"), Some("60"));
    }
    let api = server.api();
    assert_eq!(api.get("/v1/endpoints").await.expect(200).json()["items"].as_array().unwrap().len(), 3);
    // What is wrong with it is said first, and another tenant has its own three.
    api.post("/v1/endpoints", "{}").await.problem_at(422, "validation-failed", "/url");
    let tenant = api.post("/v1/tenants", r#"{"name":"other"}"#).await.expect(201).json();
    let (admin, _) = keys::make(api, json!({ "role": "admin", "tenant": tenant["id"] })).await;
    api.with_key(Some(&admin)).post("/v1/endpoints", endpoint.clone()).await.expect(201);

    // Only a deletion makes room.
    let path = format!("/v1/endpoints/{}", made[0].json()["id"].as_str().unwrap());
    let disabled = [("content-type", "application/json")];
    api.send(Method::PATCH, &path, &disabled, r#"{"state":"disabled"}"#).await.expect(200);
    api.post("/v1/endpoints", endpoint.clone()).await.problem(429, "rate-limited");
    api.send(Method::DELETE, &path, &[], "").await.expect(204);
    nodes[1].post("/v1/endpoints", endpoint.clone()).await.expect(201);
    api.post("/v1/endpoints", endpoint).await.problem(429, "rate-limited");
}

#[tokio::test]
async fn a_thousand_endpoints_may_be_there_by_default() {
    let server = Ringback::prepare(Config::sqlite());
    let shown = server.run(&["config", "show", "-o", "jsonl"]).expect("what is set");
    let mut lines = shown.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let limit = lines.find(|line| line["key"] == "limits.endpoints_per_tenant").expect("the limit");
    assert_eq!(limit["value"], "1000");
    for wrong in ["-1", r#""3""#, "1.5"] {
        let server = Ringback::prepare(Config::sqlite().with("limits.endpoints_per_tenant", wrong));
        let error = server.run(&["config", "check"]).expect_err("it is refused");
        assert!(error.contains("endpoints_per_tenant"), "{wrong}: {error}");
    }
    let server = Ringback::start(Config::sqlite().with("limits.endpoints_per_tenant", "0")).await;
    server.api().post("/v1/endpoints", r#"{"url":"http://127.0.0.1:9999/"}"#).await.expect(201);
}

#[tokio::test]
async fn a_limit_that_cannot_be_is_named() {
    for wrong in [r#""100""#, r#""100/1500ms""#, r#""0/1s""#, "100", r#""""#] {
        let server = Ringback::prepare(Config::sqlite().with("limits.submit_per_tenant", wrong));
        let error = server.run(&["config", "check"]).expect_err("it is refused");
        assert!(error.contains("limits.submit_per_tenant"), "{wrong}: {error}");
    }
    let server = Ringback::prepare(Config::sqlite().with("limits.submit_per_tenant", r#""0""#));
    server.run(&["config", "check"]).expect("no limit");
}
