//! Rerun: a new job that names the old one.

use ringback_tests::{Engine, Peer, Ringback, both_engines};
use serde_json::{Value, json};

use super::sleep;

both_engines!(a_terminal_job_is_run_again);

async fn a_terminal_job_is_run_again(engine: Engine) {
    let receiver = Peer::start().await;
    let server = Ringback::on(engine).await;
    let api = server.api();
    let input = r#"{"price":1.10}"#;
    let body = format!(
        r#"{{"task":"echo","input":{input},"metadata":{{"order":"7"}},"priority":3,"callback":"{}"}}"#,
        receiver.url("/hook")
    );
    let old = api.post("/v1/jobs", body).await.expect(202).json()["id"].as_str().unwrap().to_owned();
    api.ended(&old).await;
    let answer = api.call(&format!("/v1/jobs/{old}/rerun")).await.expect(202);
    let new = answer.json();
    let id = new["id"].as_str().unwrap();
    assert_ne!(id, old);
    assert_eq!(new["rerun_of"], old);
    assert_eq!(new["metadata"], json!({ "order": "7" }));
    assert_eq!(new["priority"], 3);
    assert_eq!(answer.header("location"), Some(&*format!("/v1/jobs/{id}")));
    assert_eq!(api.ended(id).await["status"], "succeeded");
    assert_eq!(api.get(&format!("/v1/jobs/{id}/result")).await.expect(200).text(), input);
    let requests = receiver.wait_for("/hook", 2).await;
    assert_ne!(requests[0].webhook_id(), requests[1].webhook_id());
    assert_eq!(requests[1].json()["data"]["job"]["rerun_of"], old);
    assert_eq!(api.job(&old).await["rerun_of"], Value::Null);
}

#[tokio::test]
async fn not_before_it_has_ended() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let id = api.accepted(&sleep("30s")).await;
    api.call(&format!("/v1/jobs/{id}/rerun")).await.problem(409, "job-not-finished");
    api.call("/v1/jobs/job_01jdxyzxyzxyzxyzxyzxyzxyzx/rerun").await.problem(404, "not-found");
}
