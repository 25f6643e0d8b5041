//! `?validate_only=true`: judged as a submission is, and nothing of it recorded.

use ringback_tests::{Peer, Ringback};
use serde_json::json;

use super::{assert_id, echo};

#[tokio::test]
async fn what_would_be_accepted_is_shown_and_nothing_is_recorded() {
    let receiver = Peer::start().await;
    let server = Ringback::sqlite().await;
    let api = server.api();
    let mut job = echo(json!(1), &receiver);
    job["metadata"] = json!({ "order": "7" });
    let key = [("idempotency-key", "k1")];
    let answer = api.post_with("/v1/jobs?validate_only=true", &key, job.to_string()).await.expect(200);
    let shown = answer.json();
    assert_id(&shown["id"], "job");
    assert_eq!((&shown["task"], &shown["status"]), (&json!("echo"), &json!("queued")));
    assert_eq!((&shown["metadata"], &shown["timeout"]), (&json!({ "order": "7" }), &json!("60s")));
    assert_eq!(shown["callbacks"][0]["url"], receiver.url("/hook"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!((answer.header("location"), answer.header("link")), (None, None));
    api.get(&format!("/v1/jobs/{}", shown["id"].as_str().unwrap())).await.problem(404, "not-found");
    assert_eq!(api.get("/v1/jobs").await.json()["items"], json!([]));
    // No key was used: another request may have it.
    let other = api.post_with("/v1/jobs", &key, json!({ "task": "echo" }).to_string()).await.expect(202);
    assert_eq!(other.header("idempotency-replayed"), None);
    // And a used key is not looked at.
    api.post_with("/v1/jobs?validate_only=true", &key, job.to_string()).await.expect(200);
    api.post("/v1/jobs?validate_only=false", job.to_string()).await.expect(202);
}

#[tokio::test]
async fn what_would_be_refused_is_refused_alike() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    for (body, slug, pointer) in [
        (json!({ "task": "nope" }), "unknown-task", "/task"),
        (json!({ "task": "echo", "callback": "https://10.0.0.1/" }), "callback-address-blocked", "/callback"),
        (json!({ "task": "echo", "extra": 1 }), "validation-failed", "/extra"),
    ] {
        api.post("/v1/jobs?validate_only=true", body.to_string()).await.problem_at(422, slug, pointer);
    }
    let body = json!({ "task": "echo" }).to_string();
    let empty = [("idempotency-key", "")];
    let answer = api.post_with("/v1/jobs?validate_only=true", &empty, body.clone()).await;
    answer.problem(400, "idempotency-key-invalid");
    for query in ["validate_only=yes", "validate_only=true&validate_only=true", "validate=true"] {
        api.post(&format!("/v1/jobs?{query}"), body.clone()).await.problem(422, "validation-failed");
    }
    let id = api.accepted(&json!({ "task": "echo" })).await;
    api.ended(&id).await;
    api.call(&format!("/v1/jobs/{id}/rerun?validate_only=true")).await.problem(422, "validation-failed");
}
