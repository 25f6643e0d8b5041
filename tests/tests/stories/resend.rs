//! Resending a delivery in each state it can be in, and canceling one.

use std::{sync::Arc, time::Duration};

use ringback_tests::{Config, Engine, Peer, Reply, Ringback, both_engines};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::echo;

both_engines!(a_failed_delivery_is_sent_again, a_waiting_delivery_is_canceled_and_may_be_resent);

async fn a_failed_delivery_is_sent_again(engine: Engine) {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(410), Reply::status(500), Reply::ok()]);
    let server = Ringback::on(engine).await;
    let api = server.api();
    let id = api.accepted(&echo(json!(1), &receiver)).await;
    let failed = api.delivery_is(&id, "failed").await;
    let path = format!("/v1/deliveries/{}", failed["id"].as_str().unwrap());
    let answer = api.call(&format!("{path}/resend")).await.expect(202).json();
    assert_eq!(answer["id"], failed["id"]);
    let delivery = api.delivery_is(&id, "succeeded").await;
    let attempts = delivery["attempts"].as_array().unwrap();
    assert_eq!(attempts.iter().map(|a| a["number"].clone()).collect::<Vec<_>>(), [1, 2, 3]);
    let triggers: Vec<_> = attempts.iter().map(|a| a["trigger"].as_str().unwrap()).collect();
    assert_eq!(triggers, ["policy", "resend", "policy"], "the policy starts anew");
    assert_eq!(delivery["event"], failed["event"]);
    let requests = receiver.requests("/hook");
    assert!(
        requests.iter().all(|r| r.webhook_id() == requests[0].webhook_id() && r.body == requests[0].body)
    );
}

#[tokio::test]
async fn a_delivered_one_gets_one_more_attempt_and_stays_succeeded() {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::ok(), Reply::status(500)]);
    let server = Ringback::sqlite().await;
    let api = server.api();
    let id = api.accepted(&echo(json!(1), &receiver)).await;
    let delivery = api.delivery_is(&id, "succeeded").await;
    api.call(&format!("/v1/deliveries/{}/resend", delivery["id"].as_str().unwrap())).await.expect(202);
    receiver.wait_for("/hook", 2).await;
    let again =
        api.delivery_where(&id, "has two ended attempts", |d| d["attempts"][1]["ended_at"].is_string()).await;
    assert_eq!(again["status"], "succeeded");
    assert_eq!(again["attempts"][1]["trigger"], "resend");
    assert_eq!(again["attempts"][1]["status"], 500);
    receiver.stays_at("/hook", 2, Duration::from_secs(1)).await;
    assert_eq!(api.deliveries(&id).await[0]["status"], "succeeded");
}

#[tokio::test]
async fn a_waiting_one_goes_at_once() {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(500), Reply::ok()]);
    let server = Ringback::start(Config::sqlite().with("delivery.retry", r#"{ schedule = ["1h"] }"#)).await;
    let api = server.api();
    let id = api.accepted(&echo(json!(1), &receiver)).await;
    let delivery = api.delivery_where(&id, "waits", |d| d["next_attempt_at"].is_string()).await;
    api.call(&format!("/v1/deliveries/{}/resend", delivery["id"].as_str().unwrap())).await.expect(202);
    let delivery = api.delivery_is(&id, "succeeded").await;
    assert_eq!(delivery["attempts"][1]["trigger"], "resend");
}

#[tokio::test]
async fn not_while_one_is_in_flight() {
    let receiver = Peer::start().await;
    let gate = Arc::new(Semaphore::new(0));
    receiver.script("/hook", [Reply::ok().behind(&gate)]);
    let server = Ringback::sqlite().await;
    let api = server.api();
    let id = api.accepted(&echo(json!(1), &receiver)).await;
    receiver.first("/hook").await;
    let delivery = &api.deliveries(&id).await[0];
    let resend = format!("/v1/deliveries/{}/resend", delivery["id"].as_str().unwrap());
    api.call(&resend).await.problem(409, "resend-in-flight");
    gate.add_permits(1);
    api.delivery_is(&id, "succeeded").await;
    receiver.stays_at("/hook", 1, Duration::from_millis(300)).await;
    api.call("/v1/deliveries/dlv_01jdxyzxyzxyzxyzxyzxyzxyzx/resend").await.problem(404, "not-found");
}

async fn a_waiting_delivery_is_canceled_and_may_be_resent(engine: Engine) {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(500), Reply::ok()]);
    let config = Config::on(engine).with("delivery.retry", r#"{ schedule = ["1h"] }"#);
    let server = Ringback::start(config).await;
    let api = server.api();
    let id = api.accepted(&echo(json!(1), &receiver)).await;
    let delivery = api.delivery_where(&id, "waits", |d| d["next_attempt_at"].is_string()).await;
    let path = format!("/v1/deliveries/{}", delivery["id"].as_str().unwrap());
    let canceled = api.call(&format!("{path}/cancel")).await.expect(200).json();
    assert_eq!((&canceled["status"], &canceled["reason"]), (&json!("failed"), &json!("canceled")));
    assert_eq!((&canceled["next_attempt_at"], &canceled["attempt"]), (&Value::Null, &json!(1)));
    assert!(canceled["finished_at"].is_string());
    api.call(&format!("{path}/cancel")).await.problem(409, "delivery-finished");
    api.call(&format!("{path}/resend")).await.expect(202);
    api.delivery_is(&id, "succeeded").await;
    api.call(&format!("{path}/cancel")).await.problem(409, "delivery-finished");
    receiver.stays_at("/hook", 2, Duration::from_millis(300)).await;
    api.call("/v1/deliveries/dlv_01jdxyzxyzxyzxyzxyzxyzxyzx/cancel").await.problem(404, "not-found");
    api.post(&format!("{path}/cancel"), r#"{"a":1}"#).await.problem_at(422, "validation-failed", "/a");
}

#[tokio::test]
async fn a_request_that_is_out_is_let_go_and_on_record() {
    let receiver = Peer::start().await;
    let gate = Arc::new(Semaphore::new(0));
    receiver.script("/hook", [Reply::ok().behind(&gate), Reply::ok()]);
    let server = Ringback::sqlite().await;
    let api = server.api();
    let id = api.accepted(&echo(json!(1), &receiver)).await;
    receiver.first("/hook").await;
    let delivery = &api.deliveries(&id).await[0];
    let path = format!("/v1/deliveries/{}", delivery["id"].as_str().unwrap());
    let canceled = api.call(&format!("{path}/cancel")).await.expect(200).json();
    assert_eq!((&canceled["status"], &canceled["reason"]), (&json!("failed"), &json!("canceled")));
    assert_eq!(canceled["attempts"][0]["outcome"], "interrupted");
    gate.add_permits(1);
    // The lane goes on, and the answer that comes too late changes nothing.
    let other = api.accepted(&echo(json!(2), &receiver)).await;
    api.delivery_is(&other, "succeeded").await;
    let delivery = &api.deliveries(&id).await[0];
    assert_eq!((&delivery["status"], delivery["attempts"].as_array().unwrap().len()), (&json!("failed"), 1));
}
