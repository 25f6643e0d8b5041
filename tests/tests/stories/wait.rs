//! Waiting for the end: `Prefer: wait` on a submission, and `wait` on a job.

use std::time::Duration;

use ringback_tests::{Engine, Ringback, both_engines, clock};
use serde_json::json;

use super::sleep;

both_engines!(a_quick_job_answers_200_and_a_slow_one_202);

async fn a_quick_job_answers_200_and_a_slow_one_202(engine: Engine) {
    let server = Ringback::on(engine).await;
    let api = server.api();
    let quick = api
        .post_with("/v1/jobs", &[("prefer", "wait=10")], json!({ "task": "echo", "input": 7 }).to_string())
        .await;
    let quick = quick.expect(200);
    assert_eq!(quick.header("preference-applied"), Some("wait=10"));
    let job = quick.json();
    assert_eq!(job["status"], "succeeded");
    assert_eq!(job["result"], 7);
    assert_eq!(quick.header("content-location"), Some(&*format!("/v1/jobs/{}", job["id"].as_str().unwrap())));

    let start = clock::now();
    let slow = api.post_with("/v1/jobs", &[("prefer", "wait=1")], sleep("20s").to_string()).await.expect(202);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(950) && took < Duration::from_secs(4), "{took:?}");
    assert_eq!(slow.header("preference-applied"), None);
    assert!(slow.header("location").is_some());
}

#[tokio::test]
async fn preferences_combine_and_are_bounded() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let body = json!({ "task": "echo" }).to_string();
    for (prefer, applied) in [
        ("respond-async, wait=5", "wait=5"),
        ("wait=5, respond-async", "wait=5"),
        ("wait=\"5\"", "wait=5"),
        ("WAIT=5", "wait=5"),
        ("foo; bar=\"wait=1\", wait=5", "wait=5"),
    ] {
        let answer = api.post_with("/v1/jobs", &[("prefer", prefer)], body.clone()).await.expect(200);
        assert_eq!(answer.header("preference-applied"), Some(applied), "{prefer}");
    }
    let capped = api.post_with("/v1/jobs", &[("prefer", "wait=600")], body.clone()).await.expect(200);
    assert!(matches!(capped.header("preference-applied"), Some("wait=60" | "wait=600")));
    let separate =
        api.post_with("/v1/jobs", &[("prefer", "respond-async"), ("prefer", "wait=5")], body.clone()).await;
    separate.expect(200);
    for unusable in ["wait=soon", "wait", "respond-async", "wait=-1"] {
        api.post_with("/v1/jobs", &[("prefer", unusable)], body.clone()).await.expect(202);
    }
}

#[tokio::test]
async fn a_job_is_waited_for_by_header_or_query() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let id = api.accepted(&sleep("1s")).await;
    let (path, query) = (format!("/v1/jobs/{id}"), format!("/v1/jobs/{id}?wait=20"));
    let (by_query, by_header) = tokio::join!(api.get(&query), api.get_with(&path, &[("prefer", "wait=20")]));
    assert_eq!(by_query.expect(200).json()["status"], "succeeded");
    assert_eq!(by_header.expect(200).json()["status"], "succeeded");

    let id = api.accepted(&sleep("20s")).await;
    let start = clock::now();
    let still = api.get(&format!("/v1/jobs/{id}?wait=1")).await.expect(200).json();
    assert!(start.elapsed() >= Duration::from_millis(950));
    assert_eq!(still["status"], "running");
    api.get(&format!("/v1/jobs/{id}?wait=soon")).await.problem(422, "validation-failed");
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_nothing() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let headers =
        [("content-type", "application/json"), ("prefer", "wait=30"), ("idempotency-key", "hung-up")];
    let waiting = api.send(http::Method::POST, "/v1/jobs", &headers, sleep("1s").to_string());
    assert!(tokio::time::timeout(Duration::from_millis(400), waiting).await.is_err());
    let found = api.post_with("/v1/jobs", &headers[1..], sleep("1s").to_string()).await.expect(200);
    assert_eq!(found.header("idempotency-replayed"), Some("true"));
    assert_eq!(found.json()["status"], "succeeded");
}
