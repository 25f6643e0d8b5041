//! What is gone: deleted by hand, or pruned when its time was over; and what is left of it.

use std::time::Duration;

use ringback_tests::{Config, Engine, Peer, Reply, Ringback, both_engines, wait};
use serde_json::{Value, json};

use super::{echo, sleep};

both_engines!(
    a_deleted_job_leaves_a_tombstone,
    history_is_pruned_and_then_forgotten,
    payloads_of_a_task_go_earlier,
);

async fn delete(server: &Ringback, id: &str) -> ringback_tests::Answer {
    server.api().send(http::Method::DELETE, &format!("/v1/jobs/{id}"), &[], "").await
}

/// Every read of it, and everything else that names it.
async fn is_gone(server: &Ringback, id: &str, status: &str) {
    let api = server.api();
    for path in ["", "/input", "/result"] {
        let problem = api.get(&format!("/v1/jobs/{id}{path}")).await.problem(410, "pruned");
        assert_eq!(problem["status"], 410);
        let left = &problem["job"];
        assert_eq!(
            (&left["id"], &left["task"], &left["status"]),
            (&json!(id), &json!("echo"), &json!(status))
        );
        assert!(left["finished_at"].is_string());
        assert_eq!(left.as_object().unwrap().len(), 4);
    }
    for path in ["cancel", "rerun"] {
        api.call(&format!("/v1/jobs/{id}/{path}")).await.problem(410, "pruned");
    }
    api.post(&format!("/v1/jobs/{id}/callbacks"), "\"https://a.example/\"").await.problem(410, "pruned");
    delete(server, id).await.problem(410, "pruned");
    assert!(api.deliveries(id).await.is_empty());
    let list = api.get("/v1/jobs").await.json();
    assert!(list["items"].as_array().unwrap().iter().all(|job| job["id"] != id));
}

async fn a_deleted_job_leaves_a_tombstone(engine: Engine) {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(500)]);
    let config = Config::on(engine).with("delivery.retry", r#"{ schedule = ["1s", "1s"] }"#);
    let mut server = Ringback::start(config).await;
    let api = server.api().clone();
    let key = [("idempotency-key", "k1")];
    let body = echo(json!({ "private": "x" }), &receiver).to_string();
    let accepted = api.post_with("/v1/jobs", &key, body.clone()).await.expect(202).json();
    let id = accepted["id"].as_str().unwrap().to_owned();
    let webhook = receiver.first("/hook").await.json();
    let link = webhook["data"]["job"]["links"]["result"].as_str().unwrap().to_owned();
    api.delivery_where(&id, "waits", |d| d["next_attempt_at"].is_string()).await;
    assert_eq!(delete(&server, &id).await.expect(204).body.len(), 0);
    is_gone(&server, &id, "succeeded").await;
    api.with_key(None).get(&link).await.problem(410, "pruned");
    server.crash().await;
    is_gone(&server, &id, "succeeded").await;
    // What was still to be sent is not sent any more.
    receiver.stays_at("/hook", 1, Duration::from_secs(2)).await;
    // The key finds what is left; another request under it is refused as ever.
    let api = server.api();
    let replayed = api.post_with("/v1/jobs", &key, body).await;
    assert_eq!(replayed.problem(410, "pruned")["job"]["id"], json!(id));
    let other = json!({ "task": "echo" }).to_string();
    api.post_with("/v1/jobs", &key, other).await.problem(422, "idempotency-key-reused");
}

