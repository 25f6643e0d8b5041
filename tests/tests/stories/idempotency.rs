//! One key, one job.

use ringback_tests::{Answer, Engine, Peer, Ringback, both_engines, raw};
use serde_json::json;

use super::{echo, sleep};

both_engines!(a_repeated_submission_is_one_job, eight_at_once_are_one_job, a_key_outlives_a_crash);

fn id(answer: &Answer) -> String {
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn a_repeated_submission_is_one_job(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::on(engine).await;
    let api = server.api();
    let body = echo(json!(1), &receiver).to_string();
    let key = [("idempotency-key", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"")];
    let first = api.post_with("/v1/jobs", &key, body.clone()).await.expect(202);
    assert_eq!(first.header("idempotency-replayed"), None);
    api.ended(&id(&first)).await;

    // Quoted or not, the same key; today's state; the same place.
    for same in [key[0].1, "8e03978e-40d5-43dd-bc93-6894a57f9324"] {
        let again = api.post_with("/v1/jobs", &[("idempotency-key", same)], body.clone()).await.expect(202);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.header("location"), first.header("location"));
        assert_eq!(id(&again), id(&first));
        assert_eq!(again.json()["status"], "succeeded");
    }
    let waited = api.post_with("/v1/jobs", &[key[0], ("prefer", "wait=5")], body.clone()).await.expect(200);
    assert_eq!(waited.header("idempotency-replayed"), Some("true"));

    let other = echo(json!(2), &receiver).to_string();
    api.post_with("/v1/jobs", &key, other).await.problem(422, "idempotency-key-reused");
    // The bytes count, not what they mean.
    api.post_with("/v1/jobs", &key, format!("{body} ")).await.problem(422, "idempotency-key-reused");
    receiver.wait_for("/hook", 1).await;
    receiver.stays_at("/hook", 1, std::time::Duration::from_millis(300)).await;
    assert_eq!(api.get("/v1/jobs").await.json()["items"].as_array().unwrap().len(), 1);
}

async fn eight_at_once_are_one_job(engine: Engine) {
    let server = Ringback::on(engine).await;
    let body = json!({ "task": "echo", "input": 1 }).to_string();
    for round in 0..10 {
        let key = format!("round-{round}");
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (api, key, body) = (server.api().clone(), key.clone(), body.clone());
            calls.spawn(async move {
                api.post_with("/v1/jobs", &[("idempotency-key", &key)], body).await.expect(202)
            });
        }
        let answers = calls.join_all().await;
        assert!(answers.iter().all(|answer| id(answer) == id(&answers[0])));
        let fresh = answers.iter().filter(|answer| answer.header("idempotency-replayed").is_none()).count();
        assert_eq!(fresh, 1, "one of them made the job");
    }
    assert_eq!(server.api().get("/v1/jobs").await.json()["items"].as_array().unwrap().len(), 10);
}

async fn a_key_outlives_a_crash(engine: Engine) {
    let mut server = Ringback::on(engine).await;
    let body = sleep("1ms").to_string();
    let first =
        server.api().post_with("/v1/jobs", &[("idempotency-key", "kept")], body.clone()).await.expect(202);
    server.crash().await;
    let again = server.api().post_with("/v1/jobs", &[("idempotency-key", "kept")], body).await.expect(202);
    assert_eq!(id(&again), id(&first));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
}

#[tokio::test]
async fn a_refusal_uses_up_no_key() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let key = [("idempotency-key", "again")];
    api.post_with("/v1/jobs", &key, r#"{"task":"nothing"}"#).await.problem(422, "unknown-task");
    api.post_with("/v1/jobs", &key, r#"{"#).await.problem(400, "malformed-json");
    let made = api.post_with("/v1/jobs", &key, r#"{"task":"echo"}"#).await.expect(202);
    assert_eq!(made.header("idempotency-replayed"), None);
}

#[tokio::test]
async fn a_bad_key_is_refused() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let body = r#"{"task":"echo"}"#;
    let long = "k".repeat(256);
    for bad in ["", "\"\"", &long, "with space", "\"unclosed"] {
        let answer = api.post_with("/v1/jobs", &[("idempotency-key", bad)], body).await;
        answer.problem(400, "idempotency-key-invalid");
    }
    api.post_with("/v1/jobs", &[("idempotency-key", &"k".repeat(255))], body).await.expect(202);
    let twice = raw::submission(&server, "idempotency-key: a\r\nidempotency-key: a\r\n", body);
    raw::exchange(&server, &twice).await.problem(400, "idempotency-key-invalid");
    let foreign = raw::submission(&server, "idempotency-key: gr\u{fc}n\r\n", body);
    raw::exchange(&server, &foreign).await.problem(400, "idempotency-key-invalid");
}
