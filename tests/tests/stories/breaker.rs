//! A receiver that is down: it is left alone but for probes, and gets what waited as soon as it is back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ringback_tests::{Config, Engine, Peer, Reply, Ringback, both_engines, wait};
use serde_json::{Value, json};

both_engines!(what_waited_goes_when_a_probe_is_taken);

/// Answers `/hook` with this until it is told to be well.
fn sick(receiver: &Peer, reply: Reply) -> Arc<AtomicBool> {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = well.clone();
    receiver
        .answer("/hook", move |_| if is_well.load(Ordering::SeqCst) { Reply::ok() } else { reply.clone() });
    well
}

async fn what_waited_goes_when_a_probe_is_taken(engine: Engine) {
    let receiver = Peer::start().await;
    let well = sick(&receiver, Reply::status(500));
    let server = Ringback::start(Config::on(engine).with("delivery.retry", r#"{ schedule = ["1h"] }"#)).await;
    let api = server.api();
    let endpoint = api.post("/v1/endpoints", json!({ "url": receiver.url("/hook") }).to_string()).await;
    let endpoint = endpoint.expect(201).json();
    let path = format!("/v1/endpoints/{}", endpoint["id"].as_str().unwrap());
    assert_eq!(endpoint["breaker"], "closed");
    for _ in 0..5 {
        api.accepted(&json!({ "task": "echo", "input": null })).await;
    }
    wait::until("the breaker is open", || async {
        (api.get(&path).await.json()["breaker"] == "open").then_some(())
    })
    .await;
    let late = api.accepted(&json!({ "task": "echo", "input": null })).await;
    let waits = api.delivery_where(&late, "waits", |delivery| delivery["waiting_for"] == "breaker").await;
    assert_eq!(waits["attempt"], 0, "nothing is sent to it");
    assert!(waits["next_attempt_at"].is_string(), "and it says until when: {waits}");
    receiver.stays_at("/hook", 5, Duration::from_millis(500)).await;

    well.store(true, Ordering::SeqCst);
    // One probe after five seconds, and then everything, an hour before its time.
    receiver.wait_for("/hook", 11).await;
    let whole = wait::until("all six are there", || async {
        let list = api.get("/v1/deliveries?status=succeeded").await.json();
        (list["items"].as_array().unwrap().len() == 6).then_some(list)
    })
    .await;
    let mut triggers = Vec::new();
    for item in whole["items"].as_array().unwrap() {
        let delivery = api.delivery(item["id"].as_str().unwrap()).await;
        let last = delivery["attempts"].as_array().unwrap().last().unwrap().clone();
        triggers.push(last["trigger"].as_str().unwrap().to_owned());
    }
    assert_eq!(triggers.iter().filter(|trigger| *trigger == "probe").count(), 1, "{triggers:?}");
    assert!(triggers.iter().filter(|trigger| *trigger == "recovery").count() >= 4, "{triggers:?}");
    assert_eq!(api.get(&path).await.json()["breaker"], "closed");
}

#[tokio::test]
async fn a_ping_that_is_taken_ends_the_wait() {
    let receiver = Peer::start().await;
    let well = sick(&receiver, Reply::status(500));
    let server = Ringback::start(Config::sqlite().with("delivery.retry", r#"{ schedule = ["1h"] }"#)).await;
    let api = server.api();
    let endpoint = api.post("/v1/endpoints", json!({ "url": receiver.url("/hook") }).to_string()).await;
    let path = format!("/v1/endpoints/{}", endpoint.expect(201).json()["id"].as_str().unwrap());
    for _ in 0..5 {
        api.accepted(&json!({ "task": "echo", "input": null })).await;
    }
    wait::until("the breaker is open", || async {
        (api.get(&path).await.json()["breaker"] == "open").then_some(())
    })
    .await;
    well.store(true, Ordering::SeqCst);
    api.call(&format!("{path}/ping")).await.expect(202);
    receiver.wait_for("/hook", 11).await;
    let all: Vec<Value> =
        receiver.requests("/hook").iter().map(|request| request.json()["type"].clone()).collect();
    assert_eq!(all[5], "endpoint.ping", "and nothing before it: {all:?}");
}

#[tokio::test]
async fn a_429_rests_the_endpoint_for_as_long_as_it_says() {
    let receiver = Peer::start().await;
    receiver.script("/hook", [Reply::status(429).header("retry-after", "2"), Reply::ok()]);
    let server = Ringback::sqlite().await;
    let api = server.api();
    api.post("/v1/endpoints", json!({ "url": receiver.url("/hook") }).to_string()).await.expect(201);
    let first = api.accepted(&json!({ "task": "echo", "input": null })).await;
    api.delivery_where(&first, "was refused", |delivery| delivery["attempts"][0]["status"] == 429).await;
    api.accepted(&json!({ "task": "echo", "input": null })).await;
    let requests = receiver.wait_for("/hook", 3).await;
    let rested = requests[1].at.duration_since(requests[0].at);
    assert!(rested >= Duration::from_millis(1_900), "another delivery to it waits as well: {rested:?}");
}

#[tokio::test]
async fn a_host_that_answers_500_is_no_dead_host() {
    let receiver = Peer::start().await;
    receiver.script("/sick", [Reply::status(500)]);
    let server = Ringback::start(Config::sqlite().with("delivery.retry", r#"{ schedule = ["1h"] }"#)).await;
    let api = server.api();
    for _ in 0..8 {
        api.accepted(&json!({ "task": "echo", "input": null, "callback": receiver.url("/sick") })).await;
    }
    receiver.wait_for("/sick", 8).await;
    api.accepted(&json!({ "task": "echo", "input": null, "callback": receiver.url("/well") })).await;
    receiver.first("/well").await;
}