async fn history_is_pruned_and_then_forgotten(engine: Engine) {
    let receiver = Peer::start().await;
    let config =
        Config::on(engine).with("retention.history", r#""1s""#).with("retention.tombstones", r#""4s""#);
    let server = Ringback::start(config).await;
    let api = server.api();
    let old = api.accepted(&echo(json!(1), &receiver)).await;
    let keyed = {
        let body = json!({ "task": "echo" }).to_string();
        let job = api.post_with("/v1/jobs", &[("idempotency-key", "k1")], body).await.expect(202).json();
        job["id"].as_str().unwrap().to_owned()
    };
    let running = api.accepted(&sleep("60s")).await;
    receiver.first("/hook").await;
    let gone = |status: u16| {
        let old = old.clone();
        async move {
            wait::until(&format!("{old} answers {status}"), || async {
                (api.get(&format!("/v1/jobs/{old}")).await.status == status).then_some(())
            })
            .await;
        }
    };
    gone(410).await;
    is_gone(&server, &old, "succeeded").await;
    gone(404).await;
    // Not before its key may be used again, and not while it runs.
    assert_eq!(api.job(&keyed).await["status"], "succeeded");
    assert_eq!(api.job(&running).await["status"], "running");
}

async fn payloads_of_a_task_go_earlier(engine: Engine) {
    let receiver = Peer::start().await;
    let config = Config::on(engine).task("echo", r#"run = "echo", payload_retention = "1s""#);
    let server = Ringback::start(config).await;
    let api = server.api();
    let id = api.accepted(&echo(json!({ "private": "x" }), &receiver)).await;
    let delivery = api.delivery_is(&id, "succeeded").await;
    assert!(delivery["body"].as_str().unwrap().contains("private"));
    wait::until("the input is erased", || async {
        (api.get(&format!("/v1/jobs/{id}/input")).await.status == 410).then_some(())
    })
    .await;
    let job = api.job(&id).await;
    assert_eq!((&job["status"], &job["result"]), (&json!("succeeded"), &Value::Null));
    assert_eq!(job["result_info"]["size"], json!({ "private": "x" }).to_string().len());
    api.get(&format!("/v1/jobs/{id}/result")).await.problem(410, "pruned");
    api.call(&format!("/v1/jobs/{id}/rerun")).await.problem(410, "pruned");
    api.post(&format!("/v1/jobs/{id}/callbacks"), "\"https://a.example/\"").await.problem(410, "pruned");
    let path = format!("/v1/deliveries/{}", delivery["id"].as_str().unwrap());
    let kept = api.get(&path).await.expect(200).json();
    assert_eq!((&kept["status"], &kept["body"]), (&json!("succeeded"), &Value::Null));
    api.call(&format!("{path}/resend")).await.problem(410, "pruned");
    receiver.stays_at("/hook", 1, Duration::from_millis(300)).await;
}

#[tokio::test]
async fn only_what_has_ended_can_be_deleted() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let running = api.accepted(&sleep("60s")).await;
    delete(&server, &running).await.problem(409, "job-not-finished");
    let queued = api.accepted(&json!({ "task": "echo", "delay": "1h" })).await;
    delete(&server, &queued).await.problem(409, "job-not-finished");
    delete(&server, "job_01jdxyzxyzxyzxyzxyzxyzxyzx").await.problem(404, "not-found");
    api.call(&format!("/v1/jobs/{queued}/cancel")).await.expect(200);
    delete(&server, &queued).await.expect(204);
    is_gone(&server, &queued, "canceled").await;
    assert_eq!(api.job(&running).await["status"], "running");
}

#[tokio::test]
async fn who_waits_for_a_job_that_is_deleted_is_answered() {
    let server = Ringback::sqlite().await;
    let api = server.api();
    let id = api.accepted(&json!({ "task": "echo" })).await;
    api.ended(&id).await;
    let path = format!("/v1/jobs/{id}");
    let tag = api.get(&path).await.header("etag").unwrap().to_owned();
    // One that has ended holds nobody up.
    api.get_with(&format!("{path}?wait=30"), &[("if-none-match", &tag)]).await.expect(304);
    delete(&server, &id).await.expect(204);
    api.get_with(&format!("{path}?wait=30"), &[("if-none-match", &tag)]).await.problem(410, "pruned");
}
